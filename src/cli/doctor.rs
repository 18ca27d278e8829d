//! `sandboxd doctor`: each requirement, whether it is met, why not, and the command that mends it. Changes nothing.

use std::{fmt, process::ExitCode};

use nix::unistd::{AccessFlags, access};
use sandboxd_contract::LimitSupport;

use crate::{
    cli::{Exit, Failure, block_on, catalog, languages},
    config::{Config, ListenAddress},
    engine::{Installation, RuntimeStatus},
    house::{House, Stay},
    http::listeners::{self, Obstacle},
};

#[derive(Debug, clap::Args)]
pub(super) struct DoctorArgs {
    /// One JSON object instead of a list
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum State {
    Ok,
    /// It works, with less than there could be.
    Degraded,
    /// Programs can't be run as configured.
    Missing,
}

impl fmt::Display for State {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(match self {
            Self::Ok => "ok",
            Self::Degraded => "degraded",
            Self::Missing => "missing",
        })
    }
}

struct Finding {
    what: String,
    state: State,
    why: String,
}

impl Finding {
    fn new(what: impl Into<String>, state: State, why: impl Into<String>) -> Self {
        Self { what: what.into(), state, why: why.into() }
    }
}

/// Ends with 0 when programs can be run, with 1 when not.
///
/// # Errors
/// When not even a runtime can be started.
pub(super) fn run(config: &Config, args: &DoctorArgs) -> Result<ExitCode, Failure> {
    let catalog = catalog(config)?;
    let findings = block_on(async {
        let house = House::build(config, catalog, Stay::Short)
            .await
            .map_err(|error| Failure::new(Exit::System, error))?;
        let findings = examine(config, &house).await;
        house.close().await;
        Ok(findings)
    })?;
    if args.json {
        let findings: Vec<_> = findings
            .iter()
            .map(|finding| {
                serde_json::json!({
                    "what": finding.what, "state": finding.state.to_string(), "why": finding.why,
                })
            })
            .collect();
        println!("{}", serde_json::json!({ "findings": findings }));
    } else {
        for finding in &findings {
            println!("{:<9} {:<28} {}", finding.state, finding.what, finding.why);
        }
    }
    let worst = findings.iter().map(|finding| finding.state).max().unwrap_or(State::Ok);
    Ok(ExitCode::from(u8::from(worst == State::Missing)))
}

async fn examine(config: &Config, house: &House) -> Vec<Finding> {
    let mut findings = vec![state_dir(config)];
    for address in &config.server.listen {
        findings.push(listening(address).await);
    }
    let mut troubles = Vec::new();
    for name in config.runtimes_by_need() {
        if let Err(error) = house.engine.discover(&name).await {
            troubles.push((name, error.to_string()));
        }
    }
    for runtime in house.engine.runtimes() {
        let trouble = troubles.iter().find(|(name, _)| *name == runtime.name).map(|(_, error)| error);
        findings.extend(of_runtime(&runtime, trouble));
    }
    for language in house.engine.languages() {
        let what = format!("language {}", language.executor.id);
        findings.push(match languages::installation(&language, config) {
            Some(Installation::Installed { version }) => Finding::new(what, State::Ok, version.clone()),
            Some(Installation::Missing { reason }) => Finding::new(what, State::Degraded, reason.clone()),
            Some(Installation::NotLookedFor) | None => Finding::new(what, State::Degraded, "not looked for"),
        });
    }
    findings
}

fn state_dir(config: &Config) -> Finding {
    let folder = config.state_dir.display();
    match access(&config.state_dir, AccessFlags::W_OK) {
        Ok(()) => Finding::new("state folder", State::Ok, folder.to_string()),
        Err(errno) => {
            let why = format!("{folder}: {}: toolchains can't be prepared; mkdir -p {folder}", errno.desc());
            Finding::new("state folder", State::Degraded, why)
        }
    }
}

/// Taken is no illness: it may well be the daemon itself that listens there.
async fn listening(address: &ListenAddress) -> Finding {
    let what = format!("listen {address}");
    match listeners::examine(address).await {
        Ok(()) => Finding::new(what, State::Ok, "free"),
        Err(Obstacle::InUse) => {
            let why =
                "something listens there, perhaps a daemon that runs; another one needs another address";
            Finding::new(what, State::Degraded, why)
        }
        Err(Obstacle::Other(reason)) => {
            Finding::new(what, State::Missing, format!("{reason}; see [server] listen in the configuration"))
        }
    }
}

fn of_runtime(runtime: &RuntimeStatus, trouble: Option<&String>) -> Vec<Finding> {
    let what = format!("runtime {}", runtime.name);
    let Some(probe) = &runtime.probe else {
        return vec![Finding::new(what, State::Degraded, "not looked at")];
    };
    // Only the default runtime is one that programs can't do without.
    let bad = if runtime.default { State::Missing } else { State::Degraded };
    let mut findings = vec![match &probe.available {
        Ok(()) => match trouble {
            Some(trouble) => Finding::new(what.clone(), bad, trouble.clone()),
            None => Finding::new(what.clone(), State::Ok, "makes sandboxes"),
        },
        Err(reason) => Finding::new(what.clone(), bad, reason.clone()),
    }];
    for (name, value) in &probe.details {
        findings.push(Finding::new(format!("{what}: {name}"), State::Ok, value.clone()));
    }
    for (limit, support) in &probe.limits {
        let what = format!("{what}: limit {}", limit.name());
        findings.push(match support {
            LimitSupport::Held => Finding::new(what, State::Ok, "held"),
            LimitSupport::Waived(reason) => {
                Finding::new(what, State::Degraded, format!("not held, as configured: {reason}"))
            }
            LimitSupport::Missing(reason) => Finding::new(what, bad, reason.clone()),
        });
    }
    findings
}
