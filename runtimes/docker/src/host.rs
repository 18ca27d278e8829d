//! Whether the engine's containers are processes of this very host, and how far the engine may raise a process's limits.
//! Both are read from the process at the other end of the socket. Called when a connection is made.

use std::{fs, io};

use tokio::net::UnixStream;

/// Number of CAP_SYS_RESOURCE: who has it raises limits as it likes.
const CAP_SYS_RESOURCE: u64 = 24;

/// What the other end of a socket is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Peer {
    /// It is a process of our own process namespace, so its containers' processes are seen here under their numbers.
    pub(crate) local: bool,
    /// `None` where it is not seen from here.
    pub(crate) ceilings: Option<Ceilings>,
}

/// Hard limits that the engine can't raise; `None` where there is none, or none known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Ceilings {
    pub(crate) core: Option<u64>,
    pub(crate) open_files: Option<u64>,
    pub(crate) file_size_bytes: Option<u64>,
    pub(crate) stack_bytes: Option<u64>,
}

/// Looks at who listens at `path`. Under socket activation that is the service manager, in whose name the socket was
/// made: of this host just as well, and seldom short of a right.
pub(crate) async fn peer(path: &str) -> io::Result<Peer> {
    let stream = UnixStream::connect(path).await?;
    // From another process namespace the number is 0, which is nobody's.
    let Some(pid) = stream.peer_cred()?.pid().filter(|pid| *pid > 0) else {
        return Ok(Peer::default());
    };
    let read = move || {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap_or_default();
        Peer { local: same_pid_namespace(&status), ceilings: Some(ceilings(&status, &limits)) }
    };
    Ok(tokio::task::spawn_blocking(read).await.unwrap_or_default())
}

/// One number: in no process namespace below ours, nor, since it is seen at all, in one above.
fn same_pid_namespace(status: &str) -> bool {
    field(status, "NSpid:").is_some_and(|numbers| numbers.split_whitespace().count() == 1)
}

fn ceilings(status: &str, limits: &str) -> Ceilings {
    let capabilities = field(status, "CapEff:").and_then(|set| u64::from_str_radix(set.trim(), 16).ok());
    if capabilities.is_none_or(|set| set & (1 << CAP_SYS_RESOURCE) != 0) {
        return Ceilings::default();
    }
    // `Max open files   1024   20000   files`: name, soft, hard, unit. "unlimited" is no number.
    let hard = |name| field(limits, name)?.split_whitespace().nth(1)?.parse().ok();
    Ceilings {
        core: hard("Max core file size"),
        open_files: hard("Max open files"),
        file_size_bytes: hard("Max file size"),
        stack_bytes: hard("Max stack size"),
    }
}

fn field<'text>(text: &'text str, name: &str) -> Option<&'text str> {
    text.lines().find_map(|line| line.strip_prefix(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: &str = "\
Limit                     Soft Limit           Hard Limit           Units
Max file size             unlimited            unlimited            bytes
Max stack size            8388608              unlimited            bytes
Max core file size        0                    unlimited            bytes
Max open files            1024                 20000                files
";

    #[test]
    fn an_engine_without_the_right_is_held_to_its_own_hard_limits() {
        let found = ceilings("CapEff:\t000001fffeffffff\n", LIMITS);
        assert_eq!(found, Ceilings { open_files: Some(20_000), ..Ceilings::default() });
        assert_eq!(ceilings("CapEff:\t000001ffffffffff\n", LIMITS), Ceilings::default());
        assert_eq!(ceilings("", ""), Ceilings::default());
    }

    #[test]
    fn a_process_of_a_namespace_below_is_not_of_this_host() {
        assert!(same_pid_namespace("NSpid:\t812\n"));
        assert!(!same_pid_namespace("NSpid:\t812\t1\n"));
        assert!(!same_pid_namespace(""));
    }
}
