//! The registry of runtimes: which crate makes which kind. A new kind is one line here.

use std::sync::Arc;

use async_trait::async_trait;
use sandboxd_contract::{
    KernelLimit, LimitSupport, Probe, Result, Runtime, RuntimeError, Sandbox, SandboxSpec, Swept,
};
use sandboxd_native::{NativeConfig, NativeRuntime};

use crate::{
    config::{Config, RuntimeConfig, RuntimeKind},
    house::Stay,
};

/// Starts a configured runtime; it makes no sandbox before it is asked to.
///
/// # Errors
/// When the system refuses even to begin. What the host lacks is told by the runtime's probe.
pub(crate) fn start(config: &Config, runtime: &RuntimeConfig, stay: Stay) -> Result<Arc<dyn Runtime>> {
    match &runtime.kind {
        RuntimeKind::Native(native) => {
            let native = NativeConfig {
                lanes: native.lanes,
                rootfs: native.rootfs.clone(),
                toolchains: toolchains(config),
                uid_base: native.uid_base,
                allow_missing: native.allow_missing.clone(),
                expected: crate::engine::kernel_limits(
                    &config.run_limits.default,
                    config.execution.cpu_millis,
                ),
            };
            Ok(NativeRuntime::start(&runtime.name, native)?)
        }
        kind => Ok(Arc::new(Absent { name: runtime.name.clone(), kind: kind.name() })),
    }
}

/// The folder of prepared toolchains, made when it is not there; without it programs only compile slower.
fn toolchains(config: &Config) -> Option<std::path::PathBuf> {
    let folder = config.state_dir.join(crate::prepare::TOOLCHAINS);
    match std::fs::create_dir_all(&folder) {
        Ok(()) => Some(folder),
        Err(error) => {
            tracing::warn!(folder = %folder.display(), %error, "no folder for prepared toolchains");
            None
        }
    }
}

/// A runtime that is configured and not built in: it is listed, says why it can't be used, and makes nothing.
struct Absent {
    name: String,
    kind: &'static str,
}

impl Absent {
    fn reason(&self) -> String {
        format!("runtimes of kind {} are not built into this version", self.kind)
    }
}

#[async_trait]
impl Runtime for Absent {
    fn name(&self) -> &str {
        &self.name
    }

    async fn probe(&self) -> Probe {
        let limits = KernelLimit::ALL.map(|limit| (limit, LimitSupport::Missing(self.reason())));
        Probe { available: Err(self.reason()), limits: limits.to_vec(), details: Vec::new() }
    }

    async fn launch(&self, _: &SandboxSpec) -> Result<Box<dyn Sandbox>> {
        Err(RuntimeError::unavailable(self.reason()))
    }

    async fn sweep(&self) -> Result<Swept> {
        Ok(Swept::default())
    }

    async fn shutdown(&self) -> Result<()> {
        Ok(())
    }
}
