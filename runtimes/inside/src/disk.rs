//! The sandbox's disk before the program is there: its folders, and the files that are put into them.
//!
//! Nothing of this is called once foreign code runs: paths are followed as they are.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, Permissions},
    io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt, chown, fchown},
    path::Path,
};

use sandboxd_files::{FilePath, SHM_DIR, TMP_DIR, WORK_DIR};

/// Makes the working directory and the folders for temporary and for shared memory files, `owner`'s where there is one.
///
/// # Errors
/// One sentence.
pub fn make_folders(owner: Option<u32>) -> Result<(), String> {
    for (folder, mode) in [(WORK_DIR, 0o755), (TMP_DIR, 0o1777), (SHM_DIR, 0o1777)] {
        let failed = |error: io::Error| format!("{folder}: {error}");
        match DirBuilder::new().mode(0o700).create(folder) {
            // A mount below it has made it.
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(failed(error)),
            Ok(()) | Err(_) => {}
        }
        // Before it is given away: the agent has no right to change what is not its own.
        fs::set_permissions(folder, Permissions::from_mode(mode)).map_err(failed)?;
        if let Some(owner) = owner {
            chown(folder, Some(owner), Some(owner)).map_err(failed)?;
        }
    }
    Ok(())
}

/// Makes an empty file below `work`, and the folders above it, `owner`'s where there is one. The umask is 022.
///
/// # Errors
/// Whatever making it meets; a half-made path stays, for the sandbox is used once.
pub fn create_file(work: &Path, path: &FilePath, executable: bool, owner: Option<u32>) -> io::Result<File> {
    for parent in path.parents() {
        let folder = work.join(parent);
        match DirBuilder::new().mode(0o755).create(&folder) {
            Ok(()) if owner.is_some() => chown(&folder, owner, owner)?,
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            Ok(()) | Err(_) => {}
        }
    }
    let mode = if executable { 0o755 } else { 0o644 };
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(work.join(path.as_str()))?;
    if owner.is_some() {
        fchown(&file, owner, owner)?;
    }
    Ok(file)
}
