//! Sandboxes that are containers, whoever makes the containers: Docker Engine and containerd are a [`Backend`] each.
//!
//! A container is made ahead, with the agent as its first process and its stdin and stdout attached to the daemon. What
//! decides is read outside of it, from the container's cgroup on this host and from the engine's own word.
//!
//! ```text
//!  runtime ──> yard (make, keep ready, remove) ──> backend, an engine
//!     └─> sandbox, process ──> cell ──> line ──frames──> agent, in the container
//!                                └───> meter ──> the container's cgroup
//! ```

pub mod agent_binary;
pub mod backend;
mod cell;
mod handover;
pub mod images;
mod line;
mod meter;
mod owner;
mod runtime;
mod rush;
mod sandbox;
mod shelves;
mod streams;
#[cfg(feature = "testing")]
pub mod testing;
#[cfg(test)]
mod tests;
mod yard;

pub use backend::{Backend, Container, ContainerSpec, Examined, Handle, Leftover, Witness, is_sandbox_name};
pub use handover::make_container;
pub use images::{Image, ImageError, ImageStore, Progress, Recipe};
pub use meter::host_tasks;
pub use runtime::{ContainerConfig, ContainerRuntime};
pub use shelves::ReadyPolicy;
