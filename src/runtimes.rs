//! The registry of runtimes: which crate makes which kind. A new kind is one line here.

use std::{path::PathBuf, sync::Arc};

use sandboxd_container::{Backend, ContainerConfig, ContainerRuntime, ImageError, ImageStore, ReadyPolicy};
use sandboxd_containerd::{CgroupDriver, ContainerdBackend, ContainerdConfig, ContainerdImages};
use sandboxd_contract::{Result, Runtime, Stock};
use sandboxd_docker::{DockerBackend, DockerConfig, DockerImages};
use sandboxd_native::{NativeConfig, NativeRuntime};

use crate::{
    config::{Config, ContainerdSettings, PoolSettings, RuntimeConfig, RuntimeKind},
    house::Stay,
};

/// Below the state folder: what the runtimes that keep containers have there.
const CONTAINERS: &str = "containers";

/// Starts a configured runtime; it makes no sandbox before it is asked to.
///
/// # Errors
/// When the system refuses even to begin. What the host lacks is told by the runtime's probe.
pub(crate) fn start(
    config: &Config,
    runtime: &RuntimeConfig,
    stay: Stay,
    stock: Arc<Stock>,
) -> Result<Arc<dyn Runtime>> {
    let containers = |backend: Arc<dyn Backend>, engine, pool: &PoolSettings| -> Result<Arc<dyn Runtime>> {
        let container = ContainerConfig {
            state_dir: config.state_dir.join(CONTAINERS),
            engine,
            ready: ReadyPolicy { warm: if stay == Stay::Long { pool.ready.warm } else { 0 }, ..pool.ready },
            start_timeout: config.execution.start_timeout,
            allow_missing: pool.allow_missing.clone(),
            stock: Arc::clone(&stock),
        };
        Ok(ContainerRuntime::start(&runtime.name, backend, container)?)
    };
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
                most: [&config.run_limits.max, &config.compile_limits.max]
                    .map(|most| crate::engine::kernel_limits(most, None))
                    .to_vec(),
                prestart: stay == Stay::Long,
                stock: Arc::clone(&stock),
            };
            Ok(NativeRuntime::start(&runtime.name, native)?)
        }
        RuntimeKind::Docker(docker) => {
            let settings =
                DockerConfig { host: docker.host.clone(), oci_runtime: docker.oci_runtime.clone() };
            let engine = format!("docker {}", docker.host);
            containers(Arc::new(DockerBackend::new(settings)), engine, &docker.pool)
        }
        RuntimeKind::Containerd(containerd) => {
            let settings = containerd_config(config, runtime, containerd);
            let engine = format!("containerd {} {}", containerd.address.display(), containerd.namespace);
            containers(Arc::new(ContainerdBackend::new(settings)), engine, &containerd.pool)
        }
    }
}

fn containerd_config(
    config: &Config,
    runtime: &RuntimeConfig,
    containerd: &ContainerdSettings,
) -> ContainerdConfig {
    ContainerdConfig {
        address: containerd.address.clone(),
        namespace: containerd.namespace.clone(),
        oci_runtime: containerd.oci_runtime.clone(),
        state_dir: config.state_dir.join(CONTAINERS).join(&runtime.name),
        snapshotter: containerd.snapshotter.clone(),
        cgroup_driver: containerd.cgroup_driver.unwrap_or_else(CgroupDriver::of_host),
    }
}

/// Where a configured runtime has its images.
///
/// # Errors
/// `None` for a kind that uses none.
pub(crate) fn images(
    config: &Config,
    runtime: &RuntimeConfig,
) -> std::result::Result<Arc<dyn ImageStore>, Option<ImageError>> {
    match &runtime.kind {
        RuntimeKind::Native(_) => Err(None),
        RuntimeKind::Docker(docker) => Ok(Arc::new(DockerImages::new(&docker.host)?)),
        RuntimeKind::Containerd(containerd) => {
            Ok(Arc::new(ContainerdImages::new(&containerd_config(config, runtime, containerd))))
        }
    }
}

/// The folder of prepared toolchains, made when it is not there; without it programs only compile slower.
fn toolchains(config: &Config) -> Option<PathBuf> {
    let folder = config.state_dir.join(crate::prepare::TOOLCHAINS);
    match std::fs::create_dir_all(&folder) {
        Ok(()) => Some(folder),
        Err(error) => {
            tracing::warn!(folder = %folder.display(), %error, "no folder for prepared toolchains");
            None
        }
    }
}
