//! `cargo vm test`: the checks of the host, the unit tests, then the scenarios in guests, and one line of totals.

use std::io::Write;
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
use crate::scenario::{self, Bench, Printer, Run, Scenario, SuiteOutcome};
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
    let mut plan = plan(filter, arguments.zfs.as_ref());
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
    let mut suite = None;
    if plan.iter().any(Job::has_suite) {
        match build_suite(&workspace) {
            Ok(program) => suite = program,
            Err(error) => {
                println!("{error:#}");
                results.add("building the conformance suite", Totals::ONE_FAILED);
                for job in &mut plan {
                    job.scenarios.retain(|scenario| !scenario.is_suite());
                }
                plan.retain(|job| !job.scenarios.is_empty());
            }
        }
    }
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
    fn has_suite(&self) -> bool {
        self.scenarios.iter().any(Scenario::is_suite)
    }

    fn run(self, bench: &Bench<'_>, results: &Mutex<Results>) {
        let mut shared = None;
        for scenario in &self.scenarios {
            let started = Instant::now();
            let outcome = run_one(bench, scenario, &mut shared);
            let took = seconds(started.elapsed());
            let name = format!("[{}] {}", bench.version, scenario.name);
            let mut results = results.lock().unwrap_or_else(PoisonError::into_inner);
            match outcome {
                Ok(Outcome::Passed) => {
                    bench.say(&format!("test {} ... ok ({took})", scenario.name));
                    results.add(&name, Totals::ONE_PASSED);
                }
                Ok(Outcome::Suite(SuiteOutcome { totals, failed })) => {
                    bench.say(&format!("{} took {took}", scenario.name));
                    if totals.failed > 0 {
                        bench.say(&keep_console(shared.as_ref(), &name));
                        shared = None;
                    }
                    results.totals += totals;
                    results
                        .failed
                        .extend(failed.iter().map(|test| format!("{name}::{test}")));
                    if totals.failed > 0 && failed.is_empty() {
                        results.failed.push(name);
                    }
                }
                Err(error) => {
                    bench.say(&format!(
                        "test {} ... FAILED ({took})\n{error:#}",
                        scenario.name
                    ));
                    if let Some(machine) = &shared {
                        bench.say(&machine.console().tail(100));
                    }
                    bench.say(&keep_console(shared.as_ref(), &name));
                    results.add(&name, Totals::ONE_FAILED);
                    // The next scenario gets a guest that nothing has failed in.
                    shared = None;
                }
            }
        }
    }
}

/// Saves the console of the shared guest and says where; nothing for scenarios that booted their own.
fn keep_console(shared: Option<&Machine>, name: &str) -> String {
    let file = name.replace(['[', ']'], "").replace(' ', "-");
    shared.map_or_else(String::new, |machine| {
        format!("console log: {}", machine.console().keep(&file).display())
    })
}

#[derive(Debug)]
enum Outcome {
    Passed,
    Suite(SuiteOutcome),
}

fn run_one(
    bench: &Bench<'_>,
    scenario: &Scenario,
    shared: &mut Option<Machine>,
) -> Result<Outcome> {
    match scenario.run {
        Run::Alone(run) => run(bench)?,
        Run::Shared(run) => run(shared_machine(bench, shared)?.guest())?,
        Run::Suite(run) => return run(bench, shared_machine(bench, shared)?).map(Outcome::Suite),
    }
    Ok(Outcome::Passed)
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
