//! Messages as zfs(8) of 2.1.11, 2.3.9 and 2.4.4 printed them in guests, or, where a line says so, as their sources say.

use super::*;
use crate::error::Operation as O;

mod streams;

/// The label of the reason: what the native implementation gives for the same situation.
fn label(operation: Operation, stderr: &str) -> String {
    classify(operation, "p/x", Exit::Code(1), stderr)
        .reason
        .label()
}

fn check(cases: &[(Operation, &str, &str)]) {
    for (operation, stderr, expected) in cases {
        assert_eq!(
            label(*operation, stderr),
            *expected,
            "{operation}: {stderr}"
        );
    }
}

#[test]
fn what_is_missing() {
    check(&[
        (
            O::ReadProperties,
            "cannot open 'p/no': dataset does not exist\n",
            "NotFound",
        ),
        (
            O::ReadProperties,
            "cannot open 'p/a#no': no such pool or dataset\n",
            "NotFound",
        ),
        (
            O::ListHolds,
            "cannot open 'p/a@no': dataset does not exist\nno datasets available\n",
            "NotFound",
        ),
        (
            O::Create,
            "cannot create 'p/no/x': parent does not exist\n",
            "NotFound",
        ),
        (
            O::Create,
            "cannot create 'nopool/x': no such pool 'nopool'\n",
            "NotFound",
        ),
        (
            O::Rename,
            "cannot create 'p/no/x': parent does not exist\n",
            "NotFound",
        ),
        (
            O::Bookmark,
            "cannot open 'p/a@no': dataset does not exist\nusage:\n\tbookmark <snapshot|bookmark> …\n",
            "NotFound",
        ),
        (
            O::Send,
            "warning: cannot send 'p/a@2': incremental source (p/a#no) does not exist\n",
            "NotFound",
        ),
        (
            O::EstimateSend,
            "warning: cannot send 'p/a@2': No such process\n",
            "NotFound",
        ),
        (
            O::Send,
            "cannot resume send: 'p/b@t' used in the initial send no longer exists\n",
            "NotFound",
        ),
        (
            O::Receive,
            "cannot open 'q/no': dataset does not exist\ncannot receive new filesystem stream: unable to restore to destination\n",
            "NotFound",
        ),
        (
            O::Receive,
            "cannot receive incremental stream: destination 'q/no' does not exist\n",
            "NotFound",
        ),
        (
            O::Program,
            "cannot open 'nopool': no such pool\ncannot open pool 'nopool'\n",
            "NotFound",
        ),
        // libzfs aborts on error numbers that it does not know.
        (
            O::Bookmark,
            "internal error: cannot create bookmark 'p/a#x': No such process\n",
            "NotFound",
        ),
    ]);
}

#[test]
fn privileges_and_the_state_of_the_pool() {
    check(&[
        (
            O::Snapshot,
            "cannot create snapshots : permission denied\nno snapshots were created\n",
            "PermissionDenied",
        ),
        (
            O::Create,
            "cannot create 'p/u': permission denied\n",
            "PermissionDenied",
        ),
        (
            O::SetProperties,
            "cannot set property for 'p/a': permission denied\n",
            "PermissionDenied",
        ),
        (
            O::DestroyDataset,
            "cannot unmount '/mnt/p/leaf': permission denied\n",
            "PermissionDenied",
        ),
        (
            O::DestroySnapshots,
            "cannot destroy snapshots: permission denied\n",
            "PermissionDenied",
        ),
        (
            O::DestroyBookmarks,
            "cannot destroy bookmark: permission denied\n",
            "PermissionDenied",
        ),
        (
            O::Send,
            "warning: cannot send 'p/a@2': permission denied\n",
            "PermissionDenied",
        ),
        (
            O::Receive,
            "cannot receive new filesystem stream: permission denied\n",
            "PermissionDenied",
        ),
        (
            O::DiscardPartialReceive,
            "cannot destroy 'q/part/%recv': permission denied\n",
            "PermissionDenied",
        ),
        (
            O::Open,
            "Permission denied the ZFS utilities must be run as root.\n",
            "PermissionDenied",
        ),
        (
            O::Hold,
            "cannot hold: delegated administration is disabled on pool\n",
            "DelegationOff",
        ),
        (
            O::Snapshot,
            "cannot create snapshots : pool is read-only\n",
            "PoolReadOnly",
        ),
        (
            O::SetProperties,
            "cannot set property for 'q/r': pool is read-only\n",
            "PoolReadOnly",
        ),
        (
            O::InheritProperty,
            "cannot inherit x:y for 'q/r': pool is read-only\n",
            "PoolReadOnly",
        ),
        (
            O::Program,
            "Channel program execution failed: pool is read-only\n",
            "PoolReadOnly",
        ),
        (
            O::ReadProperties,
            "cannot open 's/a': pool I/O is currently suspended\n",
            "PoolSuspended",
        ),
        (
            O::Create,
            "cannot create 's/u': pool I/O is currently suspended\n",
            "PoolSuspended",
        ),
        (
            O::Program,
            "Channel program execution failed: pool I/O is currently suspended\n",
            "PoolSuspended",
        ),
        (O::Create, "cannot create 'p/c': out of space\n", "NoSpace"),
        (
            O::Receive,
            "cannot receive new filesystem stream: out of space\n",
            "NoSpace",
        ),
        (
            O::Receive,
            "cannot receive new filesystem stream: destination q/quo/r space quota exceeded.\n",
            "LimitReached",
        ),
        (
            O::Bookmark,
            "cannot create bookmark 'old/a#b': bookmark feature not enabled\n",
            "Unsupported",
        ),
        (
            O::Create,
            "cannot create 'old/enc': Encryption feature not enabled.\n",
            "Unsupported",
        ),
    ]);
    for text in [
        "/dev/zfs and /proc/self/mounts are required.\nTry running 'udevadm trigger' and 'mount -t proc proc /proc' as root.\n",
        "The ZFS modules are not loaded.\nTry running '/sbin/modprobe zfs' as root to load them.\n",
        "The ZFS modules cannot be auto-loaded.\nTry running 'modprobe zfs' as root to manually load them.\n",
        "zfs_version_kernel() failed: No such file or directory\n",
    ] {
        check(&[
            (O::Open, text, "DeviceMissing"),
            (O::Hold, text, "DeviceMissing"),
        ]);
    }
}

#[test]
fn changes_of_datasets() {
    check(&[
        (
            O::Create,
            "cannot create 'p/c1': dataset already exists\n",
            "AlreadyExists",
        ),
        (
            O::Create,
            "cannot create 'p/vol/x': parent is not a filesystem\n",
            "WrongParent",
        ),
        (
            O::Create,
            "cannot create 'p': missing dataset name\n",
            "InvalidArgument",
        ),
        (
            O::Create,
            "cannot create 'p/enc/x': encryption root's key is not loaded or provided\n",
            "KeyNotLoaded",
        ),
        (
            O::Rename,
            "cannot rename 'p/c1': dataset already exists\n",
            "AlreadyExists",
        ),
        (
            O::Rename,
            "cannot rename to 'q/x': datasets must be within same pool\n",
            "CrossPool",
        ),
        (
            O::Rename,
            "cannot rename to 'p/c1/x': New dataset name cannot be a descendant of current dataset name\n",
            "InvalidArgument",
        ),
        (
            O::Rename,
            "cannot rename 'p/enc/y': cannot move encrypted child outside of its encryption root\n",
            "PermissionDenied",
        ),
        (
            O::Rollback,
            "cannot rollback to 'p/a@1': more recent snapshots or bookmarks exist\nuse '-r' to force deletion of the following \
             snapshots and bookmarks:\np/a@2\np/a@3\n",
            "NewerVersionsExist",
        ),
        (
            O::DestroyDataset,
            "cannot unmount '/mnt/p/s p': pool or dataset is busy\n",
            "Busy",
        ),
        (
            O::Bookmark,
            "cannot create bookmark 'p/a#b1': bookmark exists\n",
            "AlreadyExists",
        ),
        (
            O::Bookmark,
            "cannot create bookmark 'q#x': bookmark is in a different pool\n",
            "CrossPool",
        ),
        (
            O::Bookmark,
            "cannot create bookmark 'p/b#x': source is not an ancestor of the new bookmark's dataset\n",
            "NotAncestor",
        ),
        (
            O::Snapshot,
            "cannot create snapshots : multiple snapshots of same fs not allowed\nno snapshots were created\n",
            "CrossPool",
        ),
        (
            O::Snapshot,
            "cannot create snapshots : this property can not be modified for snapshots\n",
            "InvalidArgument",
        ),
    ]);
}

#[test]
fn properties_that_are_refused() {
    let refused = [
        (
            O::SetProperties,
            "cannot set property for 'p/a': 'compression' must be one of 'on | off'\n",
            "compression",
        ),
        (
            O::SetProperties,
            "cannot set property for 'p/a': 'used' is readonly\n",
            "used",
        ),
        (
            O::SetProperties,
            "cannot set property for 'p/a': invalid property 'nosuch'\n",
            "nosuch",
        ),
        (
            O::SetProperties,
            "cannot set property for 'p/a@1': this property can not be modified for snapshots\n",
            "",
        ),
        (
            O::SetProperties,
            "cannot set property for 'p/a': property value too long\n",
            "",
        ),
        (
            O::InheritProperty,
            "'quota' property cannot be inherited\nuse 'zfs set quota=none' to clear\n",
            "quota",
        ),
        (O::InheritProperty, "used property is read-only\n", ""),
        (
            O::InheritProperty,
            "cannot inherit recordsize for 'p/vol': property doesn't apply to datasets of this type\n",
            "",
        ),
        (
            O::Create,
            "property 'x:y' specified multiple times\n",
            "x:y",
        ),
        (
            O::Receive,
            "cannot receive: cannot receive: invalid property 'volsize'\n",
            "volsize",
        ),
        (
            O::Receive,
            "cannot receive new filesystem stream: 'compression' must be one of 'on | off'\ncannot receive new filesystem \
             stream: invalid property value\n",
            "compression",
        ),
    ];
    for (operation, stderr, name) in refused {
        let error = classify(operation, "p/a", Exit::Code(255), stderr);
        let Reason::InvalidProperty(list) = error.reason else {
            panic!("{stderr}: {:?}", error.reason)
        };
        assert_eq!(
            list.first().map_or("", |property| property.name.as_str()),
            name,
            "{stderr}"
        );
    }
    check(&[
        (
            O::SetProperties,
            "cannot set property for 'p': size is less than current used or reserved space\n",
            "NoSpace",
        ),
        (
            O::SetProperties,
            "cannot set property for 'p/c1': size is greater than available space\n",
            "NoSpace",
        ),
    ]);
}

#[test]
fn names_do_not_pass_for_descriptions() {
    check(&[
        (
            O::Create,
            "cannot create 'p/x: permission denied': dataset already exists\n",
            "AlreadyExists",
        ),
        (
            O::Create,
            "cannot create 'p/dataset is busy': parent does not exist\n",
            "NotFound",
        ),
        (
            O::Receive,
            "cannot receive incremental stream: destination q/pool is read-only has been modified\nsince most recent snapshot\n",
            "ReceiverModified",
        ),
    ]);
}

#[test]
fn what_is_unknown_keeps_its_text() {
    let error = classify(
        O::Rename,
        "p/x",
        Exit::Code(1),
        "cannot rename 'p/x': the moon is full\nusage:\n\trename …\n",
    );
    assert_eq!(error.reason, Reason::Process);
    assert_eq!(
        error.detail.as_deref(),
        Some("cannot rename 'p/x': the moon is full")
    );
    let error = classify(O::Rename, "p/x", Exit::Code(3), "");
    assert_eq!(
        (error.reason, error.detail.as_deref()),
        (Reason::Process, Some("exit status 3"))
    );
    let error = classify(
        O::Rename,
        "p/x",
        Exit::Signal(libc::SIGABRT),
        "internal error: cannot rename 'p/x': Odd\n",
    );
    assert_eq!(
        error.detail.as_deref(),
        Some("internal error: cannot rename 'p/x': Odd (ended by signal 6)")
    );
}

#[test]
fn details_stay_short() {
    let lines = "cannot hold: pool is read-only\n".repeat(1000);
    assert_eq!(detail(&lines), "cannot hold: pool is read-only");
    let lines: Vec<_> = (0..1000).map(|i| format!("line {i}")).collect();
    let lines = lines.join("\n");
    assert_eq!(
        detail(&lines),
        "line 0; line 1; line 2; line 3; line 4; line 5; …"
    );
    assert!(detail(&"ü".repeat(100_000)).len() <= 2 * DETAIL_CHARS);
}
