//! The databases of hooks: whether this program can use them as they are configured. Looks at the files and variables that data
//! source names lead to, and connects to nothing.

use super::load::Loaded;
use super::problem::Severity;
use crate::causes::chain;
use crate::environment::Variables;
use crate::hook::{DuePostEdges, Hooks, HooksError};

/// Adds to the findings what the daemon will say of hooks when it starts. A hook that cannot work fails alone, so it is a warning; one
/// that this program does not have keeps the daemon from starting.
pub fn check_hooks(loaded: &mut Loaded, variables: Variables<'_>) {
    let mut findings = Vec::new();
    for (job, written) in loaded.config.jobs.iter().enumerate() {
        let Some(snapshotting) = written.snapshotting() else {
            continue;
        };
        let path = |number: usize| format!(".snapshotting.hooks[{}]", number - 1);
        match Hooks::new(snapshotting, variables, DuePostEdges::default()) {
            Ok(hooks) => {
                for it in hooks.unusable() {
                    let message = format!("this hook will fail: {}", it.error);
                    findings.push((job, Severity::Warning, path(it.number) + ".dsn", message));
                }
            }
            Err(HooksError::Hook { number, source }) => {
                let message = chain(&source);
                findings.push((job, Severity::Error, path(number) + ".type", message));
            }
            // Not in the configuration.
            Err(HooksError::Environment(_)) => {}
        }
    }
    for (job, severity, path, message) in findings {
        loaded.report_job(severity, job, &path, message, None);
    }
    loaded.sort();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    #[test]
    #[cfg(all(feature = "hook-mysql", feature = "hook-postgres"))]
    fn hooks_that_cannot_work_are_warned_about_where_they_stand() {
        let yaml = "jobs:
- type: snap
  name: s
  filesystems: {'<': true}
  pruning: {keep: [{type: last_n, count: 1}]}
  snapshotting:
    type: cron
    cron: '0 * * * *'
    prefix: z_
    hooks:
    - {type: command, path: /bin/true}
    - {type: mysql-lock-tables, dsn: 'u@tcp(h)/?tls=true', filesystems: {'<': true}}
    - type: postgres-checkpoint
      dsn: 'host=h sslrootcert=/nonexistent'
      filesystems: {'<': true}
    - {type: postgres-checkpoint, dsn: 'host=/run', filesystems: {'<': true}}
";
        let mut loaded = config::parse("zrepl.yml", yaml).expect("good");
        check_hooks(&mut loaded, &|_| None);
        let found = loaded.problems.to_string();
        let lines: Vec<_> = found.lines().collect();
        assert_eq!(lines.len(), 2, "{found}");
        for (line, start) in lines.iter().zip([
            "zrepl.yml:11:5: warning: jobs[0].snapshotting.hooks[1].dsn: this hook will fail: tls=true in the dsn is not supported",
            "zrepl.yml:11:5: warning: jobs[0].snapshotting.hooks[2].dsn: this hook will fail: cannot parse ca file: /nonexistent: cannot read the file",
        ]) {
            assert!(line.starts_with(start), "{found}");
        }
    }
}
