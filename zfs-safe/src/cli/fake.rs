//! A zfs(8) and zpool(8) made of shell: for what real ones do rarely.

use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::Arc;

use tempfile::TempDir;

use super::{Cli, Tools};
use crate::counters::Counters;
use crate::property::{Dialect, Platform, ZfsVersion};

/// Tools that run a script, and what they were called with.
pub(super) struct Fake {
    pub(super) cli: Cli,
    directory: TempDir,
}

impl Fake {
    /// Both tools run `script` with their arguments; `$tool` is `zfs` or `zpool`.
    pub(super) fn new(script: &str) -> Self {
        let directory = tempfile::tempdir().expect("temporary directory");
        let tools = ["zfs", "zpool"].map(|tool| {
            let path = directory.path().join(tool);
            let calls = directory.path().join("calls");
            let text = format!(
                "#!/bin/sh\ntool={tool}\necho \"$tool $*\" >>'{}'\n{script}\n",
                calls.display()
            );
            // Written by another process: if we had it open for writing, a child started meanwhile by another test would
            // have it too, and running it would fail as busy.
            let mut writer = Command::new("sh")
                .args(["-c", "cat >\"$1\" && chmod 755 \"$1\"", "sh"])
                .arg(&path)
                .stdin(Stdio::piped())
                .spawn()
                .expect("sh starts");
            writer
                .stdin
                .take()
                .expect("is piped")
                .write_all(text.as_bytes())
                .expect("writes");
            assert!(writer.wait().expect("ends").success());
            path
        });
        let [zfs, zpool] = tools;
        let version = ZfsVersion::new(2, 3, 9);
        let cli = Cli {
            tools: Tools { zfs, zpool },
            counters: Arc::new(Counters::default()),
            tool_version: version,
            dialect: Dialect {
                version,
                platform: Platform::Linux,
            },
        };
        Self { cli, directory }
    }

    /// Commands that were run, without what all of their kind have in common.
    pub(super) fn calls(&self) -> Vec<String> {
        let calls =
            std::fs::read_to_string(self.directory.path().join("calls")).unwrap_or_default();
        calls.lines().map(str::to_owned).collect()
    }
}
