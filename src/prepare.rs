//! `sandboxd prepare`: warms toolchains on this host, once for each version of them, into
//! `<state_dir>/toolchains/<id>`, which every sandbox sees read-only.
//!
//! It runs the toolchains of the host with this process's rights and nothing that a client sent, so plain child
//! processes will do. It is a process of its own; the daemon only reads what is left in the end. What warming means
//! is the business of each executor's script.
//!
//! ```text
//!   version ─> lock ─> marker fits? ─ yes ─> up to date
//!                          └ no ─> new folder beside ─> script ─> modes, marker ─> swap ─> remove the old one
//! ```

#![allow(
    clippy::disallowed_types,
    reason = "a process of its own, apart from the daemon, that runs the host's toolchains"
)]

use std::collections::hash_map::DefaultHasher;
use std::fmt;
use std::fs::{self, File, Permissions};
use std::hash::{Hash, Hasher};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::executors::{Catalog, Executor, Prepare, Version};

/// The folder below the state folder that sandboxes see.
pub const TOOLCHAINS: &str = "toolchains";

/// In each prepared folder: what it was prepared for.
const MARKER: &str = ".prepared";
const VERSION_TIMEOUT: Duration = Duration::from_secs(30);
/// How much of a failed script's last words is repeated.
const LAST_WORDS_BYTES: u64 = 2048;

/// What became of one language.
#[derive(Debug)]
pub struct LanguageReport {
    pub id: String,
    pub outcome: Outcome,
}

#[derive(Debug)]
pub enum Outcome {
    Prepared {
        version: String,
        took: Duration,
    },
    UpToDate {
        version: String,
    },
    /// This executor has nothing to warm.
    NothingToPrepare,
    /// The toolchain is not on this host.
    NotInstalled {
        reason: String,
    },
    /// What was there before is untouched.
    Failed(PrepareError),
}

impl fmt::Display for LanguageReport {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let id = &self.id;
        match &self.outcome {
            Outcome::Prepared { version, took } => {
                write!(out, "{id} {version}: prepared in {:.1} s", took.as_secs_f64())
            }
            Outcome::UpToDate { version } => write!(out, "{id} {version}: is prepared already"),
            Outcome::NothingToPrepare => write!(out, "{id}: needs no preparation"),
            Outcome::NotInstalled { reason } => write!(out, "{id}: left out: {reason}"),
            Outcome::Failed(error) => write!(out, "{id}: failed: {error}"),
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    #[error("{language:?} is no language here; there are {known}")]
    UnknownLanguage { language: String, known: String },
    #[error("{operation} {}: {source}", path.display())]
    File { operation: &'static str, path: PathBuf, source: io::Error },
    #[error("the {command} {what}{last_words}")]
    Script { command: &'static str, what: String, last_words: String },
}

/// Prepares these languages, or all that there are. A language that fails does not keep the others from their turn.
///
/// # Errors
/// A language that nobody knows, or a state folder that can't be made: nothing was done then.
pub fn run(
    catalog: &Catalog,
    state_dir: &Path,
    languages: &[String],
) -> Result<Vec<LanguageReport>, PrepareError> {
    let mut chosen: Vec<&Executor> = Vec::new();
    for language in languages {
        let named = catalog.named(language);
        if named.is_empty() {
            let known: Vec<_> = catalog.iter().map(|executor| executor.id.as_str()).collect();
            return Err(PrepareError::UnknownLanguage {
                language: language.clone(),
                known: known.join(", "),
            });
        }
        chosen.extend(named.into_iter().map(AsRef::as_ref));
    }
    if languages.is_empty() {
        chosen.extend(catalog.iter().map(AsRef::as_ref));
    }
    let toolchains = state_dir.join(TOOLCHAINS);
    fs::create_dir_all(&toolchains).map_err(at("make the folder", &toolchains))?;
    chmod(&toolchains, 0o755)?;
    let report = |executor: &Executor| LanguageReport {
        id: executor.id.clone(),
        outcome: match &executor.prepare {
            Some(prepare) => language(executor, prepare, &toolchains).unwrap_or_else(Outcome::Failed),
            None => Outcome::NothingToPrepare,
        },
    };
    Ok(chosen.into_iter().map(report).collect())
}

fn language(executor: &Executor, prepare: &Prepare, toolchains: &Path) -> Result<Outcome, PrepareError> {
    // Two at once: the second waits here and then finds the work done. The lock goes with the file.
    let lock_path = toolchains.join(format!(".{}.lock", executor.id));
    let lock = File::create(&lock_path).map_err(at("open the lock", &lock_path))?;
    lock.lock().map_err(at("lock", &lock_path))?;

    let scratch = Scratch::new(toolchains.join(format!(".{}.new", executor.id)))?;
    let printed = match version(executor, &scratch)? {
        Ok(printed) => printed,
        Err(reason) => return Ok(Outcome::NotInstalled { reason }),
    };
    let version =
        Version::find(&printed).map_or_else(|| printed.trim().to_owned(), |found| found.to_string());
    let target = toolchains.join(&executor.id);
    let marker = marker(executor, &printed);
    if fs::read_to_string(target.join(MARKER)).is_ok_and(|found| found == marker) {
        return Ok(Outcome::UpToDate { version });
    }

    let began = Instant::now();
    for (name, content) in &executor.files {
        let path = scratch.work().join(name);
        fs::write(&path, content).map_err(at("write", &path))?;
    }
    let mut script = Command::new("/bin/sh");
    script.arg("-c").arg(&prepare.script).arg("prepare").arg(scratch.out());
    // As its standard input, an empty one, the script has the lock too: should this process die, the next one waits
    // for the script and does not clear the folder under its feet.
    let lock = lock.try_clone().map_err(at("open the lock", &lock_path))?;
    let status = run_bounded(script, lock, executor, &scratch, prepare.timeout)?;
    if status.is_none_or(|status| !status.success()) {
        return Err(script_error("prepare script", status, prepare.timeout, &scratch));
    }
    share(&scratch.out())?;
    let path = scratch.out().join(MARKER);
    fs::write(&path, marker).map_err(at("write", &path))?;
    chmod(&path, 0o644)?;
    swap(&scratch.out(), &target)?;
    Ok(Outcome::Prepared { version, took: began.elapsed() })
}

/// What the toolchain says of itself, word for word: a rebuilt package may keep its number and change its insides.
/// The inner error says why it can't be asked.
fn version(executor: &Executor, scratch: &Scratch) -> Result<Result<String, String>, PrepareError> {
    let mut words = executor.version_command.iter();
    let mut command = Command::new(words.next().map_or("", String::as_str));
    command.args(words);
    match run_bounded(command, Stdio::null(), executor, scratch, VERSION_TIMEOUT) {
        Err(PrepareError::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            Ok(Err(format!("{} is not on this host", executor.version_command[0])))
        }
        Err(other) => Err(other),
        Ok(status) if status.is_none_or(|status| !status.success()) => {
            Err(script_error("version command", status, VERSION_TIMEOUT, scratch))
        }
        Ok(_) => fs::read_to_string(scratch.log()).map(Ok).map_err(at("read", &scratch.log())),
    }
}

/// Changes with the toolchain and with everything that warms it.
fn marker(executor: &Executor, printed: &str) -> String {
    let mut hasher = DefaultHasher::new();
    executor.files.hash(&mut hasher);
    format!("{}\nmade by {:016x}\n", printed.trim(), hasher.finish())
}

/// Runs a command to its end, both streams in the log; `None` when its time ran out. The whole process group dies
/// then.
fn run_bounded(
    mut command: Command,
    stdin: impl Into<Stdio>,
    executor: &Executor,
    scratch: &Scratch,
    timeout: Duration,
) -> Result<Option<ExitStatus>, PrepareError> {
    let log = File::create(scratch.log()).map_err(at("open", &scratch.log()))?;
    let errors = log.try_clone().map_err(at("open", &scratch.log()))?;
    let name = PathBuf::from(command.get_program());
    let mut child = command
        .env_clear()
        .envs(executor.version_probe().env)
        .env("HOME", scratch.work())
        .env("TMPDIR", scratch.work())
        .current_dir(scratch.work())
        .stdin(stdin)
        .stdout(log)
        .stderr(errors)
        .process_group(0)
        .spawn()
        .map_err(at("run", &name))?;
    let began = Instant::now();
    loop {
        if let Some(status) = child.try_wait().map_err(at("wait for", &name))? {
            return Ok(Some(status));
        }
        if began.elapsed() >= timeout {
            // The child is its own group's leader and not reaped yet, so the number is still its own.
            if let Ok(group) = i32::try_from(child.id()) {
                killpg(Pid::from_raw(group), Signal::SIGKILL)
                    .map_err(io::Error::from)
                    .map_err(at("kill", &name))?;
            }
            child.wait().map_err(at("wait for", &name))?;
            return Ok(None);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn script_error(
    command: &'static str,
    status: Option<ExitStatus>,
    timeout: Duration,
    scratch: &Scratch,
) -> PrepareError {
    let what = match status {
        Some(status) => format!("ended with {status}"),
        None => format!("took longer than {} s", timeout.as_secs()),
    };
    let last_words = last_words(&scratch.log()).unwrap_or_default();
    let last_words = if last_words.trim().is_empty() { String::new() } else { format!(":\n{last_words}") };
    PrepareError::Script { command, what, last_words }
}

fn last_words(log: &Path) -> io::Result<String> {
    let mut log = File::open(log)?;
    let length = log.metadata()?.len();
    log.seek(SeekFrom::Start(length.saturating_sub(LAST_WORDS_BYTES)))?;
    let mut words = Vec::new();
    log.take(LAST_WORDS_BYTES).read_to_end(&mut words)?;
    Ok(String::from_utf8_lossy(&words).into_owned())
}

/// Everybody may read, only the owner may write, links stay as they are.
fn share(path: &Path) -> Result<(), PrepareError> {
    let metadata = fs::symlink_metadata(path).map_err(at("look at", path))?;
    if metadata.is_dir() {
        chmod(path, 0o755)?;
        for entry in fs::read_dir(path).map_err(at("read", path))? {
            share(&entry.map_err(at("read", path))?.path())?;
        }
    } else if metadata.is_file() {
        chmod(path, if metadata.permissions().mode() & 0o100 == 0 { 0o644 } else { 0o755 })?;
    }
    Ok(())
}

/// Puts `new` in the place of `target` in one step, so that a sandbox sees the one or the other. What was there goes
/// to the scratch folder and with it.
fn swap(new: &Path, target: &Path) -> Result<(), PrepareError> {
    let flags = if fs::symlink_metadata(target).is_ok() {
        RenameFlags::RENAME_EXCHANGE
    } else {
        RenameFlags::RENAME_NOREPLACE
    };
    renameat2(AT_FDCWD, new, AT_FDCWD, target, flags)
        .map_err(io::Error::from)
        .map_err(at("put into place", target))
}

/// A folder for one attempt, under a name that the next attempt clears if this one dies. Only the holder of the
/// language's lock makes it.
struct Scratch(PathBuf);

impl Scratch {
    fn new(path: PathBuf) -> Result<Self, PrepareError> {
        match fs::remove_dir_all(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(at("clear", &path)(error)),
            _ => {}
        }
        let scratch = Self(path);
        for folder in [scratch.work(), scratch.out()] {
            fs::create_dir_all(&folder).map_err(at("make the folder", &folder))?;
        }
        Ok(scratch)
    }

    /// Where the script runs, with the executor's files around it.
    fn work(&self) -> PathBuf {
        self.0.join("work")
    }

    /// What the script fills.
    fn out(&self) -> PathBuf {
        self.0.join("out")
    }

    fn log(&self) -> PathBuf {
        self.0.join("log")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What can't be removed now, the next attempt clears, and says why it can't.
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn chmod(path: &Path, mode: u32) -> Result<(), PrepareError> {
    fs::set_permissions(path, Permissions::from_mode(mode)).map_err(at("set the mode of", path))
}

fn at(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> PrepareError {
    let path = path.to_owned();
    move |source| PrepareError::File { operation, path, source }
}

#[cfg(test)]
mod tests;
