//! The CPU time of a slot whose cgroup can't tell it: what /proc says of the processes that live, what init has measured
//! of those that are gone.
//!
//! It counts in ticks of 10 ms while the program runs, and exactly once init has reaped all. What it can't see is a
//! child whose parent has the kernel reap it (SIGCHLD ignored) after its end. So it is a lower bound, and only ever
//! grows. Deliberately absent: cgroups, which know better wherever there are any.

use std::{cell::Cell, fs, time::Duration};

use nix::{
    sys::resource::{UsageWho, getrusage},
    sys::time::TimeVal,
    unistd::{SysconfVar, sysconf},
};

/// A look at a fork bomb is no better for lasting longer.
const MAX_TASKS: usize = 1024;

#[derive(Debug, Default)]
pub(crate) struct CpuClock {
    seen: Cell<Option<Duration>>,
}

impl CpuClock {
    /// The time of all below `init`, as far as it can be seen now or was seen before.
    pub(crate) fn look(&self, init: i32) -> Option<Duration> {
        self.note(below(init));
        self.seen.get()
    }

    /// What was measured elsewhere.
    pub(crate) fn note(&self, time: Option<Duration>) {
        // `None` is less than any time.
        self.seen.set(self.seen.get().max(time));
    }
}

/// The time of every child that this process has reaped, and of theirs. `None` only where the kernel does not say.
pub(crate) fn reaped() -> Option<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).ok()?;
    Some(duration(usage.user_time()) + duration(usage.system_time()))
}

fn duration(time: TimeVal) -> Duration {
    Duration::new(time.tv_sec().unsigned_abs(), 0) + Duration::from_micros(time.tv_usec().unsigned_abs())
}

fn below(root: i32) -> Option<Duration> {
    let ticks_per_second = sysconf(SysconfVar::CLK_TCK).ok().flatten()?.unsigned_abs();
    // Of init itself only what it has reaped: its own time is ours.
    let mut ticks = Times::of(root)?.of_the_reaped;
    let mut found = children(root);
    let mut looked_at = 0;
    while let Some(process) = found.pop().filter(|_| looked_at < MAX_TASKS) {
        looked_at += 1;
        // One that has just ended is its parent's by now, who was asked before: the next look has it.
        let Some(times) = Times::of(process) else { continue };
        ticks += times.own + times.of_the_reaped;
        found.extend(children(process));
    }
    Some(Duration::from_millis(ticks * 1000 / ticks_per_second.max(1)))
}

/// Of one process, in ticks.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Times {
    own: u64,
    of_the_reaped: u64,
}

impl Times {
    fn of(process: i32) -> Option<Self> {
        Self::parse(&fs::read_to_string(format!("/proc/{process}/stat")).ok()?)
    }

    /// utime, stime, cutime and cstime of proc_pid_stat(5): fields 14 to 17, of which a program's name is the second and
    /// may hold anything.
    pub(crate) fn parse(stat: &str) -> Option<Self> {
        let (_, after_name) = stat.rsplit_once(')')?;
        let mut fields = after_name.split_whitespace().skip(11).map(str::parse::<u64>);
        let mut pair = || fields.next()?.ok()?.checked_add(fields.next()?.ok()?);
        Some(Self { own: pair()?, of_the_reaped: pair()? })
    }
}

/// Each thread has its own.
fn children(process: i32) -> Vec<i32> {
    let threads = fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
    let lists = threads.filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    lists
        .flat_map(|list| list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>())
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::disallowed_types, reason = "a process to be watched")]

    use std::{
        process::{Command, id},
        time::Instant,
    };

    use super::*;

    #[test]
    fn the_living_and_the_dead_count() {
        const BUSY: Duration = Duration::from_millis(100);
        let clock = CpuClock::default();
        // A grandchild, since whoever looks at children alone would see next to nothing.
        let mut shell = Command::new("sh").args(["-c", "sh -c 'while :; do :; done'; exit"]).spawn().unwrap();
        let deadline = Instant::now() + Duration::from_secs(30);
        while clock.look(id().cast_signed()).unwrap() < BUSY {
            assert!(Instant::now() < deadline, "{clock:?}");
        }
        let busy = children(shell.id().cast_signed());
        assert_eq!(busy.len(), 1);
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(busy[0]), nix::sys::signal::Signal::SIGKILL)
            .unwrap();
        shell.wait().unwrap();
        assert!(reaped().unwrap() >= BUSY - Duration::from_millis(10), "{:?}", reaped());
        assert!(below(id().cast_signed()).unwrap() >= BUSY - Duration::from_millis(10));
    }

    #[test]
    fn a_name_may_hold_anything() {
        let stat = "7 (a) R 1 (b) S 1 7 7 0 -1 4194560 100 200 0 0 11 22 33 44 20 0 1 0 99 1000 1";
        assert_eq!(Times::parse(stat), Some(Times { own: 33, of_the_reaped: 77 }));
        assert_eq!(Times::parse("7 (a) S 1 7"), None);
        let too_much = format!("7 (a) S 1 7 7 0 -1 4194560 100 200 0 0 {} 22 33 44", u64::MAX);
        assert_eq!(Times::parse(&too_much), None);
        assert_eq!(Times::parse(""), None);
    }

    #[test]
    fn it_only_grows() {
        let clock = CpuClock::default();
        clock.note(None);
        assert_eq!(clock.seen.get(), None);
        clock.note(Some(Duration::from_millis(30)));
        clock.note(Some(Duration::from_millis(20)));
        clock.note(None);
        assert_eq!(clock.seen.get(), Some(Duration::from_millis(30)));
    }

    #[test]
    fn a_process_that_is_not_there_has_no_time() {
        assert_eq!(CpuClock::default().look(i32::MAX), None);
    }
}
