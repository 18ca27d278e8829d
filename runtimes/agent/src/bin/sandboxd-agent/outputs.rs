//! One of the program's outputs: read only as far as the daemon has given credit, so that a full pipe holds up the
//! program that fills it and nobody else.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::{
    errno::Errno,
    fcntl::{FcntlArg, OFlag, fcntl},
    poll::{PollFd, PollFlags, PollTimeout, poll},
    unistd::read,
};
use sandboxd_agent::{FromAgent, MAX_DATA_BYTES, Output};

use crate::outbox::Outbox;

pub(crate) struct Stream {
    output: Output,
    /// `None` once its end was told.
    pipe: Option<OwnedFd>,
    credit_bytes: u64,
}

impl Stream {
    pub(crate) fn new(output: Output, pipe: OwnedFd) -> nix::Result<Self> {
        fcntl(&pipe, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        Ok(Self { output, pipe: Some(pipe), credit_bytes: 0 })
    }

    pub(crate) fn add_credit(&mut self, bytes: u64) {
        self.credit_bytes = self.credit_bytes.saturating_add(bytes);
    }

    /// The descriptor to watch until it can be read, where what it holds may be sent on.
    pub(crate) fn waiting(&self) -> Option<BorrowedFd<'_>> {
        self.pipe.as_ref().filter(|_| self.credit_bytes > 0).map(AsFd::as_fd)
    }

    /// Sends on what is there, one frame of it at most.
    pub(crate) fn pump(&mut self, scratch: &mut [u8], outbox: &mut Outbox) {
        let Some(pipe) = self.pipe.as_ref().filter(|_| self.credit_bytes > 0 && outbox.has_room()) else {
            return;
        };
        let most = self.credit_bytes.min(MAX_DATA_BYTES as u64) as usize;
        let room = scratch.split_at_mut_checked(most).map_or(&mut [][..], |(room, _)| room);
        match read(pipe, room) {
            Ok(0) => self.end(outbox),
            Ok(bytes) => {
                self.credit_bytes -= bytes as u64;
                outbox.data(self.output.kind(), room.get(..bytes).unwrap_or_default());
            }
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            Err(_) => self.end(outbox),
        }
    }

    /// With everybody dead: tells the end where nothing is left to read, which takes no credit.
    pub(crate) fn end_if_empty(&mut self, outbox: &mut Outbox) {
        let Some(pipe) = &self.pipe else { return };
        let mut polled = [PollFd::new(pipe.as_fd(), PollFlags::POLLIN)];
        if poll(&mut polled, PollTimeout::ZERO).is_err() {
            return;
        }
        let [polled] = polled;
        if polled
            .revents()
            .is_some_and(|events| events.contains(PollFlags::POLLHUP) && !events.contains(PollFlags::POLLIN))
        {
            self.end(outbox);
        }
    }

    /// There was no program: nothing came, and nothing ends.
    pub(crate) fn forget(&mut self) {
        self.pipe = None;
    }

    fn end(&mut self, outbox: &mut Outbox) {
        self.pipe = None;
        outbox.frame(&FromAgent::OutputEnd(self.output));
    }
}
