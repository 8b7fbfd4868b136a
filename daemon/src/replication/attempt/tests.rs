use proptest::prelude::*;

use super::super::model::{bookmark, snapshot};
use super::super::step::steps;
use super::super::version::Version;
use super::*;

fn ending(global: Option<Class>, filesystems: &[Class]) -> Ending {
    Ending {
        is_cancelled: false,
        global,
        filesystems: filesystems.to_vec(),
    }
}

#[test]
fn one_failure_that_can_pass_is_enough_to_try_again() {
    use Class::{Permanent as P, Temporary as T, TokenRefused as R};
    let max = DEFAULT_MAX_ATTEMPTS;
    let exhausted = Next::GiveUp(GiveUp::Exhausted(max));
    let permanent = Next::GiveUp(GiveUp::Permanent);
    for (global, filesystems, on_first, on_last) in [
        (None, &[][..], Next::Done, Next::Done),
        (None, &[P], permanent, permanent),
        (None, &[P, P], permanent, permanent),
        (Some(P), &[], permanent, permanent),
        (Some(T), &[], Next::Reconnect, exhausted),
        (None, &[T], Next::Reconnect, exhausted),
        (None, &[P, T, P], Next::Reconnect, exhausted),
        (None, &[R, P], Next::Retry, exhausted),
        (None, &[R, T], Next::Reconnect, exhausted),
    ] {
        let mut ending = ending(global, filesystems);
        for (attempt, expected) in [(1, on_first), (2, on_first), (3, on_last), (4, on_last)] {
            assert_eq!(after(attempt, max, &ending), expected, "{ending:?}");
        }
        ending.is_cancelled = true;
        assert_eq!(after(1, max, &ending), Next::GiveUp(GiveUp::Cancelled));
    }
    assert_eq!(
        GiveUp::Permanent.to_string(),
        "most recent error cannot be solved by reconnecting, aborting run"
    );
}

fn failed() -> EndpointError {
    EndpointError::Failed("no".to_owned())
}

fn unreachable() -> EndpointError {
    EndpointError::Unreachable {
        context: "lost".to_owned(),
        source: "reset".into(),
    }
}

fn protocol() -> EndpointError {
    EndpointError::Protocol {
        context: "odd".to_owned(),
        source: "nonsense".into(),
    }
}

#[test]
fn a_token_is_given_up_only_if_it_is_to_blame() {
    use Stage::{Complete, Estimate, Receive, Send};
    let same = Some("1-x");
    let newer = Some("1-y");
    for (stage, token_after, fruitless, is_refused) in [
        (Estimate, same, 0, true),
        (Estimate, None, 0, true),
        (Send, same, 0, false),
        (Send, same, 2, true),
        (Receive, same, 0, false),
        (Receive, same, 1, false),
        (Receive, same, 2, true),
        (Receive, newer, 9, false),
        (Receive, None, 9, false),
        (Complete, same, 9, false),
    ] {
        let mut step = steps(None, vec![snapshot("1", 1, 1)]).remove(0);
        step.resume_token = Some("1-x".to_owned());
        let progress = TokenProgress {
            token_after,
            fruitless,
        };
        let (class, refused) = classify(&step, stage, &failed(), progress);
        assert_eq!(
            class == Class::TokenRefused,
            is_refused,
            "{stage:?} {progress:?}"
        );
        assert_eq!(refused.is_some(), is_refused);
        if let Some(refused) = refused {
            assert_eq!(
                (refused.token.as_str(), refused.reason.as_str()),
                ("1-x", "no")
            );
        }
        // Whatever else it was, it was not the token.
        let of_other = |error| classify(&step, stage, &error, progress);
        assert_eq!(of_other(unreachable()), (Class::Temporary, None));
        assert_eq!(of_other(protocol()), (Class::Permanent, None));
        step.resume_token = None;
        let of_plain = classify(&step, stage, &failed(), progress);
        assert_eq!(of_plain, (Class::Permanent, None));
    }
    assert_eq!(Class::from(&unreachable()), Class::Temporary);
    assert_eq!(Class::from(&failed()), Class::Permanent);
    assert_eq!(Class::from(&protocol()), Class::Permanent);
}

#[test]
fn the_interrupted_step_is_part_of_the_next_attempt() {
    let [base, one, two, three] = [
        bookmark("b", 1, 1),
        snapshot("1", 2, 2),
        snapshot("2", 3, 3),
        snapshot("3", 4, 4),
    ];
    let chain = |from: &Version, to: &[&Version]| {
        steps(
            Some(from.clone()),
            to.iter().map(|&it| it.clone()).collect(),
        )
    };
    for (uncompleted, new, expected) in [
        // B1: the only step, interrupted
        (chain(&base, &[&one]), chain(&base, &[&one]), 1),
        // a snapshot taken meanwhile is left to the next run
        (
            chain(&base, &[&one, &two]),
            chain(&base, &[&one, &two, &three]),
            2,
        ),
        // the first had arrived, only nobody knew
        (chain(&base, &[&one, &two]), chain(&one, &[&two]), 1),
        // one was destroyed meanwhile
        (
            chain(&base, &[&one, &two]),
            chain(&base, &[&two, &three]),
            1,
        ),
        (
            chain(&base, &[&one, &two]),
            chain(&base, &[&one, &three]),
            1,
        ),
        // nothing in common: all there is to do
        (chain(&base, &[&one]), chain(&base, &[&two, &three]), 2),
        (vec![], chain(&base, &[&two]), 1),
        (chain(&base, &[&one]), vec![], 0),
    ] {
        let kept = continue_plan(&uncompleted, new.clone());
        assert_eq!(kept, new[..expected]);
    }
}

proptest! {
    #[test]
    fn an_attempt_never_stops_short_of_what_was_planned_before(
        before in prop::collection::btree_set(1..20u64, 0..6),
        now in prop::collection::btree_set(1..20u64, 0..6),
    ) {
        let plan = |guids: &std::collections::BTreeSet<u64>| {
            steps(None, guids.iter().map(|&it| snapshot("s", it, it)).collect())
        };
        let (before, now) = (plan(&before), plan(&now));
        let kept = continue_plan(&before, now.clone());
        prop_assert!(now.starts_with(&kept));
        prop_assert_eq!(kept.is_empty(), now.is_empty());
        let is_target = |step: &&Step| before.iter().any(|it| it.to.guid() == step.to.guid());
        prop_assert_eq!(
            kept.iter().filter(is_target).count(),
            now.iter().filter(is_target).count()
        );
    }
}
