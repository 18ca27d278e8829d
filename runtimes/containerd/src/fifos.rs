//! The two named pipes between a container's first process and the daemon. containerd's shim opens the other ends,
//! and copies. Its stderr goes nowhere.
//!
//! ```text
//!   daemon                                     shim
//!   stdout: open for reading (before create)   opens for writing; without a reader that would block
//!   stdin:  open for reading and writing, so that the writing end, opened then, has somebody to write to
//!           (before create)                    opens for reading
//! ```
//! Both are folders and files of `state_dir/fifo/<owner>.<name>`, removed with the container. What a program writes
//! that nobody reads would keep the shim from ending, so that the end is drained.

use std::{
    io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    time::Duration,
};

use nix::{sys::stat::Mode, unistd::mkfifo};
use tokio::{
    io::AsyncReadExt,
    net::unix::pipe::{OpenOptions, Receiver, Sender},
};

use crate::cgroups;

const DRAIN_BUFFER_BYTES: usize = 64 * 1024;

/// Where the pipes of one container are.
#[derive(Debug, Clone)]
pub(crate) struct Fifos {
    folder: PathBuf,
}

/// Our ends.
pub(crate) struct Ends {
    pub(crate) stdin: Sender,
    pub(crate) stdout: Receiver,
    /// Keeps `stdin` from breaking until the container has opened its end: to be dropped once it runs.
    pub(crate) until_started: Sender,
}

impl Fifos {
    pub(crate) fn new(state_dir: &Path, owner: &str, name: &str) -> Self {
        Self { folder: root(state_dir).join(cgroups::folder_name(owner, name)) }
    }

    pub(crate) fn stdin(&self) -> PathBuf {
        self.folder.join("stdin")
    }

    pub(crate) fn stdout(&self) -> PathBuf {
        self.folder.join("stdout")
    }

    /// Makes both pipes. Blocks for a moment.
    pub(crate) fn make(&self) -> io::Result<()> {
        let mut folders = std::fs::DirBuilder::new();
        folders.mode(0o700).recursive(true);
        if let Some(root) = self.folder.parent() {
            folders.create(root)?;
        }
        // Only ours if it was not there.
        folders.recursive(false).create(&self.folder)?;
        for pipe in [self.stdin(), self.stdout()] {
            mkfifo(&pipe, Mode::S_IRUSR | Mode::S_IWUSR)?;
        }
        Ok(())
    }

    /// To be called inside of the asynchronous runtime, before the container is created.
    pub(crate) fn open(&self) -> io::Result<Ends> {
        let mut both = OpenOptions::new();
        both.read_write(true);
        Ok(Ends {
            stdout: OpenOptions::new().open_receiver(self.stdout())?,
            until_started: both.open_sender(self.stdin())?,
            stdin: OpenOptions::new().open_sender(self.stdin())?,
        })
    }

    /// Throws away whatever still comes out of a container that is dead, for so long at most.
    pub(crate) async fn drain(&self, deadline: Duration) {
        let Ok(mut output) = OpenOptions::new().open_receiver(self.stdout()) else { return };
        let drain = async {
            let mut buffer = vec![0; DRAIN_BUFFER_BYTES];
            while matches!(output.read(&mut buffer).await, Ok(1..)) {}
        };
        let _ = tokio::time::timeout(deadline, drain).await;
    }

    /// Removes both; fine when they are gone. Blocks for a moment.
    pub(crate) fn remove(&self) -> io::Result<()> {
        match std::fs::remove_dir_all(&self.folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

/// Owner and name of every container that has pipes here, at most `max`. Blocks.
pub(crate) fn list(state_dir: &Path, max: usize) -> Vec<(String, String)> {
    let Ok(entries) = std::fs::read_dir(root(state_dir)) else { return Vec::new() };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names.filter_map(|name| cgroups::of_folder(&name)).take(max).collect()
}

fn root(state_dir: &Path) -> PathBuf {
    state_dir.join("fifo")
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    fn fifos() -> (tempfile::TempDir, Fifos) {
        let state = tempfile::tempdir().unwrap();
        let fifos = Fifos::new(state.path(), "house", "one");
        fifos.make().unwrap();
        (state, fifos)
    }

    #[tokio::test]
    async fn bytes_cross_once_the_other_side_opens() {
        let (_state, fifos) = fifos();
        let mut ends = fifos.open().unwrap();
        ends.stdin.write_all(b"early").await.unwrap();
        let mut theirs = OpenOptions::new().open_receiver(fifos.stdin()).unwrap();
        drop(ends.until_started);
        let mut early = [0; 5];
        theirs.read_exact(&mut early).await.unwrap();
        assert_eq!(&early, b"early");
        let mut writer = OpenOptions::new().open_sender(fifos.stdout()).unwrap();
        writer.write_all(b"x").await.unwrap();
        drop(writer);
        let mut all = Vec::new();
        ends.stdout.read_to_end(&mut all).await.unwrap();
        assert_eq!(all, b"x");
    }

    #[tokio::test]
    async fn nobody_elses_folder_is_taken_over_and_removal_is_idempotent() {
        let (state, fifos) = fifos();
        assert!(fifos.make().is_err());
        assert_eq!(list(state.path(), 10), [("house".to_owned(), "one".to_owned())]);
        fifos.remove().unwrap();
        fifos.remove().unwrap();
        assert!(list(state.path(), 10).is_empty());
    }

    #[tokio::test]
    async fn a_drain_ends_with_the_writer_or_its_deadline() {
        let (_state, fifos) = fifos();
        let reader = OpenOptions::new().open_receiver(fifos.stdout()).unwrap();
        let writer = OpenOptions::new().open_sender(fifos.stdout()).unwrap();
        let began = std::time::Instant::now();
        fifos.drain(Duration::from_millis(50)).await;
        assert!(began.elapsed() >= Duration::from_millis(50));
        drop((reader, writer));
    }
}
