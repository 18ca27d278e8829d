//! Being somebody's service: sockets that the service manager hands over (LISTEN_FDS), and what it is told
//! (NOTIFY_SOCKET, WATCHDOG_USEC), as sd_listen_fds(3) and sd_notify(3) have it. Called by `serve` alone. Without a
//! manager all of it does nothing. What is done with the sockets is `http::listeners`.
//!
//! ```text
//! READY=1 ──> STATUS=… when the load changes; WATCHDOG=1 while a program can be run ──> STOPPING=1
//!    └── RELOADING=1 <──┘ SIGHUP
//! ```

use std::convert::Infallible;
use std::env;
use std::ffi::OsString;
use std::io;
use std::os::fd::AsFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram as StdUnixDatagram, UnixListener};
use std::time::Duration;

use listenfd::ListenFd;
use nix::sys::socket::{getsockopt, sockopt};
use nix::time::{ClockId, clock_gettime};
use tokio::net::UnixDatagram;
use tokio::time::{Interval, MissedTickBehavior, interval, timeout};

use crate::engine::{Engine, Stats};

/// How often the load is looked at; it is told when it has changed.
const STATUS_INTERVAL: Duration = Duration::from_secs(2);
/// So many times it is tried to run a program within the watchdog's time: one bad moment is not the end.
const TRIES_PER_WATCHDOG: u32 = 4;
/// How long the manager may take to take a message in.
const TELL_TIMEOUT: Duration = Duration::from_secs(5);

/// A listening socket that somebody else made. Nothing that is executed later inherits it.
#[derive(Debug)]
pub(crate) enum PassedSocket {
    Tcp(std::net::TcpListener),
    Unix(UnixListener),
}

/// Takes what was passed to this process, in its order; call it while there is one thread.
///
/// # Errors
/// When something was passed that connections can't be accepted on.
pub(crate) fn passed_sockets() -> Result<Vec<PassedSocket>, String> {
    let mut passed = ListenFd::from_env();
    (0..passed.len()).map(|index| take(&mut passed, index)).collect()
}

fn take(passed: &mut ListenFd, index: usize) -> Result<PassedSocket, String> {
    let refused = |reason: &str| format!("socket {index} of those that were passed: {reason}");
    let (socket, listens) = if let Ok(Some(unix)) = passed.take_unix_listener(index) {
        let listens = listens(&unix);
        (PassedSocket::Unix(unix), listens)
    } else if let Ok(Some(tcp)) = passed.take_tcp_listener(index) {
        let listens = listens(&tcp);
        (PassedSocket::Tcp(tcp), listens)
    } else {
        return Err(refused("neither TCP nor a Unix stream socket"));
    };
    if listens { Ok(socket) } else { Err(refused("not listening (Accept=no is needed)")) }
}

fn listens(socket: &impl AsFd) -> bool {
    getsockopt(socket, sockopt::AcceptConn).unwrap_or(false)
}

/// The service manager, if there is one.
pub(crate) struct Manager {
    socket: Option<UnixDatagram>,
    watchdog: Option<Duration>,
}

impl Manager {
    /// The one that started this process.
    ///
    /// # Errors
    /// When it can't be reached where it said: it would wait in vain.
    pub(crate) fn of_process() -> Result<Self, String> {
        let socket = match env::var_os("NOTIFY_SOCKET").filter(|address| !address.is_empty()) {
            None => None,
            Some(address) => Some(
                connect(&address)
                    .map_err(|error| format!("reach the service manager at {address:?}: {error}"))?,
            ),
        };
        let watchdog = watchdog(|name| env::var(name).ok(), std::process::id());
        Ok(Self { socket, watchdog })
    }

    /// The service accepts connections, and its default runtime has shown that it can hold every limit.
    pub(crate) async fn ready(&self) {
        self.tell(&format!("READY=1\nSTATUS={}", status(Stats::default(), None))).await;
    }

    /// Everything is read again; `ready` or `not_reloaded` ends it.
    pub(crate) async fn reloading(&self) {
        let now = clock_gettime(ClockId::CLOCK_MONOTONIC)
            .map_or(0, |now| now.tv_sec().saturating_mul(1_000_000).saturating_add(now.tv_nsec() / 1000));
        self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={now}")).await;
    }

    /// As it was before.
    pub(crate) async fn not_reloaded(&self, reasons: &[String]) {
        self.tell(&format!("READY=1\nSTATUS=not reloaded: {}", reasons.join("; ").replace('\n', " "))).await;
    }

    pub(crate) async fn stopping(&self) {
        self.tell("STOPPING=1\nSTATUS=finishing what runs").await;
    }

    /// Tells the load as it changes, and feeds the watchdog while a program can be run. Where they run in an engine of
    /// somebody else's, that the daemon still answers must do: to start it anew would mend nothing.
    pub(crate) async fn keep_told(&self, engine: &Engine, depends_on_others: bool) -> Infallible {
        if self.socket.is_none() {
            return std::future::pending().await;
        }
        let mut look = every(STATUS_INTERVAL);
        let mut check = self.watchdog.map(|limit| every(limit / TRIES_PER_WATCHDOG));
        let mut trouble = None;
        let mut told = String::new();
        loop {
            tokio::select! {
                _ = look.tick() => {}
                () = tick(check.as_mut()) => {
                    trouble = engine.ready().await.err();
                    if let Some(reason) = &trouble {
                        tracing::warn!(reason, "no program can be run");
                    }
                    if trouble.is_none() || depends_on_others {
                        self.tell("WATCHDOG=1").await;
                    }
                }
            }
            let now = status(engine.stats(), trouble.as_deref());
            if now != told {
                self.tell(&format!("STATUS={now}")).await;
                told = now;
            }
        }
    }

    /// A message that the manager does not take in is lost: what follows from that is its own decision.
    async fn tell(&self, message: &str) {
        let Some(socket) = &self.socket else { return };
        let error = match timeout(TELL_TIMEOUT, socket.send(message.as_bytes())).await {
            Ok(Ok(_)) => return,
            Ok(Err(error)) => error,
            Err(_) => io::ErrorKind::TimedOut.into(),
        };
        tracing::warn!(message, %error, "the service manager could not be told");
    }
}

/// A path, or a name that is in no file system, with @ before it.
fn connect(address: &OsString) -> io::Result<UnixDatagram> {
    let address = match address.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(address)?,
    };
    let socket = StdUnixDatagram::unbound()?;
    socket.connect_addr(&address)?;
    socket.set_nonblocking(true)?;
    UnixDatagram::from_std(socket)
}

/// How often this process must say that it lives, if that is meant for it.
fn watchdog(variable: impl Fn(&str) -> Option<String>, own: u32) -> Option<Duration> {
    let meant = variable("WATCHDOG_PID").is_none_or(|pid| pid.parse() == Ok(own));
    let limit = variable("WATCHDOG_USEC")?.parse().ok().filter(|&limit| limit > 0)?;
    meant.then_some(Duration::from_micros(limit))
}

fn every(period: Duration) -> Interval {
    let mut interval = interval(period.max(Duration::from_millis(1)));
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

async fn tick(interval: Option<&mut Interval>) {
    match interval {
        Some(interval) => {
            interval.tick().await;
        }
        None => std::future::pending().await,
    }
}

/// One line for a person.
fn status(load: Stats, trouble: Option<&str>) -> String {
    let load = format!("{} running, {} queued", load.running, load.waiting);
    match trouble {
        None => load,
        Some(reason) => format!("{load}; no program can be run: {}", reason.replace('\n', " ")),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::config::{self, Surroundings};
    use crate::executors::Catalog;
    use crate::house::{Stay, engine_config};
    use crate::telemetry::Metrics;

    #[test]
    fn the_watchdog_is_for_who_is_named() {
        let ask = |pid: Option<&'static str>, limit: Option<&'static str>| {
            watchdog(|name| (if name == "WATCHDOG_PID" { pid } else { limit }).map(str::to_owned), 7)
        };
        let second = Some(Duration::from_secs(1));
        assert_eq!(ask(None, Some("1000000")), second);
        assert_eq!(ask(Some("7"), Some("1000000")), second);
        for (pid, limit) in [
            (Some("8"), Some("1000000")),
            (Some(""), Some("1000000")),
            (None, None),
            (None, Some("0")),
            (None, Some("-1")),
            (None, Some("soon")),
        ] {
            assert_eq!(ask(pid, limit), None, "{pid:?} {limit:?}");
        }
    }

    #[test]
    fn the_status_is_one_line() {
        let load = Stats { running: 2, waiting: 1, draining: false };
        assert_eq!(status(load, None), "2 running, 1 queued");
        assert_eq!(status(load, Some("a\nb")), "2 running, 1 queued; no program can be run: a b");
    }

    #[tokio::test]
    async fn a_name_in_no_file_system() {
        let name = format!("sandboxd-test-{}", std::process::id());
        let manager = StdUnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        let socket = connect(&OsString::from(format!("@{name}"))).unwrap();
        Manager { socket: Some(socket), watchdog: None }.stopping().await;
        let mut message = [0; 64];
        let length = manager.recv(&mut message).unwrap();
        assert!(message[..length].starts_with(b"STOPPING=1\n"));
    }

    /// An engine without a runtime, which can't run anything; what is told within a few of the watchdog's times.
    async fn told_without_a_runtime(depends_on_others: bool) -> String {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config.toml");
        std::fs::write(&file, "state_dir = \"/nowhere\"").unwrap();
        let config = config::load(Some(&file), &Surroundings::default()).unwrap();
        let metrics = Arc::new(Metrics::new().unwrap());
        let catalog = Catalog::load(&[]).unwrap();
        let engine = Engine::new(engine_config(&config, Stay::Long), catalog, Vec::new(), metrics);

        let path = folder.path().join("notify.sock");
        let listener = UnixDatagram::bind(&path).unwrap();
        let watchdog = Some(Duration::from_millis(40));
        let manager = Manager { socket: Some(connect(&path.into_os_string()).unwrap()), watchdog };
        let patience = Duration::from_millis(200);
        assert!(timeout(patience, manager.keep_told(&engine, depends_on_others)).await.is_err());
        let mut told = String::new();
        let mut message = [0; 1024];
        while let Ok(length) = listener.try_recv(&mut message) {
            told.push_str(std::str::from_utf8(&message[..length]).unwrap());
            told.push('\n');
        }
        told
    }

    #[tokio::test]
    async fn the_watchdog_starves_when_nothing_can_be_run() {
        let told = told_without_a_runtime(false).await;
        assert!(told.contains("STATUS=0 running, 0 queued; no program can be run: "), "{told}");
        assert!(!told.contains("WATCHDOG=1"), "{told}");
    }

    #[tokio::test]
    async fn an_engine_of_others_that_is_down_is_no_reason_to_start_anew() {
        let told = told_without_a_runtime(true).await;
        assert!(told.contains("no program can be run: "), "{told}");
        assert!(told.matches("WATCHDOG=1").count() > 1, "{told}");
    }
}
