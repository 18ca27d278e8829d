//! Files that the daemon itself puts into a working directory: for a program whose interpreter waits already, so that no
//! process of its own is left to write them.
//!
//! What is written so is charged to the daemon's memory, not to the program's, until the slot is destroyed. So it is
//! little; for more a program is started in the ordinary way. Nothing foreign has run in the slot yet.

use std::{
    fs::{File as Open, Permissions},
    io::{self, Write},
    os::{
        fd::BorrowedFd,
        unix::fs::{PermissionsExt, fchown},
    },
};

use nix::{
    errno::Errno,
    fcntl::{OFlag, openat},
    sys::stat::{Mode, mkdirat},
};
use sandboxd_contract::File;

/// Of all files together. Little enough to be written without another thread.
const MAX_BYTES: usize = 128 << 10;
const MAX_FILES: usize = 32;

pub(crate) fn is_little(files: &[File]) -> bool {
    files.len() <= MAX_FILES && files.iter().map(|file| file.content.len()).sum::<usize>() <= MAX_BYTES
}

/// # Errors
/// One sentence; half of it stays, for the sandbox is used once.
pub(crate) fn put(work: BorrowedFd, files: &[File], owner: Option<u32>) -> Result<(), String> {
    files
        .iter()
        .try_for_each(|file| put_one(work, file, owner).map_err(|error| format!("{}: {error}", file.path)))
}

fn put_one(work: BorrowedFd, file: &File, owner: Option<u32>) -> io::Result<()> {
    let folder = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    for parent in file.path.parents() {
        match mkdirat(work, parent, Mode::from_bits_truncate(0o755)) {
            Ok(()) => own(Open::from(openat(work, parent, folder, Mode::empty())?), 0o755, owner)?,
            Err(Errno::EEXIST) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_TRUNC | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let mode = if file.executable { 0o755 } else { 0o644 };
    let mut open = Open::from(openat(work, file.path.as_str(), flags, Mode::from_bits_truncate(mode))?);
    open.write_all(&file.content)?;
    own(open, mode, owner)
}

/// The daemon's own umask may be anything.
fn own(open: Open, mode: u32, owner: Option<u32>) -> io::Result<()> {
    open.set_permissions(Permissions::from_mode(mode))?;
    owner.map_or(Ok(()), |owner| fchown(&open, Some(owner), Some(owner)))
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        os::{fd::AsFd, unix::fs::MetadataExt},
    };

    use sandboxd_contract::FilePath;

    use super::*;

    fn file(path: &str, content: &str, executable: bool) -> File {
        File { path: FilePath::parse(path).unwrap(), content: content.to_owned().into(), executable }
    }

    #[test]
    fn files_stand_as_the_program_itself_would_have_made_them() {
        let work = tempfile::tempdir().unwrap();
        let open = Open::open(work.path()).unwrap();
        let files = [file("a/b/c", "1", true), file("a/d", "22", false), file("a/d", "3", false)];
        put(open.as_fd(), &files, None).unwrap();
        let seen = |path: &str| {
            let metadata = fs::metadata(work.path().join(path)).unwrap();
            (metadata.mode() & 0o7777, metadata.len())
        };
        assert_eq!((seen("a").0, seen("a/b").0), (0o755, 0o755));
        assert_eq!((seen("a/b/c"), seen("a/d")), ((0o755, 1), (0o644, 1)));
        let error = put(open.as_fd(), &[file("a/d/e", "", false)], None).unwrap_err();
        assert!(error.starts_with("a/d/e: Not a directory"), "{error}");
    }

    #[test]
    fn much_is_not_little() {
        assert!(is_little(&[file("a", "x", false)]));
        assert!(!is_little(&[file("a", &"x".repeat(MAX_BYTES), false), file("b", "x", false)]));
        assert!(!is_little(&vec![file("a", "", false); MAX_FILES + 1]));
    }
}
