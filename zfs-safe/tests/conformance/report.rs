//! Runs the scenarios, prints one line for each, and compares what the implementations saw.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::Instant;

use crate::bed::{Bed, Which};
use crate::scenarios::{self, Scenario};

#[derive(Default)]
struct Tally {
    passed: u32,
    failed: u32,
    skipped: u32,
}

pub(crate) fn run(backends: &[Which], filter: Option<&str>) -> ExitCode {
    // Shown with the failed test instead of in the middle of the output.
    std::panic::set_hook(Box::new(|_| {}));
    let mut tally = Tally::default();
    let mut seen: BTreeMap<&str, Vec<(Which, Vec<String>)>> = BTreeMap::new();
    let all = scenarios::all();
    for &which in backends {
        for scenario in &all {
            if filter.is_none_or(|text| scenario.name.contains(text)) && scenario.runs_with(which) {
                let observations = tally.run_one(scenario, which);
                if let Some(observations) = observations {
                    seen.entry(scenario.name)
                        .or_default()
                        .push((which, observations));
                }
            }
        }
    }
    for (name, observations) in &seen {
        if let [(first, left), (second, right)] = &observations[..] {
            let test = format!("equal_results::{name}");
            if left == right {
                tally.pass(&test, &format!("{} observations", left.len()));
            } else {
                let difference = difference(left, right);
                tally.fail(
                    &test,
                    &format!("{first:?} and {second:?} differ:\n{difference}"),
                );
            }
        }
    }
    println!(
        "{} passed, {} failed, {} skipped",
        tally.passed, tally.failed, tally.skipped
    );
    if tally.failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

impl Tally {
    fn run_one(&mut self, scenario: &Scenario, which: Which) -> Option<Vec<String>> {
        let name = format!("{}::{}", which.as_str(), scenario.name);
        let start = Instant::now();
        let result = catch_unwind(AssertUnwindSafe(|| {
            let mut bed = Bed::new(which, scenario.name);
            let skipped = (scenario.run)(&mut bed).err();
            (bed.finish(), skipped)
        }));
        let took = format!("{:.1} s", start.elapsed().as_secs_f64());
        match result {
            Ok((observations, None)) => {
                self.pass(&name, &took);
                Some(observations)
            }
            Ok((_, Some(reason))) => {
                println!("test {name} ... skipped: {reason}");
                self.skipped += 1;
                None
            }
            Err(panic) => {
                let text = panic
                    .downcast_ref::<String>()
                    .map(String::as_str)
                    .or_else(|| panic.downcast_ref::<&str>().copied())
                    .unwrap_or("panicked without a message");
                self.fail(&name, text);
                crate::bed::clean_up();
                None
            }
        }
    }

    fn pass(&mut self, name: &str, note: &str) {
        println!("test {name} ... ok ({note})");
        self.passed += 1;
    }

    fn fail(&mut self, name: &str, text: &str) {
        println!("test {name} ... FAILED");
        for line in text.lines() {
            println!("    {line}");
        }
        self.failed += 1;
    }
}

fn difference(left: &[String], right: &[String]) -> String {
    let mut text = String::new();
    for index in 0..left.len().max(right.len()) {
        let (a, b) = (left.get(index), right.get(index));
        if a != b {
            let show =
                |line: Option<&String>| line.map_or("(nothing)".to_owned(), ToString::to_string);
            text.extend(["- ", &show(a), "\n+ ", &show(b), "\n"]);
        }
    }
    text
}
