//! A program's file that an interpreter waits for: a FIFO where the interpreter looks for it, until it is fed.
//!
//! ```text
//! made ──the interpreter opens it──> opened, its name removed ──Resume──> fed from the put file of that name ──> closed
//! ```
//! All the while nothing foreign runs: an interpreter does nothing before it has read its program to the end.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::fs::{OpenOptionsExt, chown},
    },
    path::{Path, PathBuf},
};

use nix::{errno::Errno, fcntl::OFlag, sys::stat::Mode, unistd::mkfifo};
use sandboxd_files::{FilePath, WORK_DIR};

use crate::PROGRAM_USER;

/// Of the program, on its way from its file into the FIFO.
const PIECE_BYTES: usize = 16 * 1024;

pub(crate) struct Script {
    path: PathBuf,
    /// The end that the program is written to, once somebody reads.
    fifo: Option<File>,
}

impl Script {
    /// # Errors
    /// One sentence.
    pub(crate) fn make(name: &str) -> Result<Self, String> {
        let name = FilePath::parse(name).map_err(|error| format!("{name:?} {error}"))?;
        let path = Path::new(WORK_DIR).join(name.as_str());
        mkfifo(&path, Mode::S_IRUSR | Mode::S_IWUSR)
            .map_err(|errno| format!("make the FIFO {name}: {errno}"))?;
        chown(&path, Some(PROGRAM_USER), Some(PROGRAM_USER))
            .map_err(|error| format!("give the FIFO {name} away: {error}"))?;
        Ok(Self { path, fifo: None })
    }

    /// Whether the interpreter has opened it. Its name is then free for the file itself.
    ///
    /// # Errors
    /// One sentence.
    pub(crate) fn is_opened(&mut self) -> Result<bool, String> {
        let failed = |error: io::Error| format!("{}: {error}", self.path.display());
        match OpenOptions::new().write(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(&self.path) {
            Ok(fifo) => {
                fs::remove_file(&self.path).map_err(failed)?;
                self.fifo = Some(fifo);
                Ok(true)
            }
            // Nobody reads yet.
            Err(error) if error.raw_os_error() == Some(Errno::ENXIO as i32) => Ok(false),
            Err(error) => Err(failed(error)),
        }
    }

    /// From the file that was put in its place.
    ///
    /// # Errors
    /// When there is none.
    pub(crate) fn feed(self) -> Result<Feed, String> {
        let file = File::open(&self.path).map_err(|error| format!("{}: {error}", self.path.display()))?;
        let fifo = self.fifo.ok_or("the interpreter has not opened its program yet")?;
        Ok(Feed { file, fifo: Some(fifo), piece: Vec::new() })
    }
}

/// A program on its way to its interpreter.
pub(crate) struct Feed {
    file: File,
    /// Closed behind the last byte.
    fifo: Option<File>,
    piece: Vec<u8>,
}

impl Feed {
    /// The descriptor to watch until it can be written to.
    pub(crate) fn waiting(&self) -> Option<BorrowedFd<'_>> {
        self.fifo.as_ref().map(AsFd::as_fd)
    }

    /// Writes what goes without waiting. An interpreter that does not want the rest has its reasons.
    pub(crate) fn pump(&mut self) {
        while let Some(fifo) = &mut self.fifo {
            if self.piece.is_empty() {
                let read = (&self.file).take(PIECE_BYTES as u64).read_to_end(&mut self.piece);
                if !matches!(read, Ok(1..)) {
                    self.fifo = None;
                    return;
                }
            }
            match fifo.write(&self.piece) {
                Ok(written) => drop(self.piece.drain(..written)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => self.fifo = None,
            }
        }
    }
}
