//! What a scripted program does, step by step, and the playing of it in tokio's time, so that with a paused clock
//! a minute costs nothing. No sandbox here: see `fake`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream};
use tokio::time::{Instant, sleep};

use super::fake::lock;
use crate::{CollectedFile, Exit};

/// A program. After its last step it ends with exit code 0.
#[derive(Debug, Clone, Default)]
pub struct Script {
    pub(super) steps: Vec<Step>,
    pub(super) ignores_signals: bool,
    pub(super) not_started: Option<(NotStarted, String)>,
}

/// Where a program that can't be executed is found out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotStarted {
    AtStart,
    AtWait,
}

#[derive(Debug, Clone)]
pub enum Step {
    Sleep(Duration),
    /// Never goes on.
    Hang,
    /// Writes all of it, waiting while the pipe is full; goes on when nobody reads any more.
    Print(Output, Bytes),
    /// Writes so many times one kibibyte.
    Flood(Output, usize),
    /// Reads stdin to its end.
    ReadStdin,
    /// Copies stdin to stdout up to its end.
    Echo,
    CloseStdin,
    /// Computes on so many CPUs at once until this much CPU time is used.
    Burn {
        cpu: Duration,
        cpus: u32,
    },
    /// The kernel kills some other process of the sandbox for memory; this one goes on.
    MoveOomCounter,
    WriteFile(&'static str, Bytes),
    /// Prints a file of the working directory to stdout; exit code 66 when it is not there.
    Cat(&'static str),
    Exit(i32),
    /// Ends by this signal.
    Die(i32),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    Stdout,
    Stderr,
}

impl Script {
    pub fn new(steps: impl IntoIterator<Item = Step>) -> Self {
        Self { steps: steps.into_iter().collect(), ..Self::default() }
    }

    /// A program that prints this and ends.
    pub fn prints(text: &'static str) -> Self {
        Self::new([Step::Print(Output::Stdout, Bytes::from_static(text.as_bytes()))])
    }

    /// A program that ends with this code and does nothing else.
    pub fn exits(code: i32) -> Self {
        Self::new([Step::Exit(code)])
    }

    /// A program that can't be executed.
    pub fn not_started(at: NotStarted, reason: &str) -> Self {
        Self { not_started: Some((at, reason.to_owned())), ..Self::default() }
    }

    /// Every signal but [`crate::Signal::Kill`] has no effect.
    pub fn ignoring_signals(self) -> Self {
        Self { ignores_signals: true, ..self }
    }
}

/// What a program changes while it runs, for `facts` and `collect` to see.
#[derive(Debug, Default)]
pub(super) struct Traces {
    pub cpu: Cpu,
    pub oom_kills: u64,
    pub work_dir: BTreeMap<String, CollectedFile>,
}

#[derive(Debug, Default)]
pub(super) struct Cpu {
    used: Duration,
    /// Since when, on how many CPUs, and up to how much of it.
    burning: Option<(Instant, u32, Duration)>,
}

impl Cpu {
    pub(super) fn used(&self) -> Duration {
        self.used
            + self.burning.map_or(Duration::ZERO, |(since, cpus, most)| (since.elapsed() * cpus).min(most))
    }

    fn start(&mut self, cpus: u32, most: Duration) {
        self.burning = Some((Instant::now(), cpus, most));
    }

    /// Also when the program was killed: what was used stays used and grows no more.
    pub(super) fn stop(&mut self) {
        self.used = self.used();
        self.burning = None;
    }
}

/// The program's ends of its streams; dropped when it has ended.
pub(super) struct Pipes {
    pub stdin: DuplexStream,
    pub stdout: DuplexStream,
    pub stderr: DuplexStream,
}

/// Plays a script up to its end. Dropping the future is the program's sudden death.
pub(super) async fn play(script: Script, pipes: Pipes, traces: Arc<Mutex<Traces>>) -> Exit {
    let Pipes { stdin, mut stdout, mut stderr } = pipes;
    let mut stdin = Some(stdin);
    for step in script.steps {
        match step {
            Step::Sleep(duration) => sleep(duration).await,
            Step::Hang => std::future::pending().await,
            Step::Print(Output::Stdout, bytes) => print(&mut stdout, &bytes).await,
            Step::Print(Output::Stderr, bytes) => print(&mut stderr, &bytes).await,
            Step::Flood(Output::Stdout, kib) => flood(&mut stdout, kib).await,
            Step::Flood(Output::Stderr, kib) => flood(&mut stderr, kib).await,
            Step::ReadStdin => copy(stdin.take(), &mut tokio::io::sink()).await,
            Step::Echo => copy(stdin.take(), &mut stdout).await,
            Step::CloseStdin => drop(stdin.take()),
            Step::Burn { cpu, cpus } => {
                lock(&traces).cpu.start(cpus, cpu);
                sleep(cpu / cpus.max(1)).await;
                lock(&traces).cpu.stop();
            }
            Step::MoveOomCounter => lock(&traces).oom_kills += 1,
            Step::WriteFile(path, content) => {
                let file = CollectedFile { path: path.to_owned(), content, executable: true };
                lock(&traces).work_dir.insert(path.to_owned(), file);
            }
            Step::Cat(path) => {
                let content = lock(&traces).work_dir.get(path).map(|file| file.content.clone());
                match content {
                    Some(content) => print(&mut stdout, &content).await,
                    None => return Exit::Code(66),
                }
            }
            Step::Exit(code) => return Exit::Code(code),
            Step::Die(signal) => return Exit::Signal(signal),
        }
    }
    Exit::Code(0)
}

/// A closed pipe is no news to the program.
async fn print(pipe: &mut DuplexStream, bytes: &[u8]) {
    let _closed = pipe.write_all(bytes).await;
}

async fn flood(pipe: &mut DuplexStream, kib: usize) {
    for _ in 0..kib {
        print(pipe, &[b'x'; 1024]).await;
    }
}

async fn copy(from: Option<impl AsyncRead + Unpin>, to: &mut (impl AsyncWrite + Unpin)) {
    let Some(mut from) = from else { return };
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        if to.write_all(buffer.get(..read).unwrap_or_default()).await.is_err() {
            return;
        }
    }
}
