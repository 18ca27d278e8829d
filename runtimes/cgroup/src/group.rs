//! One sandbox's group: its limits, and what they say of its use of resources.

use std::{
    fs::File,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    sync::Arc,
    time::Duration,
};

use nix::{
    errno::Errno,
    fcntl::{OFlag, openat},
    sys::{
        eventfd::{EfdFlags, EventFd},
        stat::{Mode, mkdirat},
    },
    unistd::write,
};

use crate::{
    error::{Error, Result, Step},
    files::{keyed, open_directory, open_file, read_file, read_whole, remove, write_file},
    layout::{Controller, Version},
    subtree::{Branch, Subtree},
};

/// `None` leaves a resource open.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// Swap is off with it.
    pub memory_bytes: Option<u64>,
    pub tasks: Option<u64>,
    /// Thousandths of one CPU.
    pub cpu_millis: Option<u32>,
}

/// `None` is "can't be known here".
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    pub cpu_time: Option<Duration>,
    pub memory_peak_bytes: Option<u64>,
    pub oom_kills: Option<u64>,
    pub tasks_peak: Option<u64>,
    pub task_limit_hits: Option<u64>,
}

/// The period over which CPU bandwidth is counted, in microseconds: the kernel's own default, and its longest for a
/// share that would come to less than the shortest quota it takes, which is 1 ms.
const CPU_PERIOD_US: u64 = 100_000;
const LONG_CPU_PERIOD_US: u64 = 1_000_000;
const SMALL_CPU_MILLIS: u32 = 10;

/// The share of a group that yields, as a part of the usual one: small, and enough not to keep what others wait for.
const YIELDING: u32 = 16;

/// How often a memory limit below what is in use is tried again at what is in use.
const SQUEEZES: u32 = 10;

pub struct Group {
    name: String,
    branches: Arc<Vec<Branch>>,
    directories: Vec<OwnedFd>,
    limits: Limits,
    yields_cpu: bool,
    /// v2: whether a kill for memory takes the whole group. Not where a process of ours in it has to live on and tell.
    dies_whole: bool,
    counters: Counters,
}

/// Files that are read at the end of every run, opened ahead.
#[derive(Default)]
struct Counters {
    cpu: Option<(Version, File)>,
    memory_peak: Option<File>,
    oom: Option<File>,
    tasks_peak: Option<File>,
    task_events: Option<File>,
}

impl Group {
    /// # Errors
    /// On any, nothing is left.
    pub fn create(subtree: &Subtree, name: &str) -> Result<Self> {
        let mut group = Self {
            name: name.to_owned(),
            branches: Arc::clone(&subtree.branches),
            directories: Vec::new(),
            limits: Limits::default(),
            yields_cpu: false,
            dies_whole: true,
            counters: Counters::default(),
        };
        let mut made = 0;
        match group.make(&mut made) {
            Ok(()) => Ok(group),
            Err(error) => {
                // Only what was made here: the name may have been another group's.
                let mut mine = group.branches.iter().take(made);
                mine.try_for_each(|branch| remove(branch.directory.as_fd(), name))?;
                Err(error)
            }
        }
    }

    fn make(&mut self, made: &mut usize) -> Result<()> {
        for branch in self.branches.iter() {
            mkdirat(&branch.directory, self.name.as_str(), Mode::from_bits_truncate(0o755))
                .step("make", &self.name)?;
            *made += 1;
        }
        self.open()
    }

    fn open(&mut self) -> Result<()> {
        for branch in self.branches.iter() {
            self.directories.push(open_directory(branch.directory.as_fd(), &self.name)?);
        }
        self.open_counters()
    }

    fn open_counters(&mut self) -> Result<()> {
        let find = |controller, v1: &str, v2: &str| -> Result<Option<(Version, File)>> {
            let Some((branch, directory)) = self.of(controller) else { return Ok(None) };
            let name = if branch.version == Version::V1 { v1 } else { v2 };
            Ok(open_file(directory, name)?.map(|file| (branch.version, file)))
        };
        let file = |found: Result<Option<(Version, File)>>| found.map(|found| found.map(|(_, file)| file));
        self.counters = Counters {
            cpu: find(Controller::Cpuacct, "cpuacct.usage", "cpu.stat")?,
            memory_peak: file(find(Controller::Memory, "memory.max_usage_in_bytes", "memory.peak"))?,
            oom: file(find(Controller::Memory, "memory.oom_control", "memory.events"))?,
            tasks_peak: file(find(Controller::Pids, "pids.peak", "pids.peak"))?,
            task_events: file(find(Controller::Pids, "pids.events", "pids.events"))?,
        };
        Ok(())
    }

    /// A group that somebody else made and removes, from its directories; `installed` is what it was made with.
    pub(crate) fn of_others(branches: Vec<Branch>, installed: Limits) -> Result<Self> {
        let directories = branches
            .iter()
            .map(|branch| branch.directory.try_clone().step("keep", "a cgroup"))
            .collect::<Result<_>>()?;
        let mut group = Self {
            name: String::new(),
            branches: Arc::new(branches),
            directories,
            limits: installed,
            yields_cpu: false,
            dies_whole: false,
            counters: Counters::default(),
        };
        group.open_counters()?;
        Ok(group)
    }

    /// Of [`Self::usage`] the one figure that somebody watches.
    pub(crate) fn oom_kills(&self) -> Option<u64> {
        self.counters.oom.as_ref().and_then(read_whole).and_then(|text| keyed(&text, "oom_kill"))
    }

    /// Lets the memory peak begin anew. v1 can always; v2 since Linux 6.12, for who writes and reads by one descriptor.
    ///
    /// # Errors
    /// When this kernel, or the file's mode, does not allow it.
    pub(crate) fn reset_memory_peak(&mut self) -> Result<()> {
        let Some((branch, directory)) = self.of(Controller::Memory) else { return Ok(()) };
        if branch.version == Version::V1 {
            return write_file(directory, "memory.max_usage_in_bytes", "0");
        }
        let flags = OFlag::O_RDWR | OFlag::O_CLOEXEC;
        let peak = openat(directory, "memory.peak", flags, Mode::empty()).step("open", "memory.peak")?;
        write(&peak, b"reset").step("write", "memory.peak")?;
        self.counters.memory_peak = Some(File::from(peak));
        Ok(())
    }

    /// Memory that the group holds and can't give back: what its processes have for themselves, files that live in
    /// memory, and the kernel's part. Not in it are cached files, and what the kernel has charged ahead.
    pub(crate) fn held_memory_bytes(&self) -> Option<u64> {
        let (branch, directory) = self.of(Controller::Memory)?;
        let stat = read_file(directory, "memory.stat")?;
        let of = |key: &str| keyed(&stat, key);
        match branch.version {
            Version::V1 => {
                let kernel = read_file(directory, "memory.kmem.usage_in_bytes");
                let kernel = kernel.and_then(|text| text.trim().parse().ok()).unwrap_or(0);
                Some(of("total_rss")? + of("total_shmem").unwrap_or(0) + kernel)
            }
            Version::V2 => {
                // One figure since Linux 5.18.
                let parts = || {
                    let parts = ["kernel_stack", "slab", "pagetables", "percpu"];
                    parts.into_iter().filter_map(of).sum()
                };
                Some(of("anon")? + of("shmem").unwrap_or(0) + of("kernel").unwrap_or_else(parts))
            }
        }
    }

    fn of(&self, controller: Controller) -> Option<(&Branch, BorrowedFd<'_>)> {
        let mut pairs = self.branches.iter().zip(&self.directories);
        pairs
            .find(|(branch, _)| branch.has(controller))
            .map(|(branch, directory)| (branch, directory.as_fd()))
    }

    /// Installs limits, writing only what differs. A controller that is not there is passed over: see
    /// [`Subtree::gap`].
    ///
    /// # Errors
    /// The file that would not take its value.
    pub fn set(&mut self, limits: &Limits) -> Result<()> {
        if limits.memory_bytes != self.limits.memory_bytes {
            self.set_memory(limits.memory_bytes)?;
            self.limits.memory_bytes = limits.memory_bytes;
        }
        if limits.tasks != self.limits.tasks {
            if let Some((_, directory)) = self.of(Controller::Pids) {
                write_file(directory, "pids.max", &number_or(limits.tasks, "max"))?;
            }
            self.limits.tasks = limits.tasks;
        }
        if limits.cpu_millis != self.limits.cpu_millis {
            self.set_cpu(limits.cpu_millis)?;
            self.limits.cpu_millis = limits.cpu_millis;
        }
        Ok(())
    }

    fn set_memory(&self, bytes: Option<u64>) -> Result<()> {
        let Some((branch, directory)) = self.of(Controller::Memory) else { return Ok(()) };
        if branch.version == Version::V2 {
            if self.dies_whole {
                write_file(directory, "memory.oom.group", "1")?;
            }
            ignore_absence(write_file(directory, "memory.swap.max", "0"))?;
            return write_file(directory, "memory.max", &number_or(bytes, "max"));
        }
        let raising = bytes.unwrap_or(u64::MAX) > self.limits.memory_bytes.unwrap_or(u64::MAX);
        let value = number_or(bytes, "-1");
        // Memory with swap may never be less than memory alone. A kernel that does not account for swap has no such
        // file: there the group is kept from swapping in the first place.
        let with_swap = |value: &str| match write_file(directory, "memory.memsw.limit_in_bytes", value) {
            Err(Error { errno: Errno::ENOENT, .. }) => {
                ignore_absence(write_file(directory, "memory.swappiness", "0"))
            }
            other => other,
        };
        if raising {
            with_swap(&value)?;
        }
        let value = match write_file(directory, "memory.limit_in_bytes", &value) {
            Err(Error { errno: Errno::EBUSY, .. }) => squeeze(directory)?,
            other => other.map(|()| value)?,
        };
        if raising { Ok(()) } else { with_swap(&value) }
    }

    fn set_cpu(&self, millis: Option<u32>) -> Result<()> {
        let Some((branch, directory)) = self.of(Controller::Cpu) else { return Ok(()) };
        let small = millis.is_some_and(|millis| millis < SMALL_CPU_MILLIS);
        let period = if small { LONG_CPU_PERIOD_US } else { CPU_PERIOD_US };
        let quota = millis.map(|millis| u64::from(millis) * period / 1000);
        match branch.version {
            Version::V1 => {
                write_file(directory, "cpu.cfs_period_us", &period.to_string())?;
                write_file(directory, "cpu.cfs_quota_us", &number_or(quota, "-1"))
            }
            Version::V2 => write_file(directory, "cpu.max", &format!("{} {period}", number_or(quota, "max"))),
        }
    }

    /// Lets other groups go before this one where CPUs are short, or no longer; without such a controller nothing happens.
    ///
    /// # Errors
    /// The file that would not take its value.
    pub fn yield_cpu(&mut self, yields: bool) -> Result<()> {
        if let Some((branch, directory)) = self.of(Controller::Cpu).filter(|_| yields != self.yields_cpu) {
            let (name, usual) = match branch.version {
                Version::V1 => ("cpu.shares", 1024),
                Version::V2 => ("cpu.weight", 100),
            };
            let weight = if yields { usual / YIELDING } else { usual };
            write_file(directory, name, &weight.to_string())?;
            self.yields_cpu = yields;
        }
        Ok(())
    }

    /// Moves the calling process in, where it was not cloned in: v1 knows no other way. Writing to `tasks` is the
    /// cheap one, right for a process of one thread.
    ///
    /// # Errors
    /// The hierarchy that would not take it.
    pub fn enter(&self) -> Result<()> {
        let mut pairs = self.branches.iter().zip(&self.directories);
        pairs.try_for_each(|(branch, directory)| match branch.version {
            Version::V1 => write_file(directory.as_fd(), "tasks", "0"),
            Version::V2 => Ok(()),
        })
    }

    /// v2, since Linux 5.14: kills every process in it at once, without any of them having to run for that. Where it can't
    /// be done nothing happens: whoever relies on it knows another way.
    pub fn kill(&self) {
        let pairs = self.branches.iter().zip(&self.directories);
        for (_, directory) in pairs.filter(|(branch, _)| branch.version == Version::V2) {
            let _ = write_file(directory.as_fd(), "cgroup.kill", "1");
        }
    }

    /// The v2 directory to clone into (CLONE_INTO_CGROUP), which spares the kernel's costly migration.
    pub fn clone_into(&self) -> Option<BorrowedFd<'_>> {
        let mut pairs = self.branches.iter().zip(&self.directories);
        pairs.find(|(branch, _)| branch.version == Version::V2).map(|(_, directory)| directory.as_fd())
    }

    /// What the group has used so far.
    pub fn usage(&self) -> Usage {
        let text = |file: &Option<File>| file.as_ref().and_then(read_whole);
        let number = |file: &Option<File>| text(file)?.trim().parse().ok();
        let cpu_time = self.counters.cpu.as_ref().and_then(|(version, file)| {
            let text = read_whole(file)?;
            match version {
                Version::V1 => text.trim().parse().ok().map(Duration::from_nanos),
                Version::V2 => keyed(&text, "usage_usec").map(Duration::from_micros),
            }
        });
        Usage {
            cpu_time,
            memory_peak_bytes: number(&self.counters.memory_peak),
            oom_kills: self.oom_kills(),
            tasks_peak: number(&self.counters.tasks_peak),
            task_limit_hits: text(&self.counters.task_events).and_then(|text| keyed(&text, "max")),
        }
    }

    /// v1: an eventfd that becomes readable when memory has run out, shortly before the kernel kills. v2 needs none,
    /// since memory.oom.group makes the kernel kill the whole group.
    ///
    /// # Errors
    /// When it can't be registered.
    pub fn oom_event(&self) -> Result<Option<OwnedFd>> {
        let Some((branch, directory)) = self.of(Controller::Memory) else { return Ok(None) };
        if branch.version == Version::V2 {
            return Ok(None);
        }
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let event = EventFd::from_flags(flags).step("make", "an eventfd")?;
        let Some(control) = open_file(directory, "memory.oom_control")? else { return Ok(None) };
        let line = format!("{} {}", event.as_fd().as_raw_fd(), control.as_raw_fd());
        write_file(directory, "cgroup.event_control", &line)?;
        event.as_fd().try_clone_to_owned().step("keep", "an eventfd").map(Some)
    }

    /// Gives the group back once all of its processes are gone; idempotent.
    ///
    /// # Errors
    /// When it stays busy for a fifth of a second.
    pub fn remove(&mut self) -> Result<()> {
        self.counters = Counters::default();
        self.directories.clear();
        self.branches.iter().try_for_each(|branch| remove(branch.directory.as_fd(), &self.name))
    }
}

/// v1 refuses a limit below what is in use and can't be reclaimed. The sandbox's own few pages are all that is in use
/// before a program starts, so the nearest limit that can be held is just those: the program then meets it at once.
fn squeeze(directory: BorrowedFd) -> Result<String> {
    // What the kernel has charged ahead counts as used until it is asked to give back what it can.
    ignore_absence(write_file(directory, "memory.force_empty", "0"))?;
    let mut last = Errno::EBUSY;
    for _ in 0..SQUEEZES {
        let used = read_file(directory, "memory.usage_in_bytes").unwrap_or_default();
        let used = used.trim().to_owned();
        match write_file(directory, "memory.limit_in_bytes", &used) {
            Ok(()) => return Ok(used),
            Err(error) => last = error.errno,
        }
    }
    Err(last).step("write", "memory.limit_in_bytes")
}

fn number_or(value: Option<u64>, otherwise: &str) -> String {
    value.map_or_else(|| otherwise.to_owned(), |value| value.to_string())
}

fn ignore_absence(result: Result<()>) -> Result<()> {
    match result {
        Err(Error { errno: Errno::ENOENT, .. }) => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests;
