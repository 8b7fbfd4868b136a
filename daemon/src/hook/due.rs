//! Which post edges are still due, in all runs of a daemon: runs announce themselves, and whoever stops the daemon learns how long
//! it has to wait lest a database stays locked or a filesystem frozen. What is due is read off the plan of each run.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use zfs_safe::name::SnapshotName;

use super::Hook;
use super::around::Progress;
use super::plan::{Edge, Part, Status};

/// Where runs of hooks announce themselves. Clones are the same.
#[derive(Clone, Debug)]
pub struct DuePostEdges(Arc<watch::Sender<Vec<Arc<Run>>>>);

/// What has to be waited for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    /// The hooks, and the snapshots around which they run.
    pub hooks: Vec<String>,
    /// How long all of it may take: runs are at work side by side, the edges of each one after the other.
    pub at_most: Duration,
}

/// A run is listed as long as this lives.
#[derive(Debug)]
pub(super) struct Announced {
    all: DuePostEdges,
    run: Arc<Run>,
}

#[derive(Debug)]
struct Run {
    hooks: Vec<Arc<Hook>>,
    snapshot: SnapshotName,
    progress: Progress,
}

/// What the snapshot itself may take: it waits for a transaction group, and a pool that is busy takes long over one.
const SNAPSHOT: Duration = Duration::from_secs(30);

/// What an edge may take beyond its timeout: its program is killed, and has last words.
const ENDING: Duration = Duration::from_secs(2);

impl Default for DuePostEdges {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(Vec::new())))
    }
}

impl DuePostEdges {
    pub(super) fn announce(
        &self,
        hooks: &[Arc<Hook>],
        snapshot: &SnapshotName,
        progress: Progress,
    ) -> Announced {
        let run = Arc::new(Run {
            hooks: hooks.to_vec(),
            snapshot: snapshot.clone(),
            progress,
        });
        self.0.send_modify(|runs| runs.push(Arc::clone(&run)));
        let all = self.clone();
        Announced { all, run }
    }

    /// What is due at this moment, if anything is.
    pub fn now(&self) -> Option<Due> {
        let runs = self.0.borrow().clone();
        let due: Vec<Due> = runs.iter().filter_map(|run| run.due()).collect();
        Some(Due {
            at_most: due.iter().map(|it| it.at_most).max()?,
            hooks: due.into_iter().flat_map(|it| it.hooks).collect(),
        })
    }

    /// Waits until no run is left.
    pub async fn all_ended(&self) {
        // Its sender is here, so it cannot be gone.
        self.0.subscribe().wait_for(Vec::is_empty).await.ok();
    }
}

impl Run {
    fn due(&self) -> Option<Due> {
        let plan = self.progress.plan();
        let is_due = |number: &usize| {
            let before = plan.status(Part::Hook(*number, Edge::Pre));
            let after = plan.status(Part::Hook(*number, Edge::Post));
            before == Status::Ok && [Status::Pending, Status::Exec].contains(&after)
        };
        let due = (0..self.hooks.len()).filter(is_due);
        let due: Vec<&Hook> = due
            .map(|number| &*self.hooks[number])
            .filter(|hook| hook.has_post_edge())
            .collect();
        if due.is_empty() {
            return None;
        }
        let mut at_most = if plan.status(Part::Snapshot) == Status::Exec {
            SNAPSHOT
        } else {
            Duration::ZERO
        };
        for hook in &due {
            at_most = at_most.saturating_add(hook.timeout).saturating_add(ENDING);
        }
        let hooks = due.iter();
        Some(Due {
            hooks: hooks
                .map(|hook| format!("{hook} after {}", self.snapshot))
                .collect(),
            at_most,
        })
    }
}

impl Drop for Announced {
    fn drop(&mut self) {
        let is_other = |run: &Arc<Run>| !Arc::ptr_eq(run, &self.run);
        self.all.0.send_modify(|runs| runs.retain(is_other));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use zfs_safe::name::DatasetPath;

    use super::*;
    use crate::config::snapshotting::Snapshotting;
    use crate::hook::{FilesystemHooks, Hooks};

    fn hooks(due: &DuePostEdges, list: &str) -> FilesystemHooks {
        let yaml = format!(
            "jobs: [{{type: snap, name: j, filesystems: {{'<': true}}, pruning: {{keep: [{{type: last_n, count: 1}}]}},\n\
             snapshotting: {{type: periodic, interval: 10m, prefix: z_, hooks: {list}}}}}]"
        );
        let config = crate::config::parse("f", &yaml).expect("valid").config;
        let snapshotting: &Snapshotting = config.jobs[0].snapshotting().expect("it takes some");
        let hooks = Hooks::new(snapshotting, &|_| None, due.clone()).expect("valid");
        let filesystem = DatasetPath::new("tank/a").expect("valid");
        hooks.for_filesystem(&filesystem).expect("they match")
    }

    #[test]
    fn an_edge_is_due_from_the_success_before_to_the_end_after_the_snapshot() {
        let due = DuePostEdges::default();
        let hooks = hooks(
            &due,
            "[{type: command, path: /a, timeout: 10s}, {type: command, path: /b, timeout: 5s}]",
        );
        let around = hooks.around(SnapshotName::new("tank/a@s").expect("valid"));
        let progress = around.progress();
        let now = Instant::now();
        let announced = due.announce(&hooks.hooks, around.snapshot(), progress.clone());
        let mut seen = vec![due.now()];
        while let Some(part) = progress.plan().next() {
            progress.change(|plan| plan.begin(part, now));
            seen.push(due.now());
            progress.change(|plan| plan.finish(part, true, String::new(), now));
        }
        seen.push(due.now());
        let seconds: Vec<_> = seen
            .iter()
            .map(|due| due.as_ref().map_or(0, |due| due.at_most.as_secs()))
            .collect();
        // Before anything, the two edges before, the snapshot, the two edges after, and when all is done.
        assert_eq!(seconds, [0, 0, 12, 30 + 12 + 7, 12 + 7, 12, 0]);
        assert_eq!(
            seen[3].as_ref().expect("due").hooks,
            ["/a after tank/a@s", "/b after tank/a@s"]
        );
        drop(announced);
        assert!(due.0.borrow().is_empty());
    }

    #[test]
    fn nothing_is_due_of_what_failed_or_has_no_post_edge() {
        let due = DuePostEdges::default();
        let hooks = hooks(&due, "[{type: command, path: /a}]");
        let around = hooks.around(SnapshotName::new("tank/a@s").expect("valid"));
        let progress = around.progress();
        let _announced = due.announce(&hooks.hooks, around.snapshot(), progress.clone());
        let (pre, now) = (Part::Hook(0, Edge::Pre), Instant::now());
        progress.change(|plan| plan.begin(pre, now));
        progress.change(|plan| plan.finish(pre, false, String::new(), now));
        assert_eq!(due.now(), None);
    }

    #[test]
    #[cfg(feature = "hook-postgres")]
    fn a_checkpoint_leaves_nothing_to_do() {
        let due = DuePostEdges::default();
        let list = "[{type: postgres-checkpoint, dsn: 'host=/x', filesystems: {'<': true}}]";
        let hooks = hooks(&due, list);
        let around = hooks.around(SnapshotName::new("tank/a@s").expect("valid"));
        let progress = around.progress();
        let _announced = due.announce(&hooks.hooks, around.snapshot(), progress.clone());
        let (pre, now) = (Part::Hook(0, Edge::Pre), Instant::now());
        progress.change(|plan| plan.begin(pre, now));
        progress.change(|plan| plan.finish(pre, true, String::new(), now));
        assert_eq!(due.now(), None);
    }

    #[test]
    fn of_runs_side_by_side_the_longest_counts() {
        let due = DuePostEdges::default();
        let announced: Vec<_> = ["1s", "9s", "3s"]
            .map(|timeout| {
                let list = format!("[{{type: command, path: /a, timeout: {timeout}}}]");
                let hooks = hooks(&due, &list);
                let around = hooks.around(SnapshotName::new("tank/a@s").expect("valid"));
                let progress = around.progress();
                let (pre, now) = (Part::Hook(0, Edge::Pre), Instant::now());
                progress.change(|plan| plan.begin(pre, now));
                progress.change(|plan| plan.finish(pre, true, String::new(), now));
                due.announce(&hooks.hooks, around.snapshot(), progress)
            })
            .into();
        let all = due.now().expect("due");
        assert_eq!((all.at_most, all.hooks.len()), (Duration::from_secs(11), 3));
        drop(announced);
        assert_eq!(due.now(), None);
    }
}
