//! Containers of containerd, for sandboxes: a [`Backend`] over containerd's own API, with runc or gVisor below and no
//! Docker in between.
//!
//! `engine` reaches containerd; `oci` and `seccomp` say what a container is; `oci_runtime` finds who makes it; `launch`
//! makes it, `handle` ends it, `leftovers` finds what a dead daemon left. `images` is for the command line alone.

mod cgroups;
mod engine;
mod fifos;
mod handle;
mod images;
mod launch;
mod leftovers;
mod lookup;
mod oci;
mod oci_runtime;
mod seccomp;
mod shim;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use async_trait::async_trait;
use containerd_client::services::v1::PluginsRequest;
use sandboxd_container::{Backend, Container, ContainerSpec, Examined, Leftover, make_container};
use sandboxd_contract::{Result, RuntimeError};
use tokio::sync::OnceCell;

pub use crate::images::ContainerdImages;
#[cfg(feature = "fuzzing")]
pub use crate::images::fuzzing;
use crate::{engine::Engine, lookup::Lookup, oci::Host, oci_runtime::OciRuntime};

/// One containerd, as configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerdConfig {
    /// Its socket.
    pub address: PathBuf,
    /// Where it keeps our images and containers, apart from those of others.
    pub namespace: String,
    /// `runc`, `runsc`, the absolute path of a program like them, or the name of a shim.
    pub oci_runtime: String,
    /// For pipes, and for the script that runsc is run by: a folder that nobody else can write.
    pub state_dir: PathBuf,
    pub snapshotter: String,
    pub cgroup_driver: CgroupDriver,
}

/// Who makes a container's cgroup.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum CgroupDriver {
    /// The OCI runtime, with its own hands.
    #[default]
    Cgroupfs,
    /// systemd, asked by the OCI runtime.
    Systemd,
}

impl CgroupDriver {
    /// systemd's where it runs the host's one hierarchy, since it alone should write there; nobody else does on v1.
    pub fn of_host() -> Self {
        Self::by_signs(Path::new("/run/systemd/system"), Path::new(cgroups::ROOT))
    }

    /// That folder is systemd's own sign that it is the first process.
    fn by_signs(systemd: &Path, root: &Path) -> Self {
        if systemd.is_dir() && cgroups::examine(root).0 { Self::Systemd } else { Self::Cgroupfs }
    }
}

impl ContainerdConfig {
    pub const DEFAULT_ADDRESS: &str = "/run/containerd/containerd.sock";
    pub const DEFAULT_NAMESPACE: &str = "sandboxd";
    pub const DEFAULT_SNAPSHOTTER: &str = "overlayfs";

    /// What an ordinary containerd takes, with state in this folder.
    pub fn new(state_dir: PathBuf) -> Self {
        Self {
            address: Self::DEFAULT_ADDRESS.into(),
            namespace: Self::DEFAULT_NAMESPACE.to_owned(),
            oci_runtime: "runc".to_owned(),
            state_dir,
            snapshotter: Self::DEFAULT_SNAPSHOTTER.to_owned(),
            cgroup_driver: CgroupDriver::default(),
        }
    }
}

/// The engine; cheap to make, since nothing is reached before it is needed.
pub struct ContainerdBackend {
    shared: Arc<Shared>,
}

/// What the backend and all its containers have in common.
pub(crate) struct Shared {
    config: ContainerdConfig,
    engine: Engine,
    lookup: Lookup,
    oci_runtime: OnceCell<OciRuntime>,
    cgroup_v2: bool,
    swap_accounting: bool,
}

impl ContainerdBackend {
    pub fn new(config: ContainerdConfig) -> Self {
        let engine = Engine::new(config.address.clone(), config.namespace.clone());
        let (cgroup_v2, swap_accounting) = cgroups::examine(Path::new(cgroups::ROOT));
        let (lookup, oci_runtime) = (Lookup::default(), OnceCell::new());
        let shared = Shared { config, engine, lookup, oci_runtime, cgroup_v2, swap_accounting };
        Self { shared: Arc::new(shared) }
    }
}

impl Shared {
    /// Found once; what could not be found is looked for again the next time.
    async fn oci_runtime(&self) -> std::result::Result<&OciRuntime, String> {
        let find = || async {
            let (name, state_dir) = (self.config.oci_runtime.clone(), self.config.state_dir.clone());
            let systemd = self.config.cgroup_driver == CgroupDriver::Systemd;
            let found =
                tokio::task::spawn_blocking(move || OciRuntime::find(&name, systemd, &state_dir)).await;
            found.unwrap_or_else(|error| Err(error.to_string()))
        };
        self.oci_runtime.get_or_try_init(find).await
    }

    fn host(&self, gvisor: bool) -> Host {
        Host { cgroup_v2: self.cgroup_v2, swap_accounting: self.swap_accounting, gvisor }
    }

    /// Whether containerd has the snapshotter and could start it.
    async fn check_snapshotter(&self) -> std::result::Result<(), String> {
        let wanted = &self.config.snapshotter;
        let mut introspection = self.engine.introspection().await.map_err(|trouble| trouble.to_string())?;
        let request = PluginsRequest { filters: vec!["type==io.containerd.snapshotter.v1".to_owned()] };
        let plugins =
            self.engine.call("introspection.Plugins", request, |request| introspection.plugins(request));
        let plugins = plugins.await.map_err(|trouble| trouble.to_string())?.plugins;
        match plugins.iter().find(|plugin| plugin.id == *wanted) {
            None => Err(format!("containerd has no snapshotter {wanted}; see: ctr plugins ls")),
            Some(plugin) => match &plugin.init_err {
                Some(error) => {
                    Err(format!("containerd's snapshotter {wanted} does not work: {}", error.message))
                }
                None => Ok(()),
            },
        }
    }
}

#[async_trait]
impl Backend for ContainerdBackend {
    async fn examine(&self) -> std::result::Result<Examined, String> {
        let shared = &self.shared;
        let mut version = shared.engine.version().await.map_err(|trouble| trouble.to_string())?;
        let answer = shared.engine.call("version.Version", (), |request| version.version(request)).await;
        let version = answer.map_err(|trouble| trouble.to_string())?.version;
        shared.check_snapshotter().await?;
        let runtime = shared.oci_runtime().await?;
        let systemd = shared.config.cgroup_driver == CgroupDriver::Systemd;
        let mut details = vec![("containerd", version)];
        details.extend(runtime.details.iter().cloned());
        details.push(("snapshotter", shared.config.snapshotter.clone()));
        details.push(("namespace", shared.engine.namespace().to_owned()));
        details.push(("cgroups", oci_runtime::cgroup_detail(systemd)));
        Ok(Examined { details, gvisor: runtime.gvisor, missing: Vec::new(), local: true })
    }

    async fn create(&self, spec: &ContainerSpec) -> Result<Container> {
        let made = make_container(spec.name.clone(), launch::launch(self.shared.clone(), spec.clone())).await;
        made.unwrap_or_else(|| Err(RuntimeError::unavailable("the daemon is ending")))
    }

    async fn list(&self) -> Result<Vec<Leftover>> {
        leftovers::list(&self.shared).await.map_err(|trouble| trouble.on_use("list containers"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn systemd_makes_cgroups_where_it_runs_the_one_hierarchy() {
        let host = tempfile::tempdir().unwrap();
        let (systemd, root) = (host.path().join("systemd"), host.path().join("cgroup"));
        std::fs::create_dir(&root).unwrap();
        let driver = || CgroupDriver::by_signs(&systemd, &root);
        assert_eq!(driver(), CgroupDriver::Cgroupfs);
        std::fs::create_dir(&systemd).unwrap();
        assert_eq!(driver(), CgroupDriver::Cgroupfs, "on v1");
        std::fs::write(root.join("cgroup.controllers"), "").unwrap();
        assert_eq!(driver(), CgroupDriver::Systemd);
        std::fs::remove_dir(&systemd).unwrap();
        assert_eq!(driver(), CgroupDriver::Cgroupfs);
    }
}
