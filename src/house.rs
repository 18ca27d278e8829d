//! From a configuration to a working engine: catalog, runtimes, sweep, probe. Shared by `serve`, `run` and `doctor`.

use std::sync::Arc;

use sandboxd_contract::{Runtime, Stock};

use crate::{
    config::{Config, RuntimeConfig},
    engine::{CacheConfig, Engine, EngineConfig, PlanError, Report, Submission, Violation},
    executors::Catalog,
    runtimes,
    telemetry::Metrics,
};

/// What the house is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stay {
    /// A daemon: what is often asked for is kept ready.
    Long,
    /// One thing is done, and nothing made ahead.
    Short,
}

pub(crate) struct House {
    pub(crate) engine: Arc<Engine>,
    runtimes: Vec<Running>,
}

/// A runtime, and what it was made from.
#[derive(Clone)]
struct Running {
    config: RuntimeConfig,
    runtime: Arc<dyn Runtime>,
}

/// Why there is no house.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct HouseError(String);

impl House {
    /// Starts every configured runtime, after removing what an earlier daemon that is dead left behind.
    ///
    /// # Errors
    /// When a runtime can't even begin. One that turns out to be unavailable is told by its probe.
    pub(crate) async fn build(config: &Config, catalog: Catalog, stay: Stay) -> Result<Self, HouseError> {
        let metrics = Metrics::new().map_err(|error| HouseError(format!("make the metrics: {error}")))?;
        Self::with(config, catalog, stay, Arc::new(metrics), &[]).await
    }

    /// Another house beside this one, with those of its runtimes that are configured as they were.
    ///
    /// # Errors
    /// As for [`House::build`]; what was started for it has ended again.
    pub(crate) async fn rebuild(&self, config: &Config, catalog: Catalog) -> Result<Self, HouseError> {
        let metrics = Arc::clone(self.engine.metrics());
        Self::with(config, catalog, Stay::Long, metrics, &self.runtimes).await
    }

    async fn with(
        config: &Config,
        catalog: Catalog,
        stay: Stay,
        metrics: Arc<Metrics>,
        there: &[Running],
    ) -> Result<Self, HouseError> {
        let mut running: Vec<Running> = Vec::new();
        for configured in &config.runtimes {
            if let Some(same) = there.iter().find(|one| one.config == *configured) {
                running.push(same.clone());
                continue;
            }
            let failed =
                |error: &dyn std::fmt::Display| HouseError(format!("runtime {}: {error}", configured.name));
            let stock = Arc::<Stock>::default();
            metrics.watch_stock(&configured.name, Arc::clone(&stock));
            let runtime = match runtimes::start(config, configured, stay, stock) {
                Ok(runtime) => runtime,
                Err(error) => {
                    close(&without(&running, there)).await;
                    return Err(failed(&error));
                }
            };
            match runtime.sweep().await {
                Ok(swept) if swept.sandboxes > 0 || swept.processes > 0 => {
                    let (sandboxes, processes) = (swept.sandboxes, swept.processes);
                    metrics.swept(&configured.name, sandboxes);
                    tracing::info!(
                        runtime = configured.name,
                        sandboxes,
                        processes,
                        "swept what a dead daemon left"
                    );
                }
                Ok(_) => {}
                Err(error) => tracing::warn!(runtime = configured.name, %error, "could not sweep"),
            }
            running.push(Running { config: configured.clone(), runtime });
        }
        let runtimes = running.iter().map(|one| Arc::clone(&one.runtime)).collect();
        let engine = Engine::new(engine_config(config, stay), catalog, runtimes, metrics);
        Ok(Self { engine, runtimes: running })
    }

    /// Why the default runtime can't be used as configured, one line for each reason.
    pub(crate) async fn refusals(&self, config: &Config) -> Vec<String> {
        let default = &config.execution.default_runtime;
        let Some(runtime) = self.runtime(default) else {
            return vec![format!("there is no runtime {default}")];
        };
        let probe = runtime.probe().await;
        if let Err(reason) = &probe.available {
            return vec![format!("runtime {default}: {reason}")];
        }
        let missing: Vec<_> = probe.missing().map(|(limit, _)| format!("{:?}", limit.name())).collect();
        let refusal = |(limit, reason): (sandboxd_contract::KernelLimit, &str)| {
            let accept = format!("[runtimes.{default}] allow_missing = [{}]", missing.join(", "));
            format!(
                "runtime {default} can't hold the {} limit: {reason} (to run without it: {accept})",
                limit.name()
            )
        };
        probe.missing().map(refusal).collect()
    }

    /// Whether the default runtime is an engine outside of us that can't be reached now, but may be at any time: a
    /// daemon waits for it, and says meanwhile that it is not ready.
    pub(crate) async fn waits_for_engine(&self, config: &Config) -> bool {
        let default = &config.execution.default_runtime;
        match self.runtime(default).filter(|_| config.depends_on_an_engine()) {
            Some(runtime) => runtime.probe().await.available.is_err(),
            None => false,
        }
    }

    /// Runs one program to its report.
    ///
    /// # Errors
    /// One sentence: what is wrong with it, or with what should run it.
    pub(crate) async fn execute(&self, submission: Submission) -> Result<Report, String> {
        let plan = self.engine.plan(submission).await.map_err(|error| match error {
            PlanError::Invalid(violations) => {
                violations.iter().map(Violation::to_string).collect::<Vec<_>>().join("; ")
            }
            PlanError::Execute(error) => error.to_string(),
        })?;
        self.engine.execute(plan, None).await.map_err(|error| error.to_string())
    }

    /// Ends all runtimes and removes what they made on the host.
    pub(crate) async fn close(&self) {
        close(&self.runtimes).await;
    }

    /// Ends those that the other house does not have.
    pub(crate) async fn close_all_but(&self, other: &Self) {
        close(&without(&self.runtimes, &other.runtimes)).await;
    }

    fn runtime(&self, name: &str) -> Option<&Arc<dyn Runtime>> {
        self.runtimes.iter().map(|one| &one.runtime).find(|runtime| runtime.name() == name)
    }
}

/// Those that are not among the others.
fn without(some: &[Running], others: &[Running]) -> Vec<Running> {
    let is_there = |one: &Running| others.iter().any(|other| Arc::ptr_eq(&one.runtime, &other.runtime));
    some.iter().filter(|one| !is_there(one)).cloned().collect()
}

async fn close(runtimes: &[Running]) {
    for Running { runtime, .. } in runtimes {
        if let Err(error) = runtime.shutdown().await {
            tracing::warn!(runtime = runtime.name(), %error, "could not shut down cleanly");
        }
    }
}

/// The engine's part of the configuration.
pub(crate) fn engine_config(config: &Config, stay: Stay) -> EngineConfig {
    let kind =
        |runtime: &crate::config::RuntimeConfig| (runtime.name.clone(), runtime.kind.name().to_owned());
    let origin = |runtime: &crate::config::RuntimeConfig| (runtime.name.clone(), runtime.kind.origin());
    EngineConfig {
        max_concurrent: config.execution.max_concurrent,
        queue_length: config.execution.queue_length,
        queue_timeout: config.execution.queue_timeout,
        start_timeout: config.execution.start_timeout,
        default_runtime: config.execution.default_runtime.clone(),
        run: config.run_limits,
        compile: config.compile_limits,
        cpu_millis: config.execution.cpu_millis,
        without_prestart: config.without_prestart.clone(),
        keep_ready: stay == Stay::Long,
        log_programs: config.log.programs && stay == Stay::Long,
        cache: (config.cache.max_bytes > 0).then(|| CacheConfig {
            folder: config.cache.folder.clone(),
            max_bytes: config.cache.max_bytes,
            origins: config.runtimes.iter().map(origin).collect(),
        }),
        runtime_kinds: config.runtimes.iter().map(kind).collect(),
    }
}
