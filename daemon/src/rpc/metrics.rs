//! What is counted of data connections, under the names of zrepl 0.7.0 (`internal/rpc/dataconn/frameconn/frameconn_prometheus.go`)
//! and, for streams and handshakes, under our own. Its dashboards read the former.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use prometheus::core::{Collector, Desc};
use prometheus::proto::{MetricFamily, MetricType, Summary};
use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts, Registry};

/// Where closing in order failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseStep {
    /// Announcing it.
    WriteFrame,
    /// Half closing.
    CloseWrite,
}

impl CloseStep {
    fn label(self) -> &'static str {
        match self {
            Self::WriteFrame => "write_frame",
            Self::CloseWrite => "close_write",
        }
    }
}

/// Which way a stream goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// To the peer.
    Sent,
    /// From the peer.
    Received,
}

impl Direction {
    fn label(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Received => "received",
        }
    }
}

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plane {
    /// Requests.
    Control,
    /// One request with a stream.
    Data,
}

impl Plane {
    fn label(self) -> &'static str {
        match self {
            Self::Control => "control",
            Self::Data => "data",
        }
    }
}

/// Why a peer was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Nobody has listed it.
    Unlisted,
    /// TLS, or what else the transport asks for, failed.
    Transport,
    /// Its banner or its label.
    Handshake,
    /// There were too many.
    Flood,
}

impl Refusal {
    fn label(self) -> &'static str {
        match self {
            Self::Unlisted => "unlisted",
            Self::Transport => "transport",
            Self::Handshake => "handshake",
            Self::Flood => "flood",
        }
    }
}

/// A connection that is counted as open.
#[derive(Debug)]
pub(super) struct Open(IntGauge);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Counts of one daemon; clones count together.
#[derive(Clone, Debug)]
pub struct Metrics {
    drain_bytes: SummaryWithoutQuantiles,
    close_seconds: SummaryWithoutQuantiles,
    drain_seconds: SummaryWithoutQuantiles,
    hard_closes: IntCounterVec,
    accepted: IntCounterVec,
    refused: IntCounterVec,
    handshaking: IntGauge,
    connections: prometheus::IntGaugeVec,
    stream_bytes: IntCounterVec,
    stream_failures: IntCounterVec,
    evicted: IntCounter,
}

impl Metrics {
    /// Counts that nobody has registered yet.
    #[expect(clippy::missing_panics_doc, reason = "the names are valid")]
    pub fn new() -> Self {
        Self {
            drain_bytes: SummaryWithoutQuantiles::new(
                "zrepl_frameconn_shutdown_drain_bytes_read",
                "Bytes that peers still sent while a connection was being closed",
            ),
            close_seconds: SummaryWithoutQuantiles::new(
                "zrepl_frameconn_shutdown_seconds",
                "Time from the decision to close a data connection until it was closed",
            ),
            drain_seconds: SummaryWithoutQuantiles::new(
                "zrepl_frameconn_shutdown_drain_seconds",
                "Time spent waiting for the peer to close its side",
            ),
            hard_closes: counters(
                "zrepl_frameconn_shutdown_hard_closes",
                "Data connections that could not be closed in order",
                &["step"],
            ),
            accepted: counters(
                "zrepl_rpc_connections_accepted",
                "Connections on which banner and label were exchanged",
                &["zrepl_job", "plane"],
            ),
            refused: counters(
                "zrepl_rpc_connections_refused",
                "Connections that ended before banner and label were exchanged",
                &["zrepl_job", "reason"],
            ),
            handshaking: prometheus::IntGauge::new(
                "zrepl_rpc_handshakes_unfinished",
                "Connections that are between connect and label",
            )
            .expect("a valid name"),
            connections: prometheus::IntGaugeVec::new(
                Opts::new("zrepl_rpc_connections_open", "Connections that are being served"),
                &["zrepl_job", "plane"],
            )
            .expect("valid names"),
            stream_bytes: counters(
                "zrepl_rpc_stream_bytes",
                "Bytes of ZFS streams that have passed, without framing",
                &["direction"],
            ),
            stream_failures: counters(
                "zrepl_rpc_stream_failures",
                "Streams that did not arrive whole",
                &["direction"],
            ),
            evicted: IntCounter::new(
                "zrepl_rpc_handshakes_evicted",
                "Connections closed before their label came, because their origin had too many of the kind",
            )
            .expect("a valid name"),
        }
    }

    /// Makes them visible. An error means that they, or others of these names, are registered there already.
    pub fn register(&self, registry: &Registry) -> prometheus::Result<()> {
        let collectors: [Box<dyn Collector>; 11] = [
            Box::new(self.drain_bytes.clone()),
            Box::new(self.close_seconds.clone()),
            Box::new(self.drain_seconds.clone()),
            Box::new(self.hard_closes.clone()),
            Box::new(self.accepted.clone()),
            Box::new(self.refused.clone()),
            Box::new(self.handshaking.clone()),
            Box::new(self.connections.clone()),
            Box::new(self.stream_bytes.clone()),
            Box::new(self.stream_failures.clone()),
            Box::new(self.evicted.clone()),
        ];
        for collector in collectors {
            registry.register(collector)?;
        }
        Ok(())
    }

    /// A connection is open until the result is dropped.
    pub(super) fn open(&self, job: &str, plane: Plane) -> Open {
        let labels = [job, plane.label()];
        self.accepted.with_label_values(&labels).inc();
        let gauge = self.connections.with_label_values(&labels);
        gauge.inc();
        Open(gauge)
    }

    pub(super) fn refused(&self, job: &str, reason: Refusal) {
        let labels = [job, reason.label()];
        self.refused.with_label_values(&labels).inc();
    }

    pub(super) fn unfinished(&self, count: usize) {
        self.handshaking
            .set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    pub(super) fn displaced(&self) {
        self.evicted.inc();
    }

    pub(super) fn hard_close(&self, step: CloseStep) {
        self.hard_closes.with_label_values(&[step.label()]).inc();
    }

    #[expect(clippy::cast_precision_loss, reason = "a sum for people to look at")]
    pub(super) fn drained(&self, bytes: u64, took: Duration) {
        self.drain_bytes.observe(bytes as f64);
        self.drain_seconds.observe(took.as_secs_f64());
    }

    pub(super) fn closed(&self, took: Duration) {
        self.close_seconds.observe(took.as_secs_f64());
    }

    pub(super) fn stream(&self, direction: Direction, bytes: u64, whole: bool) {
        let label = [direction.label()];
        self.stream_bytes.with_label_values(&label).inc_by(bytes);
        if !whole {
            self.stream_failures.with_label_values(&label).inc();
        }
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

fn counters(name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
    IntCounterVec::new(Opts::new(name, help), labels).expect("valid names")
}

/// Sum and count of observations: what Go's library makes of a summary that is asked for no quantiles. The Rust library
/// has no summaries.
#[derive(Clone, Debug)]
struct SummaryWithoutQuantiles {
    description: Desc,
    observed: Arc<Mutex<(u64, f64)>>,
}

impl SummaryWithoutQuantiles {
    fn new(name: &str, help: &str) -> Self {
        let description = Desc::new(name.to_owned(), help.to_owned(), Vec::new(), HashMap::new())
            .expect("a valid name");
        Self {
            description,
            observed: Arc::default(),
        }
    }

    fn observe(&self, value: f64) {
        let mut observed = self.observed.lock().expect("adding does not panic");
        observed.0 += 1;
        observed.1 += value;
    }
}

impl Collector for SummaryWithoutQuantiles {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.description]
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let (count, sum) = *self.observed.lock().expect("adding does not panic");
        let mut summary = Summary::default();
        summary.set_sample_count(count);
        summary.set_sample_sum(sum);
        let mut metric = prometheus::proto::Metric::default();
        metric.set_summary(summary);
        let mut family = MetricFamily::default();
        family.set_name(self.description.fq_name.clone());
        family.set_help(self.description.help.clone());
        family.set_field_type(MetricType::SUMMARY);
        family.set_metric(vec![metric]);
        vec![family]
    }
}
