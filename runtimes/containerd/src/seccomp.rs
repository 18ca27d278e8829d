//! The system call filter of a container, as a table: an allow list of what the agent, ordinary programs, interpreters,
//! compilers and JITs need. containerd installs none of its own. Under gVisor the table is ignored: there the guest's
//! kernel is another, with a filter of its own.
//!
//! A call that isn't named is answered with ENOSYS, so that a new kernel opens nothing and libraries fall back; calls
//! into the kernel's administration, other processes' memory, keys, namespaces or raw hardware are refused with EPERM.

use nix::libc::{EAFNOSUPPORT, ENOSYS, EPERM};
use oci_spec::{
    OciSpecError,
    runtime::{
        Arch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompArgBuilder,
        LinuxSeccompOperator as Operator, LinuxSyscall,
    },
};

/// CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET.
const NAMESPACE_FLAGS: u64 = 0x7e02_0000;
/// Linux; addresses as a 32 bit `uname` shows them; reading the current one. Never READ_IMPLIES_EXEC or no
/// randomisation.
const PERSONALITIES: [u64; 3] = [0, 8, 0xffff_ffff];
/// AF_UNIX, AF_INET and AF_INET6.
const FAMILIES: [u64; 3] = [1, 2, LAST_FAMILY];
const LAST_FAMILY: u64 = 10;

pub(crate) fn profile() -> Result<LinuxSeccomp, OciSpecError> {
    let mut rules = vec![allow(ALLOWED, None), refuse(REFUSED, EPERM, None)];
    // New namespaces give a program capabilities over kernel code that it has no business with. clone3 hides its flags
    // behind a pointer and is not named: ENOSYS makes every libc fall back to clone.
    let no_namespace = argument(0, Operator::ScmpCmpMaskedEq, NAMESPACE_FLAGS).value_two(0_u64).build()?;
    rules.push(allow(&["clone"], Some(no_namespace)));
    for value in PERSONALITIES {
        rules.push(allow(&["personality"], Some(argument(0, Operator::ScmpCmpEq, value).build()?)));
    }
    // Every other family is refused as by a kernel that lacks it.
    for family in 0..=LAST_FAMILY {
        let test = Some(argument(0, Operator::ScmpCmpEq, family).build()?);
        rules.push(if FAMILIES.contains(&family) {
            allow(SOCKETS, test)
        } else {
            refuse(SOCKETS, EAFNOSUPPORT, test)
        });
    }
    let beyond = argument(0, Operator::ScmpCmpGt, LAST_FAMILY).build()?;
    rules.push(refuse(SOCKETS, EAFNOSUPPORT, Some(beyond)));

    let mut profile = LinuxSeccomp::default();
    profile
        .set_default_action(LinuxSeccompAction::ScmpActErrno)
        .set_default_errno_ret(Some(ENOSYS.unsigned_abs()))
        .set_architectures(Some(architectures()))
        .set_syscalls(Some(rules));
    Ok(profile)
}

/// This machine's own and no 32 bit one: their calls have other numbers and less scrutiny.
fn architectures() -> Vec<Arch> {
    if cfg!(target_arch = "aarch64") { vec![Arch::ScmpArchAarch64] } else { vec![Arch::ScmpArchX86_64] }
}

fn allow(names: &[&str], argument: Option<LinuxSeccompArg>) -> LinuxSyscall {
    rule(names, LinuxSeccompAction::ScmpActAllow, argument)
}

fn refuse(names: &[&str], errno: i32, argument: Option<LinuxSeccompArg>) -> LinuxSyscall {
    let mut rule = rule(names, LinuxSeccompAction::ScmpActErrno, argument);
    rule.set_errno_ret(Some(errno.unsigned_abs()));
    rule
}

fn rule(names: &[&str], action: LinuxSeccompAction, argument: Option<LinuxSeccompArg>) -> LinuxSyscall {
    let mut rule = LinuxSyscall::default();
    rule.set_names(names.iter().map(|name| (*name).to_owned()).collect())
        .set_action(action)
        .set_args(argument.map(|argument| vec![argument]));
    rule
}

fn argument(index: usize, op: Operator, value: u64) -> LinuxSeccompArgBuilder {
    LinuxSeccompArgBuilder::default().index(index).op(op).value(value)
}

const SOCKETS: &[&str] = &["socket", "socketpair"];

#[rustfmt::skip] // a table, several to a line
const ALLOWED: &[&str] = &[
    // files
    "read", "write", "readv", "writev", "pread64", "pwrite64", "preadv", "pwritev", "preadv2", "pwritev2", "openat",
    "openat2", "close", "close_range", "fstat", "newfstatat", "statx", "statfs", "fstatfs", "lseek", "dup", "dup3",
    "fcntl", "flock", "fsync", "fdatasync", "truncate", "ftruncate", "fallocate", "fadvise64", "readahead",
    "sync_file_range", "getdents64", "getcwd", "chdir", "fchdir", "mkdirat", "unlinkat", "renameat", "renameat2",
    "linkat", "symlinkat", "readlinkat", "mknodat", "fchmod", "fchmodat", "fchmodat2", "fchown", "fchownat",
    "faccessat", "faccessat2", "utimensat", "umask", "copy_file_range", "sendfile", "splice", "tee", "vmsplice",
    "getxattr", "lgetxattr", "fgetxattr", "listxattr", "llistxattr", "flistxattr", "setxattr", "lsetxattr",
    "fsetxattr", "removexattr", "lremovexattr", "fremovexattr", "inotify_init1", "inotify_add_watch",
    "inotify_rm_watch",
    // Two of its commands type into a terminal and steal a console's selection. There is neither here.
    "ioctl",
    // memory
    "brk", "mmap", "munmap", "mremap", "mprotect", "madvise", "mincore", "msync", "mlock", "mlock2", "munlock",
    "mlockall", "munlockall", "memfd_create", "membarrier", "pkey_alloc", "pkey_free", "pkey_mprotect",
    // processes
    "execve", "execveat", "exit", "exit_group", "wait4", "waitid", "kill", "tkill", "tgkill", "getpid", "getppid",
    "gettid", "getpgid", "setpgid", "getsid", "setsid", "pidfd_open", "pidfd_send_signal", "prctl", "prlimit64",
    "getrlimit", "setrlimit", "getrusage", "times", "getpriority", "setpriority", "sched_yield", "sched_getaffinity",
    "sched_setaffinity", "sched_getparam", "sched_setparam", "sched_getscheduler", "sched_setscheduler",
    "sched_getattr", "sched_setattr", "sched_get_priority_max", "sched_get_priority_min", "sched_rr_get_interval",
    "getcpu", "set_tid_address", "set_robust_list", "get_robust_list", "rseq", "futex", "futex_waitv", "uname",
    "sysinfo", "getrandom",
    // identity
    "getuid", "geteuid", "getgid", "getegid", "getresuid", "getresgid", "getgroups", "setuid", "setgid", "setreuid",
    "setregid", "setresuid", "setresgid", "setgroups", "setfsuid", "setfsgid", "capget", "capset",
    // time and signals
    "clock_gettime", "clock_getres", "clock_nanosleep", "nanosleep", "gettimeofday", "getitimer", "setitimer",
    "timer_create", "timer_delete", "timer_gettime", "timer_settime", "timer_getoverrun", "timerfd_create",
    "timerfd_gettime", "timerfd_settime", "rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "rt_sigpending",
    "rt_sigsuspend", "rt_sigtimedwait", "rt_sigqueueinfo", "rt_tgsigqueueinfo", "sigaltstack", "signalfd4",
    "restart_syscall",
    // communication
    "pipe2", "eventfd2", "epoll_create1", "epoll_ctl", "epoll_pwait", "epoll_pwait2", "ppoll", "pselect6", "bind",
    "listen", "accept", "accept4", "connect", "getsockname", "getpeername", "getsockopt", "setsockopt", "sendto",
    "recvfrom", "sendmsg", "recvmsg", "sendmmsg", "recvmmsg", "shutdown", "shmget", "shmat", "shmdt", "shmctl",
    "semget", "semop", "semtimedop", "semctl", "msgget", "msgsnd", "msgrcv", "msgctl",
    // x86-64's first numbers, which newer architectures leave out
    "open", "creat", "stat", "lstat", "access", "mkdir", "rmdir", "unlink", "rename", "link", "symlink", "readlink",
    "mknod", "chmod", "chown", "lchown", "utime", "utimes", "futimesat", "getdents", "dup2", "pipe", "poll", "select",
    "epoll_create", "epoll_wait", "eventfd", "signalfd", "inotify_init", "fork", "vfork", "getpgrp", "alarm", "pause",
    "time", "arch_prctl",
];

#[rustfmt::skip]
const REFUSED: &[&str] = &[
    "acct", "add_key", "bpf", "chroot", "clock_adjtime", "clock_settime", "adjtimex", "settimeofday", "delete_module",
    "finit_module", "init_module", "fanotify_init", "fanotify_mark", "fsconfig", "fsmount", "fsopen", "fspick", "mount",
    "mount_setattr", "move_mount", "open_tree", "umount2", "pivot_root", "io_uring_setup", "io_uring_enter",
    "io_uring_register", "kcmp", "kexec_load", "kexec_file_load", "keyctl", "request_key", "name_to_handle_at",
    "open_by_handle_at", "perf_event_open", "pidfd_getfd", "process_vm_readv", "process_vm_writev", "ptrace",
    "quotactl", "reboot", "setdomainname", "sethostname", "setns", "unshare", "swapon", "swapoff", "syslog",
    "userfaultfd", "vhangup", "ioperm", "iopl", "modify_ldt", "uselib",
    // Writing back everybody's files is not a guest's to ask for.
    "sync", "syncfs",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_call_has_two_rules() {
        let mut names: Vec<_> =
            ALLOWED.iter().chain(REFUSED).chain(SOCKETS).chain(&["clone", "personality"]).collect();
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all);
    }

    #[test]
    fn whoever_could_leave_is_refused() {
        for name in
            ["unshare", "setns", "mount", "ptrace", "bpf", "keyctl", "open_by_handle_at", "io_uring_setup"]
        {
            assert!(REFUSED.contains(&name), "{name}");
        }
        assert!(!ALLOWED.contains(&"clone3"));
    }
}
