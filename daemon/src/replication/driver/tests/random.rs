//! Random trees, random failures: whatever happens, a run ends, every filesystem ends in a final state with a reason, and what
//! could be transferred was.

use proptest::prelude::*;

use super::*;

/// What may go wrong without keeping anything from being transferred, given attempts enough.
fn passing() -> impl Strategy<Value = (Op, How)> {
    let op = prop::sample::select(vec![
        Op::Filesystems(Side::Sender),
        Op::Filesystems(Side::Receiver),
        Op::Versions(Side::Sender),
        Op::Versions(Side::Receiver),
        Op::Estimate,
        Op::Send,
        Op::Receive,
        Op::Midstream,
        Op::Finish,
        Op::Complete,
    ]);
    op.prop_flat_map(|op| {
        let how = match op {
            // Only these are cut by a limit of ours.
            Op::Receive | Op::Midstream => vec![How::Temporary, How::Hang, How::Late(20)],
            _ => vec![How::Temporary, How::Late(20)],
        };
        (Just(op), prop::sample::select(how))
    })
}

/// What keeps one filesystem from being transferred.
fn lasting() -> impl Strategy<Value = (Op, How)> {
    let op = prop::sample::select(vec![
        Op::Versions(Side::Sender),
        Op::Estimate,
        Op::Send,
        Op::Receive,
        Op::Midstream,
    ]);
    (
        op,
        prop::sample::select(vec![How::Permanent, How::Temporary, How::Panic]),
    )
}

const PATHS: [&str; 8] = ["a", "a/a", "a/a/b", "a/b", "a/b/c", "aa", "b", "b/a"];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn a_run_ends_and_does_what_can_be_done(
        filesystems in prop::collection::btree_map(
            prop::sample::select(PATHS.to_vec()),
            (prop::collection::btree_set(1..9u64, 1..4), any::<prop::sample::Index>()),
            1..7,
        ),
        passing in prop::collection::vec((passing(), prop::sample::select(PATHS.to_vec())), 0..4),
        lasting in prop::collection::vec((lasting(), prop::sample::select(PATHS.to_vec())), 0..3),
        steps in 1..4usize,
        cancelled_after in prop_oneof![4 => Just(None), 1 => (1..40u64).prop_map(Some)],
    ) {
        let mut world = World::new(&[]);
        for (path, (guids, received)) in &filesystems {
            let guids: Vec<u64> = guids.iter().copied().collect();
            for guid in &guids {
                world.snapshot(path, *guid);
            }
            // A receiver cannot have a child without its parent.
            let parent = path.rsplit_once('/').map(|(parent, _)| parent);
            let can_be_there = parent.is_none_or(|it| {
                !filesystems.contains_key(it) || world.state().receiver.contains_key(it)
            });
            let received = received.index(guids.len() + 1);
            if can_be_there && received > 0 {
                world = world.received(path, &guids[..received]);
            }
        }
        for ((op, how), path) in &passing {
            let path = if matches!(op, Op::Filesystems(_)) { "" } else { path };
            world = world.fault(*op, path, *how);
        }
        for ((op, how), path) in &lasting {
            world = world.faults(*op, path, *how, usize::MAX);
        }
        let mut settings = settings();
        settings.steps = NonZeroUsize::new(steps).expect("not zero");
        settings.max_attempts = NonZeroU32::new(20).expect("not zero");

        let report = LiveReport::default();
        let stop = CancellationToken::new();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .expect("a runtime");
        let ending = runtime.block_on(async {
            let (stop_later, sides, mut memory) = (stop.clone(), world.sides(), Memory::default());
            let later = async {
                match cancelled_after {
                    Some(seconds) => tokio::time::sleep(Duration::from_secs(seconds)).await,
                    None => std::future::pending().await,
                }
                stop_later.cancel();
                std::future::pending::<()>().await;
            };
            let run = run(&sides, &settings, &mut memory, &report, &stop);
            let limit = Duration::from_secs(1_000_000);
            tokio::time::timeout(limit, async {
                tokio::select! { ending = run => ending, () = later => unreachable!() }
            }).await
        });
        drop(runtime);
        let Ok(ending) = ending else {
            return Err(TestCaseError::fail(format!("no end: {:#?}", report.now())));
        };
        prop_assert_eq!(world.state().streams.now, 0);
        prop_assert!(world.state().streams.most <= steps);
        let report = report.now();
        let last = report.attempts.last().expect("one at least");
        prop_assert!(last.state.is_final());
        if ending.is_cancelled {
            return Ok(());
        }
        let has_failed = |path: &str| lasting.iter().any(|(_, it)| *it == path);
        for filesystem in &last.filesystems {
            let path = &*filesystem.info.name;
            let done = filesystem.state == FilesystemState::Done;
            prop_assert_eq!(filesystem.error().is_none(), done);
            let is_hindered = filesystems.keys().any(|it| {
                has_failed(it) && (path == *it || path.starts_with(&format!("{it}/")))
            });
            prop_assert!(done || is_hindered, "{:#?}", filesystem);
            if done {
                let guids: Vec<u64> = filesystems[path].0.iter().copied().collect();
                prop_assert_eq!(world.arrived(path), guids);
            }
        }
        if lasting.is_empty() {
            prop_assert_eq!(ending, DONE);
        }
    }
}
