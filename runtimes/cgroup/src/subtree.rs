//! The one subtree of a daemon: `sandboxd/<instance>` in every hierarchy in use, locked while the daemon lives.
//!
//! The lock is flock(2) on the group's own directory: the kernel lets go of it when the daemon dies, however it dies,
//! and a later daemon sees by it what may be swept. No file anywhere else is needed for that.

use std::{
    collections::{BTreeMap, BTreeSet},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
    sync::Arc,
    time::Duration,
};

use nix::{
    errno::Errno,
    fcntl::{AT_FDCWD, Flock, FlockArg, OFlag, open, openat},
    sys::stat::{Mode, fstat, mkdirat},
};

use crate::{
    error::{Error, Result, Step},
    files,
    layout::{Controller, Hierarchy, LEAF, Layout, Version},
};

const PARENT: &str = "sandboxd";

/// Tries to make and lock a subtree against another daemon's sweep.
const LOCK_TRIES: u32 = 50;

/// One hierarchy's part of a subtree.
pub(crate) struct Branch {
    pub version: Version,
    pub controllers: Vec<Controller>,
    pub directory: OwnedFd,
}

impl Branch {
    pub(crate) fn has(&self, controller: Controller) -> bool {
        self.controllers.contains(&controller)
    }

    /// What it is, as one byte for another process.
    fn tag(&self) -> u8 {
        let controllers = Controller::ALL.iter().enumerate();
        let bits = controllers.filter(|(_, controller)| self.has(**controller)).map(|(bit, _)| 1_u8 << bit);
        bits.sum::<u8>() | if self.version == Version::V2 { 0x80 } else { 0 }
    }

    fn from_tag(tag: u8, directory: OwnedFd) -> Self {
        let version = if tag & 0x80 == 0 { Version::V1 } else { Version::V2 };
        let controllers = Controller::ALL.into_iter().enumerate();
        let controllers =
            controllers.filter(|(bit, _)| tag & (1 << bit) != 0).map(|(_, controller)| controller);
        Self { version, controllers: controllers.collect(), directory }
    }
}

/// What only the owner has: where the branch hangs, and the lock.
struct Root {
    parent: OwnedFd,
    base: OwnedFd,
    _lock: Flock<OwnedFd>,
}

pub struct Subtree {
    instance: String,
    pub(crate) branches: Arc<Vec<Branch>>,
    roots: Vec<Root>,
    gaps: BTreeMap<Controller, String>,
}

impl Subtree {
    /// Makes and locks `sandboxd/<instance>`. A hierarchy where that fails becomes a gap of its controllers.
    ///
    /// # Errors
    /// Never for a single hierarchy: see [`Subtree::gap`].
    pub fn create(layout: &Layout, instance: &str) -> Result<Self> {
        let mut gaps = layout.gaps.clone();
        let (mut branches, mut roots) = (Vec::new(), Vec::new());
        for hierarchy in &layout.hierarchies {
            match create_branch(hierarchy, instance) {
                Ok((branch, root, missing)) => {
                    gaps.extend(missing);
                    branches.push(branch);
                    roots.push(root);
                }
                Err(error) => {
                    let reason = format!("{}: {error}", hierarchy.base.display());
                    gaps.extend(hierarchy.controllers.iter().map(|controller| (*controller, reason.clone())));
                }
            }
        }
        Ok(Self { instance: instance.to_owned(), branches: Arc::new(branches), roots, gaps })
    }

    /// Why a controller can't be used, or `None` when it can.
    pub fn gap(&self, controller: Controller) -> Option<String> {
        self.gaps.get(&controller).cloned()
    }

    /// The directories, for a process that shall make groups in them; see [`Subtree::import`].
    pub fn export(&self) -> Vec<(u8, BorrowedFd<'_>)> {
        self.branches.iter().map(|branch| (branch.tag(), branch.directory.as_fd())).collect()
    }

    /// The subtree as another process sees it: without the lock, and not its to remove.
    ///
    /// # Errors
    /// None so far.
    pub fn import(tagged: Vec<(u8, OwnedFd)>) -> Result<Self> {
        let branches = tagged.into_iter().map(|(tag, directory)| Branch::from_tag(tag, directory)).collect();
        Ok(Self {
            instance: String::new(),
            branches: Arc::new(branches),
            roots: Vec::new(),
            gaps: BTreeMap::new(),
        })
    }

    /// Kills and removes every group in it whose name begins with `prefix`.
    ///
    /// # Errors
    /// The first group that would not go.
    pub fn clear(&self, prefix: &str) -> Result<()> {
        for branch in self.branches.iter() {
            for child in files::children(branch.directory.as_fd())? {
                if child.starts_with(prefix) {
                    files::remove_tree(branch.directory.as_fd(), &child)?;
                }
            }
        }
        Ok(())
    }

    /// Kills and removes everything, the subtree itself included; idempotent.
    ///
    /// # Errors
    /// The first group that would not go.
    pub fn remove(&self) -> Result<()> {
        for root in &self.roots {
            files::remove_tree(root.parent.as_fd(), &self.instance)?;
            // The last of us takes the common parent along; other daemons' subtrees keep it.
            let _ = nix::unistd::unlinkat(&root.base, PARENT, nix::unistd::UnlinkatFlags::RemoveDir);
        }
        Ok(())
    }
}

fn create_branch(
    hierarchy: &Hierarchy,
    instance: &str,
) -> Result<(Branch, Root, BTreeMap<Controller, String>)> {
    let base = open_path(&hierarchy.base)?;
    if hierarchy.move_daemon {
        move_to_leaf(&base)?;
    }
    let mut missing = BTreeMap::new();
    if hierarchy.version == Version::V2 {
        missing.extend(hand_down(&base, hierarchy));
    }
    for _ in 0..LOCK_TRIES {
        make_directory(base.as_fd(), PARENT)?;
        let made = files::open_directory(base.as_fd(), PARENT).and_then(|parent| {
            make_directory(parent.as_fd(), instance)?;
            let directory = files::open_directory(parent.as_fd(), instance)?;
            Ok((parent, directory))
        });
        let (parent, directory) = match made {
            // Another daemon's end took the parent away in between.
            Err(Error { errno: Errno::ENOENT, .. }) => continue,
            other => other?,
        };
        let Some(lock) = lock(&parent, instance, &directory)? else {
            std::thread::sleep(Duration::from_millis(1));
            continue;
        };
        if hierarchy.version == Version::V2 {
            hand_down(&parent, hierarchy);
            missing.extend(hand_down(&directory, hierarchy));
        }
        let controllers = hierarchy
            .controllers
            .iter()
            .copied()
            .filter(|controller| !missing.contains_key(controller))
            .collect();
        let branch = Branch { version: hierarchy.version, controllers, directory };
        return Ok((branch, Root { parent, base, _lock: lock }, missing));
    }
    Err(Errno::EAGAIN).step("lock", instance)
}

fn open_path(path: &Path) -> Result<OwnedFd> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    open(path, flags, Mode::empty()).step("open", &path.display().to_string())
}

fn make_directory(parent: BorrowedFd, name: &str) -> Result<()> {
    match mkdirat(parent, name, Mode::from_bits_truncate(0o755)) {
        Ok(()) | Err(Errno::EEXIST) => Ok(()),
        Err(errno) => Err(errno).step("make", name),
    }
}

/// `None` when a sweep holds it, or has just removed it.
fn lock(parent: &OwnedFd, instance: &str, directory: &OwnedFd) -> Result<Option<Flock<OwnedFd>>> {
    // A description of its own, so that no descriptor that is passed on carries the lock.
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let own = openat(directory, ".", flags, Mode::empty()).step("open", instance)?;
    let Ok(lock) = Flock::lock(own, FlockArg::LockExclusiveNonblock) else { return Ok(None) };
    let same = |now: OwnedFd| {
        fstat(&now).ok().map(|stat| stat.st_ino) == fstat(directory).ok().map(|stat| stat.st_ino)
    };
    let still_there = files::open_directory(parent.as_fd(), instance).is_ok_and(same);
    Ok(still_there.then_some(lock))
}

/// Moves this process out of a v2 group that shall hand its controllers down, if it is in there.
fn move_to_leaf(base: &OwnedFd) -> Result<()> {
    let own = i32::try_from(std::process::id()).unwrap_or(0);
    if !files::processes(base.as_fd()).contains(&own) {
        return Ok(());
    }
    make_directory(base.as_fd(), LEAF)?;
    let leaf = files::open_directory(base.as_fd(), LEAF)?;
    files::write_file(leaf.as_fd(), "cgroup.procs", "0")
}

/// Lets the groups below have the controllers; one by one, since one that can't be had must not hide the others.
fn hand_down(directory: &OwnedFd, hierarchy: &Hierarchy) -> BTreeMap<Controller, String> {
    let handed = hierarchy.controllers.iter().filter(|controller| **controller != Controller::Cpuacct);
    handed
        .filter_map(|controller| {
            let word = format!("+{}", controller.name());
            let error = files::write_file(directory.as_fd(), "cgroup.subtree_control", &word).err()?;
            let why = match error.errno {
                Errno::EBUSY => " (other processes live in the daemon's group)",
                Errno::ENOENT => " (the daemon's group was not given it: name it in Delegate=)",
                _ => "",
            };
            Some((*controller, format!("hand the {} controller down: {error}{why}", controller.name())))
        })
        .collect()
}

/// What a sweep found and removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Swept {
    /// Sandboxes.
    pub groups: usize,
    pub processes: usize,
}

/// Removes the subtrees of daemons that are dead: those whose lock is free. Idempotent.
///
/// # Errors
/// The first group that would not go; all others are gone.
pub fn sweep(layout: &Layout) -> Result<Swept> {
    let (mut groups, mut processes) = (BTreeSet::new(), BTreeSet::new());
    let mut first_error = None;
    for hierarchy in &layout.hierarchies {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let parent = match openat(AT_FDCWD, &hierarchy.base.join(PARENT), flags, Mode::empty()) {
            Ok(parent) => parent,
            Err(Errno::ENOENT) => continue,
            Err(errno) => return Err(errno).step("open", &hierarchy.base.join(PARENT).display().to_string()),
        };
        for instance in files::children(parent.as_fd())? {
            match sweep_one(&parent, &instance) {
                Ok((met, below)) => {
                    processes.extend(met);
                    groups.extend(below.into_iter().map(|group| (instance.clone(), group)));
                }
                // One process that hangs in the kernel must not keep the rest of the host from being cleaned.
                Err(error) => {
                    first_error.get_or_insert(error);
                }
            }
        }
    }
    match first_error {
        None => Ok(Swept { groups: groups.len(), processes: processes.len() }),
        Some(error) => Err(error),
    }
}

/// The pids and the groups that were in a dead daemon's directory; nothing if it is gone or its daemon lives.
fn sweep_one(parent: &OwnedFd, instance: &str) -> Result<(Vec<i32>, Vec<String>)> {
    let directory = match files::open_directory(parent.as_fd(), instance) {
        Err(Error { errno: Errno::ENOENT, .. }) => return Ok((Vec::new(), Vec::new())),
        other => other?,
    };
    // Held while it is removed, so that nobody takes it for his own meanwhile.
    match Flock::lock(directory, FlockArg::LockExclusiveNonblock) {
        Ok(_lock) => files::remove_tree(parent.as_fd(), instance),
        Err(_) => Ok((Vec::new(), Vec::new())),
    }
}

#[cfg(test)]
mod tests;
