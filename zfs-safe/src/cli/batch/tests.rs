use super::super::fake::Fake;
use super::*;
use crate::name::{BookmarkName, HoldTag, VersionName};
use crate::zfs::Zfs;

fn snapshots(names: &[&str]) -> Vec<SnapshotName> {
    names
        .iter()
        .map(|name| SnapshotName::new(*name).expect("valid"))
        .collect()
}

fn hold_requests(pairs: &[(&str, &str)]) -> Vec<HoldRequest> {
    let request = |(snapshot, tag): &(&str, &str)| HoldRequest {
        snapshot: SnapshotName::new(*snapshot).expect("valid"),
        tag: HoldTag::new(*tag).expect("valid"),
    };
    pairs.iter().map(request).collect()
}

/// Outcomes in short: a failure by the label of its reason.
fn short(outcomes: &[Outcome]) -> Vec<String> {
    let short = |outcome: &Outcome| match outcome {
        Outcome::Failed(error) => error.reason.label(),
        other => format!("{other:?}"),
    };
    outcomes.iter().map(short).collect()
}

#[test]
fn snapshots_of_a_pool_are_one_command() {
    let fake = Fake::new("exit 0");
    let properties = [("x:y".parse().expect("valid"), "a b".to_owned())];
    let outcomes = fake
        .cli
        .snapshot(&snapshots(&["q@1", "p/a@1", "p/b@2"]), &properties);
    assert_eq!(short(&outcomes), ["Done", "Done", "Done"]);
    assert_eq!(
        fake.calls(),
        [
            "zfs snapshot -o x:y=a b -- p/a@1 p/b@2",
            "zfs snapshot -o x:y=a b -- q@1"
        ]
    );
}

#[test]
fn the_snapshots_that_were_refused_fail_and_the_others_were_not_tried() {
    let fake = Fake::new(
        "echo \"cannot create snapshot 'p/a@1': dataset already exists\" >&2
         echo \"cannot create snapshot 'p/b': out of space\" >&2
         echo 'no snapshots were created' >&2
         exit 1",
    );
    let outcomes = fake
        .cli
        .snapshot(&snapshots(&["p/a@1", "p/b@1", "p/c@1"]), &[]);
    // Under the name of the dataset it is a limit.
    assert_eq!(
        short(&outcomes),
        ["AlreadyExists", "LimitReached", "NotTried"]
    );
    let fake = Fake::new("echo 'cannot create snapshots : out of space' >&2; exit 1");
    assert_eq!(
        short(&fake.cli.snapshot(&snapshots(&["p/a@1", "p/b@1"]), &[])),
        ["NoSpace", "NoSpace"]
    );
    // The limit of an ancestor may be the fault of any.
    let script = "echo \"cannot create snapshot 'p': out of space\" >&2; exit 1";
    let fake = Fake::new(script);
    assert_eq!(
        short(&fake.cli.snapshot(&snapshots(&["p/a@1", "p/b@1"]), &[])),
        ["LimitReached", "LimitReached"]
    );
}

#[test]
fn behind_a_missing_filesystem_the_others_are_looked_at() {
    let fake = Fake::new(
        "case $1 in
         snapshot) echo \"cannot open 'p/no': dataset does not exist\" >&2; echo usage: >&2; exit 2;;
         list) printf 'p/a\\np/a@1\\np/b\\n'; echo \"cannot open 'p/no': dataset does not exist\" >&2; exit 1;;
         esac",
    );
    let outcomes = fake
        .cli
        .snapshot(&snapshots(&["p/b@1", "p/no@1", "p/a@1", "p/none@1"]), &[]);
    assert_eq!(
        short(&outcomes),
        ["NotTried", "NotFound", "AlreadyExists", "NotFound"]
    );
}

#[test]
fn two_snapshots_of_one_filesystem_are_refused_without_a_command() {
    let fake = Fake::new("exit 0");
    let outcomes = fake
        .cli
        .snapshot(&snapshots(&["p/a@1", "p/b@1", "p/a@2"]), &[]);
    assert_eq!(short(&outcomes), ["CrossPool", "NotTried", "CrossPool"]);
    assert!(fake.calls().is_empty());
}

#[test]
fn an_existing_bookmark_is_judged_by_its_guid() {
    let fake = Fake::new(
        "case \"$1 $*\" in
         bookmark*) echo \"cannot create bookmark 'p/a#b': bookmark exists\" >&2; exit 1;;
         get*@1) printf 'p/a@1\\tguid\\t5\\t-\\n';;
         get*@2) printf 'p/a@2\\tguid\\t6\\t-\\n';;
         get*) printf 'p/a#b\\tguid\\t5\\t-\\n';;
         esac",
    );
    let request = |source: &str| BookmarkRequest {
        bookmark: BookmarkName::new("p/a#b").expect("valid"),
        source: VersionName::new(source).expect("valid"),
    };
    let outcomes = fake.cli.bookmark(&[request("p/a@1"), request("p/a@2")]);
    assert_eq!(short(&outcomes), ["AlreadyDone", "AlreadyExists"]);
}

#[test]
fn holds_are_grouped_by_tag_and_messages_matched_by_name() {
    let fake = Fake::new(
        "case $3 in
         t) echo \"cannot hold snapshot 'p/a@1': tag already exists on this dataset\" >&2
            echo \"cannot hold snapshot 'p/a@no': dataset does not exist\" >&2
            echo \"cannot open 'p/no': dataset does not exist\" >&2
            exit 1;;
         esac",
    );
    let requests = hold_requests(&[
        ("p/a@1", "t"),
        ("p/a@2", "u"),
        ("p/a@2", "t"),
        ("p/a@no", "t"),
        ("p/no@1", "t"),
        ("p/a@2", "t"),
    ]);
    let outcomes = fake.cli.hold(&requests);
    assert_eq!(
        short(&outcomes),
        [
            "AlreadyDone",
            "Done",
            "Done",
            "Missing",
            "Missing",
            "AlreadyDone"
        ]
    );
    assert_eq!(
        fake.calls(),
        [
            "zfs hold -- t p/a@1 p/a@2 p/a@no p/no@1",
            "zfs hold -- u p/a@2"
        ]
    );
}

#[test]
fn messages_without_a_name_are_about_those_without_another() {
    let fake = Fake::new(
        "echo 'cannot hold: permission denied' >&2
         echo 'cannot hold: permission denied' >&2
         echo \"cannot hold snapshot 'p/a@no': dataset does not exist\" >&2
         exit 1",
    );
    let requests = hold_requests(&[("p/a@1", "t"), ("p/a@2", "t"), ("p/a@no", "t")]);
    assert_eq!(
        short(&fake.cli.hold(&requests)),
        ["PermissionDenied", "PermissionDenied", "Missing"]
    );
    // With fewer of them, the snapshots tell.
    let fake = Fake::new(
        "case \"$*\" in
         hold*) echo 'cannot hold: out of space' >&2; exit 1;;
         holds*@1) printf 'p/a@1\\tt\\t5\\n';;
         esac",
    );
    let requests = hold_requests(&[("p/a@1", "t"), ("p/a@2", "t")]);
    // `hold*` matches `holds` too, so nothing can be looked up: both may have failed.
    assert_eq!(short(&fake.cli.hold(&requests)), ["NoSpace", "NoSpace"]);
    let fake = Fake::new(
        "case $1 in
         hold) echo 'cannot hold: out of space' >&2; exit 1;;
         holds) case \"$*\" in *@1) printf 'p/a@1\\tt\\t5\\n';; esac;;
         esac",
    );
    assert_eq!(short(&fake.cli.hold(&requests)), ["Done", "NoSpace"]);
}

#[test]
fn a_hold_that_is_not_there_is_released() {
    let fake = Fake::new(
        "echo \"cannot release hold from snapshot 'p/a@1': no such tag on this dataset\" >&2
         echo \"cannot release hold from snapshot 'p/a@no': dataset does not exist\" >&2
         exit 1",
    );
    let requests = hold_requests(&[
        ("p/a@1", "-t"),
        ("p/a@2", "-t"),
        ("p/a@no", "-t"),
        ("p/a@2", "-t"),
    ]);
    assert_eq!(
        short(&fake.cli.release(&requests)),
        ["AlreadyDone", "Done", "Missing", "AlreadyDone"]
    );
    assert_eq!(fake.calls(), ["zfs release -- -t p/a@1 p/a@2 p/a@no"]);
}

#[test]
fn a_killed_command_proves_nothing() {
    let fake = Fake::new("case $1 in hold) kill -9 $$;; esac; exit 0");
    let requests = hold_requests(&[("p/a@1", "t")]);
    assert_eq!(short(&fake.cli.hold(&requests)), ["Interrupted"]);
}
