use proptest::prelude::*;

use super::*;

fn schedule(paths: &str, slots: usize) -> Schedule {
    let path = |it| DatasetPath::new(it).expect(it);
    Schedule::new(
        paths.split(' ').map(path).collect(),
        NonZeroUsize::new(slots).expect("not zero"),
    )
}

fn full(targets: &[i64]) -> Planned {
    Planned::Steps {
        targets: targets.to_vec(),
        begins_in_full: true,
    }
}

fn incremental(targets: &[i64]) -> Planned {
    Planned::Steps {
        targets: targets.to_vec(),
        begins_in_full: false,
    }
}

const FAILED: Planned = Planned::Failed {
    is_on_receiver: false,
};

/// Plans everything, then does one step after the other until none is left; steps for which `fails` holds fail. What was
/// started, as `path:step`, in order.
fn run(schedule: &mut Schedule, plans: &[Planned], fails: impl Fn(&str) -> bool) -> Vec<String> {
    let mut log = Vec::new();
    while let Some(task) = schedule.start() {
        match task {
            Task::Plan(task) => {
                let planned = plans[task.filesystem()].clone();
                schedule.planned(task, planned);
            }
            Task::Step(task) => {
                let path = schedule.filesystems[task.filesystem()].path.as_str();
                let name = format!("{path}:{}", task.step());
                if fails(&name) {
                    schedule.step_failed(task);
                } else {
                    let completion = schedule.received(task);
                    schedule.completed(completion);
                }
                log.push(name);
            }
        }
    }
    assert!(schedule.is_finished());
    log
}

fn parents_failed(schedule: &Schedule, filesystem: usize) -> String {
    match &schedule.filesystems[filesystem].state {
        State::ParentsFailed(error) => error.to_string(),
        state => panic!("{state:?}"),
    }
}

#[test]
fn the_oldest_target_comes_first_and_steps_keep_their_order() {
    let mut it = schedule("a b c", 1);
    let plans = [
        incremental(&[10, 20, 30]),
        incremental(&[5, 25]),
        incremental(&[20]),
    ];
    assert_eq!(
        run(&mut it, &plans, |_| false),
        ["b:0", "a:0", "a:1", "c:0", "b:1", "a:2"]
    );
    // Even if a filesystem's own order is another one.
    let mut it = schedule("a b", 1);
    let plans = [incremental(&[30, 10]), incremental(&[20])];
    assert_eq!(run(&mut it, &plans, |_| false), ["b:0", "a:0", "a:1"]);
}

#[test]
fn children_wait_for_their_parents_and_nobody_else_does() {
    let mut it = schedule("a a-b a/b a/b/c aa", 1);
    // The children's targets are older.
    let plans = [
        full(&[9, 10]),
        full(&[4]),
        full(&[2]),
        full(&[1]),
        full(&[3]),
    ];
    assert_eq!(
        run(&mut it, &plans, |_| false),
        ["aa:0", "a-b:0", "a:0", "a/b:0", "a/b/c:0", "a:1"]
    );
}

#[test]
fn children_that_are_there_do_not_wait() {
    let mut it = schedule("a a/b a/c", 1);
    let plans = [full(&[9]), incremental(&[1]), incremental(&[])];
    assert_eq!(run(&mut it, &plans, |_| false), ["a/b:0", "a:0"]);
    // Nor do children of parents that are there, or that need not be.
    let mut it = schedule("a a/b", 1);
    let plans = [incremental(&[9]), full(&[1])];
    assert_eq!(run(&mut it, &plans, |_| false), ["a/b:0", "a:0"]);
    let mut it = schedule("a a/b", 1);
    let plans = [incremental(&[]), full(&[1])];
    assert_eq!(run(&mut it, &plans, |_| false), ["a/b:0"]);
}

#[test]
fn new_children_of_a_failed_parent_fail_with_its_name() {
    let mut it = schedule("a a/b a/b/c aa", 1);
    let plans = [full(&[1, 2]), full(&[1]), full(&[1]), full(&[1])];
    assert_eq!(run(&mut it, &plans, |name| name == "a:0"), ["a:0", "aa:0"]);
    for child in [1, 2] {
        assert_eq!(
            parents_failed(&it, child),
            "parent(s) failed during initial replication: [a]"
        );
    }
    let states: Vec<_> = it.states().collect();
    assert_eq!(states[0], &State::StepFailed { step: 0 });
    assert_eq!(states[3], &State::Done);

    // Those that are there already go on, as do those whose parent failed later.
    let mut it = schedule("a a/b", 1);
    let plans = [full(&[1, 2]), full(&[9])];
    assert_eq!(
        run(&mut it, &plans, |name| name == "a:1"),
        ["a:0", "a:1", "a/b:0"]
    );
    let mut it = schedule("a a/b a/c", 1);
    let plans = [FAILED, incremental(&[9]), full(&[1])];
    assert_eq!(run(&mut it, &plans, |_| false), ["a/b:0"]);
    assert_eq!(
        parents_failed(&it, 2),
        "parent(s) failed during initial replication: [a]"
    );
    let mut it = schedule("a a/c", 1);
    let diverged = Planned::Failed {
        is_on_receiver: true,
    };
    assert_eq!(run(&mut it, &[diverged, full(&[1])], |_| false), ["a/c:0"]);
}

#[test]
fn all_parents_that_failed_by_themselves_are_named() {
    let mut it = schedule("a a/b a/b/c a/b/c/d", 1);
    let plans = [FAILED, full(&[1]), FAILED, full(&[1])];
    assert!(run(&mut it, &plans, |_| false).is_empty());
    assert_eq!(
        parents_failed(&it, 3),
        "parent(s) failed during initial replication: [a a/b/c]"
    );
}

#[test]
fn no_more_than_the_slots_allow_is_under_way() {
    let mut it = schedule("a b c", 2);
    let (Some(Task::Plan(a)), Some(Task::Plan(b)), None) = (it.start(), it.start(), it.start())
    else {
        panic!("two plans");
    };
    it.planned(a, incremental(&[7]));
    // Planning goes before steps.
    let (Some(Task::Plan(c)), None) = (it.start(), it.start()) else {
        panic!("one plan");
    };
    it.planned(c, FAILED);
    let (Some(Task::Step(a)), None) = (it.start(), it.start()) else {
        panic!("one step");
    };
    let a = it.received(a);
    assert!(it.start().is_none() && !it.is_finished());
    it.completed(a);
    it.planned(b, incremental(&[]));
    assert!(it.is_finished());
}

#[test]
fn what_a_filesystem_waits_for_is_said_in_the_words_of_zrepl() {
    let mut it = schedule("a a/b", 1);
    let words = |it: &Schedule| {
        it.states()
            .map(|it| it.blocked_on().word())
            .collect::<Vec<_>>()
    };
    assert_eq!(words(&it), ["plan-queue", "plan-queue"]);
    for _ in 0..2 {
        let Some(Task::Plan(task)) = it.start() else {
            panic!("a plan");
        };
        it.planned(task, full(&[1]));
    }
    assert_eq!(words(&it), ["repl-queue", "parent-initial-repl"]);
    let Some(Task::Step(task)) = it.start() else {
        panic!("a step");
    };
    assert_eq!(words(&it), ["nothing", "parent-initial-repl"]);
    let task = it.received(task);
    assert_eq!(words(&it), ["nothing", "repl-queue"]);
    it.completed(task);
}

#[test]
fn completing_takes_up_no_slot_and_holds_up_its_own_filesystem_only() {
    let mut it = schedule("a a/b", 1);
    for plan in [full(&[1, 2]), full(&[9])] {
        let Some(Task::Plan(task)) = it.start() else {
            panic!("a plan");
        };
        it.planned(task, plan);
    }
    let Some(Task::Step(a)) = it.start() else {
        panic!("the parent");
    };
    assert!(it.start().is_none());
    let a = it.received(a);
    assert_eq!(it.state(0), &State::Completing { step: 0 });
    // The child can come, although the parent's next step would be older.
    let Some(Task::Step(b)) = it.start() else {
        panic!("the child");
    };
    assert_eq!((b.filesystem(), it.start()), (1, None));
    it.completion_failed(a);
    assert_eq!(it.state(0), &State::StepFailed { step: 0 });
    let b = it.received(b);
    assert!(it.start().is_none() && !it.is_finished());
    it.completed(b);
    assert!(it.is_finished());
}

#[test]
fn an_empty_schedule_is_finished() {
    let mut it = Schedule::new(vec![], NonZeroUsize::MIN);
    assert!(it.start().is_none() && it.is_finished());
}

fn any_planned() -> impl Strategy<Value = Planned> {
    prop_oneof![
        4 => (prop::collection::vec(0..9i64, 0..4), any::<bool>())
            .prop_map(|(targets, begins_in_full)| Planned::Steps { targets, begins_in_full }),
        1 => any::<bool>().prop_map(|is_on_receiver| Planned::Failed { is_on_receiver }),
    ]
}

/// Is it on the receiver by now, going by what was seen from outside?
fn is_there(planned: &Planned, done: usize) -> bool {
    match planned {
        Planned::Steps {
            targets,
            begins_in_full,
        } => targets.is_empty() || !begins_in_full || done > 0,
        Planned::Failed { is_on_receiver } => *is_on_receiver,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    /// Tasks end in any order, some of them badly.
    #[test]
    fn everything_comes_to_an_end_and_no_child_comes_before_its_parents(
        filesystems in prop::collection::btree_map("[ab](/[ab]){0,3}", any_planned(), 0..9),
        slots in 1..4usize,
        mut turns_left in prop_oneof![Just(usize::MAX), 0..20usize],
        turns in prop::collection::vec((any::<prop::sample::Index>(), 0..5u8), 64),
    ) {
        let paths: Vec<&str> = filesystems.keys().map(String::as_str).collect();
        let plans: Vec<&Planned> = filesystems.values().collect();
        let mut schedule = Schedule::new(
            paths.iter().map(|it| DatasetPath::new(*it).expect("valid")).collect(),
            NonZeroUsize::new(slots).expect("not zero"),
        );
        let mut done = vec![0; paths.len()];
        let mut is_plan_started = vec![false; paths.len()];
        let mut is_planned = vec![false; paths.len()];
        let mut has_failed = vec![false; paths.len()];
        let mut has_arrived = vec![false; paths.len()];
        let mut running = Vec::new();
        let mut completing: Vec<CompletionTask> = Vec::new();
        let mut is_completing = vec![false; paths.len()];
        let mut turns = turns.into_iter().cycle();
        loop {
            while let Some(task) = schedule.start() {
                if let Task::Step(step) = &task {
                    let this = step.filesystem();
                    prop_assert!(is_plan_started.iter().all(|it| *it));
                    prop_assert_eq!(step.step(), done[this]);
                    prop_assert!(!has_failed[this] && !is_completing[this]);
                    if !is_there(plans[this], done[this]) {
                        for (parent, path) in paths.iter().enumerate() {
                            if paths[this].starts_with(&format!("{path}/")) {
                                let has_come = is_planned[parent] && is_there(plans[parent], done[parent]);
                                prop_assert!(has_come || has_arrived[parent]);
                            }
                        }
                    }
                }
                if let Task::Plan(plan) = &task {
                    is_plan_started[plan.filesystem()] = true;
                }
                running.push(task);
                prop_assert!(running.len() <= slots);
            }
            let under_way = running.len() + completing.len();
            if under_way == 0 {
                break;
            }
            let (which, luck) = turns.next().expect("cycle");
            let which = which.index(under_way);
            if let Some(which) = which.checked_sub(running.len()) {
                let task = completing.swap_remove(which);
                let this = task.filesystem();
                prop_assert_eq!(task.step(), done[this]);
                is_completing[this] = false;
                if luck == 0 {
                    has_failed[this] = true;
                    schedule.completion_failed(task);
                } else {
                    done[this] += 1;
                    schedule.completed(task);
                }
                continue;
            }
            match running.swap_remove(which) {
                Task::Plan(task) => {
                    let this = task.filesystem();
                    is_planned[this] = true;
                    schedule.planned(task, plans[this].clone());
                }
                Task::Step(task) if luck == 0 => {
                    has_failed[task.filesystem()] = true;
                    schedule.step_failed(task);
                }
                Task::Step(task) => {
                    let this = task.filesystem();
                    is_completing[this] = true;
                    has_arrived[this] = true;
                    completing.push(schedule.received(task));
                }
            }
            if turns_left == 0 {
                break;
            }
            turns_left -= 1;
        }
        let orphans: BTreeSet<_> = schedule.take_orphans().into_iter().collect();
        for (this, state) in schedule.states().enumerate() {
            prop_assert_eq!(matches!(state, State::ParentsFailed(_)), orphans.contains(&this));
        }
        if !running.is_empty() || !completing.is_empty() || turns_left == 0 {
            // Stopped midway.
            let unfinished: Vec<_> = schedule.states().map(|it| !it.is_final()).collect();
            let cut = schedule.cancel();
            let expected: Vec<_> = (0..unfinished.len()).filter(|it| unfinished[*it]).collect();
            prop_assert_eq!(cut, expected);
            prop_assert!(schedule.start().is_none() && schedule.is_finished());
            for (this, state) in schedule.states().enumerate() {
                if unfinished[this] {
                    let expected = if is_planned[this] {
                        State::StepFailed { step: done[this] }
                    } else {
                        State::PlanningFailed
                    };
                    prop_assert_eq!(state, &expected);
                }
            }
            return Ok(());
        }
        prop_assert!(schedule.is_finished());
        for (this, state) in schedule.states().enumerate() {
            let count = match plans[this] {
                Planned::Steps { targets, .. } => targets.len(),
                Planned::Failed { .. } => 0,
            };
            match state {
                State::Done => prop_assert!(done[this] == count && !has_failed[this]),
                State::StepFailed { step } => prop_assert!(has_failed[this] && *step == done[this]),
                State::PlanningFailed => {
                    let has_no_plan = matches!(plans[this], Planned::Failed { .. });
                    prop_assert!(has_no_plan);
                }
                // Only children that are not there, only below those that did not get there by themselves.
                State::ParentsFailed(ParentsFailed { parents }) => {
                    prop_assert!(!has_arrived[this]);
                    prop_assert!(done[this] == 0 && !is_there(plans[this], 0) && !parents.is_empty());
                    for parent in parents {
                        let parent = paths.iter().position(|it| *it == parent.as_str()).expect("known");
                        let prefix = format!("{}/", paths[parent]);
                        prop_assert!(paths[this].starts_with(&prefix));
                        prop_assert!(!is_there(plans[parent], done[parent]) && !has_arrived[parent]);
                        let failed_by_itself = has_failed[parent] || matches!(plans[parent], Planned::Failed { .. });
                        prop_assert!(failed_by_itself);
                    }
                }
                state => return Err(TestCaseError::fail(format!("{state:?}"))),
            }
        }
    }
}
