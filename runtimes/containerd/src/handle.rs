//! One container that is there, whole or in parts: its limits, its state, its end.
//!
//! Deliberately absent: counters, which are read from its cgroup by the caller, before the end.

use std::{
    io,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use containerd_client::{
    services::v1::{
        DeleteContainerRequest, DeleteTaskRequest, GetRequest, KillRequest, UpdateTaskRequest, WaitRequest,
        snapshots::RemoveSnapshotRequest,
    },
    types::v1::Status,
};
use nix::libc::SIGKILL;
use prost_types::Any;
use sandboxd_container::backend::{Handle, Witness};
use sandboxd_contract::{KernelLimit, KernelLimits, Result, RuntimeError};
use tokio::time::{Instant, sleep};

use crate::{
    Shared, cgroups,
    engine::{TASK_DEADLINE, Trouble, gone},
    fifos::Fifos,
    oci, shim,
};

/// What of a container there is, or may be. What is not ours is not in here.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Parts {
    pub(crate) task: bool,
    pub(crate) container: bool,
    pub(crate) snapshot: bool,
    pub(crate) fifos: bool,
    pub(crate) cgroup: bool,
}

const RESOURCES_TYPE: &str = "types.containerd.io/opencontainers/runtime-spec/1/LinuxResources";
const KILL_TRIES: u32 = 3;
const KILLED_WITHIN: Duration = Duration::from_secs(5);
/// containerd runs the OCI runtime once more to clear up after a shim that is gone.
const NOTICED_WITHIN: Duration = Duration::from_secs(10);
const NOTICE_POLL: Duration = Duration::from_millis(100);

pub(crate) struct ContainerdHandle {
    shared: Arc<Shared>,
    owner: String,
    name: String,
    gvisor: bool,
    parts: Mutex<Parts>,
}

impl ContainerdHandle {
    pub(crate) fn new(shared: Arc<Shared>, owner: String, name: String, parts: Parts, gvisor: bool) -> Self {
        Self { shared, owner, name, gvisor, parts: Mutex::new(parts) }
    }

    pub(crate) fn made(&self, part: impl FnOnce(&mut Parts)) {
        part(&mut self.parts.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Removes what there is, in the reverse order of its making. What fails stays for the next try.
    pub(crate) async fn remove_parts(&self) -> std::result::Result<(), Trouble> {
        let parts = *self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        if parts.task
            && let Err(trouble) = self.end_task().await
        {
            self.end_task_by_force(trouble).await?;
        }
        let engine = &self.shared.engine;
        if parts.container {
            let mut containers = engine.containers().await?;
            let request = DeleteContainerRequest { id: self.name.clone() };
            gone(engine.call("containers.Delete", request, |request| containers.delete(request)).await)?;
        }
        if parts.snapshot {
            let mut snapshots = engine.snapshots().await?;
            let snapshotter = self.shared.config.snapshotter.clone();
            let request = RemoveSnapshotRequest { snapshotter, key: self.name.clone() };
            gone(engine.call("snapshots.Remove", request, |request| snapshots.remove(request)).await)?;
        }
        self.remove_files(parts).await;
        self.made(|parts| *parts = Parts::default());
        Ok(())
    }

    async fn end_task(&self) -> std::result::Result<(), Trouble> {
        self.kill().await?;
        let engine = &self.shared.engine;
        let mut tasks = engine.tasks().await?;
        let request = DeleteTaskRequest { container_id: self.name.clone() };
        let delete =
            engine.call_within(TASK_DEADLINE, "tasks.Delete", request, |request| tasks.delete(request));
        // The shim ends once its last byte is read.
        let fifos = self.fifos();
        let deleted = tokio::select! {
            deleted = delete => deleted,
            () = async { fifos.drain(TASK_DEADLINE).await; std::future::pending().await } => return Ok(()),
        };
        match deleted {
            // A shim whose task was never made, or is forgotten, is told by nobody to end.
            Err(unknown) if unknown.is_not_found() => match self.kill_shim().await {
                Ok(_) => Ok(()),
                Err(error) => {
                    tracing::warn!(sandbox = self.name, %error, "a shim without a task can't be killed");
                    Err(unknown)
                }
            },
            deleted => deleted.map(drop),
        }
    }

    /// How many there were.
    async fn kill_shim(&self) -> io::Result<usize> {
        let (namespace, name) = (self.shared.config.namespace.clone(), self.name.clone());
        let killed = tokio::task::spawn_blocking(move || shim::kill_of(&namespace, &name)).await;
        killed.map_err(io::Error::other).flatten()
    }

    /// A shim may hang, and so may the program that it runs: then it is killed, and what containerd does after that is
    /// waited for.
    async fn end_task_by_force(&self, trouble: Trouble) -> std::result::Result<(), Trouble> {
        if matches!(trouble, Trouble::Unreachable { .. }) {
            return Err(trouble);
        }
        match self.kill_shim().await {
            Ok(0) => return Err(trouble),
            Ok(_) => {
                tracing::warn!(sandbox = self.name, %trouble, "a task did not end: its shim was killed")
            }
            Err(error) => {
                tracing::warn!(sandbox = self.name, %error, "a task does not end, and its shim can't be killed");
                return Err(trouble);
            }
        }
        // Until it has noticed, it refuses whatever is for that shim.
        let deadline = Instant::now() + NOTICED_WITHIN;
        loop {
            match self.end_task().await {
                Err(_) if Instant::now() < deadline => sleep(NOTICE_POLL).await,
                ended => return ended,
            }
        }
    }

    /// Kills every process and waits for the first to be gone. A kill may come to nothing while a task is starting.
    async fn kill(&self) -> std::result::Result<(), Trouble> {
        let engine = &self.shared.engine;
        let mut tasks = engine.tasks().await?;
        let mut last = None;
        for _ in 0..KILL_TRIES {
            let (container_id, exec_id) = (self.name.clone(), String::new());
            let signal = SIGKILL.unsigned_abs();
            let request = KillRequest { container_id, exec_id, signal, all: true };
            let killed =
                engine.call_within(TASK_DEADLINE, "tasks.Kill", request, |request| tasks.kill(request));
            // "Not found" is said of a task that has ended, too: the wait tells.
            let refused = match gone(killed.await) {
                Err(late @ Trouble::Late { .. }) => return Err(late),
                killed => killed.err(),
            };
            let request = WaitRequest { container_id: self.name.clone(), exec_id: String::new() };
            let ended =
                engine.call_within(KILLED_WITHIN, "tasks.Wait", request, |request| tasks.wait(request));
            match gone(ended.await) {
                Ok(()) => return Ok(()),
                Err(trouble) => last = refused.or(Some(trouble)),
            }
        }
        last.map_or(Ok(()), Err)
    }

    /// Pipes and cgroup: after the rest, since they say that there was something.
    async fn remove_files(&self, parts: Parts) {
        let (fifos, owner, name) = (self.fifos(), self.owner.clone(), self.name.clone());
        let files = tokio::task::spawn_blocking(move || {
            let root = Path::new(cgroups::ROOT);
            let removed = if parts.fifos { fifos.remove() } else { Ok(()) };
            if parts.cgroup { removed.and(cgroups::remove(root, &owner, &name)) } else { removed }
        });
        if let Ok(Err(error)) = files.await {
            tracing::warn!(sandbox = self.name, %error, "a container's files could not be removed");
        }
    }

    fn fifos(&self) -> Fifos {
        Fifos::new(&self.shared.config.state_dir, &self.owner, &self.name)
    }
}

#[async_trait]
impl Handle for ContainerdHandle {
    async fn update(&self, limits: &KernelLimits) -> Result<()> {
        if self.gvisor {
            let reason = "gVisor can't change the limits of a container that runs".to_owned();
            return Err(RuntimeError::LimitNotHeld { limit: KernelLimit::Memory, reason });
        }
        let resources = oci::resources(limits, self.shared.host(self.gvisor));
        let value =
            serde_json::to_vec(&resources).map_err(|error| RuntimeError::sandbox("set limits", error))?;
        let request = UpdateTaskRequest {
            container_id: self.name.clone(),
            resources: Some(Any { type_url: RESOURCES_TYPE.to_owned(), value }),
            annotations: std::collections::HashMap::new(),
        };
        let engine = &self.shared.engine;
        let on_use = |trouble: Trouble| trouble.on_use("set limits");
        let mut tasks = engine.tasks().await.map_err(on_use)?;
        let update =
            engine.call_within(TASK_DEADLINE, "tasks.Update", request, |request| tasks.update(request));
        update.await.map_err(on_use)
    }

    async fn witness(&self) -> Result<Witness> {
        let engine = &self.shared.engine;
        let Ok(mut tasks) = engine.tasks().await else { return Ok(Witness::default()) };
        let request = GetRequest { container_id: self.name.clone(), exec_id: String::new() };
        let running = match engine.call("tasks.Get", request, |request| tasks.get(request)).await {
            Ok(answer) => answer.process.and_then(|process| match process.status() {
                Status::Unknown => None,
                Status::Stopped => Some(false),
                Status::Created | Status::Running | Status::Paused | Status::Pausing => Some(true),
            }),
            Err(trouble) => trouble.is_not_found().then_some(false),
        };
        Ok(Witness { running, out_of_memory: None })
    }

    async fn remove(&self) -> Result<()> {
        self.remove_parts().await.map_err(|trouble| trouble.on_use("remove the container"))
    }
}
