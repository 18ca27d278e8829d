//! The making of one container, step by step; whatever was made is removed again when a step fails.
//!
//! ```text
//!   image -> pipes ─┬─> snapshot ──┬─> task created -> started
//!                   └─> record ────┘
//! ```
//! containerd's garbage collector removes what nothing refers to, even between two of these steps. The snapshot is
//! made with the label that keeps it, so there is no moment without; a lease would do the same with two writes more.
//! The record refers to the snapshot, and a task is a process.

use std::{collections::HashMap, io::ErrorKind, path::Path, sync::Arc};

use containerd_client::{
    services::v1::{
        Container as Record, CreateContainerRequest, CreateTaskRequest, StartRequest, container::Runtime,
        snapshots::PrepareSnapshotRequest,
    },
    types::Mount,
};
use oci_spec::runtime::Spec;
use prost_types::Any;
use sandboxd_container::backend::{Container, ContainerSpec};
use sandboxd_contract::{Result, RuntimeError};

use crate::{
    Shared, cgroups,
    engine::{TASK_DEADLINE, Trouble},
    fifos::{Ends, Fifos},
    handle::{ContainerdHandle, Parts},
    lookup::Found,
    oci,
    oci_runtime::OciRuntime,
};

/// Keeps what it stands on from the garbage collector; any value does.
const KEEP_LABEL: &str = "containerd.io/gc.root";
/// Older shims want stderr to be some file.
const NOWHERE: &str = "/dev/null";
const SPEC_TYPE: &str = "types.containerd.io/opencontainers/runtime-spec/1/Spec";

/// Makes and starts a container.
pub(crate) async fn launch(shared: Arc<Shared>, spec: ContainerSpec) -> Result<Container> {
    let runtime = shared.oci_runtime().await.map_err(RuntimeError::unavailable)?;
    let found = shared.lookup.find(&shared.engine, &shared.config.snapshotter, &spec.executor).await?;
    let fifos = Fifos::new(&shared.config.state_dir, &spec.owner, &spec.name);
    let host = shared.host(runtime.gvisor);
    let cgroups_path = cgroups::path(shared.config.cgroup_driver, &spec.owner, &spec.name);
    let oci = oci::spec(&spec, &cgroups_path, host).map_err(|error| no_container("specify it", error))?;

    let (owner, name) = (spec.owner.clone(), spec.name.clone());
    let handle = ContainerdHandle::new(shared.clone(), owner, name, Parts::default(), runtime.gvisor);
    let handle = Arc::new(handle);
    let step = Step { shared: &shared, spec: &spec, runtime, found, fifos, handle: handle.clone() };
    let made = Box::pin(step.run(oci)).await;
    // The reason is why it failed; that something is left is for the log, and for the next sweep.
    if made.is_err()
        && let Err(left) = handle.remove_parts().await
    {
        tracing::warn!(sandbox = spec.name, %left, "a container that was half made could not be removed");
    }
    made
}

/// What the steps share.
struct Step<'a> {
    shared: &'a Shared,
    spec: &'a ContainerSpec,
    runtime: &'a OciRuntime,
    found: Found,
    fifos: Fifos,
    handle: Arc<ContainerdHandle>,
}

impl Step<'_> {
    async fn run(self, oci: Spec) -> Result<Container> {
        let Ends { stdin, stdout, until_started } = self.pipes().await?;
        // Both to their ends, or it would not be known what there is.
        let (mounts, record) = tokio::join!(self.snapshot(), self.record(&oci));
        let mounts = record.and(mounts).map_err(Trouble::on_create)?;
        self.task(mounts).await.map_err(Trouble::on_create)?;
        let pid = self.start().await.map_err(Trouble::on_create)?;
        drop(until_started);
        Ok(Container { handle: self.handle, pid, stdin: Box::new(stdin), stdout: Box::new(stdout) })
    }

    async fn pipes(&self) -> Result<Ends> {
        let (fifos, driver) = (self.fifos.clone(), self.shared.config.cgroup_driver);
        let make = move || {
            cgroups::make_subtree(driver, Path::new(cgroups::ROOT));
            fifos.make()
        };
        let made = tokio::task::spawn_blocking(make).await.map_err(std::io::Error::other);
        let made = made.flatten();
        if !made.as_ref().is_err_and(|error| error.kind() == ErrorKind::AlreadyExists) {
            self.handle.made(|parts| parts.fifos = true);
        }
        made.and_then(|()| self.fifos.open()).map_err(|error| no_container("its pipes", error))
    }

    async fn snapshot(&self) -> std::result::Result<Vec<Mount>, Trouble> {
        let mut labels = oci::labels(self.spec);
        labels.insert(KEEP_LABEL.to_owned(), self.spec.owner.clone());
        let request = PrepareSnapshotRequest {
            snapshotter: self.shared.config.snapshotter.clone(),
            key: self.spec.name.clone(),
            parent: self.found.chain.clone(),
            labels,
        };
        let engine = &self.shared.engine;
        let mut snapshots = engine.snapshots().await?;
        let answer = engine.call("snapshots.Prepare", request, |request| snapshots.prepare(request)).await;
        self.note(&answer, |parts| parts.snapshot = true);
        Ok(answer?.mounts)
    }

    async fn record(&self, oci: &Spec) -> std::result::Result<(), Trouble> {
        let spec = Any { type_url: SPEC_TYPE.to_owned(), value: serde_json::to_vec(oci).unwrap_or_default() };
        let runtime = Runtime { name: self.runtime.shim.clone(), options: self.runtime.options.clone() };
        let record = Record {
            id: self.spec.name.clone(),
            labels: oci::labels(self.spec),
            image: self.found.image.clone(),
            runtime: Some(runtime),
            spec: Some(spec),
            snapshotter: self.shared.config.snapshotter.clone(),
            snapshot_key: self.spec.name.clone(),
            created_at: None,
            updated_at: None,
            extensions: HashMap::new(),
            sandbox: String::new(),
        };
        let engine = &self.shared.engine;
        let mut containers = engine.containers().await?;
        let request = CreateContainerRequest { container: Some(record) };
        let answer = engine.call("containers.Create", request, |request| containers.create(request)).await;
        self.note(&answer, |parts| parts.container = true);
        answer.map(drop)
    }

    async fn task(&self, rootfs: Vec<Mount>) -> std::result::Result<(), Trouble> {
        let request = CreateTaskRequest {
            container_id: self.spec.name.clone(),
            rootfs,
            stdin: self.fifos.stdin().to_string_lossy().into_owned(),
            stdout: self.fifos.stdout().to_string_lossy().into_owned(),
            stderr: NOWHERE.to_owned(),
            terminal: false,
            checkpoint: None,
            options: self.runtime.options.clone(),
            runtime_path: String::new(),
        };
        let engine = &self.shared.engine;
        let mut tasks = engine.tasks().await?;
        let create =
            engine.call_within(TASK_DEADLINE, "tasks.Create", request, |request| tasks.create(request));
        let answer = create.await;
        self.note(&answer, |parts| (parts.task, parts.cgroup) = (true, true));
        answer.map(drop)
    }

    async fn start(&self) -> std::result::Result<Option<i32>, Trouble> {
        let request = StartRequest { container_id: self.spec.name.clone(), exec_id: String::new() };
        let engine = &self.shared.engine;
        let mut tasks = engine.tasks().await?;
        let start = engine.call_within(TASK_DEADLINE, "tasks.Start", request, |request| tasks.start(request));
        Ok(i32::try_from(start.await?.pid).ok().filter(|pid| *pid > 0))
    }

    /// What failed may have been made all the same, unless it was somebody else's before.
    fn note<A>(&self, answer: &std::result::Result<A, Trouble>, part: impl FnOnce(&mut Parts)) {
        if !answer.as_ref().is_err_and(Trouble::is_already_there) {
            self.handle.made(part);
        }
    }
}

fn no_container(what: &str, error: impl std::fmt::Display) -> RuntimeError {
    RuntimeError::unavailable(format!("no container could be made ({what}: {error})"))
}
