//! The table: every system call that has a rule. Whoever changes it looks at `tests/review.rs`, which holds it against the
//! list of another careful house.

use crate::{Action, Call, Rule, Test};

/// CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET: new namespaces give a program capabilities over kernel
/// code that it has no business with.
pub const NAMESPACE_FLAGS: u32 = 0x7e02_0000;
/// Linux; addresses as a 32 bit `uname` shows them; reading the current one. Never READ_IMPLIES_EXEC or no randomisation.
pub const PERSONALITIES: [u32; 3] = [0, 8, u32::MAX];
/// Address families of sockets. Every other is answered as by a kernel that lacks it.
pub const FAMILIES: [u32; 3] = [c::AF_UNIX as u32, c::AF_INET as u32, c::AF_INET6 as u32];

const fn equal(values: [u32; 3], action: Action) -> [(Test, Action); 3] {
    let [a, b, c] = values;
    [(Test::Equals(a), action), (Test::Equals(b), action), (Test::Equals(c), action)]
}

const ONLY_FAMILIES: Rule =
    Rule::Argument { index: 0, tests: &equal(FAMILIES, Action::Allow), otherwise: Action::NoFamily };
const NO_NAMESPACES: Rule = Rule::Argument {
    index: 0,
    tests: &[(Test::AnyBit(NAMESPACE_FLAGS), Action::Refuse)],
    otherwise: Action::Allow,
};
const ONLY_PERSONALITIES: Rule =
    Rule::Argument { index: 0, tests: &equal(PERSONALITIES, Action::Allow), otherwise: Action::Refuse };
/// Two commands type into a terminal's input, and steal a console's selection.
const NO_TYPING: Rule = Rule::Argument {
    index: 1,
    tests: &[
        (Test::Equals(c::TIOCSTI as u32), Action::Refuse),
        (Test::Equals(c::TIOCLINUX as u32), Action::Refuse),
    ],
    otherwise: Action::Allow,
};

/// The numbers, with those that are younger than what the libc crate knows on every target.
#[allow(non_upper_case_globals, reason = "as the libc crate names them")]
mod c {
    pub(super) use libc::*;

    pub(super) const SYS_epoll_pwait2: i64 = 441;
    pub(super) const SYS_fchmodat2: i64 = 452;
}

macro_rules! calls {
    ($rule:expr; $($name:ident)*) => {
        &[$(Call { constant: stringify!($name), number: c::$name, rule: $rule }),*]
    };
}

const ALLOW: Rule = Rule::Always(Action::Allow);
const REFUSE: Rule = Rule::Always(Action::Refuse);

#[rustfmt::skip] // several to a line
pub(crate) const GROUPS: &[&[Call]] = &[
    // files
    calls![ALLOW;
        SYS_read SYS_write SYS_readv SYS_writev SYS_pread64 SYS_pwrite64 SYS_preadv SYS_pwritev SYS_preadv2
        SYS_pwritev2 SYS_openat SYS_openat2 SYS_close SYS_close_range SYS_fstat SYS_newfstatat SYS_statx SYS_statfs
        SYS_fstatfs SYS_lseek SYS_dup SYS_dup3 SYS_fcntl SYS_flock SYS_fsync SYS_fdatasync SYS_truncate SYS_ftruncate
        SYS_fallocate SYS_fadvise64 SYS_readahead SYS_sync_file_range SYS_getdents64 SYS_getcwd SYS_chdir SYS_fchdir
        SYS_mkdirat SYS_unlinkat SYS_renameat2 SYS_linkat SYS_symlinkat SYS_readlinkat SYS_mknodat SYS_fchmod
        SYS_fchmodat SYS_fchmodat2 SYS_fchown SYS_fchownat SYS_faccessat SYS_faccessat2 SYS_utimensat SYS_umask
        SYS_copy_file_range SYS_sendfile SYS_splice SYS_tee SYS_vmsplice SYS_getxattr SYS_lgetxattr SYS_fgetxattr
        SYS_listxattr SYS_llistxattr SYS_flistxattr SYS_setxattr SYS_lsetxattr SYS_fsetxattr SYS_removexattr
        SYS_lremovexattr SYS_fremovexattr SYS_inotify_init1 SYS_inotify_add_watch SYS_inotify_rm_watch
    ],
    // memory
    calls![ALLOW;
        SYS_brk SYS_mmap SYS_munmap SYS_mremap SYS_mprotect SYS_madvise SYS_mincore SYS_msync SYS_mlock SYS_mlock2
        SYS_munlock SYS_mlockall SYS_munlockall SYS_memfd_create SYS_membarrier SYS_pkey_alloc SYS_pkey_free
        SYS_pkey_mprotect
    ],
    // processes
    calls![ALLOW;
        SYS_execve SYS_execveat SYS_exit SYS_exit_group SYS_wait4 SYS_waitid SYS_kill SYS_tkill SYS_tgkill SYS_getpid
        SYS_getppid SYS_gettid SYS_getpgid SYS_setpgid SYS_getsid SYS_setsid SYS_pidfd_open SYS_pidfd_send_signal
        SYS_prctl SYS_prlimit64 SYS_getrlimit SYS_setrlimit SYS_getrusage SYS_times SYS_getpriority SYS_setpriority
        SYS_sched_yield SYS_sched_getaffinity SYS_sched_setaffinity SYS_sched_getparam SYS_sched_setparam
        SYS_sched_getscheduler SYS_sched_setscheduler SYS_sched_getattr SYS_sched_setattr SYS_sched_get_priority_max
        SYS_sched_get_priority_min SYS_sched_rr_get_interval SYS_getcpu SYS_set_tid_address SYS_set_robust_list
        SYS_get_robust_list SYS_rseq SYS_futex SYS_futex_waitv SYS_uname SYS_sysinfo SYS_getrandom
    ],
    // identity, as far as somebody without rights has one to change
    calls![ALLOW;
        SYS_getuid SYS_geteuid SYS_getgid SYS_getegid SYS_getresuid SYS_getresgid SYS_getgroups SYS_setuid SYS_setgid
        SYS_setreuid SYS_setregid SYS_setresuid SYS_setresgid SYS_setgroups SYS_setfsuid SYS_setfsgid SYS_capget
        SYS_capset
    ],
    // time and signals
    calls![ALLOW;
        SYS_clock_gettime SYS_clock_getres SYS_clock_nanosleep SYS_nanosleep SYS_gettimeofday SYS_getitimer
        SYS_setitimer SYS_timer_create SYS_timer_delete SYS_timer_gettime SYS_timer_settime SYS_timer_getoverrun
        SYS_timerfd_create SYS_timerfd_gettime SYS_timerfd_settime SYS_rt_sigaction SYS_rt_sigprocmask
        SYS_rt_sigreturn SYS_rt_sigpending SYS_rt_sigsuspend SYS_rt_sigtimedwait SYS_rt_sigqueueinfo
        SYS_rt_tgsigqueueinfo SYS_sigaltstack SYS_signalfd4 SYS_restart_syscall
    ],
    // between processes, and sockets on a network that is down
    calls![ALLOW;
        SYS_pipe2 SYS_eventfd2 SYS_epoll_create1 SYS_epoll_ctl SYS_epoll_pwait SYS_epoll_pwait2 SYS_ppoll SYS_pselect6
        SYS_bind SYS_listen SYS_accept SYS_accept4 SYS_connect SYS_getsockname SYS_getpeername SYS_getsockopt
        SYS_setsockopt SYS_sendto SYS_recvfrom SYS_sendmsg SYS_recvmsg SYS_sendmmsg SYS_recvmmsg SYS_shutdown
        SYS_shmget SYS_shmat SYS_shmdt SYS_shmctl SYS_semget SYS_semop SYS_semtimedop SYS_semctl SYS_msgget SYS_msgsnd
        SYS_msgrcv SYS_msgctl
    ],
    // The first numbers of this architecture, which newer ones leave out.
    #[cfg(target_arch = "x86_64")]
    calls![ALLOW;
        SYS_open SYS_creat SYS_stat SYS_lstat SYS_access SYS_mkdir SYS_rmdir SYS_unlink SYS_rename SYS_renameat
        SYS_link SYS_symlink SYS_readlink SYS_mknod SYS_chmod SYS_chown SYS_lchown SYS_utime SYS_utimes SYS_futimesat
        SYS_getdents SYS_dup2 SYS_pipe SYS_poll SYS_select SYS_epoll_create SYS_epoll_wait SYS_eventfd SYS_signalfd
        SYS_inotify_init SYS_fork SYS_vfork SYS_getpgrp SYS_alarm SYS_pause SYS_time SYS_arch_prctl
    ],
    // By an argument.
    calls![NO_NAMESPACES; SYS_clone],
    calls![ONLY_FAMILIES; SYS_socket SYS_socketpair],
    calls![NO_TYPING; SYS_ioctl],
    calls![ONLY_PERSONALITIES; SYS_personality],
    // Its flags are behind a pointer: ENOSYS makes every libc fall back to clone, EPERM would make threads fail.
    calls![Rule::Always(Action::Unknown); SYS_clone3],
    // The kernel's administration, others' memory, keys, namespaces, raw hardware.
    calls![REFUSE;
        SYS_acct SYS_add_key SYS_bpf SYS_chroot SYS_clock_adjtime SYS_clock_settime SYS_adjtimex SYS_settimeofday
        SYS_delete_module SYS_finit_module SYS_init_module SYS_fanotify_init SYS_fanotify_mark SYS_fsconfig
        SYS_fsmount SYS_fsopen SYS_fspick SYS_mount SYS_mount_setattr SYS_move_mount SYS_open_tree SYS_umount2
        SYS_pivot_root SYS_io_uring_setup SYS_io_uring_enter SYS_io_uring_register SYS_kcmp SYS_kexec_load SYS_keyctl
        SYS_request_key SYS_name_to_handle_at SYS_open_by_handle_at SYS_perf_event_open SYS_pidfd_getfd
        SYS_process_vm_readv SYS_process_vm_writev SYS_ptrace SYS_quotactl SYS_reboot SYS_setdomainname
        SYS_sethostname SYS_setns SYS_unshare SYS_swapon SYS_swapoff SYS_syslog SYS_userfaultfd SYS_vhangup
    ],
    #[cfg(target_arch = "x86_64")]
    calls![REFUSE;
        SYS_ioperm SYS_iopl SYS_modify_ldt SYS_uselib SYS_kexec_file_load
    ],
    // Writing back everybody's files is not a guest's to ask for.
    calls![REFUSE; SYS_sync SYS_syncfs],
];
