//! The one error: a step that failed, on what, and why.

use nix::errno::Errno;

pub type Result<T> = std::result::Result<T, Error>;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{operation} {path}: {}", errno.desc())]
pub struct Error {
    pub operation: &'static str,
    pub path: String,
    pub errno: Errno,
}

/// Gives a failed call its operation and path.
pub(crate) trait Step<T> {
    fn step(self, operation: &'static str, path: &str) -> Result<T>;
}

impl<T> Step<T> for nix::Result<T> {
    fn step(self, operation: &'static str, path: &str) -> Result<T> {
        self.map_err(|errno| Error { operation, path: path.to_owned(), errno })
    }
}

impl<T> Step<T> for std::io::Result<T> {
    fn step(self, operation: &'static str, path: &str) -> Result<T> {
        let errno = |error: std::io::Error| error.raw_os_error().map_or(Errno::EIO, Errno::from_raw);
        self.map_err(|error| Error { operation, path: path.to_owned(), errno: errno(error) })
    }
}
