//! What the cases work with: two pools, a receiver over one of them, and streams of the other in memory, whole or cut.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::process::Command;
use std::sync::Arc;

use zfs_safe::name::{DatasetPath, SnapshotName, VersionName};
use zfs_safe::zfs::{SendArgs, SendFlags, Zfs};
use zrepl_daemon::config;
use zrepl_daemon::config::job::JobConfig;
use zrepl_daemon::config::transfer::ReceiveOptions;
use zrepl_daemon::endpoint::access::ReceiveRoot;
use zrepl_daemon::endpoint::local_zfs::LocalZfs;
use zrepl_daemon::endpoint::mark::JobId;
use zrepl_daemon::endpoint::receiver::{Receiver, Settings};
use zrepl_daemon::endpoint::stream::{Producer, SendStream};
use zrepl_daemon::endpoint::{Endpoint as _, EndpointError};
use zrepl_daemon::name::client_identity::ClientIdentity;
use zrepl_daemon::transport::BoxFuture;
use zrepl_daemon::zfs_backend::{self, Choice};
use zrepl_proto::pdu::{
    FilesystemVersion, GuaranteeKind, ListFilesystemReq, ListFilesystemVersionsReq, Protection,
    ReceiveReq, SendCompletedReq, SendReq,
};

pub(crate) const POOLS: &str = "
mkdir -p /tmp/receiving
for pool in src dst; do
    truncate -s 384M /tmp/receiving/$pool.img
    zpool create -O mountpoint=/tmp/receiving/$pool -O compression=off $pool /tmp/receiving/$pool.img
done
head -c 32 /dev/urandom > /tmp/receiving/key
zfs create src/fs
zfs create -o encryption=on -o keyformat=raw -o keylocation=file:///tmp/receiving/key src/secret
for fs in fs secret; do head -c 2000000 /dev/urandom > /tmp/receiving/src/$fs/one; done
zfs snapshot -r src@1
for fs in fs secret; do head -c 100000 /dev/urandom > /tmp/receiving/src/$fs/two; done
zfs snapshot -r src@2
for fs in fs secret; do head -c 100000 /dev/urandom > /tmp/receiving/src/$fs/three; done
zfs snapshot -r src@3";

/// One backend's half of everything.
pub(crate) struct Bed {
    pub(crate) zfs: Arc<dyn Zfs>,
    backend: &'static str,
}

impl Bed {
    pub(crate) fn open(backend: &'static str) -> Self {
        let choice = Choice::parse(Some(backend)).expect("known");
        let zfs = zfs_backend::open(choice).expect("ZFS answers").zfs;
        Self { zfs, backend }
    }

    pub(crate) fn is_native(&self) -> bool {
        self.backend == "native"
    }

    /// The root of a case.
    pub(crate) fn root(&self, case: &str) -> String {
        let root = format!("dst/{}-{case}", self.backend);
        sh(&format!("zfs create -o mountpoint=none {root}"));
        root
    }

    /// A receiver for the client `c` below `root`, with this `recv` section.
    pub(crate) fn receiver(&self, root: &str, recv: &str) -> Receiver {
        let zfs = LocalZfs::new(Arc::clone(&self.zfs)).expect("version is told");
        let identity = ClientIdentity::new("c").expect("valid");
        let root = ReceiveRoot::of_client(DatasetPath::new(root).expect("valid"), &identity);
        let settings = Settings {
            job: JobId::new("sink").expect("valid"),
            root: root.expect("valid"),
            receive: options(recv),
            limit: None,
        };
        Receiver::new(zfs, settings)
    }
}

/// The `recv` section of a sink.
fn options(recv: &str) -> ReceiveOptions {
    let text = format!(
        "jobs:\n- type: sink\n  name: sink\n  root_fs: dst\n  serve:\n    type: local\n    listener_name: l\n  recv:\n    {recv}\n"
    );
    let config = config::parse("receiving.yml", &text).expect("valid").config;
    match config.jobs.into_iter().next() {
        Some(JobConfig::Sink(job)) => job.recv,
        other => panic!("no sink: {other:?}"),
    }
}

pub(crate) const OFF: &str = "placeholder: { encryption: \"off\" }";

/// Runs a script and returns what it prints.
pub(crate) fn sh(script: &str) -> String {
    let output = Command::new("sh")
        .args(["-euc", script])
        .output()
        .expect("sh starts");
    let text = String::from_utf8_lossy(&output.stdout)
        .trim_end()
        .to_owned();
    assert!(
        output.status.success(),
        "{script}\n{text}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    text
}

pub(crate) fn get(property: &str, dataset: &str) -> String {
    sh(&format!("zfs get -Hp -o value {property} '{dataset}'"))
}

/// Destroys a dataset with everything below it, held or not.
pub(crate) fn destroy(dataset: &str) {
    sh(&format!(
        "for snapshot in $(zfs list -H -o name -t snapshot -r {dataset}); do \
             for tag in $(zfs holds -H $snapshot | cut -f2); do zfs release $tag $snapshot; done; \
         done; zfs destroy -r {dataset}"
    ));
}

/// The tags on a snapshot.
pub(crate) fn holds(snapshot: &str) -> String {
    sh(&format!("zfs holds -H '{snapshot}' | cut -f2 | sort"))
}

/// What a stream is of.
#[derive(Clone, Copy)]
pub(crate) struct Of<'a> {
    pub(crate) from: Option<&'a str>,
    pub(crate) to: &'a str,
    pub(crate) raw: bool,
}

pub(crate) fn full(to: &str) -> Of<'_> {
    Of {
        from: None,
        to,
        raw: to.starts_with("src/secret"),
    }
}

pub(crate) fn step<'a>(from: &'a str, to: &'a str) -> Of<'a> {
    Of {
        from: Some(from),
        ..full(to)
    }
}

fn send_args(of: Of<'_>) -> SendArgs {
    SendArgs {
        snapshot: SnapshotName::new(of.to).expect("valid"),
        base: of.from.map(|from| VersionName::new(from).expect("valid")),
        flags: SendFlags {
            raw: of.raw,
            ..SendFlags::default()
        },
        resume: None,
    }
}

impl Bed {
    /// A whole stream.
    pub(crate) fn bytes(&self, of: Of<'_>) -> Vec<u8> {
        self.bytes_of(&send_args(of))
    }

    /// The rest of a stream whose receive was interrupted.
    pub(crate) fn rest(&self, of: Of<'_>, target: &str) -> Vec<u8> {
        let token = get("receive_resume_token", target);
        let resume = zfs_safe::resume_token::ResumeToken::decode(&token);
        self.bytes_of(&SendArgs {
            resume: Some(resume.expect("a token")),
            ..send_args(of)
        })
    }

    fn bytes_of(&self, args: &SendArgs) -> Vec<u8> {
        let mut stream = self.zfs.send(args).expect("starts");
        let mut bytes = Vec::new();
        let relay = stream.read_to_end(&mut bytes).map(drop);
        stream.finish(relay).expect("sends");
        bytes
    }
}

/// What `zfs send` makes with a switch: a package, which only zfs(8) can make.
pub(crate) fn package(switch: &str, to: &str) -> Vec<u8> {
    let output = Command::new("zfs").args(["send", switch, to]).output();
    output.expect("zfs(8) starts").stdout
}

/// Says in the end what it was told to say.
#[derive(Debug)]
struct Told(Result<(), String>);

impl Producer for Told {
    fn finish(self: Box<Self>, relay: io::Result<()>) -> BoxFuture<'static, Result<(), String>> {
        let told = match relay {
            Ok(()) => self.0,
            Err(error) => Err(error.to_string()),
        };
        Box::pin(std::future::ready(told))
    }
}

/// Bytes as a stream that ends well.
pub(crate) fn whole(bytes: Vec<u8>) -> SendStream {
    fed(bytes, Ok(()))
}

/// The beginning of a stream whose sender then fails.
pub(crate) fn cut(mut bytes: Vec<u8>, len: usize) -> SendStream {
    bytes.truncate(len);
    fed(bytes, Err("cut".to_owned()))
}

fn fed(bytes: Vec<u8>, end: Result<(), String>) -> SendStream {
    let (reader, writer) = io::pipe().expect("pipe");
    std::thread::spawn(move || {
        // Whoever reads may have enough.
        File::from(OwnedFd::from(writer)).write_all(&bytes).ok();
    });
    SendStream::local(reader.into(), Box::new(Told(end))).expect("registers")
}

/// A stream that stands still after these bytes, until the returned end is dropped.
pub(crate) fn standing(bytes: &[u8]) -> (SendStream, io::PipeWriter) {
    let (reader, mut writer) = io::pipe().expect("pipe");
    assert!(bytes.len() <= 60_000, "a pipe takes no more");
    writer.write_all(bytes).expect("fits");
    let stream = SendStream::local(reader.into(), Box::new(Told(Err("cut".to_owned()))));
    (stream.expect("registers"), writer)
}

/// Asks a receiver for what a sender would ask.
pub(crate) struct Ask<'a>(pub(crate) &'a Receiver);

impl Ask<'_> {
    pub(crate) fn request(filesystem: &str, of: Of<'_>, kind: GuaranteeKind) -> ReceiveReq {
        let guid = get("guid", of.to).parse().expect("a guid");
        let name = of.to.split('@').nth(1).expect("a snapshot");
        let creation = "2026-01-01T00:00:00Z".parse().expect("a time");
        let protection = Protection {
            initial: kind,
            incremental: kind,
        };
        ReceiveReq {
            filesystem: filesystem.to_owned(),
            to: Some(FilesystemVersion::snapshot(name, guid, 1, creation)),
            clear_resume_token: false,
            replication_config: Some(protection.into()),
        }
    }

    /// What a driver says of a step that arrived in an earlier run.
    pub(crate) fn completed(filesystem: &str, of: Of<'_>) -> SendCompletedReq {
        let ReceiveReq {
            to,
            replication_config,
            ..
        } = Self::request(filesystem, of, GuaranteeKind::Resumability);
        SendCompletedReq::new(SendReq {
            filesystem: filesystem.to_owned(),
            to,
            replication_config,
            ..SendReq::default()
        })
    }

    pub(crate) async fn receive(
        &self,
        filesystem: &str,
        of: Of<'_>,
        stream: SendStream,
    ) -> Result<(), EndpointError> {
        let request = Self::request(filesystem, of, GuaranteeKind::Resumability);
        self.0.receive(request, stream).await.map(drop)
    }

    /// Receives what must not be received, and returns the reason.
    pub(crate) async fn refused(&self, filesystem: &str, of: Of<'_>, stream: SendStream) -> String {
        match self.receive(filesystem, of, stream).await {
            Ok(()) => panic!("{} was received into {filesystem}", of.to),
            Err(error) => error.to_string(),
        }
    }

    /// Lines: path, whether a placeholder, whether interrupted.
    pub(crate) async fn list(&self) -> Result<Vec<String>, EndpointError> {
        let listed = self.0.list_filesystems(ListFilesystemReq {}).await?;
        let line = |fs: &zrepl_proto::pdu::Filesystem| {
            let token = if fs.resume_token.is_empty() {
                ""
            } else {
                " interrupted"
            };
            let placeholder = if fs.is_placeholder {
                " placeholder"
            } else {
                ""
            };
            format!("{}{placeholder}{token}", fs.path)
        };
        let mut lines: Vec<_> = listed.filesystems.iter().map(line).collect();
        lines.sort();
        Ok(lines)
    }

    /// Names of the snapshots, oldest first.
    pub(crate) async fn versions(&self, filesystem: &str) -> Vec<String> {
        let request = ListFilesystemVersionsReq {
            filesystem: filesystem.to_owned(),
        };
        let listed = self.0.list_filesystem_versions(request).await;
        let versions = listed.expect("lists").versions;
        versions.into_iter().map(|version| version.name).collect()
    }
}
