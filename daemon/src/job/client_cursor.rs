//! Whose marks a source makes: the job's alone, or the job's for one client.
//!
//! zrepl 0.7.0 names cursors and holds after the source job only, so pull jobs of several hosts overwrite each other's cursor,
//! and each of them can lose its incremental base. Between daemons of this implementation they do not: the pull side announces
//! [`EXTENSION`] in its banner, and a source that can have several clients then makes marks in the name of
//! `<job>_C_<client identity>`. With any other client, and where only one client can come, marks are those of zrepl 0.7.0.

use std::collections::BTreeSet;

use zrepl_proto::extension::{Agreement, Extension, Extensions};

use crate::config::connection::{Connect, Serve};
use crate::config::job::JobConfig;
use crate::endpoint::mark::JobId;
use crate::name::ClientIdentity;
use crate::transport::ip_map::Entry;

/// Wire constant: the line of the banner.
const EXTENSION: &str = "zrepl.client-cursor/1";
/// Between job and client in names of marks. What was made under such a name must be found again: never change it.
const SEPARATOR: &str = "_C_";

/// What pull and source jobs announce.
pub(super) fn extensions() -> Extensions {
    let extension = Extension::parse(EXTENSION).expect("the constant is an extension");
    Extensions::new(vec![extension])
}

/// Whether both sides keep apart what belongs to different clients.
pub(super) fn is_agreed(agreement: &Agreement) -> bool {
    agreement.version("zrepl.client-cursor") == Some(1)
}

/// Whether more than one client can come. A network counts as many; within the daemon the clients are those of its `jobs` that connect
/// to this listener.
pub(super) fn can_have_several_clients(serve: &Serve, jobs: &[JobConfig]) -> bool {
    let several = |identities: BTreeSet<&str>| identities.len() > 1;
    match serve {
        Serve::Tcp(tcp) => {
            let entries = tcp.clients.entries();
            let is_network = |identity: &str| identity.contains('*');
            entries.iter().any(|entry| is_network(entry.identity()))
                || several(entries.iter().map(Entry::identity).collect())
        }
        Serve::Tls(tls) => several(tls.client_cns.iter().map(ClientIdentity::as_str).collect()),
        Serve::Stdinserver(serve) => several(
            serve
                .client_identities
                .iter()
                .map(ClientIdentity::as_str)
                .collect(),
        ),
        Serve::Local(local) => several(
            jobs.iter()
                .filter_map(|job| match job.connect()? {
                    Connect::Local(connect) if connect.listener_name == local.listener_name => {
                        Some(connect.client_identity.as_str())
                    }
                    _ => None,
                })
                .collect(),
        ),
    }
}

/// The name under which a source makes marks for one client, if it can be part of the names of marks and none of the other
/// jobs of this daemon could come to the same.
pub(super) fn job_id(job: &JobId, client: &ClientIdentity, others: &[JobId]) -> Option<JobId> {
    let id = JobId::new(&format!("{job}{SEPARATOR}{client}")).ok()?;
    let is_of = |other: &JobId| {
        let rest = id.as_str().strip_prefix(other.as_str());
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(SEPARATOR))
    };
    (!others.iter().any(is_of)).then_some(id)
}

#[cfg(test)]
mod tests {
    use zrepl_proto::extension::negotiate;

    use super::*;
    use crate::config;

    fn serve(text: &str) -> Serve {
        let yaml = format!(
            "jobs:\n- type: source\n  name: s\n  filesystems: {{'tank': true}}\n  snapshotting: {{type: manual}}\n  serve: {text}\n"
        );
        let loaded = config::parse("test.yml", &yaml).expect("good");
        match loaded.config.job("s") {
            Some(JobConfig::Source(job)) => job.serve.clone(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn clients_are_counted_by_identity() {
        let tcp = |clients| format!("{{type: tcp, listen: ':8888', clients: {clients}}}");
        let tls = |cns| {
            format!("{{type: tls, listen: ':8888', ca: /c, cert: /c, key: /k, client_cns: {cns}}}")
        };
        let stdinserver = |clients| format!("{{type: stdinserver, client_identities: {clients}}}");
        for (text, expected) in [
            (tcp("{'10.0.0.1': a}"), false),
            (tcp("{'10.0.0.1': a, 'fe80::1': a}"), false),
            (tcp("{'10.0.0.1': a, '10.0.0.2': b}"), true),
            (tcp("{'10.0.0.0/24': 'lan-*'}"), true),
            (tls("[a]"), false),
            (tls("[a, a]"), false),
            (tls("[a, b]"), true),
            (stdinserver("[a]"), false),
            (stdinserver("[a, b]"), true),
        ] {
            assert_eq!(
                can_have_several_clients(&serve(&text), &[]),
                expected,
                "{text}"
            );
        }
    }

    #[test]
    fn clients_within_the_daemon_are_those_of_its_jobs() {
        let several = |clients: &[(&str, &str)]| {
            let job = |(number, (listener, client)): (usize, &(&str, &str))| {
                format!(
                    "- {{type: pull, name: p{number}, connect: {{type: local, listener_name: {listener}, client_identity: {client}}}, \
                     root_fs: b/{number}, interval: manual, pruning: {{keep_sender: [{{type: not_replicated}}], \
                     keep_receiver: [{{type: last_n, count: 1}}]}}}}\n"
                )
            };
            let jobs: String = clients.iter().enumerate().map(job).collect();
            let yaml = format!("jobs:\n{jobs}");
            let jobs = config::parse("test.yml", &yaml).expect("good").config.jobs;
            can_have_several_clients(&serve("{type: local, listener_name: l}"), &jobs)
        };
        assert!(!several(&[("l", "a"), ("l", "a"), ("other", "b")]));
        assert!(several(&[("l", "a"), ("l", "b")]));
    }

    #[test]
    fn it_holds_only_if_both_announce_it() {
        let ours = extensions();
        assert!(is_agreed(&negotiate(&ours, &extensions())));
        assert!(!is_agreed(&negotiate(&ours, &Extensions::default())));
        let newer = Extensions::from_lines([b"zrepl.client-cursor/2".as_slice()]);
        assert!(!is_agreed(&negotiate(&ours, &newer)));
    }

    #[test]
    fn names_that_fit_and_are_nobody_elses_are_used() {
        let job = JobId::new("src").expect("valid");
        let client = |text: &str| ClientIdentity::new(text).expect("valid");
        let id = job_id(&job, &client("nas1"), &[]).expect("fits");
        assert_eq!(id.as_str(), "src_C_nas1");
        let longest = "x".repeat(203 - "src_C_".len());
        assert!(job_id(&job, &client(&longest), &[]).is_some());
        assert_eq!(job_id(&job, &client(&format!("{longest}x")), &[]), None);
        // What the job src makes for the client nas1_C_a could be what the job src_C_nas1 makes for the client a.
        let others = [id.clone()];
        for taken in ["nas1", "nas1_C_a"] {
            assert_eq!(job_id(&job, &client(taken), &others), None);
        }
        assert_eq!(job_id(&id, &client("a"), std::slice::from_ref(&job)), None);
        for free in ["nas2", "nas10"] {
            assert!(job_id(&job, &client(free), &others).is_some());
        }
    }
}
