//! A sender over ZFS in memory: what it answers, what it leaves in the pool, and what that costs.

use zfs_safe::begin_record::ByteOrder;
use zfs_safe::error::{Operation, Reason};
use zfs_safe::guid::Guid;
use zfs_safe::resume_token::ResumeToken;
use zfs_safe::version_memory::VersionMemory;
use zrepl_proto::pdu::{self, VersionType};

use super::super::fake_zfs::FakeZfs;
use super::super::stream::Source;
use super::*;
use crate::config;
use crate::config::job::JobConfig;

mod marks;
mod requests;

/// A sender, and what it stands on.
struct Bed {
    zfs: Arc<FakeZfs>,
    sender: Sender,
}

impl Bed {
    /// The job `job` that sends everything below `p`.
    fn new(names: &[&str]) -> Self {
        Self::with(names, |_| ())
    }

    fn with(names: &[&str], adjust: impl FnOnce(&mut Settings)) -> Self {
        let zfs = Arc::new(FakeZfs::with(names));
        let mut settings = Settings {
            job: JobId::new("job").expect("valid"),
            fallback_job: None,
            filesystems: FilesystemFilter::new([("p<", true)]).expect("valid"),
            send: options("{}"),
            limit: None,
        };
        adjust(&mut settings);
        let local = LocalZfs::new(Arc::clone(&zfs) as Arc<dyn zfs_safe::Zfs>).expect("opens");
        Self {
            zfs,
            sender: Sender::new(local, settings),
        }
    }

    async fn filesystems(&self) -> Result<Vec<Filesystem>, String> {
        let answer = self.sender.list_filesystems(ListFilesystemReq {}).await;
        Ok(answer.map_err(text)?.filesystems)
    }

    /// Names of the versions of a filesystem, each with its `@` or `#`.
    async fn versions(&self, filesystem: &str) -> Result<Vec<String>, String> {
        let request = ListFilesystemVersionsReq {
            filesystem: filesystem.to_owned(),
        };
        let answer = self.sender.list_filesystem_versions(request).await;
        let name = |version: pdu::FilesystemVersion| match version.version_type() {
            Ok(VersionType::Snapshot) => format!("@{}", version.name),
            Ok(VersionType::Bookmark) => format!("#{}", version.name),
            Err(error) => panic!("{error}"),
        };
        Ok(answer
            .map_err(text)?
            .versions
            .into_iter()
            .map(name)
            .collect())
    }

    /// As the planner makes them from a listing.
    fn version(&self, name: &str) -> pdu::FilesystemVersion {
        let (_, short) = name.split_once(['@', '#']).expect(name);
        let is_snapshot = name.contains('@');
        pdu::FilesystemVersion {
            r#type: i32::from(!is_snapshot),
            name: short.to_owned(),
            guid: self.zfs.guid(name),
            create_txg: self.zfs.createtxg(name),
            creation: "2024-01-02T03:04:05Z".to_owned(),
        }
    }

    /// A step of `p/a`, with a promise for it; without end if `to` is empty.
    fn step(&self, from: Option<&str>, to: &str, promise: GuaranteeKind) -> SendReq {
        let full = |name: &str| format!("p/a{name}");
        SendReq {
            filesystem: "p/a".to_owned(),
            from: from.map(|from| self.version(&full(from))),
            to: (!to.is_empty()).then(|| self.version(&full(to))),
            resume_token: String::new(),
            replication_config: Some(
                Protection {
                    initial: promise,
                    incremental: promise,
                }
                .into(),
            ),
        }
    }

    async fn send(&self, request: &SendReq) -> Result<SendStream, String> {
        let (_, stream) = self.sender.send(request.clone()).await.map_err(text)?;
        Ok(stream)
    }

    /// Sends, reads the stream to its end, and tells the sender of the completion.
    async fn replicate(&self, request: &SendReq) -> Result<(), String> {
        let stream = self.send(request).await?;
        read(stream).await?;
        self.complete(request).await
    }

    async fn complete(&self, request: &SendReq) -> Result<(), String> {
        let request = SendCompletedReq::new(request.clone());
        let answer = self.sender.send_completed(request).await;
        self.sender.settle().await;
        answer.map(|SendCompletedRes {}| ()).map_err(text)
    }

    /// Replicates, and leaves what has time for later.
    async fn replicate_unsettled(&self, request: &SendReq) -> Result<(), String> {
        let stream = self.send(request).await?;
        read(stream).await?;
        let request = SendCompletedReq::new(request.clone());
        let answer = self.sender.send_completed(request).await;
        answer.map(|SendCompletedRes {}| ()).map_err(text)
    }

    /// The token of an interrupted receive of a step of `p/a`.
    fn token(&self, from: Option<&str>, to: &str, adjust: impl FnOnce(&mut ResumeToken)) -> String {
        let guid = |name: &str| Guid::new(self.zfs.guid(&format!("p/a{name}")));
        let mut token = ResumeToken {
            to_guid: guid(to),
            from_guid: from.map(guid),
            object: 1,
            offset: 0,
            bytes: 100,
            to_name: format!("p/a{to}"),
            large_block: false,
            embed: false,
            compress: false,
            raw: false,
            saved: false,
            redact_snaps: None,
            book_redact_snaps: None,
            text: String::new(),
        };
        adjust(&mut token);
        token.encode(ByteOrder::Little).expect("encodes")
    }
}

/// The section `send` of a job.
fn options(section: &str) -> SendOptions {
    let yaml = format!(
        "jobs: [{{type: source, name: s, serve: {{type: local, listener_name: l}}, filesystems: {{\"<\": true}}, snapshotting: {{type: \
         manual}}, send: {section}}}]"
    );
    let loaded = config::parse("test.yml", &yaml).expect("good");
    match loaded.config.job("s") {
        Some(JobConfig::Source(job)) => job.send.clone(),
        _ => panic!("a source"),
    }
}

fn text(error: EndpointError) -> String {
    match error {
        EndpointError::Failed(text) => text,
        other => panic!("{other:?}"),
    }
}

/// Reads a stream to its end and says how long it was.
async fn read(mut stream: SendStream) -> Result<usize, String> {
    let Source::Local(local) = &mut stream.source else {
        panic!("a stream of this host");
    };
    let (mut buffer, mut len) = (vec![0; 4096], 0);
    loop {
        match local
            .read(&mut buffer)
            .await
            .map_err(|error| error.to_string())?
        {
            0 => break,
            count => len += count,
        }
    }
    local.finish(Ok(())).await?;
    Ok(len)
}

/// The cursor of `job` that a snapshot gets, without its dataset.
fn cursor(bed: &Bed, name: &str) -> String {
    format!("#zrepl_CURSOR_G_{:016x}_J_job", bed.zfs.guid(name))
}

fn tentative(bed: &Bed, name: &str) -> String {
    format!(
        "#zrepl_CURSORTENTATIVE__G_{:016x}_J_job",
        bed.zfs.guid(name)
    )
}

const HOLD: &str = "zrepl_STEP_J_job";

#[test]
fn the_memory_has_evidence() {
    // What tests of costs rely upon.
    let zfs: Arc<dyn zfs_safe::Zfs> = Arc::new(FakeZfs::default());
    let memory = VersionMemory::new(zfs).expect("opens");
    let names: Vec<_> = memory.evidence().iter().map(PropertyName::as_str).collect();
    assert_eq!(names, ["guid", "createtxg", "snapshots_changed"]);
}
