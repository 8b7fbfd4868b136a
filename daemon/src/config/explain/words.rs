//! Times and lists in words.

use std::time::Duration;

/// The units that people count in.
const UNITS: [(u64, &str); 5] = [
    (7 * 24 * 3600, "week"),
    (24 * 3600, "day"),
    (3600, "hour"),
    (60, "minute"),
    (1, "second"),
];

/// A duration, exactly: `90 minutes`, `1 day`. Up to two weeks, days are counted rather than weeks.
pub(super) fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    if duration.subsec_nanos() > 0 {
        return format!("{duration:?}");
    }
    let (length, unit) = UNITS
        .into_iter()
        .find(|(length, unit)| {
            seconds >= *length && seconds.is_multiple_of(*length) && *unit != "week"
        })
        .unwrap_or((1, "second"));
    counted(seconds / length, unit)
}

/// A duration, roughly: what matters is whether it is minutes or months.
pub(super) fn roughly(duration: Duration) -> String {
    let seconds = duration.as_secs();
    // Of a unit there should be at least two before it is used.
    let (length, unit) = UNITS
        .into_iter()
        .find(|(length, unit)| seconds >= 2 * length && *unit != "week")
        .unwrap_or((1, "second"));
    counted((seconds + length / 2) / length, unit)
}

/// `every hour`, `every 10 minutes`.
pub(super) fn every(interval: Duration) -> String {
    format!("every {}", span(interval))
}

/// What comes after `the`: `hour`, `10 minutes`.
pub(super) fn span(time: Duration) -> String {
    let words = duration(time);
    match words.strip_prefix("1 ") {
        Some(unit) => unit.to_owned(),
        None => words,
    }
}

/// `1 snapshot`, `2 snapshots`.
pub(super) fn counted(count: u64, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {what}{plural}")
}

/// `a`, `a and b`, `a, b and c`.
pub(super) fn list<T: AsRef<str>>(items: &[T], last: &str) -> String {
    match items {
        [] => "nothing".to_owned(),
        [one] => one.as_ref().to_owned(),
        [others @ .., end] => {
            let others: Vec<&str> = others.iter().map(AsRef::as_ref).collect();
            format!("{} {last} {}", others.join(", "), end.as_ref())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_counted_in_the_largest_unit_that_fits() {
        for (seconds, exact, rough, repeated) in [
            (1, "1 second", "1 second", "every second"),
            (90, "90 seconds", "90 seconds", "every 90 seconds"),
            (600, "10 minutes", "10 minutes", "every 10 minutes"),
            (3600, "1 hour", "60 minutes", "every hour"),
            (86_400, "1 day", "24 hours", "every day"),
            (14 * 86_400, "14 days", "14 days", "every 14 days"),
            (
                86_400 * 3 + 60,
                "4321 minutes",
                "3 days",
                "every 4321 minutes",
            ),
        ] {
            let time = Duration::from_secs(seconds);
            assert_eq!(duration(time), exact);
            assert_eq!(roughly(time), rough);
            assert_eq!(every(time), repeated);
        }
        assert_eq!(duration(Duration::from_millis(1500)), "1.5s");
    }

    #[test]
    fn lists_end_with_a_word() {
        assert_eq!(list(&["a"], "and"), "a");
        assert_eq!(list(&["a", "b"], "and"), "a and b");
        assert_eq!(list(&["a", "b", "c"], "or"), "a, b or c");
    }
}
