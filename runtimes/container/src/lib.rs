//! Sandboxes that are containers, whoever makes the containers: Docker Engine and containerd are a [`Backend`] each.
//!
//! A container is made ahead, with the agent as its first process and its stdin and stdout attached to the daemon. What
//! decides is read outside of it, from the container's cgroup on this host and from the engine's own word.

pub mod backend;

pub use backend::{Backend, Container, ContainerSpec, Examined, Handle, Leftover, Witness};
