//! Frames on their way to the daemon, which may be slow: a queue of bounded size on a descriptor that never blocks.
//!
//! Streams and files ask for room before they add to it. Answers are added without asking: each is small, and follows
//! from a frame of the daemon's or happens once.

use std::{
    io::Stdout,
    os::fd::{AsFd, BorrowedFd},
};

use nix::{
    errno::Errno,
    fcntl::{FcntlArg, OFlag, fcntl},
    poll::{PollFd, PollFlags, PollTimeout, poll},
    unistd::write,
};
use sandboxd_agent::{FromAgent, header};

use crate::Stop;

/// With as much waiting, nothing is added by streams and files.
const FULL_BYTES: usize = 64 * 1024;
/// How long a last word waits for a daemon that does not read.
const LAST_WORDS_MS: u16 = 1000;

pub(crate) struct Outbox {
    bytes: Vec<u8>,
    /// Of `bytes`, what has gone.
    sent: usize,
    daemon: Stdout,
}

impl Outbox {
    pub(crate) fn new() -> Self {
        Self { bytes: Vec::new(), sent: 0, daemon: std::io::stdout() }
    }

    /// # Errors
    /// One sentence.
    pub(crate) fn set_up(&self) -> Result<(), String> {
        let flags = fcntl(&self.daemon, FcntlArg::F_GETFL).map(OFlag::from_bits_retain);
        let set = flags.and_then(|flags| fcntl(&self.daemon, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK)));
        set.map(drop).map_err(|errno| format!("write without waiting: {errno}"))
    }

    pub(crate) fn frame(&mut self, frame: &FromAgent) {
        let (kind, content) = frame.encode();
        self.data(kind, &content);
    }

    /// A frame whose content is bytes and nothing else.
    pub(crate) fn data(&mut self, kind: u8, content: &[u8]) {
        self.bytes.extend_from_slice(&header(kind, content.len()));
        self.bytes.extend_from_slice(content);
    }

    pub(crate) fn has_room(&self) -> bool {
        self.bytes.len() - self.sent < FULL_BYTES
    }

    /// The descriptor to watch until it can be written to, while something waits.
    pub(crate) fn waiting(&self) -> Option<BorrowedFd<'_>> {
        (self.sent < self.bytes.len()).then(|| self.daemon.as_fd())
    }

    /// Sends what goes without waiting.
    pub(crate) fn flush(&mut self) -> Result<(), Stop> {
        while let Some(rest) = self.bytes.get(self.sent..).filter(|rest| !rest.is_empty()) {
            match write(&self.daemon, rest) {
                Ok(written) => self.sent += written,
                Err(Errno::EAGAIN) => break,
                Err(Errno::EINTR) => {}
                Err(_) => return Err(Stop::DaemonGone),
            }
        }
        // What has gone makes room, at the latest when it is the larger part.
        if self.sent * 2 >= self.bytes.len() {
            self.bytes.drain(..self.sent);
            self.sent = 0;
        }
        Ok(())
    }

    /// Sends until there is room, as long as the daemon is there: for when nothing else is to be done.
    pub(crate) fn make_room(&mut self) -> Result<(), Stop> {
        self.flush()?;
        while !self.has_room() {
            let stdin = std::io::stdin();
            let mut polled = [
                PollFd::new(self.daemon.as_fd(), PollFlags::POLLOUT),
                // Its end only; what it says has time.
                PollFd::new(stdin.as_fd(), PollFlags::empty()),
            ];
            match poll(&mut polled, PollTimeout::NONE) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => return Err(Stop::Broken(format!("poll: {errno}"))),
            }
            let [_, stdin] = polled;
            if stdin.revents().is_some_and(|events| !events.is_empty()) {
                return Err(Stop::DaemonGone);
            }
            self.flush()?;
        }
        Ok(())
    }

    /// Sends this after all that waits, as far as a daemon that reads at all lets it.
    pub(crate) fn last_words(&mut self, frame: &FromAgent) {
        self.frame(frame);
        while self.flush().is_ok() && self.waiting().is_some() {
            let mut polled = [PollFd::new(self.daemon.as_fd(), PollFlags::POLLOUT)];
            match poll(&mut polled, PollTimeout::from(LAST_WORDS_MS)) {
                Ok(ready) if ready > 0 => {}
                Err(Errno::EINTR) => {}
                Ok(_) | Err(_) => return,
            }
        }
    }
}
