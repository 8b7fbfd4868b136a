//! The sender over real ZFS, by both ways to ZFS: what a round without news and a step cost, which marks are there when, and how
//! errors of ZFS read. It makes and destroys pools, so it runs only where the guest harness puts it; `cargo vm test sender_on_zfs`
//! runs it.

use std::process::{Command, ExitCode};
use std::sync::Arc;

use tokio::task::JoinSet;
use zfs_safe::counters::Counts;
use zfs_safe::zfs::Zfs;
use zrepl_daemon::config;
use zrepl_daemon::config::job::JobConfig;
use zrepl_daemon::endpoint::Endpoint as _;
use zrepl_daemon::endpoint::local_zfs::LocalZfs;
use zrepl_daemon::endpoint::mark::JobId;
use zrepl_daemon::endpoint::sender::{Sender, Settings};
use zrepl_daemon::endpoint::stream::{SendStream, Source};
use zrepl_daemon::filter::FilesystemFilter;
use zrepl_daemon::zfs_backend::{self, Choice};
use zrepl_proto::pdu::{
    FilesystemVersion, GuaranteeKind, ListFilesystemReq, ListFilesystemVersionsReq, Protection,
    ReplicationCursorReq, SendCompletedReq, SendReq,
};

/// `many` has filesystems with snapshots that were taken long enough ago to be remembered.
const POOLS: &str = "
mkdir -p /tmp/sending
truncate -s 384M /tmp/sending/src.img
echo 3600 > /sys/module/zfs/parameters/zfs_txg_timeout
zpool create -O mountpoint=/tmp/sending/src -O compression=off src /tmp/sending/src.img
head -c 32 /dev/urandom > /tmp/sending/key
zfs create src/many
for i in 1 2 3 4 5 6 7 8; do zfs create src/many/f$i; done
for i in 1 2 3; do zfs snapshot -r src/many@$i; done
zfs create -o u:x=1 src/fs
head -c 3000000 /dev/urandom > /tmp/sending/src/fs/one
zfs create -o encryption=on -o keyformat=raw -o keylocation=file:///tmp/sending/key src/secret
head -c 100000 /dev/urandom > /tmp/sending/src/secret/one
zfs snapshot src/fs@1
zfs snapshot src/secret@1
head -c 300000 /dev/urandom > /tmp/sending/src/fs/two
zfs snapshot src/fs@2
zfs unmount src/secret
zfs unload-key src/secret
sleep 3";

fn main() -> ExitCode {
    let in_guest = std::env::current_exe().is_ok_and(|path| path.starts_with("/put"));
    if !in_guest {
        println!("sending: needs a guest with ZFS (cargo vm test sender_on_zfs)");
        return ExitCode::SUCCESS;
    }
    // A case that fails says why by its panic, which ends this with a status of its own.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    for backend in ["native", "cli"] {
        sh(POOLS);
        let choice = Choice::parse(Some(backend)).expect("known");
        let zfs = zfs_backend::open(choice).expect("ZFS answers").zfs;
        let bed = Bed { zfs, backend };
        runtime.block_on(run(&bed));
        sh("zpool destroy src");
    }
    println!("all ok");
    ExitCode::SUCCESS
}

async fn run(bed: &Bed) {
    a_round_without_news(bed, "src/many<", 9).await;
    a_round_without_news(bed, "src/many/f1", 1).await;
    steps_of_many(bed).await;
    a_step_and_the_next(bed).await;
    secrets(bed).await;
    properties(bed).await;
    resumed(bed).await;
}

struct Bed {
    zfs: Arc<dyn Zfs>,
    backend: &'static str,
}

impl Bed {
    fn sender(&self, filter: &str, send: &str) -> Sender {
        let text = format!(
            "jobs: [{{type: source, name: s, serve: {{type: local, listener_name: l}}, filesystems: {{\"<\": true}}, \
             snapshotting: {{type: manual}}, send: {send}}}]"
        );
        let config = config::parse("sending.yml", &text).expect("valid").config;
        let Some(JobConfig::Source(job)) = config.jobs.into_iter().next() else {
            panic!("a source");
        };
        let zfs = LocalZfs::new(Arc::clone(&self.zfs)).expect("version is told");
        let settings = Settings {
            job: JobId::new("job").expect("valid"),
            fallback_job: None,
            filesystems: FilesystemFilter::new([(filter, true)]).expect("valid"),
            send: job.send,
            limit: None,
        };
        Sender::new(zfs, settings)
    }

    async fn cost<T>(&self, what: &str, work: impl Future<Output = T>) -> (T, Counts) {
        let before = self.zfs.counters().now();
        let result = work.await;
        let cost = self.zfs.counters().now() - before;
        println!(
            "{} {what}: {} ioctls, {} processes, {} txg waits",
            self.backend, cost.ioctls, cost.processes, cost.txg_waits
        );
        (result, cost)
    }

    fn is_native(&self) -> bool {
        self.backend == "native"
    }
}

/// Lists filesystems and the versions of each, as a planner does.
async fn round(sender: &Sender) -> Vec<(String, Vec<FilesystemVersion>)> {
    let listed = sender.list_filesystems(ListFilesystemReq {}).await;
    let mut found = Vec::new();
    for filesystem in listed.expect("lists").filesystems {
        found.push((
            filesystem.path.clone(),
            versions(sender, &filesystem.path).await,
        ));
    }
    found
}

async fn versions(sender: &Sender, filesystem: &str) -> Vec<FilesystemVersion> {
    let request = ListFilesystemVersionsReq {
        filesystem: filesystem.to_owned(),
    };
    let listed = sender.list_filesystem_versions(request).await;
    listed.expect("lists").versions
}

async fn step(sender: &Sender, filesystem: &str, from: Option<&str>, to: &str) -> SendReq {
    let versions = versions(sender, filesystem).await;
    let find = |name: &str| {
        let found = versions.iter().find(|version| version.name == name);
        found.expect("is listed").clone()
    };
    SendReq {
        filesystem: filesystem.to_owned(),
        from: from.map(find),
        to: Some(find(to)),
        resume_token: String::new(),
        replication_config: Some(
            Protection {
                initial: GuaranteeKind::Resumability,
                incremental: GuaranteeKind::Resumability,
            }
            .into(),
        ),
    }
}

async fn send(sender: &Sender, request: &SendReq) -> Result<Vec<u8>, String> {
    let sent = sender.send(request.clone()).await;
    read(sent.map_err(|error| error.to_string())?.1).await
}

async fn read(mut stream: SendStream) -> Result<Vec<u8>, String> {
    let Source::Local(local) = &mut stream.source else {
        panic!("a stream of this host");
    };
    let (mut bytes, mut buffer) = (Vec::new(), vec![0; 128 << 10]);
    loop {
        match local.read(&mut buffer).await.expect("reads") {
            0 => break,
            count => bytes.extend_from_slice(&buffer[..count]),
        }
    }
    local.finish(Ok(())).await?;
    Ok(bytes)
}

async fn complete(sender: &Sender, request: &SendReq) {
    let request = SendCompletedReq::new(request.clone());
    sender.send_completed(request).await.expect("completes");
}

/// Whoever looks at the marks lets those go first that have time.
async fn settled(sender: &Sender, request: &SendReq) {
    complete(sender, request).await;
    sender.settle().await;
}

async fn a_round_without_news(bed: &Bed, filter: &str, filesystems: u64) {
    let sender = bed.sender(filter, "{}");
    let first = round(&sender).await;
    let what = format!("round without news over {filesystems} filesystems of {filter}");
    let (second, cost) = bed.cost(&what, round(&sender)).await;
    assert_eq!(first, second);
    assert_eq!(second.len() as u64, filesystems);
    assert!(second.iter().all(|(_, versions)| versions.len() == 3));
    if bed.is_native() {
        // The dataset and its bookmarks; and where there may be children, the end of their list.
        let each = if filter.ends_with('<') { 3 } else { 2 };
        assert_eq!(cost.ioctls, each * filesystems);
        assert_eq!((cost.processes, cost.txg_waits), (0, 0));
    }
}

/// Steps of all filesystems at the same time share transaction groups.
async fn steps_of_many(bed: &Bed) {
    let sender = bed.sender("src/many<", "{}");
    let mut requests = Vec::new();
    for i in 1..=8 {
        requests.push(step(&sender, &format!("src/many/f{i}"), Some("1"), "3").await);
    }
    let txg = last_txg();
    let all = async {
        let mut steps = JoinSet::new();
        for request in requests {
            let sender = sender.clone();
            steps.spawn(async move {
                send(&sender, &request).await.expect("sends");
                complete(&sender, &request).await;
            });
        }
        steps.join_all().await;
        sender.settle().await;
    };
    let ((), cost) = bed.cost("8 steps at the same time", all).await;
    println!(
        "{} these took {} transaction groups",
        bed.backend,
        last_txg() - txg
    );
    if bed.is_native() {
        assert!(cost.txg_waits <= 16, "{cost:?}");
    }
    assert_eq!(sh("zfs list -H -t bookmark -r src/many | wc -l"), "8");
}

async fn a_step_and_the_next(bed: &Bed) {
    let sender = bed.sender("src/fs<", "{}");
    let first = step(&sender, "src/fs", None, "1").await;
    let dry = sender.send_dry(first.clone()).await.expect("estimates");
    let bytes = send(&sender, &first).await.expect("sends");
    assert!(dry.expected_size > 2_900_000 && bytes.len() > 2_900_000);
    assert_eq!(sh("zfs holds -H src/fs@1 | cut -f2"), "zrepl_STEP_J_job");
    settled(&sender, &first).await;
    let cursor =
        |version: &FilesystemVersion| format!("src/fs#zrepl_CURSOR_G_{:016x}_J_job", version.guid);
    let (one, two) = (
        cursor(first.to.as_ref().expect("to")),
        "zfs list -H -o name -t bookmark src/fs",
    );
    assert_eq!((sh("zfs holds -H src/fs@1"), sh(two)), (String::new(), one));
    let next = step(&sender, "src/fs", Some("1"), "2").await;
    let txg = last_txg();
    let (stream, cost) = bed.cost("start of a step", sender.send(next.clone())).await;
    if bed.is_native() {
        assert_eq!((cost.processes, cost.txg_waits), (0, 1));
        assert_eq!(last_txg() - txg, 1);
    }
    read(stream.expect("sends").1).await.expect("reads");
    let txg = last_txg();
    let ((), cost) = bed.cost("end of a step", complete(&sender, &next)).await;
    println!(
        "{} that took {} transaction groups",
        bed.backend,
        last_txg() - txg
    );
    if bed.is_native() {
        assert_eq!((cost.processes, cost.txg_waits), (0, 1));
        assert_eq!(last_txg() - txg, 1);
    }
    let ((), cost) = bed
        .cost("what a step leaves to be removed", sender.settle())
        .await;
    if bed.is_native() {
        // Holds and cursor are two calls, which can share one transaction group.
        assert_eq!((cost.processes, cost.txg_waits), (0, 2));
        assert!(last_txg() - txg <= 3);
    }
    let request = ReplicationCursorReq {
        filesystem: "src/fs".to_owned(),
    };
    let told = sender.replication_cursor(request).await.expect("answers");
    let to = next.to.clone().expect("to");
    assert_eq!(told.cursor(), Ok(Some(to.guid)));
    assert_eq!(sh(two), cursor(&to));
    // What is gone is said to be gone.
    let mut missing = next.clone();
    if let Some(to) = &mut missing.to {
        "none".clone_into(&mut to.name);
    }
    let error = send(&sender, &missing).await.expect_err("fails");
    assert_eq!(
        error,
        "validate send arguments: `To` invalid: dataset \"src/fs@none\" does not exist"
    );
}

async fn secrets(bed: &Bed) {
    let plain = bed.sender("src/secret", "{}");
    let request = step(&plain, "src/secret", None, "1").await;
    let error = send(&plain, &request)
        .await
        .expect_err("the key is not loaded");
    println!("{} without key: {error}", bed.backend);
    assert!(
        error.contains("src/secret@1") && error.contains("load the key"),
        "{error}"
    );
    let raw = bed.sender("src/secret", "{encrypted: true}");
    send(&raw, &request).await.expect("needs no key");
    for (policy, filesystem, expected) in [
        (
            "{raw: true}",
            "src/secret",
            "policy mandates raw+unencrypted sends, but filesystem \"src/secret\" is encrypted",
        ),
        (
            "{encrypted: true}",
            "src/fs",
            "encrypted send mandated by policy, but filesystem \"src/fs\" is not encrypted",
        ),
    ] {
        let sender = bed.sender("src<", policy);
        let request = step(&sender, filesystem, None, "1").await;
        let error = send(&sender, &request).await.expect_err("is refused");
        assert_eq!(error, format!("validate send arguments: {expected}"));
    }
    println!("{} encryption ... ok", bed.backend);
}

async fn properties(bed: &Bed) {
    let sender = bed.sender("src/fs<", "{send_properties: true}");
    let full = step(&sender, "src/fs", None, "1").await;
    let package = send(&sender, &full).await.expect("sends");
    receive(&package, "src/copy");
    let source = "zfs get -H -o value,source u:x src/copy";
    assert_eq!(sh(source), "1\treceived");
    sh("zfs set u:x=2 src/fs; zfs bookmark src/fs@1 src/fs#mine");
    // They go with a step from a bookmark, too.
    let next = step(&sender, "src/fs", Some("mine"), "2").await;
    let stream = send(&sender, &next).await.expect("sends");
    receive(&stream, "src/copy");
    assert_eq!(sh(source), "2\treceived");
    assert_eq!(
        sh("zfs list -H -o name -t snapshot src/copy | tail -n 1"),
        "src/copy@2"
    );
    println!("{} properties ... ok", bed.backend);
}

async fn resumed(bed: &Bed) {
    for options in ["{}", "{send_properties: true}"] {
        sh("zfs destroy -r src/copy");
        let sender = bed.sender("src/fs<", options);
        let mut request = step(&sender, "src/fs", None, "1").await;
        let stream = send(&sender, &request).await.expect("sends");
        let half = &stream[..stream.len() / 2];
        std::fs::write("/tmp/sending/stream", half).expect("writes");
        let error = sh(
            "zfs receive -u -s -x mountpoint src/copy </tmp/sending/stream 2>&1 && exit 1 || true",
        );
        request.resume_token = sh("zfs get -H -o value receive_resume_token src/copy");
        assert!(request.resume_token.len() > 10, "no token: {error}");
        let (answer, rest) = sender.send(request.clone()).await.expect("sends");
        assert!(answer.used_resume_token);
        let rest = read(rest).await.expect("reads");
        assert!(rest.len() < stream.len(), "nothing was spared");
        receive(&rest, "src/copy");
        let guids = "zfs get -H -o value guid src/fs@1 src/copy@1 | uniq | wc -l";
        assert_eq!(sh(guids), "1");
    }
    println!("{} resumed ... ok", bed.backend);
}

fn receive(stream: &[u8], target: &str) {
    std::fs::write("/tmp/sending/stream", stream).expect("writes");
    sh(&format!("zfs receive -u {target} </tmp/sending/stream"));
}

/// Transaction groups that the pool has finished, as the kernel counts them.
fn last_txg() -> u64 {
    let table = sh("awk '$3 == \"C\" {print $1}' /proc/spl/kstat/zfs/src/txgs | tail -n 1");
    table.parse().expect("a number")
}

/// Runs a script and returns what it prints.
fn sh(script: &str) -> String {
    let output = Command::new("sh").args(["-euc", script]).output();
    let output = output.expect("sh starts");
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script}\n{text}\n{errors}");
    text.trim_end().to_owned()
}
