//! sandboxd runs programs that nobody trusts, holds them to their limits and says what happened.
//!
//! The library exists for the binary and its tests; ARCHITECTURE.md has the map.

pub mod access;
mod attacks;
pub mod cli;
pub mod config;
mod embedded;
pub mod engine;
pub mod executors;
mod house;
pub mod http;
pub mod prepare;
mod private_file;
mod runtimes;
mod service;
mod strict;
pub mod telemetry;
