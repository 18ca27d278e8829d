//! Every `unsafe` block of the native runtime: system calls that nix has no safe wrapper for. What the agent of the
//! container runtimes needs as well is in `sandboxd-inside`, and handed on here.
//!
//! Deliberately absent: decisions. Each function is one call or one idiom, typed so that the rest of the crate
//! can't misuse it. Called by the spawner and its descendants; the daemon uses none of it but [`own`] and
//! [`hand_large_buffers_back`].

#![allow(unsafe_code)]

use std::{
    ffi::CStr,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
};

use nix::{errno::Errno, libc, unistd::Pid};
pub(crate) use sandboxd_inside::sys::{
    CAP_KILL, SingleThread, close_all_but, drop_bounding_set, exit_now, reset_signals, set_capabilities,
};

type Result<T> = nix::Result<T>;

/// Like fork, into new namespaces and, where given, straight into a v2 cgroup.
pub(crate) fn clone(_proof: SingleThread, namespaces: u64, cgroup: Option<BorrowedFd>) -> Result<Cloned> {
    const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
    const CLONE_PIDFD: u64 = 0x1000;
    let mut pidfd: libc::c_int = -1;
    // The layout of `struct clone_args`, clone(2): eleven words, those of no use here zero.
    let mut arguments = [0_u64; 11];
    arguments[0] = namespaces | CLONE_PIDFD | if cgroup.is_some() { CLONE_INTO_CGROUP } else { 0 };
    arguments[1] = &raw mut pidfd as u64;
    arguments[4] = libc::SIGCHLD as u64;
    arguments[10] = cgroup.map_or(0, |fd| fd.as_raw_fd() as u64);
    // SAFETY: without CLONE_VM and with no stack given this is fork(2) with more namespaces: the child runs on
    // its own copy of this stack. One thread only, as proved. `arguments` and `pidfd` outlive the call.
    let pid =
        unsafe { libc::syscall(libc::SYS_clone3, &raw mut arguments, std::mem::size_of_val(&arguments)) };
    match Errno::result(pid)? {
        0 => Ok(Cloned::Child),
        pid => {
            // SAFETY: CLONE_PIDFD succeeded, so `pidfd` is a new descriptor that nobody else owns.
            let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
            Ok(Cloned::Parent { pid: Pid::from_raw(pid as libc::pid_t), pidfd })
        }
    }
}

pub(crate) enum Cloned {
    Child,
    Parent { pid: Pid, pidfd: OwnedFd },
}

/// Makes a descriptor that this process was started with its own.
///
/// # Errors
/// EBADF when it is not open.
pub(crate) fn adopt(fd: i32) -> Result<OwnedFd> {
    // SAFETY: F_GETFD reads no memory and is harmless on a number that is not open.
    Errno::result(unsafe { libc::fcntl(fd, libc::F_GETFD) })?;
    // SAFETY: it is open, and it was handed to this process by its parent for this one use.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Makes a descriptor that has just come in a control message its receiver's own.
pub(crate) fn own(number: i32) -> OwnedFd {
    // SAFETY: the kernel installed it for this message, and the message's bytes are read only once.
    unsafe { OwnedFd::from_raw_fd(number) }
}

/// Sends a signal by pidfd, which can't meet a reused pid.
pub(crate) fn pidfd_send_signal(pidfd: BorrowedFd, signal: i32) -> Result<()> {
    // SAFETY: plain integers and a null siginfo, which pidfd_send_signal(2) allows.
    let done = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            signal,
            std::ptr::null::<libc::siginfo_t>(),
            0,
        )
    };
    Errno::result(done).map(drop)
}

/// Puts the calling process before all others of its cgroup when a CPU is given out.
///
/// # Errors
/// EACCES or EPERM without CAP_SYS_NICE in the first user namespace.
pub(crate) fn go_first() -> Result<()> {
    const HIGHEST: libc::c_int = -20;
    // SAFETY: plain integers.
    Errno::result(unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, HIGHEST) }).map(drop)
}

/// Loads a seccomp filter for the calling thread. no_new_privs must be set.
pub(crate) fn load_seccomp(program: &[libc::sock_filter]) -> Result<()> {
    let length = u16::try_from(program.len()).map_err(|_| Errno::E2BIG)?;
    let program = libc::sock_fprog { len: length, filter: program.as_ptr().cast_mut() };
    // SAFETY: the kernel copies `len` instructions from `filter`, which lives through the call, and writes none.
    let done =
        unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const program) };
    Errno::result(done).map(drop)
}

/// The landlock ABI of this kernel, 0 when it has none: landlock_create_ruleset(2) with the version flag.
pub(crate) fn landlock_abi() -> u32 {
    const VERSION: u32 = 1;
    // SAFETY: with this flag, null and 0 are what the call wants, and it makes nothing.
    let abi = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<u8>(), 0, VERSION) };
    u32::try_from(abi).unwrap_or(0)
}

/// Makes a mount and all below it read-only, without set-user-ids and devices, whatever flags they had.
pub(crate) fn make_read_only(path: &CStr, devices: bool) -> Result<()> {
    let mut attributes = [0_u64; 4];
    attributes[0] = libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID;
    if !devices {
        attributes[0] |= libc::MOUNT_ATTR_NODEV;
    }
    // SAFETY: `attributes` has the layout of `struct mount_attr` (four words), mount_setattr(2); `path` ends with NUL.
    let done = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            libc::AT_FDCWD,
            path.as_ptr(),
            libc::AT_RECURSIVE,
            &raw const attributes,
            std::mem::size_of_val(&attributes),
        )
    };
    Errno::result(done).map(drop)
}

/// Gives a mounted tmpfs another size; `root` is the root of that mount.
pub(crate) fn resize_tmpfs(root: BorrowedFd, size_bytes: u64) -> Result<()> {
    const FSPICK_EMPTY_PATH: u32 = 8;
    const FSCONFIG_SET_STRING: u32 = 1;
    const FSCONFIG_CMD_RECONFIGURE: u32 = 7;
    // SAFETY: an open descriptor and an empty string that ends with NUL.
    let picked =
        unsafe { libc::syscall(libc::SYS_fspick, root.as_raw_fd(), c"".as_ptr(), FSPICK_EMPTY_PATH | 1) };
    // SAFETY: the descriptor is new and has no other owner.
    let context = unsafe { OwnedFd::from_raw_fd(Errno::result(picked)? as i32) };
    let mut size = size_bytes.to_string();
    size.push('\0');
    // SAFETY: key and value are strings that end with NUL and outlive the call.
    let set = unsafe {
        libc::syscall(
            libc::SYS_fsconfig,
            context.as_raw_fd(),
            FSCONFIG_SET_STRING,
            c"size".as_ptr(),
            size.as_ptr(),
            0,
        )
    };
    Errno::result(set)?;
    // SAFETY: this command takes no key and no value.
    let done = unsafe {
        libc::syscall(
            libc::SYS_fsconfig,
            context.as_raw_fd(),
            FSCONFIG_CMD_RECONFIGURE,
            std::ptr::null::<u8>(),
            std::ptr::null::<u8>(),
            0,
        )
    };
    Errno::result(done).map(drop)
}

/// Keeps large buffers out of the allocator's heap, for as long as the process lives: each is a mapping of its own, grows
/// without being copied, and goes back to the kernel when it is freed.
///
/// glibc does so at first too, but the first large buffer that is freed moves its threshold up to 32 MiB. From then on
/// outputs of megabytes grow by copies, and what they took stays with the process. Other allocators need no such word.
pub fn hand_large_buffers_back() {
    #[cfg(target_env = "gnu")]
    {
        const LARGE_BYTES: libc::c_int = 128 << 10;
        // SAFETY: plain integers; mallopt(3) takes its own lock. It refuses no threshold below half a heap's size.
        unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE_BYTES) };
    }
}
