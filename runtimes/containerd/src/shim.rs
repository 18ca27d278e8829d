//! The last resort where a task does not end through containerd: its shim, found among the host's processes by what it was
//! started with, is killed. containerd then clears up after it, as after any shim that dies.
//!
//! Deliberately absent: the container's own processes, which are killed by their cgroup. Called by `handle` alone.

use std::{
    ffi::OsStr,
    fs, io,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    sys::signal::{Signal, kill},
    unistd::Pid,
};

const PROGRAM: &[u8] = b"containerd-shim";

/// Kills the shims of one container; how many there were. None where containerd's processes can't be seen. Blocks.
///
/// # Errors
/// When one is there that may not be killed.
pub(crate) fn kill_of(namespace: &str, container: &str) -> io::Result<usize> {
    let mut killed = 0;
    for (pid, words) in processes()? {
        if is_of(&words, namespace, container) {
            match kill(pid, Signal::SIGKILL) {
                Ok(()) => killed += 1,
                Err(Errno::ESRCH) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }
    Ok(killed)
}

/// Every shim gets the namespace and the container's id as options, whatever it is called and whichever version it is.
fn is_of(words: &[Vec<u8>], namespace: &str, container: &str) -> bool {
    let is_shim = words.first().is_some_and(|program| {
        let name = Path::new(OsStr::from_bytes(program)).file_name().map(OsStrExt::as_bytes);
        name.is_some_and(|name| name.starts_with(PROGRAM))
    });
    let has = |option: &[u8], value: &str| {
        words
            .windows(2)
            .any(|pair| matches!(pair, [name, given] if name == option && given == value.as_bytes()))
    };
    is_shim && has(b"-namespace", namespace) && has(b"-id", container)
}

/// With the words of their command lines. Whoever ends meanwhile is left out.
fn processes() -> io::Result<impl Iterator<Item = (Pid, Vec<Vec<u8>>)>> {
    let words = |process: &PathBuf| {
        let line = fs::read(process.join("cmdline")).ok()?;
        Some(line.split(|byte| *byte == 0).map(<[u8]>::to_vec).collect())
    };
    Ok(fs::read_dir("/proc")?.filter_map(Result::ok).filter_map(move |entry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        Some((Pid::from_raw(pid), words(&entry.path())?))
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<Vec<u8>> {
        line.split(' ').map(|word| word.as_bytes().to_vec()).collect()
    }

    #[test]
    fn a_shim_is_known_by_what_it_was_started_with() {
        let runc = "/usr/bin/containerd-shim-runc-v2 -namespace ours -id one -address /run/containerd/containerd.sock";
        assert!(is_of(&words(runc), "ours", "one"));
        assert!(is_of(&words("containerd-shim-runsc-v1 -id one -namespace ours"), "ours", "one"));
        for other in [
            runc.replace("ours", "theirs"),
            runc.replace("one", "one2"),
            runc.replace("-id", "-di"),
            runc.replace("/usr/bin/containerd-shim", "/usr/bin/not-containerd-shim"),
            "containerd-shim-runc-v2 -namespace ours -id".to_owned(),
            String::new(),
        ] {
            assert!(!is_of(&words(&other), "ours", "one"), "{other}");
        }
    }

    #[test]
    fn nobody_is_killed_for_a_container_that_is_not_there() {
        assert_eq!(kill_of("ours", "no such container").unwrap(), 0);
    }
}
