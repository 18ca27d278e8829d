//! Whose containers are whose. Each daemon has a name of its own, which its containers carry, and holds a lock on a file
//! of that name: the kernel lets go of it however the daemon dies, and a later daemon sees by it what may be removed.
//! What carries a name that is not in this folder belongs to somebody else.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use nix::fcntl::{Flock, FlockArg};
use uuid::Uuid;

pub(crate) struct Owner {
    pub name: String,
    folder: PathBuf,
    _lock: Flock<File>,
}

impl Owner {
    /// A new name, and its lock.
    ///
    /// # Errors
    /// When the file can't be made and locked.
    pub(crate) fn claim(folder: &Path) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let name = Uuid::now_v7().simple().to_string();
        // It gets its name once it is locked: a name without a lock is a dead one's.
        let unnamed = folder.join(format!("new-{name}"));
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unnamed)?;
        let lock = Flock::lock(file, FlockArg::LockExclusiveNonblock)
            .map_err(|(_, errno)| io::Error::from_raw_os_error(errno as i32))?;
        fs::rename(&unnamed, folder.join(&name))?;
        Ok(Self { name, folder: folder.to_owned(), _lock: lock })
    }

    /// Whether `other` was a daemon with this folder, and is dead.
    pub(crate) fn is_dead(&self, other: &str) -> bool {
        // A label is anybody's to write: only what looks like a name of ours becomes a path.
        if other == self.name || Uuid::try_parse(other).is_err() {
            return false;
        }
        let Ok(file) = File::open(self.folder.join(other)) else { return false };
        Flock::lock(file, FlockArg::LockExclusiveNonblock).is_ok()
    }

    /// Removes the names of the dead, once nothing carries them any more.
    pub(crate) fn forget_the_dead(&self) {
        for entry in fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            if entry.file_name().to_str().is_some_and(|name| self.is_dead(name)) {
                // What stays is looked at again by the next daemon.
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    /// Removes the name, once nothing carries it any more.
    ///
    /// # Errors
    /// When the file can't be removed.
    pub(crate) fn resign(&self) -> io::Result<()> {
        match fs::remove_file(self.folder.join(&self.name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_dead_of_this_folder_are_dead() {
        let folder = tempfile::tempdir().unwrap();
        let ours = Owner::claim(folder.path()).unwrap();
        let living = Owner::claim(folder.path()).unwrap();
        let dead = Owner::claim(folder.path()).unwrap().name;
        assert!(ours.is_dead(&dead));
        assert!(!ours.is_dead(&living.name) && !ours.is_dead(&ours.name));
        assert!(!ours.is_dead(&Uuid::now_v7().simple().to_string()));
        assert!(!ours.is_dead("../../etc/passwd") && !ours.is_dead(""));
        ours.forget_the_dead();
        assert!(!folder.path().join(&dead).exists() && folder.path().join(&living.name).exists());
        ours.resign().unwrap();
        ours.resign().unwrap();
        assert!(!folder.path().join(&ours.name).exists());
    }
}
