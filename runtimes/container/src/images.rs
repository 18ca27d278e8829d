//! Images of executors: what one is made from, and what sandboxd asks of an engine that keeps them.
//!
//! An image is a Debian with an executor's packages, its warm toolchain where it has one, and the places that every
//! container mounts something on. How it is made is the engine's business; what is in it stands here. Called by
//! `sandboxd images`, never for a request.

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use sandboxd_contract::TOOLCHAIN_DIR;

/// What every image ends with, as a command for /bin/sh: the mount points of a read-only root, and nothing that only
/// building needed. /tmp is a part of the disk that the container gets.
pub const FINISH: &str = "rm -rf /tmp /box /.sandboxd /opt/prepare \
     /var/lib/apt/lists /var/cache/apt /var/log/apt /var/log/dpkg.log /var/log/alternatives.log \
     && mkdir -p -m 0755 /box /.sandboxd && : >/.sandboxd/agent && chmod 0755 /.sandboxd/agent \
     && ln -s /box/tmp /tmp";

/// How the image of every executor is made that brings no Dockerfile of its own.
pub const COMMON_DOCKERFILE: &str = include_str!("../../../executors/Dockerfile");

/// Where the executor's files are while its toolchain is warmed up.
pub const PREPARE_DIR: &str = "/opt/prepare";

/// Everything that the image of one executor is made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipe {
    pub executor: String,
    /// The image to begin with, where the engine builds upon images.
    pub base: String,
    /// Debian packages.
    pub packages: Vec<String>,
    /// Every file of the executor's folder, by name.
    pub files: Vec<(String, Vec<u8>)>,
    /// Which of them warms the toolchain up: run by /bin/sh in [`PREPARE_DIR`], among the others, with
    /// [`Recipe::toolchain`] as its argument.
    pub prepare: Option<String>,
    /// The executor's own Dockerfile, for an engine that reads such; `None` where the common way will do.
    pub dockerfile: Option<String>,
}

impl Recipe {
    /// The executor's Dockerfile, or the common one, and the end of every image.
    pub fn full_dockerfile(&self) -> String {
        let written = self.dockerfile.as_deref().unwrap_or(COMMON_DOCKERFILE);
        format!("{}\nUSER 0\nRUN {FINISH}\n", written.trim_end())
    }

    /// The folder that the prepare script fills.
    pub fn toolchain(&self) -> String {
        format!("{TOOLCHAIN_DIR}/{}", self.executor)
    }
}

/// An image of an executor that an engine has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    pub executor: String,
    /// As [`crate::backend::image_of`] has it.
    pub name: String,
    /// The engine's own, such as a digest.
    pub id: String,
    /// With all that it shares with others; `None` where the engine does not say.
    pub size_bytes: Option<u64>,
}

/// Where the lines go that an engine prints while it works.
pub type Progress<'a> = &'a (dyn Fn(&str) + Send + Sync);

/// Where an engine keeps images.
#[async_trait]
pub trait ImageStore: Send + Sync {
    /// Every image with the name of an executor's, sorted by name.
    async fn list(&self) -> Result<Vec<Image>, ImageError>;

    /// Makes the image and puts it in the place of the one that was there; on error that one stays. Minutes.
    async fn build(&self, recipe: &Recipe, progress: Progress<'_>) -> Result<(), ImageError>;

    /// Takes the images of an archive, as `docker save` writes it, and says their names. Minutes.
    async fn import(&self, archive: &Path, progress: Progress<'_>) -> Result<Vec<String>, ImageError>;
}

#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The engine can't be reached, or can't do this: with what mends it.
    #[error("{0}")]
    Unavailable(String),
    /// What was asked for did not succeed: with the step and its last words.
    #[error("{0}")]
    Failed(String),
    /// The archive can't be read.
    #[error("read {}: {source}", path.display())]
    Archive { path: PathBuf, source: std::io::Error },
}
