//! Snapshots, bookmarks, holds and their ends, many at a time.

use zfs_safe::error::Reason;
use zfs_safe::name::SnapshotName;
use zfs_safe::outcome::Outcome::{self, AlreadyDone, Done, Missing};
use zfs_safe::program::destroy_snapshots_unless_held;
use zfs_safe::zfs::{BookmarkRequest, HoldRequest, VersionQuery};

use super::{Scenario, Verdict};
use crate::bed::{
    Bed, dataset, entity, holds, last_txg, make_pool, mark, pool, property, settings, sh, snap,
    snaps, tag,
};

pub(super) const LIST: &[Scenario] = &[
    Scenario::new("snapshot_many_at_one_instant", snapshot_many_at_one_instant),
    Scenario::new("snapshot_failures", snapshot_failures),
    Scenario::new("bookmark_many", bookmark_many),
    Scenario::new("hold_and_release_many", hold_and_release_many),
    Scenario::native(
        "holds_and_destroys_of_200_snapshots_wait_at_most_twice",
        two_hundred_snapshots,
    ),
    Scenario::new(
        "destroy_snapshots_that_can_be",
        destroy_snapshots_that_can_be,
    ),
    Scenario::new("destroy_unless_held", destroy_unless_held),
    Scenario::new("destroy_bookmarks", destroy_bookmarks),
    Scenario::new("batches_over_two_pools", batches_over_two_pools),
    Scenario::new("empty_batches", empty_batches),
];

fn failed_with(outcome: &Outcome, label: &str) -> bool {
    outcome
        .error()
        .is_some_and(|error| error.reason.label() == label)
}

fn snapshot_many_at_one_instant(bed: &mut Bed) -> Verdict {
    sh("for i in 1 2 3 4 5 6; do zfs create conf/f$i; done; zfs create -V 1M conf/v");
    let names = snaps(&[
        "conf/f1@s",
        "conf/f2@s",
        "conf/f3@s",
        "conf/f4@s",
        "conf/f5@s",
        "conf/f6@t",
        "conf/v@s",
    ]);
    let before = last_txg("conf");
    let outcomes = bed.zfs.snapshot(&names, &settings(&[("zrepl:job", "x y")]));
    let after = last_txg("conf");
    assert!(
        outcomes.iter().all(|outcome| *outcome == Outcome::Done),
        "{outcomes:?}"
    );
    bed.saw_outcomes("taken", &outcomes);
    bed.saw("transaction groups", after - before);
    assert_eq!(after - before, 1);
    let txgs: Vec<_> = names
        .iter()
        .map(|name| {
            bed.zfs
                .versions(&name.dataset(), &VersionQuery::SNAPSHOTS)
                .expect("lists")[0]
                .createtxg
        })
        .collect();
    assert!(txgs.iter().all(|txg| *txg == txgs[0]), "{txgs:?}");
    let job = bed
        .zfs
        .properties(&entity("conf/f6@t"), &[property("zrepl:job")])
        .expect("reads");
    assert_eq!(job[0].value, "x y");
    Ok(())
}

fn snapshot_failures(bed: &mut Bed) -> Verdict {
    sh(
        "zfs create conf/a; zfs create conf/b; zfs create conf/c; zfs snapshot conf/b@s; \
        zfs create -o snapshot_limit=1 conf/limited; zfs snapshot conf/limited@one",
    );
    let none = |bed: &Bed| !bed.zfs.exists(&entity("conf/a@s")).expect("answers");
    let mut check = |what: &str, names: &[&str], expected: &[&str]| {
        let outcomes = bed.zfs.snapshot(&snaps(names), &[]);
        for (outcome, expected) in outcomes.iter().zip(expected) {
            let label = outcome
                .error()
                .map_or(format!("{outcome:?}"), |error| error.reason.label());
            assert_eq!(&label, expected, "{what}: {outcomes:?}");
        }
        assert!(none(bed), "{what}: something was created");
        bed.saw_outcomes(what, &outcomes);
    };
    check(
        "taken name",
        &["conf/a@s", "conf/b@s", "conf/c@s"],
        &["NotTried", "AlreadyExists", "NotTried"],
    );
    check(
        "missing filesystem",
        &["conf/a@s", "conf/none@s"],
        &["NotTried", "NotFound"],
    );
    check(
        "one filesystem twice",
        &["conf/a@s", "conf/a@t", "conf/c@s"],
        &["CrossPool", "CrossPool", "NotTried"],
    );
    check("missing pool", &["nopool/a@s"], &["NotFound"]);
    // The limit binds whoever is not root; root may exceed it.
    Ok(())
}

fn bookmark_many(bed: &mut Bed) -> Verdict {
    sh(
        "zfs create conf/a; zfs create conf/b; zfs snapshot conf/a@1; zfs snapshot conf/a@2; zfs snapshot conf/b@1; \
        zfs bookmark conf/a@1 conf/a#same; zfs bookmark conf/a@1 conf/a#other",
    );
    let request = |bookmark: &str, source: &str| BookmarkRequest {
        bookmark: mark(bookmark),
        source: source.parse().unwrap_or_else(|error| panic!("{error}")),
    };
    let requests = [
        request("conf/a#new", "conf/a@1"),
        request("conf/a#same", "conf/a@1"),
        request("conf/a#other", "conf/a@2"),
        request("conf/a#none", "conf/a@none"),
        request("conf/b#new", "conf/b@1"),
        request("conf/none#x", "conf/none@x"),
        request("conf/a#copy", "conf/a#same"),
        request("conf/a#nocopy", "conf/a#gone"),
    ];
    let outcomes = bed.zfs.bookmark(&requests);
    bed.saw_outcomes("bookmarks", &outcomes);
    assert_eq!(outcomes[0], Outcome::Done);
    assert_eq!(outcomes[1], Outcome::AlreadyDone);
    assert!(
        failed_with(&outcomes[2], "AlreadyExists"),
        "{:?}",
        outcomes[2]
    );
    assert_eq!(outcomes[3], Outcome::Missing);
    assert_eq!(outcomes[4], Outcome::Done);
    assert_eq!(outcomes[5], Outcome::Missing);
    assert_eq!(outcomes[6], Outcome::Done);
    assert_eq!(outcomes[7], Outcome::Missing);
    let guid = |name: &str| sh(&format!("zfs get -Hp -o value guid {name}"));
    assert_eq!(guid("conf/a#copy"), guid("conf/a@1"));
    assert_eq!(guid("conf/a#other"), guid("conf/a@1"));
    // Once more: nothing to do, nothing done.
    let again = bed.zfs.bookmark(&requests[..2]);
    bed.saw_outcomes("again", &again);
    assert_eq!(again, [Outcome::AlreadyDone, Outcome::AlreadyDone]);
    bed.saw_outcomes(
        "no pool",
        &bed.zfs.bookmark(&[request("nopool/a#b", "nopool/a@s")]),
    );
    // Of another filesystem: not an ancestor.
    let strange = bed.zfs.bookmark(&[request("conf/b#strange", "conf/a@1")]);
    bed.saw_outcomes("other filesystem's snapshot", &strange);
    assert!(strange[0].error().is_some());
    assert!(!bed.zfs.exists(&entity("conf/b#strange")).expect("answers"));
    Ok(())
}

fn hold_and_release_many(bed: &mut Bed) -> Verdict {
    sh(
        "zfs create conf/a; zfs create conf/b; for i in 1 2 3 4; do zfs snapshot conf/a@$i; zfs snapshot conf/b@$i; done; \
        zfs hold old conf/a@2; zfs hold old conf/b@3",
    );
    let requests = holds(&[
        ("conf/a@1", "old"),
        ("conf/a@2", "old"),
        ("conf/a@3", "old"),
        ("conf/a@none", "old"),
        ("conf/none@1", "old"),
        ("conf/b@3", "old"),
        ("conf/b@4", "old"),
        ("conf/a@1", "second tag"),
        ("conf/a@1", "old"),
    ]);
    let outcomes = bed.zfs.hold(&requests);
    bed.saw_outcomes("held", &outcomes);
    let expected = [
        Done,
        AlreadyDone,
        Done,
        Missing,
        Missing,
        AlreadyDone,
        Done,
        Done,
        AlreadyDone,
    ];
    assert_eq!(outcomes, expected);
    let tags = |name: &str| {
        let holds = bed.zfs.holds(&snap(name)).expect("lists");
        holds
            .into_iter()
            .map(|hold| hold.tag.to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(tags("conf/a@1"), ["old", "second tag"]);
    assert_eq!(tags("conf/b@4"), ["old"]);
    assert_eq!(bed.zfs.hold(&holds(&[("nopool/a@s", "t")])), [Missing]);

    let requests = holds(&[
        ("conf/a@1", "old"),
        ("conf/a@1", "second tag"),
        ("conf/a@1", "never"),
        ("conf/a@none", "old"),
        ("conf/b@1", "old"),
        ("conf/b@3", "old"),
        ("conf/b@3", "old"),
    ]);
    let outcomes = bed.zfs.release(&requests);
    bed.saw_outcomes("released", &outcomes);
    assert_eq!(
        outcomes,
        [
            Done,
            Done,
            AlreadyDone,
            Missing,
            AlreadyDone,
            Done,
            AlreadyDone
        ]
    );
    assert!(bed.zfs.holds(&snap("conf/a@1")).expect("lists").is_empty());
    assert!(bed.zfs.holds(&snap("conf/b@3")).expect("lists").is_empty());
    assert_eq!(bed.zfs.release(&holds(&[("nopool/a@s", "t")])), [Missing]);

    // The longest tag that there can be, and characters that separate other things.
    let long = "x".repeat(255);
    let odd = holds(&[("conf/a@4", &long), ("conf/a@4", "a#b@c/d \u{fc}")]);
    bed.saw_outcomes("odd tags held", &bed.zfs.hold(&odd));
    assert_eq!(bed.zfs.holds(&snap("conf/a@4")).expect("lists").len(), 2);
    let outcomes = bed.zfs.release(&odd);
    bed.saw_outcomes("odd tags released", &outcomes);
    assert_eq!(outcomes, [Done, Done]);
    Ok(())
}

fn two_hundred(bed: &Bed) -> Vec<SnapshotName> {
    let filesystems: Vec<_> = (0..4).map(|i| dataset(&format!("conf/f{i}"))).collect();
    for path in &filesystems {
        bed.zfs.create_filesystem(path, &[]).expect("creates");
    }
    let mut names = Vec::new();
    for number in 0..50 {
        let batch: Vec<_> = filesystems
            .iter()
            .map(|path| snap(&format!("{path}@s{number}")))
            .collect();
        assert!(bed.zfs.snapshot(&batch, &[]).iter().all(Outcome::is_done));
        names.extend(batch);
    }
    names
}

fn two_hundred_snapshots(bed: &mut Bed) -> Verdict {
    let names = two_hundred(bed);
    let requests: Vec<HoldRequest> = names
        .iter()
        .map(|snapshot| HoldRequest {
            snapshot: snapshot.clone(),
            tag: tag("job"),
        })
        .collect();
    let before = last_txg("conf");
    let (outcomes, cost) = bed.cost(|| bed.zfs.hold(&requests));
    assert!(outcomes.iter().all(|outcome| *outcome == Outcome::Done));
    assert_eq!(
        (cost.ioctls, cost.txg_waits, last_txg("conf") - before),
        (1, 1, 1)
    );
    // Again, with a third released: the first call fails, the holds are looked at, the second call adds what is missing.
    assert!(
        bed.zfs
            .release(&requests[..70])
            .iter()
            .all(Outcome::is_done)
    );
    let before = last_txg("conf");
    let (outcomes, cost) = bed.cost(|| bed.zfs.hold(&requests));
    assert!(
        outcomes[..70]
            .iter()
            .all(|outcome| *outcome == Outcome::Done)
    );
    assert!(
        outcomes[70..]
            .iter()
            .all(|outcome| *outcome == Outcome::AlreadyDone)
    );
    let groups = last_txg("conf") - before;
    assert_eq!(cost.txg_waits, 2, "{cost:?}");
    assert!(groups <= 2, "{groups} transaction groups");
    // Releasing all of them.
    let before = last_txg("conf");
    let (outcomes, cost) = bed.cost(|| bed.zfs.release(&requests));
    assert!(outcomes.iter().all(|outcome| *outcome == Outcome::Done));
    assert_eq!(
        (cost.ioctls, cost.txg_waits, last_txg("conf") - before),
        (1, 1, 1)
    );
    // Destroying all but two that are held.
    let kept = holds(&[("conf/f1@s1", "t"), ("conf/f2@s2", "t")]);
    assert!(bed.zfs.hold(&kept).iter().all(Outcome::is_done));
    let (outcomes, cost) = bed.cost(|| bed.zfs.destroy_snapshots(&names));
    let failed = outcomes
        .iter()
        .filter(|outcome| failed_with(outcome, "Held"))
        .count();
    let done = outcomes
        .iter()
        .filter(|outcome| **outcome == Outcome::Done)
        .count();
    assert_eq!((failed, done), (2, 198));
    // One call that names the two, one for the others, and a look at the holds of each.
    assert_eq!((cost.ioctls, cost.txg_waits), (2 + 2, 2));
    Ok(())
}

fn destroy_snapshots_that_can_be(bed: &mut Bed) -> Verdict {
    sh(
        "zfs create conf/a; zfs create conf/b; for i in 1 2 3 4 5; do zfs snapshot conf/a@$i; zfs snapshot conf/b@$i; done; \
        zfs hold t1 conf/a@2; zfs hold t2 conf/a@2; zfs clone conf/b@3 conf/clone; zfs clone conf/b@3 conf/clone2; \
        zfs hold t3 conf/b@4",
    );
    let names = snaps(&[
        "conf/a@1",
        "conf/a@2",
        "conf/a@3",
        "conf/b@1",
        "conf/b@3",
        "conf/b@4",
        "conf/a@none",
        "conf/none@1",
    ]);
    let outcomes = bed.zfs.destroy_snapshots(&names);
    bed.saw_outcomes("destroyed", &outcomes);
    for index in [0, 2, 3, 6, 7] {
        assert_eq!(outcomes[index], Outcome::Done, "{}", names[index]);
    }
    let reason = |index: usize| outcomes[index].error().map(|error| error.reason.clone());
    assert_eq!(reason(1), Some(Reason::Held(vec![tag("t1"), tag("t2")])));
    assert_eq!(
        reason(4),
        Some(Reason::HasClones(vec![
            dataset("conf/clone"),
            dataset("conf/clone2")
        ]))
    );
    assert_eq!(reason(5), Some(Reason::Held(vec![tag("t3")])));
    let left = sh("zfs list -H -o name -t snapshot -s name | tr '\\n' ' '");
    assert_eq!(
        left,
        "conf/a@2 conf/a@4 conf/a@5 conf/b@2 conf/b@3 conf/b@4 conf/b@5 ".trim_end()
    );
    let outcomes = bed.zfs.destroy_snapshots(&snaps(&["nopool/a@1"]));
    bed.saw_outcomes("missing pool", &outcomes);
    assert!(failed_with(&outcomes[0], "NotFound"));
    Ok(())
}

fn destroy_unless_held(bed: &mut Bed) -> Verdict {
    sh(
        "zfs create conf/a; for i in 1 2 3 4; do zfs snapshot conf/a@$i; done; zfs hold t1 conf/a@2; zfs clone conf/a@3 conf/clone",
    );
    let names = snaps(&[
        "conf/a@1",
        "conf/a@2",
        "conf/a@3",
        "conf/a@none",
        "conf/a@4",
    ]);
    let before = last_txg("conf");
    let outcomes = destroy_snapshots_unless_held(&*bed.zfs, &pool("conf"), &names);
    let groups = last_txg("conf") - before;
    bed.saw_outcomes("destroyed", &outcomes);
    assert_eq!(outcomes[0], Outcome::Done);
    assert_eq!(
        outcomes[1].error().map(|e| e.reason.clone()),
        Some(Reason::Held(vec![tag("t1")]))
    );
    assert_eq!(
        outcomes[2].error().map(|e| e.reason.clone()),
        Some(Reason::HasClones(vec![dataset("conf/clone")]))
    );
    assert_eq!(outcomes[3], Outcome::Done);
    assert_eq!(outcomes[4], Outcome::Done);
    assert_eq!(groups, 1);
    let outcomes =
        destroy_snapshots_unless_held(&*bed.zfs, &pool("conf"), &snaps(&["conf/a@2", "other/a@1"]));
    bed.saw_outcomes("two pools", &outcomes);
    assert!(failed_with(&outcomes[0], "CrossPool"));
    Ok(())
}

fn destroy_bookmarks(bed: &mut Bed) -> Verdict {
    sh(
        "zfs create conf/a; zfs create conf/b; zfs snapshot conf/a@1; zfs snapshot conf/b@1; \
        zfs bookmark conf/a@1 conf/a#1; zfs bookmark conf/a@1 conf/a#2; zfs bookmark conf/b@1 conf/b#1",
    );
    let names = [
        mark("conf/a#1"),
        mark("conf/a#none"),
        mark("conf/b#1"),
        mark("conf/none#1"),
    ];
    let before = last_txg("conf");
    let outcomes = bed.zfs.destroy_bookmarks(&names);
    let groups = last_txg("conf") - before;
    bed.saw_outcomes("destroyed", &outcomes);
    assert!(
        outcomes.iter().all(|outcome| *outcome == Outcome::Done),
        "{outcomes:?}"
    );
    if bed.is_native() {
        assert_eq!(groups, 1);
    }
    assert_eq!(sh("zfs list -H -o name -t bookmark"), "conf/a#2");
    let outcomes = bed.zfs.destroy_bookmarks(&[mark("nopool/a#1")]);
    bed.saw_outcomes("missing pool", &outcomes);
    assert!(failed_with(&outcomes[0], "NotFound"));
    Ok(())
}

fn batches_over_two_pools(bed: &mut Bed) -> Verdict {
    make_pool("conf2", "/tmp/conf2.img", "128M", &[]);
    sh("zfs create conf/a; zfs create conf2/a; zfs snapshot conf2/a@taken");
    let taken = bed.zfs.snapshot(&snaps(&["conf/a@s", "conf2/a@s"]), &[]);
    bed.saw_outcomes("both", &taken);
    assert!(taken.iter().all(Outcome::is_done));
    // All or nothing holds for each pool by itself.
    let taken = bed
        .zfs
        .snapshot(&snaps(&["conf/a@taken", "conf2/a@taken"]), &[]);
    bed.saw_outcomes("one", &taken);
    assert_eq!(taken[0], Outcome::Done);
    assert!(failed_with(&taken[1], "AlreadyExists"));
    let held = bed
        .zfs
        .hold(&holds(&[("conf2/a@s", "t"), ("conf/a@s", "t")]));
    bed.saw_outcomes("held", &held);
    let destroyed =
        bed.zfs
            .destroy_snapshots(&snaps(&["conf2/a@s", "conf/a@taken", "conf2/a@taken"]));
    bed.saw_outcomes("destroyed", &destroyed);
    assert!(failed_with(&destroyed[0], "Held") && destroyed[1].is_done() && destroyed[2].is_done());
    Ok(())
}

fn empty_batches(bed: &mut Bed) -> Verdict {
    let (outcomes, cost) = bed.cost(|| {
        [
            bed.zfs.snapshot(&[], &[]),
            bed.zfs.bookmark(&[]),
            bed.zfs.hold(&[]),
            bed.zfs.release(&[]),
            bed.zfs.destroy_snapshots(&[]),
            bed.zfs.destroy_bookmarks(&[]),
        ]
        .concat()
    });
    assert!(outcomes.is_empty());
    assert_eq!((cost.ioctls, cost.processes, cost.txg_waits), (0, 0, 0));
    bed.saw("nothing", outcomes.len());
    Ok(())
}
