//! The contract's runtime, over any backend.

use std::{fs::DirBuilder, os::unix::fs::DirBuilderExt as _, path::PathBuf, sync::Arc, time::Duration};

use async_trait::async_trait;
use sandboxd_cgroup::Adopted;
use sandboxd_contract::{
    KernelLimit, LimitSupport, Probe, Result, Runtime, RuntimeError, Sandbox, SandboxSpec, Stock, Swept,
};
use tokio::sync::OnceCell;

use crate::{
    agent_binary,
    backend::{Backend, Examined},
    meter::GVISOR_NEEDS_CGROUPS,
    owner::Owner,
    sandbox::ContainerSandbox,
    shelves::ReadyPolicy,
    yard::Yard,
};

#[derive(Debug, Clone)]
pub struct ContainerConfig {
    /// A folder that only this daemon's user can write: the agent's file and the daemon's name live there.
    pub state_dir: PathBuf,
    /// Which engine it is, in the words of its configuration: what one engine holds the others don't know.
    pub engine: String,
    pub ready: ReadyPolicy,
    /// From a container's start until its agent is ready, and from there until an interpreter waits in it.
    pub start_timeout: Duration,
    /// Limits that the engine may lack, by the operator's own word.
    pub allow_missing: Vec<KernelLimit>,
    /// Where it is counted what stands ready.
    pub stock: Arc<Stock>,
}

pub struct ContainerRuntime {
    name: String,
    config: ContainerConfig,
    yard: Arc<Yard>,
    tended: OnceCell<()>,
}

impl ContainerRuntime {
    /// Sets the runtime up; the engine is not asked for anything yet.
    ///
    /// # Errors
    /// [`RuntimeError::Unavailable`] when the state folder can't be used.
    pub fn start(name: &str, backend: Arc<dyn Backend>, config: ContainerConfig) -> Result<Arc<Self>> {
        let failed = |error: std::io::Error| {
            RuntimeError::unavailable(format!("the state folder {}: {error}", config.state_dir.display()))
        };
        DirBuilder::new().recursive(true).mode(0o755).create(&config.state_dir).map_err(failed)?;
        let agent = agent_binary::install(&config.state_dir.join("agent")).map_err(failed)?;
        let owner = Owner::claim(&config.state_dir.join("owners"), &config.engine).map_err(failed)?;
        let yard =
            Yard::new(backend, owner, agent, config.ready, config.start_timeout, Arc::clone(&config.stock));
        Ok(Arc::new(Self { name: name.to_owned(), config, yard, tended: OnceCell::new() }))
    }

    /// The name that this daemon's containers carry.
    pub fn owner(&self) -> &str {
        self.yard.owner()
    }

    fn support(&self, limit: KernelLimit, missing: &[(KernelLimit, String)]) -> LimitSupport {
        match missing.iter().find(|(one, _)| *one == limit) {
            None => LimitSupport::Held,
            Some((_, reason)) if self.config.allow_missing.contains(&limit) => {
                LimitSupport::Waived(reason.clone())
            }
            Some((_, reason)) => LimitSupport::Missing(reason.clone()),
        }
    }
}

#[async_trait]
impl Runtime for ContainerRuntime {
    fn name(&self) -> &str {
        &self.name
    }

    async fn probe(&self) -> Probe {
        match self.yard.examine().await {
            Ok(mut examined) => {
                examined.missing.extend(unwritable(&examined));
                let limits =
                    KernelLimit::ALL.map(|limit| (limit, self.support(limit, &examined.missing))).to_vec();
                let mut details = examined.details;
                if examined.gvisor {
                    let what = "a kernel of its own counts the tasks, and tells nobody whom it refuses one";
                    details.push(("gvisor", what.to_owned()));
                }
                details.push(("ready", self.yard.ready().to_string()));
                Probe { available: Ok(()), limits, details }
            }
            Err(reason) => {
                let limits = KernelLimit::ALL.map(|limit| (limit, LimitSupport::Missing(reason.clone())));
                Probe { available: Err(reason), limits: limits.to_vec(), details: Vec::new() }
            }
        }
    }

    async fn launch(&self, spec: &SandboxSpec) -> Result<Box<dyn Sandbox>> {
        self.tended.get_or_init(|| async { self.yard.tend() }).await;
        let cell = self.yard.take(spec).await?;
        Ok(Box::new(ContainerSandbox::new(Arc::clone(&self.yard), spec.clone(), cell)))
    }

    async fn sweep(&self) -> Result<Swept> {
        self.yard.sweep().await
    }

    async fn shutdown(&self) -> Result<()> {
        self.yard.close().await
    }
}

/// The limit of memory of a guest kernel is changed in its cgroup alone: whether that can be done here.
fn unwritable(examined: &Examined) -> Option<(KernelLimit, String)> {
    let needed = examined.gvisor && examined.local && !Adopted::can_be_limited();
    needed.then(|| (KernelLimit::Memory, GVISOR_NEEDS_CGROUPS.to_owned()))
}
