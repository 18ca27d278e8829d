//! cgroup v1, v2 and hybrid hosts behind one handle: limits, usage, the oom counter, kill, and the one subtree that
//! belongs to a daemon.
//!
//! [`Layout`] finds out where each controller lives; [`Subtree`] is `sandboxd/<instance>` in each hierarchy in use;
//! [`Group`] is one sandbox in it; [`sweep`] removes the subtrees of daemons that are dead. After creation everything
//! works through directory descriptors, so a process that has pivoted into another root can go on using it. [`Adopted`] is
//! a group that somebody else made, such as a container engine.
//!
//! Deliberately absent: what limits mean, and any counter that lies (`memory.failcnt` stays 0 when memory ran out).

mod adopted;
mod error;
mod files;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod group;
mod layout;
mod subtree;

pub use adopted::{Adopted, own_memory_limit_bytes};
pub use error::{Error, Result};
pub use group::{Group, Limits, Usage};
pub use layout::{Controller, Layout, Version};
pub use subtree::{Subtree, Swept, sweep};
