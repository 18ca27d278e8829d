//! Where the agent is tested: namespaces made with util-linux, a root as a container engine would make it, and a daemon
//! that says and hears frames.

#![allow(clippy::disallowed_types, reason = "a test starts the sandbox itself")]

use std::{
    io::{Read, Write},
    os::fd::AsFd,
    process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use sandboxd_agent::{Decoder, FromAgent, MAX_FROM_AGENT_BYTES, Output, Start, ToAgent, header};

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// Arguments: the agent, an empty folder, the size of the disk, where /tmp leads.
const SCRIPT: &str = r#"
set -e
mount --make-rprivate /
mount -t tmpfs -o mode=0755 root "$2"
cd "$2"
mkdir usr etc proc dev dev-made box .sandboxd
mount --rbind /usr usr
for name in bin sbin lib lib64; do
    if [ -L "/$name" ]; then cp -a "/$name" .; else mkdir "$name"; mount --rbind "/$name" "$name"; fi
done
mount -t proc proc proc
mount -t tmpfs -o mode=0755 dev dev
for name in null zero urandom; do touch "dev/$name"; mount --bind "/dev/$name" "dev/$name"; done
for name in stdin:0 stdout:1 stderr:2; do ln -s "/proc/self/fd/${name#*:}" "dev/${name%:*}"; done
mkdir dev/shm
mount -t tmpfs -o "mode=0755,size=$3" box box
ln -s "$4" tmp
touch .sandboxd/agent
mount --bind "$1" .sandboxd/agent
mount -o remount,ro root .
exec chroot . setpriv --inh-caps=-all --no-new-privs \
    --bounding-set=-all,+chown,+dac_override,+kill,+setgid,+setpcap,+setuid /.sandboxd/agent
"#;

/// Whether this host lets a test make such a place; says why not, and fails where it must.
pub(crate) fn possible() -> bool {
    let tried = command().args(["sh", "-c", "mount --make-rprivate / && setpriv --version"]).output();
    let reason = match tried {
        Ok(output) if output.status.success() => return true,
        Ok(output) => String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        Err(error) => error.to_string(),
    };
    println!("SKIP namespaces can't be made here: {reason}");
    assert!(std::env::var_os("CI").is_none(), "namespaces can't be made here: {reason}");
    false
}

fn command() -> Command {
    let mut command = Command::new("unshare");
    command.args(["--mount", "--pid", "--net", "--ipc", "--fork", "--kill-child"]);
    command
}

/// What the agent says as somebody else than the first process: here in a namespace, lest it should err.
pub(crate) fn as_second_process() -> (Option<i32>, String) {
    let script = "sleep 100 & \"$1\" < /dev/null; code=$?; kill $! || code=99; exit $code";
    let output =
        command().args(["sh", "-c", script, "sh", env!("CARGO_BIN_EXE_sandboxd-agent")]).output().unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

pub(crate) struct Rig {
    _folder: tempfile::TempDir,
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: ChildStdout,
    decoder: Decoder,
    /// Since when an answer is waited for.
    pub since: Instant,
}

impl Rig {
    /// A sandbox whose agent has said Hello, and granted stdin.
    pub(crate) fn ready() -> Self {
        let mut rig = Self::start("64m", "/box/tmp");
        assert_eq!(rig.next(), FromAgent::Hello { version: sandboxd_agent::VERSION });
        assert!(matches!(rig.next(), FromAgent::StdinCredit { .. }));
        rig
    }

    pub(crate) fn start(disk: &str, tmp: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut child = command()
            .args(["sh", "-c", SCRIPT, "sh", env!("CARGO_BIN_EXE_sandboxd-agent")])
            .arg(folder.path())
            .args([disk, tmp])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take().unwrap());
        let decoder = Decoder::new(MAX_FROM_AGENT_BYTES);
        Self { _folder: folder, child, stdin, stdout, decoder, since: Instant::now() }
    }

    pub(crate) fn send(&mut self, frame: &ToAgent) {
        let (kind, content) = frame.encode();
        self.send_raw(kind, &content);
    }

    pub(crate) fn send_raw(&mut self, kind: u8, content: &[u8]) {
        let bytes = [&header(kind, content.len())[..], content].concat();
        // An agent that has ended is seen by what it says.
        let _ = self.stdin.as_mut().unwrap().write_all(&bytes);
    }

    /// The next frame; `None` when the agent has ended.
    pub(crate) fn try_next(&mut self) -> Option<FromAgent> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some((kind, content)) = self.decoder.next_frame().unwrap() {
                return Some(FromAgent::decode(kind, content).unwrap());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(self.readable(left), "the agent says nothing");
            let mut bytes = [0; 16 * 1024];
            match self.stdout.read(&mut bytes).unwrap() {
                0 => return None,
                read => self.decoder.buffer().extend_from_slice(&bytes[..read]),
            }
        }
    }

    pub(crate) fn next(&mut self) -> FromAgent {
        self.try_next().expect("the agent has ended")
    }

    /// Whether it says nothing for so long.
    pub(crate) fn is_quiet(&mut self, time: Duration) -> bool {
        self.decoder.buffer().is_empty() && !self.readable(time)
    }

    fn readable(&self, time: Duration) -> bool {
        let mut polled = [PollFd::new(self.stdout.as_fd(), PollFlags::POLLIN)];
        poll(&mut polled, PollTimeout::try_from(time).unwrap()).unwrap() > 0
    }

    pub(crate) fn begin(&mut self, argv: &[&str]) {
        self.since = Instant::now();
        self.send(&ToAgent::Start(start(argv)));
    }

    pub(crate) fn credit(&mut self, output: Output, bytes: u64) {
        self.send(&ToAgent::Credit { output, bytes });
    }

    /// Starts this, with credit for everything, and returns what it came to.
    pub(crate) fn run(&mut self, argv: &[&str]) -> Outcome {
        self.begin(argv);
        self.send(&ToAgent::StdinEnd);
        self.credit(Output::Stdout, u64::MAX);
        self.credit(Output::Stderr, u64::MAX);
        self.outcome()
    }

    pub(crate) fn shell(&mut self, script: &str) -> Outcome {
        self.run(&["sh", "-c", script])
    }

    /// Hears everything up to the end of both outputs.
    pub(crate) fn outcome(&mut self) -> Outcome {
        let mut outcome = Outcome::default();
        let mut open = 2;
        while outcome.status.is_none() || open > 0 {
            match self.next() {
                FromAgent::Started | FromAgent::StdinCredit { .. } => {}
                FromAgent::Output { output: Output::Stdout, bytes } => outcome.stdout.extend(bytes),
                FromAgent::Output { output: Output::Stderr, bytes } => outcome.stderr.extend(bytes),
                FromAgent::OutputEnd(_) => open -= 1,
                FromAgent::Ended { status } => outcome.status = Some(status),
                other => panic!("{other:?}"),
            }
        }
        outcome
    }

    /// Closes the line, as a daemon does that dies.
    pub(crate) fn hang_up(&mut self) {
        self.stdin = None;
    }

    /// Waits for the end of the agent, which is that of the namespace.
    pub(crate) fn ended(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "the agent does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        // Its child, the agent, is tied to it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub status: Option<u32>,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
}

impl Outcome {
    pub(crate) fn text(&self) -> &str {
        assert_eq!(String::from_utf8_lossy(&self.stderr), "");
        assert_eq!(self.status, Some(0));
        std::str::from_utf8(&self.stdout).unwrap()
    }
}

pub(crate) fn start(argv: &[&str]) -> Start {
    Start {
        argv: argv.iter().map(|&argument| argument.to_owned()).collect(),
        env: vec!["PATH=/usr/bin:/bin".to_owned(), "LANG=C.UTF-8".to_owned()],
        open_files: 64,
        file_size_bytes: 32 << 20,
        stack_bytes: 8 << 20,
        tasks: None,
    }
}
