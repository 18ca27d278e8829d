//! What is counted and measured, in words of those who do it; `GET /metrics` prints it. What each is called is in
//! `families`.
//!
//! What others count by themselves (a runtime's stock, who waits in the queue) is read when somebody asks.

mod families;

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use prometheus::{Encoder, TextEncoder};
use sandboxd_contract::{RuntimeError, Stock, StockLevel};
use tokio::time::Instant;

use self::families::Families;
use crate::engine::{LimitName, Timing, Usage, Verdict};

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

/// Why a request that could have been executed was not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    QueueFull,
    QueueTimeout,
    Draining,
    RuntimeUnavailable,
    /// Requests and answers fill the memory that is for them.
    Memory,
}

impl Refusal {
    const ALL: [Self; 5] =
        [Self::QueueFull, Self::QueueTimeout, Self::Draining, Self::RuntimeUnavailable, Self::Memory];

    fn as_str(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::QueueTimeout => "queue_timeout",
            Self::Draining => "draining",
            Self::RuntimeUnavailable => "runtime_unavailable",
            Self::Memory => "memory",
        }
    }
}

/// The kinds of a runtime's failures.
const FAILURES: [&str; 4] = ["unavailable", "limit_not_held", "not_started", "sandbox"];

/// What there is to say of an execution that has ended.
pub struct Execution<'a> {
    pub language: &'a str,
    pub runtime: &'a str,
    pub verdict: Verdict,
    pub limit: Option<LimitName>,
    /// Of the program; `None` where it never ran.
    pub usage: Option<Usage>,
    pub timing: &'a Timing,
}

pub struct Metrics {
    families: Families,
    /// Since when those wait who wait.
    waiting: Mutex<BTreeSet<(Instant, u64)>>,
    waited: AtomicU64,
    stocks: Mutex<Vec<Watched>>,
}

/// A stock, and what has been told of it.
struct Watched {
    runtime: String,
    stock: Arc<Stock>,
    told: StockLevel,
}

impl Metrics {
    /// # Errors
    /// Only when two metrics share a name, which the tests rule out.
    pub fn new() -> Result<Self, prometheus::Error> {
        let families = Families::new()?;
        for refusal in Refusal::ALL {
            families.refusals.with_label_values(&[refusal.as_str()]).reset();
        }
        Ok(Self { families, waiting: Mutex::default(), waited: AtomicU64::new(0), stocks: Mutex::default() })
    }

    pub fn executed(&self, execution: &Execution<'_>) {
        let Execution { language, runtime, verdict, limit, usage, timing } = *execution;
        let families = &self.families;
        families.executions.with_label_values(&[language, runtime, verdict.as_str()]).inc();
        families
            .execution_duration
            .with_label_values(&[language, runtime])
            .observe(timing.total.as_secs_f64());
        if let Some(limit) = limit {
            families.execution_limits.with_label_values(&[language, runtime, limit.as_str()]).inc();
        }
        if verdict == Verdict::MemoryLimitExceeded {
            families.oom_kills.with_label_values(&[runtime]).inc();
        }
        let parts = [
            ("queue", timing.queue),
            ("sandbox", timing.sandbox),
            ("compile", timing.compile),
            ("run", timing.run),
        ];
        for (part, took) in parts {
            // What there was no need for is no short one.
            if took > Duration::ZERO || part == "queue" {
                families.execution_parts.with_label_values(&[runtime, part]).observe(took.as_secs_f64());
            }
        }
        let Some(usage) = usage else { return };
        if let Some(cpu_time) = usage.cpu_time {
            let cpu = families.execution_cpu.with_label_values(&[language, runtime]);
            cpu.observe(cpu_time.as_secs_f64());
        }
        if let Some(bytes) = usage.memory_peak_bytes {
            families.execution_memory.with_label_values(&[language, runtime]).observe(bytes as f64);
        }
    }

    pub fn refused(&self, refusal: Refusal) {
        self.families.refusals.with_label_values(&[refusal.as_str()]).inc();
    }

    /// Counts one who waits, until dropped.
    pub fn queued(&self) -> Queued<'_> {
        let key = (Instant::now(), self.waited.fetch_add(1, Relaxed));
        let length = {
            let mut waiting = lock(&self.waiting);
            waiting.insert(key);
            waiting.len()
        };
        self.set_queue_length(length);
        Queued { metrics: self, key }
    }

    fn set_queue_length(&self, length: usize) {
        self.families.queue_length.set(i64::try_from(length).unwrap_or(i64::MAX));
    }

    pub fn sandbox_entered(&self, runtime: &str, state: SandboxState) {
        self.families.sandboxes.with_label_values(&[runtime, state.as_str()]).inc();
    }

    pub fn sandbox_left(&self, runtime: &str, state: SandboxState) {
        self.families.sandboxes.with_label_values(&[runtime, state.as_str()]).dec();
    }

    pub fn destroyed(&self, runtime: &str, took: Duration) {
        self.families.destroy_duration.with_label_values(&[runtime]).observe(took.as_secs_f64());
    }

    pub fn destroy_retried(&self, runtime: &str) {
        self.families.destroy_retries.with_label_values(&[runtime]).inc();
    }

    pub fn leaked(&self, runtime: &str) {
        self.families.leaked.with_label_values(&[runtime]).inc();
    }

    pub fn swept(&self, runtime: &str, sandboxes: usize) {
        self.families.swept.with_label_values(&[runtime]).inc_by(sandboxes as u64);
    }

    /// Whether it made a sandbox when asked for one.
    pub fn set_runtime_up(&self, runtime: &str, up: bool) {
        self.families.runtime_up.with_label_values(&[runtime]).set(i64::from(up));
    }

    pub fn runtime_failed(&self, runtime: &str, error: &RuntimeError) {
        let [unavailable, limit_not_held, not_started, sandbox] = FAILURES;
        let kind = match error {
            RuntimeError::Unavailable { .. } => unavailable,
            RuntimeError::LimitNotHeld { .. } => limit_not_held,
            RuntimeError::NotStarted { .. } => not_started,
            RuntimeError::Sandbox { .. } => sandbox,
        };
        self.families.runtime_errors.with_label_values(&[runtime, kind]).inc();
    }

    pub fn compile_found(&self) {
        self.families.compile_hits.inc();
    }

    pub fn compile_not_found(&self) {
        self.families.compile_misses.inc();
    }

    pub fn set_compile_cache_bytes(&self, bytes: u64) {
        self.families.compile_cache_bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    pub fn compiles_evicted(&self, count: u64) {
        self.families.compile_evictions.inc_by(count);
    }

    pub fn compile_corrupt(&self) {
        self.families.compile_corrupt.inc();
    }

    /// Counts a request that is not answered yet, until dropped: its client may go first.
    pub fn in_flight(&self) -> InFlight<'_> {
        self.families.http_in_flight.inc();
        InFlight(self)
    }

    /// `method` and `route` come from a bounded set: never from what a client makes up.
    pub fn answered(&self, method: &'static str, route: &str, status: u16, duration: Duration) {
        self.families.http_requests.with_label_values(&[method, route, status.to_string().as_str()]).inc();
        self.families.http_duration.with_label_values(&[route]).observe(duration.as_secs_f64());
    }

    pub fn connection_opened(&self) {
        self.families.http_connections.inc();
    }

    pub fn connection_closed(&self) {
        self.families.http_connections.dec();
    }

    /// Lets every series of a runtime be there, so that a dashboard sees them before the first execution. What has been
    /// counted stays: it may be another engine's.
    pub fn announce_runtime(&self, runtime: &str) {
        let families = &self.families;
        for state in [SandboxState::Busy, SandboxState::Destroying] {
            families.sandboxes.with_label_values(&[runtime, state.as_str()]).add(0);
        }
        let counted = [&families.leaked, &families.oom_kills, &families.destroy_retries, &families.swept];
        for counters in counted {
            counters.with_label_values(&[runtime]).inc_by(0);
        }
        for kind in FAILURES {
            families.runtime_errors.with_label_values(&[runtime, kind]).inc_by(0);
        }
    }

    pub fn watch_stock(&self, runtime: &str, stock: Arc<Stock>) {
        let mut stocks = lock(&self.stocks);
        stocks.retain(|watched| watched.runtime != runtime);
        stocks.push(Watched { runtime: runtime.to_owned(), stock, told: StockLevel::default() });
    }

    /// The Prometheus text format, version 0.0.4.
    ///
    /// # Errors
    /// When the encoder fails, which it does for a metric without a name only.
    pub fn render(&self) -> Result<String, prometheus::Error> {
        self.look_around();
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.families.registry.gather(), &mut text)?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    fn look_around(&self) {
        let oldest = lock(&self.waiting).first().map(|(since, _)| since.elapsed());
        self.families.queue_oldest_wait.set(oldest.unwrap_or_default().as_secs_f64());
        for Watched { runtime, stock, told } in lock(&self.stocks).iter_mut() {
            let level = stock.level();
            for (state, count) in [("ready", level.ready), ("making", level.making)] {
                let gauge = self.families.pool.with_label_values(&[runtime.as_str(), state]);
                gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
            }
            if let Some(bytes) = level.ready_memory_bytes {
                let gauge = self.families.pool_memory.with_label_values(&[runtime.as_str()]);
                gauge.set(i64::try_from(bytes).unwrap_or(i64::MAX));
            }
            let taken = [
                ("ready", level.taken_ready - told.taken_ready),
                ("cold", level.taken_cold - told.taken_cold),
            ];
            for (how, more) in taken {
                self.families.pool_taken.with_label_values(&[runtime.as_str(), how]).inc_by(more);
            }
            *told = level;
        }
    }

    pub const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;
}

/// A panic while it was held leaves a list as it was.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub struct Queued<'a> {
    metrics: &'a Metrics,
    key: (Instant, u64),
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        let length = {
            let mut waiting = lock(&self.metrics.waiting);
            waiting.remove(&self.key);
            waiting.len()
        };
        self.metrics.set_queue_length(length);
    }
}

pub struct InFlight<'a>(&'a Metrics);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.families.http_in_flight.dec();
    }
}
