//! One slot, as its lane sees it: a process namespace made ahead, used for one program, destroyed.
//!
//! Deliberately absent: what goes on inside (`init`, `guest`) and the conversation with the daemon (`lane`).

use std::{
    os::fd::{AsFd, OwnedFd},
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        socket::{AddressFamily, SockFlag, SockType, socketpair},
        wait::waitpid,
    },
    unistd::Pid,
};
use sandboxd_cgroup::{Group, Limits, Subtree};
use sandboxd_contract::{Facts, KernelLimit};

use crate::{
    cpu_clock::CpuClock,
    init::{self, Init, Users},
    packet,
    protocol::{FromInit, SlotLimits},
    sys::{self, Cloned, SingleThread},
};

/// How long a slot may take to be made, and a killed one to be gone.
const DEADLINE: Duration = Duration::from_secs(5);

/// CLONE_NEWNS, NEWPID, NEWIPC, NEWUTS; the network namespace is the lane's, the cgroup namespace init's own.
const NAMESPACES: u64 = 0x0002_0000 | 0x2000_0000 | 0x0800_0000 | 0x0400_0000;

pub(crate) struct Workshop<'a> {
    pub thread: SingleThread,
    pub subtree: &'a Subtree,
    pub users: Option<Users>,
    pub seccomp: &'a [nix::libc::sock_filter],
}

pub(crate) struct Slot {
    init: Pid,
    pub pidfd: OwnedFd,
    pub status: OwnedFd,
    /// v1 only: readable when memory has run out.
    pub oom_event: Option<OwnedFd>,
    group: Group,
    disk: OwnedFd,
    disk_bytes: u64,
    /// What making the slot has cost, and starting an interpreter ahead, which is not the program's.
    own_cpu_time: Duration,
    /// Where the group does not know.
    pub cpu_clock: CpuClock,
    gone: bool,
}

/// What the daemon gets of a slot: the program's socket and its working directory.
pub(crate) struct Handles {
    pub launch: OwnedFd,
    pub work: OwnedFd,
}

impl Slot {
    /// # Errors
    /// One sentence; nothing is left then.
    pub(crate) fn make(
        workshop: &Workshop,
        name: &str,
        limits: SlotLimits,
    ) -> Result<(Self, Handles), String> {
        let mut group = Group::create(workshop.subtree, name).map_err(|error| error.to_string())?;
        let made = Self::make_in(workshop, &mut group, limits);
        match made {
            Ok((init, pidfd, status, disk, handles)) => {
                let oom_event = group.oom_event().map_err(|error| error.to_string());
                let mut slot = Self {
                    init,
                    pidfd,
                    status,
                    oom_event: None,
                    group,
                    disk,
                    disk_bytes: limits.disk_bytes,
                    own_cpu_time: Duration::ZERO,
                    cpu_clock: CpuClock::default(),
                    gone: false,
                };
                slot.own_cpu_time = slot.group.usage().cpu_time.unwrap_or_default();
                match oom_event {
                    Ok(event) => slot.oom_event = event,
                    Err(reason) => {
                        slot.destroy()?;
                        return Err(reason);
                    }
                }
                Ok((slot, handles))
            }
            Err(reason) => {
                group.remove().map_err(|error| format!("{reason}; then {error}"))?;
                Err(reason)
            }
        }
    }

    fn make_in(
        workshop: &Workshop,
        group: &mut Group,
        limits: SlotLimits,
    ) -> Result<(Pid, OwnedFd, OwnedFd, OwnedFd, Handles), String> {
        group.set(&cgroup_limits(limits)).map_err(|error| error.to_string())?;
        let pair = |kind| {
            socketpair(AddressFamily::Unix, kind, None, SockFlag::SOCK_CLOEXEC)
                .map_err(|errno| format!("make a socket: {errno}"))
        };
        let (status, init_status) = pair(SockType::SeqPacket)?;
        let (launch, guest_launch) = pair(SockType::Stream)?;
        let cloned = sys::clone(workshop.thread, NAMESPACES, group.clone_into())
            .map_err(|errno| format!("clone into new namespaces: {errno}"))?;
        let (pid, pidfd) = match cloned {
            Cloned::Child => init::run(Init {
                thread: workshop.thread,
                group,
                users: workshop.users,
                disk_bytes: limits.disk_bytes,
                seccomp: workshop.seccomp,
                status: init_status,
                launch: guest_launch,
            }),
            Cloned::Parent { pid, pidfd } => (pid, pidfd),
        };
        // Only their other holders count from here on: an end of file must mean that those are gone.
        drop((init_status, guest_launch));
        match await_parked(&status) {
            Ok([disk, work]) => Ok((pid, pidfd, status, disk, Handles { launch, work })),
            Err(reason) => {
                bury(pid, &pidfd).map_err(|second| format!("{reason}; then {second}"))?;
                Err(reason)
            }
        }
    }

    /// Gets ready for an interpreter that has time: programs that run go before it.
    ///
    /// # Errors
    /// The limit's name and the reason.
    pub(crate) fn prepare(&mut self, limits: SlotLimits) -> Result<(), (KernelLimit, String)> {
        self.group.yield_cpu(true).map_err(|error| (KernelLimit::Cpu, error.to_string()))?;
        self.set_limits(limits)
    }

    /// Gets ready for the program: from here on it is the program's own time.
    ///
    /// # Errors
    /// The limit's name and the reason.
    pub(crate) fn begin(&mut self, limits: SlotLimits) -> Result<(), (KernelLimit, String)> {
        self.group.yield_cpu(false).map_err(|error| (KernelLimit::Cpu, error.to_string()))?;
        self.set_limits(limits)?;
        self.own_cpu_time = self.cpu_time().unwrap_or_default();
        Ok(())
    }

    fn set_limits(&mut self, limits: SlotLimits) -> Result<(), (KernelLimit, String)> {
        use KernelLimit::{Disk, Memory};
        self.group.set(&cgroup_limits(limits)).map_err(|error| (Memory, error.to_string()))?;
        if limits.disk_bytes != self.disk_bytes {
            sys::resize_tmpfs(self.disk.as_fd(), limits.disk_bytes).map_err(|errno| {
                (Disk, format!("resize the disk to {} bytes: {errno}", limits.disk_bytes))
            })?;
            self.disk_bytes = limits.disk_bytes;
        }
        Ok(())
    }

    pub(crate) fn facts(&self) -> Facts {
        let usage = self.group.usage();
        let cpu_time = usage.cpu_time.or_else(|| self.cpu_clock.look(self.init.as_raw()));
        Facts {
            cpu_time: cpu_time.map(|time| time.saturating_sub(self.own_cpu_time)),
            memory_peak_bytes: usage.memory_peak_bytes,
            oom_kills: usage.oom_kills,
            // Init is ours, not the program's.
            tasks_peak: usage.tasks_peak.map(|tasks| tasks.saturating_sub(1)),
            task_limit_hits: usage.task_limit_hits,
        }
    }

    /// Of all that was ever in it.
    fn cpu_time(&self) -> Option<Duration> {
        self.group.usage().cpu_time.or_else(|| self.cpu_clock.look(self.init.as_raw()))
    }

    pub(crate) fn kill(&self) {
        self.group.kill();
        // ESRCH: it is dead already, which is what was wanted.
        let _ = sys::pidfd_send_signal(self.pidfd.as_fd(), nix::libc::SIGKILL);
    }

    /// Signals the program itself, found as init's only child of the first generation.
    pub(crate) fn signal_program(&self, signal: i32) {
        let children = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", self.init));
        let program = children.ok().and_then(|text| text.split_whitespace().next()?.parse().ok());
        if let (Some(program), Ok(signal)) = (program, nix::sys::signal::Signal::try_from(signal)) {
            // ESRCH: it has just ended.
            let _ = nix::sys::signal::kill(Pid::from_raw(program), signal);
        }
    }

    /// Kills, waits and gives the cgroup back; idempotent.
    ///
    /// # Errors
    /// One sentence, when something would not go within its deadline.
    pub(crate) fn destroy(&mut self) -> Result<(), String> {
        if !self.gone {
            self.group.kill();
            bury(self.init, &self.pidfd)?;
            self.gone = true;
        }
        self.group.remove().map_err(|error| error.to_string())
    }
}

fn cgroup_limits(limits: SlotLimits) -> Limits {
    Limits {
        memory_bytes: Some(limits.memory_bytes),
        // One more, for init.
        tasks: Some(limits.tasks.saturating_add(1)),
        cpu_millis: limits.cpu_millis,
    }
}

fn await_parked(status: &OwnedFd) -> Result<[OwnedFd; 2], String> {
    let mut buffer = [0; 4096];
    if !readable_within(status, DEADLINE)? {
        return Err(format!("the slot is not ready after {} s", DEADLINE.as_secs()));
    }
    let (received, descriptors) =
        packet::receive(status.as_fd(), &mut buffer).map_err(|errno| format!("hear from init: {errno}"))?;
    let message = buffer.get(..received).unwrap_or_default();
    if message.is_empty() {
        return Err("init was killed while it made its mounts (memory?)".to_owned());
    }
    match FromInit::decode(message) {
        Ok(FromInit::Parked) => descriptors.try_into().map_err(|_| "init sent no descriptors".to_owned()),
        Ok(FromInit::Failed(reason)) => Err(reason),
        Ok(FromInit::Ended(..)) => Err("the program ended before it began".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// Kills a slot's init, and with it everything in its process namespace, and waits until all are gone.
fn bury(init: Pid, pidfd: &OwnedFd) -> Result<(), String> {
    // ESRCH: it is dead already, and waits for us.
    let _ = sys::pidfd_send_signal(pidfd.as_fd(), nix::libc::SIGKILL);
    if !readable_within(pidfd, DEADLINE)? {
        return Err(format!("processes of a slot outlive SIGKILL for {} s", DEADLINE.as_secs()));
    }
    waitpid(init, None).map(drop).map_err(|errno| format!("reap init: {errno}"))
}

fn readable_within(descriptor: &OwnedFd, time: Duration) -> Result<bool, String> {
    let end = Instant::now() + time;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        let mut polled = [PollFd::new(descriptor.as_fd(), PollFlags::POLLIN)];
        match poll(&mut polled, timeout) {
            Ok(0) if left.is_zero() => return Ok(false),
            Ok(0) | Err(Errno::EINTR) => {}
            Ok(_) => return Ok(true),
            Err(errno) => return Err(format!("poll: {errno}")),
        }
    }
}
