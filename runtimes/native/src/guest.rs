//! The parked program: a process inside its sandbox, under all of its confinement, waiting to be told what to become.
//!
//! ```text
//! confine ──> parked ──Launch + stdin, stdout, stderr──> files, FIFO ──> streams ──> rlimits ──> exec
//!                │                                            └── on failure: one sentence back, exit 127
//!                └── socket closed: exit
//! ```
//! It runs as the program's own user and is charged to the program's cgroup, so files it writes are owned and counted
//! right. Deliberately absent: trust in nothing but the daemon's frame, which arrives before any foreign code.

use std::{
    fs,
    io::{Read, Write},
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixStream,
    },
    path::Path,
};

use nix::{
    errno::Errno,
    sys::{
        prctl,
        resource::{Resource, setrlimit},
        stat::{Mode, umask},
    },
    unistd::{Gid, Uid, chdir, mkfifo, setgroups, setresgid, setresuid, setsid},
};
use sandboxd_contract::{FilePath, WORK_DIR};
use sandboxd_inside::{
    disk::create_file,
    program::{execute, move_streams, set_limits},
};

use crate::{
    landlock, packet,
    protocol::{FileHeader, Launch},
    sys,
};

/// Frames are made by the daemon from requests of bounded size; this bounds what a fault could ask for.
const MAX_FRAME_BYTES: u64 = 64 * 1024 * 1024;

pub(crate) struct Confinement<'a> {
    /// User and group of the program; `None` in a user namespace, which has one only.
    pub user: Option<u32>,
    pub seccomp: &'a [nix::libc::sock_filter],
}

/// Takes every right away that the program shall not have; the order matters, and each step leaves what the next needs.
pub(crate) fn confine(confinement: &Confinement) -> Result<(), String> {
    let step = |what: &'static str| move |errno: Errno| format!("{what}: {errno}");
    setsid().map_err(step("make a session"))?;
    umask(Mode::from_bits_truncate(0o022));
    // The program is the first to go when memory runs out, before init, whose word is still needed then.
    fs::write("/proc/self/oom_score_adj", "1000").map_err(|error| format!("oom_score_adj: {error}"))?;
    // 1 rather than 0: a kernel that pipes cores to a handler runs it at 0, and not at 1.
    setrlimit(Resource::RLIMIT_CORE, 1, 1).map_err(step("limit core files"))?;
    if let Some(user) = confinement.user {
        setgroups(&[]).map_err(step("drop groups"))?;
        let group = Gid::from_raw(user);
        setresgid(group, group, group).map_err(step("change the group"))?;
        let user = Uid::from_raw(user);
        setresuid(user, user, user).map_err(step("change the user"))?;
    }
    sys::set_capabilities(0).map_err(step("drop capabilities"))?;
    prctl::set_dumpable(false).map_err(step("forbid dumps"))?;
    sys::reset_signals().map_err(step("reset signals"))?;
    chdir(WORK_DIR).map_err(step("enter the working directory"))?;
    landlock::restrict().map_err(|error| format!("landlock: {error}"))?;
    sys::load_seccomp(confinement.seccomp).map_err(step("load the system call filter"))
}

/// Waits for the launch frame and becomes the program. Never returns.
pub(crate) fn wait_and_become(socket: &OwnedFd) -> ! {
    // A descriptor of its own, since the one that was inherited has an owner in the frames below.
    let Ok(socket) = socket.try_clone() else { sys::exit_now(126) };
    let mut socket = UnixStream::from(socket);
    match become_program(&mut socket) {
        Ok(None) => sys::exit_now(0),
        Ok(Some(failure)) | Err(failure) => {
            // Nobody to tell it to is the only way in which this fails.
            let _ = socket.write_all(failure.as_bytes());
            sys::exit_now(127)
        }
    }
}

/// `Ok(None)`: the daemon went away before a launch. Everything else that returns is a failure, as one sentence.
fn become_program(socket: &mut UnixStream) -> Result<Option<String>, String> {
    let Some((launch, streams)) = receive_launch(socket)? else { return Ok(None) };
    for _ in 0..launch.files {
        receive_file(socket)?;
    }
    if let Some(fifo) = &launch.fifo {
        make_fifo(fifo)?;
    }
    // Before the limit on descriptors, which may be below three: what a program has already, it keeps.
    let [stdin, stdout, stderr] = streams;
    move_streams(&stdin, &stdout, &stderr)?;
    drop((stdin, stdout, stderr));
    set_limits(&[
        (Resource::RLIMIT_FSIZE, launch.file_size_bytes),
        (Resource::RLIMIT_STACK, launch.stack_bytes),
        (Resource::RLIMIT_NOFILE, launch.open_files),
    ])?;
    // The socket closes by itself when exec succeeds, which tells the daemon so; nothing else may stay open.
    let (stdin, stdout, stderr) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
    sys::close_all_but(&[stdin.as_fd(), stdout.as_fd(), stderr.as_fd(), socket.as_fd()])
        .map_err(|errno| format!("close descriptors: {errno}"))?;
    Ok(Some(execute(&launch.argv, &launch.env)))
}

fn receive_launch(socket: &mut UnixStream) -> Result<Option<(Launch, [OwnedFd; 3])>, String> {
    let mut length = [0; 8];
    let (received, descriptors) =
        packet::receive(socket.as_fd(), &mut length).map_err(|errno| errno.to_string())?;
    if received == 0 {
        return Ok(None);
    }
    socket.read_exact(length.get_mut(received..).unwrap_or_default()).map_err(|error| error.to_string())?;
    let frame = read_frame(socket, u64::from_le_bytes(length))?;
    let launch = Launch::decode(&frame).map_err(|error| error.to_string())?;
    let streams = descriptors.try_into().map_err(|_| "not three streams".to_owned())?;
    Ok(Some((launch, streams)))
}

fn read_frame(socket: &mut UnixStream, length: u64) -> Result<Vec<u8>, String> {
    if length > MAX_FRAME_BYTES {
        return Err(format!("a frame of {length} bytes"));
    }
    let mut frame = vec![0; length as usize];
    socket.read_exact(&mut frame).map_err(|error| error.to_string())?;
    Ok(frame)
}

/// Where the program shall wait for its own text.
fn make_fifo(name: &str) -> Result<(), String> {
    let name = FilePath::parse(name).map_err(|error| format!("{name}: {error}"))?;
    mkfifo(&Path::new(WORK_DIR).join(name.as_str()), Mode::S_IRUSR | Mode::S_IWUSR)
        .map_err(|errno| format!("make the FIFO {name}: {errno}"))
}

/// Writes one file as it comes, so that a large one is never in memory twice.
fn receive_file(socket: &mut UnixStream) -> Result<(), String> {
    let mut length = [0; 8];
    socket.read_exact(&mut length).map_err(|error| error.to_string())?;
    let header = read_frame(socket, u64::from_le_bytes(length))?;
    let header = FileHeader::decode(&header).map_err(|error| error.to_string())?;
    let failed = |error: std::io::Error| format!("{}: {error}", header.path);
    let path = FilePath::parse(&header.path).map_err(|error| format!("{}: {error}", header.path))?;
    let mut file = create_file(Path::new(WORK_DIR), &path, header.executable, None).map_err(failed)?;
    let copied = std::io::copy(&mut socket.take(header.content_bytes), &mut file).map_err(failed)?;
    if copied == header.content_bytes { Ok(()) } else { Err(format!("{}: cut short", header.path)) }
}
