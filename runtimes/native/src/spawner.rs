//! The spawner: a small process of one thread, executed before the daemon has any, that forks lanes when told to.
//!
//! ```text
//! executed ──Setup──> user namespace (not as root) ──> root filesystem ──Built──> fork a lane for each NewLane, reap
//!                                                                                 daemon gone: exit, lanes with it
//! ```
//! It starts with an empty environment and one socket, so that nothing of the daemon's can be found in it or in what
//! descends from it. Deliberately absent: cgroup limits, requests, anything asynchronous.

use std::{
    fs,
    os::fd::{AsFd, OwnedFd},
    path::Path,
    thread,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sched::{CloneFlags, unshare},
    sys::{
        prctl,
        signal::{SigSet, Signal},
        signalfd::{SfdFlags, SignalFd},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::{ForkResult, dup2_stdin, dup2_stdout, getgid, getppid, getuid},
};
use sandboxd_cgroup::Subtree;

use crate::{
    init::Users,
    lane::Lane,
    packet,
    protocol::{Built, MAX_PACKET_BYTES, NewLane, Setup},
    rootfs::{self, Recipe},
    seccomp,
    slot::Workshop,
    sys::{self, SingleThread},
};

/// What it is called in `ps`, and how [`crate::become_spawner_if_asked`] knows it.
pub(crate) const NAME: &std::ffi::CStr = c"sandboxd-spawner";

/// The descriptor of the daemon's socket in the new process.
pub(crate) const SOCKET: i32 = 3;

/// The program's user id inside a user namespace.
const INNER_UID: u32 = 1000;

/// The body of the spawner process.
pub(crate) fn run() -> ! {
    let Ok(daemon) = sys::adopt(SOCKET) else { sys::exit_now(64) };
    match set_up(&daemon).and_then(|house| house.serve(&daemon)) {
        Ok(()) => sys::exit_now(0),
        Err(reason) => {
            // A daemon that is gone needs no reason.
            let _ = packet::send(daemon.as_fd(), &Built::Failed { reason }.encode(), &[]);
            sys::exit_now(1)
        }
    }
}

/// All that lanes share.
struct House {
    thread: SingleThread,
    subtree: Subtree,
    setup: Setup,
    seccomp: Vec<nix::libc::sock_filter>,
}

fn set_up(daemon: &OwnedFd) -> Result<House, String> {
    let step = |what: &'static str| move |errno: Errno| format!("{what}: {errno}");
    let parent = getppid();
    prctl::set_pdeathsig(Signal::SIGKILL).map_err(step("tie to the daemon"))?;
    if getppid() != parent {
        return Err("the daemon is gone".to_owned());
    }
    prctl::set_name(NAME).map_err(step("name the process"))?;
    // The daemon's own input and output are nobody's business here; its stderr stays for a last word.
    let null =
        fs::File::options().read(true).write(true).open("/dev/null").map_err(|error| error.to_string())?;
    dup2_stdin(&null).and_then(|()| dup2_stdout(&null)).map_err(step("let go of stdin and stdout"))?;
    let thread = SingleThread::prove().map_err(step("be of one thread"))?;
    sys::reset_signals().map_err(step("reset signals"))?;
    let (setup, subtree) = hear_setup(daemon)?;
    if setup.uid_base.is_none() {
        enter_user_namespace()?;
    }
    let users: Vec<u32> = match setup.uid_base {
        Some(_) => (0..setup.lanes).filter_map(|lane| Some(users_of(&setup, lane)?.program)).collect(),
        None => vec![INNER_UID],
    };
    let recipe = Recipe {
        rootfs: setup.rootfs.as_deref().map(Path::new),
        toolchains: setup.toolchains.as_deref().map(Path::new),
        users: &users,
    };
    rootfs::enter(&recipe).map_err(|error| error.to_string())?;
    // Nothing that any descendant executes gains a right.
    prctl::set_no_new_privs().map_err(step("set no_new_privs"))?;
    sys::drop_bounding_set().map_err(step("drop the capability bounding set"))?;
    Ok(House { thread, subtree, setup, seccomp: seccomp::compile() })
}

fn hear_setup(daemon: &OwnedFd) -> Result<(Setup, Subtree), String> {
    let mut buffer = vec![0; MAX_PACKET_BYTES];
    let (received, descriptors) =
        packet::receive(daemon.as_fd(), &mut buffer).map_err(|errno| format!("hear the set-up: {errno}"))?;
    let setup =
        Setup::decode(buffer.get(..received).unwrap_or_default()).map_err(|error| error.to_string())?;
    let tagged = setup.cgroup_tags.iter().copied().zip(descriptors).collect();
    let subtree = Subtree::import(tagged).map_err(|error| error.to_string())?;
    Ok((setup, subtree))
}

/// Becomes the owner of a user namespace in which the daemon's user is [`INNER_UID`].
fn enter_user_namespace() -> Result<(), String> {
    let (user, group) = (getuid(), getgid());
    unshare(CloneFlags::CLONE_NEWUSER).map_err(|errno| {
        format!("make a user namespace: {errno} (see kernel.unprivileged_userns_clone and user.max_user_namespaces)")
    })?;
    let write =
        |path: &str, text: String| fs::write(path, text).map_err(|error| format!("write {path}: {error}"));
    write("/proc/self/setgroups", "deny".to_owned())?;
    write("/proc/self/uid_map", format!("{INNER_UID} {user} 1"))?;
    write("/proc/self/gid_map", format!("{INNER_UID} {group} 1"))
}

/// Two ids of our own range for each lane, as root.
fn users_of(setup: &Setup, lane: u32) -> Option<Users> {
    let program = setup.uid_base?.checked_add(lane.checked_mul(2)?)?;
    Some(Users { program, init: program.checked_add(1)? })
}

impl House {
    fn serve(&self, daemon: &OwnedFd) -> Result<(), String> {
        let children = SigSet::from(Signal::SIGCHLD);
        children.thread_block().map_err(|errno| format!("block SIGCHLD: {errno}"))?;
        let deaths = SignalFd::with_flags(&children, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
            .map_err(|errno| format!("make a signalfd: {errno}"))?;
        let built = Built::Ok { landlock_abi: sys::landlock_abi() };
        packet::send(daemon.as_fd(), &built.encode(), &[])
            .map_err(|errno| format!("answer the daemon: {errno}"))?;
        let mut buffer = vec![0; MAX_PACKET_BYTES];
        loop {
            let mut polled = [
                PollFd::new(daemon.as_fd(), PollFlags::POLLIN),
                PollFd::new(deaths.as_fd(), PollFlags::POLLIN),
            ];
            match poll(&mut polled, PollTimeout::NONE) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => return Err(format!("poll: {errno}")),
            }
            let [told, died] = polled.map(|entry| entry.revents().is_some_and(|events| !events.is_empty()));
            if died {
                reap(&deaths);
            }
            if told {
                let (received, descriptors) =
                    packet::receive(daemon.as_fd(), &mut buffer).map_err(|errno| errno.to_string())?;
                if received == 0 {
                    await_lanes();
                    return Ok(());
                }
                self.fork_lane(buffer.get(..received).unwrap_or_default(), descriptors)?;
            }
        }
    }

    /// A request that can't be served is dropped with its socket, which tells the daemon so.
    fn fork_lane(&self, message: &[u8], descriptors: Vec<OwnedFd>) -> Result<(), String> {
        let request = NewLane::decode(message).map_err(|error| error.to_string())?;
        let Some(socket) = descriptors.into_iter().next() else { return Ok(()) };
        match self.thread.fork() {
            Ok(ForkResult::Parent { .. }) => Ok(()),
            Ok(ForkResult::Child) => self.become_lane(request, socket),
            // Too many processes or too little memory, for now: the daemon asks again.
            Err(_) => Ok(()),
        }
    }

    fn become_lane(&self, request: NewLane, daemon: OwnedFd) -> ! {
        // The spawner's own end must be seen to close when the spawner dies; and signals are taken as they come.
        let tied = prctl::set_pdeathsig(Signal::SIGKILL)
            .and_then(|()| prctl::set_name(c"sandboxd-lane"))
            .and_then(|()| sys::reset_signals());
        if tied.is_err() {
            sys::exit_now(1);
        }
        let workshop = Workshop {
            thread: self.thread,
            subtree: &self.subtree,
            users: users_of(&self.setup, request.index),
            seccomp: &self.seccomp,
        };
        Lane { index: request.index, workshop, daemon, first_limits: request.limits }.run()
    }
}

/// Lanes end with their own sockets; those that don't go with this process.
fn await_lanes() {
    let deadline = Instant::now() + Duration::from_secs(2);
    while Instant::now() < deadline && waitpid(None, Some(WaitPidFlag::WNOHANG)) != Err(Errno::ECHILD) {
        thread::sleep(Duration::from_millis(1));
    }
}

fn reap(deaths: &SignalFd) {
    while let Ok(Some(_)) = deaths.read_signal() {}
    // One signal may stand for several deaths.
    while let Ok(status) = waitpid(None, Some(WaitPidFlag::WNOHANG)) {
        if status == WaitStatus::StillAlive {
            return;
        }
    }
}
