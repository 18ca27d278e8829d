//! The cgroup of a container, as containerd is told to make it, and what is left of it: one folder with owner and name
//! below `sandboxd-containerd` in every hierarchy of this host. Under systemd's driver it is a scope, which systemd
//! removes by itself.
//!
//! Deliberately absent: reading counters, which the caller of the backend does.

use std::{
    collections::BTreeSet,
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use nix::{
    errno::Errno,
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::CgroupDriver;

/// Where hierarchies are mounted on every Linux that we know.
pub(crate) const ROOT: &str = "/sys/fs/cgroup";
const SUBTREE: &str = "sandboxd-containerd";
/// A folder is busy for a moment after its last process was killed.
const REMOVE_TRIES: u32 = 50;
const REMOVE_PAUSE: Duration = Duration::from_millis(10);

/// `linux.cgroupsPath`, in the form that the driver reads.
pub(crate) fn path(driver: CgroupDriver, owner: &str, name: &str) -> String {
    match driver {
        CgroupDriver::Cgroupfs => format!("/{SUBTREE}/{}", folder_name(owner, name)),
        CgroupDriver::Systemd => format!("{SUBTREE}.slice:{owner}:{name}"),
    }
}

/// Makes what all our groups of v2 are below, where it is not there. Whoever makes it takes it for a container's own: gVisor
/// waits at that container's end for it to be empty of all others, in vain, and then gives up.
pub(crate) fn make_subtree(driver: CgroupDriver, root: &Path) {
    if driver == CgroupDriver::Systemd || !is_unified(root) {
        return;
    }
    match std::fs::create_dir(root.join(SUBTREE)) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            tracing::debug!(%error, "the engine has to make {SUBTREE}");
        }
        _ => {}
    }
}

/// Removes what is left of a container's cgroup, and whoever still lives in it. Blocks for half a second at most.
pub(crate) fn remove(root: &Path, owner: &str, name: &str) -> io::Result<()> {
    let folder = folder_name(owner, name);
    let all = subtrees(root).into_iter().map(|subtree| remove_one(&subtree.join(&folder)));
    all.fold(Ok(()), io::Result::and)
}

/// Owner and name of every container that has a cgroup, at most `max`. Blocks.
pub(crate) fn list(root: &Path, max: usize) -> Vec<(String, String)> {
    let names: BTreeSet<_> = subtrees(root).iter().flat_map(|subtree| children(subtree)).collect();
    names.iter().filter_map(|name| of_folder(name)).take(max).collect()
}

/// What the folders of a container are called, here and in the state folder. A sandbox's name and a daemon's have no
/// such dot.
pub(crate) fn folder_name(owner: &str, name: &str) -> String {
    format!("{owner}.{name}")
}

/// Owner and name.
pub(crate) fn of_folder(folder: &str) -> Option<(String, String)> {
    let (owner, name) = folder.split_once('.')?;
    (!owner.is_empty() && !name.is_empty()).then(|| (owner.to_owned(), name.to_owned()))
}

/// Whether this host has the unified hierarchy, and whether memory and swap can be limited together.
pub(crate) fn examine(root: &Path) -> (bool, bool) {
    if is_unified(root) {
        return (true, true);
    }
    (false, root.join("memory/memory.memsw.limit_in_bytes").exists())
}

fn is_unified(root: &Path) -> bool {
    root.join("cgroup.controllers").exists()
}

fn remove_one(folder: &Path) -> io::Result<()> {
    for _ in 0..REMOVE_TRIES {
        match std::fs::remove_dir(folder) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) if error.raw_os_error() == Some(Errno::EBUSY as i32) => {}
            Err(error) => return Err(error),
        }
        kill_all(folder);
        std::thread::sleep(REMOVE_PAUSE);
    }
    Err(io::Error::other(format!("{} stays busy", folder.display())))
}

fn kill_all(folder: &Path) {
    let Ok(list) = std::fs::read_to_string(folder.join("cgroup.procs")) else { return };
    // 0 is somebody of another process namespace: to kill(2) it would be our own group.
    for pid in list.lines().filter_map(|line| line.parse().ok()).filter(|pid: &i32| *pid > 1) {
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
}

/// Ours in every hierarchy, whether it is there or not.
fn subtrees(root: &Path) -> Vec<PathBuf> {
    hierarchies(root).into_iter().map(|hierarchy| hierarchy.join(SUBTREE)).collect()
}

/// v2 is mounted at the root itself; the hierarchies of v1 and of a hybrid host are its children.
fn hierarchies(root: &Path) -> Vec<PathBuf> {
    if root.join("cgroup.procs").exists() {
        return vec![root.to_owned()];
    }
    children(root).into_iter().map(|name| root.join(name)).collect()
}

fn children(folder: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    entries
        .filter_map(Result::ok)
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hybrid() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for hierarchy in ["memory", "pids", "unified"] {
            std::fs::create_dir_all(root.path().join(hierarchy).join(SUBTREE).join("house.one")).unwrap();
        }
        root
    }

    #[test]
    fn both_drivers_forms() {
        assert_eq!(path(CgroupDriver::Cgroupfs, "house", "one"), "/sandboxd-containerd/house.one");
        assert_eq!(path(CgroupDriver::Systemd, "house", "one"), "sandboxd-containerd.slice:house:one");
    }

    #[test]
    fn what_they_are_below_is_made_where_an_engine_would_take_it_for_a_containers() {
        let v1 = tempfile::tempdir().unwrap();
        let v2 = tempfile::tempdir().unwrap();
        std::fs::write(v2.path().join("cgroup.controllers"), "memory pids\n").unwrap();
        make_subtree(CgroupDriver::Cgroupfs, v1.path());
        make_subtree(CgroupDriver::Systemd, v2.path());
        assert!(!v1.path().join(SUBTREE).exists() && !v2.path().join(SUBTREE).exists());
        make_subtree(CgroupDriver::Cgroupfs, v2.path());
        make_subtree(CgroupDriver::Cgroupfs, v2.path());
        assert!(v2.path().join(SUBTREE).is_dir());
    }

    #[test]
    fn what_is_left_is_found_once_and_removed_everywhere() {
        let root = hybrid();
        assert_eq!(list(root.path(), 10), [("house".to_owned(), "one".to_owned())]);
        remove(root.path(), "house", "one").unwrap();
        remove(root.path(), "house", "one").unwrap();
        assert!(list(root.path(), 10).is_empty());
    }

    #[test]
    fn versions() {
        let root = hybrid();
        assert_eq!(examine(root.path()), (false, false));
        std::fs::write(root.path().join("memory/memory.memsw.limit_in_bytes"), "").unwrap();
        assert_eq!(examine(root.path()), (false, true));
        std::fs::write(root.path().join("cgroup.controllers"), "").unwrap();
        assert_eq!(examine(root.path()), (true, true));
    }
}
