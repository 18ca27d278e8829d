//! Whose containers are whose. Each daemon has a name of its own, which its containers carry, and holds a lock on a file
//! of that name: the kernel lets go of it however the daemon dies, and a later daemon sees by it what may be removed.
//! What carries a name that is not in this folder belongs to somebody else. The file says which engine has what carries
//! its name: only who has looked there may forget it.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use nix::fcntl::{Flock, FlockArg};
use uuid::Uuid;

pub(crate) struct Owner {
    pub name: String,
    engine: String,
    folder: PathBuf,
    _lock: Flock<File>,
}

impl Owner {
    /// A new name for what `engine` will hold, and its lock.
    ///
    /// # Errors
    /// When the file can't be made and locked.
    pub(crate) fn claim(folder: &Path, engine: &str) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let name = Uuid::now_v7().simple().to_string();
        // It gets its name once it is locked: a name without a lock is a dead one's.
        let unnamed = folder.join(format!("new-{name}"));
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unnamed)?;
        (&file).write_all(engine.as_bytes())?;
        let lock = Flock::lock(file, FlockArg::LockExclusiveNonblock)
            .map_err(|(_, errno)| io::Error::from_raw_os_error(errno as i32))?;
        fs::rename(&unnamed, folder.join(&name))?;
        Ok(Self { name, engine: engine.to_owned(), folder: folder.to_owned(), _lock: lock })
    }

    /// The names of daemons that had this folder, and are dead.
    pub(crate) fn the_dead(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        entries
            .filter_map(|entry| entry.file_name().into_string().ok())
            .filter(|name| self.is_dead(name))
            .collect()
    }

    fn is_dead(&self, other: &str) -> bool {
        // What is still being named is neither.
        if other == self.name || Uuid::try_parse(other).is_err() {
            return false;
        }
        let Ok(file) = File::open(self.folder.join(other)) else { return false };
        Flock::lock(file, FlockArg::LockExclusiveNonblock).is_ok()
    }

    /// Removes the names of the dead, once this engine has nothing more of theirs.
    pub(crate) fn forget(&self, dead: &[String]) {
        for path in dead.iter().map(|name| self.folder.join(name)) {
            if fs::read_to_string(&path).is_ok_and(|engine| engine == self.engine) {
                // What stays is looked at again by the next daemon.
                let _ = fs::remove_file(path);
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
        let ours = Owner::claim(folder.path(), "here").unwrap();
        let living = Owner::claim(folder.path(), "here").unwrap();
        let dead = Owner::claim(folder.path(), "here").unwrap().name;
        let elsewhere = Owner::claim(folder.path(), "elsewhere").unwrap().name;
        fs::write(folder.path().join("note"), "").unwrap();
        let mut found = ours.the_dead();
        found.sort();
        assert_eq!(found, [dead.clone(), elsewhere.clone()]);
        ours.forget(&ours.the_dead());
        assert!(!folder.path().join(&dead).exists());
        assert!(folder.path().join(&elsewhere).exists() && folder.path().join(&living.name).exists());
        ours.resign().unwrap();
        ours.resign().unwrap();
        assert!(!folder.path().join(&ours.name).exists());
    }
}
