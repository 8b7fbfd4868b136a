//! Where a job replicates, and how.

use super::page::Page;
use super::words::{counted, duration, list};
use crate::config::Config;
use crate::config::connection::{Connect, Serve};
use crate::config::job::{JobConfig, PullJob, PushJob, SinkJob, SourceJob};
use crate::config::transfer::{
    BandwidthLimit, Guarantee, InitialReplication, PlaceholderEncryption, PropertyText,
    ReceiveOptions, Replication, SendOptions,
};
use crate::filter::{FilesystemFilter, overlaps};
use crate::go_duration::Timeout;
use crate::name::client_identity::ClientIdentity;
use crate::name::job::JobName;
use crate::prune::Rule;

pub(super) fn push(page: &mut Page, config: &Config, job: &PushJob, when: &str) {
    page.heading("When and where it replicates");
    page.text(when);
    connect(page, config, &job.connect, "sink");
    replication(
        page,
        &job.replication,
        job.conflict_resolution.initial_replication,
    );
    send(page, &job.send);
}

pub(super) fn pull(page: &mut Page, config: &Config, job: &PullJob, when: &str) {
    page.heading("When and from where it replicates");
    page.text(when);
    connect(page, config, &job.connect, "source");
    let root = job.root_fs.as_path();
    page.text(&format!(
        "A filesystem tank/data of the source arrives here as {root}/tank/data."
    ));
    replication(
        page,
        &job.replication,
        job.conflict_resolution.initial_replication,
    );
    receive(page, &job.recv);
}

pub(super) fn sink(page: &mut Page, config: &Config, job: &SinkJob) {
    page.heading("From whom it receives, and where");
    let example = serve(page, config, &job.serve, "push");
    let root = job.root_fs.as_path();
    page.text(&format!(
        "A filesystem tank/data of the client {example} arrives here as {root}/{example}/tank/data. No client can reach anything outside {root}/<its identity>."
    ));
    receive(page, &job.recv);
    page.heading("What it keeps");
    page.text(
        "Everything, until the push job that sent it destroys it by its own rules (keep_receiver).",
    );
}

pub(super) fn source(page: &mut Page, config: &Config, job: &SourceJob) {
    page.heading("To whom it sends");
    serve(page, config, &job.serve, "pull");
    send(page, &job.send);
    page.heading("What it keeps");
    page.text("Everything, until a pull job that fetches from here destroys it by its own rules (keep_sender).");
    others_destroy(page, config, &job.name, &job.filesystems);
}

fn connect(page: &mut Page, config: &Config, connect: &Connect, other: &str) {
    match connect {
        Connect::Tcp(tcp) => page.text(&format!(
            "To the {other} job listening at {}, by TCP without encryption. It knows us by our address. It has {} to answer.",
            tcp.address,
            limit(tcp.dial_timeout)
        )),
        Connect::Tls(tls) => page.text(&format!(
            "To the {other} job listening at {}, by TLS. Its certificate must name {} and be vouched for by {}; ours is {}. It has {} to answer.",
            tls.address,
            tls.server_cn,
            tls.ca.as_str(),
            tls.cert.as_str(),
            limit(tls.dial_timeout)
        )),
        Connect::Ssh(ssh) => page.text(&format!(
            "To the {other} job on {}, through ssh: as user {} on port {}, with the key {}. There, that key must be bound to the command `zrepl stdinserver`. It has {} to answer.",
            ssh.host,
            ssh.user,
            ssh.port.number(),
            ssh.identity_file.as_str(),
            limit(ssh.dial_timeout)
        )),
        Connect::Local(local) => {
            let serving: Vec<String> = config
                .jobs
                .iter()
                .filter(|job| matches!(job.serve(), Some(Serve::Local(serve)) if serve.listener_name == local.listener_name))
                .map(|job| quoted(job.name()))
                .collect();
            page.text(&if serving.is_empty() {
                format!(
                    "To a {other} job of this same daemon that serves {:?}; there is none.",
                    local.listener_name
                )
            } else {
                format!(
                    "To the {other} job {} of this same daemon, which knows us as {}.",
                    list(&serving, "or"),
                    local.client_identity
                )
            });
        }
    }
}

/// Says who may connect, and returns one of them.
fn serve(page: &mut Page, config: &Config, serve: &Serve, other: &str) -> String {
    match serve {
        Serve::Tcp(tcp) => {
            page.text(&format!(
                "From {other} jobs that connect to {} by TCP without encryption. Who they are is told by their addresses:",
                tcp.listen
            ));
            let entries = tcp.clients.entries();
            for entry in entries {
                page.item("*", &format!("{} is {}", entry.key(), entry.identity()));
            }
            let example = entries.first().map_or("", |entry| entry.identity());
            example.replace('*', "10.0.0.1")
        }
        Serve::Tls(tls) => {
            let names: Vec<&str> = tls.client_cns.iter().map(ClientIdentity::as_str).collect();
            page.text(&format!(
                "From {other} jobs that connect to {} by TLS with a certificate vouched for by {} whose common name is {}. Ours is {}.",
                tls.listen,
                tls.ca.as_str(),
                list(&names, "or"),
                tls.cert.as_str()
            ));
            names.first().copied().unwrap_or_default().to_owned()
        }
        Serve::Stdinserver(server) => {
            let names: Vec<&str> = server
                .client_identities
                .iter()
                .map(ClientIdentity::as_str)
                .collect();
            page.text(&format!(
                "From {other} jobs that log in to this machine through ssh and are handed over by `zrepl stdinserver NAME`; NAME is {}.",
                list(&names, "or")
            ));
            names.first().copied().unwrap_or_default().to_owned()
        }
        Serve::Local(local) => {
            let (names, identities): (Vec<String>, Vec<&str>) = config
                .jobs
                .iter()
                .filter_map(|job| match job.connect() {
                    Some(Connect::Local(connect))
                        if connect.listener_name == local.listener_name =>
                    {
                        Some((quoted(job.name()), connect.client_identity.as_str()))
                    }
                    _ => None,
                })
                .unzip();
            page.text(&if names.is_empty() {
                format!(
                    "From {other} jobs of this same daemon that connect to {:?}; there are none.",
                    local.listener_name
                )
            } else {
                format!(
                    "From the {other} job {} of this same daemon, known as {}.",
                    list(&names, "and"),
                    list(&identities, "and")
                )
            });
            identities.first().copied().unwrap_or("client").to_owned()
        }
    }
}

fn limit(timeout: Timeout) -> String {
    timeout
        .limit()
        .map_or_else(|| "as long as it likes".to_owned(), duration)
}

fn replication(page: &mut Page, replication: &Replication, initial: InitialReplication) {
    page.text(match initial {
        InitialReplication::MostRecent => {
            "The first time, only the newest snapshot of a filesystem is sent; from then on, all that follow it."
        }
        InitialReplication::All => {
            "The first time, all snapshots of a filesystem are sent, from the oldest on; from then on, all that follow."
        }
        InitialReplication::Fail => {
            "A filesystem that the receiver does not have yet is an error: somebody has to send it there by hand the first time."
        }
    });
    let promise = |guarantee| match guarantee {
        Guarantee::Resumability => {
            "goes on where it stopped (the snapshots it needs are held until then)"
        }
        Guarantee::Incremental => {
            "starts that snapshot again (the one before it is remembered by a bookmark)"
        }
        Guarantee::Nothing => "starts again if it still can: nothing is kept for that purpose",
    };
    let protection = &replication.protection;
    if protection.initial == protection.incremental {
        page.text(&format!(
            "After an interruption it {}.",
            promise(protection.initial)
        ));
    } else {
        page.text(&format!(
            "After an interruption of the first transfer it {}; of a later one, it {}.",
            promise(protection.initial),
            promise(protection.incremental)
        ));
    }
    let steps = replication.concurrency.steps.number();
    if steps > 1 {
        let steps = counted(steps as u64, "filesystem");
        page.text(&format!("Up to {steps} are sent at the same time."));
    }
}

fn send(page: &mut Page, send: &SendOptions) {
    page.text(match (send.encrypted, send.raw) {
        (true, _) => {
            "Only encrypted filesystems are sent, as they are on disk: the receiver cannot read them without the key."
        }
        (false, true) => {
            "Filesystems are sent as they are on disk: what is encrypted stays encrypted, and the receiver cannot read it without the key."
        }
        (false, false) => {
            "What is encrypted on disk is decrypted before it is sent."
        }
    });
    let options = [
        (send.send_properties, "properties are sent along"),
        (
            send.backup_properties,
            "properties are sent as they were received",
        ),
        (send.large_blocks, "large blocks stay large"),
        (send.compressed, "compressed blocks stay compressed"),
        (
            send.embedded_data,
            "tiny blocks are sent inside their pointers",
        ),
        (send.saved, "what was received only in part is sent, too"),
    ];
    let chosen: Vec<&str> = options
        .iter()
        .filter(|(chosen, _)| *chosen)
        .map(|(_, words)| *words)
        .collect();
    if !chosen.is_empty() {
        page.text(&format!("In the stream, {}.", list(&chosen, "and")));
    }
    speed(page, &send.bandwidth_limit);
}

fn receive(page: &mut Page, receive: &ReceiveOptions) {
    let inherited: Vec<&str> = receive
        .properties
        .inherit
        .iter()
        .map(PropertyText::as_str)
        .collect();
    if !inherited.is_empty() {
        page.text(&format!(
            "Of what arrives, {} {} taken from the parent here.",
            list(&inherited, "and"),
            if inherited.len() == 1 { "is" } else { "are" }
        ));
    }
    let set: Vec<String> = receive
        .properties
        .overrides
        .as_slice()
        .iter()
        .map(|(name, value)| format!("{}={value}", name.as_str()))
        .collect();
    if !set.is_empty() {
        page.text(&format!("What arrives gets {}.", list(&set, "and")));
    }
    match receive.placeholder.encryption {
        PlaceholderEncryption::Unspecified => {}
        PlaceholderEncryption::Inherit => page.text(
            "Parents that have to be made for what arrives are encrypted if what they are made in is.",
        ),
        PlaceholderEncryption::Off => {
            page.text("Parents that have to be made for what arrives are not encrypted.");
        }
    }
    speed(page, &receive.bandwidth_limit);
}

fn speed(page: &mut Page, limit: &BandwidthLimit) {
    if limit.max.bytes_per_second().is_some() {
        page.text(&format!(
            "All streams of this job together take at most {} per second, and {} at once after a pause.",
            limit.max, limit.bucket_capacity
        ));
    }
}

/// Points at jobs that destroy snapshots of the same filesystems.
pub(super) fn others_destroy(
    page: &mut Page,
    config: &Config,
    name: &JobName,
    filter: &FilesystemFilter,
) {
    let others: Vec<String> = config
        .jobs
        .iter()
        .filter(|other| other.name() != name)
        .filter_map(|other| {
            let (theirs, rules) = match other {
                JobConfig::Push(push) => (&push.filesystems, push.pruning.keep_sender.rules()),
                JobConfig::Snap(snap) => (&snap.filesystems, snap.pruning.keep.rules()),
                _ => return None,
            };
            let destroys = !rules.iter().any(Rule::keeps_everything);
            let concerns = !overlaps(&[(0, filter), (1, theirs)]).is_empty();
            (destroys && concerns).then(|| quoted(other.name()))
        })
        .collect();
    if !others.is_empty() {
        page.text(&format!(
            "Besides, snapshots of these filesystems are destroyed by the rules of the job {}.",
            list(&others, "and")
        ));
    }
}

fn quoted(name: &JobName) -> String {
    format!("\"{}\"", name.as_str())
}

/// Whether a job sends what it has snapshots of.
pub(super) fn replicates(job: &JobConfig) -> bool {
    matches!(job, JobConfig::Push(_) | JobConfig::Pull(_))
}
