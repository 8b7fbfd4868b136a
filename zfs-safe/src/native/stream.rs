//! Sends and receives: one kernel call each, on a thread of its own, at the far end of a pipe.

use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

use super::core::{ReceiveCall, SendCall};
use super::dataset::{kernel_list, rejected};
use super::signals::SignalsBlocked;
use super::{Native, dataset, list};
use crate::errno::{Errno, Symbol};
use crate::error::{Operation, Reason, Result, ZfsError};
use crate::guid::Guid;
use crate::name::{DatasetPath, VersionName};
use crate::nvlist::Value;
use crate::property::{self, DatasetType, ReceiveTarget};
use crate::stream::{
    ProgressSource, ReceiveReport, ReceiveStream, SendProgress, SendStream, stream_pipe,
};
use crate::zfs::{ReceiveArgs, SendArgs, SendFlags, Zfs};

pub(super) fn estimate(native: &Native, send: &SendArgs) -> Result<u64> {
    check_token(native, Operation::EstimateSend, send)?;
    native.counters.add_ioctls(1);
    let transferred = send.resume.as_ref().map_or(0, |token| token.bytes);
    let space = native
        .core
        .send_space(&call_of(send), transferred)
        .map_err(|errno| {
            ZfsError::from_errno(Operation::EstimateSend, send.snapshot.as_str(), errno)
        })?;
    // The kernel subtracts what has been transferred without looking and may wrap around.
    Ok(if i64::try_from(space).is_ok() {
        space
    } else {
        0
    })
}

pub(super) fn send(native: &Native, send: &SendArgs) -> Result<SendStream> {
    if send.flags.is_package() && send.resume.is_none() {
        return native.tools("sending properties")?.send(send);
    }
    check_token(native, Operation::Send, send)?;
    let dataset = send.snapshot.to_string();
    let (reader, writer) = stream_pipe(Operation::Send, &dataset)?;
    // The kernel knows a running send by the number of its output descriptor.
    let output = Arc::new(AtomicI32::new(writer.as_raw_fd()));
    let progress = {
        let (native, dataset, output) = (native.clone(), dataset.clone(), Arc::clone(&output));
        ProgressSource(Arc::new(move || {
            let ended =
                || ZfsError::new(Operation::SendProgress, dataset.as_str(), Reason::NotFound);
            let output = output.load(Ordering::Acquire);
            if output < 0 {
                return Err(ended());
            }
            match native.device.send_progress(&dataset, output) {
                Ok((written, visited)) => Ok(SendProgress {
                    written,
                    visited: Some(visited),
                }),
                Err(errno) => Err(ZfsError::from_errno(
                    Operation::SendProgress,
                    dataset.as_str(),
                    errno,
                )),
            }
        }))
    };
    let (native, send) = (native.clone(), send.clone());
    SendStream::start(dataset, progress, (reader, writer), move |writer| {
        let _blocked = SignalsBlocked::new();
        native.counters.add_ioctls(1);
        let result = with_own_descriptors(&native, writer, |writer| {
            let result = native.core.send(&call_of(&send), writer);
            // Before the number can be given to another file.
            output.store(-1, Ordering::Release);
            result
        });
        result.map_err(|errno| ZfsError::from_errno(Operation::Send, send.snapshot.as_str(), errno))
    })
}

/// Runs a call that sleeps until somebody is at the other end of `stream`, which is in this process, and closes `stream`.
fn with_own_descriptors<T: Send>(
    native: &Native,
    stream: OwnedFd,
    call: impl FnOnce(BorrowedFd<'_>) -> std::result::Result<T, Errno> + Send,
) -> std::result::Result<T, Errno> {
    #[cfg(target_os = "linux")]
    {
        super::descriptors::with_own(stream, native.core.descriptors(), call)?
    }
    #[cfg(not(target_os = "linux"))]
    {
        // FreeBSD forgets no signal.
        let _ = native;
        call(std::os::fd::AsFd::as_fd(&stream))
    }
}

/// A token comes from the peer. What it names must be what the caller has agreed to send.
fn check_token(native: &Native, operation: Operation, send: &SendArgs) -> Result<()> {
    let Some(token) = &send.resume else {
        return Ok(());
    };
    let failed = |errno| ZfsError::from_errno(operation, send.snapshot.as_str(), errno);
    let to = native
        .device
        .stats(send.snapshot.as_str())
        .map_err(failed)?
        .guid;
    let from = match &send.base {
        None => None,
        Some(VersionName::Snapshot(base)) => {
            Some(native.device.stats(base.as_str()).map_err(failed)?.guid)
        }
        Some(VersionName::Bookmark(base)) => list::bookmark_stats(native, base)
            .map_err(failed)?
            .list("guid")
            .and_then(|entry| entry.u64("value"))
            .map(Guid::new),
    };
    if to != token.to_guid || from != token.from_guid {
        return Err(
            ZfsError::new(operation, send.snapshot.as_str(), Reason::InvalidArgument)
                .with_detail("the resume token is for another snapshot or base"),
        );
    }
    Ok(())
}

fn call_of(send: &SendArgs) -> SendCall<'_> {
    let mut flags = flag_bits(send.flags);
    if let Some(token) = &send.resume {
        flags |= flag_bits(SendFlags {
            raw: token.raw,
            compressed: token.compress,
            embedded: token.embed,
            large_blocks: token.large_block,
            saved: token.saved,
            ..SendFlags::default()
        });
    }
    SendCall {
        snapshot: send.snapshot.as_str(),
        base: send.base.as_ref().map(VersionName::as_str),
        flags,
        resume_object: send.resume.as_ref().map_or(0, |token| token.object),
        resume_offset: send.resume.as_ref().map_or(0, |token| token.offset),
    }
}

fn flag_bits(flags: SendFlags) -> u32 {
    use zfs_sys::libzfs_core as lzc;
    [
        (flags.raw, lzc::LZC_SEND_FLAG_RAW),
        (flags.compressed, lzc::LZC_SEND_FLAG_COMPRESS),
        (flags.embedded, lzc::LZC_SEND_FLAG_EMBED_DATA),
        (flags.large_blocks, lzc::LZC_SEND_FLAG_LARGE_BLOCK),
        (flags.saved, lzc::LZC_SEND_FLAG_SAVED),
    ]
    .into_iter()
    .filter_map(|(wanted, bit)| wanted.then_some(bit))
    .sum()
}

pub(super) fn receive(native: &Native, receive: &ReceiveArgs) -> Result<ReceiveStream> {
    let operation = Operation::Receive;
    let dataset = receive.snapshot.to_string();
    let failed = |reason| ZfsError::new(operation, dataset.as_str(), reason);
    let target = receive.snapshot.dataset();
    // What is set locally decides which properties may be inherited; only a receive that inherits any needs to know.
    let local = if receive.inherit.is_empty() {
        Vec::new()
    } else {
        locally_set(native, target.as_str())?
    };
    let local: Vec<_> = local.iter().map(String::as_str).collect();
    let plan = property::receive_properties(
        &receive.set,
        &receive.inherit,
        &ReceiveTarget {
            dataset_type: if receive.begin.is_zvol() {
                DatasetType::Volume
            } else {
                DatasetType::Filesystem
            },
            raw: receive.begin.is_raw(),
            creates: !receive.begin.is_incremental() && !receive.begin.is_resuming(),
            local: &local,
            received: None,
            dialect: native.dialect,
        },
    )
    .map_err(|error| ZfsError::of_property(operation, &dataset, &error))?;
    if plan.needs_key {
        return Err(failed(Reason::Unsupported).with_detail(
            "encrypting what is received needs a key: receive below an encrypted dataset instead",
        ));
    }
    if receive.force && !receive.begin.is_incremental() && has_snapshots(native, &target)? {
        // The kernel would destroy them all, down to the base, which a full stream does not have.
        return Err(failed(Reason::AlreadyExists)
            .with_detail("the target has snapshots, which a full stream would replace"));
    }
    let mut properties = kernel_list(&plan.set);
    for name in &plan.inherit {
        properties.insert(name.as_str(), Value::Boolean);
    }
    let skipped: Vec<_> = plan
        .skipped
        .iter()
        .map(|skipped| skipped.name.to_string())
        .collect();
    let origin = receive
        .origin
        .as_ref()
        .map(ToString::to_string)
        .or(plan.origin);

    let (native, args) = (native.clone(), receive.clone());
    ReceiveStream::start(
        dataset.clone(),
        stream_pipe(operation, &dataset)?,
        move |reader: OwnedFd| {
            let _blocked = SignalsBlocked::new();
            // One to see whether the target exists, one to receive.
            native.counters.add_ioctls(2);
            let call = ReceiveCall {
                snapshot: args.snapshot.as_str(),
                properties: &properties,
                origin: origin.as_deref(),
                force: args.force,
                resumable: args.resumable,
                begin: &args.begin,
            };
            let result =
                with_own_descriptors(&native, reader, |reader| native.core.receive(&call, reader));
            let received = match result {
                Ok(received) => received,
                Err(errno) => return Err(receive_failed(&native, &args, errno)),
            };
            native.counters.add_txg_wait();
            let rejected = rejected(operation, &received.errors);
            if !rejected.is_empty() && !args.tolerate_property_errors {
                return Err(ZfsError::new(
                    operation,
                    args.snapshot.as_str(),
                    Reason::InvalidProperty(rejected),
                )
                .with_detail("the snapshot has been received"));
            }
            Ok(ReceiveReport {
                bytes: Some(received.bytes),
                rejected,
                skipped,
            })
        },
    )
}

/// Names a receive's `EBUSY` and `EEXIST`, which stand for several things.
fn receive_failed(native: &Native, args: &ReceiveArgs, errno: Errno) -> ZfsError {
    let error = ZfsError::from_errno(Operation::Receive, args.snapshot.as_str(), errno);
    let target = args.snapshot.dataset();
    let reason = match errno.symbol() {
        Symbol::EBUSY if dataset::has_partial_receive(native, &target) => Reason::PartialReceive,
        _ => return error,
    };
    ZfsError { reason, ..error }
}

/// Does the dataset exist and have a snapshot?
fn has_snapshots(native: &Native, dataset: &DatasetPath) -> Result<bool> {
    let failed = |errno| ZfsError::from_errno(Operation::Receive, dataset.as_str(), errno);
    let mut cursor = native
        .device
        .snapshots(dataset.as_str(), None)
        .map_err(failed)?;
    let first = native.device.next(&mut cursor).map_err(failed)?;
    Ok(first.is_some())
}

/// Names of the properties set locally on a dataset; none if it does not exist.
fn locally_set(native: &Native, dataset: &str) -> Result<Vec<String>> {
    let object = match native.device.object(dataset) {
        Ok(object) => object,
        Err(errno) if errno.symbol() == Symbol::ENOENT => return Ok(Vec::new()),
        Err(errno) => return Err(ZfsError::from_errno(Operation::Receive, dataset, errno)),
    };
    Ok(object
        .properties
        .iter()
        .filter(|(_, value)| matches!(value, Value::List(entry) if entry.str("source") == Some(dataset)))
        .map(|(name, _)| name.to_owned())
        .collect())
}
