//! How an image is put into containerd: its bytes, the snapshots that they unpack to, its name.
//!
//! ```text
//!   lease ─> layers ─> snapshot of each upon the one below ─> configuration ─> manifest ─> name ─> no lease
//! ```
//! containerd's garbage collector takes what nothing refers to. Until the name refers to it all, the lease does; and
//! should nobody be left to end that, it ends by itself. Labels are what later refers: from the manifest to what it
//! names, from the configuration to the topmost snapshot.

use std::{
    collections::HashMap,
    process,
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, SystemTime},
};

use containerd_client::{
    services::v1::{
        AddResourceRequest, ApplyRequest, CreateImageRequest, CreateRequest, DeleteRequest, Image, Info,
        Resource, UpdateImageRequest, UpdateRequest,
        snapshots::{
            CommitSnapshotRequest, PrepareSnapshotRequest, RemoveSnapshotRequest, StatSnapshotRequest,
        },
    },
    types::{Descriptor, Mount},
};
use futures_util::future::BoxFuture;
use prost_types::{FieldMask, Timestamp};
use sandboxd_container::images::{ImageError, Progress};
use serde_json::json;

use super::{
    archive::{Bundle, Layer},
    content::{Bytes, send},
    digest,
};
use crate::{
    engine::{Engine, TASK_DEADLINE, Trouble, gone},
    lookup::{REGISTRY, chain_label},
};

/// For one layer to be sent, or to be unpacked.
pub(super) const LAYER_DEADLINE: Duration = Duration::from_secs(1800);
/// How long the lease of an import that died keeps what it had brought.
const LEASE_TIME: Duration = Duration::from_secs(2 * 3600);
const EXPIRY_LABEL: &str = "containerd.io/gc.expire";
const CONTENT_LABEL: &str = "containerd.io/gc.ref.content";
const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIGURATION_TYPE: &str = "application/vnd.oci.image.config.v1+json";

/// Where an image goes.
pub(super) struct Store<'a> {
    engine: &'a Engine,
    snapshotter: &'a str,
}

impl<'a> Store<'a> {
    pub(super) fn new(engine: &'a Engine, snapshotter: &'a str) -> Self {
        Self { engine, snapshotter }
    }

    /// Puts it in, under all its names, in the place of what they named; on error that stays.
    pub(super) fn put<'b>(
        &'b self,
        bundle: &'b Bundle,
        progress: Progress<'b>,
    ) -> BoxFuture<'b, Result<Vec<String>, ImageError>> {
        Box::pin(async move {
            let lease = unique("sandboxd-import");
            self.begin_lease(&lease).await.map_err(|trouble| failed(&trouble))?;
            let leased = self.engine.with_lease(&lease);
            let store = Store { engine: &leased, snapshotter: self.snapshotter };
            let put = store.put_leased(bundle, progress).await;
            if let Err(trouble) = self.end_lease(lease).await {
                progress(&format!("what was not used is removed later: {trouble}"));
            }
            put
        })
    }

    async fn put_leased(&self, bundle: &Bundle, progress: Progress<'_>) -> Result<Vec<String>, ImageError> {
        for (index, layer) in bundle.layers.iter().enumerate() {
            let megabytes = layer.blob.size.div_ceil(1_000_000);
            progress(&format!("layer {} of {}: {megabytes} MB", index + 1, bundle.layers.len()));
            self.write(&layer.digest, Bytes::Range(layer.blob.clone()), HashMap::new()).await?;
        }
        let top = self.unpack(&bundle.layers, progress).await?;
        let manifest = self.documents(bundle, top).await.map_err(|error| match error {
            ImageError::Failed(reason) => ImageError::Failed(format!("write the manifest: {reason}")),
            other => other,
        })?;
        for name in &bundle.names {
            self.name(&full_name(name), &manifest).await.map_err(|trouble| failed(&trouble))?;
        }
        Ok(bundle.names.iter().map(|name| short_name(name)).collect())
    }

    async fn begin_lease(&self, id: &str) -> Result<(), Trouble> {
        let expiry = Timestamp::from(SystemTime::now() + LEASE_TIME).to_string();
        let labels = HashMap::from([(EXPIRY_LABEL.to_owned(), expiry)]);
        let mut leases = self.engine.leases().await?;
        let request = CreateRequest { id: id.to_owned(), labels };
        self.engine.call("leases.Create", request, |request| leases.create(request)).await.map(drop)
    }

    async fn end_lease(&self, id: String) -> Result<(), Trouble> {
        let mut leases = self.engine.leases().await?;
        let request = DeleteRequest { id, sync: false };
        gone(self.engine.call("leases.Delete", request, |request| leases.delete(request)).await)
    }

    /// Makes the snapshots that are not there, and says the topmost one's name.
    async fn unpack(&self, layers: &[Layer], progress: Progress<'_>) -> Result<String, ImageError> {
        let mut below = String::new();
        for (index, (layer, name)) in layers.iter().zip(chain(layers)).enumerate() {
            if !self.has_snapshot(&name).await.map_err(|trouble| failed(&trouble))? {
                progress(&format!("layer {} of {}: unpack", index + 1, layers.len()));
                self.unpack_one(layer, below, &name).await?;
            }
            below = name;
        }
        Ok(below)
    }

    /// Whether it is there, and kept from now on.
    async fn has_snapshot(&self, name: &str) -> Result<bool, Trouble> {
        if let Some(id) = self.engine.lease() {
            let mut leases = self.engine.leases().await?;
            let resource =
                Resource { id: name.to_owned(), r#type: format!("snapshots/{}", self.snapshotter) };
            let request = AddResourceRequest { id, resource: Some(resource) };
            self.engine.call("leases.AddResource", request, |request| leases.add_resource(request)).await?;
        }
        let mut snapshots = self.engine.snapshots().await?;
        let request = StatSnapshotRequest { snapshotter: self.snapshotter.to_owned(), key: name.to_owned() };
        match self.engine.call("snapshots.Stat", request, |request| snapshots.stat(request)).await {
            Ok(_) => Ok(true),
            Err(trouble) if trouble.is_not_found() => Ok(false),
            Err(trouble) => Err(trouble),
        }
    }

    async fn unpack_one(&self, layer: &Layer, below: String, name: &str) -> Result<(), ImageError> {
        let key = unique("sandboxd-unpack");
        let unpacked = match self.prepare(&key, below).await {
            Ok(mounts) => match self.apply(layer, mounts).await {
                Ok(diff_id) if diff_id == layer.diff_id => self.commit(&key, name).await,
                Ok(diff_id) => {
                    let reason =
                        format!("it holds {diff_id}, not {} as its configuration says", layer.diff_id);
                    self.remove(&key).await;
                    return Err(ImageError::Failed(format!("unpack layer {}: {reason}", layer.digest)));
                }
                Err(trouble) => Err(trouble),
            },
            Err(trouble) => Err(trouble),
        };
        match unpacked {
            Ok(()) => Ok(()),
            // Somebody else has unpacked the same meanwhile.
            Err(trouble) if trouble.is_already_there() => {
                self.remove(&key).await;
                Ok(())
            }
            Err(trouble) => {
                self.remove(&key).await;
                Err(failed(&trouble))
            }
        }
    }

    async fn prepare(&self, key: &str, parent: String) -> Result<Vec<Mount>, Trouble> {
        let mut snapshots = self.engine.snapshots().await?;
        let request = PrepareSnapshotRequest {
            snapshotter: self.snapshotter.to_owned(),
            key: key.to_owned(),
            parent,
            labels: HashMap::new(),
        };
        let answer = self.engine.call("snapshots.Prepare", request, |request| snapshots.prepare(request));
        Ok(answer.await?.mounts)
    }

    /// The digest of what was in it.
    async fn apply(&self, layer: &Layer, mounts: Vec<Mount>) -> Result<String, Trouble> {
        let mut diff = self.engine.diff().await?;
        let size = i64::try_from(layer.blob.size).unwrap_or(i64::MAX);
        let descriptor = descriptor(layer.media_type, &layer.digest, size);
        let request = ApplyRequest { diff: Some(descriptor), mounts, ..ApplyRequest::default() };
        let answer =
            self.engine.call_within(LAYER_DEADLINE, "diff.Apply", request, |request| diff.apply(request));
        Ok(answer.await?.applied.unwrap_or_default().digest)
    }

    async fn commit(&self, key: &str, name: &str) -> Result<(), Trouble> {
        let mut snapshots = self.engine.snapshots().await?;
        let request = CommitSnapshotRequest {
            snapshotter: self.snapshotter.to_owned(),
            name: name.to_owned(),
            key: key.to_owned(),
            ..CommitSnapshotRequest::default()
        };
        let answer = self
            .engine
            .call_within(TASK_DEADLINE, "snapshots.Commit", request, |request| snapshots.commit(request));
        answer.await.map(drop)
    }

    /// What stays here goes with the lease.
    async fn remove(&self, key: &str) {
        let Ok(mut snapshots) = self.engine.snapshots().await else { return };
        let request = RemoveSnapshotRequest { snapshotter: self.snapshotter.to_owned(), key: key.to_owned() };
        let _ = self.engine.call("snapshots.Remove", request, |request| snapshots.remove(request)).await;
    }

    /// The configuration as it came, and a manifest for it.
    async fn documents(&self, bundle: &Bundle, top: String) -> Result<Descriptor, ImageError> {
        let configuration = digest::of(&bundle.configuration);
        let labels = HashMap::from([(chain_label(self.snapshotter), top)]);
        self.write(&configuration, Bytes::Document(bundle.configuration.clone()), labels).await?;

        let layer = |layer: &Layer| json!({ "mediaType": layer.media_type, "digest": layer.digest, "size": layer.blob.size });
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "config": {
                "mediaType": CONFIGURATION_TYPE,
                "digest": configuration,
                "size": bundle.configuration.len(),
            },
            "layers": bundle.layers.iter().map(layer).collect::<Vec<_>>(),
        });
        let manifest = manifest.to_string().into_bytes();
        let mut labels = HashMap::from([(format!("{CONTENT_LABEL}.config"), configuration)]);
        for (index, layer) in bundle.layers.iter().enumerate() {
            labels.insert(format!("{CONTENT_LABEL}.l.{index}"), layer.digest.clone());
        }
        let (name, size) = (digest::of(&manifest), i64::try_from(manifest.len()).unwrap_or(i64::MAX));
        self.write(&name, Bytes::Document(manifest), labels).await?;
        Ok(descriptor(MANIFEST_TYPE, &name, size))
    }

    /// Sends what is not there, and puts the labels on it either way.
    async fn write(
        &self,
        digest: &str,
        bytes: Bytes,
        labels: HashMap<String, String>,
    ) -> Result<(), ImageError> {
        let sent = send(self.engine.clone(), digest.to_owned(), bytes, labels.clone()).await;
        match sent.map_err(|error| ImageError::Failed(format!("read the layer {digest}: {error}")))? {
            Ok(()) => Ok(()),
            Err(trouble) if trouble.is_already_there() => {
                self.label(digest, labels).await.map_err(|trouble| failed(&trouble))
            }
            Err(trouble) => Err(failed(&trouble)),
        }
    }

    async fn label(&self, digest: &str, labels: HashMap<String, String>) -> Result<(), Trouble> {
        if labels.is_empty() {
            return Ok(());
        }
        let paths = labels.keys().map(|label| format!("labels.{label}")).collect();
        let info = Info { digest: digest.to_owned(), labels, ..Info::default() };
        let mut content = self.engine.content().await?;
        let request = UpdateRequest { info: Some(info), update_mask: Some(FieldMask { paths }) };
        self.engine.call("content.Update", request, |request| content.update(request)).await.map(drop)
    }

    async fn name(&self, name: &str, target: &Descriptor) -> Result<(), Trouble> {
        let image = Image { name: name.to_owned(), target: Some(target.clone()), ..Image::default() };
        let mut images = self.engine.images().await?;
        let request = CreateImageRequest { image: Some(image.clone()), ..CreateImageRequest::default() };
        match self.engine.call("images.Create", request, |request| images.create(request)).await {
            Err(trouble) if trouble.is_already_there() => {}
            other => return other.map(drop),
        }
        let mask = FieldMask { paths: vec!["target".to_owned()] };
        let request = UpdateImageRequest {
            image: Some(image),
            update_mask: Some(mask),
            ..UpdateImageRequest::default()
        };
        self.engine.call("images.Update", request, |request| images.update(request)).await.map(drop)
    }
}

/// The name of each layer's snapshot.
fn chain(layers: &[Layer]) -> Vec<String> {
    digest::chain(&layers.iter().map(|layer| layer.diff_id.as_str()).collect::<Vec<_>>())
}

fn descriptor(media_type: &str, digest: &str, size: i64) -> Descriptor {
    Descriptor { media_type: media_type.to_owned(), digest: digest.to_owned(), size, ..Descriptor::default() }
}

/// As `ctr` and Docker have it, so that an image brought by either takes the place of the other's.
fn full_name(name: &str) -> String {
    let tagged = if name.rsplit('/').next().is_some_and(|last| last.contains(':')) {
        name.to_owned()
    } else {
        format!("{name}:latest")
    };
    match tagged.split_once('/') {
        Some((host, _)) if host.contains(['.', ':']) || host == "localhost" => tagged,
        Some(_) => format!("{REGISTRY}{tagged}"),
        None => format!("{REGISTRY}library/{tagged}"),
    }
}

/// As a person says it.
fn short_name(name: &str) -> String {
    let full = full_name(name);
    let short = full.strip_prefix(REGISTRY).unwrap_or(&full);
    short.strip_prefix("library/").unwrap_or(short).to_owned()
}

/// A name for a while, which no other import has.
fn unique(what: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    format!("{what}-{}-{}-{}", process::id(), since.as_nanos(), NEXT.fetch_add(1, Ordering::Relaxed))
}

pub(super) fn failed(trouble: &Trouble) -> ImageError {
    match trouble {
        Trouble::Unreachable { .. } => ImageError::Unavailable(trouble.to_string()),
        Trouble::Late { .. } | Trouble::Refused { .. } => ImageError::Failed(trouble.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_ctr_and_docker() {
        let cases = [
            ("sandboxd/python:latest", "docker.io/sandboxd/python:latest", "sandboxd/python:latest"),
            (
                "docker.io/sandboxd/python:latest",
                "docker.io/sandboxd/python:latest",
                "sandboxd/python:latest",
            ),
            ("debian", "docker.io/library/debian:latest", "debian:latest"),
            ("localhost:5000/a/b", "localhost:5000/a/b:latest", "localhost:5000/a/b:latest"),
        ];
        for (name, full, short) in cases {
            assert_eq!((full_name(name).as_str(), short_name(name).as_str()), (full, short));
        }
    }
}
