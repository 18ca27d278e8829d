//! What can go wrong with a call to the engine, and the one sentence that is said of it. Called wherever a call is made.

use std::{io, time::Duration};

use bollard::errors::Error as ApiError;
use sandboxd_contract::RuntimeError;

/// A call that failed, one variant for each reaction of the caller.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// Nobody answers there, or not us: a sentence with the mending command.
    #[error("{sentence}")]
    Unreachable {
        sentence: String,
        /// It was connected, so that what was asked may have been heard.
        was_reached: bool,
    },

    /// The engine's answer is no.
    #[error("Docker Engine: {message} (status {status})")]
    Refused { status: u16, message: String },

    /// No answer in time. Whether it will still be done is not known.
    #[error("Docker Engine at {host} did not answer within {deadline:?}")]
    Late { host: String, deadline: Duration },

    /// An answer that can't be understood.
    #[error("Docker Engine: {0}")]
    Odd(String),
}

impl Failure {
    pub(crate) fn of(host: &str, error: &ApiError) -> Self {
        match error {
            ApiError::DockerResponseServerError { status_code, message } => {
                Self::Refused { status: *status_code, message: message.trim().to_owned() }
            }
            ApiError::SocketNotFoundError(_) => Self::unreachable(host, io::ErrorKind::NotFound),
            ApiError::HyperLegacyError { .. }
            | ApiError::HyperResponseError { .. }
            | ApiError::IOError { .. } => {
                Self::unreachable(host, cause(error).unwrap_or(io::ErrorKind::ConnectionReset))
            }
            other => Self::Odd(other.to_string()),
        }
    }

    /// What, where, and the command that mends it.
    pub(crate) fn unreachable(host: &str, kind: io::ErrorKind) -> Self {
        let start = if host.starts_with("unix://") {
            "start it with `systemctl start docker`"
        } else {
            "start it there, and have it listen with `dockerd -H`"
        };
        use io::ErrorKind::{ConnectionRefused, NotFound, PermissionDenied};
        let sentence = match kind {
            PermissionDenied => format!(
                "this user may not talk to Docker Engine at {host}: `usermod -aG docker <user>` and a new login, or run as root"
            ),
            NotFound => {
                format!("there is no Docker Engine at {host} (no such socket): {start}")
            }
            ConnectionRefused => {
                format!("there is no Docker Engine at {host} (connection refused): {start}")
            }
            other => format!("the connection to Docker Engine at {host} broke ({other}): {start}"),
        };
        let was_reached = !matches!(kind, PermissionDenied | NotFound | ConnectionRefused);
        Self::Unreachable { sentence, was_reached }
    }

    /// The engine does not know the container.
    pub(crate) fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused { status: 404, .. })
    }

    /// Whether what was asked may still come to pass.
    pub(crate) fn leaves_doubt(&self) -> bool {
        !matches!(self, Self::Refused { .. } | Self::Unreachable { was_reached: false, .. })
    }

    /// As a caller sees it: an engine that can't be had is unavailable, a container that failed is a sandbox's failure.
    pub(crate) fn into_runtime(self, operation: &'static str) -> RuntimeError {
        match self {
            Self::Unreachable { .. } | Self::Late { .. } => RuntimeError::unavailable(self),
            Self::Refused { .. } | Self::Odd(_) => RuntimeError::sandbox(operation, self),
        }
    }
}

/// The kind of the system's own error at the bottom of it.
fn cause(error: &ApiError) -> Option<io::ErrorKind> {
    let mut below: Option<&(dyn std::error::Error + 'static)> = Some(error);
    if let ApiError::IOError { err } = error {
        return Some(err.kind());
    }
    let mut found = None;
    while let Some(current) = below {
        found = current.downcast_ref::<io::Error>().map(io::Error::kind).or(found);
        below = current.source();
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_is_told_with_the_command_that_mends_it() {
        let of = |host, kind| Failure::unreachable(host, kind).to_string();
        assert_eq!(
            of("unix:///run/d.sock", io::ErrorKind::NotFound),
            "there is no Docker Engine at unix:///run/d.sock (no such socket): start it with `systemctl start docker`"
        );
        assert!(of("unix:///run/d.sock", io::ErrorKind::PermissionDenied).contains("usermod -aG docker"));
        assert!(of("tcp://lab:2375", io::ErrorKind::ConnectionRefused).contains("dockerd -H"));
    }

    #[test]
    fn only_a_plain_no_leaves_no_doubt() {
        assert!(!Failure::Refused { status: 500, message: String::new() }.leaves_doubt());
        let broken = |kind| Failure::unreachable("unix:///run/d.sock", kind).leaves_doubt();
        assert!(!broken(io::ErrorKind::ConnectionRefused) && broken(io::ErrorKind::ConnectionReset));
        assert!(Failure::Late { host: String::new(), deadline: Duration::from_secs(1) }.leaves_doubt());
    }
}
