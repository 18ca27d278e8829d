//! The daemon's end of the spawner: starts it, asks it for lanes, starts it again when it died.
//!
//! A thread of its own keeps it, since the kernel ties a child to the thread that made it (PR_SET_PDEATHSIG), and
//! threads of an asynchronous runtime come and go. It is made with posix_spawn(3), so that not even its start copies
//! the daemon. Deliberately absent: what lanes are for (see `pool`).

use std::{
    io,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    spawn::{PosixSpawnAttr, PosixSpawnFileActions, posix_spawn},
    sys::{
        signal::{Signal, kill},
        socket::{AddressFamily, SockFlag, SockType, socketpair},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::Pid,
};
use sandboxd_cgroup::Subtree;
use tokio::sync::oneshot;

use crate::{
    packet,
    protocol::{Built, MAX_PACKET_BYTES, NewLane, Setup},
    spawner,
};

/// How long the spawner may take to build the root filesystem.
const BUILD_TIMEOUT_MS: u16 = 20_000;

/// A live spawner. Dropping the last handle ends it and everything below it.
pub(crate) struct SpawnerLink {
    socket: OwnedFd,
    pub landlock_abi: u32,
}

impl SpawnerLink {
    /// Asks for a lane that talks over `socket`; an answer is the lane's own first word there.
    ///
    /// # Errors
    /// When the spawner is gone.
    pub(crate) fn request_lane(&self, request: NewLane, socket: &OwnedFd) -> nix::Result<()> {
        packet::send(self.socket.as_fd(), &request.encode(), &[socket.as_raw_fd()]).map(drop)
    }
}

enum Request {
    /// Start a spawner, burying the one before.
    Spawn(oneshot::Sender<Result<SpawnerLink, String>>),
    /// Bury it; the link is gone already.
    Stop(oneshot::Sender<()>),
}

/// The thread that starts spawners.
#[derive(Clone)]
pub(crate) struct Keeper(mpsc::SyncSender<Request>);

impl Keeper {
    /// # Errors
    /// When no thread can be made.
    pub(crate) fn start(setup: Setup, subtree: Option<Arc<Subtree>>) -> io::Result<Self> {
        // Whoever asks waits for the answer, and the pool asks one at a time.
        let (requests, inbox) = mpsc::sync_channel(1);
        let keep = move || {
            let mut last = None;
            for request in inbox {
                last.take().into_iter().for_each(bury);
                // Whoever asked may have given up; a link that nobody takes ends its spawner.
                match request {
                    Request::Spawn(reply) => {
                        let started = start(&setup, subtree.as_deref());
                        last = started.as_ref().ok().map(|(_, pid)| *pid);
                        let _ = reply.send(started.map(|(link, _)| link));
                    }
                    Request::Stop(reply) => drop(reply.send(())),
                }
            }
            last.into_iter().for_each(bury);
        };
        thread::Builder::new().name("spawner-keeper".to_owned()).spawn(keep)?;
        Ok(Self(requests))
    }

    /// Starts a spawner, burying the one before.
    ///
    /// # Errors
    /// One sentence.
    pub(crate) async fn spawn(&self) -> Result<SpawnerLink, String> {
        let (reply, answer) = oneshot::channel();
        let gone = "the thread that keeps the spawner is gone";
        self.0.send(Request::Spawn(reply)).map_err(|_| gone.to_owned())?;
        answer.await.map_err(|_| gone.to_owned())?
    }

    /// Waits until the spawner, whose link must have been dropped, and all below it are gone.
    pub(crate) async fn stop(&self) {
        let (reply, answer) = oneshot::channel();
        if self.0.send(Request::Stop(reply)).is_ok() {
            // The thread gone means the spawner gone.
            let _ = answer.await;
        }
    }
}

/// How long a spawner may take to end its lanes once its socket is closed.
const FAREWELL: Duration = Duration::from_secs(3);

/// Makes sure of the end of a spawner whose socket is closed, and with it of its lanes.
fn bury(pid: Pid) {
    let deadline = Instant::now() + FAREWELL;
    while waitpid(pid, Some(WaitPidFlag::WNOHANG)) == Ok(WaitStatus::StillAlive) {
        if Instant::now() > deadline {
            // ESRCH: it has just gone by itself.
            let _ = kill(pid, Signal::SIGKILL);
            while waitpid(pid, None) == Err(Errno::EINTR) {}
            return;
        }
        thread::sleep(Duration::from_millis(2));
    }
}

fn start(setup: &Setup, subtree: Option<&Subtree>) -> Result<(SpawnerLink, Pid), String> {
    let step = |what: &'static str| move |errno: Errno| format!("{what}: {errno}");
    if let Some(subtree) = subtree {
        subtree.clear("").map_err(|error| error.to_string())?;
    }
    let (socket, theirs) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)
        .map_err(step("make a socket"))?;
    let mut actions = PosixSpawnFileActions::init().map_err(step("prepare the spawner"))?;
    actions.add_dup2(theirs.as_raw_fd(), spawner::SOCKET).map_err(step("prepare the spawner"))?;
    let attributes = PosixSpawnAttr::init().map_err(step("prepare the spawner"))?;
    let no_environment: [&std::ffi::CStr; 0] = [];
    // The very file that runs, even when an upgrade has replaced it on disk.
    let pid = posix_spawn(c"/proc/self/exe", &actions, &attributes, &[spawner::NAME], &no_environment)
        .map_err(step("execute the spawner"))?;
    drop(theirs);
    match introduce(&socket, setup, subtree) {
        Ok(landlock_abi) => Ok((SpawnerLink { socket, landlock_abi }, pid)),
        Err(reason) => {
            bury(pid);
            Err(reason)
        }
    }
}

fn introduce(socket: &OwnedFd, setup: &Setup, subtree: Option<&Subtree>) -> Result<u32, String> {
    let exported = subtree.map(Subtree::export).unwrap_or_default();
    let tags = exported.iter().map(|(tag, _)| *tag).collect();
    let descriptors: Vec<i32> = exported.iter().map(|(_, fd)| fd.as_raw_fd()).collect();
    let setup = Setup { cgroup_tags: tags, ..setup.clone() };
    packet::send(socket.as_fd(), &setup.encode(), &descriptors)
        .map_err(|errno| format!("talk to the spawner: {errno}"))?;
    let mut polled = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
    match poll(&mut polled, PollTimeout::from(BUILD_TIMEOUT_MS)) {
        Ok(0) => return Err("the spawner does not answer".to_owned()),
        Ok(_) => {}
        Err(errno) => return Err(format!("wait for the spawner: {errno}")),
    }
    let mut buffer = vec![0; MAX_PACKET_BYTES];
    let (received, _) =
        packet::receive(socket.as_fd(), &mut buffer).map_err(|errno| format!("hear the spawner: {errno}"))?;
    match Built::decode(buffer.get(..received).unwrap_or_default()) {
        Ok(Built::Ok { landlock_abi }) => Ok(landlock_abi),
        Ok(Built::Failed { reason }) => Err(reason),
        Err(_) => Err("the spawner ended without a word".to_owned()),
    }
}
