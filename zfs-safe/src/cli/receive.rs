//! Receives through `zfs receive`.

use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::process::Child;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::command::{Exit, Finished, process_error, read_stderr};
use super::{Cli, list, stderr};
use crate::begin_record::BeginRecord;
use crate::error::{Operation, Reason, RejectedProperty, Result, ZfsError};
use crate::name::{DatasetPath, SnapshotName};
use crate::property::{self, DatasetType, PropertyName, ReceiveTarget};
use crate::stream::{ReceiveReport, ReceiveStream, stream_pipe};
use crate::zfs::{PackageArgs, ReceiveArgs};

pub(super) fn receive(cli: &Cli, receive: &ReceiveArgs) -> Result<ReceiveStream> {
    let skipped = skipped(cli, receive)?;
    let applies = |name: &PropertyName| !skipped.iter().any(|skipped| skipped == name.as_str());
    let set = receive.set.iter().filter(|(name, _)| applies(name));
    let origin = receive.origin.iter();
    let inherit = receive.inherit.iter().filter(|name| applies(name));
    let call = Call {
        snapshot: &receive.snapshot,
        begin: &receive.begin.bytes,
        force: receive.force,
        resumable: receive.resumable,
        set: set
            .map(assignment)
            .chain(origin.map(|origin| format!("origin={origin}")))
            .collect(),
        inherit: inherit.map(PropertyName::as_str).collect(),
        tolerate: receive.tolerate_property_errors,
    };
    let report = ReceiveReport {
        skipped,
        ..ReceiveReport::default()
    };
    start(cli, call, report)
}

/// What the package holds is not known, so properties that do not apply to it are zfs(8)'s to refuse.
pub(super) fn receive_package(cli: &Cli, package: &PackageArgs) -> Result<ReceiveStream> {
    let call = Call {
        snapshot: &package.snapshot,
        begin: &package.begin,
        force: package.force,
        resumable: package.resumable,
        set: package.set.iter().map(assignment).collect(),
        inherit: package.inherit.iter().map(PropertyName::as_str).collect(),
        tolerate: package.tolerate_property_errors,
    };
    start(cli, call, ReceiveReport::default())
}

fn assignment((name, value): &(PropertyName, String)) -> String {
    format!("{name}={value}")
}

/// One run of `zfs receive`.
struct Call<'a> {
    snapshot: &'a SnapshotName,
    begin: &'a [u8; BeginRecord::LEN],
    force: bool,
    resumable: bool,
    set: Vec<String>,
    inherit: Vec<&'a str>,
    tolerate: bool,
}

fn start(cli: &Cli, call: Call<'_>, report: ReceiveReport) -> Result<ReceiveStream> {
    let operation = Operation::Receive;
    let dataset = call.snapshot.to_string();
    // Verbose, because else it is silent about a snapshot that exists and that it therefore has not received.
    let command = cli
        .zfs("receive")
        .args(["-u", "-v"])
        .args(call.force.then_some("-F"))
        .args(call.resumable.then_some("-s"))
        .options("-o", call.set)
        .options("-x", call.inherit)
        .operands([dataset.as_str()]);

    let (reader, writer) = stream_pipe(operation, &dataset)?;
    // The caller has taken this record off the stream; the smallest pipe holds it.
    let lost = |error: io::Error| {
        process_error(
            operation,
            &dataset,
            format!("cannot begin the stream: {error}"),
        )
    };
    let mut begin = std::fs::File::from(writer);
    begin.write_all(call.begin).map_err(lost)?;
    let writer = OwnedFd::from(begin);
    let child = command
        .stdin(reader.try_clone().map_err(lost)?)
        .spawn(operation, &dataset)?;
    let tolerate = call.tolerate;
    let (cli, target) = (cli.clone(), call.snapshot.dataset());
    ReceiveStream::start(dataset.clone(), (reader, writer), move |reader| {
        let (finished, input) = wait(child, reader, &dataset)?;
        judge(&finished, input, &dataset, tolerate, report).map_err(|error| match error.reason {
            // The kernel looks for an interrupted receive first, zfs(8) for what else exists.
            Reason::Busy | Reason::AlreadyExists if has_partial_receive(&cli, &target) => {
                ZfsError {
                    reason: Reason::PartialReceive,
                    ..error
                }
            }
            _ => error,
        })
    })
}

/// Does the state of an interrupted receive, or of one under way, lie in `target`? A hidden child if it existed before, else
/// the target itself. No name type holds the former: `%` is not for users.
fn has_partial_receive(cli: &Cli, target: &DatasetPath) -> bool {
    let hidden = format!("{target}/%recv");
    let listed = cli
        .zfs("list")
        .args(["-H", "-o", "name", "-t", "filesystem,volume"])
        .operands([hidden.as_str()])
        .success(Operation::Receive, &hidden);
    let has_token = || {
        let wanted = ["guid", "receive_resume_token"];
        list::read(cli, Operation::Receive, target.as_str(), &wanted)
            .is_ok_and(|values| values.contains_key("receive_resume_token"))
    };
    listed.is_ok() || has_token()
}

/// Names of the properties that do not apply to what the stream holds.
fn skipped(cli: &Cli, receive: &ReceiveArgs) -> Result<Vec<String>> {
    let begin = &receive.begin;
    let local = locally_set(cli, receive)?;
    let local: Vec<_> = local.iter().map(String::as_str).collect();
    let plan = property::receive_properties(
        &receive.set,
        &receive.inherit,
        &ReceiveTarget {
            dataset_type: if begin.is_zvol() {
                DatasetType::Volume
            } else {
                DatasetType::Filesystem
            },
            raw: begin.is_raw(),
            creates: !begin.is_incremental() && !begin.is_resuming(),
            local: &local,
            received: None,
            dialect: cli.dialect,
        },
    )
    .map_err(|error| {
        ZfsError::of_property(Operation::Receive, receive.snapshot.as_str(), &error)
    })?;
    if plan.needs_key {
        return Err(ZfsError::new(
            Operation::Receive,
            receive.snapshot.as_str(),
            Reason::Unsupported,
        )
        .with_detail(
            "encrypting what is received needs a key: receive below an encrypted dataset instead",
        ));
    }
    Ok(plan
        .skipped
        .iter()
        .map(|skipped| skipped.name.to_string())
        .collect())
}

/// Names of the properties set locally on the target, which need not exist: they stay, whatever is to be inherited. Only a
/// receive that inherits any needs to know.
fn locally_set(cli: &Cli, receive: &ReceiveArgs) -> Result<Vec<String>> {
    let target = receive.snapshot.dataset();
    if receive.inherit.is_empty() {
        return Ok(Vec::new());
    }
    let listed = cli
        .zfs("get")
        .args(["-H", "-o", "property", "-s", "local"])
        .operands(["all", target.as_str()])
        .success(Operation::Receive, target.as_str());
    match listed {
        Ok(names) => Ok(names.lines().map(str::to_owned).collect()),
        Err(error) if error.is_not_found() => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// Whether zfs(8) has read its input to the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Input {
    /// All there was, and no more will come.
    Exhausted,
    /// More was there or could have come.
    Open,
}

/// Waits for the child. The pipe's reading end is kept until then, to see what the child has left in it.
fn wait(mut child: Child, reader: OwnedFd, dataset: &str) -> Result<(Finished, Input)> {
    let lost = |error: io::Error| {
        process_error(
            Operation::Receive,
            dataset,
            format!("cannot wait for it: {error}"),
        )
    };
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let (stdout, stderr) = std::thread::scope(|scope| {
        let stderr = scope.spawn(|| read_stderr(stderr));
        // A line or two.
        let stdout = stdout.map(io::read_to_string).transpose();
        (stdout, stderr.join().unwrap_or_default())
    });
    let status = child.wait().map_err(lost)?;
    let mut end = [PollFd::new(&reader, PollFlags::IN)];
    let at_once = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let polled = poll(&mut end, Some(&at_once));
    let input = match polled {
        Ok(_) if end[0].revents() == PollFlags::HUP => Input::Exhausted,
        _ => Input::Open,
    };
    drop(reader);
    let stdout = stdout.map_err(lost)?.unwrap_or_default();
    Ok((
        Finished {
            exit: Exit::from(status),
            stdout,
            stderr,
        },
        input,
    ))
}

/// What came of it.
fn judge(
    finished: &Finished,
    input: Input,
    dataset: &str,
    tolerate: bool,
    report: ReceiveReport,
) -> Result<ReceiveReport> {
    let operation = Operation::Receive;
    let rejected = rejected(&finished.stderr);
    // Properties are set after the data has arrived, so messages about them mean that it has. The status says nothing of
    // them, unless an unknown error number makes libzfs abort.
    let received = finished.exit == Exit::Code(0)
        || (!rejected.is_empty() && finished.exit == Exit::Signal(libc::SIGABRT));
    if !received {
        let Some(error) = finished.failure(operation, dataset) else {
            return Ok(report);
        };
        return Err(match error.reason {
            // One message stands for both. The kernel cannot have missed the end of a stream that has not ended.
            Reason::StreamTruncated if input == Input::Open && is_ambiguous(&finished.stderr) => {
                ZfsError {
                    reason: Reason::StreamCorrupt,
                    ..error
                }
            }
            _ => error,
        });
    }
    let ignored = format!("snap {dataset} already exists; ignoring");
    if finished.stdout.lines().any(|line| line == ignored) {
        return Err(ZfsError::new(operation, dataset, Reason::AlreadyExists).with_detail(ignored));
    }
    if !rejected.is_empty() && !tolerate {
        return Err(
            ZfsError::new(operation, dataset, Reason::InvalidProperty(rejected))
                .with_detail("the snapshot has been received"),
        );
    }
    Ok(ReceiveReport { rejected, ..report })
}

fn is_ambiguous(stderr: &str) -> bool {
    stderr::messages(stderr)
        .any(|line| stderr::description(line) == "checksum mismatch or incomplete stream.")
}

/// Properties refused after the data had arrived: `cannot receive NAME property on DATASET: …`.
fn rejected(stderr: &str) -> Vec<RejectedProperty> {
    let property = |line: &str| {
        let line = line.strip_prefix("internal error: ").unwrap_or(line);
        let (name, rest) = line
            .strip_prefix("cannot receive ")?
            .split_once(" property on ")?;
        let (_, problem) = rest.rsplit_once(": ")?;
        Some(RejectedProperty {
            name: name.to_owned(),
            problem: problem.to_owned(),
        })
    };
    stderr::messages(stderr).filter_map(property).collect()
}

#[cfg(test)]
mod tests;
