//! Docker Engine as far as a test needs it: the one that answers on this host, and one of a test's own that may die.

use std::{
    fs,
    io::{self, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, Command},
    thread,
    time::Duration,
};

use crate::engines::{self, skip, succeed};

const ENGINE: &str = "docker";
pub(crate) const SOCKET: &str = "/var/run/docker.sock";

/// What the engine at a socket answers to GET, or why it does not.
fn ask(socket: &str, path: &str) -> std::io::Result<String> {
    let mut socket = UnixStream::connect(socket)?;
    socket.set_read_timeout(Some(Duration::from_secs(10)))?;
    write!(socket, "GET {path} HTTP/1.0\r\nHost: docker\r\n\r\n")?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer)?;
    Ok(answer)
}

/// Whether Docker answers.
pub(crate) fn answers() -> bool {
    match ask(SOCKET, "/_ping") {
        Ok(answer) if answer.contains("200 OK") => true,
        other => skip(ENGINE, &format!("it does not answer at {SOCKET}: {other:?}")),
    }
}

/// Whether an OCI runtime of this name is registered.
pub(crate) fn has_runtime(name: &str) -> bool {
    ask(SOCKET, "/info").is_ok_and(|info| info.contains(&format!("\"{name}\":{{")))
}

/// An address at which the host's engine answers over TCP, until the tests end.
pub(crate) fn over_tcp() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for client in listener.incoming() {
            let (client, engine) = (client.unwrap(), UnixStream::connect(SOCKET).unwrap());
            let (to_client, to_engine) = (client.try_clone().unwrap(), engine.try_clone().unwrap());
            thread::spawn(move || {
                let _ended = io::copy(&mut &client, &mut &to_engine);
                let _gone = to_engine.shutdown(Shutdown::Write);
            });
            thread::spawn(move || {
                let _ended = io::copy(&mut &engine, &mut &to_client);
                let _gone = to_client.shutdown(Shutdown::Both);
            });
        }
    });
    address
}

/// A configuration with one runtime, `docker`, as `support::Daemon::start` takes it.
pub(crate) fn configuration(docker: &str, execution: &str) -> String {
    format!("---[executors]\nprepare = false\n[execution]\n{execution}\n[runtimes.docker]\n{docker}\n")
}

/// An engine of a test's own, beside the host's: another socket, other folders, another namespace of containerd.
pub(crate) struct Engine {
    folder: tempfile::TempDir,
    namespace: String,
    dockerd: Option<Child>,
}

impl Engine {
    /// Not started yet; `None` where none can be, and a line says why.
    pub(crate) fn new() -> Option<Self> {
        let root = nix::unistd::geteuid().is_root();
        if !answers() || !(root || skip(ENGINE, "only root can start a second Docker Engine")) {
            return None;
        }
        // What it mounts is told from what an attack might leave by this name.
        let folder = tempfile::Builder::new().prefix("docker-engine-").tempdir().unwrap();
        std::fs::write(folder.path().join("daemon.json"), "{}").unwrap();
        // Others may be started beside it.
        let namespace = folder.path().file_name().unwrap().to_str().unwrap().to_owned();
        Some(Self { folder, namespace, dockerd: None })
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    pub(crate) fn host(&self) -> String {
        format!("unix://{}", self.path("docker.sock"))
    }

    /// Starts it and waits until it answers.
    pub(crate) fn start(&mut self) {
        let mut dockerd = Command::new("dockerd");
        dockerd
            .args(["--config-file", &self.path("daemon.json"), "--host", &self.host()])
            .args(["--data-root", &self.path("data"), "--exec-root", &self.path("exec")])
            .args(["--pidfile", &self.path("pid"), "--containerd", "/run/containerd/containerd.sock"])
            .args(["--containerd-namespace", &self.namespace])
            .args(["--containerd-plugins-namespace", &format!("{}-plugins", self.namespace)])
            .args([
                "--bridge",
                "none",
                "--iptables=false",
                "--ip6tables=false",
                "--storage-driver",
                "overlay2",
            ]);
        // Of one that was killed: its process id may be somebody else's by now, and then no other starts.
        let _none = fs::remove_file(self.path("pid"));
        let (log, socket) = (self.path("log"), self.path("docker.sock"));
        engines::start(&mut self.dockerd, &mut dockerd, &log, || {
            ask(&socket, "/_ping").is_ok_and(|answer| answer.contains("200 OK"))
        });
    }

    /// Takes an image over from the host's engine.
    pub(crate) fn has_image_of(&self, executor: &str) {
        let archive: PathBuf = self.folder.path().join("image.tar");
        let archive = archive.to_str().unwrap();
        succeed("docker", &["save", "--output", archive, &format!("sandboxd/{executor}:latest")]);
        self.docker(&["load", "--quiet", "--input", archive]);
        std::fs::remove_file(archive).unwrap();
    }

    /// The engine's own command line.
    pub(crate) fn docker(&self, args: &[&str]) -> String {
        succeed("docker", &[&["--host", &self.host()], args].concat())
    }

    /// The names of all containers, running or not.
    pub(crate) fn containers(&self) -> Vec<String> {
        self.docker(&["ps", "--all", "--format", "{{.Names}}"]).lines().map(str::to_owned).collect()
    }

    pub(crate) fn signal(&self, signal: &str) {
        engines::signal(self.dockerd.as_ref(), signal);
    }

    /// Ends it without a word; its containers live on until it is started again.
    pub(crate) fn kill(&mut self) {
        engines::kill(&mut self.dockerd);
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if self.dockerd.is_none() && Path::new(&self.path("data")).exists() {
            self.start();
        }
        let Some(mut dockerd) = self.dockerd.take() else { return };
        for name in self.containers() {
            self.docker(&["rm", "--force", &name]);
        }
        succeed("kill", &["-TERM", &dockerd.id().to_string()]);
        dockerd.wait().unwrap();
        // It makes its folder a mount, and one that was killed leaves it.
        while Command::new("umount")
            .arg(self.path("data"))
            .output()
            .is_ok_and(|output| output.status.success())
        {}
        for namespace in [self.namespace.clone(), format!("{}-plugins", self.namespace)] {
            // Not there, when nothing was ever in it.
            let _gone = Command::new("ctr").args(["namespaces", "remove", &namespace]).output();
        }
    }
}
