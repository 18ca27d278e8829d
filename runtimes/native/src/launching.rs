//! A program on its way into its sandbox: its streams, and the message to the parked process that becomes it.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, OwnedFd},
};

use nix::{
    errno::Errno,
    fcntl::OFlag,
    unistd::{Gid, Uid, fchown, pipe2},
};
use sandboxd_contract::{Command, File, FilePath, KernelLimits, Result, RuntimeError};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, Interest},
    net::{
        UnixStream,
        unix::pipe::{Receiver, Sender},
    },
};

use crate::{packet, protocol};

/// The daemon's ends of a program's streams.
pub(crate) struct Streams {
    pub stdin: Sender,
    pub stdout: Receiver,
    pub stderr: Receiver,
}

impl Streams {
    /// With the program's ends, which are its `user`'s.
    pub(crate) fn make(user: Option<u32>) -> Result<(Self, [OwnedFd; 3])> {
        let (stdin_read, stdin_write) = pipe(user)?;
        let (stdout_read, stdout_write) = pipe(user)?;
        let (stderr_read, stderr_write) = pipe(user)?;
        let failed = |error: io::Error| RuntimeError::sandbox("watch a pipe", error);
        let ours = Self {
            stdin: Sender::from_owned_fd(stdin_write).map_err(failed)?,
            stdout: Receiver::from_owned_fd(stdout_read).map_err(failed)?,
            stderr: Receiver::from_owned_fd(stderr_read).map_err(failed)?,
        };
        Ok((ours, [stdin_read, stdout_write, stderr_write]))
    }
}

fn pipe(user: Option<u32>) -> Result<(OwnedFd, OwnedFd)> {
    let failed = |errno: Errno| RuntimeError::sandbox("make a pipe", errno);
    let (read, write) = pipe2(OFlag::O_CLOEXEC).map_err(failed)?;
    if let Some(user) = user {
        // Without it the program could not open its own /dev/stdin, /dev/stdout and /dev/stderr.
        fchown(&read, Some(Uid::from_raw(user)), Some(Gid::from_raw(user))).map_err(failed)?;
    }
    Ok((read, write))
}

pub(crate) struct Launching<'a> {
    pub command: &'a Command,
    pub limits: &'a KernelLimits,
    pub files: &'a [File],
    /// What it makes in its working directory, to wait for whoever writes there.
    pub fifo: Option<&'a FilePath>,
    pub streams: [OwnedFd; 3],
}

impl Launching<'_> {
    /// Sends everything and waits for exec, which closes the socket; a sentence before that is why there was none.
    ///
    /// A program that is killed on the way (its memory may not even hold its files) counts as started: its exit tells.
    pub(crate) async fn send(self, launch: OwnedFd) -> Result<()> {
        let failed = |error: io::Error| RuntimeError::sandbox("launch", error);
        let stream = std::os::unix::net::UnixStream::from(launch);
        stream.set_nonblocking(true).map_err(failed)?;
        let mut stream = UnixStream::from_std(stream).map_err(failed)?;
        match self.write(&mut stream).await {
            Err(error) if !is_hang_up(&error) => return Err(failed(error)),
            _ => {}
        }
        let mut reason = Vec::new();
        const MAX_REASON_BYTES: u64 = 4096;
        match (&mut stream).take(MAX_REASON_BYTES).read_to_end(&mut reason).await {
            Err(error) if !is_hang_up(&error) => return Err(failed(error)),
            _ => {}
        }
        if reason.is_empty() {
            return Ok(());
        }
        let program = self.command.argv.first().cloned().unwrap_or_default();
        Err(RuntimeError::NotStarted { program, reason: String::from_utf8_lossy(&reason).into_owned() })
    }

    async fn write(&self, stream: &mut UnixStream) -> io::Result<()> {
        let frame = protocol::encode_launch(self.command, self.limits, self.fifo, self.files);
        let descriptors = self.streams.each_ref().map(AsRawFd::as_raw_fd);
        let send = || packet::send(stream.as_fd(), &frame, &descriptors).map_err(io::Error::from);
        let sent = stream.async_io(Interest::WRITABLE, send).await?;
        stream.write_all(frame.get(sent..).unwrap_or_default()).await?;
        for file in self.files {
            stream.write_all(&protocol::encode_file_header(file)).await?;
            stream.write_all(&file.content).await?;
        }
        Ok(())
    }
}

fn is_hang_up(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset)
}
