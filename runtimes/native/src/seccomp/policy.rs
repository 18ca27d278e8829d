//! Which system calls a program may make, in one table.
//!
//! An allow list: what ordinary programs, interpreters, compilers and JITs need. A call that isn't named is answered
//! with ENOSYS, so that a new kernel opens nothing. Calls that reach into the kernel's administration, other
//! processes' memory, keys, namespaces or raw hardware are named as refused, to be seen here rather than implied.
//! Each address family, terminal command and clone flag that matters is decided by its argument.

use nix::libc as c;

use super::{Action, Rule, Test};

/// The rule of every system call that has one, sorted by number.
pub(super) fn rules() -> Vec<(u32, Rule)> {
    let mut rules: Vec<(u32, Rule)> = Vec::with_capacity(400);
    let mut add = |calls: &[i64], rule: Rule| {
        rules.extend(calls.iter().filter_map(|call| Some((u32::try_from(*call).ok()?, rule))));
    };
    add(FILES, Rule::Always(Action::Allow));
    add(MEMORY, Rule::Always(Action::Allow));
    add(PROCESSES, Rule::Always(Action::Allow));
    add(IDENTITY, Rule::Always(Action::Allow));
    add(TIME_AND_SIGNALS, Rule::Always(Action::Allow));
    add(COMMUNICATION, Rule::Always(Action::Allow));
    #[cfg(target_arch = "x86_64")]
    add(X86_64, Rule::Always(Action::Allow));
    add(REFUSED, Rule::Always(Action::Refuse));
    #[cfg(target_arch = "x86_64")]
    add(REFUSED_X86_64, Rule::Always(Action::Refuse));
    rules.extend(BY_ARGUMENT.iter().filter_map(|(call, rule)| Some((u32::try_from(*call).ok()?, *rule))));
    rules.sort_by_key(|(number, _)| *number);
    rules
}

const BY_ARGUMENT: &[(i64, Rule)] = &[
    // New namespaces give a program capabilities over kernel code that it has no business with. clone3 hides its
    // flags behind a pointer: ENOSYS makes every libc fall back to clone, EPERM would make threads fail.
    (c::SYS_clone, Rule::Argument { index: 0, tests: &[(Test::AnyBit(NAMESPACES), Action::Refuse)], otherwise: Action::Allow }),
    (c::SYS_clone3, Rule::Always(Action::Unknown)),
    (c::SYS_socket, Rule::Argument { index: 0, tests: FAMILIES, otherwise: Action::NoFamily }),
    (c::SYS_socketpair, Rule::Argument { index: 0, tests: FAMILIES, otherwise: Action::NoFamily }),
    // Typing into a terminal's input, and the console's selection.
    (c::SYS_ioctl, Rule::Argument { index: 1, tests: &[(Test::Equals(c::TIOCSTI as u32), Action::Refuse), (Test::Equals(c::TIOCLINUX as u32), Action::Refuse)], otherwise: Action::Allow }),
    // Linux, 32 bit addresses in `uname`, reading the current one; never READ_IMPLIES_EXEC or no randomisation.
    (c::SYS_personality, Rule::Argument { index: 0, tests: &[(Test::Equals(0), Action::Allow), (Test::Equals(8), Action::Allow), (Test::Equals(u32::MAX), Action::Allow)], otherwise: Action::Refuse }),
];

/// CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET.
const NAMESPACES: u32 = 0x7e02_0000;

const FAMILIES: &[(Test, Action)] = &[
    (Test::Equals(c::AF_UNIX as u32), Action::Allow),
    (Test::Equals(c::AF_INET as u32), Action::Allow),
    (Test::Equals(c::AF_INET6 as u32), Action::Allow),
];

const FILES: &[i64] = &[
    c::SYS_read, c::SYS_write, c::SYS_readv, c::SYS_writev, c::SYS_pread64, c::SYS_pwrite64, c::SYS_preadv,
    c::SYS_pwritev, c::SYS_preadv2, c::SYS_pwritev2, c::SYS_openat, c::SYS_openat2, c::SYS_close,
    c::SYS_close_range, c::SYS_fstat, c::SYS_newfstatat, c::SYS_statx, c::SYS_statfs, c::SYS_fstatfs, c::SYS_lseek,
    c::SYS_dup, c::SYS_dup3, c::SYS_fcntl, c::SYS_flock, c::SYS_fsync, c::SYS_fdatasync, c::SYS_truncate,
    c::SYS_ftruncate, c::SYS_fallocate, c::SYS_fadvise64, c::SYS_readahead, c::SYS_sync_file_range, c::SYS_getdents64,
    c::SYS_getcwd, c::SYS_chdir, c::SYS_fchdir, c::SYS_mkdirat, c::SYS_unlinkat, c::SYS_renameat2, c::SYS_linkat,
    c::SYS_symlinkat, c::SYS_readlinkat, c::SYS_mknodat, c::SYS_fchmod, c::SYS_fchmodat, SYS_FCHMODAT2, c::SYS_fchown,
    c::SYS_fchownat, c::SYS_faccessat, c::SYS_faccessat2, c::SYS_utimensat, c::SYS_umask, c::SYS_copy_file_range,
    c::SYS_sendfile, c::SYS_splice, c::SYS_tee, c::SYS_vmsplice, c::SYS_getxattr, c::SYS_lgetxattr, c::SYS_fgetxattr,
    c::SYS_listxattr, c::SYS_llistxattr, c::SYS_flistxattr, c::SYS_setxattr, c::SYS_lsetxattr, c::SYS_fsetxattr,
    c::SYS_removexattr, c::SYS_lremovexattr, c::SYS_fremovexattr, c::SYS_inotify_init1, c::SYS_inotify_add_watch,
    c::SYS_inotify_rm_watch,
];

const MEMORY: &[i64] = &[
    c::SYS_brk, c::SYS_mmap, c::SYS_munmap, c::SYS_mremap, c::SYS_mprotect, c::SYS_madvise, c::SYS_mincore,
    c::SYS_msync, c::SYS_mlock, c::SYS_mlock2, c::SYS_munlock, c::SYS_mlockall, c::SYS_munlockall,
    c::SYS_memfd_create, c::SYS_membarrier, c::SYS_pkey_alloc, c::SYS_pkey_free, c::SYS_pkey_mprotect,
];

const PROCESSES: &[i64] = &[
    c::SYS_execve, c::SYS_execveat, c::SYS_exit, c::SYS_exit_group, c::SYS_wait4, c::SYS_waitid, c::SYS_kill,
    c::SYS_tkill, c::SYS_tgkill, c::SYS_getpid, c::SYS_getppid, c::SYS_gettid, c::SYS_getpgid, c::SYS_setpgid,
    c::SYS_getsid, c::SYS_setsid, c::SYS_pidfd_open, c::SYS_pidfd_send_signal, c::SYS_prctl, c::SYS_prlimit64,
    c::SYS_getrlimit, c::SYS_setrlimit, c::SYS_getrusage, c::SYS_times, c::SYS_getpriority, c::SYS_setpriority,
    c::SYS_sched_yield, c::SYS_sched_getaffinity, c::SYS_sched_setaffinity, c::SYS_sched_getparam,
    c::SYS_sched_setparam, c::SYS_sched_getscheduler, c::SYS_sched_setscheduler, c::SYS_sched_getattr,
    c::SYS_sched_setattr, c::SYS_sched_get_priority_max, c::SYS_sched_get_priority_min,
    c::SYS_sched_rr_get_interval, c::SYS_getcpu, c::SYS_set_tid_address, c::SYS_set_robust_list,
    c::SYS_get_robust_list, c::SYS_rseq, c::SYS_futex, c::SYS_futex_waitv, c::SYS_uname, c::SYS_sysinfo,
    c::SYS_getrandom,
];

const IDENTITY: &[i64] = &[
    c::SYS_getuid, c::SYS_geteuid, c::SYS_getgid, c::SYS_getegid, c::SYS_getresuid, c::SYS_getresgid,
    c::SYS_getgroups, c::SYS_setuid, c::SYS_setgid, c::SYS_setreuid, c::SYS_setregid, c::SYS_setresuid,
    c::SYS_setresgid, c::SYS_setgroups, c::SYS_setfsuid, c::SYS_setfsgid, c::SYS_capget, c::SYS_capset,
];

const TIME_AND_SIGNALS: &[i64] = &[
    c::SYS_clock_gettime, c::SYS_clock_getres, c::SYS_clock_nanosleep, c::SYS_nanosleep, c::SYS_gettimeofday,
    c::SYS_getitimer, c::SYS_setitimer, c::SYS_timer_create, c::SYS_timer_delete, c::SYS_timer_gettime,
    c::SYS_timer_settime, c::SYS_timer_getoverrun, c::SYS_timerfd_create, c::SYS_timerfd_gettime,
    c::SYS_timerfd_settime, c::SYS_rt_sigaction, c::SYS_rt_sigprocmask, c::SYS_rt_sigreturn, c::SYS_rt_sigpending,
    c::SYS_rt_sigsuspend, c::SYS_rt_sigtimedwait, c::SYS_rt_sigqueueinfo, c::SYS_rt_tgsigqueueinfo,
    c::SYS_sigaltstack, c::SYS_signalfd4, c::SYS_restart_syscall,
];

const COMMUNICATION: &[i64] = &[
    c::SYS_pipe2, c::SYS_eventfd2, c::SYS_epoll_create1, c::SYS_epoll_ctl, c::SYS_epoll_pwait, SYS_EPOLL_PWAIT2,
    c::SYS_ppoll, c::SYS_pselect6, c::SYS_bind, c::SYS_listen, c::SYS_accept, c::SYS_accept4, c::SYS_connect,
    c::SYS_getsockname, c::SYS_getpeername, c::SYS_getsockopt, c::SYS_setsockopt, c::SYS_sendto, c::SYS_recvfrom,
    c::SYS_sendmsg, c::SYS_recvmsg, c::SYS_sendmmsg, c::SYS_recvmmsg, c::SYS_shutdown, c::SYS_shmget, c::SYS_shmat,
    c::SYS_shmdt, c::SYS_shmctl, c::SYS_semget, c::SYS_semop, c::SYS_semtimedop, c::SYS_semctl, c::SYS_msgget,
    c::SYS_msgsnd, c::SYS_msgrcv, c::SYS_msgctl,
];

/// Calls of the first numbers of this architecture, which newer ones leave out.
#[cfg(target_arch = "x86_64")]
const X86_64: &[i64] = &[
    c::SYS_open, c::SYS_creat, c::SYS_stat, c::SYS_lstat, c::SYS_access, c::SYS_mkdir, c::SYS_rmdir, c::SYS_unlink,
    c::SYS_rename, c::SYS_renameat, c::SYS_link, c::SYS_symlink, c::SYS_readlink, c::SYS_mknod, c::SYS_chmod,
    c::SYS_chown, c::SYS_lchown, c::SYS_utime, c::SYS_utimes, c::SYS_futimesat, c::SYS_getdents, c::SYS_dup2,
    c::SYS_pipe, c::SYS_poll, c::SYS_select, c::SYS_epoll_create, c::SYS_epoll_wait, c::SYS_eventfd, c::SYS_signalfd,
    c::SYS_inotify_init, c::SYS_fork, c::SYS_vfork, c::SYS_getpgrp, c::SYS_alarm, c::SYS_pause, c::SYS_time,
    c::SYS_arch_prctl,
];

const REFUSED: &[i64] = &[
    c::SYS_acct, c::SYS_add_key, c::SYS_bpf, c::SYS_chroot, c::SYS_clock_adjtime, c::SYS_clock_settime,
    c::SYS_adjtimex, c::SYS_settimeofday, c::SYS_delete_module, c::SYS_finit_module, c::SYS_init_module,
    c::SYS_fanotify_init, c::SYS_fanotify_mark, c::SYS_fsconfig, c::SYS_fsmount, c::SYS_fsopen, c::SYS_fspick,
    c::SYS_mount, c::SYS_mount_setattr, c::SYS_move_mount, c::SYS_open_tree, c::SYS_umount2, c::SYS_pivot_root,
    c::SYS_io_uring_setup, c::SYS_io_uring_enter, c::SYS_io_uring_register, c::SYS_kcmp, c::SYS_kexec_load,
    c::SYS_keyctl, c::SYS_request_key, c::SYS_name_to_handle_at, c::SYS_open_by_handle_at, c::SYS_perf_event_open,
    c::SYS_pidfd_getfd, c::SYS_process_vm_readv, c::SYS_process_vm_writev, c::SYS_ptrace, c::SYS_quotactl,
    c::SYS_reboot, c::SYS_setdomainname, c::SYS_sethostname, c::SYS_setns, c::SYS_unshare, c::SYS_swapon,
    c::SYS_swapoff, c::SYS_syslog, c::SYS_userfaultfd, c::SYS_vhangup,
    // Writing back everybody's files is not a guest's to ask for.
    c::SYS_sync, c::SYS_syncfs,
];

#[cfg(target_arch = "x86_64")]
const REFUSED_X86_64: &[i64] = &[c::SYS_ioperm, c::SYS_iopl, c::SYS_modify_ldt, c::SYS_uselib, c::SYS_kexec_file_load];

/// Younger than the numbers that the libc crate knows on every target.
const SYS_EPOLL_PWAIT2: i64 = 441;
const SYS_FCHMODAT2: i64 = 452;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_call_has_one_rule() {
        let rules = rules();
        for pair in rules.windows(2) {
            assert!(pair[0].0 < pair[1].0, "system call {} has two rules", pair[0].0);
        }
        assert!(rules.len() > 250);
    }
}
