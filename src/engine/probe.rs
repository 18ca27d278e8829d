//! Runs one short command of the engine's own in a sandbox, beside the queue: that is how it finds out what is
//! installed and whether it can run anything at all. What the answer means is for `discovery` and `readiness`.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use sandboxd_contract::{Result, Runtime, RuntimeError, SandboxSpec};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::custody::{Custody, Purpose};
use super::plan::kernel_limits;
use super::supervise::{Outcome, Watch, supervise};
use super::{EngineConfig, LimitName};
use crate::executors::{Executor, Phase};

/// A JVM on a busy machine answers in seconds.
const WALL_TIME: Duration = Duration::from_secs(15);
const OUTPUT_BYTES: u64 = 64 * 1024;

/// Runs the version command of `executor`. Dropping the future ends it.
///
/// # Errors
/// The runtime's; whatever the command did is an outcome.
pub(super) async fn version_command(
    executor: &Executor,
    runtime: &Arc<dyn Runtime>,
    config: &EngineConfig,
    custody: &Custody,
) -> Result<Outcome> {
    // The toolchain has to fit under the limits of the phase it is for.
    let mut limits = match executor.compile {
        Some(_) => executor.default_limits(Phase::Compile, &config.compile),
        None => executor.default_limits(Phase::Run, &config.run),
    };
    let millis = u64::try_from(WALL_TIME.as_millis()).unwrap_or(u64::MAX);
    limits.set(LimitName::WallTimeMs, millis);
    limits.set(LimitName::CpuTimeMs, millis);
    limits.set(LimitName::OutputBytes, OUTPUT_BYTES);
    let kernel = kernel_limits(&limits, config.cpu_millis);

    let spec = SandboxSpec::once(&executor.id, kernel);
    let mut lease = custody.launch(runtime, &spec, Purpose::Probe).await?;
    let started =
        timeout(config.program_start_timeout(), lease.sandbox.start(executor.version_probe(), &kernel))
            .await
            .unwrap_or_else(|_| Err(RuntimeError::sandbox("start", "took too long")))?;
    let watch = Watch { limits: &limits, cancel: &CancellationToken::new(), consumer: None, cpus: 1 };
    supervise(&*lease.sandbox, started, Bytes::new(), watch).await
}
