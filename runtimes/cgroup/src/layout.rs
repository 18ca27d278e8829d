//! Where each controller lives on this host, and where our subtree may be: v1 mounts first, v2 for the rest.

use std::{
    collections::BTreeMap,
    fs,
    path::{Component, Path, PathBuf},
};

use nix::unistd::{AccessFlags, access, geteuid};

use crate::error::{Result, Step};

/// Where a daemon in a v2 group of its own goes, so that the group can hand its controllers down.
pub(crate) const LEAF: &str = "daemon";

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Controller {
    Memory,
    Pids,
    Cpu,
    /// CPU time; v2 counts it without a controller.
    Cpuacct,
}

impl Controller {
    pub const ALL: [Self; 4] = [Self::Memory, Self::Pids, Self::Cpu, Self::Cpuacct];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Pids => "pids",
            Self::Cpu => "cpu",
            Self::Cpuacct => "cpuacct",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    V1,
    V2,
}

/// One mounted hierarchy that we use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hierarchy {
    pub version: Version,
    pub controllers: Vec<Controller>,
    /// Where `sandboxd` is made.
    pub base: PathBuf,
    /// v2 below a group of ours: processes may not stay in a group that hands controllers down, so the daemon moves.
    pub move_daemon: bool,
}

#[derive(Debug, Clone)]
pub struct Layout {
    pub(crate) hierarchies: Vec<Hierarchy>,
    /// Why a controller can't be used.
    pub(crate) gaps: BTreeMap<Controller, String>,
}

impl Layout {
    /// Looks at this host.
    ///
    /// # Errors
    /// When /proc can't be read.
    pub fn detect() -> Result<Self> {
        let mounts = fs::read_to_string("/proc/self/mounts").step("read", "/proc/self/mounts")?;
        let own = fs::read_to_string("/proc/self/cgroup").step("read", "/proc/self/cgroup")?;
        let service = std::env::var_os("INVOCATION_ID").is_some();
        Ok(Self::from_parts(&mounts, &own, geteuid().is_root(), service))
    }

    /// From the texts of /proc/self/mounts and /proc/self/cgroup; `service` says that a service manager started us.
    /// Tests pass texts of their own, whose mount points are folders or groups of theirs.
    pub fn from_parts(mounts: &str, own: &str, root: bool, service: bool) -> Self {
        let mut layout = Self { hierarchies: Vec::new(), gaps: BTreeMap::new() };
        let mounts: Vec<Mount> = mounts.lines().filter_map(Mount::parse).collect();
        for mount in mounts.iter().filter(|mount| mount.kind == "cgroup") {
            layout.add_v1(mount);
        }
        if let Some(mount) = mounts.iter().find(|mount| mount.kind == "cgroup2") {
            layout.add_v2(mount, own, root, service);
        }
        for controller in Controller::ALL {
            if layout.hierarchy_of(controller).is_none() {
                let reason = || format!("the kernel's {} controller is not mounted", controller.name());
                layout.gaps.entry(controller).or_insert_with(reason);
            }
        }
        layout
    }

    fn add_v1(&mut self, mount: &Mount) {
        let wanted = |controller: &Controller| {
            mount.options.contains(&controller.name()) && self.hierarchy_of(*controller).is_none()
        };
        let controllers: Vec<_> = Controller::ALL.into_iter().filter(wanted).collect();
        if controllers.is_empty() {
            return;
        }
        if writable(&mount.point) {
            let base = mount.point.clone();
            self.hierarchies.push(Hierarchy { version: Version::V1, controllers, base, move_daemon: false });
        } else {
            let reason = format!("{} (cgroup v1) is not writable: run as root", mount.point.display());
            self.gaps.extend(controllers.into_iter().map(|controller| (controller, reason.clone())));
        }
    }

    fn add_v2(&mut self, mount: &Mount, own: &str, root: bool, service: bool) {
        let path = own.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or("/");
        let group_at = |path: &str| mount.point.join(path.trim_start_matches('/'));
        // Only the real root of the hierarchy has no type, and may hold processes beside groups.
        let is_real_root = |group: &Path| !group.join("cgroup.type").exists();
        let is_ours = |group: &Path| {
            writable(&group.join("cgroup.procs")) && writable(&group.join("cgroup.subtree_control"))
        };
        // We, or a service manager for us, may have stepped aside already: what is handed down is the group above.
        let above = path.strip_suffix(LEAF).and_then(|path| path.strip_suffix('/'));
        let above = above.filter(|path| !is_real_root(&group_at(path)) && is_ours(&group_at(path)));
        let path = above.map_or(path, |path| if path.is_empty() { "/" } else { path });
        let group = group_at(path);
        let offered = fs::read_to_string(mount.point.join("cgroup.controllers")).unwrap_or_default();
        // CPU time is counted in every group.
        let is_offered = |controller: &Controller| {
            *controller == Controller::Cpuacct
                || offered.split_whitespace().any(|word| word == controller.name())
        };
        let open = |controller: &Controller| {
            self.hierarchy_of(*controller).is_none() && !self.gaps.contains_key(controller)
        };
        let (controllers, absent): (Vec<_>, Vec<_>) =
            Controller::ALL.into_iter().filter(open).partition(is_offered);
        for controller in absent {
            let (point, name) = (mount.point.display(), controller.name());
            let reason = format!(
                "{point} (cgroup v2) does not have the {name} controller: is there cgroup_disable={name} on the \
                 kernel's command line?"
            );
            self.gaps.insert(controller, reason);
        }
        if controllers.is_empty() {
            return;
        }
        let (real_root, ours) = (is_real_root(&group), is_ours(&group));
        let in_a_service = service && path.ends_with(".service");
        let (base, move_daemon) = if real_root && root {
            (mount.point.clone(), false)
        } else if ours && (!root || in_a_service || path == "/") {
            (group, true)
        } else if root {
            (mount.point.clone(), false)
        } else {
            let reason = format!(
                "the cgroup {path} is not delegated to this user: start the daemon as a systemd service with \
                 Delegate=yes, or by 'systemd-run --user --scope -p Delegate=yes'"
            );
            self.gaps.extend(controllers.into_iter().map(|controller| (controller, reason.clone())));
            return;
        };
        self.hierarchies.push(Hierarchy { version: Version::V2, controllers, base, move_daemon });
    }

    fn hierarchy_of(&self, controller: Controller) -> Option<&Hierarchy> {
        self.hierarchies.iter().find(|hierarchy| hierarchy.controllers.contains(&controller))
    }

    pub fn version(&self, controller: Controller) -> Option<Version> {
        self.hierarchy_of(controller).map(|hierarchy| hierarchy.version)
    }

    /// One line for a person: `v1: memory, pids; v2: cpu`.
    pub fn describe(&self) -> String {
        let names = |version: Version| {
            let on = |controller: &Controller| self.version(*controller) == Some(version);
            let names: Vec<_> = Controller::ALL.into_iter().filter(on).map(Controller::name).collect();
            names.join(", ")
        };
        let parts = [("v1", names(Version::V1)), ("v2", names(Version::V2))];
        let parts: Vec<_> = parts
            .iter()
            .filter(|(_, names)| !names.is_empty())
            .map(|(version, names)| format!("{version}: {names}"))
            .collect();
        if parts.is_empty() { "none".to_owned() } else { parts.join("; ") }
    }
}

pub(crate) fn writable(path: &Path) -> bool {
    access(path, AccessFlags::W_OK).is_ok()
}

/// A line of /proc/self/mounts, or of /proc/self/mountinfo.
pub(crate) struct Mount<'a> {
    /// The folder of the file system that is seen at `point`, where it is known.
    root: &'a str,
    pub point: PathBuf,
    pub kind: &'a str,
    pub options: Vec<&'a str>,
}

impl<'a> Mount<'a> {
    pub(crate) fn parse(line: &'a str) -> Option<Self> {
        let mut words = line.split(' ');
        let (_, point, kind, options) = (words.next()?, words.next()?, words.next()?, words.next()?);
        Some(Self::new("/", point, kind, options))
    }

    /// proc_pid_mountinfo(5): the options are the file system's own.
    pub(crate) fn parse_info(line: &'a str) -> Option<Self> {
        let (mount, kind) = line.split_once(" - ")?;
        let mut words = mount.split(' ').skip(3);
        let (root, point) = (words.next()?, words.next()?);
        let mut words = kind.split(' ');
        let (kind, _, options) = (words.next()?, words.next()?, words.next()?);
        Some(Self::new(root, point, kind, options))
    }

    fn new(root: &'a str, point: &str, kind: &'a str, options: &'a str) -> Self {
        let point = PathBuf::from(point.replace("\\040", " "));
        Self { root, point, kind, options: options.split(',').collect() }
    }

    /// Where that folder of the file system is seen; `None` where it is not.
    pub(crate) fn below(&self, path: &str) -> Option<PathBuf> {
        let rest = Path::new(path).strip_prefix(self.root).ok()?;
        let inside = rest.components().all(|part| matches!(part, Component::Normal(_)));
        inside.then(|| self.point.join(rest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().unwrap()
    }

    #[test]
    fn v1_with_an_empty_v2_beside_it() {
        let root = folder();
        let path = root.path().display();
        fs::create_dir_all(root.path().join("unified")).unwrap();
        fs::write(root.path().join("unified/cgroup.controllers"), "hugetlb\n").unwrap();
        for name in ["memory", "pids", "cpu,cpuacct"] {
            fs::create_dir_all(root.path().join(name)).unwrap();
        }
        let mounts = format!(
            "cgroup {path}/memory cgroup rw,relatime,memory 0 0\n\
             cgroup {path}/pids cgroup rw,relatime,pids 0 0\n\
             cgroup {path}/cpu,cpuacct cgroup rw,relatime,cpu,cpuacct 0 0\n\
             cgroup2 {path}/unified cgroup2 rw 0 0\n"
        );
        let layout = Layout::from_parts(&mounts, "4:memory:/x\n0::/\n", true, false);
        assert_eq!(layout.describe(), "v1: memory, pids, cpu, cpuacct");
        assert!(layout.gaps.is_empty());
        assert_eq!(layout.hierarchies.len(), 3);
    }

    #[test]
    fn v2_delegated_to_a_service() {
        let root = folder();
        let own = root.path().join("system.slice/sandboxd.service");
        fs::create_dir_all(&own).unwrap();
        fs::write(root.path().join("cgroup.controllers"), "cpuset cpu io memory pids\n").unwrap();
        for name in ["cgroup.type", "cgroup.procs", "cgroup.subtree_control"] {
            fs::write(own.join(name), "").unwrap();
        }
        let mounts = format!("cgroup2 {} cgroup2 rw 0 0\n", root.path().display());
        let text = "0::/system.slice/sandboxd.service\n";
        for (is_root, service) in [(false, true), (false, false), (true, true)] {
            let layout = Layout::from_parts(&mounts, text, is_root, service);
            assert_eq!(layout.hierarchies[0].base, own);
            assert!(layout.hierarchies[0].move_daemon);
            assert_eq!(layout.describe(), "v2: memory, pids, cpu, cpuacct");
        }
        let shell = Layout::from_parts(&mounts, text, true, false);
        assert_eq!(shell.hierarchies[0].base, root.path());
        assert!(!shell.hierarchies[0].move_daemon);
    }

    #[test]
    fn a_daemon_that_stepped_aside_finds_its_group_again() {
        let root = folder();
        let own = root.path().join("system.slice/sandboxd.service");
        fs::create_dir_all(own.join("daemon")).unwrap();
        fs::write(root.path().join("cgroup.controllers"), "cpu memory\n").unwrap();
        for group in [&own, &own.join("daemon")] {
            for name in ["cgroup.type", "cgroup.procs", "cgroup.subtree_control"] {
                fs::write(group.join(name), "").unwrap();
            }
        }
        let mounts = format!("cgroup2 {} cgroup2 rw 0 0\n", root.path().display());
        for (is_root, service) in [(false, false), (true, true)] {
            let layout =
                Layout::from_parts(&mounts, "0::/system.slice/sandboxd.service/daemon\n", is_root, service);
            assert_eq!(layout.hierarchies[0].base, own);
            assert!(layout.hierarchies[0].move_daemon);
            assert!(layout.gaps[&Controller::Pids].contains("cgroup_disable=pids"));
        }
    }

    #[test]
    fn the_top_of_a_cgroup_namespace_belongs_to_its_root() {
        let root = folder();
        fs::write(root.path().join("cgroup.controllers"), "cpu memory pids\n").unwrap();
        for name in ["cgroup.type", "cgroup.procs", "cgroup.subtree_control"] {
            fs::write(root.path().join(name), "").unwrap();
        }
        let mounts = format!("cgroup2 {} cgroup2 rw 0 0\n", root.path().display());
        for path in ["0::/\n", "0::/daemon\n"] {
            let layout = Layout::from_parts(&mounts, path, true, false);
            assert_eq!(layout.hierarchies[0].base.components(), root.path().components());
            assert!(layout.hierarchies[0].move_daemon);
        }
    }

    #[test]
    fn hybrid_takes_from_v2_what_v1_does_not_have() {
        let root = folder();
        for name in ["memory", "unified"] {
            fs::create_dir_all(root.path().join(name)).unwrap();
        }
        fs::write(root.path().join("unified/cgroup.controllers"), "pids hugetlb\n").unwrap();
        let path = root.path().display();
        let mounts = format!(
            "cgroup {path}/memory cgroup rw,memory 0 0\n\
             cgroup {path}/again cgroup rw,memory 0 0\n\
             cgroup2 {path}/unified cgroup2 rw 0 0\n"
        );
        let layout = Layout::from_parts(&mounts, "0::/\n", true, false);
        assert_eq!(layout.describe(), "v1: memory; v2: pids, cpuacct");
        assert_eq!(layout.hierarchies.len(), 2);
        assert!(layout.gaps[&Controller::Cpu].contains("does not have the cpu controller"));
    }

    #[test]
    fn v2_that_is_not_delegated_is_a_gap_with_its_remedy() {
        let root = folder();
        let own = root.path().join("user.slice");
        fs::create_dir_all(&own).unwrap();
        fs::write(root.path().join("cgroup.controllers"), "cpu memory pids\n").unwrap();
        fs::write(own.join("cgroup.type"), "domain").unwrap();
        let mounts = format!("cgroup2 {} cgroup2 rw 0 0\n", root.path().display());
        let layout = Layout::from_parts(&mounts, "0::/user.slice\n", false, false);
        assert!(layout.hierarchies.is_empty());
        assert!(layout.gaps[&Controller::Memory].contains("Delegate=yes"));
    }

    #[test]
    fn nothing_mounted_is_said() {
        let layout = Layout::from_parts("proc /proc proc rw 0 0\n", "", true, false);
        assert_eq!(layout.describe(), "none");
        assert_eq!(layout.gaps.len(), 4);
    }
}
