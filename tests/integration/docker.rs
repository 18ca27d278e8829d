//! The Docker Engine that answers on this host, as far as a test needs it.

use std::{
    io::{Read, Write},
    os::unix::net::UnixStream,
    time::Duration,
};

pub(crate) const SOCKET: &str = "/var/run/docker.sock";

/// What the engine at a socket answers to GET, or why it does not.
pub(crate) fn ask(socket: &str, path: &str) -> std::io::Result<String> {
    let mut socket = UnixStream::connect(socket)?;
    socket.set_read_timeout(Some(Duration::from_secs(10)))?;
    write!(socket, "GET {path} HTTP/1.0\r\nHost: docker\r\n\r\n")?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer)?;
    Ok(answer)
}

/// Whether Docker answers; else a line says why nothing is tested, and where nothing may be skipped that is a failure.
pub(crate) fn answers() -> bool {
    match ask(SOCKET, "/_ping") {
        Ok(answer) if answer.contains("200 OK") => true,
        other => {
            println!("SKIP docker: it does not answer at {SOCKET}: {other:?}");
            assert!(std::env::var_os("CI").is_none(), "in CI nothing may be skipped");
            false
        }
    }
}

/// Whether an OCI runtime of this name is registered.
pub(crate) fn has_runtime(name: &str) -> bool {
    ask(SOCKET, "/info").is_ok_and(|info| info.contains(&format!("\"{name}\":{{")))
}

/// A configuration with one runtime, `docker`, as `support::Daemon::start` takes it.
pub(crate) fn configuration(oci_runtime: &str, docker: &str, execution: &str) -> String {
    format!(
        "---[executors]\nprepare = false\n[execution]\n{execution}\n\
         [runtimes.docker]\noci_runtime = \"{oci_runtime}\"\n{docker}\n"
    )
}
