//! The daemon's end of the line to an agent: frames in, frames out, and what is known of the agent so far.
//!
//! ```text
//!  opened ──Hello──> ready [──Prestart──> parked] ──Start or Resume──> Started | NotStarted ──> Ended ──Collect──> Collected
//!     └──────────┴─────────┴──────────────┴────────────────┴──────────┴── lost: the stream ended, or made no sense
//! ```
//!
//! Two tasks, one a direction, both ended with the line. Deliberately absent: what a loss means, which the engine that
//! made the container has a word in; limits; any decision.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use sandboxd_agent::{
    Decoder, FromAgent, MAX_DATA_BYTES, MAX_FROM_AGENT_BYTES, Output, Start, ToAgent, VERSION, header,
};
use sandboxd_contract::{
    CollectRequest, Collected, CollectedFile, Exit, File, Omitted, Result, RuntimeError, Started,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    sync::{Notify, mpsc, oneshot, watch},
    task::JoinSet,
    time::Instant,
};

use crate::streams::{Inlet, OUTPUT_WINDOW_BYTES, Outlet, OutputReader, Pulled, StdinWriter};

/// Frames that wait to be written, and collected pieces that wait to be taken.
const QUEUED_FRAMES: usize = 16;

/// How far the agent has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum State {
    Opened,
    Ready,
    Started,
    Ended(Exit),
    /// Nothing more is heard, for this reason.
    Lost(String),
}

pub(crate) struct Line {
    commands: mpsc::Sender<ToAgent>,
    shared: Arc<Shared>,
    /// Both directions; they end with the line.
    _tasks: JoinSet<()>,
}

struct Shared {
    state: watch::Sender<State>,
    stdin: Arc<Inlet>,
    stdout: Arc<Outlet>,
    stderr: Arc<Outlet>,
    /// Wakes the writer for the streams' sake.
    streams: Arc<Notify>,
    start: Mutex<Option<oneshot::Sender<FromAgent>>>,
    /// When the last frame that begins something was written.
    told: Mutex<Instant>,
    collect: Mutex<Option<mpsc::Sender<FromAgent>>>,
}

impl Line {
    /// Takes the container's streams over. Spawns on the current runtime.
    pub(crate) fn open(
        stdin: Box<dyn AsyncWrite + Send + Unpin>,
        stdout: Box<dyn AsyncRead + Send + Unpin>,
    ) -> Self {
        let (commands, queue) = mpsc::channel(QUEUED_FRAMES);
        let streams = Arc::<Notify>::default();
        let shared = Arc::new(Shared {
            state: watch::Sender::new(State::Opened),
            stdin: Inlet::new(Arc::clone(&streams)),
            stdout: Outlet::new(Arc::clone(&streams)),
            stderr: Outlet::new(Arc::clone(&streams)),
            streams,
            start: Mutex::default(),
            told: Mutex::new(Instant::now()),
            collect: Mutex::default(),
        });
        let mut tasks = JoinSet::new();
        let (reading, writing) = (Arc::clone(&shared), Arc::clone(&shared));
        tasks.spawn(async move {
            let Err(reason) = read(&reading, stdout).await;
            reading.lose(reason);
        });
        tasks.spawn(async move {
            let mut state = writing.state.subscribe();
            tokio::select! {
                Err(error) = write(&writing, queue, stdin) => {
                    writing.lose(format!("write to the agent: {error}"));
                }
                // An engine may hold a dead container's stdin open, and take nothing more of it.
                _ = state.wait_for(|state| matches!(state, State::Lost(_))) => {}
            }
        });
        Self { commands, shared, _tasks: tasks }
    }

    pub(crate) fn watch(&self) -> watch::Receiver<State> {
        self.shared.state.subscribe()
    }

    pub(crate) fn state(&self) -> State {
        self.shared.state.borrow().clone()
    }

    /// Waits until the program's process is parked.
    ///
    /// # Errors
    /// Why there will be none.
    pub(crate) async fn ready(&self) -> std::result::Result<(), String> {
        let mut state = self.watch();
        let known = state.wait_for(|state| *state != State::Opened).await;
        match known.as_deref() {
            Ok(State::Lost(reason)) => Err(reason.clone()),
            _ => Ok(()),
        }
    }

    /// Files for the working directory, as fast as the agent takes them.
    ///
    /// # Errors
    /// When the line is lost; what can't be put is told by the start.
    pub(crate) async fn put(&self, files: Vec<File>) -> Result<()> {
        for file in files {
            let path = file.path.as_str().to_owned();
            let content_bytes = file.content.len() as u64;
            self.send(ToAgent::Put { path, executable: file.executable, content_bytes }).await?;
            let mut content = file.content;
            while !content.is_empty() {
                let piece = content.split_to(content.len().min(MAX_DATA_BYTES));
                self.send(ToAgent::PutData(piece)).await?;
            }
        }
        Ok(())
    }

    /// Starts the program and hands its streams out; the process is the caller's to make of this line.
    ///
    /// # Errors
    /// [`RuntimeError::NotStarted`], and whatever loses the line.
    pub(crate) async fn start(&self, start: Start) -> Result<Instant> {
        self.begin(ToAgent::Start(start)).await
    }

    /// Starts an interpreter ahead, which then waits for the file `script`.
    ///
    /// # Errors
    /// As for [`Self::start`].
    pub(crate) async fn prestart(&self, start: Start, script: String) -> Result<()> {
        self.begin(ToAgent::Prestart { start, script }).await.map(drop)
    }

    /// Lets the interpreter that waits have its program, which was put.
    ///
    /// # Errors
    /// As for [`Self::start`].
    pub(crate) async fn resume(&self) -> Result<Instant> {
        self.begin(ToAgent::Resume).await
    }

    /// When the agent was told, behind all that it had to be given first.
    async fn begin(&self, frame: ToAgent) -> Result<Instant> {
        let (answer, answered) = oneshot::channel();
        *self.shared.start.lock().unwrap_or_else(PoisonError::into_inner) = Some(answer);
        self.send(frame).await?;
        match answered.await {
            Ok(FromAgent::NotStarted { program, reason }) => {
                Err(RuntimeError::NotStarted { program, reason })
            }
            Ok(_) => Ok(*self.shared.told.lock().unwrap_or_else(PoisonError::into_inner)),
            Err(_) => Err(self.lost("start the program")),
        }
    }

    /// The three streams; once.
    pub(crate) fn started(&self, since: Instant, process: Box<dyn sandboxd_contract::Process>) -> Started {
        Started {
            since,
            process,
            stdin: Box::new(StdinWriter(Arc::clone(&self.shared.stdin))),
            stdout: Box::new(OutputReader(Arc::clone(&self.shared.stdout))),
            stderr: Box::new(OutputReader(Arc::clone(&self.shared.stderr))),
        }
    }

    /// # Errors
    /// When the line is lost, or the agent's answer makes no sense.
    pub(crate) async fn collect(&self, request: &CollectRequest) -> Result<Collected> {
        let (pieces, mut collecting) = mpsc::channel(QUEUED_FRAMES);
        *self.shared.collect.lock().unwrap_or_else(PoisonError::into_inner) = Some(pieces);
        let globs = request.globs.iter().map(|glob| glob.as_str().to_owned()).collect();
        self.send(ToAgent::Collect {
            globs,
            max_files: request.max_files as u64,
            max_bytes: request.max_bytes,
            max_entries: request.max_entries as u64,
        })
        .await?;
        let mut gathering = Gathering::new(request);
        while let Some(piece) = collecting.recv().await {
            if gathering.take(piece).map_err(|reason| RuntimeError::sandbox("collect files", reason))? {
                return Ok(gathering.finish());
            }
        }
        Err(self.lost("collect files"))
    }

    /// # Errors
    /// When the line is lost.
    pub(crate) async fn send(&self, frame: ToAgent) -> Result<()> {
        self.commands.send(frame).await.map_err(|_| self.lost("talk to the agent"))
    }

    fn lost(&self, operation: &'static str) -> RuntimeError {
        let reason = match self.state() {
            State::Lost(reason) => reason,
            _ => "the line to the agent has ended".to_owned(),
        };
        RuntimeError::sandbox(operation, reason)
    }
}

impl Shared {
    /// The first reason stays.
    fn lose(&self, reason: String) {
        self.state.send_if_modified(|state| {
            let first = !matches!(state, State::Lost(_) | State::Ended(_));
            if first {
                *state = State::Lost(reason);
            }
            first
        });
        self.stdin.breaks();
        self.stdout.end();
        self.stderr.end();
        drop(self.start.lock().unwrap_or_else(PoisonError::into_inner).take());
        drop(self.collect.lock().unwrap_or_else(PoisonError::into_inner).take());
    }

    async fn hear(&self, frame: FromAgent) -> std::result::Result<(), String> {
        match frame {
            FromAgent::Hello { version: VERSION } => {
                self.state.send_replace(State::Ready);
            }
            FromAgent::Hello { version } => {
                return Err(format!(
                    "the agent speaks version {version} and the daemon {VERSION}: run sandboxd images build"
                ));
            }
            answer @ (FromAgent::Started | FromAgent::Parked | FromAgent::NotStarted { .. }) => {
                if answer == FromAgent::Started {
                    self.state.send_replace(State::Started);
                }
                let waiting = self.start.lock().unwrap_or_else(PoisonError::into_inner).take();
                // Who asked may have given up.
                let _heard = waiting.map(|waiting| waiting.send(answer));
            }
            FromAgent::StdinCredit { bytes } => self.stdin.add_credit(bytes),
            FromAgent::Output { output, bytes } => self.outlet(output).push(bytes)?,
            FromAgent::OutputEnd(output) => self.outlet(output).end(),
            FromAgent::Ended { status } => {
                self.stdin.breaks();
                self.state.send_replace(State::Ended(exit_of(status)));
            }
            piece @ (FromAgent::File { .. }
            | FromAgent::FileData(_)
            | FromAgent::Omitted { .. }
            | FromAgent::Collected) => {
                let waiting = self.collect.lock().unwrap_or_else(PoisonError::into_inner).clone();
                if let Some(waiting) = waiting {
                    // Who asked may have given up.
                    let _heard = waiting.send(piece).await;
                }
            }
            FromAgent::Failed { reason } => return Err(reason),
        }
        Ok(())
    }

    async fn write(
        &self,
        stdin: &mut (dyn AsyncWrite + Send + Unpin),
        frame: &ToAgent,
    ) -> std::io::Result<()> {
        if matches!(frame, ToAgent::Start(_) | ToAgent::Resume) {
            *self.told.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        }
        write_frame(stdin, frame).await
    }

    fn outlet(&self, output: Output) -> &Outlet {
        match output {
            Output::Stdout => &self.stdout,
            Output::Stderr => &self.stderr,
        }
    }
}

/// From a wait status, wait(2).
fn exit_of(status: u32) -> Exit {
    let signal = status & 0x7f;
    if signal == 0 { Exit::Code((status >> 8 & 0xff) as i32) } else { Exit::Signal(signal as i32) }
}

async fn read(
    shared: &Shared,
    mut stdout: Box<dyn AsyncRead + Send + Unpin>,
) -> std::result::Result<std::convert::Infallible, String> {
    let mut decoder = Decoder::new(MAX_FROM_AGENT_BYTES);
    loop {
        let next = decoder
            .next_frame()
            .map_err(|error| format!("the agent sends a frame of {} bytes", error.bytes))?;
        if let Some((kind, content)) = next {
            let frame = FromAgent::decode(kind, content).map_err(|error| format!("the agent: {error}"))?;
            shared.hear(frame).await?;
            continue;
        }
        let buffer = decoder.buffer();
        buffer.reserve(MAX_DATA_BYTES);
        let count = stdout.read_buf(buffer).await.map_err(|error| format!("read from the agent: {error}"))?;
        if count == 0 {
            return Err("the container's output has ended".to_owned());
        }
    }
}

/// Writes what was queued, gives credit back and passes stdin on, until the line is dropped.
async fn write(
    shared: &Shared,
    mut queue: mpsc::Receiver<ToAgent>,
    mut stdin: Box<dyn AsyncWrite + Send + Unpin>,
) -> std::io::Result<()> {
    for output in [Output::Stdout, Output::Stderr] {
        write_frame(&mut stdin, &ToAgent::Credit { output, bytes: OUTPUT_WINDOW_BYTES }).await?;
    }
    loop {
        for output in [Output::Stdout, Output::Stderr] {
            let bytes = shared.outlet(output).take_owed();
            if bytes > 0 {
                write_frame(&mut stdin, &ToAgent::Credit { output, bytes }).await?;
            }
        }
        match shared.stdin.pull(MAX_DATA_BYTES) {
            Pulled::Bytes(bytes) => write_frame(&mut stdin, &ToAgent::Stdin(bytes)).await?,
            Pulled::End => write_frame(&mut stdin, &ToAgent::StdinEnd).await?,
            Pulled::Nothing => {
                stdin.flush().await?;
                tokio::select! {
                    command = queue.recv() => match command {
                        Some(command) => shared.write(&mut stdin, &command).await?,
                        None => return Ok(()),
                    },
                    () = shared.streams.notified() => {}
                }
                continue;
            }
        }
        // A long stdin must not hold up a signal.
        while let Ok(command) = queue.try_recv() {
            shared.write(&mut stdin, &command).await?;
        }
    }
}

async fn write_frame(stdin: &mut (dyn AsyncWrite + Send + Unpin), frame: &ToAgent) -> std::io::Result<()> {
    let (kind, content) = frame.encode();
    let mut whole = Vec::with_capacity(content.len() + 5);
    whole.extend_from_slice(&header(kind, content.len()));
    whole.extend_from_slice(&content);
    stdin.write_all(&whole).await
}

/// Puts collected files together, holding the agent to what was asked for.
struct Gathering {
    max_files: usize,
    left_bytes: u64,
    collected: Collected,
    file: Option<(CollectedFile, Vec<u8>, u64)>,
}

impl Gathering {
    fn new(request: &CollectRequest) -> Self {
        Self {
            max_files: request.max_files,
            left_bytes: request.max_bytes,
            collected: Collected::default(),
            file: None,
        }
    }

    /// Whether it was the last piece.
    fn take(&mut self, piece: FromAgent) -> std::result::Result<bool, &'static str> {
        match piece {
            FromAgent::File { path, executable, content_bytes } => {
                self.close()?;
                if content_bytes > self.left_bytes || self.collected.files.len() >= self.max_files {
                    return Err("the agent sends more than was asked for");
                }
                self.left_bytes -= content_bytes;
                let file = CollectedFile { path, content: Bytes::new(), executable };
                self.file = Some((file, Vec::new(), content_bytes));
            }
            FromAgent::FileData(bytes) => {
                let (_, content, expected) = self.file.as_mut().ok_or("data of no file")?;
                if content.len() as u64 + bytes.len() as u64 > *expected {
                    return Err("a file that is longer than it was");
                }
                content.extend_from_slice(&bytes);
            }
            FromAgent::Omitted { path, reason } => {
                self.close()?;
                if self.collected.omitted.len() >= self.max_files {
                    return Err("the agent omits more than was asked for");
                }
                let known = sandboxd_files::OMIT_REASONS.iter().find(|known| **known == reason);
                self.collected
                    .omitted
                    .push(Omitted { path, reason: known.copied().unwrap_or("can't be read") });
            }
            FromAgent::Collected => {
                self.close()?;
                return Ok(true);
            }
            _ => return Err("a frame that is no piece of a file"),
        }
        Ok(false)
    }

    fn close(&mut self) -> std::result::Result<(), &'static str> {
        if let Some((mut file, content, expected)) = self.file.take() {
            if content.len() as u64 != expected {
                return Err("a file that ends too early");
            }
            file.content = content.into();
            self.collected.files.push(file);
        }
        Ok(())
    }

    fn finish(mut self) -> Collected {
        self.collected.files.sort_by(|a, b| a.path.cmp(&b.path));
        self.collected.omitted.sort_by(|a, b| a.path.cmp(&b.path));
        self.collected
    }
}
