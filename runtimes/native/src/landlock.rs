//! A second wall around the file system, where the kernel has landlock: even a mount that should not be there can't
//! be written to, and signals and abstract sockets stay within the sandbox. Never the only wall: an older kernel
//! holds less of it, or nothing.

use landlock::{ABI, Access, AccessFs, PathBeneath, PathFd, Ruleset, RulesetAttr, RulesetCreatedAttr, Scope};

use crate::rootfs::BOX;

/// The newest ABI that this was written against; the crate falls back to what the kernel has.
const NEWEST: ABI = ABI::V6;

/// Restricts the calling thread and all it will start: read and execute everywhere, write on the sandbox's own disk
/// and to devices. Sets no_new_privs.
pub(crate) fn restrict() -> Result<(), Box<dyn std::error::Error>> {
    let everything = AccessFs::from_all(NEWEST);
    let root = PathFd::new("/")?;
    let disk = PathFd::new(BOX)?;
    let devices = PathFd::new("/dev")?;
    Ruleset::default()
        .handle_access(everything)?
        .scope(Scope::from_all(NEWEST))?
        .create()?
        .add_rule(PathBeneath::new(root, AccessFs::from_read(NEWEST)))?
        .add_rule(PathBeneath::new(disk, everything))?
        .add_rule(PathBeneath::new(
            devices,
            AccessFs::from_read(NEWEST) | AccessFs::WriteFile | AccessFs::IoctlDev,
        ))?
        .restrict_self()?;
    Ok(())
}
