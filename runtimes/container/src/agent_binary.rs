//! The agent as a file that containers can mount: carried along in this binary, put into the daemon's state folder.
//!
//! Whoever could change that file would be PID 1 of everybody's sandbox, so it is used only where no other user could
//! have made or can change it. Called once, at start.

use std::{
    fs::{self, DirBuilder, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use nix::unistd::geteuid;

/// A static program for Linux on this machine's architecture; see build.rs.
pub static AGENT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/sandboxd-agent"));

/// What others may not do to the folder or the file.
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// Puts the agent into `folder`, which is made where it is missing, and says where it is. A file that is there with the
/// same content is used again, so that several daemons, and containers that still run, share it.
///
/// # Errors
/// When the folder or the file can't be made, or others could change them.
pub fn install(folder: &Path) -> io::Result<PathBuf> {
    match DirBuilder::new().mode(0o755).create(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let found = fs::symlink_metadata(folder)?;
    if !found.is_dir() || !ours(&found) {
        return Err(unsafe_place(folder));
    }
    let path = folder.join(name());
    if !is_installed(&path)? {
        write(folder, &path)?;
    }
    Ok(path)
}

/// Named by its content. The name decides nothing: content and owner are looked at before a file is used.
fn name() -> String {
    const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0100_0000_01b3;
    // FNV-1a, which any version of the daemon computes alike.
    let hash = AGENT.iter().fold(OFFSET, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(PRIME));
    format!("agent-{}-{hash:016x}", env!("CARGO_PKG_VERSION"))
}

fn is_installed(path: &Path) -> io::Result<bool> {
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    // The folder is ours alone, so whatever is there is a daemon's; only a whole one is used.
    let whole = found.is_file() && ours(&found) && found.mode() & 0o777 == 0o755;
    Ok(whole && found.len() == AGENT.len() as u64 && fs::read(path)? == AGENT)
}

/// Beside its place first, so that nobody ever sees half of it.
fn write(folder: &Path, path: &Path) -> io::Result<()> {
    let beside = folder.join(format!(".{}.{}", name(), std::process::id()));
    let written = (|| {
        let _ = fs::remove_file(&beside);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o700).open(&beside)?;
        file.write_all(AGENT)?;
        // Whatever the umask was.
        file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
        file.sync_all()?;
        fs::rename(&beside, path)
    })();
    if written.is_err() {
        let _ = fs::remove_file(&beside);
    }
    written
}

fn ours(found: &fs::Metadata) -> bool {
    found.uid() == geteuid().as_raw() && found.mode() & WRITABLE_BY_OTHERS == 0
}

fn unsafe_place(folder: &Path) -> io::Error {
    let reason =
        format!("{}: it must be a folder of this daemon's user that nobody else can write", folder.display());
    io::Error::new(io::ErrorKind::PermissionDenied, reason)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn it_is_a_small_program_that_needs_no_loader() {
        assert_eq!(AGENT.get(..4), Some(&b"\x7fELF"[..]));
        // More than half of it is a static glibc, and most of the rest the standard library's.
        assert!(AGENT.len() < 1_400_000, "{} bytes", AGENT.len());
        // elf(5): where the program headers are, how large and how many; type 3 names a loader.
        let number = |at: usize, bytes: usize| {
            AGENT[at..at + bytes].iter().rev().fold(0, |number, byte| number << 8 | usize::from(*byte))
        };
        let kinds: Vec<_> =
            (0..number(56, 2)).map(|at| number(number(32, 8) + at * number(54, 2), 4)).collect();
        assert!(kinds.contains(&1) && !kinds.contains(&3), "it is not static: {kinds:?}");
    }

    #[test]
    fn what_is_there_and_right_is_used_again_and_anything_else_replaced() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("agent");
        let path = install(&folder).unwrap();
        let first = fs::metadata(&path).unwrap();
        assert_eq!((first.mode() & 0o777, fs::read(&path).unwrap() == AGENT), (0o755, true));
        assert_eq!(install(&folder).unwrap(), path);
        assert_eq!(fs::metadata(&path).unwrap().ino(), first.ino(), "it was not written again");
        fs::write(&path, b"half of it").unwrap();
        install(&folder).unwrap();
        assert!(fs::read(&path).unwrap() == AGENT);
        fs::remove_file(&path).unwrap();
        symlink("/bin/true", &path).unwrap();
        install(&folder).unwrap();
        assert!(fs::symlink_metadata(&path).unwrap().is_file());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).unwrap();
        install(&folder).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o755);
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1, "nothing else is left");
    }

    #[test]
    fn a_folder_that_others_can_write_is_refused() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("agent");
        fs::create_dir(&folder).unwrap();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).unwrap();
        assert!(install(&folder).is_err());
        let link = parent.path().join("link");
        symlink(&folder, &link).unwrap();
        assert!(install(&link).is_err());
    }
}
