//! The containerd that answers on this host, as far as a test needs it.

use std::{
    fs,
    path::Path,
    process::{Child, Command, Output},
    thread,
};

use crate::engines::{self, skip, succeed};
use crate::support::BINARY;

const ENGINE: &str = "containerd";
pub(crate) const SOCKET: &str = "/run/containerd/containerd.sock";
/// Where `make/services.sh` puts the newer runsc.
const NEWER_RUNSC: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/.cache/services/runsc-backports/usr/bin/runsc");

/// `ctr`, which comes with containerd; for what a person would look up.
pub(crate) fn ctr(socket: &str, arguments: &[&str]) -> Output {
    Command::new("ctr")
        .args(["--address", socket, "--connect-timeout", "5s"])
        .args(arguments)
        .output()
        .unwrap()
}

/// Whether containerd answers; else a line says why nothing is tested, and where nothing may be skipped that is a failure.
pub(crate) fn answers() -> bool {
    if Path::new(SOCKET).exists() && ctr(SOCKET, &["version"]).status.success() {
        return true;
    }
    skip(ENGINE, &format!("it does not answer at {SOCKET}"))
}

/// The runsc that was ported back, where the host's own is older.
pub(crate) fn newer_runsc() -> Option<&'static str> {
    Path::new(NEWER_RUNSC).exists().then_some(NEWER_RUNSC)
}

/// A configuration with one runtime, `containerd`, as `support::Daemon::start` takes it.
pub(crate) fn configuration(oci_runtime: &str, execution: &str) -> String {
    format!(
        "---[executors]\nprepare = false\n[execution]\n{execution}\n\
         [runtimes.containerd]\noci_runtime = \"{oci_runtime}\"\n"
    )
}

/// A containerd of a test's own, beside the host's: another socket and other folders.
pub(crate) struct Engine {
    folder: tempfile::TempDir,
    containerd: Option<Child>,
}

impl Engine {
    /// What it has, on a file system of its own of this size.
    const ROOT_SIZE: &str = "size=600m";

    /// Not started yet; `None` where none can be, and a line says why.
    pub(crate) fn new() -> Option<Self> {
        let root = nix::unistd::geteuid().is_root();
        if !answers() || !(root || skip(ENGINE, "only root can start a second containerd")) {
            return None;
        }
        // What it mounts is told from what an attack might leave by this name.
        let folder = tempfile::Builder::new().prefix("containerd-engine-").tempdir().unwrap();
        let engine = Self { folder, containerd: None };
        let (root, state, address) = (engine.path("root"), engine.path("state"), engine.address());
        fs::create_dir(&root).unwrap();
        succeed("mount", &["-t", "tmpfs", "-o", Self::ROOT_SIZE, "tmpfs", &root]);
        let config = format!(
            "version = 2\nroot = {root:?}\nstate = {state:?}\n\
             disabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n[grpc]\naddress = {address:?}\n"
        );
        fs::write(engine.path("config.toml"), config).unwrap();
        Some(engine)
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    pub(crate) fn address(&self) -> String {
        self.path("c.sock")
    }

    /// Starts it and waits until it answers.
    pub(crate) fn start(&mut self) {
        let mut containerd = Command::new("containerd");
        containerd.args(["--config", &self.path("config.toml")]);
        let (log, socket) = (self.path("log"), self.address());
        engines::start(&mut self.containerd, &mut containerd, &log, || {
            ctr(&socket, &["version"]).status.success()
        });
    }

    /// Ends it without a word; its containers live on.
    pub(crate) fn kill(&mut self) {
        engines::kill(&mut self.containerd);
    }

    pub(crate) fn signal(&self, signal: &str) {
        engines::signal(self.containerd.as_ref(), signal);
    }

    pub(crate) fn try_ctr(&self, arguments: &[&str]) -> Output {
        ctr(&self.address(), &[&["--namespace", "sandboxd"], arguments].concat())
    }

    pub(crate) fn ctr(&self, arguments: &[&str]) -> String {
        let output = self.try_ctr(arguments);
        assert!(output.status.success(), "ctr {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// The ids of all containers, running or not.
    pub(crate) fn containers(&self) -> Vec<String> {
        self.ctr(&["containers", "ls", "-q"]).lines().map(str::to_owned).collect()
    }

    pub(crate) fn tasks(&self) -> Vec<String> {
        self.ctr(&["tasks", "ls", "-q"]).lines().map(str::to_owned).collect()
    }

    /// The names of all snapshots that a container could write to.
    pub(crate) fn active_snapshots(&self) -> Vec<String> {
        let all = self.ctr(&["snapshots", "ls"]);
        let active = all.lines().filter(|line| line.trim_end().ends_with("Active"));
        active.filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
    }

    /// Takes an image over from the host's Docker.
    pub(crate) fn has_image_of(&self, executor: &str) {
        let archive = self.path(&format!("{executor}.tar"));
        if !Path::new(&archive).exists() {
            succeed("docker", &["save", "--output", &archive, &format!("sandboxd/{executor}:latest")]);
        }
        let import = Command::new(BINARY)
            .args(["images", "import", &archive])
            .env("SANDBOXD_RUNTIMES__CONTAINERD__ADDRESS", self.address())
            .output()
            .unwrap();
        assert!(import.status.success(), "{}", String::from_utf8_lossy(&import.stderr));
    }

    /// What a daemon whose state folder is `sandboxd`, beside the engine's own, has of pipes.
    pub(crate) fn pipes(&self) -> Vec<std::ffi::OsString> {
        let folder = self.path("sandboxd/containers/containerd/fifo");
        fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.file_name()).collect()
    }

    /// A shim of which the engine knows nothing, as one is left that dies between its start and its task's; held until
    /// its log is closed.
    pub(crate) fn loses_track_of_a_shim(&self, container: &str) -> fs::File {
        let bundle = self.path(container);
        fs::create_dir(&bundle).unwrap();
        let log = Path::new(&bundle).join("log");
        nix::unistd::mkfifo(&log, nix::sys::stat::Mode::S_IRUSR | nix::sys::stat::Mode::S_IWUSR).unwrap();
        let log = fs::File::options().read(true).write(true).open(log).unwrap();
        fs::write(Path::new(&bundle).join("config.json"), "{}").unwrap();
        let started = Command::new("containerd-shim-runc-v2")
            .args(["-namespace", "sandboxd", "-id", container, "-address", &self.address(), "start"])
            .env("TTRPC_ADDRESS", format!("{}.ttrpc", self.address()))
            .current_dir(&bundle)
            .output()
            .unwrap();
        assert!(started.status.success(), "{}", String::from_utf8_lossy(&started.stderr));
        log
    }

    /// The shims of this engine, by their process ids.
    pub(crate) fn shims(&self) -> Vec<i32> {
        let entries = fs::read_dir("/proc").unwrap().flatten();
        let is_shim = |entry: &fs::DirEntry| {
            fs::read_to_string(entry.path().join("cmdline"))
                .is_ok_and(|line| line.contains("containerd-shim") && line.contains(&self.address()))
        };
        entries.filter(is_shim).filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.kill();
        for shim in self.shims() {
            let _gone = Command::new("kill").args(["-9", &shim.to_string()]).status();
        }
        // A new one ends what the shims have left.
        if Path::new(&self.path("root/io.containerd.metadata.v1.bolt")).exists() && !thread::panicking() {
            self.start();
            for id in self.tasks() {
                self.ctr(&["tasks", "rm", "--force", &id]);
            }
        }
        if let Some(mut containerd) = self.containerd.take() {
            succeed("kill", &["-TERM", &containerd.id().to_string()]);
            containerd.wait().unwrap();
        }
        let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
        let here = self.folder.path().display().to_string();
        let ours =
            mounts.lines().filter_map(|line| line.split(' ').nth(1)).filter(|path| path.starts_with(&here));
        for mount in ours.collect::<Vec<_>>().into_iter().rev() {
            let _gone = Command::new("umount").args(["--lazy", mount]).status();
        }
    }
}
