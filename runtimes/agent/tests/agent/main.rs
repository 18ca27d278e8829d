//! The real agent as PID 1 of namespaces that a test makes, with a daemon that is not always a good one.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod ahead;
mod files;
mod programs;
mod rig;
mod streams;
mod walls;
