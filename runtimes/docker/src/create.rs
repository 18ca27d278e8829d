//! Making a container: create, attach, start, inspect, and on any failure nothing is left. Called by the backend.
//!
//! It runs in a task of its own, so that a caller who gives up in the middle leaves nothing either: a request that the
//! engine has begun can't be taken back, only its outcome be awaited and removed.

use std::{sync::Arc, time::Duration};

use bollard::{
    models::ContainerCreateBody,
    query_parameters::{AttachContainerOptionsBuilder, CreateContainerOptionsBuilder},
};
use sandboxd_container::{Container, ContainerSpec, backend::image_of, make_container};
use sandboxd_contract::RuntimeError;

use crate::{
    agent_volume,
    call::{ASK_DEADLINE, MAKE_DEADLINE, call},
    engine::Engine,
    error::Failure,
    handle::{DockerHandle, Removed},
    streams,
};

/// How often what failed is removed, and the pause between: an engine that did not answer in time may still be at it.
const REMOVALS: u32 = 5;
const REMOVAL_PAUSE: Duration = Duration::from_secs(2);

pub(crate) struct Error {
    pub(crate) error: RuntimeError,
    /// The engine may be another one when it comes back.
    pub(crate) outage: bool,
}

pub(crate) async fn create(
    engine: Arc<Engine>,
    spec: &ContainerSpec,
    body: ContainerCreateBody,
) -> Result<Container, Error> {
    let spec = spec.clone();
    let made = make_container(spec.name.clone(), async move {
        make(&engine, &spec, body).await.map_err(|(error, debris)| {
            if let Some(debris) = debris {
                tokio::spawn(clean_up(debris));
            }
            error
        })
    });
    made.await.unwrap_or_else(|| {
        Err(Error { error: RuntimeError::sandbox("docker: create", "its task has failed"), outage: false })
    })
}

/// What an engine that does not answer may still have of a container; the caller does not wait for its removal.
struct Debris {
    handle: DockerHandle,
    /// Whether it is there at all is not known yet, so "there is no such container" is no answer but the last.
    may_come_late: bool,
}

async fn make(
    engine: &Arc<Engine>,
    spec: &ContainerSpec,
    body: ContainerCreateBody,
) -> Result<Container, (Error, Option<Debris>)> {
    let (name, executor) = (spec.name.as_str(), spec.executor.as_str());
    if !engine.target.shares_files {
        let filled = engine.has_agent.get_or_try_init(|| Box::pin(agent_volume::fill(engine, spec))).await;
        filled.map_err(|failure| (not_created(failure, executor), None))?;
    }
    let options = CreateContainerOptionsBuilder::default().name(name).build();
    let creation = engine.docker.create_container(Some(options), body);
    let id = match call(&engine.host, MAKE_DEADLINE, creation).await {
        Ok(created) => created.id,
        Err(failure) => {
            let debris = failure.leaves_doubt().then(|| Debris {
                handle: DockerHandle::new(Arc::clone(engine), name.to_owned()),
                may_come_late: true,
            });
            return Err((not_created(failure, executor), debris));
        }
    };
    let handle = DockerHandle::new(Arc::clone(engine), id.clone());
    match start(engine, &id, name).await {
        Ok((stdin, stdout, pid)) => Ok(Container { handle: Arc::new(handle), pid, stdin, stdout }),
        Err(error) => {
            let stays = handle.try_remove().await.is_err();
            Err((error, stays.then_some(Debris { handle, may_come_late: false })))
        }
    }
}

/// Attached first, so that nothing the agent says is lost: there is no log to read it from.
async fn start(
    engine: &Engine,
    id: &str,
    name: &str,
) -> Result<(streams::Stdin, streams::Stdout, Option<i32>), Error> {
    let attach =
        AttachContainerOptionsBuilder::default().stream(true).stdin(true).stdout(true).stderr(true).build();
    let attached = call(&engine.host, ASK_DEADLINE, engine.docker.attach_container(id, Some(attach)))
        .await
        .map_err(|failure| failed(failure, "docker: attach"))?;
    let (stdin, stdout) = streams::split(attached, name);
    call(&engine.host, MAKE_DEADLINE, engine.docker.start_container(id, None))
        .await
        .map_err(|failure| not_started(engine, failure))?;
    let pid = if engine.peer.local { Some(pid(engine, id).await?) } else { None };
    Ok((stdin, stdout, pid))
}

async fn pid(engine: &Engine, id: &str) -> Result<i32, Error> {
    let state = call(&engine.host, ASK_DEADLINE, engine.docker.inspect_container(id, None))
        .await
        .map_err(|failure| failed(failure, "docker: inspect"))?
        .state
        .unwrap_or_default();
    let pid = state.pid.and_then(|pid| i32::try_from(pid).ok()).filter(|pid| *pid > 0);
    pid.ok_or_else(|| {
        let reason = format!(
            "the agent has ended at once with exit code {}{}",
            state.exit_code.unwrap_or(-1),
            if state.oom_killed == Some(true) { ", for want of memory" } else { "" }
        );
        Error { error: RuntimeError::sandbox("docker: start", reason), outage: false }
    })
}

fn not_created(failure: Failure, executor: &str) -> Error {
    match &failure {
        Failure::Refused { status: 404, message } if message.to_lowercase().contains("no such image") => {
            Error {
                error: RuntimeError::unavailable(format!(
                    "Docker Engine has no image {}: make it with `sandboxd images build {executor}`",
                    image_of(executor)
                )),
                outage: false,
            }
        }
        _ => unavailable(failure, "docker: create"),
    }
}

fn not_started(engine: &Engine, failure: Failure) -> Error {
    let error = unavailable(failure, "docker: start");
    // Somebody may have removed the volume that has the agent: the next one looks again.
    Error { outage: error.outage || !engine.target.shares_files, ..error }
}

/// What the engine refuses when a container is to be made is wrong with the engine, or with what it was told about this
/// host: an unknown OCI runtime, a full disk. Nothing in the request could be changed for it.
fn unavailable(failure: Failure, operation: &'static str) -> Error {
    match failure {
        Failure::Refused { .. } => {
            Error { error: RuntimeError::unavailable(format!("{operation}: {failure}")), outage: false }
        }
        other => failed(other, operation),
    }
}

fn failed(failure: Failure, operation: &'static str) -> Error {
    let outage = matches!(failure, Failure::Unreachable { .. });
    Error { error: failure.into_runtime(operation), outage }
}

async fn clean_up(Debris { handle, may_come_late }: Debris) {
    let mut trouble = None;
    for attempt in 0..REMOVALS {
        if attempt > 0 {
            tokio::time::sleep(REMOVAL_PAUSE).await;
        }
        match handle.try_remove().await {
            Ok(Removed::WasGone) if may_come_late => trouble = None,
            Ok(_) => return,
            Err(failure) => trouble = Some(failure),
        }
    }
    if let Some(failure) = trouble {
        tracing::warn!(%failure, "what is left of a container is left to the next sweep");
    }
}
