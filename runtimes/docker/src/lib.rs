//! Containers of Docker Engine, for sandboxes: a [`Backend`](sandboxd_container::Backend) over its API.
//!
//! ```text
//!  DockerBackend ──engine()──> Engine: a client and what it is connected to, found out once, again after an outage
//!    │ examine ───> examine.rs, host.rs   what the engine is, whether it is on this host
//!    │                memory_events.rs    which containers were killed for memory, where only the engine sees it
//!    │ create ────> create.rs             create, attach, start, inspect; on any failure nothing is left
//!    │                ├ spec_to_config.rs   ContainerSpec -> what the API is sent, pure
//!    │                ├ agent_volume.rs     the agent, for an engine that does not see this host's files
//!    │                └ streams.rs          the attached connection as stdin and stdout
//!    └ list ──────> handle.rs             one container: update, witness, remove
//!  DockerImages ────> images.rs             builds, loads and lists images
//! ```
//!
//! Every call has a deadline ([`call`]), every failure is one sentence with the command that mends it ([`error`]).
//! Deliberately absent: what is said over the streams, pools, cgroups and verdicts.

mod agent_volume;
mod call;
mod create;
mod engine;
mod error;
mod examine;
mod handle;
mod host;
mod images;
mod memory_events;
mod spec_to_config;
mod streams;

pub use engine::{DockerBackend, DockerConfig};
pub use images::DockerImages;
