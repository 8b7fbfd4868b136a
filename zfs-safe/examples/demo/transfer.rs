//! One stream from a send to a receive, pipe to pipe, counted, and cut off if wanted.

use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

use zfs_safe::Zfs;
use zfs_safe::begin_record::BeginRecord;
use zfs_safe::name::SnapshotName;
use zfs_safe::stream::{ReceiveStream, SendStream, StreamError};
use zfs_safe::zfs::{ReceiveArgs, SendArgs};

use crate::Result;

/// Bytes moved at once.
const PIECE: u64 = 128 << 10;

/// A transfer that went as intended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Transferred {
    /// Length of the stream, as far as it got.
    pub(crate) bytes: u64,
    pub(crate) took: Duration,
    /// The stream has not been cut off.
    pub(crate) complete: bool,
}

/// Sends and receives. With a `limit` the connection breaks after so many bytes, for both sides without warning.
pub(crate) fn transfer(
    zfs: &dyn Zfs,
    send: &SendArgs,
    target: &SnapshotName,
    limit: Option<u64>,
) -> Result<Transferred> {
    let started = Instant::now();
    let mut sending = zfs.send(send)?;
    // The receiver looks at the first record before it decides how to receive.
    let begin = match BeginRecord::read(&mut sending) {
        Ok(begin) => begin,
        Err(error) => {
            // A send that failed at once has written nothing and knows why.
            sending.finish(Ok(()))?;
            return Err(error.into());
        }
    };
    let head = begin.bytes.len() as u64;
    let mut receiving = zfs.receive(&ReceiveArgs::new(target.clone(), begin))?;
    let limit = limit.map_or(u64::MAX, |limit| limit.saturating_sub(head));
    let (moved, end) = relay(&mut sending, &mut receiving, limit);
    let transferred = |complete| Transferred {
        bytes: head + moved,
        took: started.elapsed(),
        complete,
    };
    match end {
        End::Complete => {
            // If the send broke off, the receive did for that reason.
            let sent = sending.finish(Ok(()));
            let received = receiving.finish(Ok(()));
            sent?;
            received?;
            Ok(transferred(true))
        }
        End::Cut => {
            let cut = receiving.finish(Err(io::Error::from(io::ErrorKind::ConnectionReset)));
            sending.cancel();
            match cut {
                Err(StreamError::Relay { .. }) => Ok(transferred(false)),
                Err(error) => Err(error.into()),
                Ok(_) => Err("a receive that was cut off claims to have succeeded".into()),
            }
        }
        End::CannotRead(error) => {
            sending.finish(Err(error))?;
            Err("reading the stream failed, but the send did not".into())
        }
        End::CannotWrite(error) => {
            sending.cancel();
            receiving.finish(Err(error))?;
            Err("writing the stream failed, but the receive did not".into())
        }
    }
}

enum End {
    Complete,
    Cut,
    CannotRead(io::Error),
    CannotWrite(io::Error),
}

fn relay(from: &mut SendStream, to: &mut ReceiveStream, limit: u64) -> (u64, End) {
    let mut moved = 0;
    let mut piece = Vec::new();
    while moved < limit {
        piece.clear();
        let wanted = PIECE.min(limit - moved);
        match from.by_ref().take(wanted).read_to_end(&mut piece) {
            Ok(0) => return (moved, End::Complete),
            Ok(_) => {}
            Err(error) => return (moved, End::CannotRead(error)),
        }
        if let Err(error) = to.write_all(&piece) {
            return (moved, End::CannotWrite(error));
        }
        moved += piece.len() as u64;
    }
    (moved, End::Cut)
}
