//! How the hooks of one snapshot stand, for the status: the columns of zrepl 0.7.0, which command lines show as they are.

use std::time::{Duration, Instant};

use super::plan::{Plan, Status, Step};
use crate::go_duration::GoDuration;

/// A line for each part: number, status, time, and what it said. All columns but the last are padded.
pub(super) fn table(plan: &Plan, now: Instant) -> String {
    let rows: Vec<[String; 4]> = (1..)
        .zip(plan.steps())
        .map(|(number, step)| {
            // What is shown is one line.
            let report = step.report.as_deref().unwrap_or_default();
            [
                number.to_string(),
                step.status.to_string(),
                time(step, now),
                report.replace(['\n', '\r'], " "),
            ]
        })
        .collect();
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let widths = [width(0), width(1), width(2)];
    let lines: Vec<String> = rows
        .iter()
        .map(|[number, status, time, report]| {
            let [a, b, c] = widths;
            format!("{number:<a$} {status:<b$} {time:<c$} {report}")
        })
        .collect();
    lines.join("\n")
}

fn time(step: &Step, now: Instant) -> String {
    let time = match (step.status, step.took, step.begun) {
        (Status::Pending, ..) => return "...".to_owned(),
        (_, Some(took), _) => took,
        (_, None, Some(begun)) => now.saturating_duration_since(begun),
        // Skipped.
        (_, None, None) => Duration::ZERO,
    };
    let milliseconds = (time.as_nanos() + 500_000) / 1_000_000;
    let nanoseconds = i64::try_from(milliseconds * 1_000_000).unwrap_or(i64::MAX);
    GoDuration::from_nanoseconds(nanoseconds).to_string()
}

#[cfg(test)]
mod tests {
    use super::super::plan::{Edge, Part};
    use super::*;

    #[test]
    fn the_table_is_that_of_zrepl() {
        let mut plan = Plan::new(vec![true, false]);
        let start = Instant::now();
        let after = |milliseconds: u64| start + Duration::from_micros(milliseconds * 1000 + 400);
        assert_eq!(
            table(&plan, start),
            "1 Pending ... \n2 Pending ... \n3 Pending ... \n4 Pending ... \n5 Pending ... "
        );
        let first = Part::Hook(0, Edge::Pre);
        plan.begin(first, start);
        plan.finish(
            first,
            true,
            "command hook: \"X='1' /h\"".to_owned(),
            after(12),
        );
        let second = Part::Hook(1, Edge::Pre);
        plan.begin(second, after(12));
        plan.finish(second, false, "failed\nbadly".to_owned(), after(1512));
        plan.begin(Part::Snapshot, after(1512));
        assert_eq!(
            table(&plan, after(1515)),
            "1 Ok                 12ms command hook: \"X='1' /h\"\n\
             2 Err                1.5s failed badly\n\
             3 Exec               3ms  \n\
             4 SkippedDueToPreErr 0s   \n\
             5 Pending            ...  "
        );
    }
}
