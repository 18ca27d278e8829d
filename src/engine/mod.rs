//! The engine: takes a submission, runs it in sandboxes of a runtime, holds its limits and passes the verdict.

mod types;

pub use types::*;
