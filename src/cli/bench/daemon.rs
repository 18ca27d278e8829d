//! The daemon that is measured: one of the bench's own, on a socket and a state folder in its scratch folder, or one that
//! runs already.

use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use super::{
    Result,
    client::{Address, Client},
    failed, step,
    works::WorkName,
};

/// Until it can run code.
const START_TIMEOUT: Duration = Duration::from_secs(60);

pub(super) struct Daemon {
    address: Address,
    child: Option<Child>,
}

impl Daemon {
    pub(super) fn running(address: Address) -> Self {
        Self { address, child: None }
    }

    /// Warms the toolchains up first: otherwise it would be measured along.
    pub(super) fn start(scratch: &Path, config: Option<&Path>, works: &[WorkName]) -> Result<Self> {
        let socket = scratch.join("sandboxd.sock");
        let empty = scratch.join("config.toml");
        fs::write(&empty, "").map_err(step("write a configuration"))?;
        let own = std::env::current_exe().map_err(step("find this program"))?;
        let sandboxd = |command: &str| {
            let mut sandboxd = Command::new(&own);
            sandboxd
                .args([command, "--config"])
                .arg(config.unwrap_or(&empty))
                .env("SANDBOXD_STATE_DIR", scratch.join("state"))
                .env("SANDBOXD_CACHE__FOLDER", scratch.join("state/cache"))
                .env("SANDBOXD_EXECUTORS__PREPARE", "false")
                .env("SANDBOXD_SERVER__LISTEN", format!("unix:{}", socket.display()))
                .env("SANDBOXD_LOG__LEVEL", "warn")
                .stdin(Stdio::null())
                .stdout(Stdio::null());
            sandboxd
        };
        let prepared: Vec<_> = works.iter().filter_map(|work| work.prepared_language()).collect();
        if !prepared.is_empty() {
            // Without it programs only compile slower; it says why by itself.
            let _ = sandboxd("prepare").args(prepared).status().map_err(step("warm toolchains up"))?;
        }
        let child = sandboxd("serve").spawn().map_err(step("start the daemon"))?;
        let mut daemon = Self { address: Address::Unix(socket), child: Some(child) };
        daemon.await_ready()?;
        Ok(daemon)
    }

    fn await_ready(&mut self) -> Result<()> {
        let deadline = Instant::now() + START_TIMEOUT;
        while Instant::now() < deadline {
            let ended = self.child.as_mut().and_then(|child| child.try_wait().ok().flatten());
            if let Some(status) = ended {
                return Err(failed(format!("the daemon ended: {status}")));
            }
            let ready = self.connect().and_then(|mut client| client.get("/readyz"));
            if ready.is_ok_and(|(status, _)| status == 200) {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(50));
        }
        Err(failed(format!("the daemon is not ready after {} s", START_TIMEOUT.as_secs())))
    }

    pub(super) fn connect(&self) -> Result<Client> {
        Client::connect(&self.address)
    }

    /// The runtimes of these names; the default one for none.
    pub(super) fn runtimes(&self, names: &[String]) -> Result<Vec<String>> {
        let (_, answer) = self.connect()?.get("/api/runtimes")?;
        let runtimes = answer["runtimes"].as_array().cloned().unwrap_or_default();
        let (mut chosen, mut all) = (Vec::new(), Vec::new());
        for runtime in &runtimes {
            let name = runtime["name"].as_str().unwrap_or_default().to_owned();
            if names.contains(&name) || (names.is_empty() && runtime["default"] == true) {
                chosen.push(name.clone());
            }
            all.push(name);
        }
        match names.iter().find(|name| !all.contains(name)) {
            Some(stranger) => {
                Err(failed(format!("the daemon has no runtime {stranger:?}; it has {}", all.join(", "))))
            }
            None => Ok(chosen),
        }
    }

    /// Of the process itself, without its spawner and what runs in sandboxes. Not known of somebody else's daemon.
    pub(super) fn rss_bytes(&self) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.as_ref()?.id())).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
        Some(kib * 1024)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let pid = nix::unistd::Pid::from_raw(child.id().cast_signed());
            // It may have ended already; what counts is that it is reaped.
            let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
            let _ = child.wait();
        }
    }
}
