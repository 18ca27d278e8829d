//! Every metric of the daemon, by name, in one place; `GET /metrics` prints them.
//!
//! Names and units follow the conventions of Prometheus: base units, `_total` for counters, bounded labels.

use std::time::Duration;

use prometheus::{
    Encoder, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    TextEncoder,
};

use crate::engine::Verdict;

/// The state of a sandbox, as a label of `sandboxd_sandboxes`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SandboxState {
    /// Taken by a request.
    Busy,
    /// Being destroyed behind an answer.
    Destroying,
}

impl SandboxState {
    fn as_str(self) -> &'static str {
        match self {
            Self::Busy => "busy",
            Self::Destroying => "destroying",
        }
    }
}

pub struct Metrics {
    registry: Registry,
    executions: IntCounterVec,
    execution_duration: HistogramVec,
    queue_length: IntGauge,
    sandboxes: IntGaugeVec,
    leaked: IntCounterVec,
    compile_hits: IntCounter,
    compile_misses: IntCounter,
    compile_cache_bytes: IntGauge,
    compile_evictions: IntCounter,
    compile_corrupt: IntCounter,
    http_requests: IntCounterVec,
    http_duration: HistogramVec,
    http_connections: IntGauge,
}

impl Metrics {
    /// # Errors
    /// Only when two metrics share a name, which the tests rule out.
    pub fn new() -> Result<Self, prometheus::Error> {
        let metrics = Self {
            registry: Registry::new(),
            executions: IntCounterVec::new(
                Opts::new("sandboxd_executions_total", "Executions that came to a verdict"),
                &["language", "runtime", "status"],
            )?,
            execution_duration: HistogramVec::new(
                HistogramOpts::new(
                    "sandboxd_execution_duration_seconds",
                    "Time from the start of an execution, its wait in the queue included, to its verdict",
                )
                .buckets(vec![
                    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
                    180.0,
                ]),
                &["language", "runtime"],
            )?,
            queue_length: IntGauge::new("sandboxd_queue_length", "Executions that wait for their turn")?,
            sandboxes: IntGaugeVec::new(
                Opts::new("sandboxd_sandboxes", "Sandboxes in use, by state"),
                &["runtime", "state"],
            )?,
            leaked: IntCounterVec::new(
                Opts::new(
                    "sandboxd_leaked_total",
                    "Sandboxes that could not be destroyed in spite of retries",
                ),
                &["runtime"],
            )?,
            compile_hits: IntCounter::new(
                "sandboxd_compile_cache_hits_total",
                "Compiles that were spared, because the same was kept or was being made",
            )?,
            compile_misses: IntCounter::new(
                "sandboxd_compile_cache_misses_total",
                "Compiles for which nothing was found",
            )?,
            compile_cache_bytes: IntGauge::new(
                "sandboxd_compile_cache_bytes",
                "Size of the kept compiles when one was last added",
            )?,
            compile_evictions: IntCounter::new(
                "sandboxd_compile_cache_evictions_total",
                "Kept compiles that made room for others",
            )?,
            compile_corrupt: IntCounter::new(
                "sandboxd_compile_cache_corrupt_total",
                "Kept compiles that were found damaged, and removed",
            )?,
            http_requests: IntCounterVec::new(
                Opts::new("sandboxd_http_requests_total", "HTTP requests that were answered"),
                &["method", "route", "status"],
            )?,
            http_duration: HistogramVec::new(
                HistogramOpts::new(
                    "sandboxd_http_request_duration_seconds",
                    "Time from the head of an HTTP request to the head of its answer",
                )
                .buckets(vec![
                    0.000_25, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
                    30.0, 60.0, 180.0,
                ]),
                &["route"],
            )?,
            http_connections: IntGauge::new("sandboxd_http_connections", "Connections that are open")?,
        };
        metrics.registry.register(Box::new(metrics.executions.clone()))?;
        metrics.registry.register(Box::new(metrics.execution_duration.clone()))?;
        metrics.registry.register(Box::new(metrics.queue_length.clone()))?;
        metrics.registry.register(Box::new(metrics.sandboxes.clone()))?;
        metrics.registry.register(Box::new(metrics.leaked.clone()))?;
        metrics.registry.register(Box::new(metrics.compile_hits.clone()))?;
        metrics.registry.register(Box::new(metrics.compile_misses.clone()))?;
        metrics.registry.register(Box::new(metrics.compile_cache_bytes.clone()))?;
        metrics.registry.register(Box::new(metrics.compile_evictions.clone()))?;
        metrics.registry.register(Box::new(metrics.compile_corrupt.clone()))?;
        metrics.registry.register(Box::new(metrics.http_requests.clone()))?;
        metrics.registry.register(Box::new(metrics.http_duration.clone()))?;
        metrics.registry.register(Box::new(metrics.http_connections.clone()))?;
        Ok(metrics)
    }

    pub fn executed(&self, language: &str, runtime: &str, verdict: Verdict, duration: Duration) {
        self.executions.with_label_values(&[language, runtime, verdict.as_str()]).inc();
        self.execution_duration.with_label_values(&[language, runtime]).observe(duration.as_secs_f64());
    }

    pub fn set_queue_length(&self, length: usize) {
        self.queue_length.set(i64::try_from(length).unwrap_or(i64::MAX));
    }

    pub fn sandbox_entered(&self, runtime: &str, state: SandboxState) {
        self.sandboxes.with_label_values(&[runtime, state.as_str()]).inc();
    }

    pub fn sandbox_left(&self, runtime: &str, state: SandboxState) {
        self.sandboxes.with_label_values(&[runtime, state.as_str()]).dec();
    }

    pub fn leaked(&self, runtime: &str) {
        self.leaked.with_label_values(&[runtime]).inc();
    }

    pub fn compile_found(&self) {
        self.compile_hits.inc();
    }

    pub fn compile_not_found(&self) {
        self.compile_misses.inc();
    }

    pub fn set_compile_cache_bytes(&self, bytes: u64) {
        self.compile_cache_bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    pub fn compiles_evicted(&self, count: u64) {
        self.compile_evictions.inc_by(count);
    }

    pub fn compile_corrupt(&self) {
        self.compile_corrupt.inc();
    }

    /// `method` and `route` come from a bounded set: never from what a client makes up.
    pub fn answered(&self, method: &'static str, route: &str, status: u16, duration: Duration) {
        self.http_requests.with_label_values(&[method, route, status.to_string().as_str()]).inc();
        self.http_duration.with_label_values(&[route]).observe(duration.as_secs_f64());
    }

    pub fn connection_opened(&self) {
        self.http_connections.inc();
    }

    pub fn connection_closed(&self) {
        self.http_connections.dec();
    }

    /// Starts every series of a runtime at 0, so that a dashboard sees them before the first execution.
    pub fn announce_runtime(&self, runtime: &str) {
        for state in [SandboxState::Busy, SandboxState::Destroying] {
            self.sandboxes.with_label_values(&[runtime, state.as_str()]).set(0);
        }
        self.leaked.with_label_values(&[runtime]).reset();
    }

    /// The Prometheus text format, version 0.0.4.
    ///
    /// # Errors
    /// When the encoder fails, which it does for a metric without a name only.
    pub fn render(&self) -> Result<String, prometheus::Error> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    pub const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;
}
