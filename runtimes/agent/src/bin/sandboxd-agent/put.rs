//! Files that the daemon puts below the working directory, before the program starts.
//!
//! The agent writes them as root and gives each to the program's user. What fails (a full disk, say) is told when the
//! program is to be started; until then what still comes is dropped.

use std::{fs::File, io::Write, path::Path};

use sandboxd_files::{FilePath, WORK_DIR};
use sandboxd_inside::disk::create_file;

use crate::PROGRAM_USER;

#[derive(Default)]
pub(crate) struct Putting {
    /// The file that is coming; `None` where it could not be made.
    file: Option<File>,
    path: String,
    missing_bytes: u64,
    failure: Option<String>,
}

impl Putting {
    /// # Errors
    /// When the daemon does not keep to its own announcements.
    pub(crate) fn begin(&mut self, path: &str, executable: bool, content_bytes: u64) -> Result<(), String> {
        self.finish()?;
        self.missing_bytes = content_bytes;
        path.clone_into(&mut self.path);
        if self.failure.is_none() {
            match FilePath::parse(path) {
                Ok(path) => match create_file(Path::new(WORK_DIR), &path, executable, Some(PROGRAM_USER)) {
                    Ok(file) => self.file = Some(file),
                    Err(error) => self.fail(&error),
                },
                Err(error) => self.fail(&error),
            }
        }
        if content_bytes == 0 {
            self.file = None;
        }
        Ok(())
    }

    /// # Errors
    /// When more comes than was announced.
    pub(crate) fn data(&mut self, bytes: &[u8]) -> Result<(), String> {
        let missing = self.missing_bytes.checked_sub(bytes.len() as u64);
        self.missing_bytes =
            missing.ok_or_else(|| format!("more of {} came than was announced", self.path))?;
        if let Some(Err(error)) = self.file.as_mut().map(|file| file.write_all(bytes)) {
            self.fail(&error);
        }
        if self.missing_bytes == 0 {
            self.file = None;
        }
        Ok(())
    }

    /// Why a file does not stand, as a sentence for the program's user; `None` when all do.
    ///
    /// # Errors
    /// When the last one is still to come.
    pub(crate) fn finish(&self) -> Result<Option<&str>, String> {
        if self.missing_bytes > 0 {
            return Err(format!("{} is not complete", self.path));
        }
        Ok(self.failure.as_deref())
    }

    fn fail(&mut self, error: &dyn std::fmt::Display) {
        self.file = None;
        self.failure = Some(format!("{}: {error}", self.path));
    }
}
