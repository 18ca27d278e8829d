//! The contract's sandbox and process, on a slot.
//!
//! Deliberately absent: limits that the engine supervises, and any blocking call: files are read on another thread.

use std::{os::fd::AsFd, sync::Arc};

use async_trait::async_trait;
use nix::libc;
use sandboxd_contract::{
    CollectRequest, Collected, Command, Exit, Facts, File, KernelLimits, Process, Result, RuntimeError,
    Sandbox, SandboxSpec, Signal, Started,
};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::Instant,
};

use crate::{
    lane_client::{GiveBack, Program, ReadySlot, SlotCommand, lane_gone},
    launching::{Launching, Streams},
    pool::Pool,
    protocol::SlotLimits,
};

type Ended = watch::Receiver<Option<(Exit, Facts)>>;

pub(crate) struct NativeSandbox {
    pool: Arc<Pool>,
    /// Dropping it gives it back.
    slot: ReadySlot,
    files: Vec<File>,
}

impl NativeSandbox {
    pub(crate) fn new(pool: Arc<Pool>, slot: ReadySlot) -> Self {
        Self { pool, slot, files: Vec::new() }
    }

    /// An interpreter that waits for another start has taken the one place for a program: then it takes another slot.
    async fn fit(&mut self, command: &Command, limits: &KernelLimits) -> Result<()> {
        if let Some(Program::Waiting(waiting)) = &self.slot.program
            && !waiting.is_for(command, limits, &self.files)
        {
            // First one back, then another: all that there are may be in use.
            self.slot.give_back = None;
            self.slot = self.pool.take(&SandboxSpec::once("", *limits)).await?;
        }
        Ok(())
    }

    /// The program's streams, and when it was let go.
    async fn launch(
        &mut self,
        command: &Command,
        limits: &KernelLimits,
        files: &[File],
    ) -> Result<(Streams, Instant)> {
        if let Some(Program::Waiting(waiting)) = self.slot.program.take_if(|program| program.is_waiting()) {
            let since = Instant::now();
            return Ok((waiting.go_on(&self.slot.work, self.slot.user, files)?, since));
        }
        let parked = self.slot.take_parked()?;
        let (ours, theirs) = Streams::make(self.slot.user)?;
        let launching = Launching { command, limits, files, fifo: None, streams: theirs };
        launching.send(parked).await?;
        // It was executed a moment ago; before that its process wrote its files.
        Ok((ours, Instant::now()))
    }
}

#[async_trait]
impl Sandbox for NativeSandbox {
    async fn put(&mut self, mut files: Vec<File>) -> Result<()> {
        // They go in with the program, whose own process writes them: its user, its memory, its disk.
        self.files.append(&mut files);
        Ok(())
    }

    async fn start(&mut self, command: Command, limits: &KernelLimits) -> Result<Started> {
        self.fit(&command, limits).await?;
        self.slot.begin(SlotLimits::of(limits)).await?;
        let files = std::mem::take(&mut self.files);
        let (streams, since) = self.launch(&command, limits, &files).await?;
        let process = NativeProcess { commands: self.slot.commands.clone(), ended: self.slot.ended.clone() };
        Ok(Started {
            since,
            process: Box::new(process),
            stdin: Box::new(streams.stdin),
            stdout: Box::new(streams.stdout),
            stderr: Box::new(streams.stderr),
        })
    }

    async fn facts(&self) -> Result<Facts> {
        if let Some((_, facts)) = *self.slot.ended.borrow() {
            return Ok(facts);
        }
        let (answer, answered) = oneshot::channel();
        self.slot.commands.send(SlotCommand::Facts(answer)).await.map_err(|_| lane_gone("read usage"))?;
        answered.await.map_err(|_| lane_gone("read usage"))
    }

    async fn collect(&mut self, request: &CollectRequest) -> Result<Collected> {
        let (work, request) = (Arc::clone(&self.slot.work), request.clone());
        let collected =
            tokio::task::spawn_blocking(move || sandboxd_files::collect(work.as_fd(), &request)).await;
        match collected {
            Ok(Ok(collected)) => Ok(collected),
            Ok(Err(errno)) => Err(RuntimeError::sandbox("collect files", errno)),
            Err(error) => Err(RuntimeError::sandbox("collect files", error)),
        }
    }

    async fn destroy(&mut self) -> Result<()> {
        let Some(give_back) = self.slot.give_back.take() else { return Ok(()) };
        let (done, destroyed) = oneshot::channel();
        if give_back.send(GiveBack { next: self.slot.limits, done }).is_err() {
            // The lane died, and with it all that was in it; its cgroup goes when the lane is made again.
            return Ok(());
        }
        destroyed.await.map_err(|_| lane_gone("destroy a sandbox"))?
    }
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
