//! Images of executors in containerd, with no Docker in between: taken from an archive, or made from Debian's packages
//! on this host. Nothing here is called for a request.
//!
//! `archive` reads what others wrote, `build` makes a root filesystem from the steps that `dockerfile` finds, and
//! `store` puts either into containerd.

mod archive;
mod build;
mod command;
mod content;
mod digest;
mod dockerfile;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod store;

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use containerd_client::services::v1::{
    ListImagesRequest,
    snapshots::{StatSnapshotRequest, UsageRequest},
};
use sandboxd_container::backend::{self, image_of};
use sandboxd_container::images::{Image, ImageError, ImageStore, Progress, Recipe};

use self::{
    build::Workshop,
    store::{Store, failed},
};
use crate::{
    ContainerdConfig,
    engine::{Engine, Trouble},
    lookup::{self, REGISTRY},
};

/// Layers below a snapshot.
const MAX_DEPTH: usize = 256;

/// The images of one containerd, in one namespace.
pub struct ContainerdImages {
    engine: Engine,
    snapshotter: String,
    /// Where root filesystems are made.
    folder: PathBuf,
}

impl ContainerdImages {
    /// Nothing is reached yet.
    pub fn new(config: &ContainerdConfig) -> Self {
        Self {
            engine: Engine::new(config.address.clone(), config.namespace.clone()),
            snapshotter: config.snapshotter.clone(),
            folder: config.state_dir.join("images"),
        }
    }

    async fn image(&self, executor: &str, digest: String) -> Result<Image, Trouble> {
        let configuration = lookup::configuration_of(&self.engine, digest.clone()).await?;
        let mut size_bytes = None;
        if let Some(configuration) = configuration.clone()
            && let Some(top) = lookup::chain_of(&self.engine, &self.snapshotter, configuration).await?
        {
            size_bytes = self.size(top).await.ok();
        }
        // The configuration's digest, which is what Docker calls an image's id: the same image has the same id in both.
        let id = configuration.unwrap_or(digest);
        Ok(Image { executor: executor.to_owned(), name: image_of(executor), id, size_bytes })
    }

    /// Of a snapshot and all below it.
    async fn size(&self, top: String) -> Result<u64, Trouble> {
        let mut snapshots = self.engine.snapshots().await?;
        let (mut key, mut bytes) = (top, 0);
        for _ in 0..MAX_DEPTH {
            let request = UsageRequest { snapshotter: self.snapshotter.clone(), key: key.clone() };
            let usage =
                self.engine.call("snapshots.Usage", request, |request| snapshots.usage(request)).await?;
            bytes += u64::try_from(usage.size).unwrap_or(0);
            let request = StatSnapshotRequest { snapshotter: self.snapshotter.clone(), key };
            let answer =
                self.engine.call("snapshots.Stat", request, |request| snapshots.stat(request)).await?;
            match answer.info {
                Some(info) if !info.parent.is_empty() => key = info.parent,
                _ => break,
            }
        }
        Ok(bytes)
    }
}

#[async_trait]
impl ImageStore for ContainerdImages {
    async fn list(&self) -> Result<Vec<Image>, ImageError> {
        let told = |trouble: Trouble| failed(&trouble);
        let mut images = self.engine.images().await.map_err(told)?;
        let request = ListImagesRequest { filters: Vec::new() };
        let all =
            self.engine.call("images.List", request, |request| images.list(request)).await.map_err(told)?;
        let mut found: Vec<Image> = Vec::new();
        for image in all.images {
            let (Some(executor), Some(target)) = (executor_of(&image.name), image.target) else { continue };
            // Under both its names it is the first one that containers are made from.
            let is_first = lookup::names(&executor)[0] == image.name;
            if !is_first && found.iter().any(|other| other.executor == executor) {
                continue;
            }
            found.retain(|other| other.executor != executor);
            found.push(self.image(&executor, target.digest).await.map_err(told)?);
        }
        found.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(found)
    }

    async fn build(&self, recipe: &Recipe, progress: Progress<'_>) -> Result<(), ImageError> {
        // What is wrong with containerd is told before minutes of work.
        self.list().await?;
        let workshop = Workshop::open(&self.folder).await?;
        let put = match workshop.build(recipe, progress).await {
            Ok(bundle) => Store::new(&self.engine, &self.snapshotter).put(&bundle, progress).await.map(drop),
            Err(error) => Err(error),
        };
        let cleaned = workshop.clean().await;
        put.and(cleaned)
    }

    async fn import(&self, archive: &Path, progress: Progress<'_>) -> Result<Vec<String>, ImageError> {
        let path = archive.to_owned();
        // What can't be opened is told apart from what is no archive.
        std::fs::File::open(&path).map_err(|source| ImageError::Archive { path: path.clone(), source })?;
        let read = tokio::task::spawn_blocking(move || archive::read(&path)).await;
        let bundles = read
            .map_err(std::io::Error::other)
            .flatten()
            .map_err(|error| ImageError::Failed(format!("import {}: {error}", archive.display())))?;
        let store = Store::new(&self.engine, &self.snapshotter);
        let mut names = Vec::new();
        for bundle in bundles {
            if bundle.names.is_empty() {
                let reason = "an image in it has no name; save it by its name: docker save sandboxd/python";
                return Err(ImageError::Failed(format!("import {}: {reason}", archive.display())));
            }
            names.extend(store.put(&bundle, progress).await?);
        }
        Ok(names)
    }
}

/// The executor whose image has this name.
fn executor_of(name: &str) -> Option<String> {
    let short = name.strip_prefix(REGISTRY).unwrap_or(name);
    backend::executor_of(short).map(str::to_owned)
}
