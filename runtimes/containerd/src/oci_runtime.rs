//! Which program makes the containers: a name as configured becomes a shim of containerd's and that shim's options.
//!
//! ```text
//!   runc                        io.containerd.runc.v2
//!   runsc                       io.containerd.runsc.v1 where it is installed, else runc.v2 with our wrapper
//!   /path/of/a/runc             io.containerd.runc.v2 with that program; a runsc gets our wrapper
//!   io.containerd.something.v1  that shim, as it is
//! ```
//! runc's shim can't tell runsc that there is no network, and without being told runsc refuses. So the wrapper adds it:
//! a script in our state folder, which nobody else may write, since containerd runs it as root. gVisor's own shim reads
//! the same from a file.

use std::{
    ffi::OsStr,
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

use nix::unistd::geteuid;
use prost::Message;
use prost_types::Any;

use crate::cgroups;

const RUNC_SHIM: &str = "io.containerd.runc.v2";
const RUNSC_SHIM: &str = "io.containerd.runsc.v1";
/// The program behind [`RUNSC_SHIM`], as containerd looks for it.
const RUNSC_SHIM_PROGRAM: &str = "containerd-shim-runsc-v1";
/// Where to look besides PATH, which an engine may have another of.
const PROGRAM_DIRS: [&str; 6] =
    ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];
const VERSION_DEADLINE: Duration = Duration::from_secs(5);
const MAX_VERSION_BYTES: u64 = 64 * 1024;
const RUNSC_CONFIG: &str = "[runsc_config]\nnetwork = \"none\"\n";

/// What containerd is told, and what an operator should know.
#[derive(Debug, Clone)]
pub(crate) struct OciRuntime {
    /// The shim's name.
    pub(crate) shim: String,
    pub(crate) options: Option<Any>,
    pub(crate) gvisor: bool,
    /// Name and value, as in `Examined`.
    pub(crate) details: Vec<(&'static str, String)>,
}

/// Of runc's shim. The numbers are containerd's.
#[derive(Clone, PartialEq, Message)]
struct RuncOptions {
    #[prost(string, tag = "6")]
    binary_name: String,
    #[prost(bool, tag = "9")]
    systemd_cgroup: bool,
}

/// Of any other shim: a file that it reads.
#[derive(Clone, PartialEq, Message)]
struct FileOptions {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(string, tag = "2")]
    config_path: String,
}

impl OciRuntime {
    /// Finds the runtime and makes what it needs in `state_dir`. Blocks, for seconds at worst.
    ///
    /// # Errors
    /// One sentence with what mends it.
    pub(crate) fn find(name: &str, systemd_cgroup: bool, state_dir: &Path) -> Result<Self, String> {
        if name == "runc" {
            return Ok(Self::runc(None, systemd_cgroup, version_of("runc")));
        }
        if name == "runsc" {
            if program(RUNSC_SHIM_PROGRAM).is_some() {
                return Self::shim(RUNSC_SHIM, systemd_cgroup, state_dir);
            }
            let runsc = program("runsc").ok_or("runsc is not installed: apt-get install runsc")?;
            return Self::wrapped_runsc(&runsc, systemd_cgroup, state_dir);
        }
        if name.starts_with('/') {
            let path = Path::new(name);
            if !is_program(path) {
                return Err(format!("oci_runtime: there is no program at {name}"));
            }
            let version = version_of(name);
            if version.as_deref().is_some_and(|version| version.starts_with("runsc")) {
                return Self::wrapped_runsc(path, systemd_cgroup, state_dir);
            }
            return Ok(Self::runc(Some(path), systemd_cgroup, version));
        }
        if name.contains('.') && !name.contains('/') {
            return Self::shim(name, systemd_cgroup, state_dir);
        }
        Err(format!("oci_runtime: {name:?} is neither runc, runsc, an absolute path nor the name of a shim"))
    }

    fn runc(binary: Option<&Path>, systemd_cgroup: bool, version: Option<String>) -> Self {
        let name = binary.map_or_else(|| "runc".to_owned(), |path| path.display().to_string());
        let options = RuncOptions {
            binary_name: binary.map(|path| path.display().to_string()).unwrap_or_default(),
            systemd_cgroup,
        };
        let details = vec![("oci runtime", version.unwrap_or(name)), ("shim", RUNC_SHIM.to_owned())];
        Self { shim: RUNC_SHIM.to_owned(), options: Some(options.any()), gvisor: false, details }
    }

    fn wrapped_runsc(runsc: &Path, systemd_cgroup: bool, state_dir: &Path) -> Result<Self, String> {
        let wrapper = write_wrapper(runsc, state_dir)?;
        let options = RuncOptions { binary_name: wrapper.display().to_string(), systemd_cgroup };
        let mut details = runsc_details(runsc);
        details.push(("shim", format!("{RUNC_SHIM} with {}", wrapper.display())));
        Ok(Self { shim: RUNC_SHIM.to_owned(), options: Some(options.any()), gvisor: true, details })
    }

    fn shim(name: &str, systemd_cgroup: bool, state_dir: &Path) -> Result<Self, String> {
        let mut details = vec![("shim", name.to_owned())];
        if name == RUNC_SHIM {
            return Ok(Self::runc(None, systemd_cgroup, version_of("runc")));
        }
        if name != RUNSC_SHIM {
            let gvisor = name.contains("runsc");
            return Ok(Self { shim: name.to_owned(), options: None, gvisor, details });
        }
        let mut config = RUNSC_CONFIG.to_owned();
        if systemd_cgroup {
            config.push_str("systemd-cgroup = \"true\"\n");
        }
        let path = state_dir.join("runsc.toml");
        write_own(&path, &config, 0o600)?;
        let options = FileOptions {
            type_url: format!("{RUNSC_SHIM}.options"),
            config_path: path.display().to_string(),
        };
        details.extend(program("runsc").map(|runsc| runsc_details(&runsc)).unwrap_or_default());
        Ok(Self { shim: name.to_owned(), options: Some(options.any()), gvisor: true, details })
    }
}

impl RuncOptions {
    fn any(&self) -> Any {
        Any { type_url: "containerd.runc.v1.Options".to_owned(), value: self.encode_to_vec() }
    }
}

impl FileOptions {
    fn any(&self) -> Any {
        Any { type_url: "runtimeoptions.v1.Options".to_owned(), value: self.encode_to_vec() }
    }
}

fn runsc_details(runsc: &Path) -> Vec<(&'static str, String)> {
    let version = version_of(runsc).unwrap_or_else(|| runsc.display().to_string());
    let mut details = vec![("oci runtime", version)];
    details.extend(
        output_of(runsc, "flags", Said::Stderr)
            .and_then(|flags| default_platform(&flags))
            .map(|it| ("platform", it)),
    );
    details
}

/// From what `runsc flags` says of `-platform`.
fn default_platform(flags: &str) -> Option<String> {
    let about = flags.split_once("-platform string")?.1;
    let after = about.split_once("(default \"")?.1;
    Some(after.split_once('"')?.0.to_owned())
}

/// The first line of `--version`.
fn version_of(program: impl AsRef<OsStr>) -> Option<String> {
    let output = output_of(program, "--version", Said::Stdout)?;
    output.lines().next().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty())
}

/// Where a program says it: runsc explains its flags as if something were wrong.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Said {
    Stdout,
    Stderr,
}

/// What a program says when asked something that it answers at once.
#[allow(
    clippy::disallowed_types,
    reason = "asks the operator's own OCI runtime for its version: at start, for nobody's request"
)]
fn output_of(program: impl AsRef<OsStr>, argument: &str, on: Said) -> Option<String> {
    use std::{
        io::Read,
        process::{Command, Stdio},
    };

    let (output, input) = io::pipe().ok()?;
    let mut command = Command::new(program);
    command.arg(argument).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    match on {
        Said::Stdout => command.stdout(input),
        Said::Stderr => command.stderr(input),
    };
    let mut child = command.spawn().ok()?;
    // It holds the pipe's other end, which would never end.
    drop(command);
    let (send, receive) = std::sync::mpsc::sync_channel(1);
    std::thread::spawn(move || {
        let mut text = Vec::new();
        let read = output.take(MAX_VERSION_BYTES).read_to_end(&mut text);
        let _ = send.send(read.ok().and_then(|_| String::from_utf8(text).ok()));
    });
    let text = receive.recv_timeout(VERSION_DEADLINE).ok().flatten();
    // It has ended, or it has to.
    let _ = child.kill();
    let _ = child.wait();
    text
}

/// One wrapper for each runsc, so that several can be configured beside each other.
fn write_wrapper(runsc: &Path, state_dir: &Path) -> Result<PathBuf, String> {
    let runsc = runsc.to_str().ok_or("oci_runtime: the path of runsc is not UTF-8")?;
    if runsc.contains(['\'', '\n']) {
        return Err(format!("oci_runtime: {runsc:?} is no path for a script"));
    }
    let wrapper = state_dir.join(format!("runsc-without-network{}", runsc.replace('/', "-")));
    write_own(&wrapper, &format!("#!/bin/sh\nexec '{runsc}' --network=none \"$@\"\n"), 0o755)?;
    Ok(wrapper)
}

/// A file with this content that only we may write, in a folder that only we may write.
fn write_own(path: &Path, content: &str, mode: u32) -> Result<(), String> {
    let told = |error: io::Error| format!("write {}: {error}", path.display());
    let folder = path.parent().ok_or_else(|| format!("{} is in no folder", path.display()))?;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(told)?;
    check_own(folder)?;
    let is_right = std::fs::symlink_metadata(path).is_ok_and(|it| it.is_file() && it.mode() & 0o7777 == mode)
        && check_own(path).is_ok()
        && std::fs::read(path).is_ok_and(|found| found == content.as_bytes());
    if is_right {
        return Ok(());
    }
    // In one step, since a container may be starting.
    let next = path.with_extension(format!("{}.new", std::process::id()));
    let _ = std::fs::remove_file(&next);
    let write = || {
        let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&next)?;
        io::Write::write_all(&mut file, content.as_bytes())?;
        file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(mode))?;
        drop(file);
        std::fs::rename(&next, path)
    };
    write().map_err(told)
}

/// Refuses what somebody else could change or replace, up to the root.
fn check_own(path: &Path) -> Result<(), String> {
    const OTHERS_WRITE: u32 = 0o022;
    const STICKY: u32 = 0o1000;
    for part in path.ancestors() {
        let found =
            std::fs::symlink_metadata(part).map_err(|error| format!("{}: {error}", part.display()))?;
        let ours = found.uid() == 0 || found.uid() == geteuid().as_raw();
        let open = found.mode() & OTHERS_WRITE != 0 && found.mode() & STICKY == 0;
        if !ours || open || found.is_symlink() {
            return Err(format!(
                "{}, which containerd would run a program from, can be changed by others: chown root: and chmod go-w it",
                part.display()
            ));
        }
    }
    Ok(())
}

pub(crate) fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(PROGRAM_DIRS.map(PathBuf::from));
    folders
        .filter(|folder| folder.is_absolute())
        .map(|folder| folder.join(name))
        .find(|path| is_program(path))
}

fn is_program(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|it| it.is_file() && it.mode() & 0o111 != 0)
}

/// cgroup version and driver, for an operator.
pub(crate) fn cgroup_detail(systemd_cgroup: bool) -> String {
    let (unified, _) = cgroups::examine(Path::new(cgroups::ROOT));
    let version = if unified { "v2" } else { "v1" };
    format!("{version}, {}", if systemd_cgroup { "systemd" } else { "cgroupfs" })
}

#[cfg(test)]
#[path = "oci_runtime_tests.rs"]
mod tests;
