//! What a job will do, in words, for people who see zrepl for the first time: which filesystems, when it takes snapshots,
//! where it replicates, what it keeps, and what that comes to in the end.

mod page;
mod retention;
mod transfer;
mod words;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::Config;
use super::job::{JobConfig, PullInterval};
use super::snapshotting::{Hook, Snapshotting};
use crate::filter::FilesystemFilter;
use crate::snapshot::cron_spec::CronSpec;
use page::Page;
use words::{duration, every, list};

/// What the explanation needs to know of the machine it is for.
#[derive(Debug)]
pub struct Surroundings {
    /// The filesystems and volumes there are, or why they are not known.
    pub datasets: Result<Vec<String>, String>,
    /// The time.
    pub now: Timestamp,
    /// The machine's time zone.
    pub zone: TimeZone,
}

/// Says in words what a job of this configuration will do.
pub fn explain(config: &Config, job: &JobConfig, surroundings: &Surroundings) -> String {
    let mut page = Page::default();
    let name = job.name().as_str();
    page.title(&format!("Job \"{name}\" ({})", job.type_name()));
    page.text(match job {
        JobConfig::Push(_) => {
            "Sends filesystems of this machine to a sink job, usually on another machine, and decides when."
        }
        JobConfig::Pull(_) => {
            "Fetches filesystems from a source job, usually on another machine, and decides when."
        }
        JobConfig::Sink(_) => "Receives what push jobs send. It does nothing on its own.",
        JobConfig::Source(_) => {
            "Lets pull jobs fetch filesystems of this machine. They decide when."
        }
        JobConfig::Snap(_) => {
            "Takes snapshots of filesystems of this machine and destroys old ones. Nothing is replicated."
        }
    });
    if let Some(filter) = job.filesystems() {
        filesystems(&mut page, filter, &surroundings.datasets);
    }
    if let Some(snapshotting) = job.snapshotting() {
        snapshots(&mut page, snapshotting, job, surroundings);
    }
    match job {
        JobConfig::Push(push) => {
            let when = match &push.snapshotting {
                Snapshotting::Manual(_) => {
                    format!("When you say so: `zrepl signal wakeup {name}`.")
                }
                _ => format!(
                    "After each round of snapshots, or when you say so: `zrepl signal wakeup {name}`."
                ),
            };
            transfer::push(&mut page, config, push, &when);
        }
        JobConfig::Pull(pull) => {
            let when = match pull.interval {
                PullInterval::Manual => format!("When you say so: `zrepl signal wakeup {name}`."),
                PullInterval::Every(interval) => format!(
                    "{}, the first time {} after the start of the daemon, or when you say so: `zrepl signal wakeup {name}`.",
                    capitalized(&every(interval.duration())),
                    duration(interval.duration()),
                ),
            };
            transfer::pull(&mut page, config, pull, &when);
        }
        JobConfig::Sink(sink) => transfer::sink(&mut page, config, sink),
        JobConfig::Source(source) => transfer::source(&mut page, config, source),
        JobConfig::Snap(_) => {}
    }
    retention::explain(&mut page, config, job, surroundings);
    page.finish()
}

fn capitalized(text: &str) -> String {
    let mut characters = text.chars();
    match characters.next() {
        Some(first) => first.to_uppercase().chain(characters).collect(),
        None => String::new(),
    }
}

/// Which filesystems: by rule, then by name.
fn filesystems(page: &mut Page, filter: &FilesystemFilter, datasets: &Result<Vec<String>, String>) {
    /// Filesystems listed by name.
    const LISTED: usize = 20;

    page.heading("Which filesystems");
    let mut entries: Vec<_> = filter.entries().collect();
    // What is inside something else comes after it.
    entries.sort_by(|(a, _), (b, _)| {
        a.path()
            .split('/')
            .cmp(b.path().split('/'))
            .then(b.is_subtree().cmp(&a.is_subtree()))
    });
    let (mut any, mut all_excluded) = (false, true);
    for (pattern, accepted) in entries {
        let what = match (pattern.path(), pattern.is_subtree()) {
            ("", _) => "every filesystem and volume of all pools".to_owned(),
            (path, true) => format!("{path} and everything below it"),
            (path, false) => format!("{path} itself"),
        };
        page.item(if accepted { "+" } else { "-" }, &what);
        any = true;
        all_excluded &= !accepted;
    }
    if any {
        page.text("(+ is in, - is out; where two lines apply, the more precise one counts, and what no line mentions is out.)");
    }
    if all_excluded {
        page.text("So there is nothing to do for this job.");
    }
    match datasets {
        Err(reason) => page.text(&format!(
            "Which ones that is now cannot be said here: {reason}."
        )),
        Ok(datasets) => {
            let matching: Vec<&str> = datasets
                .iter()
                .map(String::as_str)
                .filter(|dataset| filter.accepts(dataset))
                .collect();
            page.text(&match matching.len() {
                0 => format!(
                    "Right now there are none: none of the {} filesystems and volumes of this machine match.",
                    datasets.len()
                ),
                1 => format!("Right now that is one of the {} of this machine:", datasets.len()),
                n => format!("Right now that is {n} of the {} of this machine:", datasets.len()),
            });
            for dataset in matching.iter().take(LISTED) {
                page.item("", dataset);
            }
            if let Some(more) = matching.len().checked_sub(LISTED).filter(|more| *more > 0) {
                page.item("", &format!("… and {more} more"));
            }
        }
    }
}

/// When snapshots are taken, how they are called, what runs around them.
fn snapshots(
    page: &mut Page,
    snapshotting: &Snapshotting,
    job: &JobConfig,
    surroundings: &Surroundings,
) {
    page.heading("When it takes snapshots");
    let (naming, hooks) = match snapshotting {
        Snapshotting::Manual(_) => {
            page.text(
                "Never. It works with the snapshots that something else takes: another job, a tool, or you.",
            );
            return;
        }
        Snapshotting::Periodic(periodic) => {
            let prefix = periodic.naming.prefix();
            page.text(&format!(
                "{}, while the daemon runs. After a start it waits until the newest snapshot named {prefix}… is as old as that.",
                capitalized(&every(periodic.interval.duration())),
            ));
            (&periodic.naming, &periodic.hooks)
        }
        Snapshotting::Cron(cron) => {
            page.text(&format!("At the times that `{}` names.", cron.cron));
            upcoming(page, &cron.cron, surroundings);
            (&cron.naming, &cron.hooks)
        }
    };
    page.text(&format!(
        "A snapshot taken now would be called {}.",
        naming.name_at(surroundings.now)
    ));
    if matches!(job, JobConfig::Source(_)) {
        page.text("This job never destroys snapshots: that is up to the pull job.");
    }
    for hook in hooks {
        around(page, hook);
    }
}

/// The next times of a cron specification.
fn upcoming(page: &mut Page, cron: &CronSpec, surroundings: &Surroundings) {
    let mut times = Vec::new();
    let mut after = surroundings.now;
    while times.len() < 3
        && let Some(next) = cron.next(after, &surroundings.zone)
    {
        let zoned = next.to_zoned(surroundings.zone.clone());
        times.push(zoned.strftime("%a %Y-%m-%d %H:%M:%S %Z").to_string());
        after = next;
    }
    match times.as_slice() {
        [] => page.text("That is not within the next five years."),
        times => page.text(&format!("The next ones: {}.", list(times, "and"))),
    }
}

fn around(page: &mut Page, hook: &Hook) {
    let (what, filter, fatal, timeout) = match hook {
        Hook::Command(hook) => (
            format!(
                "runs {} before and after the snapshot",
                hook.path.as_path().display()
            ),
            &hook.filesystems,
            hook.err_is_fatal,
            hook.timeout,
        ),
        Hook::PostgresCheckpoint(hook) => (
            "makes PostgreSQL write everything to disk before the snapshot (CHECKPOINT)".to_owned(),
            &hook.filesystems,
            hook.err_is_fatal,
            hook.timeout,
        ),
        Hook::MysqlLockTables(hook) => (
            "keeps MySQL or MariaDB from writing while the snapshot is taken (FLUSH TABLES WITH READ LOCK)".to_owned(),
            &hook.filesystems,
            hook.err_is_fatal,
            hook.timeout,
        ),
    };
    let patterns: Vec<String> = filter
        .entries()
        .filter(|(_, accepted)| *accepted)
        .map(
            |(pattern, _)| match (pattern.path(), pattern.is_subtree()) {
                ("", _) => "each filesystem".to_owned(),
                (path, true) => format!("{path} and what is below it"),
                (path, false) => path.to_owned(),
            },
        )
        .collect();
    let whose = if patterns.is_empty() {
        "no filesystem".to_owned()
    } else {
        list(&patterns, "and")
    };
    let failure = if fatal {
        "If that fails, there is no snapshot"
    } else {
        "If that fails, the snapshot is taken all the same"
    };
    page.item(
        "*",
        &format!(
            "For {whose}, a hook {what}. {failure}; it may take {}.",
            duration(timeout.duration())
        ),
    );
}

#[cfg(test)]
mod tests;
