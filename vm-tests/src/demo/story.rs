//! A run in words: a line for each step of each attempt.

use crate::status::{Run, Step};

/// Prints what a run has sent. Filesystems of which nothing was sent are left out.
pub(super) fn print_steps(run: &Run) {
    for (filesystem, step) in run.steps() {
        println!("{}", line(&filesystem, &step));
    }
    let attempts = match run.attempts().len() {
        1 => String::new(),
        number => format!(" in {number} attempts"),
    };
    if let Ok(seconds) = run.seconds() {
        println!(
            "  done after {seconds:.1} s{attempts}, {} sent",
            mib(run.bytes())
        );
    }
}

fn line(filesystem: &str, step: &Step) -> String {
    let from = if step.from.is_empty() {
        "full"
    } else {
        &step.from
    };
    // A cursor is a long name for a bookmark.
    let from = if from.starts_with('#') {
        "its bookmark"
    } else {
        from
    };
    let how = match (step.resumed, step.replicated < step.expected) {
        (true, _) => "resumed, the rest: ",
        (false, true) => "cut after ",
        (false, false) => "",
    };
    format!(
        "    {filesystem:<18} {from:>12} → {:<9} {how}{}",
        step.to,
        mib(step.replicated)
    )
}

/// A size for people.
pub(super) fn mib(bytes: u64) -> String {
    let tenths = |unit: u64| format!("{}.{}", bytes / unit, bytes % unit * 10 / unit);
    match bytes {
        0..1024 => format!("{bytes} B"),
        1024..1_048_576 => format!("{} KiB", tenths(1024)),
        _ => format!("{} MiB", tenths(1024 * 1024)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_short() {
        let sizes = [0, 1023, 1024, 1_048_575, 1_048_576, 10_800_000].map(mib);
        assert_eq!(
            sizes,
            [
                "0 B",
                "1023 B",
                "1.0 KiB",
                "1023.9 KiB",
                "1.0 MiB",
                "10.2 MiB"
            ]
        );
    }

    #[test]
    fn a_step_says_from_where_and_whether_it_was_cut() {
        let mut step = Step {
            from: String::new(),
            to: "@monday".to_owned(),
            resumed: false,
            expected: 3_145_728,
            replicated: 1_048_576,
        };
        assert!(line("tank", &step).contains("full → @monday   cut after 1.0 MiB"));
        step.resumed = true;
        assert!(line("tank", &step).contains("resumed, the rest: 1.0 MiB"));
        step.resumed = false;
        step.replicated = step.expected;
        step.from = "#zrepl_CURSOR_G_0123456789abcdef_J_files".to_owned();
        assert!(line("tank", &step).ends_with("its bookmark → @monday   3.0 MiB"));
    }
}
