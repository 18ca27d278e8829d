//! A runtime without a kernel: its sandboxes are values, its programs play scripts, its calls fail or dawdle when a
//! test says so, and it counts everything. It keeps the promises of the contract, so that whoever is tested on it
//! may lean on them; what programs do is in `script`.
//!
//! ```text
//! launch ─> Sandbox ─start─> play ──ends, or is killed──> streams closed ─> exit published ─> wait answers
//!              └ destroy (at any point): the program is killed, the sandbox is no longer alive
//! ```

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::io::duplex;
use tokio::sync::watch;
use tokio::time::sleep;

use super::script::{NotStarted, Pipes, Script, Traces, play};
use crate::{
    CollectRequest, Collected, CollectedFile, Command, Exit, Facts, File, KernelLimit, KernelLimits,
    LimitSupport, Probe, Process, Result, Runtime, RuntimeError, Sandbox, SandboxSpec, Signal, Started,
    Swept,
};

/// What a pipe of Linux holds.
const PIPE_BYTES: usize = 64 * 1024;
const SIGKILL: i32 = 9;

/// A call on the fake that can be counted and disturbed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Call {
    Probe,
    Launch,
    Put,
    Start,
    Wait,
    Signal,
    Facts,
    Collect,
    Destroy,
}

/// How a call is disturbed, from now on.
#[derive(Debug, Clone, Default)]
pub struct Fault {
    /// Every call takes so long.
    pub delay: Duration,
    /// Every call hangs.
    pub hang: bool,
    /// So many calls fail, with this error.
    pub failures: Option<(usize, RuntimeError)>,
}

impl Fault {
    pub fn delay(delay: Duration) -> Self {
        Self { delay, ..Self::default() }
    }

    pub fn hang() -> Self {
        Self { hang: true, ..Self::default() }
    }

    pub fn fail(times: usize, error: RuntimeError) -> Self {
        Self { failures: Some((times, error)), ..Self::default() }
    }
}

type Player = Box<dyn Fn(&Command) -> Script + Send + Sync>;

/// A runtime whose programs follow scripts. Clones are the same runtime, so a test keeps one to look at.
#[derive(Clone)]
pub struct FakeRuntime(Arc<Shared>);

struct Shared {
    name: String,
    player: Player,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    faults: BTreeMap<Call, Fault>,
    /// Calls that were made, and those that succeeded.
    made: BTreeMap<Call, usize>,
    done: BTreeMap<Call, usize>,
    alive: usize,
    most_alive: usize,
    dropped: usize,
    unknowable: bool,
    started: Vec<(Command, KernelLimits)>,
}

impl FakeRuntime {
    /// `player` says what a command does.
    pub fn new(name: &str, player: impl Fn(&Command) -> Script + Send + Sync + 'static) -> Self {
        Self(Arc::new(Shared { name: name.to_owned(), player: Box::new(player), state: Mutex::default() }))
    }

    /// Disturbs a call from now on; an earlier fault of it is forgotten.
    pub fn disturb(&self, call: Call, fault: Fault) {
        lock(&self.0.state).faults.insert(call, fault);
    }

    /// From now on no fact can be known.
    pub fn know_nothing(&self) {
        lock(&self.0.state).unknowable = true;
    }

    /// How often this was called, with whatever success.
    pub fn calls(&self, call: Call) -> usize {
        lock(&self.0.state).made.get(&call).copied().unwrap_or(0)
    }

    /// How often this succeeded; a destroyed sandbox counts once.
    pub fn successes(&self, call: Call) -> usize {
        lock(&self.0.state).done.get(&call).copied().unwrap_or(0)
    }

    /// Sandboxes that were launched and neither destroyed nor dropped.
    pub fn alive(&self) -> usize {
        lock(&self.0.state).alive
    }

    pub fn most_alive(&self) -> usize {
        lock(&self.0.state).most_alive
    }

    /// Sandboxes that were dropped without having been destroyed.
    pub fn dropped(&self) -> usize {
        lock(&self.0.state).dropped
    }

    /// Every command that was started, in order, with its limits.
    pub fn started(&self) -> Vec<(Command, KernelLimits)> {
        lock(&self.0.state).started.clone()
    }
}

impl Shared {
    /// Counts a call and lets it suffer its fault.
    async fn suffer(&self, call: Call) -> Result<()> {
        let (delay, hang, error) = {
            let mut state = lock(&self.state);
            *state.made.entry(call).or_default() += 1;
            let Some(fault) = state.faults.get_mut(&call) else { return Ok(()) };
            let error = match &mut fault.failures {
                Some((times @ 1.., error)) => {
                    *times -= 1;
                    Some(error.clone())
                }
                _ => None,
            };
            (fault.delay, fault.hang, error)
        };
        if hang {
            std::future::pending::<()>().await;
        }
        if !delay.is_zero() {
            sleep(delay).await;
        }
        error.map_or(Ok(()), Err)
    }

    fn succeeded(&self, call: Call) {
        *lock(&self.state).done.entry(call).or_default() += 1;
    }
}

#[async_trait]
impl Runtime for FakeRuntime {
    fn name(&self) -> &str {
        &self.0.name
    }

    async fn probe(&self) -> Probe {
        let available = self.0.suffer(Call::Probe).await.map_err(|error| error.to_string());
        let limits = KernelLimit::ALL.map(|limit| (limit, LimitSupport::Held)).to_vec();
        Probe { available, limits, details: vec![("layers", "none: this is a play".to_owned())] }
    }

    async fn launch(&self, _spec: &SandboxSpec) -> Result<Box<dyn Sandbox>> {
        self.0.suffer(Call::Launch).await?;
        self.0.succeeded(Call::Launch);
        let mut state = lock(&self.0.state);
        state.alive += 1;
        state.most_alive = state.most_alive.max(state.alive);
        Ok(Box::new(FakeSandbox {
            shared: Arc::clone(&self.0),
            traces: Arc::default(),
            signals: watch::Sender::new(None),
            destroyed: false,
        }))
    }

    async fn sweep(&self) -> Result<Swept> {
        Ok(Swept::default())
    }

    async fn shutdown(&self) -> Result<()> {
        Ok(())
    }
}

struct FakeSandbox {
    shared: Arc<Shared>,
    traces: Arc<Mutex<Traces>>,
    /// The signal that ends the program, when it has come.
    signals: watch::Sender<Option<i32>>,
    destroyed: bool,
}

#[async_trait]
impl Sandbox for FakeSandbox {
    async fn put(&mut self, files: Vec<File>) -> Result<()> {
        self.shared.suffer(Call::Put).await?;
        for File { path, content, executable } in files {
            let path = path.to_string();
            lock(&self.traces).work_dir.insert(path.clone(), CollectedFile { path, content, executable });
        }
        self.shared.succeeded(Call::Put);
        Ok(())
    }

    async fn start(&mut self, command: Command, limits: &KernelLimits) -> Result<Started> {
        self.shared.suffer(Call::Start).await?;
        let script = (self.shared.player)(&command);
        let program = command.argv.first().cloned().unwrap_or_default();
        lock(&self.shared.state).started.push((command, *limits));
        let (stdin, program_stdin) = duplex(PIPE_BYTES);
        let (program_stdout, stdout) = duplex(PIPE_BYTES);
        let (program_stderr, stderr) = duplex(PIPE_BYTES);
        let exit = watch::Sender::new(None);
        let process = FakeProcess {
            shared: Arc::clone(&self.shared),
            exit: exit.subscribe(),
            signals: self.signals.clone(),
            ignores_signals: script.ignores_signals,
        };
        match script.not_started.clone() {
            Some((NotStarted::AtStart, reason)) => return Err(RuntimeError::NotStarted { program, reason }),
            Some((NotStarted::AtWait, reason)) => {
                exit.send_replace(Some(Err(RuntimeError::NotStarted { program, reason })));
            }
            None => {
                let pipes = Pipes { stdin: program_stdin, stdout: program_stdout, stderr: program_stderr };
                tokio::spawn(live(script, pipes, Arc::clone(&self.traces), self.signals.subscribe(), exit));
            }
        }
        self.shared.succeeded(Call::Start);
        Ok(Started {
            since: tokio::time::Instant::now(),
            process: Box::new(process),
            stdin: Box::new(stdin),
            stdout: Box::new(stdout),
            stderr: Box::new(stderr),
        })
    }

    async fn facts(&self) -> Result<Facts> {
        self.shared.suffer(Call::Facts).await?;
        self.shared.succeeded(Call::Facts);
        if lock(&self.shared.state).unknowable {
            return Ok(Facts::default());
        }
        let traces = lock(&self.traces);
        Ok(Facts {
            cpu_time: Some(traces.cpu.used()),
            memory_peak_bytes: Some(1 << 20),
            oom_kills: Some(traces.oom_kills),
            tasks_peak: Some(1),
            task_limit_hits: Some(0),
        })
    }

    async fn collect(&mut self, request: &CollectRequest) -> Result<Collected> {
        self.shared.suffer(Call::Collect).await?;
        self.shared.succeeded(Call::Collect);
        let wanted = |path: &str| request.globs.iter().any(|glob| glob.matches(path));
        let traces = lock(&self.traces);
        let matching = traces.work_dir.values().filter(|file| wanted(&file.path));
        let mut collected = Collected::default();
        let mut bytes = 0;
        for file in matching {
            let size = file.content.len() as u64;
            if collected.files.len() >= request.max_files || bytes + size > request.max_bytes {
                let omitted = crate::Omitted { path: file.path.clone(), reason: "does not fit" };
                collected.omitted.push(omitted);
            } else {
                bytes += size;
                collected.files.push(file.clone());
            }
        }
        Ok(collected)
    }

    async fn destroy(&mut self) -> Result<()> {
        self.shared.suffer(Call::Destroy).await?;
        self.signals.send_replace(Some(SIGKILL));
        if !std::mem::replace(&mut self.destroyed, true) {
            self.shared.succeeded(Call::Destroy);
            lock(&self.shared.state).alive -= 1;
        }
        Ok(())
    }
}

impl Drop for FakeSandbox {
    fn drop(&mut self) {
        if !self.destroyed {
            self.signals.send_replace(Some(SIGKILL));
            let mut state = lock(&self.shared.state);
            state.alive -= 1;
            state.dropped += 1;
        }
    }
}

type Ending = Option<Result<Exit>>;

/// A program's life: its script, unless a signal ends it before.
async fn live(
    script: Script,
    pipes: Pipes,
    traces: Arc<Mutex<Traces>>,
    mut signals: watch::Receiver<Option<i32>>,
    exit: watch::Sender<Ending>,
) {
    let ended = tokio::select! {
        biased;
        signal = signals.wait_for(Option::is_some) => {
            // The sandbox is gone without a word: as dead as by a signal.
            Exit::Signal(signal.ok().and_then(|signal| *signal).unwrap_or(SIGKILL))
        }
        exit = play(script, pipes, Arc::clone(&traces)) => exit,
    };
    lock(&traces).cpu.stop();
    exit.send_replace(Some(Ok(ended)));
}

struct FakeProcess {
    shared: Arc<Shared>,
    exit: watch::Receiver<Ending>,
    signals: watch::Sender<Option<i32>>,
    ignores_signals: bool,
}

#[async_trait]
impl Process for FakeProcess {
    async fn wait(&mut self) -> Result<Exit> {
        self.shared.suffer(Call::Wait).await?;
        let ended = self.exit.wait_for(Option::is_some).await.ok().and_then(|exit| exit.clone());
        ended.unwrap_or_else(|| Err(RuntimeError::sandbox("wait", "the program's task is gone")))
    }

    async fn signal(&self, signal: Signal) -> Result<()> {
        self.shared.suffer(Call::Signal).await?;
        self.shared.succeeded(Call::Signal);
        if signal == Signal::Kill || !self.ignores_signals {
            self.signals.send_replace(Some(number(signal)));
        }
        Ok(())
    }
}

fn number(signal: Signal) -> i32 {
    match signal {
        Signal::Kill => SIGKILL,
        Signal::Interrupt => 2,
        Signal::Terminate => 15,
        Signal::Hangup => 1,
        Signal::Quit => 3,
        Signal::User1 => 10,
        Signal::User2 => 12,
    }
}

/// A lock that a failed test has poisoned is as good as any.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
