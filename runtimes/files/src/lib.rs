//! Files on their way into a sandbox and out of it: paths and patterns that were checked once, by type, and the walk
//! that reads a dead program's working directory.
//!
//! A crate of its own because both sides of a container's wall need it: the daemon, through the contract, which hands
//! these types on, and the agent inside, which has no asynchronous runtime. Deliberately absent: any stream or socket.

mod types;
mod walk;

pub use types::{CollectRequest, Collected, CollectedFile, File, FilePath, Glob, Omitted, PathError};
pub use walk::{OMIT_REASONS, Sink, collect, walk};

/// Where the program finds itself: the working directory of every sandbox, whatever the runtime.
pub const WORK_DIR: &str = "/box/work";
/// The home of temporary files (`TMPDIR`); it shares its size with [`WORK_DIR`].
pub const TMP_DIR: &str = "/box/tmp";
/// What /dev/shm leads to; it shares its size with [`WORK_DIR`].
pub const SHM_DIR: &str = "/box/shm";
