//! From an executor's image to the snapshot that its containers begin with. containerd writes the snapshot's name on
//! the image's configuration when it unpacks one, so nothing is hashed here.
//!
//! Deliberately absent: making and bringing images, which is `images`.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use containerd_client::services::v1::{GetImageRequest, InfoRequest, ReadContentRequest};
use sandboxd_container::backend::image_of;
use sandboxd_contract::RuntimeError;
use serde_json::Value;

use crate::engine::{CALL_DEADLINE, Engine, Trouble};

/// `ctr` and Docker call an image by its registry, whether there is one or not.
pub(crate) const REGISTRY: &str = "docker.io/";
/// An index and the manifest in it.
const MAX_HOPS: usize = 3;
const MAX_MANIFEST_BYTES: usize = 4 << 20;
/// Each executor has one image at a time; those before are forgotten together.
const MAX_REMEMBERED: usize = 256;

/// What is known of images, by digest: a digest's content never changes.
#[derive(Default)]
pub(crate) struct Lookup {
    configurations: Mutex<HashMap<String, String>>,
}

/// What a container is made from.
pub(crate) struct Found {
    pub(crate) image: String,
    /// The snapshot's name.
    pub(crate) chain: String,
}

/// What architectures are called in images.
pub(crate) const ARCHITECTURE: &str = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };

/// The names under which an executor's image may be found: the one that an import gives it, and the short one.
pub(crate) fn names(executor: &str) -> [String; 2] {
    let name = image_of(executor);
    [format!("{REGISTRY}{name}"), name]
}

impl Lookup {
    pub(crate) async fn find(
        &self,
        engine: &Engine,
        snapshotter: &str,
        executor: &str,
    ) -> Result<Found, RuntimeError> {
        let Some((image, digest)) = find_image(engine, executor).await.map_err(Trouble::on_create)? else {
            return Err(RuntimeError::unavailable(format!(
                "there is no image {} in containerd's namespace {:?}; make it: sandboxd images build {executor}",
                image_of(executor),
                engine.namespace(),
            )));
        };
        let unusable = |what: &str| {
            RuntimeError::unavailable(format!(
                "the image {image} {what}; make it anew: sandboxd images build {executor}"
            ))
        };
        let remembered = self.remembered().get(&digest).cloned();
        let configuration = match remembered {
            Some(configuration) => configuration,
            None => {
                let found = configuration_of(engine, digest.clone()).await.map_err(Trouble::on_create)?;
                let found = found.ok_or_else(|| unusable("is not for this machine"))?;
                self.remember(digest, found.clone());
                found
            }
        };
        let chain = chain_of(engine, snapshotter, configuration).await.map_err(Trouble::on_create)?;
        let chain =
            chain.ok_or_else(|| unusable(&format!("is not unpacked for the snapshotter {snapshotter}")))?;
        Ok(Found { image, chain })
    }

    fn remember(&self, digest: String, configuration: String) {
        let mut all = self.remembered();
        if all.len() >= MAX_REMEMBERED {
            all.clear();
        }
        all.insert(digest, configuration);
    }

    fn remembered(&self) -> std::sync::MutexGuard<'_, HashMap<String, String>> {
        self.configurations.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The image's name here and its digest.
async fn find_image(engine: &Engine, executor: &str) -> Result<Option<(String, String)>, Trouble> {
    for name in names(executor) {
        let mut images = engine.images().await?;
        let request = GetImageRequest { name: name.clone() };
        match engine.call("images.Get", request, |request| images.get(request)).await {
            Ok(answer) => {
                return Ok(answer.image.and_then(|it| it.target).map(|target| (name, target.digest)));
            }
            Err(trouble) if trouble.is_not_found() => {}
            Err(trouble) => return Err(trouble),
        }
    }
    Ok(None)
}

/// The digest of the image's configuration, through an index where there is one.
pub(crate) async fn configuration_of(
    engine: &Engine,
    image_digest: String,
) -> Result<Option<String>, Trouble> {
    let mut digest = image_digest;
    for _ in 0..MAX_HOPS {
        let document = serde_json::from_slice(&read(engine, digest).await?).unwrap_or(Value::Null);
        if let Some(configuration) = document["config"]["digest"].as_str() {
            return Ok(Some(configuration.to_owned()));
        }
        match for_this_machine(&document) {
            Some(next) => digest = next,
            None => break,
        }
    }
    Ok(None)
}

/// The manifest for this machine's architecture in an index; one that names none is for any.
pub(crate) fn for_this_machine(index: &Value) -> Option<String> {
    let manifests = index["manifests"].as_array()?;
    let fits = |manifest: &&Value| {
        let platform = &manifest["platform"];
        platform.is_null() || (platform["architecture"] == ARCHITECTURE && platform["os"] == "linux")
    };
    manifests.iter().find(fits)?["digest"].as_str().map(str::to_owned)
}

/// The snapshot that a configuration's image was unpacked to; `None` where it was not.
pub(crate) async fn chain_of(
    engine: &Engine,
    snapshotter: &str,
    digest: String,
) -> Result<Option<String>, Trouble> {
    let mut content = engine.content().await?;
    let answer = engine.call("content.Info", InfoRequest { digest }, |request| content.info(request)).await;
    match answer {
        Ok(answer) => Ok(answer.info.and_then(|mut it| it.labels.remove(&chain_label(snapshotter)))),
        Err(trouble) if trouble.is_not_found() => Ok(None),
        Err(trouble) => Err(trouble),
    }
}

/// The label on an image's configuration that keeps the unpacked snapshot, and names it.
pub(crate) fn chain_label(snapshotter: &str) -> String {
    format!("containerd.io/gc.ref.snapshot.{snapshotter}")
}

/// A manifest's bytes; what is larger than any manifest is cut, and no JSON then.
async fn read(engine: &Engine, digest: String) -> Result<Vec<u8>, Trouble> {
    let mut content = engine.content().await?;
    let request = engine.request(CALL_DEADLINE, ReadContentRequest { digest, offset: 0, size: 0 });
    engine
        .within(CALL_DEADLINE, "content.Read", async {
            let mut parts = content.read(request).await?.into_inner();
            let mut bytes = Vec::new();
            while let Some(part) = parts.message().await? {
                bytes.extend_from_slice(&part.data);
                if bytes.len() > MAX_MANIFEST_BYTES {
                    break;
                }
            }
            Ok(bytes)
        })
        .await
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn of_an_index_what_runs_here() {
        let other = if cfg!(target_arch = "aarch64") { "amd64" } else { "arm64" };
        let ours = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
        let index = json!({"manifests": [
            {"digest": "a", "platform": {"os": "linux", "architecture": other}},
            {"digest": "b", "platform": {"os": "linux", "architecture": ours}},
        ]});
        assert_eq!(for_this_machine(&index).as_deref(), Some("b"));
        assert_eq!(for_this_machine(&json!({"manifests": [{"digest": "c"}]})).as_deref(), Some("c"));
        assert_eq!(for_this_machine(&json!({"manifests": []})), None);
        assert_eq!(for_this_machine(&Value::Null), None);
    }

    #[test]
    fn what_is_remembered_stays_bounded() {
        let lookup = Lookup::default();
        for number in 0..MAX_REMEMBERED * 2 {
            lookup.remember(number.to_string(), String::new());
        }
        assert!(lookup.remembered().len() <= MAX_REMEMBERED);
    }
}
