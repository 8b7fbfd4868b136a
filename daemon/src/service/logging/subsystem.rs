//! Which part of the daemon an entry comes from, in zrepl's words.

/// The subsystem of a module. The daemon as a whole has none, as in zrepl 0.7.0.
pub(super) fn subsystem(module: &str) -> Option<&'static str> {
    let ours = module.strip_prefix("zrepl_daemon::");
    let Some(path) = ours else {
        return module.starts_with("zfs_safe").then_some("zfs.cmd");
    };
    // The longest prefix first.
    let known = [
        ("rpc::control", "rpc.ctrl"),
        ("rpc::data", "rpc.data"),
        ("rpc", "rpc"),
        ("transport", "transport"),
        ("endpoint", "endpoint"),
        ("replication", "repl"),
        ("prune", "pruning"),
        ("snapshot", "snapshot"),
        ("hook", "hook"),
        ("job", "job"),
        ("service::control", "job"),
    ];
    let is_in = |prefix: &str| {
        path.strip_prefix(prefix)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
    };
    known
        .iter()
        .find_map(|(prefix, name)| is_in(prefix).then_some(*name))
}

/// Whether a module is part of zrepl. What libraries say is for their authors, unless something is wrong.
pub(super) fn is_ours(module: &str) -> bool {
    module.starts_with("zrepl") || module.starts_with("zfs_safe")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_are_known_by_the_names_of_zrepl() {
        for (module, expected) in [
            ("zrepl_daemon::rpc::control::client", Some("rpc.ctrl")),
            ("zrepl_daemon::rpc::data", Some("rpc.data")),
            ("zrepl_daemon::rpc::server", Some("rpc")),
            ("zrepl_daemon::endpoint::local_zfs", Some("endpoint")),
            ("zrepl_daemon::job::active", Some("job")),
            ("zrepl_daemon::jobs", None),
            ("zrepl_daemon::service", None),
            ("zrepl_daemon::service::control::server", Some("job")),
            ("zfs_safe::cli::command", Some("zfs.cmd")),
            ("zrepl", None),
        ] {
            assert_eq!(subsystem(module), expected, "{module}");
            assert!(is_ours(module), "{module}");
        }
        assert!(!is_ours("h2::proto"));
        assert_eq!(subsystem("h2::proto"), None);
    }
}
