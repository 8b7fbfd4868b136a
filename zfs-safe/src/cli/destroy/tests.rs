use super::super::fake::Fake;
use super::*;
use crate::zfs::Zfs;

fn snapshots(names: &[&str]) -> Vec<SnapshotName> {
    names
        .iter()
        .map(|name| SnapshotName::new(*name).expect("valid"))
        .collect()
}

fn reasons(outcomes: &[Outcome]) -> Vec<Option<Reason>> {
    outcomes
        .iter()
        .map(|outcome| outcome.error().map(|error| error.reason.clone()))
        .collect()
}

#[test]
fn those_that_stay_are_taken_out_and_the_rest_goes() {
    // As 2.3.9 prints it; 2.1.11 says `dataset is busy` of a held snapshot.
    for held in [
        "it's being held. Run 'zfs holds -r p/a@1' to see holders.",
        "dataset is busy",
    ] {
        let fake = Fake::new(&format!(
            "case \"$*\" in
             destroy*3*) echo \"cannot destroy 'p/a@3': snapshot has dependent clones\" >&2
                 echo \"use '-R' to destroy the following datasets:\" >&2; echo p/z >&2; echo p/clone >&2; exit 1;;
             destroy*1*) echo \"cannot destroy snapshot p/a@1: {held}\" >&2
                 echo 'cannot destroy snapshot p/a@5: dataset is busy' >&2; exit 1;;
             holds*@1) printf 'p/a@1\\tt\\t5\\np/a@1\\ta\\t6\\n';;
             get*) printf 'p/a@3\\tguid\\t5\\t-\\np/a@3\\tclones\\tp/z,p/clone\\t-\\n';;
             esac"
        ));
        let names = ["p/a@1", "p/a@2", "p/a@3", "p/b@1", "p/a@5", "p/a@2"];
        let outcomes = fake.cli.destroy_snapshots(&snapshots(&names));
        let tags = ["a", "t"]
            .map(|tag| HoldTag::new(tag).expect("valid"))
            .to_vec();
        let clones = ["p/clone", "p/z"]
            .map(|name| DatasetPath::new(name).expect("valid"))
            .to_vec();
        let expected = [
            Some(Reason::Held(tags)),
            None,
            Some(Reason::HasClones(clones)),
            None,
            Some(Reason::Busy),
            None,
        ];
        assert_eq!(reasons(&outcomes)[..3], expected[..3]);
        assert_eq!(reasons(&outcomes)[4..], expected[4..]);
        let destroys: Vec<_> = fake
            .calls()
            .into_iter()
            .filter(|call| call.starts_with("zfs destroy -- p/a"))
            .collect();
        assert_eq!(
            destroys,
            [
                "zfs destroy -- p/a@1,2,3,5",
                "zfs destroy -- p/a@1,2,5",
                "zfs destroy -- p/a@2"
            ]
        );
    }
}

#[test]
fn missing_snapshots_are_done_unless_the_pool_cannot_be_looked_into() {
    let nothing =
        "echo 'could not find any snapshots to destroy; check snapshot names.' >&2; exit 1";
    let no_dataset = "echo \"cannot open 'p/a': dataset does not exist\" >&2; exit 1";
    let suspended = "echo \"cannot open 'p': pool I/O is currently suspended\" >&2; exit 1";
    let cases = [
        (nothing, "exit 0", None),
        (no_dataset, "exit 0", None),
        (
            no_dataset,
            "echo \"cannot open 'p': dataset does not exist\" >&2; exit 1",
            Some(Reason::NotFound),
        ),
        (nothing, suspended, Some(Reason::PoolSuspended)),
    ];
    for (destroy, list, expected) in cases {
        let fake = Fake::new(&format!(
            "case $1 in destroy) {destroy};; list) {list};; esac"
        ));
        let outcomes = fake.cli.destroy_snapshots(&snapshots(&["p/a@1"]));
        assert_eq!(reasons(&outcomes), [expected], "{destroy} {list}");
    }
}

#[test]
fn a_killed_command_destroyed_nothing_for_sure() {
    let fake = Fake::new("kill -9 $$");
    assert_eq!(
        reasons(&fake.cli.destroy_snapshots(&snapshots(&["p/a@1"]))),
        [Some(Reason::Interrupted)]
    );
}

#[test]
fn an_error_about_all_is_everyones() {
    let fake = Fake::new("echo 'cannot destroy snapshots: permission denied' >&2; exit 1");
    let outcomes = fake.cli.destroy_snapshots(&snapshots(&["p/a@1", "p/a@2"]));
    assert_eq!(
        reasons(&outcomes),
        [
            Some(Reason::PermissionDenied),
            Some(Reason::PermissionDenied)
        ]
    );
    assert_eq!(
        outcomes[1].error().map(|error| error.dataset.as_str()),
        Some("p/a@2")
    );
}

#[test]
fn many_names_are_split() {
    let fake = Fake::new("exit 0");
    let names: Vec<_> = (0..600)
        .map(|i| SnapshotName::new(format!("p/a@{i:0200}")).expect("valid"))
        .collect();
    assert!(
        fake.cli
            .destroy_snapshots(&names)
            .iter()
            .all(Outcome::is_done)
    );
    let calls = fake.calls();
    assert_eq!(calls.len(), 3);
    assert!(calls.iter().all(|call| call.len() < ARGUMENT_BYTES));
}

#[test]
fn a_missing_bookmark_is_done_unless_the_pool_cannot_be_looked_into() {
    let bookmark = BookmarkName::new("p/a#b").expect("valid");
    let absent = "echo \"bookmark 'p/a#b' does not exist.\" >&2; exit 1";
    let cases = [
        (absent, "exit 0", None),
        (
            absent,
            "echo \"cannot open 'p': dataset does not exist\" >&2; exit 1",
            Some(Reason::NotFound),
        ),
        (
            absent,
            "echo \"cannot open 'p': pool I/O is currently suspended\" >&2; exit 1",
            Some(Reason::PoolSuspended),
        ),
        (
            "echo 'cannot destroy bookmark: permission denied' >&2; exit 1",
            "",
            Some(Reason::PermissionDenied),
        ),
    ];
    for (destroy, list, expected) in cases {
        let fake = Fake::new(&format!(
            "case $1 in destroy) {destroy};; list) {list};; esac"
        ));
        let outcomes = fake.cli.destroy_bookmarks(std::slice::from_ref(&bookmark));
        assert_eq!(reasons(&outcomes), [expected], "{destroy} {list}");
    }
}
