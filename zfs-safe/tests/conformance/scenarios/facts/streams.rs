//! What the kernel does with the descriptors of sends and receives, and what they keep busy.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

use zfs_safe::begin_record::BeginRecord;
use zfs_safe::zfs::{ReceiveArgs, SendArgs, SendFlags};

use super::super::streams::bytes_of;
use super::Verdict;
use super::kernel::{self, Kernel};
use crate::bed::{Bed, dataset, holds, settings, sh, snap, snaps, try_sh};

fn full(name: &str) -> SendArgs {
    SendArgs {
        snapshot: snap(name),
        base: None,
        flags: SendFlags::default(),
        resume: None,
    }
}

/// A filesystem with 2 MiB that do not compress, and its stream.
fn source(bed: &Bed) -> Vec<u8> {
    sh(
        "zfs create -o mountpoint=/tmp/conf-src conf/src; dd if=/dev/urandom of=/tmp/conf-src/f bs=256k count=8 2>/dev/null; \
        zfs snapshot conf/src@1",
    );
    bytes_of(bed, &full("conf/src@1")).unwrap_or_else(|error| panic!("{error}"))
}

fn pipe() -> (File, File) {
    let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).expect("pipe");
    (reader.into(), writer.into())
}

/// Starts a raw receive into `target` on a thread of its own; the begin record is that of `bytes`.
fn receive_on_thread(
    target: &'static str,
    bytes: &[u8],
    input: OwnedFd,
    blocked: bool,
) -> thread::JoinHandle<(i32, Option<u64>)> {
    let begin = BeginRecord::read(&mut &bytes[..]).expect("begins");
    thread::spawn(move || {
        if blocked {
            kernel::block_signals();
        }
        let answer = Kernel::open().receive(target, &begin, input.as_fd());
        (answer.errno, answer.list.u64("read_bytes"))
    })
}

fn token(name: &str) -> String {
    try_sh(&format!("zfs get -H -o value receive_resume_token {name}"))
        .unwrap_or_else(|_| "(no dataset)".to_owned())
}

pub(super) fn epipe_is_eintr(bed: &mut Bed) -> Verdict {
    let bytes = source(bed);
    let send = |read: usize| {
        let (mut reader, writer) = pipe();
        let sender = thread::spawn(move || Kernel::open().send("conf/src@1", writer.as_fd()));
        reader.read_exact(&mut vec![0; read]).expect("reads");
        drop(reader);
        sender.join().expect("no panic")
    };
    let middle = send(100_000);
    let (reader, writer) = pipe();
    drop(reader);
    let start = Kernel::open().send("conf/src@1", writer.as_fd());
    let (nobody, _writer) = pipe();
    let wrong_way = Kernel::open().send("conf/src@1", nobody.as_fd());
    let null = File::options()
        .write(true)
        .open("/dev/null")
        .expect("opens");
    let to_null = Kernel::open().send("conf/src@1", null.as_fd());
    bed.fact(
        "a",
        format!(
            "reader gone in mid-stream: errno {middle}; gone before the first byte: errno {start}"
        ),
    );
    bed.fact(
        "a",
        format!("output not open for writing: errno {wrong_way}; /dev/null: errno {to_null}"),
    );
    assert_eq!(middle, libc::EINTR);
    assert_eq!(start, libc::EPIPE);
    // A reader that stays gets everything.
    let (mut reader, writer) = pipe();
    let sender = thread::spawn(move || Kernel::open().send("conf/src@1", writer.as_fd()));
    let mut all = Vec::new();
    reader.read_to_end(&mut all).expect("reads");
    assert_eq!(
        (sender.join().expect("no panic"), all.len()),
        (0, bytes.len())
    );
    let stream = bed.zfs.send(&full("conf/src@1")).expect("starts");
    let size = rustix::pipe::fcntl_getpipe_size(stream.as_fd()).expect("pipe size");
    bed.fact(
        "pipe",
        format!("as root the pipe of a stream holds {size} bytes"),
    );
    stream.cancel();
    Ok(())
}

/// Receives with a signal in mid-stream, while the kernel waits for more: in the middle of a record, or between two.
fn signalled(
    target: &'static str,
    bytes: &[u8],
    cut: usize,
    flags: i32,
    blocked: bool,
) -> (i32, Option<u64>) {
    kernel::handle_signal(flags);
    let before = kernel::signals_handled();
    let (reader, mut writer) = pipe();
    let receiver = receive_on_thread(target, bytes, reader.into(), blocked);
    let rest = &bytes[BeginRecord::LEN..];
    writer.write_all(&rest[..cut]).expect("writes");
    // Until the kernel has taken all of it and waits.
    wait_for(|| rustix::io::ioctl_fionread(&writer).is_ok_and(|left| left == 0));
    thread::sleep(Duration::from_millis(300));
    kernel::signal_thread(&receiver);
    thread::sleep(Duration::from_millis(300));
    // A receive that has ended does not read on.
    let _: io::Result<()> = writer.write_all(&rest[cut..]);
    drop(writer);
    let result = receiver.join().expect("no panic");
    let handled = kernel::signals_handled() - before;
    assert_eq!(handled, u32::from(!blocked), "signals handled");
    result
}

fn wait_for(condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(10), "waited too long");
        thread::sleep(Duration::from_millis(20));
    }
}

pub(super) fn signal_restarts_a_receive(bed: &mut Bed) -> Verdict {
    let bytes = source(bed);
    let middle = bytes.len() / 2;
    let restarted = signalled("conf/restarted@1", &bytes, middle, libc::SA_RESTART, false);
    let left = token("conf/restarted").len() > 1;
    let interrupted = signalled("conf/interrupted@1", &bytes, middle, 0, false);
    let kept = token("conf/interrupted").len() > 1;
    let blocked = signalled("conf/blocked@1", &bytes, middle, libc::SA_RESTART, true);
    bed.fact("b", format!(
        "handler with SA_RESTART: errno {}, {:?} bytes read by the last call, resume token {left}; without: errno {}, \
         {:?} bytes, resume token {kept}; signals blocked: errno {}, {:?} of {} bytes",
        restarted.0, restarted.1, interrupted.0, interrupted.1, blocked.0, blocked.1, bytes.len() - BeginRecord::LEN,
    ));
    assert_eq!(blocked, (0, Some((bytes.len() - BeginRecord::LEN) as u64)));
    assert_ne!(restarted.0, 0, "a restarted receive must not succeed");
    assert_ne!(interrupted.0, 0);
    Ok(())
}

/// Both ends of a TCP connection.
fn tcp_pair() -> io::Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let client = TcpStream::connect(listener.local_addr()?)?;
    Ok((client, listener.accept()?.0))
}

pub(super) fn sockets_carry_streams(bed: &mut Bed) -> Verdict {
    let bytes = source(bed);
    let over = |what: &str,
                target: &'static str,
                (out, mut inn): (OwnedFd, File),
                (r_in, mut r_out): (OwnedFd, File)| {
        let sender = thread::spawn(move || Kernel::open().send("conf/src@1", out.as_fd()));
        let mut sent = Vec::new();
        inn.read_to_end(&mut sent).expect("reads");
        let send = sender.join().expect("no panic");
        let receiver = receive_on_thread(target, &bytes, r_in, true);
        let relay = r_out.write_all(&bytes[BeginRecord::LEN..]);
        drop(r_out);
        let receive = receiver.join().expect("no panic");
        bed.fact("c", format!(
            "{what}: send errno {send}, same bytes: {}; receive errno {}, {:?} bytes, relay {relay:?}",
            sent == bytes, receive.0, receive.1
        ));
        assert_eq!((send, receive.0, sent.len()), (0, 0, bytes.len()), "{what}");
    };
    let unix = || {
        let (a, b) = UnixStream::pair().expect("sockets");
        (OwnedFd::from(a), File::from(OwnedFd::from(b)))
    };
    over("AF_UNIX stream socket", "conf/unix@1", unix(), unix());
    let _: Result<String, String> = try_sh("ip link set lo up || ifconfig lo up");
    let tcp = || tcp_pair().map(|(a, b)| (OwnedFd::from(a), File::from(OwnedFd::from(b))));
    match (tcp(), tcp()) {
        (Ok(first), Ok(second)) => over("TCP", "conf/tcp@1", first, second),
        (Err(error), _) | (_, Err(error)) => bed.fact("c", format!("TCP: not asked: {error}")),
    }
    // A socket whose reader goes away.
    let (out, mut inn) = UnixStream::pair().expect("sockets");
    let sender = thread::spawn(move || Kernel::open().send("conf/src@1", out.as_fd()));
    inn.read_exact(&mut vec![0; 100_000]).expect("reads");
    drop(inn);
    let errno = sender.join().expect("no panic");
    bed.fact(
        "c",
        format!("AF_UNIX reader gone in mid-stream: errno {errno}; kTLS: not asked"),
    );
    assert_eq!(errno, libc::EINTR);
    Ok(())
}

pub(super) fn socket_timeout_keeps_state(bed: &mut Bed) -> Verdict {
    let bytes = source(bed);
    let (input, mut output) = UnixStream::pair().expect("sockets");
    input
        .set_read_timeout(Some(Duration::from_millis(500)))
        .expect("sets");
    let receiver = receive_on_thread("conf/dst@1", &bytes, input.into(), true);
    output
        .write_all(&bytes[BeginRecord::LEN..bytes.len() / 2])
        .expect("writes");
    let (errno, read) = receiver.join().expect("no panic");
    let token = token("conf/dst");
    bed.fact(
        "d",
        format!(
            "SO_RCVTIMEO passes: errno {errno}, {read:?} bytes read, resume token {}",
            if token.len() > 1 { "kept" } else { "none" }
        ),
    );
    assert_eq!(errno, libc::EAGAIN);
    assert!(token.len() > 1, "{token}");
    Ok(())
}

pub(super) fn what_streams_keep_busy(bed: &mut Bed) -> Verdict {
    let bytes = source(bed);
    let mut sending = bed.zfs.send(&full("conf/src@1")).expect("starts");
    sending.read_exact(&mut vec![0; 1000]).expect("reads");
    let kernel = Kernel::open();
    let deferred = kernel.destroy_snapshots(&["conf/src@1"], true);
    let plain = kernel.destroy_snapshots(&["conf/src@1"], false);
    bed.fact(
        "i",
        format!(
            "destroying a snapshot that is being sent: deferred errno {} {:?}, plain errno {} {:?}",
            deferred.errno, deferred.list, plain.errno, plain.list
        ),
    );
    assert_eq!((deferred.errno, plain.errno), (libc::EBUSY, libc::EBUSY));
    let held = bed.zfs.hold(&holds(&[("conf/src@1", "while-sent")]));
    let bookmarked = sh("zfs bookmark conf/src@1 conf/src#1 && echo works");
    let renamed = sh("zfs rename conf/src@1 conf/src@2 && echo works");
    bed.fact("i", format!("while it is sent: hold {held:?}, bookmark {bookmarked}, rename of the snapshot {renamed}"));
    sending.cancel();

    // A new filesystem, and an existing one, while something is received into them.
    let half = &bytes[BeginRecord::LEN..bytes.len() / 2];
    let begin = BeginRecord::read(&mut &bytes[..]).expect("begins");
    let mut running = bed
        .zfs
        .receive(&ReceiveArgs::new(snap("conf/new@1"), begin))
        .expect("starts");
    running.write_all(half).expect("writes");
    wait_for(|| try_sh("zfs list conf/new").is_ok());
    let label = |result: Result<(), zfs_safe::ZfsError>| match result {
        Ok(()) => "works".to_owned(),
        Err(error) => format!(
            "{:?} ({})",
            error.reason,
            error
                .errno
                .map_or_else(String::new, |errno| errno.to_string())
        ),
    };
    let path = dataset("conf/new");
    let second = {
        let begin = BeginRecord::read(&mut &bytes[..]).expect("begins");
        let mut stream = bed
            .zfs
            .receive(&ReceiveArgs::new(snap("conf/new@1"), begin))
            .expect("starts");
        // 2.1 reads the next record before it looks at the target. Later ones do not read at all.
        drop(stream.write_all(half));
        stream
            .finish(Ok(()))
            .map(drop)
            .map_err(|error| error.zfs().cloned().unwrap_or_else(|| panic!("{error}")))
    };
    let answers = [
        ("second receive", label(second)),
        (
            "snapshot",
            format!("{:?}", bed.zfs.snapshot(&snaps(&["conf/new@x"]), &[])[0]),
        ),
        (
            "set property",
            label(
                bed.zfs
                    .set_properties(&path.clone().into(), &settings(&[("u:x", "1")])),
            ),
        ),
        (
            "discard",
            label(bed.zfs.discard_partial_receive(&path).map(drop)),
        ),
        ("destroy", label(bed.zfs.destroy_dataset(&path))),
        (
            "rename",
            label(bed.zfs.rename(&path, &dataset("conf/renamed"))),
        ),
    ];
    for (what, answer) in answers {
        bed.fact(
            "receiving",
            format!("{what} of a filesystem being received: {answer}"),
        );
    }
    drop(running);
    Ok(())
}
