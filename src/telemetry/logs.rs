//! Logs: text for a person at a terminal, fields for systemd's journal, one JSON object a line for everything else. All but
//! the journal's go to stderr.

use std::{
    env,
    io::{self, IsTerminal},
};

use nix::sys::stat::fstat;
use tracing_subscriber::{fmt, layer::SubscriberExt, util::SubscriberInitExt};

use crate::config::{Log, LogFormat};

/// What the journal knows our lines by; the fields of an event get it before their names: SANDBOXD_ID.
const IDENTIFIER: &str = "sandboxd";
const FIELD_PREFIX: &str = "SANDBOXD";

enum Format {
    Text,
    Json,
    Journald(tracing_journald::Layer),
}

/// Installs the process's subscriber, once.
///
/// # Errors
/// When the journal is asked for and can't be reached.
pub fn init(config: &Log) -> io::Result<()> {
    let terminal = io::stderr().is_terminal();
    let registry = tracing_subscriber::registry().with(config.level.clone());
    let installed = match format(config.format, terminal)? {
        Format::Text => registry.with(fmt::layer().with_writer(io::stderr).with_ansi(terminal)).try_init(),
        Format::Json => {
            registry.with(fmt::layer().json().flatten_event(true).with_writer(io::stderr)).try_init()
        }
        Format::Journald(layer) => registry.with(layer).try_init(),
    };
    // Only a second call fails, and the first one's subscriber serves as well.
    drop(installed);
    Ok(())
}

fn format(configured: LogFormat, terminal: bool) -> io::Result<Format> {
    let journald = || {
        let layer = tracing_journald::layer()?;
        let layer = layer.with_syslog_identifier(IDENTIFIER.to_owned());
        Ok(Format::Journald(layer.with_field_prefix(Some(FIELD_PREFIX.to_owned()))))
    };
    match configured {
        LogFormat::Text => Ok(Format::Text),
        LogFormat::Json => Ok(Format::Json),
        LogFormat::Journald => journald(),
        LogFormat::Auto if terminal => Ok(Format::Text),
        // Where its socket is out of reach, it reads stderr all the same.
        LogFormat::Auto if stderr_is_journal() => journald().or(Ok(Format::Json)),
        LogFormat::Auto => Ok(Format::Json),
    }
}

/// systemd says device and inode of the stream that it reads (systemd.exec(5), JOURNAL_STREAM).
fn stderr_is_journal() -> bool {
    let ours = fstat(io::stderr()).map(|stat| format!("{}:{}", stat.st_dev, stat.st_ino));
    ours.is_ok_and(|ours| env::var("JOURNAL_STREAM").is_ok_and(|stream| stream == ours))
}
