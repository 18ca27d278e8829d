//! What the daemon and the agent say to each other, over the container's stdin and stdout.
//!
//! ```text
//!  daemon                                  agent
//!         <───── Hello, StdinCredit ──────         once the program's process is parked
//!   [Prestart ──────────────────────────>          the interpreter is started and meets a FIFO
//!         <── Parked | NotStarted ────────]         once it has opened that
//!    Put, PutData… ─────────────────────>         any number of files
//!    Start | Resume ────────────────────>
//!         <──── Started | NotStarted ─────
//!    Stdin…, StdinEnd, Signal ──────────>
//!         <─ StdinCredit, Output…, OutputEnd
//!    Credit ────────────────────────────>
//!         <──────────── Ended ────────────         all of the program's processes are dead
//!    Collect ───────────────────────────>
//!         <─ File, FileData…, Omitted, Collected
//! ```
//!
//! Bytes of a program flow only as far as the other side has given credit, so that a full pipe holds up nothing but
//! itself: a signal always gets through, and so does the end. Both sides are bounded by [`crate::Decoder`] before a
//! frame is looked at. Deliberately absent: anything that decides.

use bytes::Bytes;
use sandboxd_inside::codec::{Malformed, Reader, Writer};

use crate::MAX_DATA_BYTES;

/// Of these frames. An agent in an image may be older than the daemon.
pub const VERSION: u32 = 1;

/// The largest content of a frame to the agent: the command line and the environment of a Start. Data comes in frames
/// of [`crate::MAX_DATA_BYTES`] at most.
pub const MAX_TO_AGENT_BYTES: usize = 8 * 1024 * 1024;
/// The largest content of a frame from the agent: data, or the path of a file that a program made.
pub const MAX_FROM_AGENT_BYTES: usize = MAX_DATA_BYTES + 4096;

/// The kind of a [`ToAgent::Start`], which the agent passes on as it came.
pub const START_KIND: u8 = 2;
/// The kind of a [`FromAgent::FileData`], whose content is bytes and nothing else.
pub const FILE_DATA_KIND: u8 = 9;

/// Daemon to agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToAgent {
    /// A file below the working directory; so many bytes of `PutData` follow.
    Put {
        path: String,
        executable: bool,
        content_bytes: u64,
    },
    PutData(Bytes),
    /// Answered by `Started` or `NotStarted`.
    Start(Start),
    /// Starts an interpreter ahead: `script` becomes a FIFO in the working directory. Answered by `Parked` or
    /// `NotStarted`. Nothing of it is shown to anybody before `Resume`.
    Prestart {
        start: Start,
        script: String,
    },
    /// Hands the put file called `script` over to the interpreter that waits for it; answered as `Start` is.
    Resume,
    Stdin(Bytes),
    StdinEnd,
    /// So many more bytes of this output may come.
    Credit {
        output: Output,
        bytes: u64,
    },
    /// 9 goes to every process but the agent, any other to the program's first.
    Signal(u32),
    /// Once the program has ended; answered by any number of files and omissions, then `Collected`.
    Collect {
        globs: Vec<String>,
        max_files: u64,
        max_bytes: u64,
        max_entries: u64,
    },
}

/// The program and the limits that its own process takes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Start {
    pub argv: Vec<String>,
    /// `NAME=value`.
    pub env: Vec<String>,
    pub open_files: u64,
    pub file_size_bytes: u64,
    pub stack_bytes: u64,
    /// RLIMIT_NPROC of the program's user, where the host's cgroup can't count the program's tasks alone (gVisor's own
    /// threads are in it). Linux counts a user's tasks over all containers, gVisor within one: for gVisor only.
    pub tasks: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    Stdout,
    Stderr,
}

/// Agent to daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FromAgent {
    /// Everything is ready for a program.
    Hello {
        version: u32,
    },
    Started,
    /// The interpreter waits for its program.
    Parked,
    /// The program could not be executed, or one of its files not be put.
    NotStarted {
        program: String,
        reason: String,
    },
    /// So many more bytes of stdin may come; the first comes with Hello, so that they may follow Start at once. None
    /// come after a program has closed its stdin.
    StdinCredit {
        bytes: u64,
    },
    Output {
        output: Output,
        bytes: Bytes,
    },
    /// After the last byte of it; not after NotStarted. It may come before Ended or after it.
    OutputEnd(Output),
    /// The first process has ended with this wait status, and whatever it left behind is dead. What is left in its
    /// pipes still comes, as far as there is credit.
    Ended {
        status: u32,
    },
    /// A file that was asked for; so many bytes of `FileData` follow.
    File {
        path: String,
        executable: bool,
        content_bytes: u64,
    },
    FileData(Bytes),
    Omitted {
        path: String,
        reason: String,
    },
    Collected,
    /// The sandbox is broken; the agent ends.
    Failed {
        reason: String,
    },
}

impl ToAgent {
    /// The frame's kind and its content.
    pub fn encode(&self) -> (u8, Vec<u8>) {
        let mut out = Writer::new();
        let kind = match self {
            Self::Put { path, executable, content_bytes } => {
                out.byte(u8::from(*executable)).number(*content_bytes).bytes(path.as_bytes());
                0
            }
            Self::PutData(bytes) => return (1, bytes.to_vec()),
            Self::Start(start) => {
                start.encode(&mut out);
                START_KIND
            }
            Self::Stdin(bytes) => return (3, bytes.to_vec()),
            Self::StdinEnd => 4,
            Self::Credit { output, bytes } => {
                out.byte(output.number()).number(*bytes);
                5
            }
            Self::Signal(signal) => {
                out.number(u64::from(*signal));
                6
            }
            Self::Collect { globs, max_files, max_bytes, max_entries } => {
                out.number(*max_files).number(*max_bytes).number(*max_entries);
                strings(&mut out, globs);
                7
            }
            Self::Prestart { start, script } => {
                out.bytes(script.as_bytes());
                start.encode(&mut out);
                8
            }
            Self::Resume => 9,
        };
        (kind, out.finish())
    }

    /// # Errors
    /// When it is no such frame.
    pub fn decode(kind: u8, content: Bytes) -> Result<Self, Malformed> {
        match kind {
            1 | 3 if content.len() > MAX_DATA_BYTES => return Err(Malformed),
            1 => return Ok(Self::PutData(content)),
            3 => return Ok(Self::Stdin(content)),
            _ => {}
        }
        let mut input = Reader::new(&content);
        Ok(match kind {
            0 => {
                let (executable, content_bytes) = (input.byte()? != 0, input.number()?);
                Self::Put { path: input.string()?, executable, content_bytes }
            }
            START_KIND => Self::Start(Start::decode(&mut input)?),
            4 => Self::StdinEnd,
            5 => Self::Credit { output: Output::of(input.byte()?)?, bytes: input.number()? },
            6 => Self::Signal(small(input.number()?)?),
            7 => {
                let (max_files, max_bytes) = (input.number()?, input.number()?);
                let max_entries = input.number()?;
                Self::Collect { globs: read_strings(&mut input)?, max_files, max_bytes, max_entries }
            }
            8 => {
                let script = input.string()?;
                Self::Prestart { start: Start::decode(&mut input)?, script }
            }
            9 => Self::Resume,
            _ => return Err(Malformed),
        })
    }
}

impl Start {
    fn encode(&self, out: &mut Writer) {
        out.number(self.open_files).number(self.file_size_bytes).number(self.stack_bytes);
        out.optional(self.tasks);
        strings(out, &self.argv);
        strings(out, &self.env);
    }

    fn decode(input: &mut Reader) -> Result<Self, Malformed> {
        let (open_files, file_size_bytes) = (input.number()?, input.number()?);
        let (stack_bytes, tasks) = (input.number()?, input.optional()?);
        let (argv, env) = (read_strings(input)?, read_strings(input)?);
        Ok(Self { argv, env, open_files, file_size_bytes, stack_bytes, tasks })
    }
}

impl Output {
    fn number(self) -> u8 {
        match self {
            Self::Stdout => 1,
            Self::Stderr => 2,
        }
    }

    /// The kind of the frame that carries its bytes and nothing else.
    pub fn kind(self) -> u8 {
        match self {
            Self::Stdout => 4,
            Self::Stderr => 5,
        }
    }

    fn of(number: u8) -> Result<Self, Malformed> {
        match number {
            1 => Ok(Self::Stdout),
            2 => Ok(Self::Stderr),
            _ => Err(Malformed),
        }
    }
}

impl FromAgent {
    /// The frame's kind and its content.
    pub fn encode(&self) -> (u8, Vec<u8>) {
        let mut out = Writer::new();
        let kind = match self {
            Self::Hello { version } => {
                out.number(u64::from(*version));
                0
            }
            Self::Started => 1,
            Self::NotStarted { program, reason } => {
                out.bytes(short(program)).bytes(short(reason));
                2
            }
            Self::StdinCredit { bytes } => {
                out.number(*bytes);
                3
            }
            Self::Output { output, bytes } => return (output.kind(), bytes.to_vec()),
            Self::OutputEnd(output) => {
                out.byte(output.number());
                6
            }
            Self::Ended { status } => {
                out.number(u64::from(*status));
                7
            }
            Self::File { path, executable, content_bytes } => {
                out.byte(u8::from(*executable)).number(*content_bytes).bytes(path.as_bytes());
                8
            }
            Self::FileData(bytes) => return (FILE_DATA_KIND, bytes.to_vec()),
            Self::Omitted { path, reason } => {
                out.bytes(path.as_bytes()).bytes(short(reason));
                10
            }
            Self::Collected => 11,
            Self::Failed { reason } => {
                out.bytes(short(reason));
                12
            }
            Self::Parked => 13,
        };
        (kind, out.finish())
    }

    /// # Errors
    /// When it is no such frame.
    pub fn decode(kind: u8, content: Bytes) -> Result<Self, Malformed> {
        match kind {
            4 => return Ok(Self::Output { output: Output::Stdout, bytes: content }),
            5 => return Ok(Self::Output { output: Output::Stderr, bytes: content }),
            FILE_DATA_KIND => return Ok(Self::FileData(content)),
            _ => {}
        }
        let mut input = Reader::new(&content);
        Ok(match kind {
            0 => Self::Hello { version: small(input.number()?)? },
            1 => Self::Started,
            2 => Self::NotStarted { program: input.string()?, reason: input.string()? },
            3 => Self::StdinCredit { bytes: input.number()? },
            6 => Self::OutputEnd(Output::of(input.byte()?)?),
            7 => Self::Ended { status: small(input.number()?)? },
            8 => {
                let (executable, content_bytes) = (input.byte()? != 0, input.number()?);
                Self::File { path: input.string()?, executable, content_bytes }
            }
            10 => Self::Omitted { path: input.string()?, reason: input.string()? },
            11 => Self::Collected,
            12 => Self::Failed { reason: input.string()? },
            13 => Self::Parked,
            _ => return Err(Malformed),
        })
    }
}

fn strings(out: &mut Writer, list: &[String]) {
    out.number(list.len() as u64);
    for text in list {
        out.bytes(text.as_bytes());
    }
}

/// A count is never trusted further than the bytes that are there: each string takes some.
fn read_strings(input: &mut Reader) -> Result<Vec<String>, Malformed> {
    (0..input.number()?).map(|_| input.string()).collect()
}

fn small(number: u64) -> Result<u32, Malformed> {
    u32::try_from(number).map_err(|_| Malformed)
}

/// Of a sentence, what fits.
fn short(text: &str) -> &[u8] {
    const MAX_SENTENCE_BYTES: usize = 1024;
    let end = text.floor_char_boundary(MAX_SENTENCE_BYTES);
    text.get(..end).unwrap_or_default().as_bytes()
}
