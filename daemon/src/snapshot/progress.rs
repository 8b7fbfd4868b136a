//! How far a round of snapshots is. Whoever takes them writes it, filesystem by filesystem; the report of the job reads it at
//! any time.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use zfs_safe::name::DatasetPath;

use super::report::{Filesystem, FilesystemState};

/// The progress of one round. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Progress(Arc<Mutex<Option<Vec<Filesystem>>>>);

impl Progress {
    /// The filesystems of the round are known. They are shown in the order of their paths.
    pub fn planned<'a>(&self, filesystems: impl IntoIterator<Item = &'a DatasetPath>) {
        let pending = |path: &DatasetPath| Filesystem {
            path: path.as_str().to_owned(),
            state: FilesystemState::SnapPending,
            snap_name: String::new(),
            start_at: None,
            hooks: String::new(),
            hooks_had_error: false,
            done_at: None,
        };
        let mut filesystems: Vec<_> = filesystems.into_iter().map(pending).collect();
        filesystems.sort_by(|a, b| a.path.cmp(&b.path));
        filesystems.dedup_by(|a, b| a.path == b.path);
        *self.filesystems() = Some(filesystems);
    }

    /// It is the filesystem's turn; its snapshot will have this name (after `@`).
    pub fn started(&self, filesystem: &DatasetPath, snapshot: &str, now: Timestamp) {
        self.update(filesystem, |filesystem| {
            filesystem.state = FilesystemState::SnapStarted;
            snapshot.clone_into(&mut filesystem.snap_name);
            filesystem.start_at = Some(now);
        });
    }

    /// What hooks have done so far, a line for each.
    pub fn hooks(&self, filesystem: &DatasetPath, lines: String, had_error: bool) {
        self.update(filesystem, |filesystem| {
            filesystem.hooks = lines;
            filesystem.hooks_had_error = had_error;
        });
    }

    /// The filesystem's turn is over: there is a snapshot and hooks went well, or not.
    pub fn ended(&self, filesystem: &DatasetPath, well: bool, now: Timestamp) {
        self.update(filesystem, |filesystem| {
            filesystem.state = if well {
                FilesystemState::SnapDone
            } else {
                FilesystemState::SnapError
            };
            filesystem.done_at = Some(now);
        });
    }

    /// Are the filesystems of the round known?
    pub fn is_planned(&self) -> bool {
        self.filesystems().is_some()
    }

    /// How far it is now; nothing before the filesystems are known.
    pub fn now(&self) -> Option<Vec<Filesystem>> {
        self.filesystems().clone()
    }

    /// A filesystem that is not part of the round is nobody's business.
    fn update(&self, path: &DatasetPath, change: impl FnOnce(&mut Filesystem)) {
        let mut filesystems = self.filesystems();
        let Some(filesystems) = filesystems.as_mut() else {
            return;
        };
        let place = filesystems.binary_search_by(|it| it.path.as_str().cmp(path.as_str()));
        if let Ok(index) = place {
            change(&mut filesystems[index]);
        }
    }

    fn filesystems(&self) -> MutexGuard<'_, Option<Vec<Filesystem>>> {
        // Whole at any time, also where somebody panicked.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> DatasetPath {
        DatasetPath::new(text).expect(text)
    }

    #[test]
    fn filesystems_go_from_pending_to_done_or_failed() {
        use FilesystemState as S;
        let progress = Progress::default();
        progress.started(&path("p"), "too_early", Timestamp::UNIX_EPOCH);
        assert!(progress.now().is_none() && !progress.is_planned());

        progress.planned(&[path("p/b"), path("p"), path("p/a"), path("p")]);
        let states = || {
            let filesystems = progress.now().expect("planned").into_iter();
            filesystems
                .map(|it| (it.path, it.state))
                .collect::<Vec<_>>()
        };
        let expect = |states: [S; 3]| -> Vec<_> {
            let paths = ["p", "p/a", "p/b"].map(str::to_owned);
            paths.into_iter().zip(states).collect()
        };
        assert_eq!(states(), expect([S::SnapPending; 3]));

        let (one, two) = (Timestamp::constant(1, 0), Timestamp::constant(2, 0));
        progress.started(&path("p/a"), "x_1", one);
        progress.started(&path("p/c"), "x_1", one);
        progress.hooks(&path("p/a"), "1 error".to_owned(), true);
        progress.started(&path("p"), "x_1", one);
        progress.ended(&path("p/a"), false, two);
        assert_eq!(
            states(),
            expect([S::SnapStarted, S::SnapError, S::SnapPending])
        );
        progress.ended(&path("p"), true, two);
        assert_eq!(
            states(),
            expect([S::SnapDone, S::SnapError, S::SnapPending])
        );
        assert_eq!(
            progress.clone().now().expect("planned")[1],
            Filesystem {
                path: "p/a".to_owned(),
                state: S::SnapError,
                snap_name: "x_1".to_owned(),
                start_at: Some(one),
                hooks: "1 error".to_owned(),
                hooks_had_error: true,
                done_at: Some(two),
            }
        );
    }
}
