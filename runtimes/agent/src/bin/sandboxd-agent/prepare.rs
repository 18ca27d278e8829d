//! The container as programs shall find it, before any of them is there: the line to the daemon, the disk's folders,
//! /tmp, /dev/shm.

use std::{fs, io};

use nix::sys::stat::{FileStat, Mode, SFlag, fstat, stat};
use sandboxd_files::{SHM_DIR, TMP_DIR};
use sandboxd_inside::disk;

use crate::{PROGRAM_USER, complain};

/// Looks that the pipes to and from the daemon are not the program's to open. On Linux nobody gets through
/// /proc/1/fd; in gVisor only the pipe's own mode keeps a program from writing frames.
///
/// # Errors
/// One sentence.
pub(crate) fn line() -> Result<(), String> {
    let open_to_others = |stat: FileStat| {
        let pipe = SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT == SFlag::S_IFIFO;
        pipe && (stat.st_uid == PROGRAM_USER || stat.st_mode & Mode::S_IRWXO.bits() != 0)
    };
    for line in [fstat(io::stdin()), fstat(io::stdout())] {
        if line.is_ok_and(open_to_others) {
            return Err("the program could open the pipes to the daemon".to_owned());
        }
    }
    Ok(())
}

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
        complain(&format!("/dev/shm does not lead to {SHM_DIR}: {error}"));
    }
    Ok(())
}

/// By a link or by a mount. stat(2), since the standard library's statx(2) fails in gVisor's older kernels.
fn same_folder(path: &str, other: &str) -> bool {
    match (stat(path), stat(other)) {
        (Ok(one), Ok(two)) => (one.st_dev, one.st_ino) == (two.st_dev, two.st_ino),
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
