//! The program's stdin: bytes that the daemon had credit for, on their way into the program's pipe.

use std::{
    collections::VecDeque,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use nix::{
    errno::Errno,
    fcntl::{FcntlArg, OFlag, fcntl},
    unistd::write,
};

/// The most that is on the way or waits here.
const WINDOW_BYTES: u64 = 256 * 1024;
/// With as much written on, the daemon is told; less would be a frame for every line that somebody types.
const GRANT_BYTES: u64 = WINDOW_BYTES / 4;

pub(crate) struct Input {
    /// `None` once it is closed.
    pipe: Option<OwnedFd>,
    /// Read, and not yet written on: at most the window, however small the frames were that it came in.
    pending: VecDeque<u8>,
    /// No more will come: the pipe closes behind what is pending.
    ending: bool,
    /// What the daemon may send.
    granted: u64,
    /// Written on and not yet granted again.
    owed: u64,
}

impl Input {
    pub(crate) fn new(pipe: OwnedFd) -> nix::Result<Self> {
        fcntl(&pipe, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        Ok(Self { pipe: Some(pipe), pending: VecDeque::new(), ending: false, granted: 0, owed: WINDOW_BYTES })
    }

    /// # Errors
    /// When there was no credit for it, or the end was said before.
    pub(crate) fn take(&mut self, bytes: &[u8]) -> Result<(), String> {
        let left = self.granted.checked_sub(bytes.len() as u64).filter(|_| !self.ending);
        self.granted = left.ok_or("the daemon sent more stdin than it may")?;
        // A program that has closed its end wants none of it.
        if self.pipe.is_some() {
            self.pending.extend(bytes);
        }
        Ok(())
    }

    pub(crate) fn end(&mut self) {
        self.ending = true;
    }

    /// The program is gone.
    pub(crate) fn close(&mut self) {
        self.pipe = None;
        self.pending = VecDeque::new();
    }

    /// The descriptor to watch until it can be written to, while something waits.
    pub(crate) fn waiting(&self) -> Option<BorrowedFd<'_>> {
        self.pipe.as_ref().filter(|_| !self.pending.is_empty()).map(AsFd::as_fd)
    }

    /// Writes what goes without waiting.
    pub(crate) fn pump(&mut self) {
        while let Some(pipe) = self.pipe.as_ref().filter(|_| !self.pending.is_empty()) {
            match write(pipe, self.pending.as_slices().0) {
                Ok(written) => {
                    self.pending.drain(..written);
                    self.owed += written as u64;
                }
                Err(Errno::EAGAIN) => return,
                Err(Errno::EINTR) => {}
                // Nobody reads any more. No credit either, then: the daemon keeps the rest.
                Err(_) => self.close(),
            }
        }
        // Its memory is the program's now.
        self.pending = VecDeque::new();
        if self.ending {
            self.pipe = None;
        }
    }

    /// How much more the daemon may send, when it is worth a frame.
    pub(crate) fn grant(&mut self) -> Option<u64> {
        if self.owed < GRANT_BYTES || self.pipe.is_none() || self.ending {
            return None;
        }
        self.granted += self.owed;
        Some(std::mem::take(&mut self.owed))
    }
}
