//! Files on their way out, once everybody is dead: sent on as they are read, never held.

use std::{
    io::{self, Read},
    os::fd::AsFd,
};

use nix::{
    errno::Errno,
    fcntl::{OFlag, open},
    sys::stat::Mode,
};
use sandboxd_agent::{FILE_DATA_KIND, FromAgent};
use sandboxd_files::{CollectRequest, Sink, WORK_DIR, walk};

use crate::{Stop, outbox::Outbox};

/// Sends every file that was asked for, and `Collected`.
pub(crate) fn collect(request: &CollectRequest, scratch: &mut [u8], outbox: &mut Outbox) -> Result<(), Stop> {
    let broken = |errno: Errno| Stop::Broken(format!("read {WORK_DIR}: {errno}"));
    let work = open(WORK_DIR, OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())
        .map_err(broken)?;
    let mut sending = Sending { scratch, outbox, stop: None };
    walk(work.as_fd(), request, &mut sending).map_err(broken)?;
    if let Some(stop) = sending.stop {
        return Err(stop);
    }
    outbox.frame(&FromAgent::Collected);
    Ok(())
}

struct Sending<'a> {
    scratch: &'a mut [u8],
    outbox: &'a mut Outbox,
    /// Why nothing more is sent.
    stop: Option<Stop>,
}

impl Sending<'_> {
    fn send(
        &mut self,
        path: &str,
        executable: bool,
        content_bytes: u64,
        content: &mut dyn Read,
    ) -> Result<(), Stop> {
        self.outbox.make_room()?;
        let path = path.to_owned();
        self.outbox.frame(&FromAgent::File { path, executable, content_bytes });
        let mut missing = content_bytes;
        while missing > 0 {
            self.outbox.make_room()?;
            let short = |why: String| Stop::Broken(format!("a file that is collected: {why}"));
            match content.read(self.scratch).map_err(|error| short(error.to_string()))? {
                0 => return Err(short(format!("{missing} bytes are missing"))),
                read => {
                    self.outbox.data(FILE_DATA_KIND, self.scratch.get(..read).unwrap_or_default());
                    missing = missing.saturating_sub(read as u64);
                }
            }
        }
        Ok(())
    }
}

impl Sink for Sending<'_> {
    fn file(
        &mut self,
        path: &str,
        executable: bool,
        content_bytes: u64,
        content: &mut dyn Read,
    ) -> io::Result<()> {
        if self.stop.is_none()
            && let Err(stop) = self.send(path, executable, content_bytes, content)
        {
            self.stop = Some(stop);
        }
        if self.stop.is_some() { Err(io::ErrorKind::BrokenPipe.into()) } else { Ok(()) }
    }

    fn omitted(&mut self, path: &str, reason: &'static str) {
        if self.stop.is_some() {
            return;
        }
        match self.outbox.make_room() {
            Ok(()) => {
                let (path, reason) = (path.to_owned(), reason.to_owned());
                self.outbox.frame(&FromAgent::Omitted { path, reason });
            }
            Err(stop) => self.stop = Some(stop),
        }
    }
}
