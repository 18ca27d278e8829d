//! What is in an archive of images: as `docker save` writes it, with a `manifest.json`, and as the OCI lays images out,
//! with an `index.json`. Newer Dockers write both in one.
//!
//! The archive is read where it lies: a layer is a range of its bytes. Blocks; called on a thread for such.

use std::{
    collections::HashMap,
    fs::File,
    io,
    os::unix::fs::FileExt,
    path::{Component, Path, PathBuf},
    sync::Arc,
};

use serde_json::Value;

use super::digest::{self, Digest};
use crate::lookup;

/// Members of an archive: a dozen for each layer, in the oldest form.
const MAX_MEMBERS: usize = 64 * 1024;
const MAX_DOCUMENT_BYTES: u64 = 8 << 20;
const MAX_LAYERS: usize = 256;
/// An index, one for a name in it, a manifest.
const MAX_HOPS: usize = 3;
/// Links to links of members that are the same.
const MAX_LINKS: usize = 8;

/// An image that can be put into a store.
#[derive(Debug)]
pub(super) struct Bundle {
    pub(super) names: Vec<String>,
    /// Its configuration, byte by byte: the digest of this is what Docker calls the image's id.
    pub(super) configuration: Vec<u8>,
    /// From the ground up.
    pub(super) layers: Vec<Layer>,
}

#[derive(Debug)]
pub(super) struct Layer {
    pub(super) blob: Blob,
    pub(super) digest: String,
    /// The digest of what is packed in it.
    pub(super) diff_id: String,
    pub(super) media_type: &'static str,
}

/// A range of a file.
#[derive(Debug, Clone)]
pub(super) struct Blob {
    pub(super) file: Arc<File>,
    pub(super) offset: u64,
    pub(super) size: u64,
}

impl Blob {
    /// At most `size` bytes from this one on; none at the end.
    pub(super) fn read(&self, from: u64, size: usize) -> io::Result<Vec<u8>> {
        let left = usize::try_from(self.size.saturating_sub(from)).unwrap_or(usize::MAX);
        let mut bytes = vec![0; size.min(left)];
        self.file.read_exact_at(&mut bytes, self.offset + from)?;
        Ok(bytes)
    }

    pub(super) fn digest(&self) -> io::Result<String> {
        const PIECE_BYTES: usize = 1 << 20;
        let mut digest = Digest::default();
        let mut from = 0;
        while from < self.size {
            let piece = self.read(from, PIECE_BYTES)?;
            digest.add(&piece);
            from += piece.len() as u64;
        }
        Ok(digest.finish())
    }

    /// How a layer in these bytes is packed, as the OCI calls it.
    pub(super) fn media_type(&self) -> io::Result<&'static str> {
        let start = self.read(0, 4)?;
        Ok(if start.starts_with(&[0x1f, 0x8b]) {
            "application/vnd.oci.image.layer.v1.tar+gzip"
        } else if start == [0x28, 0xb5, 0x2f, 0xfd] {
            "application/vnd.oci.image.layer.v1.tar+zstd"
        } else {
            "application/vnd.oci.image.layer.v1.tar"
        })
    }
}

/// Every image in an archive.
///
/// # Errors
/// What can't be read, or is no archive of images: with what is wrong, in a few words.
pub(super) fn read(path: &Path) -> io::Result<Vec<Bundle>> {
    let members = Members::read(path)?;
    let bundles = if members.has("index.json") {
        of_index(&members)?
    } else if members.has("manifest.json") {
        of_docker(&members)?
    } else {
        return Err(wrong("neither docker save nor an OCI layout wrote this archive"));
    };
    if bundles.is_empty() { Err(wrong("there is no image for this machine in it")) } else { Ok(bundles) }
}

/// What lies where in the archive.
struct Members {
    file: Arc<File>,
    ranges: HashMap<PathBuf, (u64, u64)>,
    links: HashMap<PathBuf, PathBuf>,
}

impl Members {
    fn read(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let (mut ranges, mut links) = (HashMap::new(), HashMap::new());
        let mut archive = tar::Archive::new(&file);
        for entry in archive.entries_with_seek()? {
            let entry =
                entry.map_err(|error| wrong(&format!("no tar archive, or a broken one ({error})")))?;
            let name = plain(&entry.path()?, Path::new(""));
            let kind = entry.header().entry_type();
            if kind.is_file() {
                ranges.insert(name, (entry.raw_file_position(), entry.size()));
            } else if let (true, Some(target)) =
                (kind.is_symlink() || kind.is_hard_link(), entry.link_name()?)
            {
                let folder = name.parent().filter(|_| kind.is_symlink()).unwrap_or(Path::new(""));
                links.insert(name.clone(), plain(&target, folder));
            }
            if ranges.len() + links.len() > MAX_MEMBERS {
                return Err(wrong("it has more members than any archive of images"));
            }
        }
        Ok(Self { file: Arc::new(file), ranges, links })
    }

    fn has(&self, name: &str) -> bool {
        self.ranges.contains_key(Path::new(name))
    }

    fn blob(&self, name: &str) -> io::Result<Blob> {
        let mut name = plain(Path::new(name), Path::new(""));
        for _ in 0..MAX_LINKS {
            if let Some((offset, size)) = self.ranges.get(&name) {
                return Ok(Blob { file: Arc::clone(&self.file), offset: *offset, size: *size });
            }
            match self.links.get(&name) {
                Some(target) => name.clone_from(target),
                None => break,
            }
        }
        Err(wrong(&format!("{} is not in it", name.display())))
    }

    /// A small one, whole.
    fn document(&self, name: &str) -> io::Result<Vec<u8>> {
        let blob = self.blob(name)?;
        if blob.size > MAX_DOCUMENT_BYTES {
            return Err(wrong(&format!("{name} is larger than any such document")));
        }
        blob.read(0, usize::try_from(blob.size).unwrap_or(usize::MAX))
    }

    fn json(&self, name: &str) -> io::Result<Value> {
        serde_json::from_slice(&self.document(name)?).map_err(|error| wrong(&format!("{name}: {error}")))
    }

    fn blob_of(&self, descriptor: &Value) -> io::Result<String> {
        let digest = text(descriptor, "digest")?;
        let (algorithm, hash) = digest.split_once(':').unwrap_or(("", ""));
        Ok(format!("blobs/{algorithm}/{hash}"))
    }
}

/// `manifest.json`: layers as plain tar archives, whose digests the configuration has.
fn of_docker(members: &Members) -> io::Result<Vec<Bundle>> {
    let mut bundles = Vec::new();
    for image in list(&members.json("manifest.json")?) {
        let layers: Vec<_> =
            list(&image["Layers"]).iter().filter_map(Value::as_str).map(str::to_owned).collect();
        let names = list(&image["RepoTags"]).iter().filter_map(Value::as_str).map(str::to_owned).collect();
        bundles.push(bundle(members, names, text(image, "Config")?, &layers)?);
    }
    Ok(bundles)
}

/// `index.json`: documents that name each other by digest.
fn of_index(members: &Members) -> io::Result<Vec<Bundle>> {
    let mut bundles = Vec::new();
    for entry in list(&members.json("index.json")?["manifests"]) {
        let Some(manifest) = manifest(members, entry)? else { continue };
        let layers: io::Result<Vec<_>> =
            list(&manifest["layers"]).iter().map(|layer| members.blob_of(layer)).collect();
        let configuration = members.blob_of(&manifest["config"])?;
        bundles.push(bundle(members, names(members, entry, &configuration), &configuration, &layers?)?);
    }
    Ok(bundles)
}

/// The manifest that an entry stands for, through an index of its own; `None` where none is for this machine.
fn manifest(members: &Members, entry: &Value) -> io::Result<Option<Value>> {
    let mut name = members.blob_of(entry)?;
    for _ in 0..MAX_HOPS {
        let document = members.json(&name)?;
        if document["config"].is_object() {
            return Ok(Some(document));
        }
        match lookup::for_this_machine(&document) {
            Some(digest) => name = members.blob_of(&serde_json::json!({ "digest": digest }))?,
            None => return Ok(None),
        }
    }
    Ok(None)
}

/// As the entry's annotations say; a tag alone says little, but `manifest.json` beside it may have the name.
fn names(members: &Members, entry: &Value, configuration: &str) -> Vec<String> {
    let annotation = |name: &str| entry["annotations"][name].as_str().map(str::to_owned);
    if let Some(name) = annotation("io.containerd.image.name") {
        return vec![name];
    }
    if let Some(name) =
        annotation("org.opencontainers.image.ref.name").filter(|name| name.contains(['/', ':']))
    {
        return vec![name];
    }
    let docker = if members.has("manifest.json") { members.json("manifest.json").ok() } else { None };
    let docker = docker.unwrap_or_default();
    let same = list(&docker).iter().find(|image| image["Config"] == configuration);
    same.map(|image| list(&image["RepoTags"]).iter().filter_map(Value::as_str).map(str::to_owned).collect())
        .unwrap_or_default()
}

fn bundle(
    members: &Members,
    names: Vec<String>,
    configuration: &str,
    layers: &[String],
) -> io::Result<Bundle> {
    let configuration = members.document(configuration)?;
    let believed: Value =
        serde_json::from_slice(&configuration).map_err(|error| wrong(&error.to_string()))?;
    let architecture = &believed["architecture"];
    if !architecture.is_null() && *architecture != lookup::ARCHITECTURE {
        let what = names.first().map_or("an image", String::as_str);
        return Err(wrong(&format!("{what} is for {architecture}, not for {}", lookup::ARCHITECTURE)));
    }
    let diff_ids = list(&believed["rootfs"]["diff_ids"]);
    if diff_ids.len() != layers.len() || layers.is_empty() || layers.len() > MAX_LAYERS {
        return Err(wrong(&format!("{} layers for {} in the configuration", layers.len(), diff_ids.len())));
    }
    let layers: io::Result<Vec<_>> = layers
        .iter()
        .zip(diff_ids)
        .map(|(name, diff_id)| layer(members, name, diff_id.as_str().unwrap_or_default()))
        .collect();
    Ok(Bundle { names, configuration, layers: layers? })
}

fn layer(members: &Members, name: &str, diff_id: &str) -> io::Result<Layer> {
    let blob = members.blob(name)?;
    let media_type = blob.media_type()?;
    // What is not packed needs no digest of its own, and in a layout it is the name.
    let digest = match name.strip_prefix("blobs/sha256/") {
        Some(hash) => digest::of_hash(hash),
        None if media_type.ends_with(".tar") => diff_id.to_owned(),
        None => blob.digest()?,
    };
    Ok(Layer { blob, digest, diff_id: diff_id.to_owned(), media_type })
}

/// Without `.` and `..`: what leads out of the archive is nothing in it.
fn plain(path: &Path, folder: &Path) -> PathBuf {
    let mut plain = folder.to_owned();
    for part in path.components() {
        match part {
            Component::Normal(part) => plain.push(part),
            Component::ParentDir => drop(plain.pop()),
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    plain
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text<'a>(value: &'a Value, key: &str) -> io::Result<&'a str> {
    value[key].as_str().ok_or_else(|| wrong(&format!("a manifest without {key}")))
}

fn wrong(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

#[cfg(test)]
#[path = "archive_tests.rs"]
mod tests;
