//! Two sides in memory: they list, send and receive as ZFS would, except where a test wants something to go wrong.

use std::collections::BTreeMap;
use std::future::pending;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::net::unix::pipe;
use tokio::time::sleep;
use zfs_safe::resume_token::ResumeToken;
use zrepl_proto::pdu::{
    Filesystem, FilesystemVersion, ListFilesystemReq, ListFilesystemRes, ListFilesystemVersionsReq,
    ListFilesystemVersionsRes, ReceiveReq, ReceiveRes, SendCompletedReq, SendCompletedRes, SendReq,
    SendRes, VersionType,
};

use super::super::Sides;
use crate::bandwidth::Limit;
use crate::endpoint::stream::{Counter, MoveError, RemoteStream, SendStream, Source, StreamError};
use crate::endpoint::{Endpoint, EndpointError};
use crate::replication::model;
use crate::replication::plan::Side;
use crate::transport::BoxFuture;

/// What can go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Op {
    Connectivity(Side),
    Filesystems(Side),
    Versions(Side),
    Estimate,
    /// Only where there is a token.
    EstimateResumed,
    Send,
    /// Before anything of the stream was taken.
    Receive,
    /// After the first piece of the stream; it can be resumed from there.
    Midstream,
    /// After the stream's end.
    Finish,
    Complete,
}

/// And how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How {
    /// For good.
    Permanent,
    /// Trying again can help.
    Temporary,
    /// Not at all, for ever.
    Hang,
    /// The code is wrong.
    Panic,
    /// So many seconds late, and then well.
    Late(u64),
}

/// Goes wrong so many times, for one filesystem, or for all if the name is empty.
#[derive(Clone, Debug)]
struct Fault {
    op: Op,
    filesystem: String,
    how: How,
    times: usize,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) sender: BTreeMap<String, SenderFilesystem>,
    pub(super) receiver: BTreeMap<String, ReceiverFilesystem>,
    /// Names that the sender lists beside those.
    pub(super) nonsense: Vec<String>,
    /// The guids that the sender was told about.
    pub(super) cursors: BTreeMap<String, u64>,
    /// What was begun and done, in order.
    pub(super) log: Vec<String>,
    /// Streams never end by themselves.
    pub(super) is_endless: bool,
    /// Pieces of a stream; each takes a second.
    pub(super) pieces: u64,
    pub(super) streams: Gauge,
    pub(super) estimates: Gauge,
    faults: Vec<Fault>,
}

/// How many there are, and were at most.
#[derive(Debug, Default)]
pub(super) struct Gauge {
    pub(super) now: usize,
    pub(super) most: usize,
}

#[derive(Debug, Default)]
pub(super) struct SenderFilesystem {
    pub(super) versions: Vec<FilesystemVersion>,
    pub(super) is_placeholder: bool,
}

#[derive(Debug, Default)]
pub(super) struct ReceiverFilesystem {
    pub(super) snapshots: Vec<FilesystemVersion>,
    pub(super) is_placeholder: bool,
    pub(super) token: Option<String>,
}

/// Both sides, shared.
#[derive(Clone, Debug, Default)]
pub(super) struct World(Arc<Mutex<State>>);

/// The bytes of a piece.
pub(super) const PIECE: u64 = 10;

impl World {
    /// Sender's filesystems with snapshots, as `path:guid,guid`; the guid is the time, too.
    pub(super) fn new(sender: &[&str]) -> Self {
        let this = Self::default();
        this.state().pieces = 3;
        for filesystem in sender {
            let (path, guids) = filesystem.split_once(':').expect("path:guids");
            for guid in guids.split(',') {
                this.snapshot(path, guid.parse().expect("number"));
            }
        }
        this
    }

    /// The sender takes a snapshot.
    pub(super) fn snapshot(&self, path: &str, guid: u64) {
        let version = version(guid);
        let mut state = self.state();
        let filesystem = state.sender.entry(path.to_owned()).or_default();
        filesystem.versions.push(version);
    }

    /// The receiver has these already, and the sender knows.
    pub(super) fn received(self, path: &str, guids: &[u64]) -> Self {
        let this = self.received_unheard(path, guids);
        let mut state = this.state();
        let is_sent = |guid: &&u64| {
            let sent = state.sender.get(path);
            sent.is_some_and(|it| it.versions.iter().any(|version| version.guid == **guid))
        };
        if let Some(&newest) = guids.last().filter(is_sent) {
            state.cursors.insert(path.to_owned(), newest);
        }
        drop(state);
        this
    }

    /// The receiver has these already, which the sender was not told.
    pub(super) fn received_unheard(self, path: &str, guids: &[u64]) -> Self {
        let mut state = self.state();
        let filesystem = state.receiver.entry(path.to_owned()).or_default();
        filesystem
            .snapshots
            .extend(guids.iter().copied().map(version));
        drop(state);
        self
    }

    /// Once.
    pub(super) fn fault(self, op: Op, filesystem: &str, how: How) -> Self {
        self.faults(op, filesystem, how, 1)
    }

    pub(super) fn faults(self, op: Op, filesystem: &str, how: How, times: usize) -> Self {
        self.state().faults.push(Fault {
            op,
            filesystem: filesystem.to_owned(),
            how,
            times,
        });
        self
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("nothing panics while it has it")
    }

    pub(super) fn log(&self) -> Vec<String> {
        self.state().log.clone()
    }

    /// What was begun or done of one kind.
    pub(super) fn logged(&self, kind: &str) -> Vec<String> {
        let log = self.log();
        let of_kind = log.iter().filter_map(|it| it.strip_prefix(kind));
        of_kind.map(|it| it.trim().to_owned()).collect()
    }

    /// The guids that the receiver has.
    pub(super) fn arrived(&self, path: &str) -> Vec<u64> {
        let state = self.state();
        let filesystem = state.receiver.get(path);
        filesystem.map_or_else(Vec::new, |it| {
            it.snapshots.iter().map(|it| it.guid).collect()
        })
    }

    pub(super) fn sides(&self) -> Sides {
        let side = |side| {
            Arc::new(FakeSide {
                side,
                world: self.clone(),
            })
        };
        Sides {
            sender: side(Side::Sender),
            receiver: side(Side::Receiver),
        }
    }

    fn note(&self, kind: &str, filesystem: &str, what: &str) {
        let line = format!("{kind} {filesystem} {what}");
        self.state().log.push(line.trim_end().to_owned());
    }

    /// Lets go wrong what is to go wrong.
    async fn mishap(&self, op: Op, filesystem: &str) -> Result<(), EndpointError> {
        let how = {
            let mut state = self.state();
            let fault = state.faults.iter_mut().find(|it| {
                it.op == op
                    && it.times > 0
                    && (it.filesystem.is_empty() || it.filesystem == filesystem)
            });
            fault.map(|it| {
                it.times -= 1;
                it.how
            })
        };
        match how {
            None => Ok(()),
            Some(How::Permanent) => Err(EndpointError::Failed(format!("{op:?} failed"))),
            Some(How::Temporary) => Err(EndpointError::Unreachable {
                context: format!("{op:?} failed"),
                source: "connection is lost".into(),
            }),
            Some(How::Hang) => pending().await,
            Some(How::Panic) => panic!("{op:?} panics, as the test wants it"),
            Some(How::Late(seconds)) => {
                sleep(Duration::from_secs(seconds)).await;
                Ok(())
            }
        }
    }
}

fn version(guid: u64) -> FilesystemVersion {
    (&model::snapshot(&guid.to_string(), guid, guid)).into()
}

fn cursor(guid: u64) -> FilesystemVersion {
    let of = version(guid);
    let creation = of.created().expect("a time");
    let name = format!("zrepl_CURSOR_G_{guid:016x}_J_job");
    FilesystemVersion::bookmark(name, guid, of.create_txg, creation)
}

fn described(request: &SendReq) -> String {
    let name = |it: &FilesystemVersion| match it.version_type() {
        Ok(VersionType::Bookmark) => format!("#{}", it.name),
        _ => format!("@{}", it.name),
    };
    let to = request.to.as_ref().map(name).unwrap_or_default();
    let from = request.from.as_ref().map(name).unwrap_or_default();
    let resumed = if request.resume_token.is_empty() {
        ""
    } else {
        " resumed"
    };
    format!("{from}{to}{resumed}")
}

/// Counts as long as it is there.
#[derive(Debug)]
struct Counted(World, fn(&mut State) -> &mut Gauge);

impl Counted {
    fn new(world: &World, gauge: fn(&mut State) -> &mut Gauge) -> Self {
        let mut state = world.state();
        let this = gauge(&mut state);
        this.now += 1;
        this.most = this.most.max(this.now);
        drop(state);
        Self(world.clone(), gauge)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let Self(world, gauge) = self;
        gauge(&mut world.state()).now -= 1;
    }
}

#[derive(Debug)]
struct FakeSide {
    side: Side,
    world: World,
}

#[derive(Debug)]
struct FakeStream {
    world: World,
    filesystem: String,
    left: u64,
    _counted: Counted,
}

impl Drop for FakeStream {
    fn drop(&mut self) {
        self.world.note("stream-ends", &self.filesystem, "");
    }
}

impl RemoteStream for FakeStream {
    fn read<'a>(&'a mut self, _: &'a mut [u8]) -> BoxFuture<'a, Result<usize, StreamError>> {
        Box::pin(async {
            let is_endless = self.world.state().is_endless;
            if self.left == 0 && !is_endless {
                return Ok(0);
            }
            sleep(Duration::from_secs(1)).await;
            self.left = self.left.saturating_sub(1);
            Ok(usize::try_from(PIECE).expect("small"))
        })
    }

    fn move_into<'a>(
        &'a mut self,
        _: &'a mut pipe::Sender,
        _: &'a Counter,
        _: &'a [Arc<Limit>],
    ) -> BoxFuture<'a, Result<(), MoveError>> {
        Box::pin(async { panic!("the fake receiver reads") })
    }
}

#[tonic::async_trait]
impl Endpoint for FakeSide {
    async fn wait_for_connectivity(&self) -> Result<(), EndpointError> {
        self.world.note("wait", &self.side.to_string(), "");
        self.world.mishap(Op::Connectivity(self.side), "").await
    }

    async fn list_filesystems(
        &self,
        _: ListFilesystemReq,
    ) -> Result<ListFilesystemRes, EndpointError> {
        self.world.mishap(Op::Filesystems(self.side), "").await?;
        let state = self.world.state();
        let listed = |path: &String, is_placeholder, token: Option<&String>| Filesystem {
            path: path.clone(),
            is_placeholder,
            resume_token: token.cloned().unwrap_or_default(),
        };
        let filesystems = match self.side {
            Side::Sender => {
                let real = state.sender.iter();
                let real = real.map(|(path, it)| listed(path, it.is_placeholder, None));
                real.chain(state.nonsense.iter().map(|it| listed(it, false, None)))
                    .collect()
            }
            Side::Receiver => {
                let real = state.receiver.iter();
                real.map(|(path, it)| listed(path, it.is_placeholder, it.token.as_ref()))
                    .collect()
            }
        };
        Ok(ListFilesystemRes { filesystems })
    }

    async fn list_filesystem_versions(
        &self,
        request: ListFilesystemVersionsReq,
    ) -> Result<ListFilesystemVersionsRes, EndpointError> {
        let path = &request.filesystem;
        self.world.mishap(Op::Versions(self.side), path).await?;
        let state = self.world.state();
        let versions = match self.side {
            Side::Sender => state.sender.get(path).map(|it| {
                let cursor = state.cursors.get(path).map(|&guid| cursor(guid));
                it.versions.iter().cloned().chain(cursor).collect()
            }),
            Side::Receiver => state.receiver.get(path).map(|it| it.snapshots.clone()),
        };
        match versions {
            Some(versions) => Ok(ListFilesystemVersionsRes { versions }),
            None => Err(EndpointError::Failed("dataset does not exist".to_owned())),
        }
    }

    async fn send_dry(&self, request: SendReq) -> Result<SendRes, EndpointError> {
        let _counted = Counted::new(&self.world, |it| &mut it.estimates);
        sleep(Duration::from_secs(1)).await;
        if !request.resume_token.is_empty() {
            let path = &request.filesystem;
            self.world.mishap(Op::EstimateResumed, path).await?;
        }
        self.world.mishap(Op::Estimate, &request.filesystem).await?;
        Ok(SendRes {
            used_resume_token: !request.resume_token.is_empty(),
            expected_size: self.world.state().pieces * PIECE,
        })
    }

    async fn send(&self, request: SendReq) -> Result<(SendRes, SendStream), EndpointError> {
        let path = &request.filesystem;
        self.world.note("send", path, &described(&request));
        self.world.mishap(Op::Send, path).await?;
        let used_resume_token = !request.resume_token.is_empty();
        if used_resume_token {
            let token = ResumeToken::decode(&request.resume_token).expect("our token");
            assert_eq!(
                Some(token.to_guid.get()),
                request.to.as_ref().map(|it| it.guid)
            );
        }
        let left = self.world.state().pieces;
        let stream = FakeStream {
            filesystem: path.clone(),
            left,
            _counted: Counted::new(&self.world, |it| &mut it.streams),
            world: self.world.clone(),
        };
        let answer = SendRes {
            used_resume_token,
            expected_size: 0,
        };
        Ok((answer, SendStream::remote(Box::new(stream))))
    }

    async fn send_completed(
        &self,
        request: SendCompletedReq,
    ) -> Result<SendCompletedRes, EndpointError> {
        let original = request.original_req.expect("always there");
        let path = &original.filesystem;
        if self.side == Side::Receiver {
            self.world.note("confirmed", path, "");
            return Ok(SendCompletedRes {});
        }
        self.world.note("complete", path, &described(&original));
        self.world.mishap(Op::Complete, path).await?;
        let guid = original.to.expect("always there").guid;
        let mut state = self.world.state();
        let before = state.cursors.insert(path.clone(), guid);
        assert!(before.is_none_or(|it| it <= guid), "cursor goes back");
        drop(state);
        self.world.note("completed", path, "");
        Ok(SendCompletedRes {})
    }

    async fn receive(
        &self,
        request: ReceiveReq,
        mut stream: SendStream,
    ) -> Result<ReceiveRes, EndpointError> {
        let path = &request.filesystem;
        let to = request.to.expect("always there");
        self.world.mishap(Op::Receive, path).await?;
        {
            let mut state = self.world.state();
            let parent = path.rsplit_once('/').map(|(parent, _)| parent.to_owned());
            if let Some(parent) = parent
                && state.sender.contains_key(&parent)
            {
                let is_there = state.receiver.contains_key(&parent);
                let is_placeholder = state.sender[&parent].is_placeholder;
                assert!(is_there || is_placeholder, "{path} comes before its parent");
            }
            let this = state.receiver.entry(path.clone()).or_default();
            let token = this.token.as_ref().filter(|_| !request.clear_resume_token);
            if let Some(token) = token {
                let token = ResumeToken::decode(token).expect("our token");
                assert_eq!(token.to_guid.get(), to.guid, "another stream was begun");
            }
        }
        let mut pieces = 0;
        let Source::Remote(remote) = &mut stream.source else {
            panic!("the fake sender has another stream");
        };
        loop {
            let read = remote.read(&mut []).await;
            let count = read.map_err(|error| EndpointError::Failed(error.to_string()))?;
            if count == 0 {
                break;
            }
            stream.moved.add(count as u64);
            pieces += 1;
            if pieces == 1 {
                let from = {
                    let state = self.world.state();
                    state.receiver[path].snapshots.last().map(|it| it.guid)
                };
                let token = model::token(path, from, to.guid);
                // What is there stays if the stream is cut from here on.
                if let Some(this) = self.world.state().receiver.get_mut(path) {
                    this.token = Some(token);
                }
                self.world.mishap(Op::Midstream, path).await?;
            }
        }
        stream.moved.end();
        self.world.mishap(Op::Finish, path).await?;
        drop(stream);
        let mut state = self.world.state();
        let this = state.receiver.get_mut(path).expect("made above");
        this.token = None;
        this.is_placeholder = false;
        assert!(
            this.snapshots.iter().all(|it| it.guid < to.guid),
            "{path} {}",
            to.guid
        );
        this.snapshots.push(to.clone());
        drop(state);
        self.world.note("received", path, &format!("@{}", to.name));
        Ok(ReceiveRes::default())
    }
}
