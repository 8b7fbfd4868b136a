//! One receive, from the request to the mark on what has arrived: a request and a stream flow in, and a snapshot is there with the
//! announced guid, or an error says why not and what has become of what had arrived.
//!
//! What is on the receiver is never destroyed to make a stream fit, with one exception: a placeholder, in which nothing can be. While it
//! is being replaced its property says so, so that dying at any point leaves either a placeholder, something that can be continued, or
//! what was to arrive.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use zfs_safe::error::Reason;
use zfs_safe::guid::Guid;
use zfs_safe::name::{DatasetPath, NameError, SnapshotName, VersionName};
use zfs_safe::property::PropertyName;
use zfs_safe::stream::{ReceiveReport, StreamError as ZfsStreamError};
use zfs_safe::version::FilesystemVersion;
use zfs_safe::zfs::{PackageArgs, ReceiveArgs};
use zfs_safe::{Outcome, ZfsError};
use zrepl_proto::pdu::{Check as _, GuaranteeKind, PduError, Protection, ReceiveReq, SendReq};

use super::parents::{self, ParentsError};
use super::target::{Kind, REPLACING, Target};
use super::{Receiver, Settings};
use crate::causes::chain;
use crate::endpoint::EndpointError;
use crate::endpoint::access::AccessError;
use crate::endpoint::local_zfs::LocalZfs;
use crate::endpoint::mark::guarantee::after_receive;
use crate::endpoint::mark::{Change, Mark, MarkError, MarkKind};
use crate::endpoint::placeholder::{Creation, Encryption, OFF, ON};
use crate::endpoint::stream::{SendStream, StreamError};
use crate::endpoint::zfs_stream::{self, Begin, BeginError, ReceiveError};

/// Why nothing was received, or why it does not count.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("`Filesystem` invalid: {0}")]
    Access(#[from] AccessError),
    #[error("{dataset} is being received already, by another connection")]
    Busy { dataset: DatasetPath },
    #[error("cannot receive {dataset}: {}", chain(.cause))]
    Begin {
        dataset: SnapshotName,
        cause: BeginError,
    },
    #[error(
        "cannot replace placeholder {dataset}: it is encrypted, or the stream is, and ZFS cannot replace one by the other while there \
         are filesystems below it; on the receiver, rename it out of the way (zfs rename {dataset} {dataset}.old), replicate \
         again, then move what is below {dataset}.old to where it was"
    )]
    EncryptedPlaceholder { dataset: DatasetPath },
    #[error(
        "receive request's `To` version does not match what we received in the stream: the snapshot in the stream has guid {found}, \
         announced was {announced}"
    )]
    Guid { announced: Guid, found: Guid },
    #[error("{dataset} is a placeholder, but the stream is incremental; plan again")]
    IncrementalIntoPlaceholder { dataset: DatasetPath },
    #[error(transparent)]
    Mark(#[from] MarkError),
    #[error("received {snapshot}, but cannot hold it: {cause}")]
    Hold {
        snapshot: SnapshotName,
        cause: Box<ZfsError>,
    },
    #[error(
        "{}; {dataset} is neither a placeholder nor what was received before: rename it out of the way (zfs rename), or, if there is nothing \
         in it, make it a placeholder (zfs set zrepl:placeholder=on {dataset})",
        chain(.cause)
    )]
    Occupied {
        dataset: DatasetPath,
        cause: ReceiveError,
    },
    #[error(transparent)]
    Parents(#[from] ParentsError),
    #[error("property {name:?} of the configuration cannot be used: {problem}")]
    Property { name: String, problem: String },
    #[error("{}{}", chain(.cause), kept(*.is_kept))]
    Receive {
        cause: ReceiveError,
        /// Is what had arrived still there?
        is_kept: bool,
    },
    #[error(transparent)]
    Request(#[from] PduError),
    #[error("`To` invalid: {0}")]
    To(#[from] NameError),
    #[error(transparent)]
    Zfs(#[from] ZfsError),
}

const fn kept(is_kept: bool) -> &'static str {
    if is_kept {
        "; what has arrived is kept, and the next replication resumes there"
    } else {
        ""
    }
}

impl From<Failure> for EndpointError {
    fn from(failure: Failure) -> Self {
        let is_temporary = match &failure {
            Failure::Begin {
                cause: BeginError::Stream(error),
                ..
            }
            | Failure::Receive {
                cause: ReceiveError::Stream(error),
                ..
            } => matches!(error, StreamError::Connection(error) if error.is_temporary()),
            Failure::Receive {
                cause: ReceiveError::Stopped,
                ..
            } => true,
            _ => false,
        };
        if is_temporary {
            Self::Unreachable {
                context: "stream was lost".to_owned(),
                source: Box::new(failure),
            }
        } else {
            Self::Failed(chain(&failure))
        }
    }
}

/// What a request asks for, in our terms.
#[derive(Clone, Debug)]
struct Wanted {
    snapshot: SnapshotName,
    guid: Guid,
    protection: Protection,
    clear_resume_token: bool,
}

impl Wanted {
    fn read(settings: &Settings, request: &ReceiveReq) -> Result<Self, Failure> {
        request.check()?;
        let dataset = settings.root.to_local(&request.filesystem)?;
        let missing = |field| PduError::Missing {
            message: "ReceiveReq",
            field,
        };
        let to = request.to.as_ref().ok_or(missing("To"))?;
        let config = request.replication_config.as_ref();
        let config = config.ok_or(missing("ReplicationConfig"))?;
        Ok(Self {
            snapshot: dataset.snapshot(&to.name)?,
            guid: Guid::new(to.guid),
            protection: config.try_into().map_err(PduError::from)?,
            clear_resume_token: request.clear_resume_token,
        })
    }
}

/// Receives. To be polled to its end; cancelling `stop` brings that about.
pub(super) async fn receive(
    receiver: &Receiver,
    request: &ReceiveReq,
    mut stream: SendStream,
    stop: &CancellationToken,
) -> Result<(), Failure> {
    let wanted = Wanted::read(&receiver.settings, request)?;
    let dataset = wanted.snapshot.dataset();
    let _turn = receiver
        .running
        .enter(&dataset, &stream.moved, stop)
        .await
        .ok_or(Failure::Busy { dataset })?;
    stream.limits.extend(receiver.settings.limit.clone());

    let begin = tokio::select! {
        begin = zfs_stream::begin(&mut stream) => begin,
        () = stop.cancelled() => Err(BeginError::Stream(stopped())),
    }
    .map_err(|cause| Failure::Begin {
        dataset: wanted.snapshot.clone(),
        cause,
    })?;
    if let Begin::Stream(record) = &begin
        && record.to_guid != wanted.guid
    {
        return Err(Failure::Guid {
            announced: wanted.guid,
            found: record.to_guid,
        });
    }
    let prepared = {
        // Several may need the same parent.
        let _alone = receiver.zfs.making_parents().await;
        let (settings, wanted) = (Arc::clone(&receiver.settings), wanted.clone());
        let prepare = move |zfs: &LocalZfs| prepare(zfs, &settings, &wanted, begin);
        receiver.zfs.run(prepare).await?
    };
    let Prepared {
        args,
        place,
        is_incremental,
    } = prepared;
    let promise = wanted.protection.of_step(is_incremental);
    let started = receiver
        .zfs
        .run(move |zfs| match args {
            Args::Stream(args) => zfs.zfs().receive(&args),
            Args::Package(args) => zfs.zfs().receive_package(&args),
        })
        .await
        .map_err(|error| ReceiveError::Zfs(ZfsStreamError::Zfs(error)));
    let received = match started {
        Ok(running) => zfs_stream::receive(stream, running, stop).await,
        Err(error) => {
            drop(stream);
            Err(error)
        }
    };
    let settings = Arc::clone(&receiver.settings);
    receiver
        .zfs
        .run(move |zfs| match received {
            Ok(report) => complete(zfs, &settings, &wanted, promise, &place, &report),
            Err(error) if is_there_already(zfs, &wanted, &error) => {
                let report = ReceiveReport::default();
                complete(zfs, &settings, &wanted, promise, &place, &report)
            }
            Err(cause) => Err(failed(zfs, wanted.snapshot.dataset(), cause, &place)),
        })
        .await
}

fn stopped() -> StreamError {
    StreamError::Connection(EndpointError::Unreachable {
        context: "receive was stopped".to_owned(),
        source: "the connection has ended, or this daemon is stopping".into(),
    })
}

/// The same step once more, whose success nobody heard of, is a success.
fn is_there_already(zfs: &LocalZfs, wanted: &Wanted, error: &ReceiveError) -> bool {
    has_reason(error, &Reason::AlreadyExists)
        && zfs
            .version(&VersionName::from(wanted.snapshot.clone()))
            .is_ok_and(|there| there.guid == wanted.guid)
}

fn has_reason(error: &ReceiveError, reason: &Reason) -> bool {
    matches!(error, ReceiveError::Zfs(ZfsStreamError::Zfs(error)) if error.reason == *reason)
}

/// Cleans up after a receive that failed. Blocks.
fn failed(zfs: &LocalZfs, dataset: DatasetPath, cause: ReceiveError, place: &Place) -> Failure {
    let is_kept = restore(zfs, &dataset, place);
    if has_reason(&cause, &Reason::AlreadyExists) {
        return Failure::Occupied { dataset, cause };
    }
    Failure::Receive { cause, is_kept }
}

/// A receive that can start.
struct Prepared {
    args: Args,
    place: Place,
    is_incremental: bool,
}

enum Args {
    Stream(Box<ReceiveArgs>),
    Package(Box<PackageArgs>),
}

/// What was done to the target to make place.
enum Place {
    /// Nothing.
    Untouched,
    /// It is a placeholder that is being replaced in place.
    Replacing,
    /// It was a placeholder, and was destroyed.
    Destroyed(Creation),
}

/// Makes everything ready for the stream. Blocks.
fn prepare(
    zfs: &LocalZfs,
    settings: &Settings,
    wanted: &Wanted,
    begin: Begin,
) -> Result<Prepared, Failure> {
    let dataset = wanted.snapshot.dataset();
    let properties = properties(settings)?;
    let encryption = settings.receive.placeholder.encryption;
    let mut target = Target::read(zfs, &dataset)?;
    if target.kind == Kind::Absent {
        parents::make(zfs, &settings.root, &dataset, encryption)?;
    }
    if wanted.clear_resume_token && target.resume_token.is_some() {
        zfs.zfs().discard_partial_receive(&dataset)?;
        tracing::info!(fs = %dataset, "discarded what an interrupted receive had left");
        target = Target::read(zfs, &dataset)?;
    }
    let (is_raw, is_incremental, is_resuming) = match &begin {
        Begin::Stream(record) => (
            record.is_raw(),
            record.is_incremental(),
            record.is_resuming(),
        ),
        // It does not tell. What cannot be received zfs(8) refuses; whether there is something to start from, we see.
        Begin::Package(_) => (false, target.kind == Kind::Received, false),
    };
    let place = match target.kind {
        Kind::Absent | Kind::Received => Place::Untouched,
        Kind::Placeholder | Kind::Replacing if is_incremental => {
            return Err(Failure::IncrementalIntoPlaceholder { dataset });
        }
        Kind::Replacing if is_resuming => Place::Replacing,
        Kind::Placeholder | Kind::Replacing if is_raw || target.is_encrypted => {
            // ZFS would have to hold two keys for one filesystem meanwhile.
            if target.has_children(zfs)? {
                return Err(Failure::EncryptedPlaceholder { dataset });
            }
            destroy_snapshots(zfs, &target)?;
            zfs.zfs().destroy_dataset(&dataset)?;
            Place::Destroyed(Creation {
                dataset,
                encryption: if target.is_encrypted {
                    Encryption::Inherit
                } else {
                    Encryption::Off
                },
            })
        }
        Kind::Placeholder | Kind::Replacing => {
            if target.kind == Kind::Placeholder {
                target.mark(zfs, REPLACING)?;
            }
            destroy_snapshots(zfs, &target)?;
            Place::Replacing
        }
    };
    Ok(Prepared {
        args: arguments(wanted, begin, properties, matches!(place, Place::Replacing)),
        place,
        is_incremental,
    })
}

fn arguments(wanted: &Wanted, begin: Begin, (set, inherit): Properties, force: bool) -> Args {
    let snapshot = wanted.snapshot.clone();
    // Properties that are refused are told of in the log: the data is there.
    let tolerate_property_errors = true;
    match begin {
        Begin::Stream(record) => Args::Stream(Box::new(ReceiveArgs {
            force,
            set,
            inherit,
            tolerate_property_errors,
            ..ReceiveArgs::new(snapshot, *record)
        })),
        Begin::Package(begin) => Args::Package(Box::new(PackageArgs {
            snapshot,
            begin,
            force,
            resumable: true,
            set,
            inherit,
            tolerate_property_errors,
        })),
    }
}

/// Those of the configuration: to set, and to inherit.
type Properties = (Vec<(PropertyName, String)>, Vec<PropertyName>);

fn properties(settings: &Settings) -> Result<Properties, Failure> {
    let name = |name: &str| {
        name.parse::<PropertyName>()
            .map_err(|error| Failure::Property {
                name: name.to_owned(),
                problem: error.to_string(),
            })
    };
    let configured = &settings.receive.properties;
    let set = configured.overrides.as_slice().iter();
    let inherit = configured.inherit.iter();
    Ok((
        set.map(|(property, value)| Ok((name(property.as_str())?, value.clone())))
            .collect::<Result<_, Failure>>()?,
        inherit
            .map(|property| name(property.as_str()))
            .collect::<Result<_, Failure>>()?,
    ))
}

/// Those of a placeholder, which others may have made: of nothing.
fn destroy_snapshots(zfs: &LocalZfs, target: &Target) -> Result<(), ZfsError> {
    let snapshots = target.snapshots(zfs)?;
    if snapshots.is_empty() {
        return Ok(());
    }
    for outcome in zfs.commit().destroy_snapshots(&snapshots) {
        if let Outcome::Failed(error) = outcome {
            return Err(error);
        }
    }
    Ok(())
}

/// Sees whether the right thing has arrived, and marks it. Blocks.
fn complete(
    zfs: &LocalZfs,
    settings: &Settings,
    wanted: &Wanted,
    promise: GuaranteeKind,
    place: &Place,
    report: &ReceiveReport,
) -> Result<(), Failure> {
    let dataset = wanted.snapshot.dataset();
    for property in &report.rejected {
        let (name, problem) = (&property.name, &property.problem);
        tracing::error!(fs = %dataset, property = name, err = problem, "cannot set property of received filesystem");
    }
    let received = zfs.version(&VersionName::from(wanted.snapshot.clone()))?;
    if received.guid != wanted.guid {
        return Err(Failure::Guid {
            announced: wanted.guid,
            found: received.guid,
        });
    }
    if matches!(place, Place::Replacing)
        && let Err(error) = Target::read(zfs, &dataset).and_then(|target| target.mark(zfs, OFF))
    {
        // With a snapshot it is no placeholder any more, whatever its property says.
        tracing::warn!(fs = %dataset, err = %error, "cannot clear placeholder property");
    }
    mark(zfs, settings, promise, &received)
}

/// Marks a snapshot that arrived earlier, unless something newer is marked. Blocks.
pub(super) fn confirm(
    zfs: &LocalZfs,
    settings: &Settings,
    dataset: &DatasetPath,
    request: &SendReq,
) -> Result<(), Failure> {
    let (Some(to), Some(config)) = (&request.to, &request.replication_config) else {
        return Ok(());
    };
    to.check()?;
    let protection = Protection::try_from(config).map_err(PduError::from)?;
    let promise = protection.of_step(request.from.is_some());
    let arrived = zfs.version(&VersionName::from(dataset.snapshot(&to.name)?))?;
    let announced = Guid::new(to.guid);
    if arrived.guid != announced {
        return Err(Failure::Guid {
            announced,
            found: arrived.guid,
        });
    }
    let held = zfs.holds(dataset)?;
    let is_newer = |mark: &Mark| {
        mark.kind() == MarkKind::LastReceivedHold && mark.createtxg() > arrived.createtxg
    };
    if held.of_job(&settings.job).any(is_newer) {
        return Ok(());
    }
    mark(zfs, settings, promise, &arrived)
}

/// Moves the mark of what was received last.
fn mark(
    zfs: &LocalZfs,
    settings: &Settings,
    promise: GuaranteeKind,
    received: &FilesystemVersion,
) -> Result<(), Failure> {
    let VersionName::Snapshot(snapshot) = &received.name else {
        return Ok(());
    };
    let held = zfs.holds(&snapshot.dataset())?;
    let plan = after_receive(received, promise, &settings.job, &held)?;
    let create: Vec<Change> = plan
        .create()
        .iter()
        .map(|creation| creation.mark.creation(&creation.snapshot))
        .collect();
    if !create.is_empty() {
        zfs.make_marks(create).map_err(|cause| Failure::Hold {
            snapshot: snapshot.clone(),
            cause: Box::new(cause),
        })?;
        zfs.remember_held(received);
    }
    let remove: Vec<Change> = plan.remove().iter().map(|it| it.mark.removal()).collect();
    if !remove.is_empty() {
        zfs.remove_marks(&remove);
    }
    Ok(())
}

/// After a failure: brings the placeholder back, unless something is there that can be resumed. Says whether there is. Blocks.
fn restore(zfs: &LocalZfs, dataset: &DatasetPath, place: &Place) -> bool {
    let target = match Target::read(zfs, dataset) {
        Ok(target) => target,
        Err(error) => {
            tracing::error!(fs = %dataset, err = %error, "cannot see what an interrupted receive has left");
            return false;
        }
    };
    if target.resume_token.is_some() {
        return true;
    }
    let restored = match (place, target.kind) {
        (Place::Replacing, Kind::Replacing) => target.mark(zfs, ON),
        (Place::Destroyed(creation), Kind::Absent) => parents::create(zfs, creation),
        _ => Ok(()),
    };
    if let Err(error) = restored {
        tracing::error!(fs = %dataset, err = %error, "cannot restore placeholder");
    }
    false
}
