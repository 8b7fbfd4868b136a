//! What a run has reported, read from the JSON that zrepl's status shows.

use serde::Deserialize;
use zrepl_daemon::replication::driver::Ending;
use zrepl_daemon::replication::report::LiveReport;

#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) ending: Ending,
    pub(crate) attempts: Vec<Attempt>,
    root: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Report {
    attempts: Option<Vec<Attempt>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Attempt {
    pub(crate) state: String,
    pub(crate) plan_error: Option<TimedError>,
    filesystems: Option<Vec<Filesystem>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Filesystem {
    info: FilesystemInfo,
    pub(crate) state: String,
    pub(crate) plan_error: Option<TimedError>,
    pub(crate) step_error: Option<TimedError>,
    pub(crate) current_step: usize,
    steps: Option<Vec<Step>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct FilesystemInfo {
    name: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Step {
    info: StepInfo,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct StepInfo {
    pub(crate) from: String,
    pub(crate) to: String,
    pub(crate) resumed: bool,
    pub(crate) bytes_replicated: u64,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct TimedError {
    pub(crate) err: String,
}

impl Run {
    pub(crate) fn new(ending: Ending, report: &LiveReport, root: &str) -> Self {
        let json = serde_json::to_value(report.now()).expect("a report can be written");
        let report = Report::deserialize(&json)
            .unwrap_or_else(|error| panic!("not a report of zrepl ({error}): {json:#}"));
        Self {
            ending,
            attempts: report.attempts.unwrap_or_default(),
            root: root.to_owned(),
        }
    }

    /// The last attempt.
    pub(crate) fn last(&self) -> &Attempt {
        self.attempts.last().expect("an attempt was made")
    }

    /// What the last attempt says of a filesystem.
    pub(crate) fn filesystem(&self, name: &str) -> &Filesystem {
        self.absolute(&format!("{}/{name}", self.root))
    }

    /// The same for a full name.
    pub(crate) fn absolute(&self, name: &str) -> &Filesystem {
        let mut filesystems = self.last().filesystems().iter();
        filesystems
            .find(|it| it.info.name == name)
            .unwrap_or_else(|| panic!("{name} is not in the report: {:?}", self.last()))
    }

    /// Demands that everything has been replicated.
    #[track_caller]
    pub(crate) fn assert_done(&self) {
        let last = self.last();
        let all = last.filesystems().iter();
        assert!(
            last.state == "done"
                && last.plan_error.is_none()
                && all.clone().all(|it| it.state == "done")
                && self.ending.failed_filesystems == Some(0),
            "not done: {:?}, {:?}, {:?}",
            last.state,
            last.plan_error,
            all.map(|it| (&it.state, it.error())).collect::<Vec<_>>()
        );
    }
}

impl Attempt {
    pub(crate) fn filesystems(&self) -> &[Filesystem] {
        self.filesystems.as_deref().unwrap_or_default()
    }
}

impl Filesystem {
    pub(crate) fn name(&self) -> &str {
        &self.info.name
    }

    pub(crate) fn steps(&self) -> Vec<&StepInfo> {
        self.steps.iter().flatten().map(|step| &step.info).collect()
    }

    /// Names of the ends of the steps.
    pub(crate) fn path(&self) -> Vec<(&str, &str)> {
        let steps = self.steps.iter().flatten();
        steps.map(|it| (&*it.info.from, &*it.info.to)).collect()
    }

    /// Why it could not be planned or replicated; empty if it could.
    pub(crate) fn error(&self) -> &str {
        let error = self.plan_error.as_ref().or(self.step_error.as_ref());
        error.map_or("", |error| &error.err)
    }

    /// Demands that planning failed for a reason that has this text.
    #[track_caller]
    pub(crate) fn assert_plan_error(&self, text: &str) {
        assert!(
            self.state == "planning-error"
                && self.step_error.is_none()
                && self.error().contains(text),
            "not a planning error {text:?}: {} {:?}",
            self.state,
            self.error()
        );
    }

    /// Demands that a step failed for a reason that has this text.
    #[track_caller]
    pub(crate) fn assert_step_error(&self, text: &str) {
        assert!(
            self.state == "step-error" && self.plan_error.is_none() && self.error().contains(text),
            "not a step error {text:?}: {} {:?}",
            self.state,
            self.error()
        );
    }
}
