//! The platform tests of zrepl 0.7.0, anew and under their names: replication of real ZFS within one process, with sender, receiver and
//! driver as a job has them, and without RPC in between. Some more follow for what zrepl did not test. Each case has datasets of its
//! own in a pool of its backend, and leaves them behind: the guest ends with the program. It makes pools, so it runs only where the
//! guest harness puts it; `cargo vm test platform_tests` runs it.
//!
//! `platform [--backend native|cli] [--at-once N] [FILTER,…]` prints a line for each case, and its exit status says whether all have passed.

use std::error::Error;
use std::future::Future;
use std::pin::Pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use case::Case;
use pool::Pool;

mod case;
mod cases;
mod interference;
mod pool;
mod replication;
mod run;
mod set_up;

/// What a case says: nothing, or what kept it from going on. What it claims it asserts.
type Verdict = Result<(), Box<dyn Error + Send + Sync>>;

/// One case.
struct Scenario {
    name: &'static str,
    body: fn(Case) -> Pin<Box<dyn Future<Output = Verdict> + Send>>,
}

impl Scenario {
    const fn new(
        name: &'static str,
        body: fn(Case) -> Pin<Box<dyn Future<Output = Verdict> + Send>>,
    ) -> Self {
        Self { name, body }
    }
}

/// Minutes are enough even for an emulated guest on a host that has other things to do: what takes longer hangs.
const LIMIT: Duration = Duration::from_secs(15 * 60);

/// Cases that run at the same time: what they wait for is mostly transaction groups, which they share.
const AT_ONCE: usize = 4;

fn main() -> ExitCode {
    let in_guest = std::env::current_exe().is_ok_and(|path| path.starts_with("/put"));
    if !in_guest {
        println!("platform: needs a guest with ZFS (cargo vm test platform_tests)");
        return ExitCode::SUCCESS;
    }
    match run() {
        Ok(failed) if failed.is_empty() => ExitCode::SUCCESS,
        Ok(failed) => {
            println!("failed: {}", failed.join(", "));
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("platform: {error}");
            ExitCode::FAILURE
        }
    }
}

/// A case to run.
struct Job {
    backend: &'static str,
    pool: Arc<Pool>,
    index: usize,
    scenario: &'static Scenario,
}

/// Runs what was asked for; gives the names of what has failed.
fn run() -> Result<Vec<String>, Box<dyn Error + Send + Sync>> {
    let mut backends = vec!["native", "cli"];
    let mut at_once = AT_ONCE;
    let mut filter = String::new();
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--backend" => {
                let wanted = arguments.next().ok_or("--backend needs a value")?;
                backends.retain(|backend| *backend == wanted);
            }
            "--at-once" => {
                at_once = arguments.next().ok_or("--at-once needs a value")?.parse()?;
            }
            _ => filter = argument,
        }
    }
    let wanted = |it: &&Scenario| filter.split(',').any(|part| it.name.contains(part));
    let scenarios: Vec<_> = cases::all().filter(wanted).collect();
    let mut jobs = Vec::new();
    for backend in backends {
        let pool = Arc::new(Pool::make(backend, scenarios.len())?);
        jobs.extend(scenarios.iter().enumerate().map(|(index, scenario)| Job {
            backend,
            pool: Arc::clone(&pool),
            index,
            scenario,
        }));
    }
    // Cases ask ZFS themselves, and that blocks: each has a thread, and the endpoints have theirs.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2 * at_once + 2)
        .enable_all()
        .build()?;
    Ok(runtime.block_on(run_all(jobs, at_once)))
}

async fn run_all(jobs: Vec<Job>, at_once: usize) -> Vec<String> {
    let slots = Arc::new(Semaphore::new(at_once));
    let mut running = JoinSet::new();
    for job in jobs {
        let slots = Arc::clone(&slots);
        running.spawn(async move {
            let _slot = slots.acquire_owned().await.expect("nobody closes it");
            let start = Instant::now();
            let outcome = match job.pool.case(job.index) {
                Ok(case) => outcome(job.scenario, case).await,
                Err(error) => Err(error.to_string()),
            };
            let name = format!("{} {}", job.backend, job.scenario.name);
            let seconds = start.elapsed().as_secs_f32();
            match &outcome {
                Ok(()) => println!("{name} ... ok ({seconds:.1} s)"),
                Err(reason) => println!("{name} ... FAILED ({seconds:.1} s): {reason}"),
            }
            outcome.map_err(|_| name)
        });
    }
    let (mut passed, mut failed) = (0, Vec::new());
    while let Some(ended) = running.join_next().await {
        match ended.expect("what cases panic is caught") {
            Ok(()) => passed += 1,
            Err(name) => failed.push(name),
        }
    }
    println!("{passed} passed, {} failed", failed.len());
    failed
}

/// Runs a case in a task of its own, so that a claim that does not hold ends that case only.
async fn outcome(scenario: &Scenario, case: Case) -> Result<(), String> {
    let task = tokio::spawn((scenario.body)(case));
    let abort = task.abort_handle();
    match tokio::time::timeout(LIMIT, task).await {
        Ok(Ok(Ok(()))) => Ok(()),
        Ok(Ok(Err(error))) => Err(zrepl_daemon::causes::chain(error.as_ref())),
        Ok(Err(error)) => Err(match error.try_into_panic() {
            Ok(panic) => claim(panic.as_ref()),
            Err(error) => error.to_string(),
        }),
        Err(_) => {
            abort.abort();
            Err(format!("does not end within {} s", LIMIT.as_secs()))
        }
    }
}

/// The text of a panic.
fn claim(panic: &(dyn std::any::Any + Send)) -> String {
    panic
        .downcast_ref::<String>()
        .cloned()
        .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
        .unwrap_or_else(|| "panicked".to_owned())
}
