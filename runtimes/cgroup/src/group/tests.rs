//! Groups in folders: which files are written, what is read, what is left after a failure.

use std::fs;
use std::path::{Path, PathBuf};

use super::*;
use crate::Layout;

fn text(group: &Path, file: &str) -> String {
    fs::read_to_string(group.join(file)).unwrap()
}

/// Makes files empty, so that a value of the same length or longer replaces what was there.
fn empty(group: &Path, files: &[&str]) {
    for file in files {
        fs::write(group.join(file), "").unwrap();
    }
}

fn v1(root: &Path) -> (Subtree, PathBuf) {
    let mounts = format!("cgroup {} cgroup rw,memory,pids,cpu,cpuacct 0 0\n", root.display());
    let subtree = Subtree::create(&Layout::from_parts(&mounts, "", true, false), "i").unwrap();
    (subtree, root.join("sandboxd/i/g"))
}

fn v2(root: &Path) -> (Subtree, PathBuf) {
    let mounts = format!("cgroup2 {} cgroup2 rw 0 0\n", root.display());
    let instance = root.join("sandboxd/i");
    fs::create_dir_all(&instance).unwrap();
    fs::write(root.join("cgroup.controllers"), "cpu memory pids\n").unwrap();
    for group in [root, &root.join("sandboxd"), &instance] {
        empty(group, &["cgroup.subtree_control"]);
    }
    let subtree = Subtree::create(&Layout::from_parts(&mounts, "0::/\n", true, false), "i").unwrap();
    (subtree, instance.join("g"))
}

fn memory(bytes: Option<u64>) -> Limits {
    Limits { memory_bytes: bytes, ..Limits::default() }
}

fn cpu(millis: Option<u32>) -> Limits {
    Limits { cpu_millis: millis, ..Limits::default() }
}

#[test]
fn v1_memory_is_lowered_before_its_sum_with_swap_and_raised_after_it() {
    const MEMORY: &str = "memory.limit_in_bytes";
    const SUM: &str = "memory.memsw.limit_in_bytes";
    let root = tempfile::tempdir().unwrap();
    let (subtree, path) = v1(root.path());
    let mut group = Group::create(&subtree, "g").unwrap();
    empty(&path, &[MEMORY, SUM]);
    // What is written first is seen where the second write fails.
    let second_fails = |file: &str| {
        fs::remove_file(path.join(file)).unwrap();
        fs::create_dir(path.join(file)).unwrap();
    };
    let mend = |file: &str| {
        fs::remove_dir(path.join(file)).unwrap();
        empty(&path, &[MEMORY, SUM]);
    };
    second_fails(SUM);
    assert_eq!(group.set(&memory(Some(4096))).unwrap_err().path, SUM);
    assert_eq!(text(&path, MEMORY), "4096");
    mend(SUM);
    group.set(&memory(Some(4096))).unwrap();
    assert_eq!((text(&path, MEMORY), text(&path, SUM)), ("4096".to_owned(), "4096".to_owned()));
    for raised in [Some(8192), None] {
        second_fails(MEMORY);
        assert_eq!(group.set(&memory(raised)).unwrap_err().path, MEMORY);
        assert_eq!(text(&path, SUM), raised.map_or_else(|| "-1".to_owned(), |bytes| bytes.to_string()));
        mend(MEMORY);
    }
    // What did not succeed is not taken for set; what is set is not written again.
    group.set(&memory(Some(8192))).unwrap();
    assert_eq!(text(&path, MEMORY), "8192");
    empty(&path, &[MEMORY, SUM]);
    group.set(&memory(Some(8192))).unwrap();
    assert_eq!(text(&path, MEMORY), "");
}

#[test]
fn v1_without_swap_accounting_does_not_swap() {
    let root = tempfile::tempdir().unwrap();
    let (subtree, path) = v1(root.path());
    let mut group = Group::create(&subtree, "g").unwrap();
    empty(&path, &["memory.limit_in_bytes", "memory.swappiness"]);
    group.set(&memory(Some(4096))).unwrap();
    assert_eq!(text(&path, "memory.swappiness"), "0");
}

#[test]
fn v2_memory_has_no_swap_and_dies_as_a_whole() {
    let root = tempfile::tempdir().unwrap();
    let (subtree, path) = v2(root.path());
    let mut group = Group::create(&subtree, "g").unwrap();
    empty(&path, &["memory.max", "memory.oom.group", "memory.swap.max"]);
    group.set(&memory(Some(4096))).unwrap();
    assert_eq!(text(&path, "memory.max"), "4096");
    assert_eq!(text(&path, "memory.oom.group"), "1");
    assert_eq!(text(&path, "memory.swap.max"), "0");
    // A kernel built without swap has no such file, and needs none.
    fs::remove_file(path.join("memory.swap.max")).unwrap();
    group.set(&memory(Some(8192))).unwrap();
}

#[test]
fn v2_kills_all_in_it_at_once_where_the_kernel_can() {
    let root = tempfile::tempdir().unwrap();
    let (subtree, path) = v2(root.path());
    let group = Group::create(&subtree, "g").unwrap();
    group.kill();
    assert!(!path.join("cgroup.kill").exists(), "nothing is made where there is no such file");
    empty(&path, &["cgroup.kill"]);
    group.kill();
    assert_eq!(text(&path, "cgroup.kill"), "1");
}

#[test]
fn a_group_can_let_others_go_first() {
    for (make, file, usual, less) in
        [(v1 as fn(&Path) -> (Subtree, PathBuf), "cpu.shares", "1024", "64"), (v2, "cpu.weight", "100", "6")]
    {
        let root = tempfile::tempdir().unwrap();
        let (subtree, path) = make(root.path());
        let mut group = Group::create(&subtree, "g").unwrap();
        // Nothing is written where nothing changes.
        group.yield_cpu(false).unwrap();
        for (yields, weight) in [(true, less), (false, usual)] {
            empty(&path, &[file]);
            group.yield_cpu(yields).unwrap();
            assert_eq!(text(&path, file), weight);
        }
    }
}

#[test]
fn a_small_share_of_a_cpu_is_one_the_kernel_takes() {
    let root = tempfile::tempdir().unwrap();
    let (subtree, path) = v2(root.path());
    let mut group = Group::create(&subtree, "g").unwrap();
    for (millis, expected) in [
        (Some(1500), "150000 100000"),
        (Some(10), "1000 100000"),
        (Some(9), "9000 1000000"),
        (Some(1), "1000 1000000"),
        (None, "max 100000"),
    ] {
        empty(&path, &["cpu.max"]);
        group.set(&cpu(millis)).unwrap();
        assert_eq!(text(&path, "cpu.max"), expected);
    }
    let root = tempfile::tempdir().unwrap();
    let (subtree, path) = v1(root.path());
    let mut group = Group::create(&subtree, "g").unwrap();
    empty(&path, &["cpu.cfs_period_us", "cpu.cfs_quota_us"]);
    group.set(&cpu(Some(5))).unwrap();
    assert_eq!(text(&path, "cpu.cfs_period_us"), "1000000");
    assert_eq!(text(&path, "cpu.cfs_quota_us"), "5000");
}

#[test]
fn usage_is_what_the_files_say_and_unknown_otherwise() {
    let root = tempfile::tempdir().unwrap();
    let (subtree, path) = v1(root.path());
    assert_eq!(Group::create(&subtree, "g").unwrap().usage(), Usage::default());
    fs::write(path.join("cpuacct.usage"), "1500000000\n").unwrap();
    fs::write(path.join("memory.max_usage_in_bytes"), "67108864\n").unwrap();
    fs::write(path.join("memory.oom_control"), "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n").unwrap();
    fs::write(path.join("pids.events"), "max 7\n").unwrap();
    assert_eq!(
        opened(&subtree).usage(),
        Usage {
            cpu_time: Some(Duration::from_millis(1500)),
            memory_peak_bytes: Some(67_108_864),
            oom_kills: Some(1),
            tasks_peak: None,
            task_limit_hits: Some(7),
        }
    );
    // Before Linux 4.13 the counter is not there: unknown, not 0.
    fs::write(path.join("memory.oom_control"), "oom_kill_disable 0\nunder_oom 0\n").unwrap();
    assert_eq!(opened(&subtree).usage().oom_kills, None);

    let root = tempfile::tempdir().unwrap();
    let (subtree, path) = v2(root.path());
    drop(Group::create(&subtree, "g").unwrap());
    fs::write(path.join("cpu.stat"), "usage_usec 1500000\nuser_usec 1\n").unwrap();
    fs::write(path.join("memory.peak"), "4096\n").unwrap();
    fs::write(path.join("memory.events"), "low 0\nhigh 0\nmax 35\noom 1\noom_kill 2\noom_group_kill 1\n")
        .unwrap();
    fs::write(path.join("pids.peak"), "9\n").unwrap();
    assert_eq!(
        opened(&subtree).usage(),
        Usage {
            cpu_time: Some(Duration::from_millis(1500)),
            memory_peak_bytes: Some(4096),
            oom_kills: Some(2),
            tasks_peak: Some(9),
            task_limit_hits: None,
        }
    );
}

/// The handle on a group `g` whose folder is there already, with the files that a kernel would have made in it.
fn opened(subtree: &Subtree) -> Group {
    let mut group = Group {
        name: "g".to_owned(),
        branches: Arc::clone(&subtree.branches),
        directories: Vec::new(),
        yields_cpu: false,
        dies_whole: true,
        limits: Limits::default(),
        counters: Counters::default(),
    };
    group.open().unwrap();
    group
}

#[test]
fn a_creation_that_fails_leaves_nothing_and_takes_nothing() {
    let root = tempfile::tempdir().unwrap();
    for name in ["memory", "pids"] {
        fs::create_dir(root.path().join(name)).unwrap();
    }
    let path = root.path().display();
    let mounts =
        format!("cgroup {path}/memory cgroup rw,memory 0 0\ncgroup {path}/pids cgroup rw,pids 0 0\n");
    let subtree = Subtree::create(&Layout::from_parts(&mounts, "", true, false), "i").unwrap();
    let (first, second) = (root.path().join("memory/sandboxd/i/g"), root.path().join("pids/sandboxd/i/g"));
    fs::create_dir(&second).unwrap();
    assert_eq!(Group::create(&subtree, "g").err().map(|error| error.errno), Some(Errno::EEXIST));
    assert!(!first.exists());
    assert!(second.exists(), "a group that was there before is another's");
}
