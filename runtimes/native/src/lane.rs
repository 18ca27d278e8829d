//! A lane: one process that keeps one slot ready, serves one program at a time in it and makes the next.
//!
//! ```text
//!            ┌────────────────────────────── Renew ───────────────────────────────┐
//!            v                                                                    │
//! make ──> ready ──(the daemon launches the program itself)──> ended ──Exited──> kept until renewed
//!   └─ Failed, exit   any time: Ahead, Begin, Facts, Signal; daemon gone: destroy, exit
//! ```
//! It holds what is dear to make and safe to keep: a network namespace with everything down. Deliberately absent:
//! decisions; a lane kills by itself only when the kernel says that memory ran out, so that v1 does what
//! memory.oom.group does on v2.

use std::{
    os::fd::{AsFd, AsRawFd, OwnedFd},
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sched::{CloneFlags, unshare},
};
use sandboxd_contract::{Exit, KernelLimit};

use crate::{
    packet,
    protocol::{FromInit, FromLane, MAX_PACKET_BYTES, SlotLimits, ToLane},
    slot::{Slot, Workshop},
    sys,
};

/// v1 tells that memory ran out before it has killed; look again this often, this long.
const OOM_RECHECK: Duration = Duration::from_millis(1);
const OOM_PATIENCE: Duration = Duration::from_millis(500);

pub(crate) struct Lane<'a> {
    pub index: u32,
    pub workshop: Workshop<'a>,
    pub daemon: OwnedFd,
    pub first_limits: SlotLimits,
}

impl Lane<'_> {
    /// Runs until the daemon goes away or a slot can't be made or unmade.
    pub(crate) fn run(self) -> ! {
        let reason = match self.run_slots() {
            Ok(()) => sys::exit_now(0),
            Err(reason) => reason,
        };
        self.tell(&FromLane::Failed { reason }, &[]);
        sys::exit_now(1)
    }

    fn run_slots(&self) -> Result<(), String> {
        unshare(CloneFlags::CLONE_NEWNET).map_err(|errno| format!("make a network namespace: {errno}"))?;
        // A lane that died with this number has left its last group behind.
        let own = format!("{}.", self.index);
        self.workshop.subtree.clear(&own).map_err(|error| error.to_string())?;
        let mut limits = self.first_limits;
        for generation in 0_u64.. {
            let name = format!("{own}{generation}");
            let (mut slot, handles) = Slot::make(&self.workshop, &name, limits)?;
            self.tell(&FromLane::Ready, &[handles.launch.as_raw_fd(), handles.work.as_raw_fd()]);
            drop(handles);
            let next =
                Serving { lane: self, slot: &mut slot, ended: false, killed: false, oom_until: None }.run();
            slot.destroy()?;
            match next? {
                Some(next) => limits = next,
                None => return Ok(()),
            }
        }
        Ok(())
    }

    fn tell(&self, message: &FromLane, descriptors: &[i32]) {
        // A daemon that is gone shows as the end of the socket, at the next poll.
        let _ = packet::send(self.daemon.as_fd(), &message.encode(), descriptors);
    }
}

struct Serving<'a, 'b> {
    lane: &'a Lane<'b>,
    slot: &'a mut Slot,
    ended: bool,
    /// The daemon wanted it so.
    killed: bool,
    /// v1: memory ran out; until then, watch for the kill.
    oom_until: Option<Instant>,
}

impl Serving<'_, '_> {
    /// The limits of the next slot, or `None` when the daemon is gone.
    fn run(&mut self) -> Result<Option<SlotLimits>, String> {
        loop {
            let ready = self.wait()?;
            if ready.oom {
                self.oom_seen();
            }
            self.watch_oom();
            if ready.status && !self.ended {
                self.hear_init();
            }
            if ready.gone && !self.ended {
                // Killed: by us, or by the kernel for memory, and the program went the same way. By anybody else it is no
                // end of the program's own.
                if !self.killed && self.slot.facts().oom_kills == Some(0) {
                    return Err("init was killed from outside".to_owned());
                }
                self.ended(Exit::Signal(nix::libc::SIGKILL));
            }
            if ready.daemon {
                match self.hear_daemon()? {
                    Heard::Done => {}
                    Heard::Renew(limits) => return Ok(Some(limits)),
                    Heard::Nobody => return Ok(None),
                }
            }
        }
    }

    fn wait(&self) -> Result<Readable, String> {
        let daemon = PollFd::new(self.lane.daemon.as_fd(), PollFlags::POLLIN);
        let mut polled = vec![daemon];
        if !self.ended {
            polled.push(PollFd::new(self.slot.status.as_fd(), PollFlags::POLLIN));
            polled.push(PollFd::new(self.slot.pidfd.as_fd(), PollFlags::POLLIN));
            polled.extend(
                self.slot.oom_event.iter().map(|event| PollFd::new(event.as_fd(), PollFlags::POLLIN)),
            );
        }
        let timeout = match self.oom_until {
            Some(_) if !self.ended => PollTimeout::try_from(OOM_RECHECK).unwrap_or(PollTimeout::MAX),
            _ => PollTimeout::NONE,
        };
        match poll(&mut polled, timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(format!("poll: {errno}")),
        }
        let readable = |at: usize| {
            polled.get(at).and_then(PollFd::revents).is_some_and(|events: PollFlags| !events.is_empty())
        };
        Ok(Readable { daemon: readable(0), status: readable(1), gone: readable(2), oom: readable(3) })
    }

    fn oom_seen(&mut self) {
        if let Some(event) = &self.slot.oom_event {
            let mut count = [0; 8];
            // Only to make it unreadable again.
            let _ = nix::unistd::read(event, &mut count);
        }
        self.oom_until = Some(Instant::now() + OOM_PATIENCE);
    }

    /// The whole sandbox goes when the kernel has killed any of it.
    fn watch_oom(&mut self) {
        let Some(until) = self.oom_until else { return };
        if self.slot.facts().oom_kills.is_some_and(|kills| kills > 0) {
            self.slot.kill();
            self.oom_until = None;
        } else if Instant::now() >= until {
            self.oom_until = None;
        }
    }

    fn hear_init(&mut self) {
        let mut buffer = [0; 4096];
        let received = packet::receive(self.slot.status.as_fd(), &mut buffer).map_or(0, |(bytes, _)| bytes);
        match FromInit::decode(buffer.get(..received).unwrap_or_default()) {
            Ok(FromInit::Ended(status, cpu_time)) => {
                self.slot.cpu_clock.note(cpu_time);
                self.ended(match status & 0x7f {
                    0 => Exit::Code(status >> 8 & 0xff),
                    signal => Exit::Signal(signal),
                });
            }
            // The end of the line, or a last word before one: the pidfd tells.
            _ => self.slot.kill(),
        }
    }

    fn ended(&mut self, exit: Exit) {
        self.ended = true;
        self.lane.tell(&FromLane::Exited(exit, self.slot.facts()), &[]);
    }

    fn hear_daemon(&mut self) -> Result<Heard, String> {
        let mut buffer = [0; MAX_PACKET_BYTES];
        let received = match packet::receive(self.lane.daemon.as_fd(), &mut buffer) {
            Ok((received, _)) => received,
            Err(Errno::ECONNRESET) => 0,
            Err(errno) => return Err(format!("hear from the daemon: {errno}")),
        };
        let Some(message) = buffer.get(..received).filter(|message| !message.is_empty()) else {
            return Ok(Heard::Nobody);
        };
        match ToLane::decode(message).map_err(|error| error.to_string())? {
            ToLane::Ahead(limits) => {
                let installed = self.slot.prepare(limits);
                self.answer(installed);
            }
            ToLane::Begin(limits) => {
                let installed = self.slot.begin(limits);
                self.answer(installed);
            }
            ToLane::Facts => self.lane.tell(&FromLane::Facts(self.slot.facts()), &[]),
            ToLane::Signal(nix::libc::SIGKILL) => {
                self.killed = true;
                self.slot.kill();
            }
            ToLane::Signal(signal) if !self.ended => self.slot.signal_program(signal),
            ToLane::Signal(_) => {}
            ToLane::Renew(limits) => return Ok(Heard::Renew(limits)),
        }
        Ok(Heard::Done)
    }

    fn answer(&self, installed: Result<(), (KernelLimit, String)>) {
        let answer = match installed {
            Ok(()) => FromLane::LimitsSet,
            Err((limit, reason)) => FromLane::LimitRefused { limit: limit_number(limit), reason },
        };
        self.lane.tell(&answer, &[]);
    }
}

struct Readable {
    daemon: bool,
    status: bool,
    gone: bool,
    oom: bool,
}

enum Heard {
    Done,
    Renew(SlotLimits),
    Nobody,
}

/// Its place in [`KernelLimit::ALL`], as it travels.
fn limit_number(limit: KernelLimit) -> u8 {
    KernelLimit::ALL.iter().position(|other| *other == limit).unwrap_or(0) as u8
}
