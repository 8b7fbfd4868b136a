//! `zrepl daemon`: runs the daemon in the foreground until it is told to stop.

use std::path::Path;
use std::process;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use jiff::Timestamp;
use tokio::runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use zrepl_daemon::config::{self, Config, Loaded, Problems};
use zrepl_daemon::endpoint::local_zfs::LocalZfs;
use zrepl_daemon::hook::DuePostEdges;
use zrepl_daemon::job::Environment;
use zrepl_daemon::rpc::metrics::Metrics;
use zrepl_daemon::service::{self, logging};
use zrepl_daemon::transport::local::LocalListeners;
use zrepl_daemon::transport::tls::key_log;
use zrepl_daemon::transport::{Shared, ssh};
use zrepl_daemon::{causes, version, zfs_backend};

use crate::configuration::checked;
use crate::output::complain;

/// What the daemon does by itself needs few threads: streams and calls to ZFS have their own.
const MOST_THREADS: usize = 4;

/// Runs the daemon of the configuration at `path`, or at one of the usual places.
pub(crate) fn run(path: Option<&Path>) -> anyhow::Result<()> {
    let loaded = config::load(path).and_then(|mut loaded| {
        config::check_certificates(&mut loaded, Timestamp::now());
        loaded.into_result()
    });
    let Loaded {
        config, problems, ..
    } = checked(loaded)?;
    logging::start(&config.global.logging, &|name| std::env::var_os(name))?;
    tracing::info!("{}", version::line());
    warn_of(&problems);
    let result = serve(&config);
    if let Err(error) = &result {
        // Standard error may lead elsewhere than the log.
        tracing::error!(err = %format_args!("{error:#}"), "the daemon ends");
    }
    result
}

/// What is allowed in the configuration, and surprising.
fn warn_of(problems: &Problems) {
    for problem in problems.iter() {
        tracing::warn!("{}", problem.to_string().replace("\n    ", "; "));
    }
}

/// What jobs share that run on this host.
pub(crate) fn environment(config: &Config) -> anyhow::Result<Environment<'static>> {
    let zfs = open_zfs()?;
    let transports = Shared {
        local: LocalListeners::default(),
        key_log: key_log::from_environment()?,
        stdinserver_sockets: config.global.serve.stdinserver.sockdir.as_path().to_owned(),
    };
    Ok(Environment {
        zfs,
        transports,
        metrics: Metrics::new(),
        due: DuePostEdges::default(),
        variables: &|name| std::env::var_os(name),
    })
}

fn serve(config: &Config) -> anyhow::Result<()> {
    let environment = environment(config)?;
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let runtime = runtime::Builder::new_multi_thread()
        .worker_threads(threads.clamp(2, MOST_THREADS))
        .enable_all()
        .build()
        .context("cannot start threads")?;
    let result = runtime.block_on(async {
        let stop = CancellationToken::new();
        tokio::spawn(stop_when_told(Signals::new()?, stop.clone()));
        service::run(config, &environment, stop).await?;
        anyhow::Ok(())
    });
    // Drops what is left of tasks. Calls to ZFS cannot be cancelled; those that last would only keep the process from ending.
    runtime.shutdown_timeout(Duration::from_secs(1));
    ssh::wait_for_ended();
    result
}

fn open_zfs() -> anyhow::Result<LocalZfs> {
    let value = std::env::var(zfs_backend::VARIABLE).ok();
    let choice = zfs_backend::Choice::parse(value.as_deref())?;
    let opened = zfs_backend::open(choice)?;
    if let Some(reason) = &opened.fallback {
        tracing::warn!(
            reason = %causes::chain(&**reason),
            "ZFS is reached through zfs(8), which is slower: the native way does not work here"
        );
    }
    tracing::info!(backend = ?opened.zfs.backend(), "opened ZFS");
    LocalZfs::new(Arc::clone(&opened.zfs)).context("cannot ask ZFS for its version")
}

/// The signals that end the daemon.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Signals {
    fn new() -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("cannot handle signals");
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            // zrepl 0.7.0 does not handle it, so it ends, and does not reload its configuration.
            hangup: listen(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.hangup.recv() => "SIGHUP",
        }
    }
}

/// The first signal stops in order, the second one at once.
async fn stop_when_told(mut signals: Signals, stop: CancellationToken) {
    let name = signals.next().await;
    tracing::info!(
        signal = name,
        "stopping; another signal ends the daemon at once"
    );
    stop.cancel();
    let name = signals.next().await;
    complain(format_args!("{name}: ending at once"));
    process::exit(1);
}
