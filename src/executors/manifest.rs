//! Manifests as written: the shape of `executor.toml`, the embedded folders and folders on disk, and the one error
//! they have. What is believed of a manifest is decided in `believe`, not here.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use serde::Deserialize;

use crate::embedded::EmbeddedFolder;

/// One thing that is wrong with a manifest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}: {key}: {message}")]
pub struct ManifestError {
    pub file: String,
    /// As it stands in the file: `compile.command`.
    pub key: String,
    /// What is wrong and what is allowed.
    pub message: String,
}

/// `executor.toml`, key by key.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ManifestFile {
    pub name: String,
    #[serde(default)]
    pub aliases: Vec<String>,
    pub extensions: Vec<String>,
    #[serde(default)]
    pub packages: Vec<String>,
    pub version_command: Vec<String>,
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    pub source: SourceSection,
    pub compile: Option<CompileSection>,
    pub run: RunSection,
    pub example: ExampleSection,
    pub self_test: SelfTestSection,
    pub prepare: Option<PrepareSection>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SourceSection {
    pub name: String,
    #[serde(default)]
    pub executable: bool,
    pub declared: Option<DeclaredSection>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DeclaredSection {
    pub after: String,
    pub keywords: Vec<String>,
    pub suffix: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CompileSection {
    pub command: Vec<String>,
    #[serde(default)]
    pub args: Vec<String>,
    pub artifacts: Vec<String>,
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    #[serde(default)]
    pub limits: BTreeMap<String, u64>,
    pub heap_percent: Option<u64>,
    pub stack_percent: Option<u64>,
    pub prestart: Option<PrestartSection>,
}

impl CompileSection {
    /// What it has in common with a run phase, and what is its own: flags and artifacts.
    pub(super) fn split(self) -> (RunSection, Vec<String>, Vec<String>) {
        let Self { command, args, artifacts, env, limits, heap_percent, stack_percent, prestart } = self;
        let step = RunSection { command, env, limits, heap_percent, stack_percent, prestart };
        (step, args, artifacts)
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RunSection {
    pub command: Vec<String>,
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    #[serde(default)]
    pub limits: BTreeMap<String, u64>,
    pub heap_percent: Option<u64>,
    pub stack_percent: Option<u64>,
    pub prestart: Option<PrestartSection>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PrestartSection {
    /// Files that the interpreter, or the compiler, looks for before it opens the program.
    #[serde(default)]
    pub unless: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ExampleSection {
    pub file: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SelfTestSection {
    pub file: String,
    #[serde(default)]
    pub stdin: String,
    #[serde(default)]
    pub args: Vec<String>,
    pub stdout: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PrepareSection {
    pub script: String,
    pub timeout_seconds: u64,
}

/// A folder that has an `executor.toml`, all of it in memory.
#[derive(Debug)]
pub(super) struct Folder {
    pub id: String,
    /// How messages name the manifest.
    pub file: String,
    pub files: Vec<(String, Vec<u8>)>,
}

pub(super) const MANIFEST: &str = "executor.toml";

/// Bounds on what is read from a folder: manifests, a script and hello programs, not archives.
const MAX_FILE_BYTES: u64 = 256 * 1024;
const MAX_FILES: usize = 64;

type Attempt<T> = Result<T, Vec<ManifestError>>;

// Written by build.rs: every folder of executors/ with a manifest.
static EMBEDDED: &[EmbeddedFolder] = include!(concat!(env!("OUT_DIR"), "/executors.rs"));

pub(super) fn embedded() -> impl Iterator<Item = Attempt<Folder>> {
    EMBEDDED.iter().map(|folder| {
        Ok(Folder {
            id: folder.id.to_owned(),
            file: format!("built-in {}/{MANIFEST}", folder.id),
            files: folder
                .files
                .iter()
                .map(|(name, content)| ((*name).to_owned(), content.to_vec()))
                .collect(),
        })
    })
}

/// Every folder of `dir` that has a manifest, by name.
pub(super) fn folders(dir: &Path) -> Vec<Attempt<Folder>> {
    match sorted_names(dir) {
        Err(error) => vec![Err(unreadable(dir, &error))],
        Ok(names) => names
            .into_iter()
            .filter(|name| dir.join(name).join(MANIFEST).is_file())
            .map(|id| folder(dir, id))
            .collect(),
    }
}

/// # Errors
/// The first thing that keeps it from having the shape of a manifest.
pub(super) fn parse(folder: &Folder) -> Attempt<ManifestFile> {
    let text = folder.text(MANIFEST).map_err(|message| vec![folder.error("file", message)])?;
    let wrong = |key: String, error: &toml::de::Error| {
        let line = error.span().map(|span| text[..span.start.min(text.len())].lines().count().max(1));
        let at = line.map_or_else(String::new, |line| format!(" (line {line})"));
        vec![folder.error(if key == "." { "file" } else { &key }, format!("{}{at}", error.message()))]
    };
    let toml = toml::Deserializer::parse(&text).map_err(|error| wrong(".".to_owned(), &error))?;
    serde_path_to_error::deserialize(toml).map_err(|error| wrong(error.path().to_string(), error.inner()))
}

impl Folder {
    pub(super) fn error(&self, key: &str, message: impl Into<String>) -> ManifestError {
        ManifestError { file: self.file.clone(), key: key.to_owned(), message: message.into() }
    }

    /// The text of a file beside the manifest.
    pub(super) fn text(&self, name: &str) -> Result<String, String> {
        let found = self.files.iter().find(|(known, _)| known == name);
        let (_, content) =
            found.ok_or_else(|| format!("there is no file {name:?} in the executor's folder"))?;
        String::from_utf8(content.clone()).map_err(|_| format!("{name:?} is no UTF-8 text"))
    }
}

fn folder(dir: &Path, id: String) -> Attempt<Folder> {
    let path = dir.join(&id);
    let mut files = Vec::new();
    for name in sorted_names(&path).map_err(|error| unreadable(&path, &error))? {
        let path = path.join(&name);
        if path.is_file() {
            files.push((name, read_bounded(&path).map_err(|error| unreadable(&path, &error))?));
        }
    }
    if files.len() > MAX_FILES {
        return Err(unreadable(
            &path,
            &format!("{} files are too many, {MAX_FILES} are allowed", files.len()),
        ));
    }
    Ok(Folder { id, file: path.join(MANIFEST).display().to_string(), files })
}

fn sorted_names(dir: &Path) -> io::Result<Vec<String>> {
    let names = fs::read_dir(dir)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    let mut names = names.collect::<io::Result<Vec<String>>>()?;
    names.sort();
    Ok(names)
}

fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    if fs::metadata(path)?.len() > MAX_FILE_BYTES {
        return Err(io::Error::other(format!("it is larger than the allowed {MAX_FILE_BYTES} bytes")));
    }
    fs::read(path)
}

fn unreadable(path: &Path, error: &impl std::fmt::Display) -> Vec<ManifestError> {
    vec![ManifestError {
        file: path.display().to_string(),
        key: "file".to_owned(),
        message: format!("read: {error}"),
    }]
}
