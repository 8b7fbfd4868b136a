//! The conformance suite of `zfs-safe`: the same tests against every backend and OpenZFS version. The suite is a program
//! of that crate; this runs it in the guest, passes its lines on and counts.

use std::time::Duration;

use anyhow::{Result, bail};

use super::{Bench, SuiteOutcome};
use crate::guest::Stream;
use crate::machine::Machine;
use crate::summary::{Lines, Totals};

pub(super) const NAME: &str = "conformance";

/// All tests of the suite together, under emulation on a loaded host.
const LIMIT: Duration = Duration::from_secs(40 * 60);

/// One test of it.
const SILENCE: Duration = Duration::from_secs(6 * 60);

pub(super) fn conformance(bench: &Bench<'_>, machine: &Machine) -> Result<SuiteOutcome> {
    if bench.suite.is_none() {
        bench.say("conformance ... skipped: zfs-safe has no test target `conformance`");
        return Ok(SuiteOutcome {
            totals: Totals::ONE_SKIPPED,
            failed: Vec::new(),
        });
    }
    let mut argv = machine.host_program(NAME);
    argv.extend(bench.suite_arguments.iter().cloned());
    let mut report = Report::default();
    let mut stdout = Lines::default();
    let mut stderr = Lines::default();
    let ended = machine
        .guest()
        .command(argv)
        .env("RUST_BACKTRACE", "1")
        .limit(LIMIT)
        .silence(SILENCE)
        .run_with(|stream, bytes| match stream {
            Stream::Stdout => stdout.push(bytes, |line| {
                bench.say(line);
                report.line(line);
            }),
            Stream::Stderr => stderr.push(bytes, |line| bench.say(line)),
        });
    stdout.finish(|line| {
        bench.say(line);
        report.line(line);
    });
    stderr.finish(|line| bench.say(line));
    match ended {
        Ok(output) => {
            let (totals, complaint) = report.judge(output.status());
            if let Some(complaint) = complaint {
                bench.say(&complaint);
            }
            Ok(SuiteOutcome {
                totals,
                failed: report.failed,
            })
        }
        Err(error) if report.counted == Totals::default() => bail!(error),
        Err(error) => {
            // What had passed before the guest died or hung did pass.
            bench.say(&format!("conformance ... FAILED\n{error:#}"));
            let mut totals = report.counted;
            totals += Totals::ONE_FAILED;
            Ok(SuiteOutcome {
                totals,
                failed: report.failed,
            })
        }
    }
}

/// What the suite's lines add up to, and what it says itself.
#[derive(Debug, Default)]
struct Report {
    counted: Totals,
    said: Option<Totals>,
    failed: Vec<String>,
}

impl Report {
    fn line(&mut self, line: &str) {
        if let Some(totals) = Totals::parse(line) {
            self.said = Some(totals);
        } else if let Some((name, result)) = line
            .strip_prefix("test ")
            .and_then(|test| test.split_once(" ... "))
        {
            // A time may follow.
            match result.split([' ', ':']).next() {
                Some("ok") => self.counted += Totals::ONE_PASSED,
                Some("FAILED") => {
                    self.counted += Totals::ONE_FAILED;
                    self.failed.push(name.to_owned());
                }
                Some("skipped") => self.counted += Totals::ONE_SKIPPED,
                _ => {}
            }
        }
    }

    /// A suite that died, or that contradicts itself, has failed whatever its lines say.
    fn judge(&self, status: u8) -> (Totals, Option<String>) {
        let mut totals = self.said.unwrap_or(self.counted);
        let complaint = match (self.said, status) {
            (None, _) => Some(format!(
                "conformance ended with status {status} and without its last line"
            )),
            (Some(said), 0) if said.failed > 0 => {
                Some("conformance has failures and status 0".to_owned())
            }
            (Some(said), _) if status != 0 && said.failed == 0 => {
                Some(format!("conformance has no failures and status {status}"))
            }
            _ => None,
        };
        if complaint.is_some() && totals.failed == 0 {
            totals += Totals::ONE_FAILED;
        }
        (totals, complaint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(lines: &[&str]) -> Report {
        let mut report = Report::default();
        for line in lines {
            report.line(line);
        }
        report
    }

    #[test]
    fn believes_the_last_line() {
        let report = report(&[
            "test a ... ok (0.1 s)",
            "test b ... skipped: no TLS",
            "1 passed, 0 failed, 1 skipped",
        ]);
        let (totals, complaint) = report.judge(0);
        assert_eq!(totals.to_string(), "1 passed, 0 failed, 1 skipped");
        assert_eq!(totals, report.counted);
        assert_eq!(complaint, None);
    }

    #[test]
    fn a_suite_that_dies_has_failed() {
        let report = report(&["test a ... ok", "test b ... FAILED"]);
        assert_eq!(report.failed, ["b"]);
        assert_eq!(
            report.judge(101).0.to_string(),
            "1 passed, 1 failed, 0 skipped"
        );
        let report = self::report(&["test a ... ok"]);
        assert_eq!(
            report.judge(134).0.to_string(),
            "1 passed, 1 failed, 0 skipped"
        );
    }

    #[test]
    fn a_suite_that_contradicts_itself_has_failed() {
        let report = report(&["1 passed, 0 failed, 0 skipped"]);
        let (totals, complaint) = report.judge(1);
        assert_eq!(totals.failed, 1);
        assert!(complaint.is_some());
    }
}
