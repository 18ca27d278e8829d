//! The contract's sandbox and process, on a slot.
//!
//! Deliberately absent: limits that the engine supervises, and any blocking call: files are read on another thread.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    sync::Arc,
};

use async_trait::async_trait;
use nix::{
    errno::Errno,
    fcntl::OFlag,
    libc,
    unistd::{Gid, Uid, fchown, pipe2},
};
use sandboxd_contract::{
    CollectRequest, Collected, Command, Exit, Facts, File, KernelLimits, Process, Result, RuntimeError,
    Sandbox, Signal, Started,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, Interest},
    net::{
        UnixStream,
        unix::pipe::{Receiver, Sender},
    },
    sync::{mpsc, oneshot, watch},
};

use crate::{
    lane_client::{GiveBack, ReadySlot, SlotCommand},
    packet,
    protocol::{self, SlotLimits},
};

type Ended = watch::Receiver<Option<(Exit, Facts)>>;

pub(crate) struct NativeSandbox {
    /// Until the program is started.
    launch: Option<OwnedFd>,
    work: Arc<OwnedFd>,
    limits: SlotLimits,
    user: Option<u32>,
    files: Vec<File>,
    commands: mpsc::Sender<SlotCommand>,
    /// Until the sandbox is destroyed. Dropping it gives the slot back as well.
    give_back: Option<oneshot::Sender<GiveBack>>,
    ended: Ended,
}

impl NativeSandbox {
    pub(crate) fn new(slot: ReadySlot) -> Self {
        Self {
            launch: Some(slot.launch),
            work: Arc::new(slot.work),
            limits: slot.limits,
            user: slot.user,
            files: Vec::new(),
            commands: slot.commands,
            give_back: Some(slot.give_back),
            ended: slot.ended,
        }
    }

    async fn install(&mut self, wanted: SlotLimits) -> Result<()> {
        if wanted == self.limits {
            return Ok(());
        }
        let (answer, answered) = oneshot::channel();
        self.commands.send(SlotCommand::Limits(wanted, answer)).await.map_err(|_| lane_gone("set limits"))?;
        answered.await.map_err(|_| lane_gone("set limits"))??;
        self.limits = wanted;
        Ok(())
    }

    fn pipe(&self) -> Result<(OwnedFd, OwnedFd)> {
        let failed = |errno: Errno| RuntimeError::sandbox("make a pipe", errno);
        let (read, write) = pipe2(OFlag::O_CLOEXEC).map_err(failed)?;
        if let Some(user) = self.user {
            // Without it the program could not open its own /dev/stdin, /dev/stdout and /dev/stderr.
            fchown(&read, Some(Uid::from_raw(user)), Some(Gid::from_raw(user))).map_err(failed)?;
        }
        Ok((read, write))
    }
}

#[async_trait]
impl Sandbox for NativeSandbox {
    async fn put(&mut self, mut files: Vec<File>) -> Result<()> {
        // They travel with the launch, which the program's own process writes: its user, its memory, its disk.
        self.files.append(&mut files);
        Ok(())
    }

    async fn start(&mut self, command: Command, limits: &KernelLimits) -> Result<Started> {
        self.install(SlotLimits::of(limits)).await?;
        let launch =
            self.launch.take().ok_or_else(|| RuntimeError::sandbox("start", "it was started before"))?;
        let (stdin_read, stdin_write) = self.pipe()?;
        let (stdout_read, stdout_write) = self.pipe()?;
        let (stderr_read, stderr_write) = self.pipe()?;
        let failed = |error: io::Error| RuntimeError::sandbox("watch a pipe", error);
        let stdin = Sender::from_owned_fd(stdin_write).map_err(failed)?;
        let stdout = Receiver::from_owned_fd(stdout_read).map_err(failed)?;
        let stderr = Receiver::from_owned_fd(stderr_read).map_err(failed)?;
        let launching = Launching {
            command: &command,
            limits,
            files: std::mem::take(&mut self.files),
            streams: [stdin_read, stdout_write, stderr_write],
        };
        launching.send(launch).await?;
        // It was executed a moment ago; before that its process wrote its files.
        let since = tokio::time::Instant::now();
        let process = NativeProcess { commands: self.commands.clone(), ended: self.ended.clone() };
        Ok(Started {
            since,
            process: Box::new(process),
            stdin: Box::new(stdin),
            stdout: Box::new(stdout),
            stderr: Box::new(stderr),
        })
    }

    async fn facts(&self) -> Result<Facts> {
        if let Some((_, facts)) = *self.ended.borrow() {
            return Ok(facts);
        }
        let (answer, answered) = oneshot::channel();
        self.commands.send(SlotCommand::Facts(answer)).await.map_err(|_| lane_gone("read usage"))?;
        answered.await.map_err(|_| lane_gone("read usage"))
    }

    async fn collect(&mut self, request: &CollectRequest) -> Result<Collected> {
        let (work, request) = (Arc::clone(&self.work), request.clone());
        let collected =
            tokio::task::spawn_blocking(move || sandboxd_files::collect(work.as_fd(), &request)).await;
        match collected {
            Ok(Ok(collected)) => Ok(collected),
            Ok(Err(errno)) => Err(RuntimeError::sandbox("collect files", errno)),
            Err(error) => Err(RuntimeError::sandbox("collect files", error)),
        }
    }

    async fn destroy(&mut self) -> Result<()> {
        let Some(give_back) = self.give_back.take() else { return Ok(()) };
        let (done, destroyed) = oneshot::channel();
        if give_back.send(GiveBack { next: self.limits, done }).is_err() {
            // The lane died, and with it all that was in it; its cgroup goes when the lane is made again.
            return Ok(());
        }
        destroyed.await.map_err(|_| lane_gone("destroy a sandbox"))?
    }
}

/// A program on its way into its sandbox.
struct Launching<'a> {
    command: &'a Command,
    limits: &'a KernelLimits,
    files: Vec<File>,
    streams: [OwnedFd; 3],
}

impl Launching<'_> {
    /// Sends everything and waits for exec, which closes the socket; a sentence before that is why there was none.
    ///
    /// A program that is killed on the way (its memory may not even hold its files) counts as started: its exit tells.
    async fn send(self, launch: OwnedFd) -> Result<()> {
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
        let frame = protocol::encode_launch(self.command, self.limits, &self.files);
        let descriptors = self.streams.each_ref().map(AsRawFd::as_raw_fd);
        let send = || packet::send(stream.as_fd(), &frame, &descriptors).map_err(io::Error::from);
        let sent = stream.async_io(Interest::WRITABLE, send).await?;
        stream.write_all(frame.get(sent..).unwrap_or_default()).await?;
        for file in &self.files {
            stream.write_all(&protocol::encode_file_header(file)).await?;
            stream.write_all(&file.content).await?;
        }
        Ok(())
    }
}

fn is_hang_up(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset)
}

struct NativeProcess {
    commands: mpsc::Sender<SlotCommand>,
    ended: Ended,
}

#[async_trait]
impl Process for NativeProcess {
    async fn wait(&mut self) -> Result<Exit> {
        let ended = self.ended.wait_for(Option::is_some).await.map_err(|_| lane_gone("wait"))?;
        ended.map(|(exit, _)| exit).ok_or_else(|| lane_gone("wait"))
    }

    async fn signal(&self, signal: Signal) -> Result<()> {
        if self.ended.borrow().is_some() {
            return Ok(());
        }
        let signal = match signal {
            Signal::Kill => libc::SIGKILL,
            Signal::Interrupt => libc::SIGINT,
            Signal::Terminate => libc::SIGTERM,
            Signal::Hangup => libc::SIGHUP,
            Signal::Quit => libc::SIGQUIT,
            Signal::User1 => libc::SIGUSR1,
            Signal::User2 => libc::SIGUSR2,
        };
        self.commands.send(SlotCommand::Signal(signal)).await.map_err(|_| lane_gone("signal"))
    }
}

fn lane_gone(operation: &'static str) -> RuntimeError {
    RuntimeError::sandbox(operation, "the process that kept the sandbox died")
}
