//! An interpreter that waits for its program in a slot, and how it is let go on.
//!
//! ```text
//! parked ──Ahead──> Launch with a FIFO for its script ──> it opens that: unlinked ──> waiting
//! waiting ──Begin──> files are put ──> the script is fed to it from here ──> running
//! ```
//! All the while nothing foreign runs: an interpreter does nothing before it has read its program to the end.
//! Deliberately absent: when one is started, and for whom (`pool`, `demand`).

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    time::Duration,
};

use bytes::Bytes;
use nix::{
    errno::Errno,
    fcntl::{OFlag, openat},
    sys::stat::Mode,
    unistd::{UnlinkatFlags, unlinkat},
};
use sandboxd_contract::{Command, File, FilePath, KernelLimits, Result, RuntimeError};
use tokio::{io::AsyncWriteExt, net::unix::pipe::Sender, time};

use crate::{
    demand::Kind,
    lane_client::{Program, ReadySlot},
    launching::{Launching, Streams},
    protocol::SlotLimits,
    put,
};

/// From an interpreter's start until it opens its script; it has time.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often it is looked at until then.
const POLL: Duration = Duration::from_millis(2);

pub(crate) struct Waiting {
    pub kind: Kind,
    streams: Streams,
    /// The end that the script is written to. It has no name any more.
    fifo: Sender,
}

/// Turns the parked program of a slot into an interpreter that waits.
///
/// # Errors
/// The slot is of no more use then.
pub(crate) async fn start(slot: &mut ReadySlot, kind: Kind) -> Result<()> {
    let started = time::timeout(PATIENCE, start_now(slot, kind)).await;
    started.unwrap_or_else(|_| {
        Err(RuntimeError::sandbox("start an interpreter ahead", "it does not open its program"))
    })
}

async fn start_now(slot: &mut ReadySlot, kind: Kind) -> Result<()> {
    slot.prepare(SlotLimits::of(&kind.limits)).await?;
    let (streams, theirs) = Streams::make(slot.user)?;
    let script = &kind.prestart.script;
    let launching = Launching {
        command: &kind.prestart.command,
        limits: &kind.limits,
        files: &[],
        fifo: Some(script),
        streams: theirs,
    };
    launching.send(slot.take_parked()?).await?;
    let fifo = opened(slot, script).await?;
    let failed = |error: io::Error| RuntimeError::sandbox("start an interpreter ahead", error);
    // Free for the file itself.
    unlinkat(&slot.work, script.as_str(), UnlinkatFlags::NoRemoveDir)
        .map_err(|errno| failed(errno.into()))?;
    let fifo = Sender::from_owned_fd(fifo).map_err(failed)?;
    slot.program = Some(Program::Waiting(Box::new(Waiting { kind, streams, fifo })));
    Ok(())
}

/// Waits until the interpreter reads the FIFO.
async fn opened(slot: &ReadySlot, script: &FilePath) -> Result<OwnedFd> {
    let flags = OFlag::O_WRONLY | OFlag::O_NONBLOCK | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    loop {
        match openat(&slot.work, script.as_str(), flags, Mode::empty()) {
            Ok(fifo) => return Ok(fifo),
            // Nobody reads yet.
            Err(Errno::ENXIO) if !slot.is_over() => time::sleep(POLL).await,
            Err(Errno::ENXIO) => {
                let reason = "it ended before it opened its program";
                return Err(RuntimeError::sandbox("start an interpreter ahead", reason));
            }
            Err(errno) => return Err(RuntimeError::sandbox("open the FIFO of a program", errno)),
        }
    }
}

impl Waiting {
    /// Whether this is the start that it waits for, and its files few enough.
    pub(crate) fn is_for(&self, command: &Command, limits: &KernelLimits, files: &[File]) -> bool {
        self.kind.prestart.command == *command
            && self.kind.keeps_to(limits)
            && self.script(files).is_some()
            && put::is_little(files)
    }

    /// Of two files with one path the last stays.
    fn script(&self, files: &[File]) -> Option<Bytes> {
        let script = files.iter().rfind(|file| file.path == self.kind.prestart.script)?;
        Some(script.content.clone())
    }

    /// Gives the interpreter its program. The limits are installed.
    ///
    /// # Errors
    /// [`RuntimeError::NotStarted`] when a file can't be put, as for any program.
    pub(crate) fn go_on(self, work: &OwnedFd, user: Option<u32>, files: &[File]) -> Result<Streams> {
        if let Err(reason) = put::put(work.as_fd(), files, user) {
            let program = self.kind.prestart.command.argv.first().cloned().unwrap_or_default();
            return Err(RuntimeError::NotStarted { program, reason });
        }
        let script = self.script(files).unwrap_or_default();
        feed(self.fifo, script);
        Ok(self.streams)
    }
}

/// Writes what goes without waiting, and the rest in a task, which ends with the reader. One that does not want the rest
/// has its reasons.
fn feed(mut fifo: Sender, script: Bytes) {
    let written = match fifo.try_write(&script) {
        Ok(written) => written,
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
        Err(_) => return,
    };
    let rest = script.slice(written..);
    if !rest.is_empty() {
        tokio::spawn(async move {
            let _ = fifo.write_all(&rest).await;
        });
    }
}
