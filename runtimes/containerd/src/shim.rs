//! Shims, found among the host's processes by what they were started with. To kill one is the last resort where a task
//! does not end through containerd, which clears up after it as after any shim that dies; and the only one where
//! containerd no longer knows of it.
//!
//! Deliberately absent: the container's own processes, which are killed by their cgroup. Called by `handle` and `leftovers`.

use std::{
    collections::BTreeSet,
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
        if is_shim_of(&words, namespace) && option(&words, "-id") == Some(container.as_bytes()) {
            match kill(pid, Signal::SIGKILL) {
                Ok(()) => killed += 1,
                Err(Errno::ESRCH) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }
    Ok(killed)
}

/// The ids of the containers in this namespace that have a shim of the containerd at this address. Blocks.
///
/// # Errors
/// When the host's processes can't be listed.
pub(crate) fn containers(namespace: &str, address: &Path) -> io::Result<BTreeSet<String>> {
    let real = |path: &Path| fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let address = real(address);
    let id = |words: Vec<Vec<u8>>| {
        let its = real(Path::new(OsStr::from_bytes(option(&words, "-address")?)));
        let id = option(&words, "-id").filter(|_| is_shim_of(&words, namespace) && its == address)?;
        String::from_utf8(id.to_vec()).ok()
    };
    Ok(processes()?.filter_map(|(_, words)| id(words)).collect())
}

/// Every shim gets the namespace, the container's id and containerd's address as options, whatever it is called and
/// whichever version it is.
fn is_shim_of(words: &[Vec<u8>], namespace: &str) -> bool {
    let is_shim = words.first().is_some_and(|program| {
        let name = Path::new(OsStr::from_bytes(program)).file_name().map(OsStrExt::as_bytes);
        name.is_some_and(|name| name.starts_with(PROGRAM))
    });
    is_shim && option(words, "-namespace") == Some(namespace.as_bytes())
}

fn option<'a>(words: &'a [Vec<u8>], name: &str) -> Option<&'a [u8]> {
    words.windows(2).find_map(|pair| match pair {
        [word, value] if word == name.as_bytes() => Some(value.as_slice()),
        _ => None,
    })
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
    #![allow(clippy::disallowed_types, reason = "something that looks like a shim")]

    use std::{io::Read as _, os::unix::process::CommandExt as _};

    use super::*;

    fn words(line: &str) -> Vec<Vec<u8>> {
        line.split(' ').map(|word| word.as_bytes().to_vec()).collect()
    }

    #[test]
    fn a_shim_is_known_by_what_it_was_started_with() {
        let runc = "/usr/bin/containerd-shim-runc-v2 -namespace ours -id one -address /run/containerd/containerd.sock";
        assert!(is_shim_of(&words(runc), "ours"));
        assert!(is_shim_of(&words("containerd-shim-runsc-v1 -id one -namespace ours"), "ours"));
        assert_eq!(option(&words(runc), "-id"), Some(b"one".as_slice()));
        for other in [
            runc.replace("ours", "theirs"),
            runc.replace("-namespace", "-spacename"),
            runc.replace("/usr/bin/containerd-shim", "/usr/bin/not-containerd-shim"),
            "containerd-shim-runc-v2 -id one -namespace".to_owned(),
            String::new(),
        ] {
            assert!(!is_shim_of(&words(&other), "ours"), "{other}");
        }
        assert_eq!(option(&words("containerd-shim -namespace ours -id"), "-id"), None);
    }

    #[test]
    fn shims_are_listed_and_killed_by_their_container() {
        let mut shim = std::process::Command::new("sh")
            .arg0("containerd-shim-test")
            .args([
                "-c",
                "echo started; read line",
                "-namespace",
                "shim-test",
                "-id",
                "one",
                "-address",
                "/nowhere/c.sock",
            ])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        // Its command line is there a moment after its process.
        shim.stdout.take().unwrap().read_exact(&mut [0]).unwrap();
        let listed = |namespace, address| containers(namespace, Path::new(address)).unwrap();
        assert_eq!(listed("shim-test", "/nowhere/c.sock"), BTreeSet::from(["one".to_owned()]));
        assert!(listed("shim-test", "/elsewhere/c.sock").is_empty());
        assert!(listed("other-test", "/nowhere/c.sock").is_empty());
        assert_eq!(kill_of("shim-test", "two").unwrap(), 0);
        assert_eq!(kill_of("shim-test", "one").unwrap(), 1);
        shim.wait().unwrap();
        assert_eq!(kill_of("shim-test", "one").unwrap(), 0);
    }
}
