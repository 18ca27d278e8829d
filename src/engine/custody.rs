//! Sandboxes in the engine's hands, from their launch to their end. Whoever takes one holds a [`Lease`]; when that is
//! dropped, for whatever reason, the sandbox is destroyed in a task of its own. What runs in one is not known here.
//!
//! ```text
//!  launch ──> Lease ──drop──> destroy ──> gone
//!                               │  ^
//!                               v  │ failed: again after a pause, so many times
//!                             leaked: counted, and left to the runtime's sweep
//! ```
//!
//! A sandbox keeps its slot until it is gone, so sandboxes that take long to die hold up new ones instead of piling
//! up behind the answers.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sandboxd_contract::{
    CollectRequest, Collected, Command, Facts, File, KernelLimits, Result, Runtime, RuntimeError, Sandbox,
    SandboxSpec, Started,
};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::task::TaskTracker;

use super::config::EngineConfig;
use crate::telemetry::Metrics;
use crate::telemetry::metrics::SandboxState;

pub(super) const DESTROY_TIMEOUT: Duration = Duration::from_secs(5);
pub(super) const DESTROY_ATTEMPTS: u32 = 10;
/// Doubled after each failure.
const DESTROY_FIRST_PAUSE: Duration = Duration::from_millis(50);
const DESTROY_LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// For each execution at once: the sandbox it runs in, and those behind it that are being destroyed.
pub(super) const SANDBOXES_PER_EXECUTION: usize = 3;
/// The sandboxes in which the engine looks for itself how things are, beside all executions.
pub(super) const PROBE_SANDBOXES: usize = 4;

pub(super) struct Custody {
    /// Of the making of a sandbox, the wait for a slot included.
    start_timeout: Duration,
    metrics: Arc<Metrics>,
    execution_slots: Arc<Semaphore>,
    probe_slots: Arc<Semaphore>,
    /// Every destroy that is under way.
    tasks: TaskTracker,
}

/// Whose sandbox it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    Execution,
    /// Discovery and readiness: never behind user work.
    Probe,
}

/// A sandbox in use.
pub(super) struct Lease {
    pub sandbox: Box<dyn Sandbox>,
    keep: Option<Keep>,
}

/// What a sandbox's end needs.
struct Keep {
    runtime: String,
    metrics: Arc<Metrics>,
    slot: OwnedSemaphorePermit,
    tasks: TaskTracker,
    handle: Handle,
}

impl Custody {
    pub(super) fn new(config: &EngineConfig, tasks: TaskTracker, metrics: Arc<Metrics>) -> Self {
        let slots =
            config.max_concurrent.saturating_mul(SANDBOXES_PER_EXECUTION).clamp(1, Semaphore::MAX_PERMITS);
        Self {
            start_timeout: config.start_timeout,
            metrics,
            execution_slots: Arc::new(Semaphore::new(slots)),
            probe_slots: Arc::new(Semaphore::new(PROBE_SANDBOXES)),
            tasks,
        }
    }

    /// Dropping the future gives up.
    ///
    /// # Errors
    /// The runtime's; [`RuntimeError::Unavailable`] also when it takes too long.
    pub(super) async fn launch(
        &self,
        runtime: &Arc<dyn Runtime>,
        spec: &SandboxSpec,
        purpose: Purpose,
    ) -> Result<Lease> {
        let slots = match purpose {
            Purpose::Execution => &self.execution_slots,
            Purpose::Probe => &self.probe_slots,
        };
        let launch = async {
            let slot = Arc::clone(slots).acquire_owned().await.map_err(RuntimeError::unavailable)?;
            let sandbox = runtime.launch(spec).await;
            let down = matches!(sandbox, Err(RuntimeError::Unavailable { .. }));
            self.metrics.set_runtime_up(runtime.name(), !down);
            let sandbox = sandbox?;
            Ok(self.lease(runtime.name(), sandbox, slot))
        };
        timeout(self.start_timeout, launch).await.unwrap_or_else(|_| {
            let ms = self.start_timeout.as_millis();
            Err(RuntimeError::unavailable(format!("it made no sandbox within {ms} ms")))
        })
    }

    fn lease(&self, runtime: &str, sandbox: Box<dyn Sandbox>, slot: OwnedSemaphorePermit) -> Lease {
        self.metrics.sandbox_entered(runtime, SandboxState::Busy);
        let keep = Keep {
            runtime: runtime.to_owned(),
            metrics: Arc::clone(&self.metrics),
            slot,
            tasks: self.tasks.clone(),
            handle: Handle::current(),
        };
        Lease { sandbox, keep: Some(keep) }
    }
}

/// Only hands over: the work is done in the task.
impl Drop for Lease {
    fn drop(&mut self) {
        let sandbox = std::mem::replace(&mut self.sandbox, Box::new(HandedOver));
        if let Some(keep) = self.keep.take() {
            let (tasks, handle) = (keep.tasks.clone(), keep.handle.clone());
            tasks.spawn_on(keep.destroy(sandbox), &handle);
        }
    }
}

impl Keep {
    async fn destroy(self, mut sandbox: Box<dyn Sandbox>) {
        let runtime = &self.runtime;
        self.metrics.sandbox_left(runtime, SandboxState::Busy);
        self.metrics.sandbox_entered(runtime, SandboxState::Destroying);
        let began = Instant::now();
        if let Err(error) = destroy_with_retries(&mut *sandbox, runtime, &self.metrics).await {
            tracing::error!(runtime, %error, "a sandbox could not be destroyed: it is leaked");
            self.metrics.leaked(runtime);
        }
        self.metrics.destroyed(runtime, began.elapsed());
        self.metrics.sandbox_left(runtime, SandboxState::Destroying);
        // Only now may another one take its place.
        drop(self.slot);
    }
}

async fn destroy_with_retries(sandbox: &mut dyn Sandbox, runtime: &str, metrics: &Metrics) -> Result<()> {
    let mut pause = DESTROY_FIRST_PAUSE;
    let mut attempt = 1;
    loop {
        let destroyed = timeout(DESTROY_TIMEOUT, sandbox.destroy())
            .await
            .unwrap_or_else(|_| Err(RuntimeError::sandbox("destroy", "took too long")));
        match destroyed {
            Err(error) if attempt < DESTROY_ATTEMPTS => {
                tracing::warn!(runtime, attempt, %error, "a sandbox was not destroyed; trying again");
                metrics.destroy_retried(runtime);
            }
            settled => return settled,
        }
        sleep(pause).await;
        pause = (pause * 2).min(DESTROY_LONGEST_PAUSE);
        attempt += 1;
    }
}

/// Stands in a lease whose sandbox was handed over, which nobody can hold any more.
struct HandedOver;

impl HandedOver {
    fn error<T>() -> Result<T> {
        Err(RuntimeError::sandbox("use", "the sandbox was given up"))
    }
}

#[async_trait]
impl Sandbox for HandedOver {
    async fn put(&mut self, _files: Vec<File>) -> Result<()> {
        Self::error()
    }

    async fn start(&mut self, _command: Command, _limits: &KernelLimits) -> Result<Started> {
        Self::error()
    }

    async fn facts(&self) -> Result<Facts> {
        Self::error()
    }

    async fn collect(&mut self, _request: &CollectRequest) -> Result<Collected> {
        Self::error()
    }

    async fn destroy(&mut self) -> Result<()> {
        Ok(())
    }
}
