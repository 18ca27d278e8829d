//! The files of one cgroup directory, by descriptor and name.

use std::{
    fs::File,
    io::Read,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::fs::FileExt,
    },
};

use nix::{
    dir::{Dir, Type},
    errno::Errno,
    fcntl::{OFlag, openat},
    sys::{
        signal::{Signal, kill},
        stat::Mode,
    },
    unistd::{Pid, UnlinkatFlags, unlinkat, write},
};

use crate::error::{Error, Result, Step};

/// Directories that are removed while a task is still on its way out answer EBUSY: tries, and the pause between them.
const REMOVE_TRIES: u32 = 100;
const REMOVE_PAUSE: std::time::Duration = std::time::Duration::from_millis(2);

pub(crate) fn open_directory(parent: BorrowedFd, name: &str) -> Result<OwnedFd> {
    openat(parent, name, OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())
        .step("open", name)
}

pub(crate) fn write_file(directory: BorrowedFd, name: &str, value: &str) -> Result<()> {
    let file =
        openat(directory, name, OFlag::O_WRONLY | OFlag::O_CLOEXEC, Mode::empty()).step("open", name)?;
    write(&file, value.as_bytes()).map(drop).step("write", name)
}

/// `Ok(None)` when there is no such file: another kernel, or a controller that is off.
pub(crate) fn open_file(directory: BorrowedFd, name: &str) -> Result<Option<File>> {
    match openat(directory, name, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty()) {
        Ok(file) => Ok(Some(File::from(file))),
        Err(Errno::ENOENT) => Ok(None),
        Err(errno) => Err(errno).step("open", name),
    }
}

/// Reads a small file from its beginning, without moving anything, so that the same handle can be read again.
pub(crate) fn read_whole(file: &File) -> Option<String> {
    let mut buffer = [0; 4096];
    let length = file.read_at(&mut buffer, 0).ok()?;
    String::from_utf8(buffer.get(..length)?.to_vec()).ok()
}

pub(crate) fn read_file(directory: BorrowedFd, name: &str) -> Option<String> {
    open_file(directory, name).ok().flatten().as_ref().and_then(read_whole)
}

/// The number behind `key` in a file of lines `key number`.
pub(crate) fn keyed(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok())
}

/// The names of the groups directly below.
pub(crate) fn children(directory: BorrowedFd) -> Result<Vec<String>> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let mut listing = Dir::openat(directory, ".", flags, Mode::empty()).step("list", "a cgroup")?;
    let mut names = Vec::new();
    for entry in listing.iter() {
        let entry = entry.step("list", "a cgroup")?;
        let name = entry.file_name().to_string_lossy();
        if entry.file_type() == Some(Type::Directory) && name != "." && name != ".." {
            names.push(name.into_owned());
        }
    }
    Ok(names)
}

/// The processes directly in a group. Those of pid namespaces that can't be seen from here read as 0 and are left out:
/// 0 would mean one's own process group to kill(2).
pub(crate) fn processes(directory: BorrowedFd) -> Vec<i32> {
    let mut text = String::new();
    let read = |file: Option<File>| file.and_then(|mut file| file.read_to_string(&mut text).ok());
    // Unreadable means gone, or threaded; what is still alive keeps the group from being removed, which is noticed.
    if open_file(directory, "cgroup.procs").ok().and_then(read).is_none() {
        return Vec::new();
    }
    pids(&text)
}

/// Whole lines only: a pid that was cut short is another process's.
pub(crate) fn pids(text: &str) -> Vec<i32> {
    let whole = text.rfind('\n').and_then(|end| text.get(..end)).unwrap_or_default();
    whole.lines().filter_map(|line| line.parse().ok()).filter(|pid| *pid > 0).collect()
}

/// Kills everything in a group that is to be removed, and below it; gives back the pids that were met.
pub(crate) fn kill_all(directory: BorrowedFd) -> Result<Vec<i32>> {
    let mut met = processes(directory);
    for child in children(directory)? {
        match open_directory(directory, &child) {
            Ok(child) => met.extend(kill_all(child.as_fd())?),
            // Somebody else has just removed it.
            Err(Error { errno: Errno::ENOENT, .. }) => {}
            Err(error) => return Err(error),
        }
    }
    // v2 kills a whole group at once, and nothing can fork away from it.
    let at_once = write_file(directory, "cgroup.kill", "1").is_ok();
    for _ in 0..REMOVE_TRIES {
        let pids = processes(directory);
        if pids.is_empty() {
            break;
        }
        for pid in pids {
            if !at_once {
                // ESRCH: gone by itself.
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
            if !met.contains(&pid) {
                met.push(pid);
            }
        }
        std::thread::sleep(REMOVE_PAUSE);
    }
    Ok(met)
}

/// Removes a group, waiting a little for tasks that are dead but not yet gone. One that is not there is fine.
pub(crate) fn remove(parent: BorrowedFd, name: &str) -> Result<()> {
    for _ in 0..REMOVE_TRIES {
        match unlinkat(parent, name, UnlinkatFlags::RemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => return Ok(()),
            Err(Errno::EBUSY) => std::thread::sleep(REMOVE_PAUSE),
            Err(errno) => return Err(errno).step("remove", name),
        }
    }
    Err(Errno::EBUSY).step("remove", name)
}

/// Kills and removes a group and all below it; gives back the pids that were met and the number of groups below.
pub(crate) fn remove_tree(parent: BorrowedFd, name: &str) -> Result<(Vec<i32>, Vec<String>)> {
    let directory = match open_directory(parent, name) {
        Ok(directory) => directory,
        Err(Error { errno: Errno::ENOENT, .. }) => return Ok((Vec::new(), Vec::new())),
        Err(error) => return Err(error),
    };
    let met = kill_all(directory.as_fd())?;
    let below = children(directory.as_fd())?;
    for child in &below {
        remove_tree(directory.as_fd(), child)?;
    }
    remove(parent, name)?;
    Ok((met, below))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pid_that_was_cut_short_is_nobody() {
        assert_eq!(pids("12\n0\n345\n67"), [12, 345]);
        assert_eq!(pids("12"), []);
        assert_eq!(pids(""), []);
    }

    #[test]
    fn keys_are_whole_words() {
        let text = "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n";
        assert_eq!(keyed(text, "oom_kill"), Some(3));
        assert_eq!(keyed(text, "oom"), None);
    }
}
