//! The integration tests: the real daemon, started from its binary, spoken to as a stranger would.
//!
//! One binary, so that the build links once. `support` starts daemons and sends requests; each other file is a topic.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]
#![allow(clippy::disallowed_types, reason = "a test starts the daemon as a person would")]

mod access;
mod attacks;
mod bench;
mod cache;
mod cli;
mod collect;
mod containerd;
mod containerd_faults;
mod contract;
mod docker;
mod docker_faults;
mod engines;
mod errors;
mod everywhere;
mod execute;
mod fault_loop;
mod faults;
mod front_door;
mod images;
mod languages;
mod limits;
mod load;
mod managed;
mod observed;
mod programs;
mod published;
mod reload;
mod rush;
mod scarcity;
mod service;
mod soak;
mod support;
mod tls;
