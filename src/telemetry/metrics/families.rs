//! Every metric by its name, with its labels, its buckets and what it says: the one list. Recorded in the parent.
//!
//! Names and units follow the conventions of Prometheus: base units, `_total` for counters, bounded labels.

use prometheus::{
    HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, Result,
    core::Collector,
};

/// From a ready native sandbox to the longest that is allowed.
const SECONDS: [f64; 17] = [
    0.000_25, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 180.0,
];
/// 1 MiB to 4 GiB.
const BYTES: [f64; 13] = [
    1_048_576.0,
    2_097_152.0,
    4_194_304.0,
    8_388_608.0,
    16_777_216.0,
    33_554_432.0,
    67_108_864.0,
    134_217_728.0,
    268_435_456.0,
    536_870_912.0,
    1_073_741_824.0,
    2_147_483_648.0,
    4_294_967_296.0,
];

pub(super) struct Families {
    pub registry: Registry,
    pub executions: IntCounterVec,
    pub execution_limits: IntCounterVec,
    pub execution_duration: HistogramVec,
    pub execution_parts: HistogramVec,
    pub execution_cpu: HistogramVec,
    pub execution_memory: HistogramVec,
    pub oom_kills: IntCounterVec,
    pub refusals: IntCounterVec,
    pub queue_length: IntGauge,
    pub queue_oldest_wait: prometheus::Gauge,
    pub sandboxes: IntGaugeVec,
    pub pool: IntGaugeVec,
    pub pool_memory: IntGaugeVec,
    pub pool_taken: IntCounterVec,
    pub destroy_duration: HistogramVec,
    pub destroy_retries: IntCounterVec,
    pub leaked: IntCounterVec,
    pub swept: IntCounterVec,
    pub runtime_up: IntGaugeVec,
    pub runtime_errors: IntCounterVec,
    pub compile_hits: IntCounter,
    pub compile_misses: IntCounter,
    pub compile_cache_bytes: IntGauge,
    pub compile_evictions: IntCounter,
    pub compile_corrupt: IntCounter,
    pub http_requests: IntCounterVec,
    pub http_duration: HistogramVec,
    pub http_in_flight: IntGauge,
    pub http_connections: IntGauge,
    pub build: IntGaugeVec,
}

impl Families {
    /// # Errors
    /// Only when two metrics share a name, which the tests rule out.
    pub(super) fn new() -> Result<Self> {
        let list = List(Registry::new());
        let families = Self {
            executions: list.counters(
                "sandboxd_executions_total",
                "Executions that came to a verdict",
                &["language", "runtime", "status"],
            )?,
            execution_limits: list.counters(
                "sandboxd_execution_limits_total",
                "Executions that were ended by a limit",
                &["language", "runtime", "limit"],
            )?,
            execution_duration: list.histograms(
                "sandboxd_execution_duration_seconds",
                "Time from the start of an execution, its wait in the queue included, to its verdict",
                &["language", "runtime"],
                &SECONDS,
            )?,
            execution_parts: list.histograms(
                "sandboxd_execution_part_duration_seconds",
                "Where that time went: queue, sandbox, compile, run",
                &["runtime", "part"],
                &SECONDS,
            )?,
            execution_cpu: list.histograms(
                "sandboxd_execution_cpu_seconds",
                "CPU time of programs, where it is known",
                &["language", "runtime"],
                &SECONDS,
            )?,
            execution_memory: list.histograms(
                "sandboxd_execution_memory_peak_bytes",
                "The most memory that programs used at once, where it is known",
                &["language", "runtime"],
                &BYTES,
            )?,
            oom_kills: list.counters(
                "sandboxd_oom_kills_total",
                "Executions in which the kernel killed a process for memory",
                &["runtime"],
            )?,
            refusals: list.counters(
                "sandboxd_refusals_total",
                "Requests that got no result, though they could have had one: queue_full, queue_timeout, draining, runtime_unavailable, memory",
                &["reason"],
            )?,
            queue_length: list.gauge("sandboxd_queue_length", "Executions that wait for their turn")?,
            queue_oldest_wait: list.add(prometheus::Gauge::new(
                "sandboxd_queue_oldest_wait_seconds",
                "How long the one that waits longest has waited",
            )?)?,
            sandboxes: list.gauges(
                "sandboxd_sandboxes",
                "Sandboxes in use, by state",
                &["runtime", "state"],
            )?,
            pool: list.gauges(
                "sandboxd_pool_sandboxes",
                "Sandboxes made ahead: ready, or being made or having an interpreter started in them",
                &["runtime", "state"],
            )?,
            pool_memory: list.gauges(
                "sandboxd_pool_memory_bytes",
                "Memory that ready containers hold while they wait, with their engine's process for each",
                &["runtime"],
            )?,
            pool_taken: list.counters(
                "sandboxd_pool_taken_total",
                "Sandboxes handed out: ready when asked for, or cold, made then",
                &["runtime", "how"],
            )?,
            destroy_duration: list.histograms(
                "sandboxd_sandbox_destroy_duration_seconds",
                "Time that destroying a sandbox took, behind the answer",
                &["runtime"],
                &SECONDS,
            )?,
            destroy_retries: list.counters(
                "sandboxd_sandbox_destroy_retries_total",
                "Times that a sandbox was not destroyed and was tried again",
                &["runtime"],
            )?,
            leaked: list.counters(
                "sandboxd_leaked_total",
                "Sandboxes that could not be destroyed in spite of retries",
                &["runtime"],
            )?,
            swept: list.counters(
                "sandboxd_swept_total",
                "Sandboxes of dead daemons that were removed",
                &["runtime"],
            )?,
            runtime_up: list.gauges(
                "sandboxd_runtime_up",
                "Whether the runtime made a sandbox when it was last asked for one",
                &["runtime"],
            )?,
            runtime_errors: list.counters(
                "sandboxd_runtime_errors_total",
                "Failures of a runtime: unavailable, limit_not_held, not_started, sandbox",
                &["runtime", "kind"],
            )?,
            compile_hits: list.counter(
                "sandboxd_compile_cache_hits_total",
                "Compiles that were spared, because the same was kept or was being made",
            )?,
            compile_misses: list.counter(
                "sandboxd_compile_cache_misses_total",
                "Compiles for which nothing was found",
            )?,
            compile_cache_bytes: list.gauge(
                "sandboxd_compile_cache_bytes",
                "Size of the kept compiles when one was last added",
            )?,
            compile_evictions: list.counter(
                "sandboxd_compile_cache_evictions_total",
                "Kept compiles that made room for others",
            )?,
            compile_corrupt: list.counter(
                "sandboxd_compile_cache_corrupt_total",
                "Kept compiles that were found damaged, and removed",
            )?,
            http_requests: list.counters(
                "sandboxd_http_requests_total",
                "HTTP requests that were answered",
                &["method", "route", "status"],
            )?,
            http_duration: list.histograms(
                "sandboxd_http_request_duration_seconds",
                "Time from the head of an HTTP request to the head of its answer",
                &["route"],
                &SECONDS,
            )?,
            http_in_flight: list.gauge(
                "sandboxd_http_requests_in_flight",
                "HTTP requests that were not answered yet",
            )?,
            http_connections: list.gauge("sandboxd_http_connections", "Connections that are open")?,
            build: list.gauges("sandboxd_build_info", "1, with the version of the daemon", &["version"])?,
            registry: list.0.clone(),
        };
        // Memory, CPU time, descriptors and threads of the daemon itself.
        families.registry.register(Box::new(prometheus::process_collector::ProcessCollector::for_self()))?;
        families.build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        Ok(families)
    }
}

/// Registers what it makes.
struct List(Registry);

impl List {
    fn add<C: Collector + Clone + 'static>(&self, collector: C) -> Result<C> {
        self.0.register(Box::new(collector.clone()))?;
        Ok(collector)
    }

    fn counter(&self, name: &str, help: &str) -> Result<IntCounter> {
        self.add(IntCounter::new(name, help)?)
    }

    fn counters(&self, name: &str, help: &str, labels: &[&str]) -> Result<IntCounterVec> {
        self.add(IntCounterVec::new(Opts::new(name, help), labels)?)
    }

    fn gauge(&self, name: &str, help: &str) -> Result<IntGauge> {
        self.add(IntGauge::new(name, help)?)
    }

    fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> Result<IntGaugeVec> {
        self.add(IntGaugeVec::new(Opts::new(name, help), labels)?)
    }

    fn histograms(&self, name: &str, help: &str, labels: &[&str], buckets: &[f64]) -> Result<HistogramVec> {
        self.add(HistogramVec::new(HistogramOpts::new(name, help).buckets(buckets.to_vec()), labels)?)
    }
}
