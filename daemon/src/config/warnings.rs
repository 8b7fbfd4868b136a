//! What is allowed, and most likely not meant: pointed out on the side, without keeping anything from working as it did.

use std::collections::{HashMap, HashSet};

use super::Config;
use super::connection::{Connect, Serve};
use super::job::JobConfig;
use super::load::Loaded;
use super::problem::Severity;
use super::snapshotting::Snapshotting;
use super::transfer::{Guarantee, ReceiveOptions};
use super::value::host_port::HostPort;
use crate::filter::{self, FilesystemFilter};
use crate::prune::Rule;
use crate::snapshot::naming::SnapshotNaming;

/// Something surprising at `path` below a job.
struct Finding {
    job: usize,
    path: &'static str,
    message: String,
    hint: Option<&'static str>,
}

/// Adds the warnings that concern whole jobs, or several.
pub(super) fn check(loaded: &mut Loaded) {
    let mut findings = Vec::new();
    let config = &loaded.config;
    for (job, written) in config.jobs.iter().enumerate() {
        let mut note = |path, message: String, hint| {
            findings.push(Finding {
                job,
                path,
                message,
                hint,
            });
        };
        unencrypted(written, &mut note);
        guarantees(written, &mut note);
        properties(written, &mut note);
        rules(written, &mut note);
    }
    roots(config, &mut findings);
    filters(config, &mut findings);
    endless(config, &mut findings);
    listeners(config, &mut findings);
    for Finding {
        job,
        path,
        message,
        hint,
    } in findings
    {
        loaded.report_job(
            Severity::Warning,
            job,
            path,
            message,
            hint.map(str::to_owned),
        );
    }
}

fn unencrypted(job: &JobConfig, note: &mut impl FnMut(&'static str, String, Option<&'static str>)) {
    let hint = Some("on a network that others share, use tls");
    if let Some(Connect::Tcp(connect)) = job.connect()
        && !connect.address.is_loopback()
    {
        let message = format!("{} is reached without encryption", connect.address);
        note(".connect.address", message, hint);
    }
    if let Some(Serve::Tcp(serve)) = job.serve()
        && !serve.listen.is_loopback()
    {
        let message = format!(
            "{} is served without encryption, to whoever has one of the listed addresses",
            serve.listen
        );
        note(".serve.listen", message, hint);
    }
}

fn guarantees(job: &JobConfig, note: &mut impl FnMut(&'static str, String, Option<&'static str>)) {
    let replication = match job {
        JobConfig::Push(job) => &job.replication,
        JobConfig::Pull(job) => &job.replication,
        _ => return,
    };
    let keys = [
        (
            ".replication.protection.initial",
            replication.protection.initial,
        ),
        (
            ".replication.protection.incremental",
            replication.protection.incremental,
        ),
    ];
    for (path, guarantee) in keys {
        if guarantee == Guarantee::Nothing {
            note(
                path,
                "guarantee_nothing leaves no bookmark behind: if the newest snapshot that both sides have is destroyed on the sender, replication cannot go on".to_owned(),
                Some("guarantee_incremental costs a bookmark and prevents that"),
            );
        }
    }
}

fn properties(job: &JobConfig, note: &mut impl FnMut(&'static str, String, Option<&'static str>)) {
    let (JobConfig::Pull(super::job::PullJob { recv, .. })
    | JobConfig::Sink(super::job::SinkJob { recv, .. })) = job
    else {
        return;
    };
    let ReceiveOptions { properties, .. } = recv;
    let inherited: HashSet<_> = properties.inherit.iter().collect();
    for (name, _) in properties.overrides.as_slice() {
        if inherited.contains(name) {
            note(
                ".recv.properties",
                format!(
                    "{name} is both inherited and overridden: zfs refuses to receive with both"
                ),
                None,
            );
        }
    }
}

/// Rules of one job that do not do what they seem to.
fn rules(job: &JobConfig, note: &mut impl FnMut(&'static str, String, Option<&'static str>)) {
    match job {
        JobConfig::Push(push) => {
            let sender = push.pruning.keep_sender.rules();
            let path = ".pruning.keep_sender";
            premature(&sender, path, note);
            let name = sample_name(&push.snapshotting);
            unmatched(&sender, name.as_deref(), path, note);
            receiver(&push.pruning.keep_receiver.rules(), note);
            unmatched(
                &push.pruning.keep_receiver.rules(),
                name.as_deref(),
                ".pruning.keep_receiver",
                note,
            );
        }
        JobConfig::Pull(pull) => {
            premature(
                &pull.pruning.keep_sender.rules(),
                ".pruning.keep_sender",
                note,
            );
            receiver(&pull.pruning.keep_receiver.rules(), note);
        }
        JobConfig::Snap(snap) => unmatched(
            &snap.pruning.keep.rules(),
            sample_name(&snap.snapshotting).as_deref(),
            ".pruning.keep",
            note,
        ),
        JobConfig::Sink(_) | JobConfig::Source(_) => {}
    }
}

fn is_not_replicated(rule: &Rule) -> bool {
    matches!(rule, Rule::NotReplicated { .. })
}

fn premature(
    rules: &[Rule],
    path: &'static str,
    note: &mut impl FnMut(&'static str, String, Option<&'static str>),
) {
    if !rules.iter().any(is_not_replicated) && !keeps_everything(rules) {
        note(
            path,
            "without a rule of type not_replicated, snapshots may be destroyed before the receiver has them".to_owned(),
            None,
        );
    }
}

fn receiver(rules: &[Rule], note: &mut impl FnMut(&'static str, String, Option<&'static str>)) {
    if rules.iter().any(is_not_replicated) {
        note(
            ".pruning.keep_receiver",
            "not_replicated is meant for the sender: here it keeps what is newer than the sender's cursor".to_owned(),
            None,
        );
    }
}

/// Rules that none of the job's own snapshots can match.
fn unmatched(
    rules: &[Rule],
    name: Option<&str>,
    path: &'static str,
    note: &mut impl FnMut(&'static str, String, Option<&'static str>),
) {
    let Some(name) = name else { return };
    if !rules.iter().any(|rule| rule.wants_name(name)) {
        let until = if rules.iter().any(is_not_replicated) {
            " once they are replicated"
        } else {
            ""
        };
        note(
            path,
            format!(
                "snapshots that this job takes, such as {name:?}, match none of these rules: they are destroyed{until}"
            ),
            Some("compare `prefix` with the rules' `regex`"),
        );
    }
}

/// The name of a snapshot that the job might take.
fn sample_name(snapshotting: &Snapshotting) -> Option<String> {
    let naming: &SnapshotNaming = match snapshotting {
        Snapshotting::Periodic(periodic) => &periodic.naming,
        Snapshotting::Cron(cron) => &cron.naming,
        Snapshotting::Manual(_) => return None,
    };
    // Any instant will do: 2020-06-01 00:00:00 UTC.
    let instant = jiff::Timestamp::from_second(1_590_969_600).ok()?;
    Some(naming.name_at(instant))
}

fn keeps_everything(rules: &[Rule]) -> bool {
    rules.iter().any(Rule::keeps_everything)
}

/// Receiving jobs of which one receives below another's root.
fn roots(config: &Config, findings: &mut Vec<Finding>) {
    let mut roots: Vec<_> = config
        .jobs
        .iter()
        .enumerate()
        .filter_map(|(job, written)| Some((written.root_fs()?, job)))
        .collect();
    // By component, so that what is below a root follows it at once.
    roots.sort_by(|(a, i), (b, j)| a.components().cmp(b.components()).then(i.cmp(j)));
    let mut above: Vec<(&zfs_safe::name::DatasetPath, usize)> = Vec::new();
    for (root, job) in roots {
        while above
            .last()
            .is_some_and(|(outer, _)| !root.is_within(outer))
        {
            above.pop();
        }
        if let Some((outer, other)) = above.last() {
            let name = config.jobs[*other].name();
            let place = if root == *outer {
                format!("job {:?} receives there as well", name.as_str())
            } else {
                format!(
                    "{root} is within {outer}, where job {:?} receives",
                    name.as_str()
                )
            };
            findings.push(Finding {
                job,
                path: ".root_fs",
                message: format!("{place}: each may see the other's filesystems as its own"),
                hint: None,
            });
        }
        above.push((root, job));
    }
}

/// Jobs that do the same thing to the same filesystems.
fn filters(config: &Config, findings: &mut Vec<Finding>) {
    let takes_snapshots = |job: &JobConfig| {
        job.snapshotting()
            .is_some_and(|s| !matches!(s, Snapshotting::Manual(_)))
    };
    for (job, earlier, witness) in overlapping(config, takes_snapshots) {
        findings.push(Finding {
            job,
            path: ".filesystems",
            message: format!(
                "{witness} is also matched by job {:?}: both take snapshots of it",
                config.jobs[earlier].name().as_str()
            ),
            hint: None,
        });
    }
    for (job, earlier, witness) in overlapping(config, |job| local_rules(job).is_some()) {
        let (a, b) = (&config.jobs[job], &config.jobs[earlier]);
        if threatens(a, b) || threatens(b, a) {
            findings.push(Finding {
                job,
                path: ".filesystems",
                message: format!(
                    "{witness} is also matched by job {:?}, and each destroys what its own rules do not keep, whatever the other's say",
                    b.name().as_str()
                ),
                hint: Some(
                    "a rule of type regex with `negate` keeps a job from touching what others named",
                ),
            });
        }
    }
}

/// Of the jobs of a kind, those that share filesystems with an earlier one.
fn overlapping(
    config: &Config,
    concerned: impl Fn(&JobConfig) -> bool,
) -> Vec<(usize, usize, String)> {
    let filters: Vec<(usize, &FilesystemFilter)> = config
        .jobs
        .iter()
        .enumerate()
        .filter(|(_, job)| concerned(job))
        .filter_map(|(index, job)| Some((index, job.filesystems()?)))
        .collect();
    filter::overlaps(&filters)
        .into_iter()
        .map(|overlap| (overlap.filter, overlap.earlier, overlap.witness.to_string()))
        .collect()
}

/// The rules by which a job destroys snapshots of its `filesystems`.
fn local_rules(job: &JobConfig) -> Option<Vec<Rule>> {
    let rules = match job {
        JobConfig::Push(job) => job.pruning.keep_sender.rules(),
        JobConfig::Snap(job) => job.pruning.keep.rules(),
        JobConfig::Pull(_) | JobConfig::Sink(_) | JobConfig::Source(_) => return None,
    };
    (!keeps_everything(&rules)).then_some(rules)
}

/// Whether one job destroys what another one takes: its rules have no word for those names alone that keeps them.
fn threatens(job: &JobConfig, other: &JobConfig) -> bool {
    let Some(rules) = local_rules(job) else {
        return false;
    };
    // What a job replicates that takes no snapshots may be called anything.
    let name = other
        .snapshotting()
        .and_then(sample_name)
        .unwrap_or_else(|| "of another job".to_owned());
    !rules
        .iter()
        .any(|rule| matches!(rule, Rule::Regex { .. }) && rule.wants_name(&name))
}

/// Sides of a replication where nothing is ever destroyed.
fn endless(config: &Config, findings: &mut Vec<Finding>) {
    // A snap job of the same filesystems is the usual way to prune what several jobs replicate.
    let snaps = config.jobs.iter().filter_map(|job| match job {
        JobConfig::Snap(snap) => Some(&snap.filesystems),
        _ => None,
    });
    let pushes = config
        .jobs
        .iter()
        .enumerate()
        .filter_map(|(job, written)| match written {
            JobConfig::Push(push) => Some((job, &push.filesystems)),
            _ => None,
        });
    let pruned: HashSet<usize> = filter::sharing(pushes, snaps).into_iter().collect();
    for (job, written) in config.jobs.iter().enumerate() {
        let receiver = match written {
            JobConfig::Push(push) => &push.pruning.keep_receiver,
            JobConfig::Pull(pull) => &pull.pruning.keep_receiver,
            _ => continue,
        };
        let mut note = |path, side: &str| {
            findings.push(Finding {
                job,
                path,
                message: format!("keeps every snapshot: this job never destroys any on the {side}"),
                hint: Some("make sure that something else does, before the pool is full"),
            });
        };
        if keeps_everything(&receiver.rules()) {
            note(".pruning.keep_receiver", "receiver");
        }
        if let JobConfig::Push(push) = written
            && keeps_everything(&push.pruning.keep_sender.rules())
            && !pruned.contains(&job)
        {
            note(".pruning.keep_sender", "sender");
        }
    }
}

/// Names and addresses that two jobs serve, or that none does.
fn listeners(config: &Config, findings: &mut Vec<Finding>) {
    let mut addresses: HashMap<&HostPort, usize> = HashMap::new();
    let mut names: HashMap<&str, usize> = HashMap::new();
    let mut identities: HashMap<&str, usize> = HashMap::new();
    for (job, written) in config.jobs.iter().enumerate() {
        let mut taken = |other: Option<usize>, path, what: String| {
            if let Some(other) = other {
                let message = if other == job {
                    format!("{what} by this job")
                } else {
                    format!("{what} by job {:?}", config.jobs[other].name().as_str())
                };
                findings.push(Finding {
                    job,
                    path,
                    message,
                    hint: None,
                });
            }
        };
        match written.serve() {
            Some(
                Serve::Tcp(super::connection::TcpServe { listen, .. })
                | Serve::Tls(super::connection::TlsServe { listen, .. }),
            ) => taken(
                addresses.insert(listen, job),
                ".serve.listen",
                format!("{listen} is already listened on"),
            ),
            Some(Serve::Local(local)) => taken(
                names.insert(&local.listener_name, job),
                ".serve.listener_name",
                "whichever is free gets a connection: the name is already served".to_owned(),
            ),
            Some(Serve::Stdinserver(server)) => {
                for identity in &server.client_identities {
                    taken(
                        identities.insert(identity.as_str(), job),
                        ".serve.client_identities",
                        format!("client {identity} is already served"),
                    );
                }
            }
            None => {}
        }
    }
    for (job, written) in config.jobs.iter().enumerate() {
        if let Some(Connect::Local(connect)) = written.connect()
            && !names.contains_key(connect.listener_name.as_str())
        {
            findings.push(Finding {
                job,
                path: ".connect.listener_name",
                message: format!(
                    "no job of this configuration serves {:?}",
                    connect.listener_name
                ),
                hint: None,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use crate::{config, cpu_time};

    #[test]
    fn large_configurations_are_looked_through_quickly() {
        let inherited = "x, ".repeat(20_000);
        let mut yaml = format!(
            "jobs:\n- type: sink\n  name: k\n  root_fs: a/k\n  serve: {{type: local, listener_name: l}}\n  recv: {{properties: {{inherit: [{inherited}], override: {{x: v"
        );
        for number in 0..20_000 {
            write!(yaml, ", y{number}: v").expect("strings take all text");
        }
        yaml.push_str("}}}\n");
        for number in 0..2000 {
            writeln!(
                yaml,
                "- {{type: snap, name: s{number}, filesystems: {{'s{number}<': true}}, snapshotting: {{type: manual}}, pruning: {{keep: [{{type: last_n, count: 1}}]}}}}\n\
                 - {{type: push, name: p{number}, connect: {{type: local, listener_name: l, client_identity: i}}, filesystems: {{'p{number}<': true}}, snapshotting: {{type: manual}}, pruning: {{keep_sender: [{{type: regex, regex: .*}}], keep_receiver: [{{type: last_n, count: 1}}]}}}}"
            )
            .expect("strings take all text");
        }
        let (loaded, needed) = cpu_time::of(|| config::parse("f", &yaml));
        let loaded = loaded.unwrap_or_else(|error| panic!("{error}"));
        let warnings = loaded.problems.to_string();
        assert!(warnings.contains("x is both inherited and overridden"));
        assert!(warnings.contains("this job never destroys any on the sender"));
        assert!(needed.as_secs() < 10, "{needed:?}, though unoptimised");
    }
}
