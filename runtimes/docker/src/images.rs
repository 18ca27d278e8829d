//! Images of executors in Docker Engine: built by its classic builder, which every version since 20.10 has, from a
//! context that is made in memory. What is in the context is `context`. Nothing here is called for a request.

mod context;

use std::{
    collections::{HashMap, VecDeque},
    fs::File,
    io::Read,
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use async_trait::async_trait;
use bollard::{
    Docker, body_full,
    errors::Error,
    models::BuildInfo,
    query_parameters::{
        BuildImageOptionsBuilder, ImportImageOptionsBuilder, ListImagesOptionsBuilder,
        RemoveImageOptionsBuilder,
    },
};
use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use sandboxd_container::{
    backend::{executor_of, image_of},
    images::{Image, ImageError, ImageStore, Progress, Recipe},
};
use tokio::{sync::mpsc, time::timeout};

/// For a question that is answered from memory.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// For all of a build or an import.
const WORK_TIMEOUT: Duration = Duration::from_secs(3600);
/// How much of a failed build's last words is repeated.
const LAST_LINES: usize = 40;
const MAX_LINE_CHARS: usize = 300;
/// Pieces of an archive on their way to the engine, and their size.
const PIECES: usize = 4;
const PIECE_BYTES: usize = 1 << 20;
/// What is built first, for all: no executor's name has a form like it.
const LISTS_IMAGE: &str = "sandboxd-base:latest";
const SECONDS_PER_DAY: u64 = 86_400;

/// The images of one engine.
pub struct DockerImages {
    host: String,
    docker: Docker,
}

impl DockerImages {
    /// Knows where the engine is; nothing is asked yet. `host` is `unix:///path`, `tcp://host:port` or `http://…`.
    ///
    /// # Errors
    /// [`ImageError::Unavailable`] for a host that can't be one.
    pub fn new(host: &str) -> Result<Self, ImageError> {
        let version = bollard::API_DEFAULT_VERSION;
        let seconds = WORK_TIMEOUT.as_secs();
        let docker = match host.strip_prefix("unix://") {
            Some(path) => Docker::connect_with_unix(path, seconds, version),
            None => Docker::connect_with_http(host, seconds, version),
        };
        let docker = docker.map_err(|error| ImageError::Unavailable(format!("Docker at {host}: {error}")))?;
        Ok(Self { host: host.to_owned(), docker })
    }

    /// The engine, spoken to in a version of the API that both know.
    async fn engine(&self) -> Result<Docker, ImageError> {
        let unreachable = |reason: String| {
            ImageError::Unavailable(format!("Docker does not answer at {}: {reason}", self.host))
        };
        match timeout(ANSWER_TIMEOUT, self.docker.clone().negotiate_version()).await {
            Ok(Ok(docker)) => Ok(docker),
            Ok(Err(error)) => Err(unreachable(error.to_string())),
            Err(_) => Err(unreachable(format!("not within {} s", ANSWER_TIMEOUT.as_secs()))),
        }
    }
}

#[async_trait]
impl ImageStore for DockerImages {
    async fn list(&self) -> Result<Vec<Image>, ImageError> {
        list(&self.engine().await?).await
    }

    async fn build(&self, recipe: &Recipe, progress: Progress<'_>) -> Result<(), ImageError> {
        let docker = self.engine().await?;
        let mut base = recipe.base.clone();
        if context::asks_for_base(recipe) {
            let today = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            let lists = context::lists_dockerfile(&base, today.as_secs() / SECONDS_PER_DAY);
            let task = Task { name: LISTS_IMAGE, dockerfile: &lists, files: &[], arguments: HashMap::new() };
            make(&docker, task, progress).await.map_err(|error| without_base(&recipe.base, error))?;
            LISTS_IMAGE.clone_into(&mut base);
        }
        let task = Task {
            name: &image_of(&recipe.executor),
            dockerfile: &recipe.full_dockerfile(),
            files: &recipe.files,
            arguments: context::arguments(recipe, &base),
        };
        make(&docker, task, progress).await
    }

    async fn import(&self, archive: &Path, progress: Progress<'_>) -> Result<Vec<String>, ImageError> {
        let unreadable = |source| ImageError::Archive { path: archive.to_owned(), source };
        let file = File::open(archive).map_err(unreadable)?;
        let docker = self.engine().await?;
        let options = ImportImageOptionsBuilder::default().build();
        let answers = docker.import_image_stream(options, pieces(file), None);
        let mut names = Vec::new();
        let mut log = Log::new(progress);
        let work = async {
            let mut answers = std::pin::pin!(answers);
            while let Some(answer) = answers.next().await {
                for line in log.note(&answer?) {
                    // "Loaded image: NAME", or "Loaded image ID: sha256:…" where the archive names none.
                    names.extend(line.strip_prefix("Loaded image").and_then(|rest| {
                        rest.trim_start_matches(" ID").strip_prefix(": ").map(|name| name.trim().to_owned())
                    }));
                }
            }
            Ok::<_, Error>(())
        };
        let what = format!("import {}", archive.display());
        bounded(&what, work).await?.map_err(|error| log.failure(&what, &error))?;
        Ok(names)
    }
}

/// One image to be built.
struct Task<'a> {
    name: &'a str,
    dockerfile: &'a str,
    files: &'a [(String, Vec<u8>)],
    arguments: HashMap<String, String>,
}

async fn list(docker: &Docker) -> Result<Vec<Image>, ImageError> {
    let options = ListImagesOptionsBuilder::default().build();
    let failed = |reason: String| ImageError::Failed(format!("list images: {reason}"));
    let summaries = match timeout(ANSWER_TIMEOUT, docker.list_images(Some(options))).await {
        Ok(summaries) => summaries.map_err(|error| failed(error.to_string()))?,
        Err(_) => return Err(failed(format!("no answer within {} s", ANSWER_TIMEOUT.as_secs()))),
    };
    let mut images = Vec::new();
    for summary in &summaries {
        for name in &summary.repo_tags {
            images.extend(executor_of(name).map(|executor| Image {
                executor: executor.to_owned(),
                name: name.clone(),
                id: summary.id.clone(),
                size_bytes: u64::try_from(summary.size).ok(),
            }));
        }
    }
    images.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(images)
}

async fn make(docker: &Docker, task: Task<'_>, progress: Progress<'_>) -> Result<(), ImageError> {
    let what = format!("build {}", task.name);
    let archive = context::archive(task.dockerfile, task.files)
        .map_err(|error| ImageError::Failed(format!("{what}: {error}")))?;
    let before = id_of(docker, task.name).await;
    let options = BuildImageOptionsBuilder::default()
        .dockerfile(context::DOCKERFILE)
        .t(task.name)
        .buildargs(&task.arguments)
        // The engine's own network may be none at all, and a bridge that can't reach the mirrors elsewhere.
        .networkmode("host")
        .rm(true)
        .forcerm(true)
        .build();
    let answers = docker.build_image(options, None, Some(body_full(archive.into())));
    let mut log = Log::new(progress);
    let work = async {
        let mut answers = std::pin::pin!(answers);
        while let Some(answer) = answers.next().await {
            log.note(&answer?);
        }
        Ok::<_, Error>(())
    };
    bounded(&what, work).await?.map_err(|error| log.failure(&what, &error))?;
    if let Some(before) = before
        && id_of(docker, task.name).await.is_some_and(|now| now != before)
    {
        // Still used by a container, or by an image built on it: then it goes with a later build.
        let options = RemoveImageOptionsBuilder::default().build();
        let _ = timeout(ANSWER_TIMEOUT, docker.remove_image(&before, Some(options), None)).await;
    }
    Ok(())
}

/// The image's id; `None` also when the engine can't be asked, for what is only tidiness.
async fn id_of(docker: &Docker, name: &str) -> Option<String> {
    timeout(ANSWER_TIMEOUT, docker.inspect_image(name)).await.ok()?.ok()?.id
}

async fn bounded<T>(what: &str, work: impl Future<Output = T>) -> Result<T, ImageError> {
    let late = |_| ImageError::Failed(format!("{what}: not done after {} s", WORK_TIMEOUT.as_secs()));
    timeout(WORK_TIMEOUT, work).await.map_err(late)
}

/// Where there is no registry, the first step is the one that fails.
fn without_base(base: &str, error: ImageError) -> ImageError {
    match error {
        ImageError::Failed(reason) if reason.contains("step 1/") => ImageError::Failed(format!(
            "{reason}\nThe image {base} is not there and can't be had from a registry: make/base-image.sh makes it from \
             Debian's packages; --base names another one."
        )),
        other => other,
    }
}

/// What the engine prints, passed on line by line, the last of it kept for an error.
struct Log<'a> {
    progress: Progress<'a>,
    step: String,
    last: VecDeque<String>,
}

impl<'a> Log<'a> {
    fn new(progress: Progress<'a>) -> Self {
        Self { progress, step: String::new(), last: VecDeque::new() }
    }

    /// The lines that this answer added.
    fn note(&mut self, answer: &BuildInfo) -> Vec<String> {
        // A bar that fills up is no line.
        let moving = answer.progress_detail.as_ref().is_some_and(|detail| detail.total.is_some());
        let status = answer.status.as_deref().filter(|_| !moving);
        let text = answer.stream.as_deref().or(status).unwrap_or_default();
        let lines: Vec<String> = text.lines().map(plain).filter(|line| !line.is_empty()).collect();
        for line in &lines {
            (self.progress)(line);
            if let Some(step) = line.strip_prefix("Step ").and_then(|rest| rest.split_whitespace().next()) {
                step.clone_into(&mut self.step);
                self.last.clear();
            }
            if self.last.len() == LAST_LINES {
                self.last.pop_front();
            }
            self.last.push_back(line.clone());
        }
        lines
    }

    fn failure(&self, what: &str, error: &Error) -> ImageError {
        let mut reason = what.to_owned();
        if !self.step.is_empty() {
            reason.push_str(&format!(": step {}", self.step));
        }
        reason.push_str(&format!(": {error}"));
        for line in &self.last {
            reason.push_str("\n  ");
            reason.push_str(line);
        }
        ImageError::Failed(reason)
    }
}

/// The line as text: the engine paints what was written to stderr, and packages draw bars.
fn plain(line: &str) -> String {
    let painted = line.replace("\u{1b}[91m", "").replace("\u{1b}[0m", "");
    let text = painted.chars().filter(|char| !char.is_control()).take(MAX_LINE_CHARS).collect::<String>();
    text.trim_end().to_owned()
}

/// The file, read on a thread for blocking work as fast as the engine takes it. An error of reading ends the upload,
/// and with it the import.
fn pieces(mut file: File) -> impl Stream<Item = std::io::Result<Bytes>> + Send + 'static {
    let (sender, receiver) = mpsc::channel(PIECES);
    tokio::task::spawn_blocking(move || {
        loop {
            let mut piece = Vec::with_capacity(PIECE_BYTES);
            let read = file.by_ref().take(PIECE_BYTES as u64).read_to_end(&mut piece);
            let last = !matches!(read, Ok(1..));
            let piece = match read {
                Ok(0) => break,
                Ok(_) => Ok(Bytes::from(piece)),
                Err(error) => Err(error),
            };
            // Nobody takes it any more: the import is over.
            if sender.blocking_send(piece).is_err() || last {
                break;
            }
        }
    });
    stream::unfold(receiver, |mut receiver| async { receiver.recv().await.map(|piece| (piece, receiver)) })
}

#[cfg(test)]
mod tests {
    //! What becomes of an engine's answers.

    use std::sync::Mutex;

    use super::*;

    fn says(text: &str) -> BuildInfo {
        BuildInfo { stream: Some(text.to_owned()), ..BuildInfo::default() }
    }

    #[test]
    fn a_failed_step_is_told_with_its_last_words() {
        let heard = Mutex::new(Vec::new());
        let progress = |line: &str| heard.lock().map_or((), |mut heard| heard.push(line.to_owned()));
        let mut log = Log::new(&progress);
        log.note(&says("Step 1/2 : FROM x\n"));
        log.note(&says("Step 2/2 : RUN y\n"));
        log.note(&says("\u{1b}[91mE: no such package\u{1b}[0m\r\n\n"));
        let error = log.failure("build z", &Error::DockerStreamError { error: "code 100".to_owned() });
        let expected =
            "build z: step 2/2: Docker stream error: code 100\n  Step 2/2 : RUN y\n  E: no such package";
        assert_eq!(error.to_string().to_lowercase(), expected.to_lowercase());
        assert_eq!(heard.lock().map_or(0, |heard| heard.len()), 3);
    }

    #[test]
    fn the_last_words_are_bounded() {
        let mut log = Log::new(&|_| {});
        (0..1000).for_each(|n| drop(log.note(&says(&format!("{n} {}", "x".repeat(5000))))));
        let error = log.failure("build", &Error::DockerStreamError { error: String::new() }).to_string();
        assert!(error.lines().count() <= LAST_LINES + 1 && error.len() < 20_000, "{}", error.len());
    }

    #[test]
    fn a_socket_that_is_not_there_is_told_by_its_path() {
        let refused = DockerImages::new("unix:///nowhere.sock").err().unwrap();
        assert!(
            matches!(&refused, ImageError::Unavailable(reason) if reason.contains("/nowhere.sock")),
            "{refused}"
        );
    }
}
