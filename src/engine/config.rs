//! What the engine is told when it starts, already believed: the configuration file's own shape is elsewhere.

use std::collections::BTreeMap;
use std::time::Duration;

use super::LimitPolicy;
use super::cache::CacheConfig;
use super::custody::{PROBE_SANDBOXES, SANDBOXES_PER_EXECUTION};
use crate::executors::Phase;

#[derive(Debug, Clone)]
pub struct EngineConfig {
    /// Executions at once; above zero.
    pub max_concurrent: usize,
    /// Executions that may wait for their turn; 0 refuses at once whatever can't start at once.
    pub queue_length: usize,
    /// How long one of them may wait.
    pub queue_timeout: Duration,
    /// How long a sandbox may take until it is ready.
    pub start_timeout: Duration,
    /// The runtime of a submission that names none.
    pub default_runtime: String,
    pub run: LimitPolicy,
    pub compile: LimitPolicy,
    /// CPU bandwidth of one sandbox, in thousandths of a CPU; `None` leaves it open.
    pub cpu_millis: Option<u32>,
    /// Executors whose interpreters are not started ahead.
    pub without_prestart: Vec<String>,
    /// Whether what is most often asked for is made ready as soon as it is known to be installed.
    pub keep_ready: bool,
    /// Whether what programs are, are given and say stands in the log.
    pub log_programs: bool,
    /// `None` compiles everything anew.
    pub cache: Option<CacheConfig>,
    /// The kind (`native`, `docker`, `containerd`) of each runtime by its name, for `GET /api/runtimes`.
    pub runtime_kinds: BTreeMap<String, String>,
}

impl EngineConfig {
    /// The built-in limits and this one runtime, of this kind; nothing made ahead, kept or logged. For who has no
    /// configuration.
    pub fn bare(runtime: &str, kind: &str) -> Self {
        Self {
            max_concurrent: 1,
            queue_length: 4,
            queue_timeout: Duration::from_secs(10),
            start_timeout: Duration::from_secs(10),
            default_runtime: runtime.to_owned(),
            run: LimitPolicy::RUN,
            compile: LimitPolicy::COMPILE,
            cpu_millis: None,
            without_prestart: Vec::new(),
            keep_ready: false,
            log_programs: false,
            cache: None,
            runtime_kinds: [(runtime.to_owned(), kind.to_owned())].into(),
        }
    }

    /// How long a program may take from there until it runs.
    pub fn program_start_timeout(&self) -> Duration {
        self.start_timeout / 2
    }

    pub fn policy(&self, phase: Phase) -> &LimitPolicy {
        match phase {
            Phase::Compile => &self.compile,
            Phase::Run => &self.run,
        }
    }

    /// Sandboxes that can exist at once on all runtimes together, those included that are being destroyed behind an
    /// answer and those in which the engine looks for itself. A runtime that makes fewer lets the rest wait.
    pub fn most_sandboxes(&self) -> usize {
        self.max_concurrent.saturating_mul(SANDBOXES_PER_EXECUTION).saturating_add(PROBE_SANDBOXES)
    }
}
