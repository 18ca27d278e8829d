//! A daemon of the test's own, on a port and folders of its own, and the requests that go to it.

use std::{
    cell::Cell,
    fs,
    io::{BufRead, BufReader},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, Once, OnceLock},
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_sandboxd");

thread_local! {
    static HERE: Cell<Option<&'static Daemon>> = const { Cell::new(None) };
}

/// The daemon that most tests share, or that of the runtime which they are run on again.
pub(crate) fn shared() -> &'static Daemon {
    static SHARED: OnceLock<(Daemon, Child)> = OnceLock::new();
    HERE.get().unwrap_or_else(|| {
        let (daemon, _watcher) = SHARED.get_or_init(|| {
            // Everything waits its turn here, however many tests run at once.
            let daemon = Daemon::start("---[execution]\nqueue_timeout_ms = 300000\n");
            let watcher = end_with_us(&daemon);
            (daemon, watcher)
        });
        daemon
    })
}

/// Has a daemon end once this process has, however that ends, and its folder with it: what is static is never dropped.
fn end_with_us(daemon: &Daemon) -> Child {
    // The pipe closes with this process.
    const SCRIPT: &str = "read -r _; kill $0; while kill -0 $0; do sleep 0.1; done; rm -r \"$1\"";
    let mut shell = Command::new("sh");
    shell.args(["-c", SCRIPT, &daemon.pid().to_string()]).arg(daemon.folder.path());
    shell.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// Runs a test with another daemon for it to share; it may hand the daemon to threads of its own.
pub(crate) fn with_shared(daemon: &'static Daemon, test: &fn()) {
    HERE.set(Some(daemon));
    test();
}

pub(crate) struct Daemon {
    child: Mutex<Child>,
    pub(crate) url: String,
    folder: tempfile::TempDir,
    log: Arc<Mutex<String>>,
    agent: ureq::Agent,
}

impl Daemon {
    /// Starts a daemon with `extra` added to its configuration and waits until it is ready.
    pub(crate) fn start(extra: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = free_port();
        let config = configuration(folder.path(), &format!("\"127.0.0.1:{port}\""), extra);
        let daemon = Self::start_with(folder, &config, port);
        daemon.await_ready();
        daemon
    }

    pub(crate) fn start_with(folder: tempfile::TempDir, config: &Path, port: u16) -> Self {
        let mut command = Command::new(BINARY);
        command.env_clear().stdin(Stdio::null()).stdout(Stdio::null());
        Self::start_by(command, folder, config, port)
    }

    /// Starts it with a command that takes what follows as the daemon's arguments, and has stdin and stdout.
    pub(crate) fn start_by(
        mut command: Command,
        folder: tempfile::TempDir,
        config: &Path,
        port: u16,
    ) -> Self {
        let mut child = command
            .args(["serve", "--config"])
            .arg(config)
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = Arc::new(Mutex::new(String::new()));
        let stderr = child.stderr.take().unwrap();
        let kept = Arc::clone(&log);
        thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let mut log = kept.lock().unwrap();
                log.push_str(&line);
                log.push('\n');
            }
        });
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(300)))
            .max_idle_connections_per_host(100)
            .build()
            .new_agent();
        Self { child: Mutex::new(child), url: format!("http://127.0.0.1:{port}"), folder, log, agent }
    }

    pub(crate) fn await_ready(&self) {
        self.await_answer("/readyz");
    }

    /// A daemon whose default runtime is an engine that is not there: it serves all the same, says so, and ends well.
    #[track_caller]
    pub(crate) fn assert_waits_for_its_engine(self, words: &[&str]) {
        self.await_answer("/healthz");
        let ready = self.get("/readyz");
        assert_eq!(ready.status, 503, "{}", ready.body);
        for word in words {
            assert!(ready.body.contains(word), "{word}: {}", ready.body);
        }
        self.signal("-TERM");
        assert_eq!(self.wait(Duration::from_secs(40)).code(), Some(0), "{}", self.log());
    }

    fn await_answer(&self, path: &str) {
        let patience = Duration::from_secs(60) * slack();
        let deadline = Instant::now() + patience;
        while Instant::now() < deadline {
            if let Some(status) = self.child.lock().unwrap().try_wait().unwrap() {
                panic!("the daemon ended with {status}:\n{}", self.log());
            }
            if self.agent.get(format!("{}{path}", self.url)).call().is_ok_and(|answer| answer.status() == 200)
            {
                return;
            }
            thread::sleep(Duration::from_millis(20));
        }
        panic!("the daemon is not ready after {patience:?}:\n{}", self.log());
    }

    /// Its one runtime's name.
    pub(crate) fn runtime(&self) -> String {
        self.get("/api/runtimes").json()["runtimes"][0]["name"].as_str().unwrap().to_owned()
    }

    /// Whether its engine's containers are no processes of this host, so that their cgroups can't be read.
    pub(crate) fn is_elsewhere(&self) -> bool {
        let details = &self.get("/api/runtimes").json()["runtimes"][0]["details"];
        details["host"].as_str().is_some_and(|host| host.contains("not seen from here"))
    }

    /// Whether a kernel of its own stands between programs and host, which counts tasks and tells nobody.
    pub(crate) fn is_gvisor(&self) -> bool {
        self.get("/api/runtimes").json()["runtimes"][0]["details"]["gvisor"].is_string()
    }

    /// Whether what making a container took may hide its program's peak: cgroup v2 begins that anew since Linux 6.12.
    pub(crate) fn hides_small_peaks(&self) -> bool {
        let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
        let mut numbers = release.split(['.', '-']).map_while(|number| number.parse::<u32>().ok());
        let is_old = (numbers.next().unwrap(), numbers.next().unwrap()) < (6, 12);
        let is_v2 = Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
        is_old && is_v2 && self.runtime() != "native"
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    pub(crate) fn pid(&self) -> i32 {
        self.child.lock().unwrap().id().cast_signed()
    }

    pub(crate) fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.pid().to_string()]).status().unwrap();
        assert!(sent.success(), "kill {signal}");
    }

    pub(crate) fn wait(&self, patience: Duration) -> ExitStatus {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(status) = self.child.lock().unwrap().try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "the daemon still runs after {patience:?}:\n{}", self.log());
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// POST of any body; status and answer.
    pub(crate) fn post(&self, path: &str, content_type: &str, body: &[u8]) -> Answer {
        let request = self.agent.post(format!("{}{path}", self.url)).header("content-type", content_type);
        Answer::from(request.send(body).unwrap_or_else(|error| panic!("{error}\n{}", self.log())))
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        Answer::from(self.agent.get(format!("{}{path}", self.url)).call().unwrap())
    }

    pub(crate) fn try_execute(&self, request: &Value) -> Result<Answer, ureq::Error> {
        let body = request.to_string();
        let request =
            self.agent.post(format!("{}/api/execute", self.url)).header("content-type", "application/json");
        request.send(body.as_bytes()).map(Answer::from)
    }

    /// Runs a program and gives back the answer, which must be 200.
    pub(crate) fn execute(&self, request: &Value) -> Value {
        let answer = self.post("/api/execute", "application/json", request.to_string().as_bytes());
        assert_eq!(answer.status, 200, "{request}\n{}", answer.body);
        answer.json()
    }

    /// One file of a language.
    pub(crate) fn run(&self, language: &str, code: &str) -> Value {
        self.execute(&json!({ "language": language, "code": code }))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let mut child = self.child.lock().unwrap();
        let _ = child.kill();
        let _ = child.wait();
    }
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: ureq::http::HeaderMap,
    pub(crate) body: String,
}

impl Answer {
    fn from(mut response: ureq::http::Response<ureq::Body>) -> Self {
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = response.body_mut().with_config().limit(256 << 20).read_to_string().unwrap();
        Self { status, headers, body }
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

/// One state folder for all, its toolchains prepared once: a daemon of every test's own would warm them up anew.
fn prepared() -> &'static str {
    const FOLDER: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/state");
    static PREPARED: Once = Once::new();
    PREPARED.call_once(|| {
        let prepare = Command::new(BINARY).arg("prepare").env("SANDBOXD_STATE_DIR", FOLDER).output().unwrap();
        assert!(prepare.status.success(), "{prepare:?}");
    });
    FOLDER
}

/// How many times slower than usual everything may be: in an emulated machine.
pub(crate) fn slack() -> u32 {
    std::env::var("TEST_SLACK").ok().and_then(|text| text.parse().ok()).unwrap_or(1)
}

pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A configuration file in `folder`; `listen` is the inside of the array.
pub(crate) fn configuration(folder: &Path, listen: &str, extra: &str) -> PathBuf {
    let (server, rest) = extra.split_once("---").unwrap_or(("", extra));
    let path = folder.join("config.toml");
    // What other tests have compiled is none of a test's business.
    let cache = if extra.contains("[cache]") { String::new() } else { own_cache(folder) };
    let text =
        format!("state_dir = {:?}\n[server]\nlisten = [{listen}]\n{server}\n{rest}\n{cache}", prepared());
    fs::write(&path, text).unwrap();
    path
}

/// Starts a daemon that ends at once: its exit code, and what it says.
pub(crate) fn try_serve(config: &Path) -> (Option<i32>, String) {
    let output =
        Command::new(BINARY).args(["serve", "--config"]).arg(config).stdin(Stdio::null()).output().unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

fn own_cache(folder: &Path) -> String {
    format!("[cache]\nfolder = {:?}\n", folder.join("cache"))
}

/// What a verdict should be, with the whole answer in the message when it is not.
#[track_caller]
pub(crate) fn assert_status(answer: &Value, status: &str) {
    assert_eq!(answer["status"], status, "{answer:#}");
    if status == "ok" {
        assert_eq!(answer["error"], Value::Null, "{answer:#}");
    } else {
        assert!(answer["error"].as_str().is_some_and(|error| !error.is_empty()), "{answer:#}");
    }
}
