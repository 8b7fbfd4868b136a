//! What two datasets trees have, by zfs(8): snapshots, bookmarks, holds and partial receives. What a finished round leaves is
//! exact, so more than expected is as wrong as less.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::guest::Guest;

/// One dataset.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Dataset {
    /// Name and guid, oldest first.
    pub(super) snapshots: Vec<(String, u64)>,
    pub(super) bookmarks: Vec<String>,
    /// Name of the snapshot, tag.
    pub(super) holds: Vec<(String, String)>,
    pub(super) has_resume_token: bool,
}

/// A tree of datasets by their path below its root; the root itself is the empty path.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Tree(pub(super) BTreeMap<String, Dataset>);

impl Tree {
    /// A root that does not exist is a tree without datasets.
    pub(super) fn read(guest: &Guest, root: &str) -> Result<Self> {
        let output = guest
            .script(&format!(
                "zfs list -H -o name {root} >/dev/null 2>&1 || exit 0
                 zfs get -Hpr -t filesystem,volume -o name,value receive_resume_token {root} | sed 's/^/D\t/'
                 zfs list -Hpr -t bookmark -o name,guid {root} | sed 's/^/V\t/'
                 zfs list -Hpr -t snapshot -s createtxg -o name,guid {root} >/tmp/snapshots
                 sed 's/^/V\t/' /tmp/snapshots
                 if [ -s /tmp/snapshots ]; then
                     zfs holds -H $(cut -f 1 /tmp/snapshots) | sed 's/^/H\t/'
                 fi"
            ))?
            .ok()?;
        Self::parse(root, &output.text())
    }

    fn parse(root: &str, text: &str) -> Result<Self> {
        let mut tree = Self::default();
        for line in text.lines() {
            let columns: Vec<&str> = line.split('\t').collect();
            let [kind, name, value, ..] = columns[..] else {
                anyhow::bail!("not three columns: {line:?}");
            };
            let (dataset, version) = match name.find(['@', '#']) {
                Some(at) => name.split_at(at),
                None => (name, ""),
            };
            let path = dataset
                .strip_prefix(root)
                .with_context(|| format!("{dataset} is not below {root}"))?
                .trim_start_matches('/');
            let dataset = tree.0.entry(path.to_owned()).or_default();
            match (kind, version.chars().next()) {
                ("D", None) => dataset.has_resume_token = !value.is_empty() && value != "-",
                ("V", Some('@')) => {
                    let guid = value
                        .parse()
                        .with_context(|| format!("no guid: {line:?}"))?;
                    dataset.snapshots.push((version.to_owned(), guid));
                }
                ("V", Some('#')) => dataset.bookmarks.push(version.to_owned()),
                ("H", Some('@')) => dataset.holds.push((version.to_owned(), value.to_owned())),
                _ => anyhow::bail!("not understood: {line:?}"),
            }
        }
        Ok(tree)
    }

    pub(super) fn dataset(&self, path: &str) -> Result<&Dataset> {
        self.0
            .get(path)
            .with_context(|| format!("there is no {path:?}: {self:?}"))
    }

    /// How far a round has come: snapshots, and partial receives.
    pub(super) fn arrived(&self) -> (usize, usize) {
        let snapshots = self.0.values().map(|dataset| dataset.snapshots.len()).sum();
        let partial = self
            .0
            .values()
            .filter(|dataset| dataset.has_resume_token)
            .count();
        (snapshots, partial)
    }
}

/// How long the marks may stay that nobody needs any more. A daemon lets them gather for a second before it removes them.
const SETTLED_WITHIN: Duration = Duration::from_secs(15);

/// Checks again and again until all is well, as long as marks that are to go may take.
pub(super) fn settles(check: impl Fn() -> Result<()>) -> Result<()> {
    let deadline = Instant::now() + SETTLED_WITHIN;
    loop {
        let checked = check();
        if checked.is_ok() || Instant::now() > deadline {
            return checked;
        }
        thread::sleep(Duration::from_millis(500));
    }
}

/// The marks of a job that has replicated everything: on the sender the cursor at the newest snapshot, on the receiver the hold on
/// it, and nothing else. `paths` are the datasets that were replicated.
pub(super) fn ensure_converged(
    sender: &Tree,
    receiver: &Tree,
    paths: &[&str],
    push: &str,
    sink: &str,
) -> Result<()> {
    for path in paths {
        let (ours, theirs) = (sender.dataset(path)?, receiver.dataset(path)?);
        ensure!(
            ours.snapshots == theirs.snapshots && !ours.snapshots.is_empty(),
            "{path}: snapshots differ:\nsender   {:?}\nreceiver {:?}",
            ours.snapshots,
            theirs.snapshots
        );
        let (newest, guid) = ours.snapshots.last().context("no snapshot")?;
        let cursor = format!("#zrepl_CURSOR_G_{guid:016x}_J_{push}");
        ensure!(
            ours.bookmarks == [cursor.clone()],
            "{path}: bookmarks on the sender are {:?}, not only {cursor}",
            ours.bookmarks
        );
        ensure!(
            ours.holds.is_empty(),
            "{path}: holds on the sender: {:?}",
            ours.holds
        );
        let hold = (newest.clone(), format!("zrepl_last_received_J_{sink}"));
        ensure!(
            theirs.holds == [hold.clone()],
            "{path}: holds on the receiver are {:?}, not only {hold:?}",
            theirs.holds
        );
        ensure!(
            theirs.bookmarks.is_empty() && !theirs.has_resume_token,
            "{path}: left on the receiver: {theirs:?}"
        );
    }
    for (path, dataset) in &receiver.0 {
        let expected = paths.contains(&path.as_str());
        ensure!(
            expected || *dataset == Dataset::default(),
            "{path} is not replicated, but the receiver has {dataset:?}"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SENDER: &str = "D\ttank/t\t-
D\ttank/t/a\t-
V\ttank/t/a#zrepl_CURSOR_G_0000000000000010_J_push\t16
V\ttank/t/a@1\t15
V\ttank/t/a@2\t16";

    const RECEIVER: &str = "D\tb/t\t-
D\tb/t/a\t-
V\tb/t/a@1\t15
V\tb/t/a@2\t16
H\tb/t/a@2\tzrepl_last_received_J_sink\tSat Nov 21 21:12 2026";

    fn check(sender: &str, receiver: &str) -> Result<()> {
        ensure_converged(
            &Tree::parse("tank/t", sender)?,
            &Tree::parse("b/t", receiver)?,
            &["a"],
            "push",
            "sink",
        )
    }

    #[test]
    fn a_finished_round_leaves_one_mark_on_either_side() {
        check(SENDER, RECEIVER).expect("converged");
    }

    #[test]
    fn anything_more_or_less_is_noticed() {
        let with = |more: &str| format!("{SENDER}\n{more}");
        let cases = [
            (with("V\ttank/t/a@3\t17"), RECEIVER.to_owned()),
            (
                with("H\ttank/t/a@2\tzrepl_STEP_J_push\t-"),
                RECEIVER.to_owned(),
            ),
            (
                with("V\ttank/t/a#zrepl_CURSORTENTATIVE__G_000000000000000f_J_push\t15"),
                RECEIVER.to_owned(),
            ),
            (SENDER.replace("0010", "000f"), RECEIVER.to_owned()),
            (
                SENDER.to_owned(),
                RECEIVER.replace("D\tb/t/a\t-", "D\tb/t/a\t1-abc"),
            ),
            (
                SENDER.to_owned(),
                RECEIVER.replace("H\tb/t/a@2", "H\tb/t/a@1"),
            ),
            (
                SENDER.to_owned(),
                format!("{RECEIVER}\nH\tb/t/a@1\tzrepl_last_received_J_sink\t-"),
            ),
            (SENDER.to_owned(), RECEIVER.replace("@2\t16", "@2\t17")),
            (SENDER.to_owned(), format!("{RECEIVER}\nV\tb/t/other@1\t4")),
            (String::new(), String::new()),
        ];
        for (sender, receiver) in cases {
            assert!(check(&sender, &receiver).is_err(), "{sender}\n{receiver}");
        }
    }
}
