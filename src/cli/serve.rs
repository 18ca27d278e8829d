//! `sandboxd serve`: the daemon's life, from the first socket to the last sandbox.
//!
//! ```text
//! sockets bound ──> runtimes swept, started, proved ──> serving ──SIGTERM──> draining ──> sandboxes gone ──> exit 0
//!      │                                                 └ SIGHUP: `reload`
//!  or passed                  └ exit 69                              second signal: at once
//!      └ exit 71
//! ```
//!
//! What a service manager hears of it is in `service`.

use std::{path::Path, process::ExitCode, sync::Arc, thread, time::Duration};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::{
    access::{self, Access},
    cli::{Exit, Failure, catalog, reload::Current},
    config::{Auth, Config, Server},
    house::{House, Stay},
    http::{self, Front, listeners::Listeners},
    service::{self, Manager, PassedSocket},
};

/// Serves until told to stop.
///
/// # Errors
/// Before serving only: sockets, runtimes, the system.
pub(super) fn run(config: &Config, named: Option<&Path>) -> Result<ExitCode, Failure> {
    // First, while this is the only thread and nothing else is open: the environment is read and changed here.
    let passed = service::passed_sockets().map_err(|error| Failure::new(Exit::System, error))?;
    let catalog = catalog(config)?;
    let access = access(&config.auth)?;
    let tls = tls(&config.server)?;
    raise_open_files();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Exit::System, format!("start the asynchronous runtime: {error}")))?;
    runtime.block_on(async {
        let mut stop = Stop::new()?;
        let manager = Manager::of_process().map_err(|error| Failure::new(Exit::System, error))?;
        let listeners = listeners(config, passed).await?;
        let house = House::build(config, catalog, Stay::Long)
            .await
            .map_err(|error| Failure::new(Exit::System, error))?;
        let refusals = house.refusals(config).await;
        if !refusals.is_empty() && house.waits_for_engine(config).await {
            for refusal in &refusals {
                tracing::warn!("not ready: {refusal}");
            }
        } else if !refusals.is_empty() {
            house.close().await;
            return Err(Failure { exit: Exit::Unavailable, lines: refusals });
        }
        let front = front(&house, access, tls, config)?;
        if config.prepare_toolchains {
            prepare_in_background(config.file.as_deref());
        }
        let current = Current {
            named: named.map(Path::to_owned),
            config: config.clone(),
            house: Arc::new(house),
            live: http::Live::new(front),
        };
        serve(current, listeners, &manager, &mut stop).await.close().await;
        Ok(ExitCode::SUCCESS)
    })
}

pub(super) fn front(
    house: &House,
    access: Access,
    tls: Option<TlsAcceptor>,
    config: &Config,
) -> Result<Front, Failure> {
    let router = http::router(Arc::clone(&house.engine), Arc::new(access), &config.server)
        .map_err(|error| Failure::new(Exit::System, format!("write the OpenAPI document: {error}")))?;
    Ok(Front { router, tls })
}

/// What TCP connections are secured with.
pub(super) fn tls(server: &Server) -> Result<Option<TlsAcceptor>, Failure> {
    let tls = server.tls.as_ref().map(http::load_tls).transpose();
    tls.map_err(|error| Failure::new(Exit::Configuration, error))
}

/// Who may come in.
pub(super) fn access(auth: &Auth) -> Result<Access, Failure> {
    let tokens = auth.tokens.as_deref().map(access::load).transpose().map_err(|errors| Failure {
        exit: Exit::Configuration,
        lines: errors.iter().map(ToString::to_string).collect(),
    })?;
    Ok(Access { tokens: tokens.unwrap_or_default(), unix_users: auth.unix_users.clone() })
}

/// A shell's soft limit of 1024 is there for select(2), which nobody here uses; connections and sandboxes need more.
/// Programs have a limit of their own.
fn raise_open_files() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard));
    if let Err(error) = raised {
        tracing::warn!(%error, "the limit on open files stays as it is");
    }
}

/// What was passed, and only without any of it what the configuration says: whoever passes sockets decides who gets in.
async fn listeners(config: &Config, passed: Vec<PassedSocket>) -> Result<Listeners, Failure> {
    if passed.is_empty() {
        let bound = Listeners::bind(&config.server.listen, config.server.socket_mode).await;
        return bound.map_err(|error| Failure::new(Exit::System, error));
    }
    Listeners::adopt(passed)
        .map_err(|error| Failure::new(Exit::System, format!("listen on a socket that was passed: {error}")))
}

/// The house that is to be closed.
async fn serve(mut current: Current, listeners: Listeners, manager: &Manager, stop: &mut Stop) -> Arc<House> {
    let mut discovering = discover(&current, current.config.runtimes_by_need());
    let over = CancellationToken::new();
    let (stop_serving, kept_sockets) = (over.child_token(), listeners.outlive_us());
    for address in listeners.addresses() {
        tracing::info!(%address, "listening");
    }
    let serving = tokio::spawn({
        let (server, live) = (current.config.server.clone(), current.live.clone());
        let metrics = Arc::clone(current.house.engine.metrics());
        let (stop, over) = (stop_serving.clone(), over.clone());
        async move { http::serve(listeners, live, &server, metrics, stop, over).await }
    });
    manager.ready().await;
    loop {
        tokio::select! {
            told = stop.told() => match told {
                Told::Stop => break,
                Told::Reload => {}
            },
            never = manager.keep_told(&current.house.engine, current.config.depends_on_an_engine()) => match never {},
        }
        manager.reloading().await;
        match current.reload().await {
            Ok(()) => {
                tracing::info!("reloaded");
                discovering.abort();
                // The default one, which comes first, was looked at before.
                discovering = discover(&current, current.config.runtimes_by_need().split_off(1));
                if current.config.prepare_toolchains {
                    prepare_in_background(current.config.file.as_deref());
                }
                manager.ready().await;
            }
            Err(reasons) => {
                for reason in &reasons {
                    tracing::error!(reason, "not reloaded: everything stays as it was");
                }
                manager.not_reloaded(&reasons).await;
            }
        }
    }
    manager.stopping().await;
    let Current { config, house, .. } = current;
    let engine = Arc::clone(&house.engine);
    tracing::info!(timeout_ms = config.server.shutdown_timeout.as_millis() as u64, "draining");
    if kept_sockets {
        // Whoever connects from now on waits in the socket for the next daemon, instead of being told to come again.
        stop_serving.cancel();
        tokio::time::sleep(http::LAST_REQUESTS).await;
    }
    engine.begin_drain();
    discovering.abort();
    tokio::select! {
        whole = engine.drained(config.server.shutdown_timeout) => {
            tracing::info!(everything_finished = whole, "drained");
        }
        () = stop.asked() => {
            tracing::warn!("told twice: stopping at once");
            // What still runs is canceled, and its clients are told so.
            engine.drained(Duration::ZERO).await;
        }
    }
    over.cancel();
    if let Err(error) = serving.await {
        tracing::error!(%error, "the HTTP server failed");
    }
    house
}

/// Looks for the languages on these runtimes, one after the other.
fn discover(current: &Current, runtimes: Vec<String>) -> tokio::task::JoinHandle<()> {
    let engine = Arc::clone(&current.house.engine);
    tokio::spawn(async move {
        for runtime in runtimes {
            if let Err(error) = engine.discover(&runtime).await {
                tracing::warn!(runtime, %error, "could not look for languages");
            }
        }
    })
}

/// SIGTERM and SIGINT alike; and SIGHUP, which is for reading everything again.
struct Stop {
    reload: Signal,
    terminate: Signal,
    interrupt: Signal,
}

enum Told {
    Stop,
    Reload,
}

impl Stop {
    fn new() -> Result<Self, Failure> {
        let listen = |kind| {
            signal(kind).map_err(|error| Failure::new(Exit::System, format!("listen for signals: {error}")))
        };
        Ok(Self {
            reload: listen(SignalKind::hangup())?,
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
        })
    }

    async fn told(&mut self) -> Told {
        tokio::select! {
            _ = self.terminate.recv() => Told::Stop,
            _ = self.interrupt.recv() => Told::Stop,
            _ = self.reload.recv() => Told::Reload,
        }
    }

    async fn asked(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Warms toolchains in a process of its own, which ends with the daemon; until it is done programs only compile slower.
#[allow(
    clippy::disallowed_types,
    reason = "trusted work of the toolchains' own, once a version, never of a request"
)]
fn prepare_in_background(config_file: Option<&Path>) {
    let mut command = std::process::Command::new("/proc/self/exe");
    command
        .args(["prepare", "--background"])
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::null());
    if let Some(file) = config_file {
        command.arg("--config").arg(file);
    }
    let wait = move || match command.status() {
        Ok(status) if status.success() => tracing::info!("toolchains are prepared"),
        Ok(status) => tracing::warn!(%status, "toolchains could not be prepared: see 'sandboxd prepare'"),
        Err(error) => tracing::warn!(%error, "could not start 'sandboxd prepare'"),
    };
    if let Err(error) = thread::Builder::new().name("prepare".to_owned()).spawn(wait) {
        tracing::warn!(%error, "could not start 'sandboxd prepare'");
    }
}
