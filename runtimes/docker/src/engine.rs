//! The backend itself, and its connection: made at the first use, found out about once, found out about again after an
//! outage. Called by the container runtime.

use std::{collections::HashMap, io, sync::Arc};

use async_trait::async_trait;
use bollard::{
    API_DEFAULT_VERSION, Docker,
    models::{SystemInfo, SystemInfoCgroupVersionEnum, SystemVersion},
    query_parameters::ListContainersOptionsBuilder,
};
use sandboxd_container::{
    Backend, Container, ContainerSpec, Examined, Leftover,
    backend::{OWNER_LABEL, SANDBOX_LABEL},
};
use sandboxd_contract::Result;
use tokio::sync::{Mutex, OnceCell};

use crate::{
    call::{ASK_DEADLINE, MAKE_DEADLINE, call},
    create,
    error::Failure,
    examine,
    handle::DockerHandle,
    host::{self, Peer},
    memory_events::MemoryEvents,
    spec_to_config::{Target, create_body},
};

/// One configured Docker Engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DockerConfig {
    /// `unix:///var/run/docker.sock` or `tcp://host:port`.
    pub host: String,
    /// A name that is registered with the engine: `runc`, `runsc`.
    pub oci_runtime: String,
}

pub struct DockerBackend {
    config: DockerConfig,
    engine: Mutex<Option<Arc<Engine>>>,
}

/// An engine that answered.
pub(crate) struct Engine {
    pub(crate) host: String,
    pub(crate) docker: Docker,
    pub(crate) peer: Peer,
    pub(crate) target: Target,
    /// Where the containers' own cgroups can't be asked.
    pub(crate) memory_events: Option<MemoryEvents>,
    /// Done once the agent is in a volume there; never where files are shared.
    pub(crate) has_agent: OnceCell<()>,
}

impl DockerBackend {
    /// Connects to nothing yet.
    pub fn new(config: DockerConfig) -> Self {
        Self { config, engine: Mutex::new(None) }
    }

    /// The engine, asked who it is if that is not known.
    async fn engine(&self) -> std::result::Result<Arc<Engine>, Failure> {
        let mut known = self.engine.lock().await;
        if let Some(engine) = &*known {
            return Ok(Arc::clone(engine));
        }
        let (engine, ..) = connect(&self.config).await?;
        Ok(Arc::clone(known.insert(engine)))
    }

    /// An engine that can't be reached may be another one when it comes back.
    async fn forget(&self) {
        *self.engine.lock().await = None;
    }
}

#[async_trait]
impl Backend for DockerBackend {
    async fn examine(&self) -> std::result::Result<Examined, String> {
        let (engine, version, info) = connect(&self.config).await.map_err(|failure| failure.to_string())?;
        *self.engine.lock().await = Some(Arc::clone(&engine));
        examine::examined(&self.config, &engine, &version, &info)
    }

    async fn create(&self, spec: &ContainerSpec) -> Result<Container> {
        let engine = self.engine().await.map_err(|failure| failure.into_runtime("docker"))?;
        let body = create_body(spec, &engine.target)?;
        let made = create::create(engine, spec, body).await;
        if let Err(create::Error { outage: true, .. }) = made {
            self.forget().await;
        }
        made.map_err(|error| error.error)
    }

    async fn list(&self) -> Result<Vec<Leftover>> {
        let engine = self.engine().await.map_err(|failure| failure.into_runtime("docker"))?;
        let filters = HashMap::from([("label", vec![OWNER_LABEL])]);
        let options = ListContainersOptionsBuilder::default().all(true).filters(&filters).build();
        let listing = engine.docker.list_containers(Some(options));
        let containers = match call(&engine.host, ASK_DEADLINE, listing).await {
            Ok(containers) => containers,
            Err(failure) => {
                self.forget().await;
                return Err(failure.into_runtime("docker: list containers"));
            }
        };
        let leftover = |container: bollard::models::ContainerSummary| {
            let mut labels = container.labels?;
            let (owner, sandbox) = (labels.remove(OWNER_LABEL)?, labels.remove(SANDBOX_LABEL)?);
            let handle = Arc::new(DockerHandle::new(Arc::clone(&engine), container.id?));
            Some(Leftover { owner: Some(owner), sandbox, handle })
        };
        Ok(containers.into_iter().filter_map(leftover).collect())
    }
}

/// Connects and asks who is there.
async fn connect(
    config: &DockerConfig,
) -> std::result::Result<(Arc<Engine>, SystemVersion, SystemInfo), Failure> {
    let host = config.host.as_str();
    let peer = match host.strip_prefix("unix://") {
        Some(path) => tokio::time::timeout(ASK_DEADLINE, host::peer(path))
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
            .map_err(|error| Failure::unreachable(host, error.kind()))?,
        None => Peer::default(),
    };
    let timeout_seconds = MAKE_DEADLINE.as_secs();
    let docker = match host.strip_prefix("unix://") {
        Some(path) => Docker::connect_with_unix(path, timeout_seconds, API_DEFAULT_VERSION),
        None => Docker::connect_with_http(host, timeout_seconds, API_DEFAULT_VERSION),
    }
    .map_err(|error| Failure::of(host, &error))?;
    let docker = call(host, ASK_DEADLINE, docker.negotiate_version()).await?;
    let version = call(host, ASK_DEADLINE, docker.version()).await?;
    let info = call(host, ASK_DEADLINE, docker.info()).await?;
    let target = Target {
        oci_runtime: config.oci_runtime.clone(),
        gvisor: examine::is_gvisor(&config.oci_runtime, &info),
        // Behind a socket of this host there may be another process namespace's engine, with other files.
        shares_files: peer.local,
        cgroup_v1: matches!(info.cgroup_version, Some(SystemInfoCgroupVersionEnum::_1)),
        ceilings: peer.ceilings,
    };
    let memory_events = (!peer.local).then(|| MemoryEvents::listen(docker.clone()));
    let host = host.to_owned();
    let engine = Engine { host, docker, peer, target, memory_events, has_agent: OnceCell::new() };
    Ok((Arc::new(engine), version, info))
}
