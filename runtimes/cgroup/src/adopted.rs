//! The group of a process that somebody else put there, such as a container engine: read, and limited where that is
//! allowed, but neither made nor removed here.

use std::{
    fs,
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    fcntl::{OFlag, open},
    sys::stat::Mode,
    unistd::read,
};

use crate::{
    error::{Error, Result, Step},
    files::open_file,
    group::{Group, Limits, Usage},
    layout::{Controller, Mount, Version, writable},
    subtree::Branch,
};

/// v1 says so much where there is no limit: the largest number of pages that a counter holds.
const NO_LIMIT_BYTES: u64 = 1 << 60;

/// Another's group. Once it is removed, its counters can't be read any more.
pub struct Adopted {
    group: Group,
    heard: Option<Heard>,
}

/// v1's signals of memory that ran out, which outlive the group: one for each time, and one more when the group goes
/// (Documentation/admin-guide/cgroup-v1/memory.rst, sections 9 and 10; `memcg_event_remove` in mm/memcontrol-v1.c).
struct Heard {
    event: OwnedFd,
    signals: u64,
    kills_before: u64,
}

impl Heard {
    /// Of a group that is gone, how many processes were killed for memory at least; `None` as long as its end is not heard.
    fn oom_kills(&mut self) -> Option<u64> {
        let mut count = [0; 8];
        // EAGAIN: nothing new.
        if read(&self.event, &mut count) == Ok(count.len()) {
            self.signals += u64::from_ne_bytes(count);
        }
        let times = self.signals.checked_sub(1)?;
        // One signal is the end's, or that of memory with the end's still on its way.
        (times > 0).then_some(self.kills_before + times)
    }
}

impl Adopted {
    /// The group of process `pid`, which was made with the limits `installed`.
    ///
    /// # Errors
    /// When there is no such process, or its groups can't be seen from here.
    pub fn of_process(pid: i32, installed: Limits) -> Result<Self> {
        let mounts = fs::read_to_string("/proc/self/mountinfo").step("read", "/proc/self/mountinfo")?;
        let path = format!("/proc/{pid}/cgroup");
        let groups = fs::read_to_string(&path).step("read", &path)?;
        Self::from_parts(&mounts, &groups, installed)
    }

    /// From the texts of /proc/self/mountinfo and /proc/<pid>/cgroup. In a cgroup namespace both may begin with `/..`, and
    /// what they have in common is where the mount begins: cgroup_namespaces(7).
    ///
    /// # Errors
    /// When one of the directories can't be opened.
    pub fn from_parts(mounts: &str, groups: &str, installed: Limits) -> Result<Self> {
        let mut branches = Vec::new();
        for (version, controllers, path) in places(mounts, groups) {
            let directory = open_folder(&path)?;
            // Of v2, only what is enabled for this group; CPU time is counted in any.
            let counted = |controller: &Controller| match (version, controller) {
                (Version::V1, _) | (Version::V2, Controller::Cpuacct) => true,
                (Version::V2, Controller::Memory) => has(&directory, "memory.current"),
                (Version::V2, Controller::Pids) => has(&directory, "pids.current"),
                (Version::V2, Controller::Cpu) => has(&directory, "cpu.max"),
            };
            let controllers = controllers.into_iter().filter(counted).collect();
            branches.push(Branch { version, controllers, directory });
        }
        Ok(Self { group: Group::of_others(branches, installed)?, heard: None })
    }

    /// Whether this process may write limits into groups that others have made; where /proc can't be read, it may not.
    pub fn can_be_limited() -> bool {
        fs::read_to_string("/proc/self/mounts").is_ok_and(|mounts| writes_memory(&mounts))
    }

    /// From now on, kills for memory are known even when the group goes right after them, where the kernel tells: on v1,
    /// and only whom it lets write there.
    ///
    /// # Errors
    /// When it should, and does not.
    pub fn listen(&mut self) -> Result<()> {
        let event = match self.group.oom_event() {
            Err(error) if error.errno == Errno::EACCES => None,
            event => event?,
        };
        let kills_before = self.group.oom_kills().unwrap_or(0);
        self.heard = event.map(|event| Heard { event, signals: 0, kills_before });
        Ok(())
    }

    pub fn usage(&mut self) -> Usage {
        let usage = self.group.usage();
        Usage { oom_kills: usage.oom_kills.or_else(|| self.heard_kills()), ..usage }
    }

    /// Memory that the group holds and can't give back, without cached files.
    pub fn held_memory_bytes(&self) -> Option<u64> {
        self.group.held_memory_bytes()
    }

    /// Installs limits, writing only what differs from those it has. Swap is off with a memory limit.
    ///
    /// # Errors
    /// The file that would not take its value: EACCES where this process may not write it.
    pub fn set(&mut self, limits: &Limits) -> Result<()> {
        self.group.set(limits)
    }

    /// How many processes of the group the kernel has killed for memory.
    pub fn oom_kills(&mut self) -> Option<u64> {
        self.group.oom_kills().or_else(|| self.heard_kills())
    }

    fn heard_kills(&mut self) -> Option<u64> {
        self.heard.as_mut()?.oom_kills()
    }

    /// Lets the memory peak begin anew, from what is in use now.
    ///
    /// # Errors
    /// When this kernel, or the file's mode, does not allow it.
    pub fn reset_memory_peak(&mut self) -> Result<()> {
        self.group.reset_memory_peak()
    }
}

/// The least of the memory limits that this process's groups are under, in bytes; `None` without any, or where it can't be
/// read.
pub fn own_memory_limit_bytes() -> Option<u64> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    memory_limit(&mounts, &groups)
}

/// v1 sums up what is above; on v2 each group up to the top has its own: Documentation/admin-guide/cgroup-v2.rst.
fn memory_limit(mounts: &str, groups: &str) -> Option<u64> {
    let (version, _, folder) = places(mounts, groups)
        .into_iter()
        .find(|(_, controllers, _)| controllers.contains(&Controller::Memory))?;
    let text = |path: PathBuf| fs::read_to_string(path).ok();
    match version {
        Version::V1 => {
            let statistics = text(folder.join("memory.stat"))?;
            let line = statistics.lines().find_map(|line| line.strip_prefix("hierarchical_memory_limit "))?;
            line.parse().ok().filter(|bytes| *bytes < NO_LIMIT_BYTES)
        }
        Version::V2 => folder
            .ancestors()
            .map_while(|folder| text(folder.join("memory.max")))
            .filter_map(|text| text.trim().parse().ok())
            .min(),
    }
}

/// Where the controllers of these groups are: each v1 hierarchy, then v2 for the rest. What does not lie below a mount is
/// not seen from here. A later mount may hide an earlier one at the same place.
fn places(mounts: &str, groups: &str) -> Vec<(Version, Vec<Controller>, PathBuf)> {
    let mut places = Vec::new();
    let mut open: Vec<Controller> = Controller::ALL.to_vec();
    let mounts: Vec<Mount> = mounts.lines().rev().filter_map(Mount::parse_info).collect();
    for mount in mounts.iter().filter(|mount| mount.kind == "cgroup") {
        let here: Vec<_> =
            open.iter().copied().filter(|controller| mount.options.contains(&controller.name())).collect();
        let Some(first) = here.first() else { continue };
        let path = path_of(groups, |names| names.split(',').any(|name| name == first.name()));
        if let Some(path) = path.and_then(|path| mount.below(path)) {
            open.retain(|controller| !here.contains(controller));
            places.push((Version::V1, here, path));
        }
    }
    if open.is_empty() {
        return places;
    }
    let path = path_of(groups, str::is_empty);
    let mut v2 = mounts.iter().filter(|mount| mount.kind == "cgroup2");
    if let Some(path) = path.and_then(|path| v2.find_map(|mount| mount.below(path))) {
        places.push((Version::V2, open, path));
    }
    places
}

/// From the text of /proc/self/mounts: the memory controller's, which is v1's where that has it. Asked of a file, since the
/// folder itself is closed to a root without capabilities, and its files are not.
fn writes_memory(mounts: &str) -> bool {
    let mounts: Vec<Mount> = mounts.lines().filter_map(Mount::parse).collect();
    let v1 = mounts.iter().find(|mount| mount.kind == "cgroup" && mount.options.contains(&"memory"));
    let v2 = || mounts.iter().find(|mount| mount.kind == "cgroup2");
    v1.or_else(v2).is_some_and(|mount| writable(&mount.point.join("cgroup.procs")))
}

/// The path in the line whose controllers are the ones that are looked for.
fn path_of(groups: &str, is_it: impl Fn(&str) -> bool) -> Option<&str> {
    groups.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (names, path) = (parts.next()?, parts.next()?);
        is_it(names).then_some(path)
    })
}

fn open_folder(path: &Path) -> Result<OwnedFd> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    open(path, flags, Mode::empty()).map_err(|errno| Error {
        operation: "open",
        path: path.display().to_string(),
        errno,
    })
}

fn has(directory: &OwnedFd, name: &str) -> bool {
    matches!(open_file(directory.as_fd(), name), Ok(Some(_)))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn v1_groups_are_found_by_their_controllers() {
        let root = tempfile::tempdir().unwrap();
        let point = root.path().display();
        let mounts = format!(
            "30 1 0:1 / {point}/memory rw,nosuid shared:9 - cgroup cgroup rw,memory\n\
             31 1 0:2 / {point}/cpu,cpuacct rw,nosuid - cgroup cgroup rw,cpu,cpuacct\n\
             32 1 0:3 / {point}/unified rw - cgroup2 cgroup2 rw\n"
        );
        let groups = "5:cpu,cpuacct:/docker/x\n4:memory:/docker/x\n0::/\n";
        for name in ["memory/docker/x", "cpu,cpuacct/docker/x", "unified"] {
            fs::create_dir_all(root.path().join(name)).unwrap();
        }
        let write = |name: &str, text: &str| fs::write(root.path().join(name), text).unwrap();
        write("memory/docker/x/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n");
        write("memory/docker/x/memory.kmem.usage_in_bytes", "96\n");
        write("memory/docker/x/memory.stat", "rss 1\ntotal_cache 900\ntotal_rss 3000\ntotal_shmem 1000\n");
        write("cpu,cpuacct/docker/x/cpuacct.usage", "7000\n");
        let mut adopted = Adopted::from_parts(&mounts, groups, Limits::default()).unwrap();
        let usage = adopted.usage();
        assert_eq!((usage.oom_kills, usage.cpu_time), (Some(2), Some(Duration::from_nanos(7000))));
        assert_eq!((adopted.held_memory_bytes(), usage.tasks_peak), (Some(4096), None));
    }

    #[test]
    fn v2_limits_leave_whoever_tells_of_the_end_alive() {
        let root = tempfile::tempdir().unwrap();
        let group = root.path().join("system.slice/docker-x.scope");
        fs::create_dir_all(&group).unwrap();
        for name in ["memory.current", "memory.max", "memory.swap.max", "memory.oom.group", "pids.current"] {
            fs::write(group.join(name), "").unwrap();
        }
        let mounts = format!("32 1 0:3 / {} rw - cgroup2 cgroup2 rw\n", root.path().display());
        let groups = "0::/system.slice/docker-x.scope\n";
        let installed = Limits { memory_bytes: Some(1), ..Limits::default() };
        let mut adopted = Adopted::from_parts(&mounts, groups, installed).unwrap();
        adopted.set(&Limits { memory_bytes: Some(65536), ..Limits::default() }).unwrap();
        let text = |name: &str| fs::read_to_string(group.join(name)).unwrap();
        assert_eq!((text("memory.max"), text("memory.oom.group")), ("65536".to_owned(), String::new()));
    }

    #[test]
    fn a_group_outside_of_our_namespace_is_found_below_the_hosts_mount() {
        let root = tempfile::tempdir().unwrap();
        let point = root.path().display();
        let mounts = format!(
            "31 1 0:3 /../../.. {point}/host ro - cgroup2 cgroup2 rw\n\
             32 1 0:3 / {point}/own ro - cgroup2 cgroup2 rw\n"
        );
        let place = |groups: &str| places(&mounts, groups).pop().map(|(.., path)| path);
        assert_eq!(place("0::/../../../sandboxd/x\n"), Some(root.path().join("host/sandboxd/x")));
        assert_eq!(place("0::/x\n"), Some(root.path().join("own/x")));
        assert_eq!(place("0::/../../x\n"), None);
    }

    #[test]
    fn whether_limits_can_be_written_is_asked_of_the_mount() {
        let root = tempfile::tempdir().unwrap();
        let here = root.path().display();
        assert!(!writes_memory(&format!("cgroup2 {here} cgroup2 rw 0 0\n")), "no cgroup");
        fs::write(root.path().join("cgroup.procs"), "").unwrap();
        assert!(writes_memory(&format!("cgroup2 {here} cgroup2 rw 0 0\n")));
        let gone = format!("cgroup {here}/gone cgroup rw,memory 0 0\ncgroup2 {here} cgroup2 rw 0 0\n");
        assert!(!writes_memory(&gone), "what v1 has, v2 has not");
        assert!(!writes_memory("tmpfs /tmp tmpfs rw 0 0\n"));
    }

    #[test]
    fn a_process_is_under_the_least_limit_above_it() {
        let root = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("a.slice/memory.max", "4096\n");
        write("a.slice/b.service/memory.max", "max\n");
        write("a.slice/c.service/memory.max", "1024\n");
        let v2 = format!("32 1 0:3 / {} rw - cgroup2 cgroup2 rw\n", root.path().display());
        assert_eq!(memory_limit(&v2, "0::/a.slice/b.service\n"), Some(4096));
        assert_eq!(memory_limit(&v2, "0::/a.slice/c.service\n"), Some(1024));
        assert_eq!(memory_limit(&v2, "0::/\n"), None);
        write("memory/x/memory.stat", "cache 1\nhierarchical_memory_limit 2048\n");
        write("memory/y/memory.stat", "hierarchical_memory_limit 9223372036854771712\n");
        let v1 = format!("30 1 0:1 / {}/memory rw - cgroup cgroup rw,memory\n", root.path().display());
        assert_eq!(memory_limit(&v1, "4:memory:/x\n"), Some(2048));
        assert_eq!(memory_limit(&v1, "4:memory:/y\n"), None);
    }

    #[test]
    fn a_process_that_is_gone_has_no_group() {
        assert!(Adopted::of_process(i32::MAX, Limits::default()).is_err());
    }
}
