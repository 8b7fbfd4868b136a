//! Counting what ran, and reading such counts from what test programs print.

use std::fmt;
use std::ops::AddAssign;

/// The last line of every run.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Totals {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) skipped: u64,
}

impl Totals {
    pub(crate) const ONE_PASSED: Self = Self {
        passed: 1,
        failed: 0,
        skipped: 0,
    };

    pub(crate) const ONE_FAILED: Self = Self {
        passed: 0,
        failed: 1,
        skipped: 0,
    };

    pub(crate) const ONE_SKIPPED: Self = Self {
        passed: 0,
        failed: 0,
        skipped: 1,
    };

    /// `N passed, N failed, N skipped`, as the conformance suite and this harness end.
    pub(crate) fn parse(line: &str) -> Option<Self> {
        let mut totals = Self::default();
        let mut seen = 0;
        for (part, name) in line.trim().split(", ").zip(["passed", "failed", "skipped"]) {
            let number = part.strip_suffix(name)?.trim_end().parse().ok()?;
            match name {
                "passed" => totals.passed = number,
                "failed" => totals.failed = number,
                _ => totals.skipped = number,
            }
            seen += 1;
        }
        (seen == 3).then_some(totals)
    }

    /// libtest's `test result: ok. N passed; N failed; N ignored; …`.
    pub(crate) fn parse_libtest(line: &str) -> Option<Self> {
        let counts = line
            .trim()
            .strip_prefix("test result: ")?
            .split_once(". ")?
            .1;
        let mut totals = Self::default();
        for part in counts.split("; ") {
            let Some((number, name)) = part.split_once(' ') else {
                continue;
            };
            match name {
                "passed" => totals.passed = number.parse().ok()?,
                "failed" => totals.failed = number.parse().ok()?,
                "ignored" => totals.skipped = number.parse().ok()?,
                _ => {}
            }
        }
        Some(totals)
    }
}

impl AddAssign for Totals {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} passed, {} failed, {} skipped",
            self.passed, self.failed, self.skipped
        )
    }
}

/// Cuts a stream of bytes into lines, whatever pieces it arrives in.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    partial: Vec<u8>,
}

impl Lines {
    pub(crate) fn push(&mut self, bytes: &[u8], mut line: impl FnMut(&str)) {
        self.partial.extend_from_slice(bytes);
        while let Some(end) = self.partial.iter().position(|byte| *byte == b'\n') {
            let rest = self.partial.split_off(end + 1);
            line(String::from_utf8_lossy(&self.partial).trim_end_matches(['\n', '\r']));
            self.partial = rest;
        }
    }

    /// Whatever came after the last newline.
    pub(crate) fn finish(self, mut line: impl FnMut(&str)) {
        if !self.partial.is_empty() {
            line(&String::from_utf8_lossy(&self.partial));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes() {
        let totals = Totals {
            passed: 3,
            failed: 1,
            skipped: 12,
        };
        assert_eq!(Totals::parse(&totals.to_string()), Some(totals));
    }

    #[test]
    fn takes_no_other_line_for_totals() {
        for line in [
            "3 passed, 1 failed",
            "test a ... ok",
            "x passed, 0 failed, 0 skipped",
            "",
        ] {
            assert_eq!(Totals::parse(line), None, "{line}");
            assert_eq!(Totals::parse_libtest(line), None, "{line}");
        }
    }

    #[test]
    fn reads_libtest() {
        let line = "test result: FAILED. 20 passed; 2 failed; 1 ignored; 0 measured; 7 filtered out; finished in 0.01s";
        assert_eq!(
            Totals::parse_libtest(line),
            Some(Totals {
                passed: 20,
                failed: 2,
                skipped: 1
            })
        );
    }

    #[test]
    fn joins_lines_from_pieces() {
        let mut lines = Lines::default();
        let mut seen = Vec::new();
        for piece in ["te", "st a\r\ntest", " b\n", "end"] {
            lines.push(piece.as_bytes(), |line| seen.push(line.to_owned()));
        }
        lines.finish(|line| seen.push(line.to_owned()));
        assert_eq!(seen, ["test a", "test b", "end"]);
    }
}
