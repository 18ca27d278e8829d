//! Files on their way into a sandbox and out of it: paths and patterns that were checked once, by type, and the walk
//! that reads a dead program's working directory.
//!
//! A crate of its own because both sides of a container's wall need it: the daemon, through the contract, which hands
//! these types on, and the agent inside, which has no asynchronous runtime. Deliberately absent: any stream or socket.

mod types;
mod walk;

pub use types::{CollectRequest, Collected, CollectedFile, File, FilePath, Glob, Omitted, PathError};
pub use walk::{OMIT_REASONS, Sink, collect, walk};
