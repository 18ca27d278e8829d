//! The container's file system as programs expect it, before any of them is there: the disk's folders, /tmp, /dev/shm.

use std::{fs, io, os::unix::fs::MetadataExt};

use sandboxd_files::{SHM_DIR, TMP_DIR};
use sandboxd_inside::disk;

use crate::PROGRAM_USER;

/// Makes the folders of the disk and looks that /tmp is on it.
///
/// # Errors
/// One sentence.
pub(crate) fn disk() -> Result<(), String> {
    disk::make_folders(Some(PROGRAM_USER))?;
    if !same_folder("/tmp", TMP_DIR) {
        return Err(format!(
            "this image's /tmp does not lead to {TMP_DIR}: make the image with `sandboxd images build`"
        ));
    }
    if let Err(error) = lead_shared_memory() {
        // Not every program needs it, and the daemon's check of the image shows it.
        eprintln!("sandboxd-agent: /dev/shm does not lead to {SHM_DIR}: {error}");
    }
    Ok(())
}

/// By a link or by a mount.
fn same_folder(path: &str, other: &str) -> bool {
    match (fs::metadata(path), fs::metadata(other)) {
        (Ok(one), Ok(two)) => (one.dev(), one.ino()) == (two.dev(), two.ino()),
        _ => false,
    }
}

/// So that shared memory counts as the sandbox's disk, too. A /dev/shm that is a mount has a size of its own.
fn lead_shared_memory() -> io::Result<()> {
    const SHM: &str = "/dev/shm";
    match fs::remove_dir(SHM) {
        // A mount; or a link, which may lead there already.
        Err(error) if error.kind() == io::ErrorKind::ResourceBusy => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory && same_folder(SHM, SHM_DIR) => {
            return Ok(());
        }
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    std::os::unix::fs::symlink(SHM_DIR, SHM)
}
