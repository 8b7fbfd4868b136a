//! Running sends, and how they end. In zrepl they can be read, closed and closed again; here the end takes the stream, so that some of
//! what could go wrong cannot be written.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::AsFd as _;
use std::time::Duration;

use zfs_safe::stream::{SendStream, StreamError};
use zrepl_daemon::endpoint::stream::{LocalStream, Source};
use zrepl_daemon::endpoint::zfs_stream;

use super::receiving::sending;
use crate::case::Case;
use crate::interference::senders;
use crate::{Scenario, Verdict};

pub(crate) const LIST: &[Scenario] = &[
    Scenario::new("SendStreamCloseAfterBlockedOnPipeWrite", |case| {
        Box::pin(blocked(case))
    }),
    Scenario::new("SendStreamCloseAfterEOFRead", |case| {
        Box::pin(async move { read_to_the_end(&case) })
    }),
    Scenario::new("SendStreamMultipleCloseAfterEOF", |case| {
        Box::pin(finished_twice_after_the_end(case))
    }),
    Scenario::new("SendStreamMultipleCloseBeforeEOF", |case| {
        Box::pin(finished_twice_before_the_end(case))
    }),
    Scenario::new("SendStreamNonEOFReadErrorHandling", |case| {
        Box::pin(async move { failing_reader(&case) })
    }),
];

fn start(case: &Case, kib: u64) -> Result<SendStream, Box<dyn std::error::Error + Send + Sync>> {
    case.set_up(&format!("+ sender\nW sender {kib}\n+ sender@1"))?;
    Ok(case.zfs.send(&sending(case, None, "sender@1", false))?)
}

/// Nothing is left of the send: no process, and nothing that keeps the snapshot.
fn assert_over(case: &Case) {
    let senders = senders(case.root()).expect("/proc is there");
    assert_eq!(senders, [], "zfs send is still there");
    case.set_up("- sender@1").expect("nobody uses it");
}

async fn blocked(case: Case) -> Verdict {
    let send = start(&case, 4096)?;
    // Full is what does not get fuller.
    let (mut before, mut now) = (0, 0);
    while now == 0 || now != before {
        tokio::time::sleep(Duration::from_millis(200)).await;
        (before, now) = (now, rustix::io::ioctl_fionread(send.as_fd())?);
    }
    assert!(now < 3 << 20, "all of it fits into the pipe");
    let error = send
        .finish(Err(io::Error::other("not wanted")))
        .expect_err("it was cut");
    assert!(matches!(error, StreamError::Relay { .. }), "{error:?}");
    assert_over(&case);
    Ok(())
}

fn read_to_the_end(case: &Case) -> Verdict {
    let send = start(case, 256)?;
    let mut reader = File::from(send.as_fd().try_clone_to_owned()?);
    let mut bytes = Vec::new();
    reader.read_to_end(&mut bytes)?;
    assert!(bytes.len() > 256 << 10);
    assert_eq!(reader.read(&mut [0; 1])?, 0, "the end stays the end");
    drop(reader);
    send.finish(Ok(()))?;
    assert_over(case);
    Ok(())
}

/// The stream of an endpoint.
fn local(send: SendStream) -> Result<LocalStream, Box<dyn std::error::Error + Send + Sync>> {
    match zfs_stream::sending(send)?.source {
        Source::Local(local) => Ok(local),
        Source::Remote(_) => Err("not local".into()),
    }
}

async fn finished_twice_after_the_end(case: Case) -> Verdict {
    let mut stream = local(start(&case, 256)?)?;
    let (mut total, mut buffer) = (0, vec![0; 64 << 10]);
    loop {
        match stream.read(&mut buffer).await? {
            0 => break,
            count => total += count,
        }
    }
    assert!(total > 256 << 10);
    stream.finish(Ok(())).await?;
    assert_eq!(stream.read(&mut buffer).await?, 0);
    let error = stream.finish(Ok(())).await.expect_err("it is over");
    assert_eq!(error, "stream has been finished before");
    assert_over(&case);
    Ok(())
}

async fn finished_twice_before_the_end(case: Case) -> Verdict {
    let mut stream = local(start(&case, 4096)?)?;
    let error = stream.finish(Err(io::Error::other("not wanted"))).await;
    let error = error.expect_err("it was cut");
    assert!(error.contains("not wanted"), "{error}");
    let error = stream.finish(Ok(())).await.expect_err("it is over");
    assert_eq!(error, "stream has been finished before");
    assert_over(&case);
    Ok(())
}

fn failing_reader(case: &Case) -> Verdict {
    let send = start(case, 4096)?;
    let mut reader = File::from(send.as_fd().try_clone_to_owned()?);
    reader.read_exact(&mut [0; 128])?;
    drop(reader);
    let error = send
        .finish(Err(io::Error::other("injected")))
        .expect_err("it was cut");
    match &error {
        StreamError::Relay {
            source, dataset, ..
        } => {
            assert_eq!(source.to_string(), "injected");
            assert_eq!(dataset, &case.full("sender@1"));
        }
        StreamError::Zfs(_) => panic!("ZFS was blamed: {error:?}"),
    }
    assert_over(case);
    Ok(())
}
