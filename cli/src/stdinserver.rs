//! `zrepl stdinserver`, the command that sshd runs for a client: standard input and output go to the daemon through the
//! socket of that client, and the command ends when the daemon is done with them. Whatever fails before the daemon has them
//! is said to the other side too, in the one message that it understands; nothing else is printed on standard output.
//!
//! Wire constants of problame/go-netssh (`serve.go`), so that either side of the socket may be a zrepl 0.7.0.

use std::ffi::OsStr;
use std::io::{self, IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use anyhow::{Context, bail};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::retry_on_intr;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use zrepl_daemon::name::client_identity::ClientIdentity;
use zrepl_proto::netssh::Message;

use crate::configuration::Configuration;

/// Connects the client of this name to the daemon and waits until the connection ends.
pub(crate) fn run(
    identity: &OsStr,
    configuration: impl FnOnce() -> anyhow::Result<Configuration>,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let mut daemon = match hand_over(identity, configuration) {
        Ok(daemon) => daemon,
        Err(error) => {
            let answered = out
                .write_all(&Message::ProxyError.encode())
                .and_then(|()| out.flush());
            // What failed first matters more.
            answered.ok();
            return Err(error);
        }
    };
    wait(&mut daemon)
}

fn hand_over(
    identity: &OsStr,
    configuration: impl FnOnce() -> anyhow::Result<Configuration>,
) -> anyhow::Result<UnixStream> {
    let identity = ClientIdentity::new(&identity.to_string_lossy())
        .with_context(|| format!("invalid client identity {:?}", identity.display()))?;
    let configuration = configuration()?;
    let path = configuration.stdinserver_sockdir().join(identity.as_str());
    let daemon = UnixStream::connect(&path).with_context(|| {
        let path = path.display();
        let advice = "is the daemon running, with this configuration, and does one of its jobs serve this client?";
        format!("cannot connect to the zrepl daemon at {path}; {advice}")
    })?;
    let (input, output) = (io::stdin(), io::stdout());
    pass(&daemon, [input.as_fd(), output.as_fd()]).with_context(|| {
        let path = path.display();
        format!("cannot pass standard input and output to the zrepl daemon at {path}")
    })?;
    Ok(daemon)
}

fn pass(daemon: &UnixStream, descriptors: [BorrowedFd<'_>; 2]) -> io::Result<()> {
    // The daemon waits for several of them at a time.
    for descriptor in descriptors {
        fcntl_setfl(descriptor, fcntl_getfl(descriptor)? | OFlags::NONBLOCK)?;
    }
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let pushed = control.push(SendAncillaryMessage::ScmRights(&descriptors));
    assert!(pushed, "there is room for two descriptors");
    retry_on_intr(|| {
        sendmsg(
            daemon,
            &[IoSlice::new(&[0])],
            &mut control,
            SendFlags::NOSIGNAL,
        )
    })?;
    Ok(())
}

/// From here on standard output is the daemon's.
fn wait(daemon: &mut UnixStream) -> anyhow::Result<()> {
    let mut byte = [0];
    match daemon.read_exact(&mut byte) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            bail!("the zrepl daemon refused the connection or ended; its log may tell why")
        }
        Err(error) => Err(error).context("lost the zrepl daemon"),
    }
}
