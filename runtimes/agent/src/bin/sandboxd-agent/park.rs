//! The parked program: the agent's first child, under all of its confinement, waiting to be told what to become.
//!
//! ```text
//! fork ──> confine ──PARKED──> parked ──Start, as it came──> rlimits ──> exec: the socket closes
//!             │                  │                             └── on failure: one sentence back, exit 127
//!             └── one sentence   └── socket closed: exit
//! ```
//! The container's own filters (seccomp, cgroups, namespaces, a read-only root) hold for it from the start; what is
//! taken away here is what is left of the agent's rights. Deliberately absent: trust in nothing but the agent's frame.

use std::{
    fs,
    io::{Read, Write},
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixStream,
    },
};

use bytes::Bytes;
use nix::{
    errno::Errno,
    fcntl::OFlag,
    sys::{
        prctl,
        resource::{Resource, setrlimit},
    },
    unistd::{
        ForkResult, Gid, Pid, Uid, chdir, pipe2, setegid, seteuid, setgroups, setresgid, setresuid, setsid,
    },
};
use sandboxd_agent::{START_KIND, Start, ToAgent};
use sandboxd_files::WORK_DIR;
use sandboxd_inside::{
    program::{execute, move_streams, set_limits},
    sys::{SingleThread, close_all_but, drop_bounding_set, exit_now, reset_signals, set_capabilities},
};

use crate::PROGRAM_USER;

/// The parked child's first word.
const PARKED: u8 = 0;
/// Of what the child says when it failed.
pub(crate) const MAX_SENTENCE_BYTES: u64 = 1024;

/// The agent's ends.
pub(crate) struct Parked {
    pub child: Pid,
    /// Closes when the program is executed.
    pub socket: UnixStream,
    pub stdin: OwnedFd,
    pub stdout: OwnedFd,
    pub stderr: OwnedFd,
}

/// Forks the child and waits until it is parked.
///
/// # Errors
/// One sentence.
pub(crate) fn park(thread: SingleThread) -> Result<Parked, String> {
    let step = |what: &'static str| move |errno: Errno| format!("{what}: {errno}");
    let [(child_stdin, stdin), (stdout, child_stdout), (stderr, child_stderr)] = pipes()?;
    let (mut socket, child_socket) = UnixStream::pair().map_err(|error| format!("make a socket: {error}"))?;
    match thread.fork().map_err(step("fork"))? {
        ForkResult::Child => become_parked([child_stdin, child_stdout, child_stderr], child_socket),
        ForkResult::Parent { child } => {
            // The agent's copies would keep the streams from ending.
            drop((child_stdin, child_stdout, child_stderr, child_socket));
            match say(&mut socket) {
                Said::Parked => Ok(Parked { child, socket, stdin, stdout, stderr }),
                Said::Failed(reason) => Err(reason),
            }
        }
    }
}

/// Made as the program's user, so that it can open its own /dev/stdin, /dev/stdout and /dev/stderr: not every kernel
/// (gVisor's) lets a pipe change hands later.
fn pipes() -> Result<[(OwnedFd, OwnedFd); 3], String> {
    let step = |what: &'static str| move |errno: Errno| format!("{what}: {errno}");
    setegid(Gid::from_raw(PROGRAM_USER)).map_err(step("take on the program's group"))?;
    seteuid(Uid::from_raw(PROGRAM_USER)).map_err(step("take on the program's user"))?;
    let pipe = || pipe2(OFlag::O_CLOEXEC).map_err(step("make a pipe"));
    let made = pipe().and_then(|stdin| Ok([stdin, pipe()?, pipe()?]));
    seteuid(Uid::from_raw(0)).map_err(step("be root again"))?;
    setegid(Gid::from_raw(0)).map_err(step("be root's group again"))?;
    // Changing the user undid it.
    prctl::set_dumpable(false).map_err(step("forbid dumps"))?;
    made
}

enum Said {
    Parked,
    Failed(String),
}

fn say(socket: &mut UnixStream) -> Said {
    let mut first = [0];
    match socket.read_exact(&mut first) {
        Ok(()) if first == [PARKED] => Said::Parked,
        Ok(()) => {
            let mut sentence = first.to_vec();
            // What has come until the end, or until it broke, is all there is.
            let _ = socket.take(MAX_SENTENCE_BYTES).read_to_end(&mut sentence);
            Said::Failed(String::from_utf8_lossy(&sentence).into_owned())
        }
        Err(error) => Said::Failed(format!("the program's process ended before it was parked: {error}")),
    }
}

fn become_parked([stdin, stdout, stderr]: [OwnedFd; 3], mut socket: UnixStream) -> ! {
    let confined = confine(&stdin, &stdout, &stderr, &socket);
    // Their numbers are closed.
    std::mem::forget((stdin, stdout, stderr));
    let failure = match confined {
        Ok(()) => match socket.write_all(&[PARKED]).map(|()| become_program(&mut socket)) {
            Ok(Some(failure)) => failure,
            // The agent is gone: with PID 1 everything goes.
            Ok(None) | Err(_) => exit_now(0),
        },
        Err(reason) => reason,
    };
    // Nobody to tell it to is the only way in which this fails.
    let _ = socket.write_all(failure.as_bytes());
    exit_now(127)
}

/// Takes every right away that the program shall not have; the order matters, and each step leaves what the next needs.
fn confine(stdin: &OwnedFd, stdout: &OwnedFd, stderr: &OwnedFd, socket: &UnixStream) -> Result<(), String> {
    let step = |what: &'static str| move |errno: Errno| format!("{what}: {errno}");
    setsid().map_err(step("make a session"))?;
    // The program is the first to go when memory runs out, before the agent, whose word is still needed then. Not
    // every kernel (gVisor's) has it, and there the whole sandbox goes.
    let _ = fs::write("/proc/self/oom_score_adj", "1000");
    // 1 rather than 0: a kernel that pipes cores to a handler runs it at 0, and not at 1.
    setrlimit(Resource::RLIMIT_CORE, 1, 1).map_err(step("limit core files"))?;
    move_streams(stdin, stdout, stderr)?;
    let (stdin, stdout, stderr) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
    close_all_but(&[stdin.as_fd(), stdout.as_fd(), stderr.as_fd(), socket.as_fd()])
        .map_err(step("close descriptors"))?;
    drop_bounding_set().map_err(step("drop the capability bounding set"))?;
    setgroups(&[]).map_err(step("drop groups"))?;
    let (user, group) = (Uid::from_raw(PROGRAM_USER), Gid::from_raw(PROGRAM_USER));
    setresgid(group, group, group).map_err(step("change the group"))?;
    setresuid(user, user, user).map_err(step("change the user"))?;
    set_capabilities(0).map_err(step("drop capabilities"))?;
    prctl::set_no_new_privs().map_err(step("forbid new rights"))?;
    prctl::set_dumpable(false).map_err(step("forbid dumps"))?;
    reset_signals().map_err(step("reset signals"))?;
    chdir(WORK_DIR).map_err(step("enter the working directory"))
}

/// Waits for a Start and becomes the program. Returns the reason why not; `None` when the agent is gone.
fn become_program(socket: &mut UnixStream) -> Option<String> {
    let mut length = [0; 4];
    socket.read_exact(&mut length).ok()?;
    let mut content = vec![0; u32::from_le_bytes(length) as usize];
    socket.read_exact(&mut content).ok()?;
    let Ok(ToAgent::Start(start)) = ToAgent::decode(START_KIND, Bytes::from(content)) else {
        return Some("the agent passed on what is no Start".to_owned());
    };
    Some(try_to_become(&start))
}

fn try_to_become(start: &Start) -> String {
    let tasks = start.tasks.map(|tasks| (Resource::RLIMIT_NPROC, tasks));
    let limits = [
        (Resource::RLIMIT_FSIZE, start.file_size_bytes),
        (Resource::RLIMIT_STACK, start.stack_bytes),
        (Resource::RLIMIT_NOFILE, start.open_files),
    ];
    let limits: Vec<_> = tasks.into_iter().chain(limits).collect();
    match set_limits(&limits) {
        // The socket closes by itself when exec succeeds, and nothing else is open.
        Ok(()) => execute(&start.argv, &start.env),
        Err(reason) => reason,
    }
}
