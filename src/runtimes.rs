//! The registry of runtimes: which crate makes which kind. A new kind is one line here.

use std::sync::Arc;

use sandboxd_contract::{Runtime, RuntimeError};
use sandboxd_native::{NativeConfig, NativeRuntime};

use crate::config::{Config, RuntimeConfig, RuntimeKind};

/// Starts a configured runtime; it makes no sandbox before it is asked to.
///
/// # Errors
/// When the system refuses even to begin. What the host lacks is told by the runtime's probe.
pub(crate) fn start(config: &Config, runtime: &RuntimeConfig) -> Result<Arc<dyn Runtime>, RuntimeError> {
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
