//! The contract's sandbox and process, on a container that is ready.
//!
//! Deliberately absent: limits that the engine supervises, and the making of containers.

use std::sync::Arc;

use async_trait::async_trait;
use sandboxd_agent::ToAgent;
use sandboxd_contract::{
    CollectRequest, Collected, Command, Demand, Exit, Facts, File, KernelLimits, Process, Result,
    RuntimeError, Sandbox, SandboxSpec, Signal, Started,
};
use tokio::{task::AbortHandle, time::Instant};

use crate::{cell::Cell, yard::Yard};

pub(crate) struct ContainerSandbox {
    yard: Arc<Yard>,
    spec: SandboxSpec,
    cell: Arc<Cell>,
    /// Until the start: they go in with the program.
    files: Vec<File>,
    started: bool,
    watchman: Option<AbortHandle>,
    destroyed: bool,
}

impl ContainerSandbox {
    pub(crate) fn new(yard: Arc<Yard>, spec: SandboxSpec, cell: Arc<Cell>) -> Self {
        Self { yard, spec, cell, files: Vec::new(), started: false, watchman: None, destroyed: false }
    }

    /// Nothing was started in it, and what was put never left this side: the next one may have it.
    fn is_unused(&self) -> bool {
        !self.started && self.spec.demand != Demand::Once && self.cell.is_ready()
    }

    /// A tmpfs can't be given another size from outside, and what waits in it has taken the one place for a program, and
    /// memory: then it takes another container.
    async fn fit(&mut self, command: &Command, limits: &KernelLimits) -> Result<()> {
        let fits = || self.cell.waits_for(command, limits, &self.files) && self.cell.meter.has_room(limits);
        let taken = self.cell.is_taken() && !fits();
        if taken || self.cell.limits.disk_bytes != limits.disk_bytes {
            let fitting = self.yard.make(&SandboxSpec::once(&self.spec.executor, *limits)).await?;
            let other = std::mem::replace(&mut self.cell, fitting);
            self.yard.bury(other);
        }
        Ok(())
    }

    async fn begin(&mut self, command: Command, limits: &KernelLimits) -> Result<Instant> {
        self.fit(&command, limits).await?;
        let cell = &self.cell;
        // Before anything is installed or put, lest the sandbox is killed for memory before anybody looks.
        self.watchman = Some(tokio::spawn(Arc::clone(cell).watch_memory()).abort_handle());
        cell.meter.begin(limits, cell.is_taken()).await?;
        cell.line.put(std::mem::take(&mut self.files)).await?;
        if cell.is_taken() {
            cell.line.resume().await
        } else {
            cell.line.start(cell.as_start(command, limits)).await
        }
    }
}

#[async_trait]
impl Sandbox for ContainerSandbox {
    async fn put(&mut self, mut files: Vec<File>) -> Result<()> {
        self.files.append(&mut files);
        Ok(())
    }

    async fn start(&mut self, command: Command, limits: &KernelLimits) -> Result<Started> {
        if std::mem::replace(&mut self.started, true) {
            return Err(RuntimeError::sandbox("start", "it was started before"));
        }
        let since = match self.begin(command, limits).await {
            // So little memory that not even the start fits into it: that is how the program ends.
            Err(_) if self.cell.died_for_memory().await => Instant::now(),
            begun => begun?,
        };
        let cell = &self.cell;
        Ok(cell.line.started(since, Box::new(ContainerProcess { cell: Arc::clone(cell), ending: None })))
    }

    async fn facts(&self) -> Result<Facts> {
        Ok(self.cell.facts().await)
    }

    async fn collect(&mut self, request: &CollectRequest) -> Result<Collected> {
        self.cell.line.collect(request).await
    }

    async fn destroy(&mut self) -> Result<()> {
        if let Some(watchman) = self.watchman.take() {
            watchman.abort();
        }
        if !self.destroyed {
            if self.is_unused() {
                self.yard.give_back(&self.spec, Arc::clone(&self.cell));
            } else {
                self.yard.remove(&self.cell).await?;
            }
            self.destroyed = true;
        }
        Ok(())
    }
}

/// Only hands over: the work is done in a task.
impl Drop for ContainerSandbox {
    fn drop(&mut self) {
        if let Some(watchman) = self.watchman.take() {
            watchman.abort();
        }
        if self.destroyed {
            return;
        }
        if self.is_unused() {
            self.yard.give_back(&self.spec, Arc::clone(&self.cell));
        } else {
            self.yard.bury(Arc::clone(&self.cell));
        }
    }
}

struct ContainerProcess {
    cell: Arc<Cell>,
    ending: Option<Result<Exit>>,
}

#[async_trait]
impl Process for ContainerProcess {
    async fn wait(&mut self) -> Result<Exit> {
        if self.ending.is_none() {
            self.ending = Some(self.cell.ending().await);
        }
        self.ending.clone().unwrap_or_else(|| Err(RuntimeError::sandbox("wait", "no ending")))
    }

    async fn signal(&self, signal: Signal) -> Result<()> {
        if signal == Signal::Kill {
            self.cell.kill().await;
            return Ok(());
        }
        let sent = self.cell.line.send(ToAgent::Signal(number(signal))).await;
        // Nobody is left to hear it, which is no error.
        if self.cell.is_over() { Ok(()) } else { sent }
    }
}

/// Of signal(7).
fn number(signal: Signal) -> u32 {
    match signal {
        Signal::Hangup => 1,
        Signal::Interrupt => 2,
        Signal::Quit => 3,
        Signal::Kill => 9,
        Signal::User1 => 10,
        Signal::User2 => 12,
        Signal::Terminate => 15,
    }
}
