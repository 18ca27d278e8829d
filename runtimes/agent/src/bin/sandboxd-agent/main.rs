//! PID 1 of a container sandbox: prepares the disk, keeps the program's process parked, then serves the daemon.
//!
//! ```text
//! executed ──> prepare ──> park (fork) ──> drop rights ──Hello──> serve ──daemon gone──> kill all, exit
//!                 └───────────── one sentence: Failed, exit 1 ──────┘
//! ```
//! One thread, no runtime, little memory: whatever it uses is charged to the sandbox. It is trusted with nothing that
//! decides: limits, time and verdicts are the daemon's, read from outside. It runs as root with the few rights that the
//! container leaves it, and sheds them as soon as they have served; the program, another user, can't reach it.

mod collect;
mod input;
mod outbox;
mod outputs;
mod park;
mod prepare;
mod put;
mod script;
mod serve;

use std::{io::Write, process::ExitCode};

use nix::{
    sys::{
        prctl,
        signal::{SigSet, Signal},
        signalfd::{SfdFlags, SignalFd},
        stat::{Mode, umask},
    },
    unistd::{Pid, getpid},
};
use sandboxd_agent::{FromAgent, VERSION};
use sandboxd_inside::{
    reap,
    sys::{CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_KILL, SingleThread, set_capabilities},
};

use crate::{outbox::Outbox, serve::Agent};

/// User and group of the program in every container. Beyond what images hand out to people (1000 and up) and to
/// services (below 1000), and within the 65 536 ids that a user namespace commonly maps.
const PROGRAM_USER: u32 = 10_000;

/// Why the agent ends.
#[derive(Debug)]
enum Stop {
    /// The daemon went away: so does everything in here.
    DaemonGone,
    /// The sandbox can't be used, for the reason in this sentence.
    Broken(String),
}

fn main() -> ExitCode {
    let mut outbox = Outbox::new();
    let stop = match start(&mut outbox) {
        Ok(mut agent) => agent.serve(&mut outbox),
        Err(reason) => Stop::Broken(reason),
    };
    reap::kill_all();
    match stop {
        Stop::DaemonGone => ExitCode::SUCCESS,
        Stop::Broken(reason) => {
            outbox.last_words(&FromAgent::Failed { reason: reason.clone() });
            complain(&reason);
            ExitCode::FAILURE
        }
    }
}

/// One line for whoever looks at the container. Nobody may, so it may fail.
fn complain(reason: &str) {
    let _ = writeln!(std::io::stderr(), "sandboxd-agent: {reason}");
}

/// Everything up to Hello.
fn start(outbox: &mut Outbox) -> Result<Agent, String> {
    let step = |what: &'static str| move |errno: nix::errno::Errno| format!("{what}: {errno}");
    if getpid() != Pid::from_raw(1) {
        // Signals to all processes would leave the sandbox.
        return Err("it runs as the first process of a container only".to_owned());
    }
    outbox.set_up()?;
    prctl::set_dumpable(false).map_err(step("forbid dumps"))?;
    prepare::line()?;
    umask(Mode::from_bits_truncate(0o022));
    prepare::disk()?;
    let children = watch_children().map_err(step("watch children"))?;
    let thread = SingleThread::prove().map_err(step("prove that there is one thread"))?;
    let parked = park::park(thread)?;
    shed(CAP_CHOWN | CAP_DAC_OVERRIDE | CAP_KILL)?;
    let mut agent = Agent::new(parked, children)?;
    outbox.frame(&FromAgent::Hello { version: VERSION });
    agent.grant_stdin(outbox);
    Ok(agent)
}

/// Keeps these rights and no other.
fn shed(kept: u32) -> Result<(), String> {
    set_capabilities(kept).map_err(|errno| format!("drop capabilities: {errno}"))
}

/// A descriptor that is readable when a child has ended.
fn watch_children() -> nix::Result<SignalFd> {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGCHLD);
    signals.thread_block()?;
    SignalFd::with_flags(&signals, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)
}
