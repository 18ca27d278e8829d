//! One container with its agent, its line and its meter, from the moment that it is ready: what the sandbox, the process
//! and the watchman share. Knows how such a container is killed, and what its silence means.

use std::{
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use sandboxd_agent::{Start, ToAgent};
use sandboxd_contract::{Command, Exit, Facts, File, KernelLimits, Prestart, Result, RuntimeError};
use tokio::{
    sync::OnceCell,
    time::{Instant, sleep, timeout},
};

use crate::{
    backend::Handle,
    line::{Line, State},
    meter::Meter,
};

/// A killed program whose agent does not tell of its end within this time goes with its container.
const KILL_PATIENCE: Duration = Duration::from_millis(200);
/// How often a running sandbox is looked at for a kill for memory that its first process has survived.
const OOM_POLL: Duration = Duration::from_millis(10);
/// And until its program runs: what is killed then is the agent, and its cgroup goes with it in a few milliseconds.
const START_POLL: Duration = Duration::from_millis(1);
/// An engine sees a container's end a little later than its output's.
const END_PATIENCE: Duration = Duration::from_secs(2);
/// And its word on a kill for memory comes on another way than that end.
const WORD_PATIENCE: Duration = Duration::from_millis(500);
const END_POLL: Duration = Duration::from_millis(20);

/// What an engine's process beside every container has for itself: of 13 MiB that are resident the rest is shared.
const ENGINE_BYTES: u64 = 3 << 20;

pub(crate) const SIGKILL: u32 = 9;
const KILLED: Exit = Exit::Signal(9);

pub(crate) struct Cell {
    pub name: String,
    pub handle: Arc<dyn Handle>,
    pub line: Line,
    pub meter: Meter,
    pub gvisor: bool,
    /// What it was made with.
    pub limits: KernelLimits,
    /// What waits in it for its program.
    prestart: OnceLock<Arc<Prestart>>,
    /// Whether we have killed it, so that its end is no surprise.
    killed: AtomicBool,
    removed: OnceCell<()>,
    heard: Mutex<Heard>,
}

impl Cell {
    pub(crate) fn new(
        name: String,
        handle: Arc<dyn Handle>,
        line: Line,
        meter: Meter,
        gvisor: bool,
        limits: KernelLimits,
    ) -> Self {
        Self {
            name,
            handle,
            line,
            meter,
            gvisor,
            limits,
            prestart: OnceLock::new(),
            killed: AtomicBool::new(false),
            removed: OnceCell::new(),
            heard: Mutex::default(),
        }
    }

    /// A command under limits, as the agent is told.
    pub(crate) fn as_start(&self, command: Command, limits: &KernelLimits) -> Start {
        Start {
            argv: command.argv,
            env: command.env.into_iter().map(|(name, value)| format!("{name}={value}")).collect(),
            open_files: limits.open_files,
            file_size_bytes: limits.file_size_bytes,
            stack_bytes: limits.stack_bytes,
            // Elsewhere the host's cgroup counts the program's tasks; here it would count the guest's kernel as well. That
            // kernel lets one task more be than RLIMIT_NPROC says.
            tasks: self.gvisor.then_some(limits.tasks.saturating_sub(1)),
        }
    }

    /// Starts an interpreter that waits in it, for the only program that is ever started here.
    ///
    /// # Errors
    /// [`RuntimeError::NotStarted`] when it does not wait; then nothing else can be started here either.
    pub(crate) async fn prestart(&self, prestart: &Arc<Prestart>, patience: Duration) -> Result<()> {
        let start = self.as_start(prestart.command.clone(), &self.limits);
        let script = prestart.script.as_str().to_owned();
        timeout(patience, self.line.prestart(start, script)).await.unwrap_or_else(|_| {
            let reason = format!("it does not wait after {} ms", patience.as_millis());
            Err(RuntimeError::sandbox("start an interpreter ahead", reason))
        })?;
        self.prestart
            .set(Arc::clone(prestart))
            .map_err(|_| RuntimeError::sandbox("start an interpreter ahead", "one waits already"))
    }

    /// Whether an interpreter has taken the place of the program.
    pub(crate) fn is_taken(&self) -> bool {
        self.prestart.get().is_some()
    }

    /// Whether what waits in it is what shall be started.
    pub(crate) fn waits_for(&self, command: &Command, limits: &KernelLimits, files: &[File]) -> bool {
        self.prestart.get().is_some_and(|prestart| {
            prestart.command == *command
                && self.limits.same_for_a_process(limits)
                && (!self.gvisor || self.limits.tasks == limits.tasks)
                && files.iter().any(|file| file.path == prestart.script)
        })
    }

    /// Memory that it takes while it waits.
    pub(crate) fn memory_bytes(&self) -> u64 {
        self.meter.held_memory_bytes() + ENGINE_BYTES
    }

    /// Whether a program can still be started in it.
    pub(crate) fn is_ready(&self) -> bool {
        self.line.state() == State::Ready
    }

    /// Whether its program has ended, or nothing is heard any more.
    pub(crate) fn is_over(&self) -> bool {
        matches!(self.line.state(), State::Ended(_) | State::Lost(_))
    }

    /// Kills every process but the agent; what does not die of that loses its container.
    pub(crate) async fn kill(self: &Arc<Self>) {
        self.killed.store(true, Ordering::Relaxed);
        // A line that is lost has nobody left to kill; one that is stuck meets the patience below.
        let _told = timeout(KILL_PATIENCE, self.line.send(ToAgent::Signal(SIGKILL))).await;
        let cell = Arc::clone(self);
        tokio::spawn(async move {
            if timeout(KILL_PATIENCE, cell.over()).await.is_err()
                && let Err(error) = cell.remove().await
            {
                tracing::warn!(sandbox = cell.name, %error, "a killed sandbox is still there");
            }
        });
    }

    /// Removes the container, once: two removals beside each other meet what the other has left half done.
    ///
    /// # Errors
    /// The engine's; it can be tried again.
    pub(crate) async fn remove(&self) -> Result<()> {
        self.removed.get_or_try_init(|| self.handle.remove()).await.copied()
    }

    /// Until the program has ended or nothing is heard any more.
    pub(crate) async fn over(&self) -> State {
        let mut state = self.line.watch();
        let over = state.wait_for(|state| matches!(state, State::Ended(_) | State::Lost(_))).await;
        over.map_or_else(|_| State::Lost("the line was closed".to_owned()), |state| state.clone())
    }

    /// The whole sandbox dies with any process of it that the kernel kills for memory: this sees to it where the kernel
    /// does not. Ends with the program.
    pub(crate) async fn watch_memory(self: Arc<Self>) {
        let over = self.over();
        tokio::pin!(over);
        let pause = || if self.is_ready() { START_POLL } else { OOM_POLL };
        while timeout(pause(), &mut over).await.is_err() {
            if self.gvisor {
                // A kill takes the whole container, and its figures with it.
                let _last = self.meter.read();
            }
            if self.meter.out_of_memory() {
                self.kill().await;
                over.await;
                return;
            }
        }
    }

    /// How the program ended.
    ///
    /// # Errors
    /// When it is not the program that has ended.
    pub(crate) async fn ending(&self) -> Result<Exit> {
        let reason = match self.over().await {
            State::Ended(exit) => {
                if exit == KILLED && !self.killed.load(Ordering::Relaxed) {
                    self.meter.hear_why().await;
                }
                return Ok(exit);
            }
            State::Lost(reason) => reason,
            other => format!("{other:?}"),
        };
        if self.killed.load(Ordering::Relaxed) || self.meter.out_of_memory() {
            return Ok(KILLED);
        }
        // The end of a stream is not the end of a container: the engine may have gone instead.
        let deadline = Instant::now() + END_PATIENCE;
        let word_deadline = Instant::now() + WORD_PATIENCE;
        loop {
            let witness = self.handle.witness().await?;
            if witness.out_of_memory == Some(true) || self.meter.out_of_memory() {
                return Ok(KILLED);
            }
            let word_may_come = witness.out_of_memory == Some(false) && Instant::now() < word_deadline;
            if witness.running == Some(false) && !word_may_come {
                return Err(RuntimeError::sandbox("run in a container", format!("it died: {reason}")));
            }
            if Instant::now() >= deadline {
                return Err(RuntimeError::sandbox("hear from a container", reason));
            }
            sleep(END_POLL).await;
        }
    }

    pub(crate) async fn facts(self: &Arc<Self>) -> Facts {
        let facts = match self.meter.read() {
            Some(facts) => facts,
            None => self.from_afar(),
        };
        if !matches!(self.line.state(), State::Lost(_)) {
            return facts;
        }
        // The cgroup went with the container; the engine may have seen why.
        Meter::with_witness(facts, self.handle.witness().await.unwrap_or_default())
    }

    /// Whether its end is the kernel's doing, who killed for memory what the container needed.
    pub(crate) async fn died_for_memory(&self) -> bool {
        self.meter.out_of_memory()
            || matches!(self.line.state(), State::Lost(_)) && matches!(self.ending().await, Ok(KILLED))
    }

    /// Of a container whose cgroup can't be read. CPU time is asked for beside, since that may take a second and nobody
    /// shall wait: as long as the program runs, it has used so much at least. How much in the end is not known.
    fn from_afar(self: &Arc<Self>) -> Facts {
        let oom_kills = self.handle.saw_out_of_memory().map(u64::from);
        if self.is_over() {
            return Facts { oom_kills, ..Facts::default() };
        }
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        if !heard.asking {
            heard.asking = true;
            let cell = Arc::clone(self);
            tokio::spawn(async move {
                let said = cell.handle.cpu_time().await;
                let mut heard = cell.heard.lock().unwrap_or_else(PoisonError::into_inner);
                *heard = Heard { cpu_time: said.unwrap_or(heard.cpu_time), asking: false };
            });
        }
        Facts { oom_kills, cpu_time: Some(heard.cpu_time), ..Facts::default() }
    }
}

/// What an engine elsewhere has said.
#[derive(Default)]
struct Heard {
    cpu_time: Duration,
    asking: bool,
}
