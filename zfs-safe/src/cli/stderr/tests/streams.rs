//! Messages of sends and receives.

use super::*;

#[test]
fn sends() {
    check(&[
        (
            O::Send,
            "warning: cannot send 'p/a@2': not an earlier snapshot from the same fs\n",
            "NotAncestor",
        ),
        (
            O::Send,
            "warning: cannot send 'p/enc@1': dataset key must be loaded\n",
            "KeyNotLoaded",
        ),
        (
            O::Send,
            "warning: cannot send 'p/a@2': signal received\n",
            "Interrupted",
        ),
        (
            O::Send,
            "warning: cannot send 'p/a@2': Broken pipe\n",
            "ReaderGone",
        ),
        (O::Send, "warning: cannot send 'p/a@2': I/O error\n", "Io"),
        // From the sources of 2.4.4.
        (
            O::Send,
            "warning: cannot send 'p/a@2': source snapshot contains large microzaps, need -L (--large-block) or -w (--raw) to \
             generate stream\n",
            "StreamNeedsLargeBlocks",
        ),
    ]);
    assert_eq!(
        classify(O::Send, "p/a@2", Exit::Signal(libc::SIGPIPE), "").reason,
        Reason::ReaderGone
    );
    assert_eq!(
        classify(O::Send, "p/a@2", Exit::Signal(libc::SIGKILL), "").reason,
        Reason::Interrupted
    );
}

#[test]
fn receives() {
    let cases = [
        (
            "new filesystem stream: destination 'q/r' exists\nmust specify -F to overwrite it",
            "AlreadyExists",
        ),
        (
            "new filesystem stream: destination has snapshots (eg. q/r@1)\nmust destroy them to overwrite it",
            "AlreadyExists",
        ),
        (
            "incremental stream: most recent snapshot of q/r does not\nmatch incremental source",
            "NoBase",
        ),
        (
            "incremental stream: destination q/r has been modified\nsince most recent snapshot",
            "ReceiverModified",
        ),
        (
            "incremental stream: destination q/r contains partially-complete state from \"zfs receive -s\".",
            "PartialReceive",
        ),
        ("incremental stream: incomplete stream", "StreamTruncated"),
        ("incremental stream: checksum mismatch", "StreamCorrupt"),
        (
            "incremental stream: checksum mismatch or incomplete stream.\nPartially received snapshot is saved.\nA resuming \
             stream can be generated on the sending system by running:\n    zfs send -t 1-bba7a8512-d8-789c63",
            "StreamTruncated",
        ),
        (
            "new filesystem stream: parent 'q/vol' is not a filesystem",
            "WrongParent",
        ),
        (
            "new filesystem stream: inherited key must be loaded",
            "KeyNotLoaded",
        ),
        (
            "incremental stream: cannot perform raw receive on top of existing unencrypted dataset",
            "BadStream",
        ),
        (
            "new filesystem stream: zfs receive -F cannot be used to destroy an encrypted filesystem or overwrite an \
             unencrypted one with an encrypted one",
            "BadStream",
        ),
        (
            "new filesystem stream: encryption property 'encryption' cannot be set or excluded for raw streams.",
            "InvalidProperty",
        ),
        // From the sources of 2.4.4.
        (
            "incremental stream: kernel modules must be upgraded to receive this stream.",
            "BadStream",
        ),
        ("incremental stream: invalid backup stream", "BadStream"),
        (
            "incremental stream: incremental send stream requires -L (--large-block), to match previous receive.",
            "StreamNeedsLargeBlocks",
        ),
        (
            "incremental stream: IV set guid mismatch. See the 'zfs receive' man page section\n discussing the limitations of \
             raw encrypted send streams.",
            "RawMismatch",
        ),
        (
            "incremental stream: encryption key does not match existing key",
            "KeyNotLoaded",
        ),
        (
            "new filesystem stream: pool must be upgraded to receive this stream.",
            "Unsupported",
        ),
        (
            "resume stream: Resuming recv on existing destination 'q/r'\nmust specify -F to overwrite it",
            "PartialReceive",
        ),
        ("incremental stream: dataset is busy", "Busy"),
        ("incremental stream: signal received", "Interrupted"),
    ];
    for (text, expected) in cases {
        assert_eq!(
            label(O::Receive, &format!("cannot receive {text}\n")),
            expected,
            "{text}"
        );
    }
    check(&[
        (
            O::Receive,
            "cannot receive: failed to read from stream\n",
            "StreamTruncated",
        ),
        (
            O::Receive,
            "cannot receive: invalid stream (bad magic number)\n",
            "BadStream",
        ),
        (
            O::Receive,
            "cannot receive: stream has unsupported feature, feature flags = 80000004 (unknown flags = 80000000)\n",
            "UnsupportedStream",
        ),
        (
            O::Receive,
            "cannot restore to q/out of space: x@1: destination already exists\n",
            "AlreadyExists",
        ),
        (
            O::Receive,
            "internal error: cannot receive incremental stream: Numerical result out of range\n",
            "BadStream",
        ),
    ]);
}
