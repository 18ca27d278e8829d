//! The crate on the kernel's own cgroups: real limits, real kills, real sweeps.
//!
//! Every test works below groups of its own, one in each mounted hierarchy, so it meets neither a daemon that runs
//! on this host nor another test. Needs root; says so where it is not.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]
#![allow(clippy::disallowed_types, reason = "a test needs processes to put into groups")]

use std::fs;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sandboxd_cgroup::{Adopted, Controller, Group, Layout, Limits, Subtree, Version, sweep};

/// A group in each hierarchy that is taken for the hierarchy itself.
struct Scratch {
    groups: Vec<PathBuf>,
    mounts: String,
}

impl Scratch {
    /// `None`, after saying why, when this host does not permit it.
    fn new(test: &str, wanted: fn(&str) -> bool) -> Option<Self> {
        if !nix::unistd::geteuid().is_root() {
            skip("making cgroups needs root");
            return None;
        }
        let mut scratch = Self { groups: Vec::new(), mounts: String::new() };
        for line in fs::read_to_string("/proc/self/mounts").unwrap().lines() {
            let words: Vec<&str> = line.split(' ').collect();
            let (top, kind, options) = (Path::new(words[1]), words[2], words[3]);
            let controllers = ["memory", "pids", "cpu", "cpuacct"];
            let v1 = kind == "cgroup" && options.split(',').any(|one| controllers.contains(&one));
            if !(v1 || kind == "cgroup2") || !wanted(kind) {
                continue;
            }
            if !v1 {
                for controller in controllers {
                    let _not_offered =
                        fs::write(top.join("cgroup.subtree_control"), format!("+{controller}"));
                }
            }
            let group = top.join(format!("sandboxd-test-{}-{test}", std::process::id()));
            if let Err(error) = fs::create_dir(&group) {
                skip(&format!("{}: {error}", group.display()));
                return None;
            }
            scratch.mounts.push_str(&format!("{kind} {} {kind} {options} 0 0\n", group.display()));
            scratch.groups.push(group);
        }
        if scratch.groups.is_empty() {
            skip("no such cgroup hierarchy is mounted");
            return None;
        }
        Some(scratch)
    }

    fn layout(&self) -> Layout {
        Layout::from_parts(&self.mounts, "0::/\n", true, false)
    }

    /// Whatever below these groups is named so.
    fn find(&self, below: &str) -> Vec<PathBuf> {
        self.groups.iter().map(|group| group.join(below)).filter(|path| path.exists()).collect()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        for group in &self.groups {
            // The leaf that a daemon steps aside into is there in v2 and stays with it.
            let _absent = fs::remove_dir(group.join("daemon"));
            let removed = fs::remove_dir(group);
            assert!(removed.is_ok() || thread::panicking(), "{} is not empty", group.display());
        }
    }
}

fn skip(reason: &str) {
    assert!(std::env::var_os("CI").is_none(), "required here, but: {reason}");
    println!("SKIP: {reason}");
}

fn any(_: &str) -> bool {
    true
}

fn v2_only(kind: &str) -> bool {
    kind == "cgroup2"
}

/// Starts a shell that waits for a line, puts it into the group, and lets it run the script.
fn start(scratch: &Scratch, group: &str, script: &str) -> Child {
    let mut child = Command::new("sh")
        .args(["-c", &format!("read go; {script}")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let homes = scratch.find(group);
    assert!(!homes.is_empty(), "{group} is nowhere");
    for home in homes {
        fs::write(home.join("cgroup.procs"), child.id().to_string()).unwrap();
    }
    child.stdin.take().unwrap().write_all(b"go\n").unwrap();
    child
}

fn signal(child: &mut Child) -> Option<i32> {
    use std::os::unix::process::ExitStatusExt;
    child.wait().unwrap().signal()
}

fn lives(pid: u32) -> bool {
    kill(Pid::from_raw(pid.cast_signed()), None) != Err(Errno::ESRCH)
}

#[test]
fn limits_are_held_and_use_is_counted() {
    let Some(scratch) = Scratch::new("limits", any) else { return };
    let layout = scratch.layout();
    if Controller::ALL.iter().any(|one| layout.version(*one).is_none()) {
        return skip("not all controllers are available");
    }
    let subtree = Subtree::create(&layout, "one").unwrap();
    for controller in Controller::ALL {
        assert_eq!(subtree.gap(controller), None);
    }
    let mut group = Group::create(&subtree, "g").unwrap();
    let fresh = group.usage();
    assert_eq!(fresh.oom_kills, Some(0));
    assert_eq!(fresh.cpu_time, Some(Duration::ZERO));
    let event = group.oom_event().unwrap();
    assert_eq!(event.is_some(), layout.version(Controller::Memory) == Some(Version::V1));
    group.set(&Limits { memory_bytes: Some(32 << 20), tasks: Some(8), cpu_millis: Some(1000) }).unwrap();

    // A plain SIGKILL is no sign of missing memory.
    let mut child = start(&scratch, "sandboxd/one/g", "kill -9 $$");
    assert_eq!(signal(&mut child), Some(9));
    assert_eq!(group.usage().oom_kills, Some(0));

    // dd's buffer is one allocation, touched from end to end.
    let mut child =
        start(&scratch, "sandboxd/one/g", "exec dd if=/dev/zero of=/dev/null bs=64M count=1 2>/dev/null");
    assert_eq!(signal(&mut child), Some(9));
    assert_eq!(group.usage().oom_kills, Some(1));
    let peak = group.usage().memory_peak_bytes.unwrap();
    assert!((16 << 20..=33 << 20).contains(&peak), "{peak}");
    if let Some(event) = event {
        let mut count = [0; 8];
        fs::File::from(event).read_exact(&mut count).unwrap();
        assert!(u64::from_ne_bytes(count) >= 1);
    }

    let mut child = start(
        &scratch,
        "sandboxd/one/g",
        "i=0; while [ $i -lt 12 ]; do sleep 0.2 & i=$((i+1)); done; wait; exit 3",
    );
    child.wait().unwrap();
    let usage = group.usage();
    assert!(usage.task_limit_hits.unwrap() >= 1, "{usage:?}");
    assert!(usage.tasks_peak.is_none_or(|peak| peak == 8), "{usage:?}");

    // Less of a CPU than the kernel counts in its usual period.
    group.set(&Limits { memory_bytes: Some(16 << 20), tasks: Some(8), cpu_millis: Some(5) }).unwrap();

    // Raising, then a quarter of a CPU for a loop that wants a whole one.
    group.set(&Limits { memory_bytes: Some(64 << 20), tasks: None, cpu_millis: Some(250) }).unwrap();
    let before = group.usage().cpu_time.unwrap();
    let mut child = start(&scratch, "sandboxd/one/g", "while :; do :; done");
    thread::sleep(Duration::from_millis(800));
    let used = group.usage().cpu_time.unwrap() - before;
    assert!(used > Duration::from_millis(50) && used < Duration::from_millis(500), "{used:?}");
    child.kill().unwrap();
    assert_eq!(signal(&mut child), Some(9));
    group.remove().unwrap();
    group.remove().unwrap();
    assert!(scratch.find("sandboxd/one/g").is_empty());
    subtree.remove().unwrap();
    assert!(scratch.find("sandboxd").is_empty());
}

/// An engine removes the group of a container in the moment of its end, counters and all.
#[test]
fn a_kill_for_memory_is_known_of_a_group_that_is_gone() {
    let Some(scratch) = Scratch::new("gone", |kind| !v2_only(kind)) else { return };
    let layout = scratch.layout();
    if layout.version(Controller::Memory) != Some(Version::V1) {
        return skip("only v1 tells of a group that is gone");
    }
    let subtree = Subtree::create(&layout, "one").unwrap();
    let hog = "exec dd if=/dev/zero of=/dev/null bs=64M count=1 2>/dev/null";
    for (end, kills) in [(hog, Some(1)), ("kill -9 $$", None)] {
        let mut group = Group::create(&subtree, "g").unwrap();
        group.set(&Limits { memory_bytes: Some(32 << 20), ..Limits::default() }).unwrap();
        let mut child = start(&scratch, "sandboxd/one/g", &format!("echo up; kill -STOP $$; {end}"));
        child.stdout.as_mut().unwrap().read_exact(&mut [0; 3]).unwrap();
        let pid = child.id().cast_signed();
        let mut adopted = Adopted::of_process(pid, Limits::default()).unwrap();
        adopted.listen().unwrap();
        assert_eq!(adopted.oom_kills(), Some(0));
        // Until it has ended: the first may come before it stops.
        while child.try_wait().unwrap().is_none() {
            kill(Pid::from_raw(pid), Signal::SIGCONT).unwrap();
            thread::sleep(Duration::from_millis(5));
        }
        group.remove().unwrap();
        // The kernel tells of a group's end from a work queue.
        let deadline = Instant::now() + Duration::from_millis(if kills.is_some() { 5000 } else { 200 });
        while adopted.oom_kills().is_none() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(adopted.oom_kills(), kills, "{end}");
        assert_eq!(adopted.usage().oom_kills, kills, "{end}");
    }
    subtree.remove().unwrap();
}

#[test]
fn a_kill_takes_daemons_stopped_ones_and_bombs() {
    for (test, wanted) in [("kill", any as fn(&str) -> bool), ("kill2", v2_only)] {
        let Some(scratch) = Scratch::new(test, wanted) else { continue };
        let subtree = Subtree::create(&scratch.layout(), "one").unwrap();
        let _group = Group::create(&subtree, "g").unwrap();
        let script = "trap '' TERM HUP INT; setsid sleep 100 & sleep 100 & kill -STOP $!; (while :; do sleep 1 & \
                      wait; done) & echo ready; while :; do sleep 1; done";
        let mut child = start(&scratch, "sandboxd/one/g", script);
        let mut ready = [0; 6];
        child.stdout.as_mut().unwrap().read_exact(&mut ready).unwrap();
        let started = Instant::now();
        subtree.remove().unwrap();
        println!("{test}: {:?}", started.elapsed());
        assert!(started.elapsed() < Duration::from_secs(1));
        assert_eq!(signal(&mut child), Some(9));
        assert!(scratch.find("sandboxd").is_empty());
    }
}

#[test]
fn a_fork_bomb_ends_with_its_group() {
    let Some(scratch) = Scratch::new("bomb", any) else { return };
    let layout = scratch.layout();
    if layout.version(Controller::Pids).is_none() {
        return skip("a bomb without a limit would be no test");
    }
    let subtree = Subtree::create(&layout, "one").unwrap();
    let mut group = Group::create(&subtree, "g").unwrap();
    group.set(&Limits { tasks: Some(100), ..Limits::default() }).unwrap();
    // A shell gives up when it can't fork. This one never does: each process that dies is replaced at once.
    let bomb = "import os\nos.write(1, b'up\\n')\nwhile True:\n try: os.fork()\n except OSError: pass";
    let mut child = start(&scratch, "sandboxd/one/g", &format!("exec python3 -c \"{bomb}\""));
    if child.stdout.as_mut().unwrap().read_exact(&mut [0; 3]).is_err() {
        child.wait().unwrap();
        subtree.remove().unwrap();
        return skip("there is no python3");
    }
    let deadline = Instant::now() + Duration::from_secs(10);
    while group.usage().task_limit_hits == Some(0) {
        assert!(Instant::now() < deadline, "a bomb that never meets its limit");
        thread::sleep(Duration::from_millis(10));
    }
    let started = Instant::now();
    drop(subtree);
    let swept = sweep(&layout).unwrap();
    println!("bomb: {swept:?} in {:?}", started.elapsed());
    assert!(started.elapsed() < Duration::from_secs(2));
    child.wait().unwrap();
    assert!(scratch.find("sandboxd/one").is_empty());
    // A sweep leaves the shared directory to the next daemon, which takes it along at its end.
    Subtree::create(&layout, "two").unwrap().remove().unwrap();
}

#[test]
fn a_thread_enters_and_its_children_are_in() {
    let Some(scratch) = Scratch::new("enter", |kind| !v2_only(kind)) else { return };
    let layout = scratch.layout();
    if layout.version(Controller::Cpuacct) != Some(Version::V1) {
        return skip("only v1 takes single threads");
    }
    let subtree = Subtree::create(&layout, "one").unwrap();
    let exported: Vec<_> =
        subtree.export().into_iter().map(|(tag, fd)| (tag, fd.try_clone_to_owned().unwrap())).collect();
    let helper = Subtree::import(exported).unwrap();
    let mut group = Group::create(&helper, "g").unwrap();
    thread::scope(|scope| {
        scope.spawn(|| {
            group.enter().unwrap();
            let script = "i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done";
            Command::new("sh").args(["-c", script]).status().unwrap();
        });
    });
    let used = group.usage().cpu_time.unwrap();
    assert!(used > Duration::from_millis(10), "{used:?}");
    group.remove().unwrap();
    subtree.remove().unwrap();
}

#[test]
fn a_sweep_kills_what_the_dead_left_and_nothing_else() {
    for (test, wanted) in [("sweep", any as fn(&str) -> bool), ("sweep2", v2_only)] {
        let Some(scratch) = Scratch::new(test, wanted) else { continue };
        let layout = scratch.layout();
        let living = Subtree::create(&layout, "living").unwrap();
        let _kept = Group::create(&living, "g").unwrap();
        let dead = Subtree::create(&layout, "dead").unwrap();
        for name in ["g1", "g2"] {
            Group::create(&dead, name).unwrap();
        }
        let mut survivor = start(&scratch, "sandboxd/living/g", "echo up; exec sleep 100");
        let mut victims = [
            start(&scratch, "sandboxd/dead/g1", "echo up; exec sleep 100"),
            start(&scratch, "sandboxd/dead/g2", "echo up; exec sleep 100"),
        ];
        for child in victims.iter_mut().chain([&mut survivor]) {
            child.stdout.as_mut().unwrap().read_exact(&mut [0; 3]).unwrap();
        }
        let nothing = sweep(&layout).unwrap();
        assert_eq!((nothing.groups, nothing.processes), (0, 0));
        // A helper that outlives its daemon does not keep the instance alive.
        let helper: Vec<_> =
            dead.export().into_iter().map(|(_, fd)| fd.as_fd().try_clone_to_owned().unwrap()).collect();
        drop(dead);
        let swept = sweep(&layout).unwrap();
        assert_eq!((swept.groups, swept.processes), (2, 2));
        for child in &mut victims {
            assert_eq!(signal(child), Some(9));
        }
        assert!(scratch.find("sandboxd/dead").is_empty());
        assert!(lives(survivor.id()));
        assert!(!scratch.find("sandboxd/living/g").is_empty());
        drop(helper);
        living.remove().unwrap();
        assert_eq!(signal(&mut survivor), Some(9));
        assert!(scratch.find("sandboxd").is_empty());
    }
}

#[test]
fn what_a_group_costs() {
    const ROUNDS: u32 = 300;
    let Some(scratch) = Scratch::new("cost", any) else { return };
    let layout = scratch.layout();
    if Controller::ALL.iter().any(|one| layout.version(*one).is_none()) {
        return skip("not all controllers are available");
    }
    let subtree = Subtree::create(&layout, "one").unwrap();
    let limits = Limits { memory_bytes: Some(64 << 20), tasks: Some(64), cpu_millis: Some(1000) };
    let mut laps: [Vec<Duration>; 5] = Default::default();
    for round in 0..ROUNDS {
        let mut last = Instant::now();
        let mut lap = |times: &mut Vec<Duration>| {
            times.push(last.elapsed());
            last = Instant::now();
        };
        let mut group = Group::create(&subtree, &format!("g{round}")).unwrap();
        lap(&mut laps[0]);
        group.set(&limits).unwrap();
        lap(&mut laps[1]);
        let _ = group.usage();
        lap(&mut laps[2]);
        let _event = group.oom_event().unwrap();
        lap(&mut laps[3]);
        group.remove().unwrap();
        lap(&mut laps[4]);
    }
    for (what, mut times) in ["create", "set", "usage", "oom_event", "remove"].into_iter().zip(laps) {
        times.sort();
        let at = |percent: usize| times[times.len() * percent / 100].as_secs_f64() * 1e6;
        println!("{what}: p50 {:.0} us, p90 {:.0} us, p99 {:.0} us", at(50), at(90), at(99));
    }
    subtree.remove().unwrap();
}
