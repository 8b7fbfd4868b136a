//! The results next to what we are after (design/goals.md).

use std::fmt;

use super::measure::{Calls, Used};

/// One line of results.
#[derive(Debug)]
pub(super) struct Row {
    round: &'static str,
    how: String,
    wall: Option<f64>,
    used: Option<Used>,
    calls: Option<Calls>,
}

impl Row {
    pub(super) fn timed(round: &'static str, steps: u32, wall: f64, used: Used) -> Self {
        Self {
            round,
            how: format!("steps: {steps}"),
            wall: Some(wall),
            used: Some(used),
            calls: None,
        }
    }

    pub(super) fn traced(round: &'static str, calls: Calls) -> Self {
        Self {
            round,
            how: "steps: 8, strace".to_owned(),
            wall: None,
            used: None,
            calls: Some(calls),
        }
    }

    pub(super) fn floor(round: &'static str, (wall, used): (f64, Used)) -> Self {
        Self {
            round,
            how: "zfs(8) in a loop".to_owned(),
            wall: Some(wall),
            used: Some(used),
            calls: None,
        }
    }

    /// Whether the goals are met; empty where they say nothing. Those for times are for eight filesystems.
    fn verdict(&self, filesystems: u32) -> String {
        let ours = !self.how.starts_with("zfs(8)");
        let mut verdict = Vec::new();
        let mut check = |met: bool, goal: String| {
            verdict.push(format!("{goal} {}", if met { "met" } else { "MISSED" }));
        };
        if let Some(wall) = self.wall.filter(|_| ours && filesystems == 8) {
            match self.round {
                "no-op" => check(wall <= 1.0, "≤ 1 s".to_owned()),
                "one snapshot each" if self.how == "steps: 8" => {
                    check(wall <= 2.0, "≤ 2 s".to_owned());
                }
                _ => {}
            }
        }
        if let Some(used) = self.used.filter(|_| ours) {
            match self.round {
                "no-op" => check(used.txgs == 0, "0 txgs".to_owned()),
                "one snapshot each" if self.how == "steps: 8" => {
                    check(used.txgs <= 12, "≤ 6 txgs a pool".to_owned());
                }
                _ => {}
            }
        }
        if let Some(calls) = self.calls {
            check(calls.processes == 0, "0 processes".to_owned());
            if self.round == "no-op" {
                // At most two for each dataset on either side, and 20.
                let most = u64::from(filesystems) * 4 + 20;
                check(calls.ioctls <= most, format!("≤ {most} ioctls"));
            }
        }
        verdict.join(", ")
    }
}

/// All lines, in the order in which they are shown: by round.
#[derive(Debug)]
pub(super) struct Table {
    filesystems: u32,
    rows: Vec<Row>,
}

impl Table {
    pub(super) fn new(filesystems: u32) -> Self {
        Self {
            filesystems,
            rows: Vec::new(),
        }
    }

    pub(super) fn push(&mut self, row: Row) {
        self.rows.push(row);
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = |number: Option<f64>| {
            number.map_or_else(|| "-".to_owned(), |number| format!("{number:.2}"))
        };
        let count =
            |count: Option<u64>| count.map_or_else(|| "-".to_owned(), |count| count.to_string());
        writeln!(
            f,
            "{:<18} {:<17} {:>8} {:>8} {:>5} {:>9} {:>7}  goal",
            "round", "how", "wall s", "cpu s", "txgs", "processes", "ioctls"
        )?;
        for round in ["initial", "no-op", "one snapshot each"] {
            for row in self.rows.iter().filter(|row| row.round == round) {
                let line = format!(
                    "{round:<18} {:<17} {:>8} {:>8} {:>5} {:>9} {:>7}  {}",
                    row.how,
                    number(row.wall),
                    number(row.used.map(|used| used.cpu)),
                    count(row.used.map(|used| used.txgs)),
                    count(row.calls.map(|calls| calls.processes)),
                    count(row.calls.map(|calls| calls.ioctls)),
                    row.verdict(self.filesystems),
                );
                writeln!(f, "{}", line.trim_end())?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timed(round: &'static str, wall: f64, txgs: u64) -> Row {
        Row::timed(round, 8, wall, Used { cpu: 0.5, txgs })
    }

    #[test]
    fn goals_are_compared_where_there_are_any() {
        assert_eq!(timed("no-op", 0.9, 0).verdict(8), "≤ 1 s met, 0 txgs met");
        assert_eq!(
            timed("no-op", 1.1, 2).verdict(8),
            "≤ 1 s MISSED, 0 txgs MISSED"
        );
        assert_eq!(timed("no-op", 9.0, 0).verdict(100), "0 txgs met");
        assert_eq!(timed("initial", 99.0, 99).verdict(8), "");
        let calls = |processes, ioctls| Row::traced("no-op", Calls { processes, ioctls });
        assert_eq!(calls(0, 52).verdict(8), "0 processes met, ≤ 52 ioctls met");
        assert_eq!(
            calls(1, 53).verdict(8),
            "0 processes MISSED, ≤ 52 ioctls MISSED"
        );
        let floor = Row::floor("no-op", (9.0, Used { cpu: 0.0, txgs: 9 }));
        assert_eq!(floor.verdict(8), "");
    }

    #[test]
    fn rows_are_shown_by_round() {
        let mut table = Table::new(8);
        table.push(timed("no-op", 0.5, 0));
        table.push(timed("initial", 2.0, 20));
        let text = table.to_string();
        let rounds: Vec<&str> = text.lines().skip(1).map(|line| &line[..7]).collect();
        assert_eq!(rounds, ["initial", "no-op  "]);
    }
}
