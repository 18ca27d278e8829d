//! The agent for an engine that does not see this host's files: in a volume of the engine's own, put there by the first
//! sandbox that needs it. Called before a container is created.
//!
//! A volume has no interface but a container that mounts it. So one is created, never started, its files are compared or
//! written through the archive calls, and it is removed again. Every version of the agent has a volume of its own.

use std::{collections::HashMap, path::Path, sync::Arc};

use bollard::{
    body_full,
    models::{ContainerCreateBody, HostConfig, Mount, MountType, MountVolumeOptions},
    query_parameters::{
        CreateContainerOptions, DownloadFromContainerOptionsBuilder, UploadToContainerOptionsBuilder,
    },
};
use futures_util::TryStreamExt as _;
use sandboxd_container::{
    ContainerSpec,
    backend::{AGENT_PATH, OWNER_LABEL, SANDBOX_LABEL, image_of},
};

use crate::{
    call::{MAKE_DEADLINE, call},
    engine::Engine,
    error::Failure,
    handle::DockerHandle,
};

/// Of the volume, with nothing in it but its name: whoever tidies an engine up finds what is ours.
const LABEL: &str = "org.sandboxd.agent";

/// The volume's mount in a sandbox.
pub(crate) fn mount(agent: &Path, read_only: bool) -> Mount {
    let (folder, _) = place();
    let name = volume(agent);
    Mount {
        typ: Some(MountType::VOLUME),
        volume_options: Some(MountVolumeOptions {
            // Not what the image has at this place.
            no_copy: Some(true),
            labels: Some(HashMap::from([(LABEL.to_owned(), name.clone())])),
            ..Default::default()
        }),
        source: Some(name),
        target: Some(folder.to_owned()),
        read_only: Some(read_only),
        ..Default::default()
    }
}

/// Sees to it that the volume holds the agent that lies on this host.
pub(crate) async fn fill(engine: &Arc<Engine>, spec: &ContainerSpec) -> Result<(), Failure> {
    let odd = |error: std::io::Error| Failure::Odd(format!("the agent for its volume: {error}"));
    let file = spec.agent.clone();
    let agent = tokio::task::spawn_blocking(move || std::fs::read(file))
        .await
        .map_err(std::io::Error::from)
        .and_then(|read| read)
        .map_err(odd)?;
    let archive = archive(&agent).map_err(odd)?;
    let creation = engine.docker.create_container(None::<CreateContainerOptions>, errand(spec));
    let id = call(&engine.host, MAKE_DEADLINE, creation).await?.id;
    let filled = async {
        if has(engine, &id, &agent).await? {
            return Ok(());
        }
        let (folder, _) = place();
        let options = UploadToContainerOptionsBuilder::default().path(folder).build();
        let upload = engine.docker.upload_to_container(&id, Some(options), body_full(archive.into()));
        call(&engine.host, MAKE_DEADLINE, upload).await
    };
    let filled = filled.await;
    // What stays of it is found by its labels, as any container of ours is.
    let removed = DockerHandle::new(Arc::clone(engine), id).try_remove().await;
    filled.and(removed.map(drop))
}

/// Whether the volume has this agent, whole: one that was being written when somebody died is another.
async fn has(engine: &Engine, id: &str, agent: &[u8]) -> Result<bool, Failure> {
    let options = DownloadFromContainerOptionsBuilder::default().path(AGENT_PATH).build();
    let download = async {
        let pieces = engine.docker.download_from_container(id, Some(options));
        pieces
            .try_fold(Vec::new(), |mut all, piece| async move {
                all.extend_from_slice(&piece);
                Ok(all)
            })
            .await
    };
    let found = match call(&engine.host, MAKE_DEADLINE, download).await {
        Ok(found) => found,
        Err(failure) if failure.is_not_found() => return Ok(false),
        Err(failure) => return Err(failure),
    };
    Ok(holds(&found, agent).unwrap_or(false))
}

/// Whether the archive's first file is this one.
fn holds(archive: &[u8], agent: &[u8]) -> std::io::Result<bool> {
    let mut archive = tar::Archive::new(archive);
    let Some(entry) = archive.entries()?.next() else { return Ok(false) };
    let mut content = Vec::new();
    std::io::Read::read_to_end(&mut entry?, &mut content)?;
    Ok(content == agent)
}

/// With the agent as every user may read and run it, and nobody write.
fn archive(agent: &[u8]) -> std::io::Result<Vec<u8>> {
    let (_, name) = place();
    let mut header = tar::Header::new_gnu();
    header.set_size(agent.len() as u64);
    header.set_mode(0o755);
    let mut archive = tar::Builder::new(Vec::new());
    archive.append_data(&mut header, name, agent)?;
    archive.into_inner()
}

/// A container that is never started.
fn errand(spec: &ContainerSpec) -> ContainerCreateBody {
    ContainerCreateBody {
        image: Some(image_of(&spec.executor)),
        entrypoint: Some(vec![AGENT_PATH.to_owned()]),
        network_disabled: Some(true),
        labels: Some(HashMap::from([
            (OWNER_LABEL.to_owned(), spec.owner.clone()),
            (SANDBOX_LABEL.to_owned(), spec.name.clone()),
        ])),
        host_config: Some(HostConfig {
            network_mode: Some("none".to_owned()),
            mounts: Some(vec![mount(&spec.agent, false)]),
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// The agent's file has its version and its digest in its name, and so has the volume.
fn volume(agent: &Path) -> String {
    let file = agent.file_name().unwrap_or_default();
    format!("sandboxd-{}", file.to_string_lossy())
}

/// Folder and file of the agent in a container.
fn place() -> (&'static str, &'static str) {
    AGENT_PATH.rsplit_once('/').unwrap_or(("/", AGENT_PATH))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_what_is_looked_for() {
        let written = archive(b"the agent").unwrap();
        assert!(holds(&written, b"the agent").unwrap());
        assert!(!holds(&written, b"the agen").unwrap());
        assert!(!holds(&[0; 1024], b"").unwrap());
    }
}
