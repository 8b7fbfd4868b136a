//! `cargo vm test`: the checks of the host, the unit tests, then the scenarios in guests, and one line of totals.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::{Args, ValueEnum};

use crate::Versions;
use crate::host::Host;
use crate::machine::{Machine, Options};
use crate::packages::Purpose;
use crate::recipe::ZfsVersion;
use crate::scenario::{self, Bench, Printer, Run, Scenario};
use crate::shipping;
use crate::summary::Totals;
use crate::workspace::{Step, Workspace};

/// Guests that run at the same time.
const WORKERS: usize = 2;

#[derive(Args, Debug)]
pub(crate) struct TestArguments {
    /// Run only guest scenarios, or conformance tests, whose name contains this
    filter: Option<String>,
    /// OpenZFS version of the guests [default: 2.3; conformance on all]
    #[arg(long, value_name = "2.1|2.3|2.4|all", value_parser = crate::parse_versions)]
    zfs: Option<Versions>,
    /// Test this backend of zfs-safe only
    #[arg(long)]
    backend: Option<Backend>,
    /// Leave out the checks and unit tests on the host
    #[arg(long)]
    guest_only: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Backend {
    Native,
    Cli,
}

impl Backend {
    fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Cli => "cli",
        }
    }
}

pub(crate) fn run(arguments: &TestArguments) -> Result<ExitCode> {
    let filter = arguments.filter.as_deref();
    let plan = plan(filter, arguments.zfs.as_ref());
    let mut versions: Vec<ZfsVersion> = plan.iter().map(|job| job.version).collect();
    versions.sort();
    versions.dedup();
    let host = Host::prepare(Purpose::GuestsAndBuild, &versions)?;
    for image in host.images() {
        println!(
            "guest {}: zfs {}, kernel {}",
            image.version,
            image.fact("zfs"),
            image.fact("kernel")
        );
    }
    let workspace = Workspace::find()?;
    let mut results = Results::default();
    if filter.is_none() && !arguments.guest_only {
        check_host(&workspace, &mut results)?;
    }
    let wants_suite = plan
        .iter()
        .flat_map(|job| &job.scenarios)
        .any(|scenario| matches!(scenario.run, Run::Suite(_)));
    let suite = if wants_suite {
        build_suite(&workspace)?
    } else {
        None
    };
    let mut suite_arguments = Vec::new();
    if let Some(backend) = arguments.backend {
        suite_arguments.extend(["--backend".to_owned(), backend.name().to_owned()]);
    }
    suite_arguments.extend(filter.and_then(scenario::suite_filter).map(str::to_owned));

    let results = Mutex::new(results);
    let queue = Mutex::new(plan.into_iter());
    let printer = Printer::default();
    thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                loop {
                    let next = queue.lock().unwrap_or_else(PoisonError::into_inner).next();
                    let Some(job) = next else {
                        return;
                    };
                    let bench = Bench {
                        host: &host,
                        version: job.version,
                        suite: suite.as_deref(),
                        suite_arguments: suite_arguments.clone(),
                        printer: &printer,
                    };
                    job.run(&bench, &results);
                }
            });
        }
    });
    let results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok(results.report())
}

/// One guest's worth of work.
#[derive(Debug)]
struct Job {
    version: ZfsVersion,
    scenarios: Vec<Scenario>,
}

/// The longest jobs first. Scenarios that need a guest of their own are jobs of their own.
fn plan(filter: Option<&str>, versions: Option<&Versions>) -> Vec<Job> {
    let default = [ZfsVersion::V2_3, ZfsVersion::V2_4, ZfsVersion::V2_1];
    let mut shared = Vec::new();
    let mut alone = Vec::new();
    for version in versions.map_or(&default[..], |versions| &versions.0) {
        let mut scenarios = Vec::new();
        for scenario in scenario::ALL {
            let wanted = versions.is_some() || scenario.everywhere || *version == ZfsVersion::V2_3;
            if !wanted || !scenario::selected(scenario, filter) {
                continue;
            }
            if matches!(scenario.run, Run::Alone(_)) {
                alone.push(Job {
                    version: *version,
                    scenarios: vec![*scenario],
                });
            } else {
                scenarios.push(*scenario);
            }
        }
        if !scenarios.is_empty() {
            shared.push(Job {
                version: *version,
                scenarios,
            });
        }
    }
    shared.extend(alone);
    shared
}

fn check_host(workspace: &Workspace, results: &mut Results) -> Result<()> {
    for step in Step::all() {
        println!("== {} ==", step.name);
        let totals = if workspace.check(&step)? {
            Totals::ONE_PASSED
        } else {
            Totals::ONE_FAILED
        };
        results.add(step.name, totals);
    }
    println!("== unit tests ==");
    let totals = workspace.unit_tests()?;
    results.add("unit tests", totals);
    Ok(())
}

fn build_suite(workspace: &Workspace) -> Result<Option<PathBuf>> {
    if !workspace.has_target("zfs-safe", "test", "conformance")? {
        return Ok(None);
    }
    println!("== building the conformance suite ==");
    workspace
        .executable(
            &[
                "test",
                "--profile",
                "guest",
                "--no-run",
                "-p",
                "zfs-safe",
                "--test",
                "conformance",
            ],
            "conformance",
        )
        .map(Some)
}

impl Job {
    fn run(self, bench: &Bench<'_>, results: &Mutex<Results>) {
        let mut shared = None;
        for scenario in &self.scenarios {
            let started = Instant::now();
            let outcome = run_one(bench, scenario, &mut shared);
            let took = started.elapsed();
            let name = format!("[{}] {}", bench.version, scenario.name);
            let totals = match outcome {
                Ok(totals) => {
                    if matches!(scenario.run, Run::Suite(_)) {
                        bench.say(&format!("{} took {}", scenario.name, seconds(took)));
                    } else {
                        bench.say(&format!(
                            "test {} ... ok ({})",
                            scenario.name,
                            seconds(took)
                        ));
                    }
                    totals
                }
                Err(error) => {
                    let mut text = format!(
                        "test {} ... FAILED ({})\n{error:#}",
                        scenario.name,
                        seconds(took)
                    );
                    if let Some(machine) = &shared {
                        let log = machine
                            .console()
                            .keep(&format!("{}-{}", scenario.name, bench.version));
                        let tail = machine.console().tail(100);
                        // Writing to a string does not fail.
                        write!(text, "\n{tail}console log: {}", log.display()).ok();
                    }
                    bench.say(&text);
                    // The next scenario gets a guest that nothing has failed in.
                    shared = None;
                    Totals::ONE_FAILED
                }
            };
            results
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .add(&name, totals);
        }
    }
}

fn run_one(bench: &Bench<'_>, scenario: &Scenario, shared: &mut Option<Machine>) -> Result<Totals> {
    match scenario.run {
        Run::Alone(run) => run(bench)?,
        Run::Shared(run) => run(shared_machine(bench, shared)?.guest())?,
        Run::Suite(run) => return run(bench, shared_machine(bench, shared)?),
    }
    Ok(Totals::ONE_PASSED)
}

fn shared_machine<'m>(bench: &Bench<'_>, shared: &'m mut Option<Machine>) -> Result<&'m Machine> {
    if let Some(machine) = shared.take() {
        return Ok(shared.insert(machine));
    }
    let mut options = Options::default();
    if let Some(suite) = bench.suite {
        options
            .files
            .push(("conformance".to_owned(), shipping::stripped(suite)?));
    }
    let machine = bench.host.boot(bench.version, &options)?;
    bench.say(&format!(
        "guest with OpenZFS {} up after {}",
        machine.guest().fact("zfs"),
        seconds(machine.boot_time())
    ));
    Ok(shared.insert(machine))
}

/// What ran, in the order in which it ended.
#[derive(Debug, Default)]
struct Results {
    totals: Totals,
    failed: Vec<String>,
}

impl Results {
    fn add(&mut self, name: &str, totals: Totals) {
        self.totals += totals;
        if totals.failed > 0 {
            self.failed.push(name.to_owned());
        }
    }

    /// The totals are the last line, for people and for programs.
    fn report(&self) -> ExitCode {
        for name in &self.failed {
            println!("failed: {name}");
        }
        println!("{}", self.totals);
        std::io::stdout().flush().ok();
        if self.failed.is_empty() {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        }
    }
}

fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn described(filter: Option<&str>, versions: Option<&Versions>) -> Vec<String> {
        plan(filter, versions)
            .iter()
            .map(|job| {
                let names: Vec<_> = job.scenarios.iter().map(|scenario| scenario.name).collect();
                format!("{}: {}", job.version, names.join(" "))
            })
            .collect()
    }

    #[test]
    fn everything_runs_on_the_default_version_and_conformance_on_all() {
        let plan = described(None, None);
        assert!(
            plan[0].starts_with("2.3: ") && plan[0].contains("conformance"),
            "{plan:?}"
        );
        assert!(
            plan.iter()
                .any(|job| job == "2.1: boots_and_loads_zfs conformance"),
            "{plan:?}"
        );
        assert_eq!(
            plan.iter()
                .filter(|job| job.contains("power_failure"))
                .count(),
            1
        );
    }

    #[test]
    fn a_named_version_runs_everything_there() {
        let only = Versions(vec![ZfsVersion::V2_1]);
        let plan = described(None, Some(&only));
        assert!(plan.iter().all(|job| job.starts_with("2.1: ")));
        assert_eq!(
            described(Some("power"), Some(&only)),
            ["2.1: power_failure"]
        );
    }
}
