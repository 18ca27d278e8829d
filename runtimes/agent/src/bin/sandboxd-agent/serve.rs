//! The loop: frames of the daemon's, the program's streams, and deaths, all in one thread that waits for nothing else.
//!
//! ```text
//!  parked ──Start──> starting ──socket closed: Started──> running ──the first process ended──> over ──Collect…
//!     │                 └────────a sentence: NotStarted────^────────────────────────────────────^
//!     └─Prestart─> starting ──socket closed, FIFO opened: Parked──> waiting ──Resume
//! ```
//! A daemon that does not read holds up its own output only: while its queue is full the program's pipes are not read,
//! but frames still are, so that a signal gets through.

use std::{
    io::{Read, Write},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::net::UnixStream,
    },
};

use bytes::{Bytes, BytesMut};
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        signal::{Signal, kill},
        signalfd::SignalFd,
    },
    unistd::{Pid, read},
};
use sandboxd_agent::{Decoder, FromAgent, MAX_DATA_BYTES, MAX_TO_AGENT_BYTES, Output, ToAgent};
use sandboxd_files::{CollectRequest, Glob};
use sandboxd_inside::{
    reap,
    sys::{CAP_DAC_OVERRIDE, CAP_KILL},
};

use crate::{
    Stop, collect,
    input::Input,
    outbox::Outbox,
    outputs::Stream,
    park::{MAX_SENTENCE_BYTES, Parked},
    put::Putting,
    script::{Feed, Script},
    shed,
};

enum Life {
    Parked {
        child: Pid,
        socket: UnixStream,
    },
    Starting {
        child: Pid,
        socket: UnixStream,
        program: String,
        ahead: Option<Script>,
    },
    /// An interpreter was executed that has not opened its program yet.
    Waking {
        child: Pid,
        program: String,
        script: Script,
    },
    Waiting {
        child: Pid,
        script: Script,
    },
    Running {
        child: Pid,
    },
    Over,
}

/// How often it is looked whether an interpreter has opened its program.
const WAKING_POLL_MS: u16 = 2;

pub(crate) struct Agent {
    life: Life,
    children: SignalFd,
    decoder: Decoder,
    putting: Putting,
    stdin: Input,
    /// The program, where an interpreter waited for it.
    feed: Option<Feed>,
    outputs: [Stream; 2],
    /// Where whatever is read comes to first.
    scratch: Vec<u8>,
}

#[derive(Clone, Copy)]
enum Source {
    Daemon,
    DaemonTakes,
    Child,
    Deaths,
    Stdin,
    Feed,
    Output(usize),
}

impl Agent {
    /// # Errors
    /// One sentence.
    pub(crate) fn new(parked: Parked, children: SignalFd) -> Result<Self, String> {
        let step = |errno: Errno| format!("watch a pipe: {errno}");
        let Parked { child, socket, stdin, stdout, stderr } = parked;
        Ok(Self {
            life: Life::Parked { child, socket },
            children,
            decoder: Decoder::new(MAX_TO_AGENT_BYTES),
            putting: Putting::default(),
            stdin: Input::new(stdin).map_err(step)?,
            feed: None,
            outputs: [
                Stream::new(Output::Stdout, stdout).map_err(step)?,
                Stream::new(Output::Stderr, stderr).map_err(step)?,
            ],
            scratch: vec![0; MAX_DATA_BYTES],
        })
    }

    pub(crate) fn serve(&mut self, outbox: &mut Outbox) -> Stop {
        loop {
            if let Err(stop) = self.turn(outbox) {
                return stop;
            }
        }
    }

    pub(crate) fn grant_stdin(&mut self, outbox: &mut Outbox) {
        if let Some(bytes) = self.stdin.grant() {
            outbox.frame(&FromAgent::StdinCredit { bytes });
        }
    }

    fn turn(&mut self, outbox: &mut Outbox) -> Result<(), Stop> {
        outbox.flush()?;
        for source in self.wait(outbox)? {
            match source {
                Source::Daemon => self.hear_daemon(outbox)?,
                // Done at the next turn.
                Source::DaemonTakes => {}
                Source::Child => self.hear_child(outbox)?,
                Source::Deaths => self.reap(outbox)?,
                Source::Stdin => self.stdin.pump(),
                Source::Feed => self.pump_feed(),
                Source::Output(at) => {
                    if let Some(stream) = self.outputs.get_mut(at) {
                        stream.pump(&mut self.scratch, outbox);
                    }
                }
            }
        }
        self.look_for_waking(outbox)?;
        if matches!(self.life, Life::Over) {
            self.outputs.iter_mut().for_each(|stream| stream.end_if_empty(outbox));
        }
        self.grant_stdin(outbox);
        Ok(())
    }

    /// What is ready, in the order in which it is to be looked at: a start comes before the end that follows it, and
    /// the end before the last output.
    fn wait(&self, outbox: &Outbox) -> Result<Vec<Source>, Stop> {
        let daemon = std::io::stdin();
        let mut watched: Vec<(Source, BorrowedFd, PollFlags)> =
            vec![(Source::Daemon, daemon.as_fd(), PollFlags::POLLIN)];
        watched.extend(outbox.waiting().map(|fd| (Source::DaemonTakes, fd, PollFlags::POLLOUT)));
        if let Life::Starting { socket, .. } = &self.life {
            watched.push((Source::Child, socket.as_fd(), PollFlags::POLLIN));
        }
        watched.push((Source::Deaths, self.children.as_fd(), PollFlags::POLLIN));
        watched.extend(self.stdin.waiting().map(|fd| (Source::Stdin, fd, PollFlags::POLLOUT)));
        let feed = self.feed.as_ref().and_then(Feed::waiting);
        watched.extend(feed.map(|fd| (Source::Feed, fd, PollFlags::POLLOUT)));
        if outbox.has_room() {
            let outputs = self.outputs.iter().enumerate();
            watched.extend(
                outputs.filter_map(|(at, one)| Some((Source::Output(at), one.waiting()?, PollFlags::POLLIN))),
            );
        }
        let mut polled: Vec<PollFd> =
            watched.iter().map(|(_, fd, events)| PollFd::new(*fd, *events)).collect();
        let timeout = match self.life {
            Life::Waking { .. } => PollTimeout::from(WAKING_POLL_MS),
            _ => PollTimeout::NONE,
        };
        match poll(&mut polled, timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(Stop::Broken(format!("poll: {errno}"))),
        }
        let ready = |polled: &PollFd| polled.revents().is_some_and(|events| !events.is_empty());
        let ready = watched.iter().zip(&polled).filter(|(_, polled)| ready(polled));
        Ok(ready.map(|((source, ..), _)| *source).collect())
    }

    fn hear_daemon(&mut self, outbox: &mut Outbox) -> Result<(), Stop> {
        let heard = match read(std::io::stdin(), &mut self.scratch) {
            Ok(0) => return Err(Stop::DaemonGone),
            Ok(heard) => heard,
            Err(Errno::EINTR | Errno::EAGAIN) => return Ok(()),
            Err(_) => return Err(Stop::DaemonGone),
        };
        self.decoder.buffer().extend_from_slice(self.scratch.get(..heard).unwrap_or_default());
        loop {
            match self.decoder.next_frame() {
                Ok(Some((kind, content))) => self.frame(kind, content, outbox)?,
                Ok(None) => break,
                Err(oversized) => {
                    return Err(Stop::Broken(format!(
                        "the daemon sent a frame of {} bytes",
                        oversized.bytes
                    )));
                }
            }
        }
        if self.decoder.buffer().is_empty() {
            // A large frame's memory is the program's now.
            *self.decoder.buffer() = BytesMut::new();
        }
        Ok(())
    }

    fn frame(&mut self, kind: u8, content: Bytes, outbox: &mut Outbox) -> Result<(), Stop> {
        let frame = ToAgent::decode(kind, content.clone())
            .map_err(|error| Stop::Broken(format!("the daemon's frame of kind {kind}: {error}")))?;
        match frame {
            ToAgent::Put { path, executable, content_bytes } => {
                self.before_the_start("a file")?;
                self.putting.begin(&path, executable, content_bytes).map_err(Stop::Broken)?;
            }
            ToAgent::PutData(bytes) => {
                self.before_the_start("a file")?;
                self.putting.data(&bytes).map_err(Stop::Broken)?;
            }
            ToAgent::Start(start) => {
                let program = start.argv.into_iter().next().unwrap_or_default();
                // Nothing is given away any more; what is collected may still be anybody's.
                shed(CAP_DAC_OVERRIDE | CAP_KILL).map_err(Stop::Broken)?;
                self.start(program, &content, None, outbox)?;
            }
            ToAgent::Prestart { start, script } => {
                self.before_the_start("an interpreter")?;
                let script = Script::make(&script).map_err(Stop::Broken)?;
                let program = start.argv.first().cloned().unwrap_or_default();
                let (_, content) = ToAgent::Start(start).encode();
                self.start(program, &content, Some(script), outbox)?;
            }
            ToAgent::Resume => self.resume(outbox)?,
            ToAgent::Stdin(bytes) => {
                self.stdin.take(&bytes).map_err(Stop::Broken)?;
                self.stdin.pump();
            }
            ToAgent::StdinEnd => {
                self.stdin.end();
                self.stdin.pump();
            }
            ToAgent::Credit { output, bytes } => {
                let [stdout, stderr] = &mut self.outputs;
                let stream = if output == Output::Stdout { stdout } else { stderr };
                stream.add_credit(bytes);
            }
            ToAgent::Signal(signal) => self.signal(signal)?,
            ToAgent::Collect { globs, max_files, max_bytes, max_entries } => {
                if !matches!(self.life, Life::Over) {
                    return Err(Stop::Broken("files can't be collected before the end".to_owned()));
                }
                let globs = globs.iter().map(|glob| Glob::parse(glob)).collect::<Result<_, _>>();
                let count = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
                let request = CollectRequest {
                    globs: globs.map_err(Stop::Broken)?,
                    max_files: count(max_files),
                    max_bytes,
                    max_entries: count(max_entries),
                };
                collect::collect(&request, &mut self.scratch, outbox)?;
            }
        }
        Ok(())
    }

    fn before_the_start(&self, what: &str) -> Result<(), Stop> {
        if matches!(self.life, Life::Parked { .. } | Life::Waiting { .. }) {
            return Ok(());
        }
        Err(Stop::Broken(format!("{what} came after the start")))
    }

    /// Tells the parked process what to become, in the daemon's own words. It reads them at once.
    fn start(
        &mut self,
        program: String,
        content: &[u8],
        ahead: Option<Script>,
        outbox: &mut Outbox,
    ) -> Result<(), Stop> {
        let (child, mut socket) = match std::mem::replace(&mut self.life, Life::Over) {
            Life::Parked { child, socket } => (child, socket),
            other => {
                self.life = other;
                return Err(Stop::Broken("a second start".to_owned()));
            }
        };
        if let Some(reason) = self.putting.finish().map_err(Stop::Broken)? {
            outbox.frame(&FromAgent::NotStarted { program, reason: reason.to_owned() });
            self.not_started();
            return Ok(());
        }
        let length = u32::try_from(content.len()).unwrap_or(u32::MAX).to_le_bytes();
        let told = socket.write_all(&length).and_then(|()| socket.write_all(content));
        // When the child is gone, its end tells.
        let _ = told.and_then(|()| socket.set_nonblocking(true));
        self.life = Life::Starting { child, socket, program, ahead };
        Ok(())
    }

    /// Whether the interpreter has opened its program by now.
    fn look_for_waking(&mut self, outbox: &mut Outbox) -> Result<(), Stop> {
        let Life::Waking { script, .. } = &mut self.life else { return Ok(()) };
        if script.is_opened().map_err(Stop::Broken)?
            && let Life::Waking { child, script, .. } = std::mem::replace(&mut self.life, Life::Over)
        {
            self.life = Life::Waiting { child, script };
            outbox.frame(&FromAgent::Parked);
        }
        Ok(())
    }

    /// Lets the interpreter that waits have its program.
    fn resume(&mut self, outbox: &mut Outbox) -> Result<(), Stop> {
        let Life::Waiting { child, script } = std::mem::replace(&mut self.life, Life::Over) else {
            return Err(Stop::Broken("nothing waits for its program".to_owned()));
        };
        shed(CAP_DAC_OVERRIDE | CAP_KILL).map_err(Stop::Broken)?;
        if let Some(reason) = self.putting.finish().map_err(Stop::Broken)? {
            let program = "the program".to_owned();
            outbox.frame(&FromAgent::NotStarted { program, reason: reason.to_owned() });
            self.not_started();
            return Ok(());
        }
        self.feed = Some(script.feed().map_err(Stop::Broken)?);
        self.life = Life::Running { child };
        outbox.frame(&FromAgent::Started);
        self.pump_feed();
        Ok(())
    }

    fn pump_feed(&mut self) {
        if let Some(feed) = &mut self.feed {
            feed.pump();
        }
    }

    /// The end of the child's socket means that it was executed, words before it that it was not.
    fn hear_child(&mut self, outbox: &mut Outbox) -> Result<(), Stop> {
        let Life::Starting { child, socket, program, ahead } = &mut self.life else { return Ok(()) };
        let child = *child;
        let mut sentence = Vec::new();
        match socket.take(MAX_SENTENCE_BYTES).read_to_end(&mut sentence) {
            Ok(0) => match ahead.take() {
                Some(script) => {
                    let program = std::mem::take(program);
                    self.life = Life::Waking { child, program, script };
                }
                None => {
                    self.life = Life::Running { child };
                    outbox.frame(&FromAgent::Started);
                }
            },
            // It ends in a moment.
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock && sentence.is_empty() => {}
            Ok(_) | Err(_) => {
                let reason = String::from_utf8_lossy(&sentence).into_owned();
                let program = std::mem::take(program);
                outbox.frame(&FromAgent::NotStarted { program, reason });
                self.not_started();
            }
        }
        Ok(())
    }

    fn not_started(&mut self) {
        self.life = Life::Over;
        self.stdin.close();
        self.outputs.iter_mut().for_each(Stream::forget);
    }

    fn signal(&mut self, number: u32) -> Result<(), Stop> {
        let signal = i32::try_from(number).ok().and_then(|number| Signal::try_from(number).ok());
        let signal = signal.ok_or_else(|| Stop::Broken(format!("signal {number} does not exist")))?;
        match &self.life {
            _ if signal == Signal::SIGKILL => reap::kill_all(),
            Life::Starting { child, .. } | Life::Running { child } => {
                // It is not reaped yet, so the number is still its own.
                let _ = kill(*child, signal);
            }
            Life::Parked { .. } | Life::Waking { .. } | Life::Waiting { .. } | Life::Over => {}
        }
        Ok(())
    }

    fn reap(&mut self, outbox: &mut Outbox) -> Result<(), Stop> {
        // One signal may stand for several deaths; only to make it unreadable again.
        while let Ok(Some(_)) = self.children.read_signal() {}
        loop {
            match reap::next_dead(false) {
                Ok(Some((pid, status))) => self.dead(pid, status, outbox)?,
                Err(Errno::EINTR) => {}
                Ok(None) | Err(_) => return Ok(()),
            }
        }
    }

    fn dead(&mut self, pid: Pid, status: i32, outbox: &mut Outbox) -> Result<(), Stop> {
        if matches!(&self.life, Life::Starting { child, .. } if *child == pid) {
            // It is dead, so its socket has ended.
            self.hear_child(outbox)?;
        }
        match &mut self.life {
            Life::Parked { child, .. } | Life::Waiting { child, .. } if *child == pid => {
                Err(Stop::Broken(format!("the parked process ended with wait status {status:#x}")))
            }
            Life::Waking { child, program, .. } if *child == pid => {
                let reason = format!("it ended with wait status {status:#x} before it opened its program");
                let program = std::mem::take(program);
                outbox.frame(&FromAgent::NotStarted { program, reason });
                self.not_started();
                Ok(())
            }
            Life::Running { child } if *child == pid => {
                self.feed = None;
                reap::bury_the_rest();
                self.stdin.close();
                self.life = Life::Over;
                outbox.frame(&FromAgent::Ended { status: status.cast_unsigned() });
                Ok(())
            }
            _ => Ok(()),
        }
    }
}
