//! What is done inside of a sandbox, whoever made it: native's own processes and the agent of the container runtimes
//! share it. Deliberately absent: namespaces, mounts and filters, which differ, and any asynchronous runtime.

pub mod codec;
pub mod disk;
pub mod program;
pub mod reap;
pub mod sys;
