//! PID 1 of a slot: makes the slot's own mounts, forks the program-to-be, reaps, and reports one exit.
//!
//! ```text
//! cloned ──> cgroup ──> mounts ──> fork ──> drop rights ──> reap ──program ended──> kill the rest ──> report ──> wait
//! ```
//! It ends by being killed, always: with it the kernel kills everything in the slot. Deliberately absent: limits and
//! requests (the lane's), confinement of the program (see `guest`).

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::{
    errno::Errno,
    fcntl::{OFlag, open},
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
    sys::{prctl, signal::Signal, stat::Mode},
    unistd::{ForkResult, Gid, Pid, Uid, setgroups, sethostname, setresgid, setresuid},
};
use sandboxd_cgroup::Group;
use sandboxd_contract::WORK_DIR;
use sandboxd_inside::{
    disk::make_folders,
    reap::{bury_the_rest, next_dead},
};

use crate::{
    cpu_clock,
    guest::{self, Confinement},
    packet,
    protocol::FromInit,
    rootfs::BOX,
    sys::{self, SingleThread},
};

/// Inodes of a slot's disk: generous for programs, and each is charged to the program's memory.
const DISK_INODES: u32 = 64 * 1024;

/// Who a lane's processes are. Equal user and group ids, of our own range.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Users {
    pub program: u32,
    pub init: u32,
}

pub(crate) struct Init<'a> {
    pub thread: SingleThread,
    pub group: &'a Group,
    /// `None` in a user namespace, which maps a single user.
    pub users: Option<Users>,
    pub disk_bytes: u64,
    pub seccomp: &'a [nix::libc::sock_filter],
    /// To the lane.
    pub status: OwnedFd,
    /// From the daemon, for the program.
    pub launch: OwnedFd,
}

/// Runs as PID 1 until it is killed.
pub(crate) fn run(init: Init) -> ! {
    let Err(reason) = prepare_and_reap(&init);
    report(&init.status, &FromInit::Failed(reason), &[]);
    sys::exit_now(1)
}

fn report(status: &OwnedFd, message: &FromInit, descriptors: &[i32]) {
    // The lane is the only listener; when it is gone, so is this process in a moment.
    let _ = packet::send(status.as_fd(), &message.encode(), descriptors);
}

fn prepare_and_reap(init: &Init) -> Result<std::convert::Infallible, String> {
    let step = |what: &'static str| move |errno: Errno| format!("{what}: {errno}");
    prctl::set_pdeathsig(Signal::SIGKILL).map_err(step("tie to the lane"))?;
    init.group.enter().map_err(|error| error.to_string())?;
    // After entering, so that the program sees its own cgroup as the root of all.
    unshare(CloneFlags::CLONE_NEWCGROUP).map_err(step("make a cgroup namespace"))?;
    sethostname("sandbox").map_err(step("name the host"))?;
    mount_disk(init)?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("proc"), "/proc", Some("proc"), flags, Some("subset=pid,hidepid=invisible"))
        .map_err(step("mount /proc"))?;
    match init.thread.fork().map_err(step("fork"))? {
        ForkResult::Child => become_guest(init),
        ForkResult::Parent { child } => {
            drop_rights(init)?;
            reap(child, &init.status)
        }
    }
}

fn mount_disk(init: &Init) -> Result<(), String> {
    let options = format!("size={},nr_inodes={DISK_INODES},mode=0755", init.disk_bytes);
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(Some("tmpfs"), BOX, Some("tmpfs"), flags, Some(options.as_str()))
        .map_err(|errno| format!("mount the disk of {} bytes: {errno}", init.disk_bytes))?;
    make_folders(init.users.map(|users| users.program))
}

fn become_guest(init: &Init) -> ! {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let opened = |path| open(path, flags, Mode::empty()).map_err(|errno| format!("open {path}: {errno}"));
    let parked = opened(BOX).and_then(|disk| {
        let work = opened(WORK_DIR)?;
        guest::confine(&Confinement { user: init.users.map(|users| users.program), seccomp: init.seccomp })?;
        report(&init.status, &FromInit::Parked, &[disk.as_raw_fd(), work.as_raw_fd()]);
        Ok(())
    });
    if let Err(reason) = parked {
        report(&init.status, &FromInit::Failed(reason), &[]);
        sys::exit_now(1);
    }
    // No copy of another process's end of a socket may outlive it here. The first three stay, lest what comes next
    // gets their numbers.
    let (stdin, stdout, stderr) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
    let keep = [stdin.as_fd(), stdout.as_fd(), stderr.as_fd(), init.launch.as_fd()];
    if sys::close_all_but(&keep).is_err() {
        sys::exit_now(1);
    }
    guest::wait_and_become(&init.launch)
}

/// Another user than the program's, no right but to kill it, nothing open but the line to the lane.
fn drop_rights(init: &Init) -> Result<(), String> {
    let step = |what: &'static str| move |errno: Errno| format!("{what}: {errno}");
    sys::close_all_but(&[init.status.as_fd()]).map_err(step("close descriptors"))?;
    // It kills the others, and when killed it takes them along: either needs a CPU, while a fork bomb has them all.
    // Without the right to it (in a user namespace) the bomb only lasts longer, and not where there is cgroup.kill.
    let _ = sys::go_first();
    if let Some(users) = init.users {
        prctl::set_keepcaps(true).map_err(step("keep capabilities"))?;
        setgroups(&[]).map_err(step("drop groups"))?;
        let (user, group) = (Uid::from_raw(users.init), Gid::from_raw(users.init));
        setresgid(group, group, group).map_err(step("change the group"))?;
        setresuid(user, user, user).map_err(step("change the user"))?;
    }
    sys::set_capabilities(sys::CAP_KILL).map_err(step("drop capabilities"))?;
    prctl::set_dumpable(false).map_err(step("forbid dumps"))?;
    // Changing the user undid it.
    prctl::set_pdeathsig(Signal::SIGKILL).map_err(step("tie to the lane"))
}

fn reap(program: Pid, status: &OwnedFd) -> Result<std::convert::Infallible, String> {
    let status_word = loop {
        match next_dead(true) {
            Ok(Some((pid, status))) if pid == program => break status,
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(format!("wait for the program: {errno}")),
        }
    };
    bury_the_rest();
    report(status, &FromInit::Ended(status_word, cpu_clock::reaped()), &[]);
    // Until killed; or until the lane is gone, had it died before this process was tied to it.
    while packet::receive(status.as_fd(), &mut [0; 8]).is_ok_and(|(received, _)| received > 0) {}
    sys::exit_now(0)
}
