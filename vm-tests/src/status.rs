//! What a daemon says of itself: the JSON of `zrepl status --mode raw`, as far as scenarios ask for it. The shape is that of
//! zrepl 0.7.0.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::{Context, Result};
use serde_json::Value;

/// How zrepl writes that something has not happened.
const NEVER: &str = "0001-01-01T00:00:00Z";

/// Everything the daemon says.
#[derive(Clone, Debug)]
pub(crate) struct Status(Value);

impl Status {
    pub(crate) fn parse(text: &[u8]) -> Result<Self> {
        serde_json::from_slice(text)
            .map(Self)
            .with_context(|| format!("no status: {}", String::from_utf8_lossy(text)))
    }

    /// The latest run of a push or pull job; `None` before its first.
    pub(crate) fn run(&self, job: &str) -> Option<Run> {
        let job = &self.0["Jobs"][job];
        let replication = &job[job["type"].as_str()?]["Replication"];
        (!replication.is_null()).then(|| Run(replication.clone()))
    }
}

/// How a pruner stands.
#[derive(Clone, Debug)]
pub(crate) struct Pruning {
    /// Empty before its first run.
    pub(crate) state: String,
    /// Of the filesystems that have one.
    pub(crate) errors: BTreeMap<String, String>,
}

impl Status {
    /// How one of a job's pruners stands, by its name in the status.
    pub(crate) fn pruning(&self, job: &str, pruner: &str) -> Pruning {
        let pruning = &self.of_kind(job)[pruner];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let all = [&pruning["Pending"], &pruning["Completed"]].map(Value::as_array);
        let filesystems = all.into_iter().flatten().flatten();
        let errors = filesystems.map(|it| (text(&it["Filesystem"]), text(&it["LastError"])));
        Pruning {
            state: text(&pruning["State"]),
            errors: errors.filter(|(_, error)| !error.is_empty()).collect(),
        }
    }

    /// What went wrong with the last round of snapshots at fixed intervals.
    pub(crate) fn snapshotting_error(&self, job: &str) -> String {
        let error = &self.of_kind(job)["Snapshotting"]["Periodic"]["Error"];
        error.as_str().unwrap_or_default().to_owned()
    }

    fn of_kind(&self, job: &str) -> &Value {
        let job = &self.0["Jobs"][job];
        job["type"].as_str().map_or(&Value::Null, |kind| &job[kind])
    }
}

impl Pruning {
    pub(crate) fn is_over(&self) -> bool {
        ["Done", "ExecErr", "PlanErr"].contains(&self.state.as_str())
    }
}

/// One run of a replication: its attempts, and what became of each filesystem in the last of them.
#[derive(Clone, Debug)]
pub(crate) struct Run(Value);

impl Run {
    /// Tells runs apart.
    pub(crate) fn started(&self) -> &str {
        self.0["StartAt"].as_str().unwrap_or_default()
    }

    pub(crate) fn is_over(&self) -> bool {
        let finished = &self.0["FinishAt"];
        // zrepl 0.7.0 never sets it.
        let done = self.attempt()["State"] == "done";
        done || finished.as_str().is_some_and(|time| time != NEVER)
    }

    pub(crate) fn is_done(&self) -> bool {
        self.is_over() && self.attempt()["State"] == "done"
    }

    /// Whether the latest attempt has failed, and the run goes on.
    pub(crate) fn is_interrupted(&self) -> bool {
        let ended = self.attempt()["FinishAt"].as_str();
        !self.is_over() && ended.is_some_and(|time| time != NEVER)
    }

    /// Seconds from the start of the run to the end of its last attempt.
    pub(crate) fn seconds(&self) -> Result<f64> {
        let end = [&self.0["FinishAt"], &self.attempt()["FinishAt"]]
            .into_iter()
            .filter_map(Value::as_str)
            .find(|time| *time != NEVER)
            .context("the run has no end")?;
        let between = second_of_day(end)? - second_of_day(self.started())?;
        Ok(between.rem_euclid(86400.0))
    }

    pub(crate) fn attempts(&self) -> &[Value] {
        self.0["Attempts"].as_array().map_or(&[], Vec::as_slice)
    }

    fn attempt(&self) -> &Value {
        self.attempts().last().unwrap_or(&Value::Null)
    }

    /// The filesystems of the last attempt.
    pub(crate) fn filesystems(&self) -> Vec<Filesystem> {
        filesystems(self.attempt())
    }

    pub(crate) fn filesystem(&self, name: &str) -> Option<Filesystem> {
        self.filesystems()
            .into_iter()
            .find(|filesystem| filesystem.name == name)
    }

    /// The steps of all attempts, with the filesystem that they belong to.
    pub(crate) fn steps(&self) -> Vec<(String, Step)> {
        self.attempts()
            .iter()
            .flat_map(filesystems)
            .flat_map(|filesystem| {
                let name = filesystem.name;
                filesystem
                    .steps
                    .into_iter()
                    .map(move |step| (name.clone(), step))
            })
            .collect()
    }

    /// Bytes of streams, of all attempts.
    pub(crate) fn bytes(&self) -> u64 {
        self.steps().iter().map(|(_, step)| step.replicated).sum()
    }

    /// All that went wrong in the last attempt, a line each; empty if nothing did.
    pub(crate) fn problems(&self) -> String {
        let mut lines = String::new();
        let whole = [&self.attempt()["PlanError"], &self.0["WaitReconnectError"]];
        for text in whole.into_iter().filter_map(error_text) {
            writeln!(lines, "{text}").ok();
        }
        for filesystem in self.filesystems() {
            if let Some(error) = filesystem.error {
                writeln!(lines, "{}: {error}", filesystem.name).ok();
            }
        }
        lines
    }
}

/// One filesystem in one attempt.
#[derive(Clone, Debug)]
pub(crate) struct Filesystem {
    pub(crate) name: String,
    /// Why it was not planned, or why its step failed.
    pub(crate) error: Option<String>,
    pub(crate) steps: Vec<Step>,
}

/// One step of a filesystem.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    /// With `@` or `#` in front; empty for a full send.
    pub(crate) from: String,
    pub(crate) to: String,
    pub(crate) resumed: bool,
    pub(crate) expected: u64,
    pub(crate) replicated: u64,
    /// Whether it was done, as far as the report goes.
    pub(crate) done: bool,
}

fn filesystems(attempt: &Value) -> Vec<Filesystem> {
    let all = attempt["Filesystems"].as_array();
    all.into_iter()
        .flatten()
        .map(|filesystem| (filesystem, filesystem["CurrentStep"].as_u64().unwrap_or(0)))
        .map(|(filesystem, current)| Filesystem {
            name: text(&filesystem["Info"]["Name"]),
            error: error_text(&filesystem["PlanError"])
                .or_else(|| error_text(&filesystem["StepError"])),
            steps: filesystem["Steps"]
                .as_array()
                .into_iter()
                .flatten()
                .zip(0..)
                .map(|(step, index)| Step {
                    done: index < current,
                    from: text(&step["Info"]["From"]),
                    to: text(&step["Info"]["To"]),
                    resumed: step["Info"]["Resumed"] == true,
                    expected: step["Info"]["BytesExpected"].as_u64().unwrap_or(0),
                    replicated: step["Info"]["BytesReplicated"].as_u64().unwrap_or(0),
                })
                .collect(),
        })
        .collect()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// The text of an error with its time; `None` where there is no error.
fn error_text(error: &Value) -> Option<String> {
    error["Err"].as_str().map(str::to_owned)
}

/// Of a time such as `2026-11-21T02:46:31.352497354Z`. Two of them may be on different days, but less than one apart.
fn second_of_day(time: &str) -> Result<f64> {
    let parsed = || {
        let (_, clock) = time.split_once('T')?;
        let end = clock.find(['Z', '+', '-']).unwrap_or(clock.len());
        let mut parts = clock[..end].split(':').map(str::parse::<f64>);
        let mut next = || parts.next()?.ok();
        Some(next()? * 3600.0 + next()? * 60.0 + next()?)
    };
    parsed().with_context(|| format!("{time:?} is no time"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUN: &str = r#"{"Jobs": {
      "_control": {"type": "internal", "internal": null},
      "idle": {"type": "pull", "pull": {"Replication": null}},
      "busy": {"type": "push", "push": {"Replication": {
        "StartAt": "2026-11-21T23:59:58.5Z", "FinishAt": "0001-01-01T00:00:00Z",
        "WaitReconnectError": null,
        "Attempts": [
          {"State": "filesystem-error", "FinishAt": "2026-11-21T23:59:59Z", "PlanError": null, "Filesystems": [
            {"Info": {"Name": "a"}, "State": "step-error", "PlanError": null,
             "StepError": {"Err": "cut", "Time": "2026-11-21T23:59:59Z"}, "CurrentStep": 0,
             "Steps": [{"Info": {"From": "", "To": "@1", "Resumed": false, "BytesExpected": 9, "BytesReplicated": 4}}]}]},
          {"State": "STATE", "FinishAt": "2026-11-22T00:00:01Z", "PlanError": null, "Filesystems": [
            {"Info": {"Name": "a"}, "State": "done", "PlanError": null, "StepError": null, "CurrentStep": 1,
             "Steps": [{"Info": {"From": "", "To": "@1", "Resumed": true, "BytesExpected": 5, "BytesReplicated": 5}}]}]}]}}}}}"#;

    fn run(state: &str) -> Run {
        Status::parse(RUN.replace("STATE", state).as_bytes())
            .expect("JSON")
            .run("busy")
            .expect("a run")
    }

    #[test]
    fn a_run_is_over_when_its_last_attempt_is_done() {
        let done = run("done");
        assert!(done.is_over() && done.is_done());
        let failed = run("filesystem-error");
        assert!(!failed.is_over() && failed.is_interrupted() && !done.is_interrupted());
        assert!((done.seconds().expect("both times") - 2.5).abs() < 1e-6);
        assert_eq!(done.problems(), "");
    }

    #[test]
    fn steps_of_all_attempts_count() {
        let run = run("done");
        assert_eq!(run.bytes(), 9);
        let done: Vec<bool> = run.steps().iter().map(|(_, step)| step.done).collect();
        assert_eq!(done, [false, true]);
        let resumed: Vec<bool> = run.steps().iter().map(|(_, step)| step.resumed).collect();
        assert_eq!(resumed, [false, true]);
        let last = run.filesystem("a").expect("listed");
        assert!(last.error.is_none());
        assert_eq!(
            filesystems(&run.attempts()[0])[0].error.as_deref(),
            Some("cut")
        );
    }

    #[test]
    fn jobs_without_a_run_have_none() {
        let status = Status::parse(RUN.as_bytes()).expect("JSON");
        assert!(status.run("idle").is_none());
        assert!(status.run("_control").is_none());
        assert!(status.run("unknown").is_none());
    }
}
