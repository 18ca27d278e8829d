//! A root filesystem from Debian's packages, made in a folder of this host: the smallest Debian by mmdebstrap, once a
//! day for all languages, and upon a copy of it the steps of a language's Dockerfile, each run in namespaces of its
//! own with that folder as its root. The network is the host's, for the mirrors.
//!
//! Only the command line comes here, as root, for what its own manifests and Debian say.

use std::{
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use nix::unistd::geteuid;
use sandboxd_container::{
    backend::image_of,
    images::{ImageError, Progress, Recipe},
};
use serde_json::json;

use super::{
    archive::{Blob, Bundle, Layer},
    command::{self, Program},
    dockerfile::{self, Step},
};
use crate::{lookup::ARCHITECTURE, oci_runtime::program};

/// For all commands of one image.
const BUILD_TIMEOUT: Duration = Duration::from_secs(3600);
const SECONDS_PER_DAY: u64 = 86_400;
const SEARCH_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// What nobody reads in a sandbox.
const LEFT_OUT: [&str; 5] = [
    "path-exclude=/usr/share/doc/*",
    "path-include=/usr/share/doc/*/copyright",
    "path-exclude=/usr/share/man/*",
    "path-exclude=/usr/share/locale/*",
    "path-exclude=/usr/share/info/*",
];
/// Packages link alternatives to their manual pages, and fail for want of the folders.
const MANUAL_DIRS: [&str; 3] = ["usr/share/man/man1", "usr/share/man/man7", "usr/share/man/man8"];
/// What every container mounts something on.
const EMPTIED: [&str; 3] = ["./dev/*", "./proc/*", "./sys/*"];

/// The folder where images are made, one at a time.
pub(super) struct Workshop {
    folder: PathBuf,
    /// Whoever has it open and locked is the only one here.
    _lock: fs::File,
}

impl Workshop {
    /// Enters it, and throws away what a build that died has left.
    ///
    /// # Errors
    /// What is missing on this host, with what mends it; another build that runs.
    pub(super) async fn open(folder: &Path) -> Result<Self, ImageError> {
        if !geteuid().is_root() {
            let reason = "images are made for containerd as root only: run it with sudo, or bring them with 'sandboxd \
                          images import'";
            return Err(ImageError::Unavailable(reason.to_owned()));
        }
        if program("mmdebstrap").is_none() {
            let reason = "images are made for containerd by mmdebstrap, which is not installed: apt-get install \
                          mmdebstrap";
            return Err(ImageError::Unavailable(reason.to_owned()));
        }
        let owned = folder.to_owned();
        let opened = blocking(move || {
            fs::create_dir_all(&owned)?;
            let lock = fs::File::create(owned.join("lock"))?;
            lock.try_lock()?;
            Ok(Self { folder: owned, _lock: lock })
        });
        let workshop = opened.await.map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => {
                ImageError::Unavailable(format!("another build is at work in {}", folder.display()))
            }
            _ => ImageError::Unavailable(format!("{}: {error}", folder.display())),
        })?;
        workshop.clean().await?;
        Ok(workshop)
    }

    /// Makes the image, as a layer and a configuration.
    pub(super) async fn build(&self, recipe: &Recipe, progress: Progress<'_>) -> Result<Bundle, ImageError> {
        let what = format!("build {}", image_of(&recipe.executor));
        let fail = |reason: String| ImageError::Failed(format!("{what}: {reason}"));
        let steps = dockerfile::steps(&recipe.full_dockerfile()).map_err(fail)?;
        let work = async {
            let base = self.base(suite(&recipe.base)?, progress).await?;
            let root = self.work().join("root");
            let copy = Program::new("cp").with(["-a", "--reflink=auto", "--"]).with([&base, &root]);
            command::run("copy the base", copy, progress).await?;
            self.follow(&root, recipe, steps, progress).await?;
            self.pack(&root, recipe, progress).await
        };
        match tokio::time::timeout(BUILD_TIMEOUT, work).await {
            Ok(built) => built.map_err(fail),
            Err(_) => Err(fail(format!("not done after {} s", BUILD_TIMEOUT.as_secs()))),
        }
    }

    /// Removes everything but the base.
    pub(super) async fn clean(&self) -> Result<(), ImageError> {
        let work = self.work();
        let cleaned = blocking(move || match fs::remove_dir_all(&work) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => fs::create_dir(&work),
        });
        cleaned.await.map_err(|error| ImageError::Failed(format!("{}: {error}", self.work().display())))
    }

    fn work(&self) -> PathBuf {
        self.folder.join("work")
    }

    /// The smallest Debian with apt and today's package lists; each day has its own, so that a build does not ask for
    /// packages that the mirrors have replaced.
    async fn base(&self, suite: &str, progress: Progress<'_>) -> Result<PathBuf, String> {
        let today =
            SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() / SECONDS_PER_DAY;
        let base = self.folder.join(format!("base-{suite}-{today}"));
        if base.is_dir() {
            return Ok(base);
        }
        let others = self.folder.clone();
        let removed = blocking(move || {
            for entry in fs::read_dir(&others)?.flatten() {
                if entry.file_name().to_string_lossy().starts_with("base-") {
                    fs::remove_dir_all(entry.path())?;
                }
            }
            Ok(())
        });
        removed.await.map_err(|error| error.to_string())?;
        let making = self.work().join("base");
        let mirrors = mirrors(suite).await;
        let options = ["--variant=apt", "--mode=root", "--format=directory", "--skip=cleanup/apt/lists"];
        let mut debian = isolated().with(["mmdebstrap"]).with(options);
        debian = debian.with(LEFT_OUT.map(|option| format!("--dpkgopt={option}")));
        debian = debian.with([OsString::from(suite), making.clone().into()]);
        if !mirrors.is_empty() {
            debian = debian.with(["-"]).input(mirrors);
        }
        command::run("mmdebstrap", debian, progress).await?;
        let made = base.clone();
        let placed = blocking(move || {
            MANUAL_DIRS.iter().try_for_each(|folder| fs::create_dir_all(making.join(folder)))?;
            fs::rename(&making, &made)
        });
        placed.await.map_err(|error| error.to_string())?;
        Ok(base)
    }

    async fn follow(
        &self,
        root: &Path,
        recipe: &Recipe,
        steps: Vec<Step>,
        progress: Progress<'_>,
    ) -> Result<(), String> {
        let given = [
            ("PACKAGES", recipe.packages.join(" ")),
            ("EXECUTOR", recipe.executor.clone()),
            ("PREPARE", recipe.prepare.clone().unwrap_or_default()),
        ];
        let mut variables: Vec<(String, String)> = Vec::new();
        for step in steps {
            match step {
                Step::Argument { name, default } => {
                    let value =
                        given.iter().find(|(given, _)| *given == name).map(|(_, value)| value.clone());
                    variables.push((name, value.unwrap_or(default)));
                }
                Step::Files { folder } => {
                    let folder = root.join(folder.trim_start_matches('/'));
                    let files = recipe.files.clone();
                    let written = blocking(move || {
                        fs::create_dir_all(&folder)?;
                        files.iter().try_for_each(|(name, content)| fs::write(folder.join(name), content))
                    });
                    written.await.map_err(|error| format!("the executor's files: {error}"))?;
                }
                Step::Run { command } => {
                    let mut root_option = OsString::from("--root=");
                    root_option.push(root);
                    let shell = isolated()
                        .with([root_option])
                        .with(["--wd=/", "/bin/sh", "-c", &command])
                        .variables(variables.clone());
                    let step: String = command.chars().take(60).collect();
                    command::run(&format!("RUN {step}"), shell, progress).await?;
                }
            }
        }
        Ok(())
    }

    async fn pack(&self, root: &Path, recipe: &Recipe, progress: Progress<'_>) -> Result<Bundle, String> {
        let layer = self.work().join("layer.tar");
        let tar = Program::new("tar")
            .with(["--create", "--numeric-owner", "--sort=name", "--one-file-system"])
            .with(EMPTIED.map(|pattern| format!("--exclude={pattern}")))
            .with([OsString::from("--file"), layer.clone().into(), "--directory".into(), root.into()])
            .with(["."]);
        command::run("tar", tar, progress).await?;
        let packed = blocking(move || {
            let file = Arc::new(fs::File::open(layer)?);
            let blob = Blob { size: file.metadata()?.len(), file, offset: 0 };
            let digest = blob.digest()?;
            let media_type = blob.media_type()?;
            Ok(Layer { blob, diff_id: digest.clone(), digest, media_type })
        });
        let layer = packed.await.map_err(|error| format!("the layer: {error}"))?;
        let configuration = json!({
            "architecture": ARCHITECTURE,
            "os": "linux",
            "config": { "Env": [format!("PATH={SEARCH_PATH}")] },
            "rootfs": { "type": "layers", "diff_ids": [layer.diff_id] },
            "history": [{ "created_by": format!("sandboxd images build {}", recipe.executor) }],
        });
        let configuration = configuration.to_string().into_bytes();
        Ok(Bundle { names: vec![image_of(&recipe.executor)], configuration, layers: vec![layer] })
    }
}

/// A program in mount and process namespaces of its own: whatever it starts ends with it, and what it mounts is never
/// seen here.
fn isolated() -> Program {
    Program::new("unshare").with(["--mount", "--pid", "--fork", "--kill-child", "--mount-proc"])
}

/// The suite of a base as Docker's images of Debian are called, such as `debian:bookworm-slim`.
fn suite(base: &str) -> Result<&str, String> {
    let tag = base.strip_prefix("debian:").map(|tag| tag.strip_suffix("-slim").unwrap_or(tag));
    tag.filter(|tag| tag.starts_with(|first: char| first.is_ascii_lowercase()))
        .filter(|tag| tag.bytes().all(|byte| byte.is_ascii_lowercase()))
        .ok_or_else(|| {
            format!("without Docker an image begins with a Debian, as in debian:bookworm, not with {base}")
        })
}

/// The host's own mirrors of the suite, as lines of sources.list; none where it has none, and then mmdebstrap knows
/// Debian's.
async fn mirrors(suite: &str) -> String {
    let apt = Program::new("apt-get").with([
        "indextargets",
        "--format",
        "$(REPO_URI) $(RELEASE) $(COMPONENT)",
        "Identifier: Packages",
    ]);
    let lines = std::sync::Mutex::new(String::new());
    let keep = |line: &str| {
        if let Ok(mut lines) = lines.lock() {
            lines.push_str(line);
            lines.push('\n');
        }
    };
    if command::run("apt-get indextargets", apt, &keep).await.is_err() {
        return String::new();
    }
    sources(suite, &lines.into_inner().unwrap_or_default())
}

fn sources(suite: &str, targets: &str) -> String {
    let mut lines: Vec<String> = Vec::new();
    for target in targets.lines() {
        let mut words = target.split_whitespace();
        let (Some(uri), Some(release), Some(component)) = (words.next(), words.next(), words.next()) else {
            continue;
        };
        let part = release.strip_prefix(suite);
        if part.is_some_and(|part| ["", "-updates", "-security"].contains(&part)) {
            lines.push(format!("deb {} {release} {component}\n", uri.trim_end_matches('/')));
        }
    }
    lines.sort();
    lines.dedup();
    lines.concat()
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suites_are_those_of_debian() {
        assert_eq!(suite("debian:bookworm-slim"), Ok("bookworm"));
        assert_eq!(suite("debian:trixie"), Ok("trixie"));
        for other in ["alpine:3", "debian", "debian:", "debian:12", "debian:../x", "debian:--help"] {
            assert!(suite(other).unwrap_err().contains(other), "{other}");
        }
    }

    #[test]
    fn the_hosts_mirrors_of_that_suite_and_no_others() {
        let targets = "http://a/debian/ bookworm main\nhttp://a/debian/ bookworm main\nhttp://a/debian/ trixie main\n\
                       http://b/ bookworm-security main\nhttp://c/ bookworm-backports main\nbroken\n";
        let expected = "deb http://a/debian bookworm main\ndeb http://b bookworm-security main\n";
        assert_eq!(sources("bookworm", targets), expected);
    }
}
