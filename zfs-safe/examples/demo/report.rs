//! What the demo prints: numbered steps, each with what happened and a figure.

use std::error::Error;
use std::fmt::Display;
use std::time::Duration;

/// Columns of a line; the figure ends at the last one.
const WIDTH: usize = 84;

/// The steps so far.
#[derive(Debug, Default)]
pub(crate) struct Report {
    number: u32,
    step: &'static str,
    has_lines: bool,
}

impl Report {
    /// The next step begins. Nothing is printed before its first line.
    pub(crate) fn step(&mut self, name: &'static str) {
        self.number += 1;
        self.step = name;
        self.has_lines = false;
    }

    /// Something has happened in this step.
    pub(crate) fn line(&mut self, text: impl Display, figure: impl Display) {
        let (text, figure) = (text.to_string(), figure.to_string());
        let head = if self.has_lines {
            String::new()
        } else {
            format!("{:>2}  {}", self.number, self.step)
        };
        let line = format!("{head:<14}{text}");
        let room = WIDTH.saturating_sub(figure.chars().count());
        println!("{}", format!("{line:<room$}{figure}").trim_end());
        self.has_lines = true;
    }

    /// The step has failed.
    pub(crate) fn failure(&self, error: &dyn Error) {
        eprint!("demo: step {} ({}) failed: {error}", self.number, self.step);
        let mut cause = error.source();
        while let Some(error) = cause {
            eprint!(": {error}");
            cause = error.source();
        }
        eprintln!();
    }
}

#[expect(clippy::cast_precision_loss, reason = "shown with two digits")]
pub(crate) fn mebibytes(bytes: u64) -> String {
    format!("{:.2} MiB", bytes as f64 / f64::from(1 << 20))
}

pub(crate) fn milliseconds(duration: Duration) -> String {
    format!("{} ms", duration.as_millis())
}
