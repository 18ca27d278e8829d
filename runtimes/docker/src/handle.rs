//! One container: other limits, the engine's word on it, its end. Called by the container runtime.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use bollard::query_parameters::{RemoveContainerOptionsBuilder, StatsOptionsBuilder};
use futures_util::StreamExt as _;
use sandboxd_container::{Handle, Witness};
use sandboxd_contract::{KernelLimits, Result, RuntimeError};

use crate::{
    call::{ASK_DEADLINE, MAKE_DEADLINE, REMOVE_DEADLINE, call},
    engine::Engine,
    error::Failure,
    spec_to_config::update_body,
};

pub(crate) struct DockerHandle {
    engine: Arc<Engine>,
    /// Its id, or its name as long as the id is not known.
    container: String,
}

impl DockerHandle {
    pub(crate) fn new(engine: Arc<Engine>, container: String) -> Self {
        Self { engine, container }
    }

    /// Kills and removes it; what is gone already is no failure.
    pub(crate) async fn try_remove(&self) -> std::result::Result<Removed, Failure> {
        let options = RemoveContainerOptionsBuilder::default().force(true).v(true).build();
        let removal = self.engine.docker.remove_container(&self.container, Some(options));
        match call(&self.engine.host, REMOVE_DEADLINE, removal).await {
            Ok(()) => Ok(Removed::Now),
            Err(failure) if failure.is_not_found() => Ok(Removed::WasGone),
            // Another removal of it runs: what we ask for is being done.
            Err(Failure::Refused { status: 409, message }) if message.contains("in progress") => {
                Ok(Removed::Now)
            }
            Err(failure) => Err(failure),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Removed {
    Now,
    WasGone,
}

#[async_trait]
impl Handle for DockerHandle {
    async fn update(&self, limits: &KernelLimits) -> Result<()> {
        const OPERATION: &str = "docker: update the limits";
        if self.engine.target.gvisor {
            return Err(RuntimeError::sandbox(OPERATION, "gVisor does not take other limits while it runs"));
        }
        let update = self.engine.docker.update_container(&self.container, update_body(limits, false)?);
        call(&self.engine.host, MAKE_DEADLINE, update)
            .await
            .map_err(|failure| failure.into_runtime(OPERATION))
    }

    fn saw_out_of_memory(&self) -> Option<bool> {
        self.engine.memory_events.as_ref().map(|events| events.saw(&self.container))
    }

    async fn witness(&self) -> Result<Witness> {
        let inspection = self.engine.docker.inspect_container(&self.container, None);
        let state = match call(&self.engine.host, ASK_DEADLINE, inspection).await {
            Ok(answer) => answer.state.unwrap_or_default(),
            Err(failure) if failure.is_not_found() => {
                return Ok(Witness { running: Some(false), ..Witness::default() });
            }
            Err(failure) => return Err(failure.into_runtime("docker: inspect")),
        };
        Ok(Witness { running: state.running, out_of_memory: state.oom_killed })
    }

    /// Of what runs only: for anything else the engine answers zeros.
    async fn cpu_time(&self) -> Option<Duration> {
        let options = StatsOptionsBuilder::default().stream(false).one_shot(true).build();
        let mut answers = self.engine.docker.stats(&self.container, Some(options));
        let first = async { answers.next().await.transpose() };
        let stats = call(&self.engine.host, ASK_DEADLINE, first).await.ok().flatten()?;
        stats.cpu_stats?.cpu_usage?.total_usage.filter(|ns| *ns > 0).map(Duration::from_nanos)
    }

    async fn remove(&self) -> Result<()> {
        match self.try_remove().await {
            Ok(Removed::Now | Removed::WasGone) => Ok(()),
            Err(failure) => Err(failure.into_runtime("docker: remove")),
        }
    }
}
