//! Every `unsafe` block of what is done inside of a sandbox: fork, and system calls that nix has no safe wrapper for.
//!
//! Deliberately absent: decisions. Each function is one call or one idiom, typed so that it can't be misused. Called by
//! native's spawner and its descendants, and by the agent.

#![allow(unsafe_code)]

use std::os::fd::{AsRawFd, BorrowedFd};

use nix::{
    errno::Errno,
    libc,
    sys::signal::{SigHandler, SigSet, SigmaskHow, Signal},
    unistd::{ForkResult, Pid},
};

type Result<T> = nix::Result<T>;

/// Proof that this process has one thread, so that a forked child may go on running ordinary code.
#[derive(Debug, Clone, Copy)]
pub struct SingleThread(());

impl SingleThread {
    /// # Errors
    /// EBUSY when there is another thread; whatever reading /proc/self/status meets.
    pub fn prove() -> Result<Self> {
        let status = std::fs::read_to_string("/proc/self/status")
            .map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO)))?;
        let threads = status.lines().find_map(|line| line.strip_prefix("Threads:")).map(str::trim);
        if threads == Some("1") { Ok(Self(())) } else { Err(Errno::EBUSY) }
    }

    /// # Errors
    /// Whatever fork(2) meets.
    pub fn fork(self) -> Result<ForkResult> {
        // SAFETY: the process has one thread (proved at construction, and the processes that use this never
        // start another), so no lock is held by a thread that the child lacks.
        unsafe { nix::unistd::fork() }
    }
}

/// Waits for any child to end; `None` when one lives and `hang` is not set. The status is that of wait(2), since nix
/// answers EINVAL for the end by a real-time signal, and says not even whose it was.
///
/// # Errors
/// ECHILD when there is none; EINTR.
pub(crate) fn wait_for_any(hang: bool) -> Result<Option<(Pid, i32)>> {
    let mut status = 0;
    // SAFETY: the kernel writes one integer, which outlives the call.
    let pid = unsafe { libc::waitpid(-1, &raw mut status, if hang { 0 } else { libc::WNOHANG }) };
    Ok(Some(Errno::result(pid)?).filter(|pid| *pid > 0).map(|pid| (Pid::from_raw(pid), status)))
}

/// Closes every descriptor but those of `keep`; owners of the others must never run again.
///
/// # Errors
/// Whatever the system calls meet.
pub fn close_all_but(keep: &[BorrowedFd]) -> Result<()> {
    let mut kept: Vec<u32> = keep.iter().map(|fd| fd.as_raw_fd().unsigned_abs()).collect();
    kept.sort_unstable();
    let mut first = 0;
    for fd in kept {
        if fd > first {
            close_range(first, fd - 1)?;
        }
        first = fd + 1;
    }
    // Not u32::MAX, as Linux would have it: gVisor takes no number that is no descriptor.
    close_range(first, i32::MAX.cast_unsigned())
}

/// What the processes here may have had open before a kernel without close_range(2) (gVisor's, once) is asked to.
const OLD_KERNEL_DESCRIPTORS: u32 = 256;

fn close_range(first: u32, last: u32) -> Result<()> {
    // SAFETY: plain integers. Called right before exec, or by a process that never returns to an owner of what it closes.
    let done = unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
    match Errno::result(done) {
        Err(Errno::ENOSYS) => {
            for number in first..=last.min(OLD_KERNEL_DESCRIPTORS) {
                // SAFETY: as above; a number that is not open is refused and nothing else.
                unsafe { libc::close(number.cast_signed()) };
            }
            Ok(())
        }
        done => done.map(drop),
    }
}

/// Puts every signal back to its default and unblocks all: what a program expects to be born with.
///
/// # Errors
/// Whatever the system calls meet.
pub fn reset_signals() -> Result<()> {
    for signal in Signal::iterator().filter(|signal| !matches!(signal, Signal::SIGKILL | Signal::SIGSTOP)) {
        // SAFETY: SIG_DFL is no handler, so no code of ours can run at a bad moment.
        unsafe { nix::sys::signal::signal(signal, SigHandler::SigDfl) }?;
    }
    nix::sys::signal::sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)
}

/// Empties the capability bounding set: nothing executed from now on can gain one.
///
/// # Errors
/// Whatever the system calls meet.
pub fn drop_bounding_set() -> Result<()> {
    for capability in 0..64_u64 {
        // SAFETY: plain integers.
        let done = unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) };
        match Errno::result(done) {
            Ok(_) => {}
            // Past the last capability of this kernel.
            Err(Errno::EINVAL) => return Ok(()),
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// Capabilities of capabilities(7), as bits.
pub const CAP_CHOWN: u32 = 1;
pub const CAP_DAC_OVERRIDE: u32 = 1 << 1;
pub const CAP_KILL: u32 = 1 << 5;

/// Sets the effective and permitted sets to `low` (capabilities 0 to 31) and clears the inheritable set.
///
/// # Errors
/// Whatever the system calls meet.
pub fn set_capabilities(low: u32) -> Result<()> {
    #[repr(C)]
    struct Header {
        version: u32,
        pid: i32,
    }
    #[repr(C)]
    #[derive(Clone, Copy)]
    struct Data {
        effective: u32,
        permitted: u32,
        inheritable: u32,
    }
    const VERSION_3: u32 = 0x2008_0522;
    let mut header = Header { version: VERSION_3, pid: 0 };
    let data = [
        Data { effective: low, permitted: low, inheritable: 0 },
        Data { effective: 0, permitted: 0, inheritable: 0 },
    ];
    // SAFETY: header and data have the layout that capset(2) gives for version 3, and outlive the call.
    Errno::result(unsafe { libc::syscall(libc::SYS_capset, &raw mut header, data.as_ptr()) }).map(drop)
}

/// Ends the process at once: no destructors, no flushing of what a parent also holds.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: _exit(2) never returns and touches no memory.
    unsafe { libc::_exit(code) }
}
