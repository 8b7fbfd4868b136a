use proptest::prelude::*;
use zfs_safe::guid::Guid;

use super::super::conflict::Conflict;
use super::super::model::{
    ReceiverModel, TwoSides, bookmark, nonsense, snapshot, token, two_sides,
};
use super::*;

const FS: &str = "p/a";

const POLICIES: [InitialReplication; 3] = [
    InitialReplication::MostRecent,
    InitialReplication::All,
    InitialReplication::Fail,
];

fn policy(initial_replication: InitialReplication) -> Policy {
    Policy {
        initial_replication,
        stream: None,
    }
}

fn wire(versions: &[Version]) -> Vec<pdu::FilesystemVersion> {
    versions.iter().map(Into::into).collect()
}

fn facts(sender: &[Version], receiver: &[Version], token: Option<String>) -> Facts {
    Facts {
        pair: Pair {
            filesystem: DatasetPath::new(FS).expect("valid"),
            sender_is_placeholder: false,
            receiver: Some(Counterpart {
                is_placeholder: false,
                resume_token: token,
            }),
        },
        sender: wire(sender),
        receiver: wire(receiver),
        refused: None,
    }
}

fn filesystem(path: &str, is_placeholder: bool, token: &str) -> pdu::Filesystem {
    pdu::Filesystem {
        path: path.to_owned(),
        resume_token: token.to_owned(),
        is_placeholder,
    }
}

#[test]
fn counterparts_have_the_same_name() {
    let sender = [
        filesystem("p/b", false, ""),
        filesystem("p", true, ""),
        filesystem("p/b", true, ""),
        filesystem("p//x", false, ""),
        filesystem("", false, ""),
        filesystem("p/a", false, ""),
    ];
    let receiver = [
        filesystem("p/a", false, "1-x"),
        filesystem("p", true, "-"),
        filesystem("p/a", true, ""),
        filesystem("p/z", false, ""),
    ];
    let pairs = pair(&sender, &receiver);
    let shown: Vec<_> = pairs
        .filesystems
        .iter()
        .map(|it| {
            let receiver = it.receiver.as_ref();
            (
                it.filesystem.as_str(),
                it.sender_is_placeholder,
                receiver.map(|it| (it.is_placeholder, it.resume_token.as_deref())),
            )
        })
        .collect();
    assert_eq!(
        shown,
        [
            ("p", true, Some((true, None))),
            ("p/a", false, Some((false, Some("1-x")))),
            ("p/b", false, None),
        ]
    );
    assert_eq!(pairs.invalid.len(), 2);
    assert_eq!(pair(&[], &receiver), Pairs::default());
}

#[test]
fn placeholders_have_nothing_to_send_and_nothing_to_keep() {
    let (sender, receiver) = ([snapshot("1", 1, 1)], [snapshot("r", 9, 1)]);
    for (sender_is_placeholder, counterpart, expected) in [
        (true, None, "sender filesystem is placeholder"),
        (true, Some(true), "sender filesystem is placeholder"),
        (
            true,
            Some(false),
            "sender filesystem is placeholder, but receiver filesystem is not",
        ),
        (false, None, "initial replication of all snapshots"),
        (false, Some(true), "initial replication of all snapshots"),
    ] {
        let mut facts = facts(&sender, &receiver, None);
        facts.pair.sender_is_placeholder = sender_is_placeholder;
        facts.pair.receiver = counterpart.map(|is_placeholder| Counterpart {
            is_placeholder,
            resume_token: None,
        });
        let pair = &facts.pair;
        assert_eq!(pair.needs_sender_versions(), !sender_is_placeholder);
        assert!(!pair.needs_receiver_versions());
        let plan = plan(facts, policy(InitialReplication::MostRecent));
        let shown = match plan.outcome {
            Ok(steps) => {
                assert_eq!(steps.steps.is_empty(), sender_is_placeholder);
                steps.reason.to_string()
            }
            Err(error) => error.to_string(),
        };
        assert_eq!(shown, expected);
        assert_eq!(plan.is_on_receiver, counterpart == Some(false));
    }
    assert!(facts(&[], &[], None).pair.needs_receiver_versions());
}

#[test]
fn reasons_and_errors_are_those_of_zrepl() {
    let [one, two, nine] = [
        snapshot("1", 1, 1),
        snapshot("2", 2, 2),
        snapshot("9", 9, 9),
    ];
    let bad = pdu::FilesystemVersion::default();
    let planned = |facts, policy_| match plan(facts, policy(policy_)).outcome {
        Ok(steps) => steps.reason.to_string(),
        Err(error) => {
            let first = error.to_string();
            first.lines().next().unwrap_or_default().to_owned()
        }
    };
    let recent = InitialReplication::MostRecent;
    let both = [one.clone(), two.clone()];
    for (facts, policy, expected) in [
        (
            facts(&[], &[], None),
            recent,
            "sender does not have any versions",
        ),
        (
            facts(&both, &both, None),
            recent,
            "the most recent sender snapshot is already present on the receiver (guid=2, name=\"@2\")",
        ),
        (
            facts(&both, &both[..1], None),
            recent,
            "incremental from @1, the newest common version",
        ),
        (
            facts(&both, &[], None),
            recent,
            "initial replication of the newest snapshot, without 1 older",
        ),
        (
            facts(&both, &[], None),
            InitialReplication::All,
            "initial replication of all snapshots",
        ),
        (
            facts(&both, &[], None),
            InitialReplication::Fail,
            "automatic conflict resolution for initial replication is disabled in config",
        ),
        (
            facts(&[bookmark("b", 1, 1)], &[], None),
            recent,
            "no snapshots available on sender side",
        ),
        (
            facts(&both, &[one.clone(), nine], None),
            recent,
            "the receiver's latest snapshot is not present on sender:",
        ),
        (
            facts(&both, &[one], Some(token(FS, Some(1), 2))),
            InitialReplication::Fail,
            "resumed after 4096 bytes",
        ),
        (
            Facts {
                receiver: vec![bad.clone()],
                ..facts(&both, &[], None)
            },
            recent,
            "receiver lists versions that cannot be used",
        ),
        (
            Facts {
                sender: vec![bad],
                ..facts(&both, &[], None)
            },
            recent,
            "sender lists versions that cannot be used",
        ),
    ] {
        assert_eq!(planned(facts, policy), expected);
    }
}

#[test]
fn a_stale_token_does_not_stand_in_the_way() {
    // Row 12: the target was destroyed on the sender; 0.7.0 fails each time.
    let sender = [snapshot("1", 1, 1), snapshot("3", 3, 3)];
    let facts = facts(&sender, &sender[..1], Some(token(FS, Some(1), 2)));
    let plan = plan(facts, policy(InitialReplication::MostRecent));
    assert!(matches!(
        plan.discarded_token,
        Some(Unusable::TargetGone { .. })
    ));
    let steps = plan.outcome.expect("steps").steps;
    assert_eq!(steps.len(), 1);
    assert_eq!(steps[0].from.as_ref(), Some(&sender[0]));
    assert_eq!(steps[0].to, sender[1]);
    assert!(steps[0].clear_resume_token());
}

/// A token for any two guids of the model, of this or another filesystem, or a text that is none.
fn any_token() -> impl Strategy<Value = Option<String>> {
    prop_oneof![
        1 => Just(None),
        1 => "[0-9a-f-]{0,20}".prop_map(Some),
        8 => (prop::option::of(1..9u64), 1..9u64).prop_map(|(from, to)| Some(token(FS, from, to))),
        1 => (1..9u64).prop_map(|to| Some(token("p/b", None, to))),
    ]
}

/// What happens when the steps are done one after the other.
fn apply(receiver: &[Version], steps: &[Step]) -> Result<ReceiverModel, String> {
    let mut sorted: Vec<_> = receiver.iter().filter(|it| it.is_snapshot()).collect();
    sorted.sort_by_key(|it| it.createtxg());
    let mut model = ReceiverModel {
        snapshots: sorted.into_iter().map(Version::guid).collect(),
    };
    steps.iter().try_for_each(|step| model.receive(step))?;
    Ok(model)
}

fn newest_snapshot(versions: &[Version]) -> Option<Guid> {
    let snapshots = versions.iter().filter(|it| it.is_snapshot());
    snapshots.max_by_key(|it| it.createtxg()).map(Version::guid)
}

/// What must hold of every plan for pools as they are.
fn check(
    sides: &TwoSides,
    plan: &FilesystemPlan,
    kind: InitialReplication,
) -> Result<(), TestCaseError> {
    let steps = match &plan.outcome {
        Ok(planned) => &planned.steps,
        Err(PlanningError::NoSenderVersions) => {
            prop_assert!(sides.sender.is_empty());
            return Ok(());
        }
        Err(PlanningError::Conflict(unresolved)) => {
            let has_snapshots = newest_snapshot(&sides.receiver).is_some();
            match unresolved.conflict() {
                Conflict::NoSenderSnapshots { .. } => {
                    prop_assert!(newest_snapshot(&sides.sender).is_none());
                }
                Conflict::NoCommonAncestor { .. } => {
                    prop_assert!(has_snapshots || kind == InitialReplication::Fail);
                }
                Conflict::Diverged { .. } => prop_assert!(has_snapshots),
            }
            prop_assert_eq!(
                unresolved.conflict().receiver_has_snapshots(),
                has_snapshots
            );
            return Ok(());
        }
        Err(error) => return Err(TestCaseError::fail(error.to_string())),
    };
    let after = apply(&sides.receiver, steps).map_err(TestCaseError::fail)?;
    // Everything newer than the first step's base has arrived. What an interrupted stream passes over was not to be sent then.
    if let Some(first) = steps.first() {
        let base = first.from.as_ref().filter(|_| first.resume_token.is_none());
        let base = base.unwrap_or(&first.to);
        for version in sides.sender.iter().filter(|it| it.is_snapshot()) {
            let is_due = version.createtxg() > base.createtxg();
            prop_assert!(!is_due || after.snapshots.contains(&version.guid()));
        }
        prop_assert_eq!(
            after.snapshots.last().copied(),
            newest_snapshot(&sides.sender)
        );
    } else {
        // Nothing to do is said only if the receiver's newest is not older than any snapshot of the sender.
        let newest = after.snapshots.last();
        let ours = sides.sender.iter().filter(|it| Some(&it.guid()) == newest);
        let common = ours.map(Version::createtxg).max();
        let mut snapshots = sides.sender.iter().filter(|it| it.is_snapshot());
        prop_assert!(common.is_some());
        prop_assert!(snapshots.all(|it| Some(it.createtxg()) <= common));
    }
    // The token is used for the first step, or there is a reason not to.
    prop_assert!(steps.iter().skip(1).all(|step| step.resume_token.is_none()));
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn every_plan_can_be_carried_out_without_destroying_and_is_complete(
        sides in two_sides(),
        token in any_token(),
        kind in prop::sample::select(&POLICIES[..]),
    ) {
        let has_token = token.is_some();
        let plan = plan(facts(&sides.sender, &sides.receiver, token), policy(kind));
        check(&sides, &plan, kind)?;
        if let Ok(planned) = &plan.outcome {
            let is_resumed = planned.steps.first().is_some_and(|it| it.resume_token.is_some());
            prop_assert_eq!(is_resumed, matches!(planned.reason, Reason::Resumed { .. }));
            prop_assert_eq!(has_token, is_resumed || plan.discarded_token.is_some());
        }
        prop_assert_eq!(plan.is_on_receiver, newest_snapshot(&sides.receiver).is_some());
    }

    #[test]
    fn after_a_plan_is_carried_out_there_is_nothing_to_do(
        sides in two_sides(),
        token in any_token(),
    ) {
        let all = policy(InitialReplication::All);
        let first = plan(facts(&sides.sender, &sides.receiver, token), all);
        let Ok(planned) = first.outcome else { return Ok(()) };
        let after = apply(&sides.receiver, &planned.steps).map_err(TestCaseError::fail)?;
        let receiver: Vec<_> = (1..).zip(after.snapshots).map(|(txg, guid)| snapshot("x", guid.get(), txg)).collect();
        if receiver.is_empty() {
            return Ok(());
        }
        let second = plan(facts(&sides.sender, &receiver, None), all);
        let second = second.outcome.map_err(|error| TestCaseError::fail(error.to_string()))?;
        prop_assert!(matches!(second.reason, Reason::UpToDate { .. }), "{:?}", second);
    }

    #[test]
    fn with_a_refused_token_there_is_the_plan_without_one(
        sides in two_sides(),
        token in any_token(),
        kind in prop::sample::select(&POLICIES[..]),
    ) {
        let Some(token) = token else { return Ok(()) };
        let mut with = facts(&sides.sender, &sides.receiver, Some(token.clone()));
        with.refused = Some(RefusedToken { token, reason: "no".to_owned() });
        let without = facts(&sides.sender, &sides.receiver, None);
        prop_assert_eq!(plan(with, policy(kind)).outcome, plan(without, policy(kind)).outcome);
    }

    #[test]
    fn nonsense_ends_with_steps_or_an_error(
        sender in nonsense(),
        receiver in nonsense(),
        token in any_token(),
        kind in prop::sample::select(&POLICIES[..]),
    ) {
        if let Ok(planned) = plan(facts(&sender, &receiver, token), policy(kind)).outcome {
            for step in &planned.steps {
                prop_assert!(step.to.is_snapshot());
                prop_assert_ne!(step.from.as_ref().map(Version::guid), Some(step.to.guid()));
            }
            for pair in planned.steps.windows(2) {
                prop_assert_eq!(pair[1].from.as_ref(), Some(&pair[0].to));
            }
        }
    }
}
