//! The table, call by call, against what Docker's default profile lets a process without capabilities do on x86-64
//! (moby/profiles, seccomp/default.json, 2025: `docker.txt`): nothing more is allowed here, and for whatever is not there is
//! a reason.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![cfg(target_arch = "x86_64")]

use std::collections::BTreeSet;

use sandboxd_syscalls::{Action, Rule, calls};

const DOCKER: &str = include_str!("docker.txt");

/// Allowed there and not here, and why.
const WITHOUT: &[(&[&str], &str)] = &[
    (
        &["mq_open", "mq_unlink", "mq_timedsend", "mq_timedreceive", "mq_notify", "mq_getsetattr"],
        "landlock lets nobody open a queue, so that none is there on any host",
    ),
    (
        &["ptrace", "process_vm_readv", "process_vm_writev"],
        "reading and writing others' memory; debuggers are not run here",
    ),
    (
        &["io_setup", "io_submit", "io_getevents", "io_pgetevents", "io_cancel", "io_destroy"],
        "asynchronous I/O of databases; a large way into the kernel that no language's library takes",
    ),
    (
        &["seccomp", "landlock_create_ruleset", "landlock_add_rule", "landlock_restrict_self"],
        "a program that confines itself falls back; prctl remains",
    ),
    (
        &["name_to_handle_at", "fanotify_mark", "statmount", "listmount"],
        "what a program of one folder has to know of file systems is less",
    ),
    (&["sync", "syncfs"], "writing back everybody's files"),
    (&["adjtimex", "clock_adjtime"], "the host's clock; reading it goes another way"),
    (&["modify_ldt", "set_thread_area", "get_thread_area"], "programs of 32 bits, which are killed here"),
    (&["ioprio_get", "ioprio_set", "process_mrelease"], "others' disks and memory"),
    (
        &["memfd_secret", "map_shadow_stack", "mseal", "remap_file_pages", "cachestat", "uretprobe"],
        "memory that a limit or a kernel's bookkeeping does not expect; each has an older way",
    ),
    (
        &[
            "futex_wait",
            "futex_wake",
            "futex_requeue",
            "getxattrat",
            "setxattrat",
            "listxattrat",
            "removexattrat",
        ],
        "younger than the C libraries of today, which fall back",
    ),
    (&["epoll_ctl_old", "epoll_wait_old"], "never implemented on x86-64"),
];

fn allowed() -> BTreeSet<&'static str> {
    let open = |rule: &Rule| match rule {
        Rule::Always(action) => *action == Action::Allow,
        Rule::Argument { .. } => true,
    };
    calls().filter(|call| open(&call.rule)).map(sandboxd_syscalls::Call::name).collect()
}

#[test]
fn every_call_has_one_rule() {
    let mut numbers: Vec<_> = calls().map(|call| call.number).collect();
    let all = numbers.len();
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers.len(), all);
    assert!(all > 250, "{all}");
}

#[test]
fn nothing_is_allowed_beyond_dockers_and_each_difference_has_a_reason() {
    let docker: BTreeSet<_> = DOCKER.split_whitespace().collect();
    let (ours, mut reasoned) = (allowed(), BTreeSet::new());
    for (names, why) in WITHOUT {
        assert!(!why.is_empty());
        reasoned.extend(names.iter().copied());
    }
    let beyond: Vec<_> = ours.difference(&docker).collect();
    assert!(beyond.is_empty(), "{beyond:?}");
    let without: BTreeSet<_> = docker.difference(&ours).copied().collect();
    assert_eq!(without, reasoned);
}

#[test]
fn whoever_could_leave_is_refused_by_name() {
    for name in [
        "unshare",
        "setns",
        "mount",
        "ptrace",
        "bpf",
        "keyctl",
        "open_by_handle_at",
        "io_uring_setup",
        "userfaultfd",
    ] {
        let rule = calls().find(|call| call.name() == name).unwrap().rule;
        assert_eq!(rule, Rule::Always(Action::Refuse), "{name}");
    }
}
