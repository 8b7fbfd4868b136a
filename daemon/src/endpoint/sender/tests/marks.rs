//! What a sender leaves in the pool, in which order, and what becomes of it.

use super::*;

const RESUMABILITY: GuaranteeKind = GuaranteeKind::Resumability;
const INCREMENTAL: GuaranteeKind = GuaranteeKind::IncrementalReplication;
const NOTHING: GuaranteeKind = GuaranteeKind::Nothing;

#[tokio::test]
async fn the_listing_of_versions_tells_what_is_held() {
    let bed = Bed::new(&["p/a@1", "p/a@2", "p/a@3"]);
    bed.zfs.hold_by_hand("p/a@1", "mine");
    bed.zfs.hold_by_hand("p/a@2", "zrepl_STEP_J_other");
    bed.versions("p/a").await.expect("lists");
    let listed = |calls: &[String]| {
        let snapshots = calls
            .iter()
            .filter(|it| it.contains("snapshots") && it.contains("versions"));
        snapshots.count()
    };
    let calls = bed.zfs.calls();
    let of_another = Held {
        guid: Guid::new(bed.version("p/a@2").guid),
        is_own: false,
    };
    assert_eq!(listed(&calls), 1, "{calls:?}");
    let asked: Vec<_> = calls.iter().filter(|it| it.starts_with("holds")).collect();
    assert_eq!(asked, ["holds p/a@1", "holds p/a@2"]);
    assert_eq!(bed.sender.held("p/a").await, [of_another]);
    assert_eq!(bed.zfs.calls(), [""; 0]);

    // What others release is noticed as soon as the snapshots are listed anew.
    bed.zfs.release_by_hand("p/a@2", "zrepl_STEP_J_other");
    bed.zfs.make("p/a@4");
    bed.versions("p/a").await.expect("lists");
    assert_eq!(bed.sender.held("p/a").await, []);

    // If that fails, there is a list nevertheless, and whoever wants to know what is held asks again.
    let bed = Bed::new(&["p/a@1", "p/a@2"]);
    bed.zfs.hold_by_hand("p/a@2", "zrepl_STEP_J_other");
    bed.zfs
        .fail(Operation::ListHolds, "p/a@2", Reason::PermissionDenied);
    assert_eq!(bed.versions("p/a").await.expect("lists"), ["@1", "@2"]);
    assert_eq!(bed.sender.held("p/a").await, []);
    bed.zfs.mend();
    assert_eq!(bed.sender.held("p/a").await, [of_another]);
}

#[tokio::test]
async fn a_step_is_held_before_it_is_sent_and_leaves_a_cursor() {
    let bed = Bed::new(&["p/a@1", "p/a@2"]);
    // A round begins.
    bed.versions("p/a").await.expect("lists");
    bed.zfs.calls();
    let first = bed.step(None, "@1", RESUMABILITY);
    bed.replicate(&first).await.expect("replicates");
    let one = cursor(&bed, "p/a@1");
    let expected = [
        "properties p/a@1 guid,createtxg,creation",
        "properties p/a encryption",
        "versions p/a bookmarks",
        "hold p/a@1:zrepl_STEP_J_job",
        "send p/a@1",
        "properties p/a@1 guid,createtxg,creation",
        "versions p/a bookmarks",
        &format!("bookmark p/a{one}=p/a@1"),
        "release p/a@1:zrepl_STEP_J_job",
    ];
    assert_eq!(bed.zfs.calls(), expected);
    assert_eq!(bed.zfs.contents("p/a"), ["@1", &one, "@2"]);

    let second = bed.step(Some("@1"), "@2", RESUMABILITY);
    let stream = bed.send(&second).await.expect("sends");
    // Both ends in one call.
    let expected = [
        "properties p/a@2 guid,createtxg,creation",
        "properties p/a@1 guid,createtxg,creation",
        "properties p/a encryption",
        "versions p/a bookmarks",
        "hold p/a@1:zrepl_STEP_J_job p/a@2:zrepl_STEP_J_job",
        "send -i p/a@1 p/a@2",
    ];
    assert_eq!(bed.zfs.calls(), expected);
    read(stream).await.expect("reads");
    bed.complete(&second).await.expect("completes");
    let two = cursor(&bed, "p/a@2");
    let mut calls = bed.zfs.calls();
    // The last two at the same time.
    calls[3..].sort();
    let expected = [
        "properties p/a@2 guid,createtxg,creation",
        "versions p/a bookmarks",
        &format!("bookmark p/a{two}=p/a@2"),
        &format!("destroy p/a{one}"),
        "release p/a@1:zrepl_STEP_J_job p/a@2:zrepl_STEP_J_job",
    ];
    assert_eq!(calls, expected);
    assert_eq!(bed.zfs.contents("p/a"), ["@1", "@2", &two]);
}

#[tokio::test]
async fn the_promise_decides_what_is_left() {
    let bed = Bed::new(&["p/a@1", "p/a@2", "p/a@3"]);
    let request = bed.step(None, "@1", RESUMABILITY);
    bed.replicate(&request).await.expect("replicates");
    let request = bed.step(Some("@1"), "@2", INCREMENTAL);
    let stream = bed.send(&request).await.expect("sends");
    let (one, two) = (cursor(&bed, "p/a@1"), cursor(&bed, "p/a@2"));
    let (from, to) = (tentative(&bed, "p/a@1"), tentative(&bed, "p/a@2"));
    let marked = ["@1", &from, &one, "@2", &to, "@3"];
    assert_eq!(bed.zfs.contents("p/a"), marked);
    drop(stream);
    bed.complete(&request).await.expect("completes");
    assert_eq!(bed.zfs.contents("p/a"), ["@1", "@2", &two, "@3"]);
    let request = bed.step(Some("@2"), "@3", NOTHING);
    let stream = bed.send(&request).await.expect("sends");
    assert_eq!(bed.zfs.contents("p/a"), ["@1", "@2", &two, "@3"]);
    drop(stream);
    bed.complete(&request).await.expect("completes");
    assert_eq!(bed.zfs.contents("p/a"), ["@1", "@2", "@3"]);
}

#[tokio::test]
async fn the_promise_is_that_for_the_kind_of_step() {
    let bed = Bed::new(&["p/a@1", "p/a@2"]);
    let protection = Protection {
        initial: NOTHING,
        incremental: RESUMABILITY,
    };
    let mut full = bed.step(None, "@1", NOTHING);
    let mut step = bed.step(Some("@1"), "@2", NOTHING);
    for request in [&mut full, &mut step] {
        request.replication_config = Some(protection.into());
    }
    bed.replicate(&full).await.expect("replicates");
    assert_eq!(bed.zfs.contents("p/a"), ["@1", "@2"]);
    let stream = bed.send(&step).await.expect("sends");
    let held = [format!("@1 {HOLD}"), format!("@2 {HOLD}")];
    assert_eq!(bed.zfs.contents("p/a"), held);
    drop(stream);
    bed.complete(&step).await.expect("completes");
    let two = cursor(&bed, "p/a@2");
    assert_eq!(bed.zfs.contents("p/a"), ["@1", "@2", &two]);
}

#[tokio::test]
async fn another_step_takes_the_marks_of_one_that_failed_but_of_no_other_job() {
    let bed = Bed::new(&["p/a@1", "p/a@2", "p/a@3"]);
    bed.zfs.hold_by_hand("p/a@1", "zrepl_STEP_J_other");
    bed.zfs.hold_by_hand("p/a@1", "mine");
    for (to, promise) in [("@1", RESUMABILITY), ("@2", INCREMENTAL)] {
        let request = bed.step(None, to, promise);
        drop(bed.send(&request).await.expect("sends"));
    }
    bed.sender.settle().await;
    let (one, two) = ("@1 mine zrepl_STEP_J_other", tentative(&bed, "p/a@2"));
    assert_eq!(bed.zfs.contents("p/a"), [one, "@2", &two, "@3"]);
    let request = bed.step(None, "@3", RESUMABILITY);
    bed.replicate(&request).await.expect("replicates");
    let three = cursor(&bed, "p/a@3");
    assert_eq!(bed.zfs.contents("p/a"), [one, "@2", "@3", &three]);
}

#[tokio::test]
async fn a_step_can_start_from_a_tentative_cursor() {
    let bed = Bed::new(&["p/a@1"]);
    let request = bed.step(None, "@1", INCREMENTAL);
    drop(bed.send(&request).await.expect("sends"));
    let from = tentative(&bed, "p/a@1");
    bed.zfs.make("p/a@2");
    let request = bed.step(Some(&from), "@2", NOTHING);
    bed.zfs.destroy("p/a@1");
    let stream = bed.send(&request).await.expect("sends");
    assert_eq!(bed.zfs.contents("p/a"), [&from, "@2"]);
    drop(stream);
    bed.complete(&request).await.expect("completes");
    assert_eq!(bed.zfs.contents("p/a"), ["@2"]);
}

#[tokio::test]
async fn without_its_marks_a_step_is_not_sent() {
    let bed = Bed::new(&["p/a@1", "p/a@2"]);
    let request = bed.step(Some("@1"), "@2", RESUMABILITY);
    bed.zfs.fail(Operation::Hold, "p/a@2", Reason::NoSpace);
    let error = bed.send(&request).await.map(drop).expect_err("fails");
    assert_eq!(
        error,
        "cannot hold p/a@2: no space is left; free space in the pool"
    );
    bed.zfs.mend();
    // It goes just after it was looked at.
    bed.zfs.before("hold", |zfs| zfs.destroy("p/a@1"));
    let error = bed.send(&request).await.map(drop).expect_err("fails");
    assert_eq!(error, "cannot hold p/a@1: it does not exist");
    let calls = bed.zfs.calls();
    assert!(!calls.iter().any(|call| call.starts_with("send")));
    // What was left is found by the step that comes instead.
    let request = bed.step(None, "@2", RESUMABILITY);
    bed.replicate(&request).await.expect("replicates");
    let two = cursor(&bed, "p/a@2");
    assert_eq!(bed.zfs.contents("p/a"), ["@2", &two]);
}

#[tokio::test]
async fn if_the_cursor_cannot_move_nothing_is_removed() {
    let bed = Bed::new(&["p/a@1", "p/a@2"]);
    let request = bed.step(None, "@1", RESUMABILITY);
    bed.replicate(&request).await.expect("replicates");
    let request = bed.step(Some("@1"), "@2", RESUMABILITY);
    drop(bed.send(&request).await.expect("sends"));
    let before = [
        format!("@1 {HOLD}"),
        cursor(&bed, "p/a@1"),
        format!("@2 {HOLD}"),
    ];
    assert_eq!(bed.zfs.contents("p/a"), before);
    bed.zfs.fail(Operation::Bookmark, "p/a", Reason::NoSpace);
    let error = bed.complete(&request).await.expect_err("fails");
    let expected = format!(
        "cannot move replication cursor, keeping hold on `to` until successful: cannot bookmark p/a{}: no space is left; \
         free space in the pool",
        cursor(&bed, "p/a@2")
    );
    assert_eq!(error, expected);
    assert_eq!(bed.zfs.contents("p/a"), before);
    bed.zfs.mend();
    bed.complete(&request).await.expect("completes");
    let two = cursor(&bed, "p/a@2");
    assert_eq!(bed.zfs.contents("p/a"), ["@1", "@2", &two]);
}

#[tokio::test]
async fn a_completed_step_needs_its_end_but_not_its_start() {
    let bed = Bed::new(&["p/a@1", "p/a@2"]);
    let request = bed.step(Some("@1"), "@2", RESUMABILITY);
    drop(bed.send(&request).await.expect("sends"));
    let other = bed.step(None, "@1", RESUMABILITY);
    bed.zfs.destroy("p/a@1");
    let two = cursor(&bed, "p/a@2");
    for _ in ["once", "and again, which does no harm"] {
        bed.complete(&request).await.expect("completes");
        assert_eq!(bed.zfs.contents("p/a"), ["@2", &two]);
    }
    let error = bed.complete(&other).await.expect_err("fails");
    let expected = "validate `to` exists: dataset \"p/a@1\" does not exist";
    assert_eq!(error, expected);
}

/// What a process has left that is gone: a cursor, a tentative one and a hold of each of `@1` and `@2`.
fn leftovers(names: &[&str]) -> Bed {
    let bed = Bed::new(names);
    for name in ["p/a@1", "p/a@2"] {
        bed.zfs.make(&format!("p/a{}={name}", cursor(&bed, name)));
        bed.zfs
            .make(&format!("p/a{}={name}", tentative(&bed, name)));
        bed.zfs.hold_by_hand(name, HOLD);
    }
    bed
}

#[tokio::test]
async fn a_round_begins_with_the_removal_of_what_is_stale() {
    let bed = leftovers(&["p/a@1", "p/a@2", "p/a@3", "p/a#mine=p/a@1"]);
    bed.zfs.hold_by_hand("p/a@3", HOLD);
    bed.zfs.hold_by_hand("p/a@1", "zrepl_STEP_J_other");
    let two = cursor(&bed, "p/a@2");
    let listed = bed.versions("p/a").await.expect("lists");
    assert_eq!(listed, ["@1", "#mine", "@2", &two, "@3"]);
    let left = [
        "@1 zrepl_STEP_J_other",
        "#mine",
        "@2",
        &two,
        "@3 zrepl_STEP_J_job",
    ];
    assert_eq!(bed.zfs.contents("p/a"), left);
    // And then there is nothing to do.
    bed.filesystems().await.expect("lists");
    bed.zfs.calls();
    bed.versions("p/a").await.expect("lists");
    assert_eq!(bed.zfs.calls(), ["versions p/a bookmarks"]);
    assert_eq!(bed.zfs.contents("p/a"), left);
}

#[tokio::test]
async fn what_cannot_be_removed_spoils_no_listing() {
    let denied = || Reason::PermissionDenied;
    let bed = leftovers(&["p/a@1", "p/a@2"]);
    bed.zfs.fail(Operation::Release, "p", denied());
    bed.zfs.fail(Operation::DestroyBookmarks, "p", denied());
    let two = cursor(&bed, "p/a@2");
    // What is to go is nothing to start from.
    let listed = bed.versions("p/a").await.expect("lists");
    assert_eq!(listed, ["@1", "@2", &two]);
    assert_eq!(bed.zfs.contents("p/a").len(), 6);
    bed.zfs.mend();
    bed.versions("p/a").await.expect("lists");
    assert_eq!(bed.zfs.contents("p/a"), ["@1", "@2", &two]);

    let bed = leftovers(&["p/a@1", "p/a@2"]);
    bed.zfs.fail(Operation::ListHolds, "p", denied());
    assert_eq!(bed.versions("p/a").await.expect("lists").len(), 6);
    assert_eq!(bed.zfs.contents("p/a").len(), 6);
}

#[tokio::test]
async fn no_mark_goes_while_a_step_is_running() {
    let bed = Bed::new(&["p/a@1", "p/a@2", "p/a@3"]);
    let request = bed.step(None, "@1", RESUMABILITY);
    bed.replicate(&request).await.expect("replicates");
    let request = bed.step(Some("@1"), "@2", RESUMABILITY);
    let other = bed.step(Some("@1"), "@3", RESUMABILITY);
    let stream = bed.send(&request).await.expect("sends");
    let [from, one, to] = [
        format!("@1 {HOLD}"),
        cursor(&bed, "p/a@1"),
        format!("@2 {HOLD}"),
    ];
    // `from` is at the cursor, so another client could take it for stale.
    let clone = Bed {
        zfs: Arc::clone(&bed.zfs),
        sender: bed.sender.clone(),
    };
    clone.filesystems().await.expect("lists");
    clone.versions("p/a").await.expect("lists");
    assert_eq!(bed.zfs.contents("p/a"), [&from, &one, &to, "@3"]);
    // Another step of the same filesystem takes nothing away either, whichever is complete first.
    let second = clone.send(&other).await.expect("sends");
    let end = format!("@3 {HOLD}");
    assert_eq!(bed.zfs.contents("p/a"), [&*from, &one, &to, &end]);
    read(stream).await.expect("reads");
    bed.complete(&request).await.expect("completes");
    let two = cursor(&bed, "p/a@2");
    assert_eq!(bed.zfs.contents("p/a"), [&*from, &one, &to, &two, &end]);
    // The last one is over; nobody confirms it.
    drop(second);
    bed.versions("p/a").await.expect("lists");
    assert_eq!(bed.zfs.contents("p/a"), ["@1", "@2", &two, &end]);
}

#[tokio::test]
async fn a_send_that_nobody_waits_for_is_over_and_cleaned_up_after() {
    let bed = Bed::new(&["p/a@1", "p/a@2"]);
    bed.zfs.stream_len(10 << 20);
    let (tell, reached) = tokio::sync::oneshot::channel();
    bed.zfs
        .before("send", move |_| tell.send(()).expect("waits"));
    let request = bed.step(None, "@1", RESUMABILITY);
    tokio::select! {
        biased;
        reached = reached => reached.expect("is sent"),
        _ = bed.send(&request) => {}
    }
    let dataset = DatasetPath::new("p/a").expect("valid");
    let filesystem = bed.sender.job.filesystems.of(&dataset);
    while !filesystem.is_idle() {
        tokio::task::yield_now().await;
    }
    let request = bed.step(None, "@2", RESUMABILITY);
    bed.replicate(&request).await.expect("replicates");
    let two = cursor(&bed, "p/a@2");
    assert_eq!(bed.zfs.contents("p/a"), ["@1", "@2", &two]);
}

/// What was put off must not take away what a later step needs.
#[tokio::test]
async fn a_mark_that_is_needed_again_does_not_go() {
    let bed = Bed::new(&["p/a@1", "p/a@2"]);
    let request = bed.step(None, "@1", RESUMABILITY);
    let replicated = bed.replicate_unsettled(&request).await;
    replicated.expect("replicates");
    let (cursor, held) = (cursor(&bed, "p/a@1"), "@1 zrepl_STEP_J_job");
    assert_eq!(bed.zfs.contents("p/a"), [held, &cursor, "@2"]);
    let next = bed.step(Some("@1"), "@2", RESUMABILITY);
    let stream = bed.send(&next).await.expect("sends");
    bed.sender.settle().await;
    let both = [held, &cursor, "@2 zrepl_STEP_J_job"];
    assert_eq!(bed.zfs.contents("p/a"), both);
    drop(stream);
}

/// Whatever begins afterwards finds it gone: a round, and a destruction of what was held.
#[tokio::test]
async fn what_was_put_off_is_done_before_anybody_depends_on_it() {
    for is_round in [true, false] {
        let bed = Bed::new(&["p/a@1"]);
        let request = bed.step(None, "@1", RESUMABILITY);
        let replicated = bed.replicate_unsettled(&request).await;
        replicated.expect("replicates");
        let cursor = cursor(&bed, "p/a@1");
        if is_round {
            bed.filesystems().await.expect("lists");
            assert_eq!(bed.zfs.contents("p/a"), ["@1", &cursor]);
        } else {
            let destroyed = bed.sender.destroy_snapshots(DestroySnapshotsReq {
                filesystem: "p/a".to_owned(),
                snapshots: request.to.into_iter().collect(),
            });
            destroyed.await.expect("destroys");
            assert_eq!(bed.zfs.contents("p/a"), [cursor]);
        }
    }
}

/// Nobody asks for it, and it goes all the same.
#[tokio::test(start_paused = true)]
async fn what_was_put_off_is_done_in_a_while() {
    let bed = Bed::new(&["p/a@1"]);
    let request = bed.step(None, "@1", RESUMABILITY);
    let replicated = bed.replicate_unsettled(&request).await;
    replicated.expect("replicates");
    let cursor = cursor(&bed, "p/a@1");
    for _ in 0..1000 {
        if bed.zfs.contents("p/a") == ["@1", &cursor] {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("{:?}", bed.zfs.contents("p/a"));
}

/// It is tried again when the next round begins, as if the process had died.
#[tokio::test]
async fn what_was_put_off_and_failed_is_found_by_the_next_round() {
    let bed = Bed::new(&["p/a@1", "p/a@2"]);
    for (from, to) in [(None, "@1"), (Some("@1"), "@2")] {
        let request = bed.step(from, to, RESUMABILITY);
        let replicated = bed.replicate_unsettled(&request).await;
        replicated.expect("replicates");
    }
    let denied = || Reason::PermissionDenied;
    bed.zfs.fail(Operation::Release, "p", denied());
    bed.zfs.fail(Operation::DestroyBookmarks, "p", denied());
    bed.sender.settle().await;
    let (one, two) = (cursor(&bed, "p/a@1"), cursor(&bed, "p/a@2"));
    let held = ["@1 zrepl_STEP_J_job", "@2 zrepl_STEP_J_job"];
    assert_eq!(bed.zfs.contents("p/a"), [held[0], &one, held[1], &two]);
    bed.zfs.mend();
    bed.filesystems().await.expect("lists");
    bed.versions("p/a").await.expect("lists");
    assert_eq!(bed.zfs.contents("p/a"), ["@1", "@2", &two]);
}

/// A disk that was pulled out in the middle of a release: nobody knows when that call returns.
#[tokio::test]
async fn a_pool_that_hangs_holds_up_no_other() {
    let bed = Bed::new(&["p/a@1", "q/b@1", "q/b@2"]);
    let request = bed.step(None, "@1", RESUMABILITY);
    let replicated = bed.replicate_unsettled(&request).await;
    replicated.expect("replicates");
    let (begin, begun) = std::sync::mpsc::channel();
    let (end, ended) = std::sync::mpsc::channel::<()>();
    bed.zfs.before("release p/a@1", move |_| {
        begin.send(()).expect("somebody waits");
        ended.recv().expect_err("the end is dropped");
    });
    let hung = tokio::spawn({
        let sender = bed.sender.clone();
        async move { sender.settle().await }
    });
    tokio::task::spawn_blocking(move || begun.recv())
        .await
        .expect("waits")
        .expect("begins");

    let mut settings = bed.sender.job.settings.clone();
    settings.filesystems = FilesystemFilter::new([("q<", true)]).expect("valid");
    let healthy = Sender::new(bed.sender.zfs.clone(), settings);
    let work = async {
        healthy
            .list_filesystems(ListFilesystemReq {})
            .await
            .expect("lists");
        let step = SendReq {
            filesystem: "q/b".to_owned(),
            to: Some(bed.version("q/b@1")),
            ..request.clone()
        };
        let (_, stream) = healthy.send(step.clone()).await.expect("sends");
        read(stream).await.expect("reads");
        let completed = healthy.send_completed(SendCompletedReq::new(step));
        completed.await.expect("completes");
        let destroyed = healthy.destroy_snapshots(DestroySnapshotsReq {
            filesystem: "q/b".to_owned(),
            snapshots: vec![bed.version("q/b@2"), bed.version("q/b@1")],
        });
        destroyed.await.expect("destroys");
        healthy.settle().await;
    };
    let limit = std::time::Duration::from_secs(5);
    let done = tokio::time::timeout(limit, work).await;
    let left = bed.zfs.contents("q/b").len();
    // Whatever came of it, the test must not hang itself.
    drop(end);
    hung.await.expect("settles");
    done.expect("is not held up");
    assert_eq!(left, 1, "only the cursor");
    assert_eq!(bed.zfs.contents("p/a"), ["@1", &cursor(&bed, "p/a@1")]);
}
