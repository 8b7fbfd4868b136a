mod world;

use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::world::{How, Op, PIECE, SenderFilesystem, World};
use super::{Ending, LiveReport, Memory, Policy, Settings, Side, run, step};
use crate::config::transfer::{Guarantee, InitialReplication, Protection};
use crate::replication::report::{AttemptState, Filesystem, FilesystemState, Report};

fn settings() -> Settings {
    let protection = Protection {
        initial: Guarantee::Resumability,
        incremental: Guarantee::Resumability,
    };
    Settings {
        policy: Policy {
            initial_replication: InitialReplication::All,
            stream: None,
        },
        protection: step::protection(&protection),
        steps: NonZeroUsize::MIN,
        size_estimates: NonZeroUsize::MIN,
        max_attempts: NonZeroU32::new(3).expect("not zero"),
        reconnect_limit: Duration::from_secs(600),
        stall_limit: Duration::from_secs(300),
    }
}

struct Ran {
    ending: Ending,
    report: Report,
    lasted: Duration,
}

async fn replicate(world: &World, settings: &Settings) -> Ran {
    replicate_again(world, settings, &mut Memory::default()).await
}

async fn replicate_again(world: &World, settings: &Settings, memory: &mut Memory) -> Ran {
    let report = LiveReport::default();
    let since = Instant::now();
    let stop = CancellationToken::new();
    let ending = run(&world.sides(), settings, memory, &report, &stop).await;
    let report = report.now();
    assert!(report.finish_at.is_some());
    for attempt in &report.attempts {
        assert!(attempt.finish_at.is_some() && attempt.state.is_final());
    }
    assert_eq!(ending.failed_filesystems, report.failed_filesystems());
    Ran {
        ending,
        report,
        lasted: since.elapsed(),
    }
}

impl Ran {
    /// The states of the attempts.
    fn attempts(&self) -> Vec<AttemptState> {
        self.report.attempts.iter().map(|it| it.state).collect()
    }

    /// State, error and number of steps of a filesystem, in an attempt counted from zero.
    fn filesystem(&self, attempt: usize, name: &str) -> (FilesystemState, String, usize) {
        let listed = &self.report.attempts[attempt].filesystems;
        let this = listed.iter().find(|it| it.info.name == name).expect(name);
        let error = this.error().map(|it| it.err.clone()).unwrap_or_default();
        (this.state, error, this.steps.len())
    }
}

const DONE: Ending = Ending {
    is_cancelled: false,
    failed_filesystems: Some(0),
};

#[tokio::test(start_paused = true)]
async fn everything_arrives_and_the_sender_is_told() {
    let world = World::new(&["p:1,4", "p/a:2,5", "p/b:3"]).received("p/b", &[3]);
    let mut memory = Memory::default();
    let ran = replicate_again(&world, &settings(), &mut memory).await;
    assert_eq!(ran.ending, DONE);
    assert_eq!(ran.attempts(), [AttemptState::Done]);
    assert_eq!(
        world.logged("send "),
        ["p @1", "p/a @2", "p @1@4", "p/a @2@5"]
    );
    assert_eq!(world.arrived("p"), [1, 4]);
    assert_eq!(world.arrived("p/a"), [2, 5]);
    assert_eq!(world.state().cursors["p"], 4);
    assert_eq!(world.state().cursors["p/a"], 5);
    let p = &ran.report.attempts[0].filesystems[0];
    assert_eq!((p.current_step, p.steps.len()), (2, 2));
    let [full, incremental] = &p.steps[..] else {
        panic!("two steps");
    };
    assert_eq!((&*full.info.from, &*full.info.to), ("", "@1"));
    assert_eq!(
        (&*incremental.info.from, &*incremental.info.to),
        ("@1", "@4")
    );
    for step in [full, incremental] {
        assert_eq!(step.info.bytes_expected, 3 * PIECE);
        assert_eq!(step.info.bytes_replicated, 3 * PIECE);
    }
    assert_eq!(
        ran.filesystem(0, "p/b"),
        (FilesystemState::Done, String::new(), 0)
    );

    // Nothing is left to do.
    let before = world.log().len();
    let ran = replicate_again(&world, &settings(), &mut memory).await;
    assert_eq!((ran.ending, ran.lasted), (DONE, Duration::ZERO));
    assert_eq!(world.log().len(), before);
}

#[tokio::test(start_paused = true)]
async fn an_interrupted_step_is_transferred_by_the_second_attempt() {
    // 0.7.0 drops it.
    let world = World::new(&["p:1"]).fault(Op::Midstream, "p", How::Temporary);
    let ran = replicate(&world, &settings()).await;
    assert_eq!(ran.ending, DONE);
    assert_eq!(
        ran.attempts(),
        [AttemptState::FilesystemError, AttemptState::Done]
    );
    assert_eq!(world.logged("send "), ["p @1", "p @1 resumed"]);
    assert_eq!(world.logged("wait ").len(), 2);
    assert_eq!(world.arrived("p"), [1]);
    assert_eq!(
        ran.filesystem(0, "p"),
        (
            FilesystemState::StepError,
            "Midstream failed: connection is lost".to_owned(),
            1
        )
    );
    // What the first attempt moved is counted there.
    let moved = |attempt: usize| {
        let step = &ran.report.attempts[attempt].filesystems[0].steps[0].info;
        (step.resumed, step.bytes_replicated)
    };
    assert_eq!(moved(0), (false, PIECE));
    assert_eq!(moved(1), (true, 3 * PIECE));
    assert_eq!(ran.report.wait_reconnect_since, None);
}

#[tokio::test(start_paused = true)]
async fn no_failure_hides_or_stops_another() {
    use FilesystemState as S;
    let world = World::new(&["plan:1", "step:2", "temporary:3", "well:4"])
        .received("plan", &[9])
        .faults(Op::Receive, "step", How::Permanent, 9)
        .fault(Op::Midstream, "temporary", How::Temporary);
    world.state().nonsense.push("no//name".to_owned());
    let ran = replicate(&world, &settings()).await;
    assert_eq!(ran.ending.failed_filesystems, Some(3));
    assert_eq!(ran.attempts(), [AttemptState::FilesystemError; 2]);
    let states = |attempt: usize| {
        let listed = &ran.report.attempts[attempt].filesystems;
        let state = |it: &Filesystem| (it.info.name.clone(), it.state);
        listed.iter().map(state).collect::<Vec<_>>()
    };
    let of = |temporary| {
        [
            ("no//name", S::PlanningError),
            ("plan", S::PlanningError),
            ("step", S::StepError),
            ("temporary", temporary),
            ("well", S::Done),
        ]
        .map(|(name, state)| (name.to_owned(), state))
    };
    assert_eq!(states(0), of(S::StepError));
    assert_eq!(states(1), of(S::Done));
    assert_eq!(world.arrived("temporary"), [3]);
    assert_eq!(world.arrived("well"), [4]);
    let plan = &ran.report.attempts[1].filesystems[1];
    let error = plan.plan_error.as_ref().expect("an error");
    assert!(error.err.starts_with("no common snapshot"), "{}", error.err);
    assert!(plan.advice.as_ref().is_some_and(|it| it.contains("rename")));
    assert_eq!(ran.filesystem(1, "step").1, "Receive failed");
}

#[tokio::test(start_paused = true)]
async fn a_temporary_failure_of_planning_is_tried_again() {
    for op in [
        Op::Versions(Side::Sender),
        Op::Versions(Side::Receiver),
        Op::Estimate,
    ] {
        let world =
            World::new(&["a:1,2", "b:1,2"])
                .received("a", &[1])
                .fault(op, "a", How::Temporary);
        let ran = replicate(&world, &settings()).await;
        assert_eq!(ran.ending, DONE, "{op:?}");
        assert_eq!(ran.report.attempts.len(), 2);
        let (state, error, _) = ran.filesystem(0, "a");
        assert_eq!(state, FilesystemState::PlanningError);
        assert!(error.starts_with("sender cannot") || error.starts_with("receiver cannot"));
        assert_eq!(ran.filesystem(0, "b").0, FilesystemState::Done);
        assert_eq!(world.arrived("a"), [1, 2]);
    }
}

#[tokio::test(start_paused = true)]
async fn filesystems_that_cannot_be_listed_are_an_error_of_the_attempt() {
    let world = World::new(&["a:1"])
        .fault(Op::Filesystems(Side::Sender), "", How::Permanent)
        .fault(Op::Filesystems(Side::Receiver), "", How::Temporary);
    let ran = replicate(&world, &settings()).await;
    assert_eq!(ran.attempts(), [AttemptState::PlanningError]);
    assert_eq!(ran.ending.failed_filesystems, None);
    let error = ran.report.attempts[0].plan_error.as_ref().expect("there");
    assert_eq!(
        error.err,
        "sender cannot list its filesystems: Filesystems(Sender) failed"
    );

    let world = World::new(&["a:1"]).fault(Op::Filesystems(Side::Receiver), "", How::Temporary);
    let ran = replicate(&world, &settings()).await;
    assert_eq!(
        ran.attempts(),
        [AttemptState::PlanningError, AttemptState::Done]
    );
    assert_eq!(ran.ending, DONE);
}

#[tokio::test(start_paused = true)]
async fn a_side_that_does_not_come_back_ends_the_run() {
    let lost = "connection is lost";
    let unreachable = |side| format!("Connectivity({side:?}) failed: {lost}");
    let cases: [(&[Side], How, String); 4] = [
        (
            &[Side::Sender],
            How::Temporary,
            format!("sender is not reachable: {}", unreachable(Side::Sender)),
        ),
        (
            &[Side::Receiver],
            How::Hang,
            "receiver is not reachable: no answer within 600s".to_owned(),
        ),
        (
            &[Side::Sender, Side::Receiver],
            How::Temporary,
            format!(
                "sender and receiver are not reachable:\n  sender: {}\n  receiver: {}",
                unreachable(Side::Sender),
                unreachable(Side::Receiver)
            ),
        ),
        (
            &[Side::Sender, Side::Receiver],
            How::Hang,
            "sender and receiver are not reachable: no answer within 600s".to_owned(),
        ),
    ];
    for (sides, how, expected) in cases {
        let mut world = World::new(&["p:1"]).fault(Op::Midstream, "p", How::Temporary);
        for side in sides {
            world = world.fault(Op::Connectivity(*side), "", how);
        }
        let ran = replicate(&world, &settings()).await;
        assert_eq!(ran.attempts(), [AttemptState::FilesystemError]);
        assert_eq!(ran.ending.failed_filesystems, Some(1));
        let error = ran.report.wait_reconnect_error.as_ref().expect("in vain");
        assert_eq!(error.err, expected);
        let since = ran.report.wait_reconnect_since.expect("it waited");
        let until = ran.report.wait_reconnect_until.expect("not for ever");
        assert_eq!(until.duration_since(since).as_secs(), 600);
        assert!(ran.lasted < Duration::from_secs(700));
    }
}

#[tokio::test(start_paused = true)]
async fn attempts_are_bounded() {
    let world = World::new(&["p:1"]).faults(Op::Midstream, "p", How::Temporary, 99);
    let ran = replicate(&world, &settings()).await;
    assert_eq!(ran.attempts(), [AttemptState::FilesystemError; 3]);
    // After the last one there is no waiting.
    assert_eq!(world.logged("wait ").len(), 4);
    assert_eq!(ran.ending.failed_filesystems, Some(1));
}

#[tokio::test(start_paused = true)]
async fn a_run_does_not_chase_snapshots_that_are_taken_while_it_lasts() {
    for (before, during, after) in [("p:1", 2, vec![1]), ("p:1,2", 3, vec![1, 2])] {
        let world = World::new(&[before]).fault(Op::Midstream, "p", How::Temporary);
        let later = world.clone();
        tokio::spawn(async move {
            // After the first listing, and before the second: each estimate takes a second, and so does the first piece.
            tokio::time::sleep(Duration::from_millis(1500)).await;
            later.snapshot("p", during);
        });
        let ran = replicate(&world, &settings()).await;
        assert_eq!(ran.report.attempts.len(), 2);
        assert_eq!(world.arrived("p"), after);
        replicate(&world, &settings()).await;
        assert_eq!(world.arrived("p"), [after, vec![during]].concat());
    }
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_run_ends_at_once_whatever_it_does() {
    use FilesystemState as S;
    let hang = |op| {
        World::new(&["p:1,2"])
            .received("p", &[1])
            .fault(op, "", How::Hang)
    };
    let world = |op| match op {
        Op::Connectivity(_) => hang(op).fault(Op::Receive, "", How::Temporary),
        op => hang(op),
    };
    for (op, state) in [
        (Op::Filesystems(Side::Sender), None),
        (Op::Filesystems(Side::Receiver), None),
        (Op::Versions(Side::Sender), Some(S::PlanningError)),
        (Op::Estimate, Some(S::PlanningError)),
        (Op::Send, Some(S::StepError)),
        (Op::Receive, Some(S::StepError)),
        (Op::Midstream, Some(S::StepError)),
        (Op::Finish, Some(S::StepError)),
        (Op::Complete, Some(S::StepError)),
        (Op::Connectivity(Side::Receiver), None),
    ] {
        let world = world(op);
        let (report, stop) = (LiveReport::default(), CancellationToken::new());
        let mut memory = Memory::default();
        let (sides, settings) = (world.sides(), settings());
        let later = async {
            tokio::time::sleep(Duration::from_secs(60)).await;
            stop.cancel();
            Instant::now()
        };
        let run = async {
            let ending = run(&sides, &settings, &mut memory, &report, &stop).await;
            (ending, Instant::now())
        };
        let ((ending, ended), cancelled) = tokio::join!(run, later);
        assert!(ending.is_cancelled, "{op:?}");
        assert_eq!(ended, cancelled, "{op:?}");
        let report = report.now();
        let attempt = &report.attempts[0];
        match (op, state) {
            (Op::Connectivity(_), _) => {
                let error = report.wait_reconnect_error.expect("in vain");
                assert_eq!(error.err, "context canceled");
            }
            (_, None) => {
                let error = attempt.plan_error.as_ref().expect("no filesystems");
                assert_eq!(error.err, "context canceled");
                assert_eq!(ending.failed_filesystems, None);
            }
            (_, Some(state)) => {
                let filesystem = &attempt.filesystems[0];
                assert_eq!(filesystem.state, state, "{op:?}");
                let error = filesystem.error().expect("it was cut");
                assert_eq!(error.err, "context canceled");
                assert_eq!(ending.failed_filesystems, Some(1));
            }
        }
        // The stream was cut, and what has arrived of it stays.
        assert_eq!(world.state().streams.now, 0, "{op:?}");
        assert_eq!(
            world.state().receiver["p"].token.is_some(),
            matches!(op, Op::Midstream | Op::Finish),
            "{op:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_that_is_cancelled_beforehand_asks_nobody() {
    let world = World::new(&["p:1"]).fault(Op::Filesystems(Side::Sender), "", How::Panic);
    let (report, stop) = (LiveReport::default(), CancellationToken::new());
    stop.cancel();
    let mut memory = Memory::default();
    let ending = run(&world.sides(), &settings(), &mut memory, &report, &stop).await;
    assert!(ending.is_cancelled);
    assert!(world.log().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_stands_still_is_cut_and_resumed() {
    let world = World::new(&["p:1"]).fault(Op::Midstream, "p", How::Hang);
    let ran = replicate(&world, &settings()).await;
    assert_eq!(ran.ending, DONE);
    assert_eq!(world.logged("send "), ["p @1", "p @1 resumed"]);
    let (state, error, _) = ran.filesystem(0, "p");
    assert_eq!(state, FilesystemState::StepError);
    assert_eq!(
        error,
        "stream of p@1 was cut after 10 bytes, to be resumed: no byte was moved for 300s"
    );
    let limit = settings().stall_limit;
    assert!(ran.lasted > limit && ran.lasted < limit * 12 / 10);
    // Before the first byte, too.
    let world = World::new(&["p:1"]).fault(Op::Receive, "p", How::Hang);
    assert_eq!(replicate(&world, &settings()).await.ending, DONE);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_moves_slowly_or_has_ended_is_not_cut() {
    let world = World::new(&["p:1"])
        .fault(Op::Finish, "p", How::Late(100_000))
        .fault(Op::Complete, "p", How::Late(100_000));
    world.state().pieces = 2000;
    let ran = replicate(&world, &settings()).await;
    assert_eq!(ran.ending, DONE);
    assert_eq!(ran.report.attempts.len(), 1);
    assert!(ran.lasted > Duration::from_secs(200_000));
    // As long as less than the limit passes between two bytes, it moves.
    let world = World::new(&["p:1"]).fault(Op::Midstream, "p", How::Late(299));
    assert_eq!(
        replicate(&world, &settings()).await.report.attempts.len(),
        1
    );
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_fails_while_the_sender_still_sends_ends_the_stream() {
    for op in [Op::Receive, Op::Midstream] {
        let world = World::new(&["p:1", "q:2"]).fault(op, "p", How::Permanent);
        world.state().is_endless = true;
        let (report, stop) = (LiveReport::default(), CancellationToken::new());
        let mut memory = Memory::default();
        let (sides, settings) = (world.sides(), settings());
        let later = async {
            tokio::time::sleep(Duration::from_secs(60)).await;
            // The step has failed, its stream has ended, and the next filesystem has its turn.
            let filesystems = &report.now().attempts[0].filesystems;
            assert_eq!(filesystems[0].state, FilesystemState::StepError);
            assert_eq!(filesystems[1].state, FilesystemState::Stepping);
            assert!(filesystems[1].steps[0].info.bytes_replicated > 10 * PIECE);
            assert_eq!(world.logged("stream-ends "), ["p"]);
            stop.cancel();
        };
        tokio::join!(run(&sides, &settings, &mut memory, &report, &stop), later);
    }
}

#[tokio::test(start_paused = true)]
async fn children_wait_for_parents_that_the_receiver_does_not_have() {
    let world = World::new(&["a:5,6", "a/b:1", "aa:2"]);
    replicate(&world, &settings()).await;
    assert_eq!(world.logged("send "), ["aa @2", "a @5", "a/b @1", "a @5@6"]);

    let world = World::new(&["a:5", "a/b:1", "aa:2"]).faults(Op::Receive, "a", How::Permanent, 1);
    let ran = replicate(&world, &settings()).await;
    assert_eq!(world.logged("send "), ["aa @2", "a @5"]);
    assert_eq!(
        ran.filesystem(0, "a/b"),
        (
            FilesystemState::StepError,
            "parent(s) failed during initial replication: [a]".to_owned(),
            1
        )
    );
    assert_eq!(ran.ending.failed_filesystems, Some(2));
    assert_eq!(ran.report.attempts.len(), 1);

    // A parent that can be had in the next attempt takes its children with it.
    let world = World::new(&["a:5", "a/b:1"]).fault(Op::Receive, "a", How::Temporary);
    let ran = replicate(&world, &settings()).await;
    assert_eq!(ran.ending, DONE);
    assert_eq!(world.arrived("a/b"), [1]);
}

#[tokio::test(start_paused = true)]
async fn children_do_not_wait_for_a_parent_that_cannot_be_planned_but_is_there() {
    let world = World::new(&["a:1", "a/b:2"]).received("a", &[9]);
    let ran = replicate(&world, &settings()).await;
    assert_eq!(ran.filesystem(0, "a").0, FilesystemState::PlanningError);
    assert_eq!(ran.filesystem(0, "a/b").0, FilesystemState::Done);
    assert_eq!(world.arrived("a/b"), [2]);
}

#[tokio::test(start_paused = true)]
async fn the_limits_of_concurrency_are_used_and_kept() {
    let names: Vec<_> = (1..=9).map(|it| format!("p{it}:1,2,3")).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let world = World::new(&names);
    let mut settings = settings();
    settings.steps = NonZeroUsize::new(3).expect("not zero");
    settings.size_estimates = NonZeroUsize::new(2).expect("not zero");
    assert_eq!(replicate(&world, &settings).await.ending, DONE);
    assert_eq!(world.state().streams.most, 3);
    assert_eq!(world.state().estimates.most, 2);
}

#[tokio::test(start_paused = true)]
async fn what_follows_a_transfer_does_not_delay_that_of_others() {
    let world = World::new(&["a:1,3", "b:2"]).faults(Op::Complete, "a", How::Late(50), 2);
    let ran = replicate(&world, &settings()).await;
    assert_eq!(ran.ending, DONE);
    // Two estimates, one, and three streams of three seconds; `b` in the time that `a` takes to complete, twice.
    assert_eq!(ran.lasted, Duration::from_secs(3 + 3 + 50 + 3 + 50));
    let log = world.log();
    let at = |line: &str| log.iter().position(|it| it == line).expect(line);
    assert!(at("complete a @1") < at("send b @2"));
    assert!(at("received b @2") < at("completed a"));
    // The next step of the same filesystem waits, though.
    assert!(at("completed a") < at("send a @1@3"));
}

#[tokio::test(start_paused = true)]
async fn a_sender_that_never_heard_of_the_last_step_is_told() {
    // As after a kill between the last byte and the cursor.
    let world = World::new(&["a:1,2", "b:1"])
        .received_unheard("a", &[1, 2])
        .received("b", &[1]);
    let ran = replicate(&world, &settings()).await;
    assert_eq!(ran.ending.failed_filesystems, Some(0));
    assert_eq!(world.logged("completed"), ["a"]);
    assert_eq!(world.logged("confirmed"), ["a"], "so is the receiver");
    assert_eq!(world.state().cursors["a"], 2);
    // Once.
    replicate(&world, &settings()).await;
    assert_eq!(world.logged("completed"), ["a"]);
    // Where nothing is promised there are no cursors, and nothing is to be told.
    let world = World::new(&["a:1,2"]).received_unheard("a", &[1, 2]);
    let mut careless = settings();
    careless.protection.incremental = zrepl_proto::pdu::GuaranteeKind::Nothing;
    replicate(&world, &careless).await;
    assert!(world.logged("completed").is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_step_that_cannot_be_completed_has_failed_though_it_arrived() {
    let world = World::new(&["a:1,2", "a/b:3"]).faults(Op::Complete, "a", How::Permanent, 1);
    let mut memory = Memory::default();
    let ran = replicate_again(&world, &settings(), &mut memory).await;
    assert_eq!(ran.ending.failed_filesystems, Some(1));
    let (state, error, _) = ran.filesystem(0, "a");
    assert_eq!(state, FilesystemState::StepError);
    assert_eq!(
        error,
        "@1 has arrived, but the sender cannot note it: Complete failed"
    );
    // It is there, so its child can be received.
    assert_eq!(ran.filesystem(0, "a/b").0, FilesystemState::Done);
    assert_eq!(world.state().cursors.get("a"), None);

    let ran = replicate_again(&world, &settings(), &mut memory).await;
    assert_eq!(ran.ending, DONE);
    assert_eq!(world.arrived("a"), [1, 2]);
}

#[tokio::test(start_paused = true)]
async fn a_sender_that_missed_an_arrival_is_told_in_the_next_attempt() {
    let world = World::new(&["a:1"]).fault(Op::Complete, "a", How::Temporary);
    let mut memory = Memory::default();
    let ran = replicate_again(&world, &settings(), &mut memory).await;
    assert_eq!(ran.ending, DONE);
    assert_eq!(
        ran.filesystem(1, "a"),
        (FilesystemState::Done, String::new(), 0)
    );
    assert_eq!(world.logged("complete "), ["a @1", "a @1"]);
    assert_eq!(world.state().cursors["a"], 1);
    // Once is enough.
    replicate_again(&world, &settings(), &mut memory).await;
    assert_eq!(world.logged("complete ").len(), 2);

    // A sender that will not hear of it does not stop what follows.
    let world = World::new(&["a:1"]).faults(Op::Complete, "a", How::Permanent, 2);
    replicate_again(&world, &settings(), &mut memory).await;
    world.snapshot("a", 2);
    let ran = replicate_again(&world, &settings(), &mut memory).await;
    assert_eq!(ran.ending, DONE);
    assert_eq!(world.state().cursors["a"], 2);
}

#[tokio::test(start_paused = true)]
async fn a_sender_is_not_told_of_what_is_gone_from_the_receiver() {
    let world = World::new(&["a:1"]).fault(Op::Complete, "a", How::Permanent);
    let mut memory = Memory::default();
    replicate_again(&world, &settings(), &mut memory).await;
    world.state().receiver.remove("a");
    let before = world.log().len();
    replicate_again(&world, &settings(), &mut memory).await;
    assert_eq!(world.log()[before], "send a @1");
}

#[tokio::test(start_paused = true)]
async fn a_token_that_was_refused_once_is_not_tried_again() {
    let world = World::new(&["p:1"]).fault(Op::Midstream, "p", How::Permanent);
    let mut memory = Memory::default();
    replicate_again(&world, &settings(), &mut memory).await;
    // It fails before the receiver could give up the partial receive.
    let world =
        world
            .fault(Op::EstimateResumed, "p", How::Permanent)
            .fault(Op::Send, "p", How::Permanent);
    replicate_again(&world, &settings(), &mut memory).await;
    assert!(world.state().receiver["p"].token.is_some());
    replicate_again(&world, &settings(), &mut memory).await;
    assert_eq!(world.logged("send "), ["p @1"; 3]);
}

#[tokio::test(start_paused = true)]
async fn a_token_that_the_sender_refuses_is_given_up_in_the_same_attempt() {
    let world = World::new(&["p:1"]).faults(Op::EstimateResumed, "p", How::Permanent, 9);
    let world = world.fault(Op::Midstream, "p", How::Permanent);
    let mut memory = Memory::default();
    replicate_again(&world, &settings(), &mut memory).await;
    assert!(world.state().receiver["p"].token.is_some());
    let ran = replicate_again(&world, &settings(), &mut memory).await;
    assert_eq!(ran.ending, DONE);
    assert_eq!(ran.report.attempts.len(), 1);
    assert_eq!(world.logged("send "), ["p @1", "p @1"]);
    let discarded = ran.report.attempts[0].filesystems[0]
        .discarded_token
        .clone();
    assert_eq!(
        discarded.as_deref(),
        Some("it was refused: EstimateResumed failed")
    );
}

#[tokio::test(start_paused = true)]
async fn a_token_is_kept_if_its_absence_would_not_help() {
    let world = World::new(&["p:1"]).fault(Op::Midstream, "p", How::Permanent);
    let mut memory = Memory::default();
    replicate_again(&world, &settings(), &mut memory).await;
    let world = world.fault(Op::EstimateResumed, "p", How::Permanent).fault(
        Op::Estimate,
        "p",
        How::Permanent,
    );
    let ran = replicate_again(&world, &settings(), &mut memory).await;
    assert_eq!(ran.filesystem(0, "p").0, FilesystemState::PlanningError);
    replicate_again(&world, &settings(), &mut memory).await;
    assert_eq!(world.logged("send "), ["p @1", "p @1 resumed"]);
}

#[tokio::test(start_paused = true)]
async fn a_token_with_which_steps_fail_again_and_again_is_given_up() {
    let world = World::new(&["p:1"]).fault(Op::Midstream, "p", How::Permanent);
    let mut memory = Memory::default();
    replicate_again(&world, &settings(), &mut memory).await;
    let world = world.faults(Op::Receive, "p", How::Permanent, 3);
    for _ in 0..2 {
        let ran = replicate_again(&world, &settings(), &mut memory).await;
        assert_eq!(ran.report.attempts.len(), 1);
    }
    let ran = replicate_again(&world, &settings(), &mut memory).await;
    assert_eq!(ran.ending, DONE);
    assert_eq!(ran.report.attempts.len(), 2);
    assert!(world.logged("wait ").is_empty());
    let resumed = "p @1 resumed";
    assert_eq!(
        world.logged("send "),
        ["p @1", resumed, resumed, resumed, "p @1"]
    );
}

#[tokio::test(start_paused = true)]
async fn a_task_that_panics_is_an_error_of_its_filesystem() {
    for op in [
        Op::Versions(Side::Sender),
        Op::Estimate,
        Op::Send,
        Op::Midstream,
        Op::Complete,
    ] {
        let world = World::new(&["p:1", "q:2"]).fault(op, "p", How::Panic);
        let ran = replicate(&world, &settings()).await;
        assert_eq!(ran.ending.failed_filesystems, Some(1), "{op:?}");
        let (_, error, _) = ran.filesystem(0, "p");
        assert!(error.starts_with("internal error: "), "{error}");
        assert_eq!(world.arrived("q"), [2]);
    }
}

#[tokio::test(start_paused = true)]
async fn placeholders_and_an_empty_sender_need_nothing() {
    let world = World::new(&["p/a:1"]);
    let placeholder = SenderFilesystem {
        is_placeholder: true,
        ..SenderFilesystem::default()
    };
    world.state().sender.insert("p".to_owned(), placeholder);
    let ran = replicate(&world, &settings()).await;
    assert_eq!(ran.ending, DONE);
    assert_eq!(
        ran.filesystem(0, "p"),
        (FilesystemState::Done, String::new(), 0)
    );
    assert_eq!(world.arrived("p/a"), [1]);

    let ran = replicate(&World::new(&[]), &settings()).await;
    assert_eq!(
        (ran.ending, ran.attempts()),
        (DONE, vec![AttemptState::Done])
    );
}

#[tokio::test(start_paused = true)]
async fn memory_forgets_filesystems_that_are_gone() {
    let world = World::new(&["p:1", "q:1"]).fault(Op::Complete, "p", How::Permanent);
    let mut memory = Memory::default();
    replicate_again(&world, &settings(), &mut memory).await;
    assert!(!memory.is_empty());
    world.state().sender.remove("p");
    replicate_again(&world, &settings(), &mut memory).await;
    assert!(memory.is_empty());
}

mod random;

/// What pruners may go by without asking again.
#[tokio::test(start_paused = true)]
async fn lists_are_kept_of_filesystems_to_which_nothing_was_done_and_of_the_last_attempt_only() {
    let world = World::new(&["p:1", "p/a:2", "p/b:3,4"])
        .received("p", &[1])
        .received("p/b", &[3]);
    let mut memory = Memory::default();
    replicate_again(&world, &settings(), &mut memory).await;
    let mut unchanged = memory.take_unchanged();
    let now = Instant::now();
    let path = |name| zfs_safe::name::DatasetPath::new(name).expect("valid");
    let listed = unchanged.take(&path("p"), now).expect("nothing was done");
    assert_eq!((listed.0.len(), listed.1.len()), (2, 1), "with its cursor");
    for changed in ["p/a", "p/b"] {
        assert!(unchanged.take(&path(changed), now).is_none(), "{changed}");
    }
    // A run that nobody takes the lists of, and one that cannot list.
    replicate_again(&world, &settings(), &mut memory).await;
    let unreachable = Op::Filesystems(Side::Receiver);
    let world = world.fault(unreachable, "", How::Permanent);
    replicate_again(&world, &settings(), &mut memory).await;
    assert!(memory.take_unchanged().take(&path("p"), now).is_none());
}
