//! Logs: text for a person at a terminal, one JSON object a line for everything else; always on stderr.

use std::io::{self, IsTerminal};

use tracing_subscriber::{fmt, layer::SubscriberExt, util::SubscriberInitExt};

use crate::config::{Log, LogFormat};

/// Installs the process's subscriber, once.
pub fn init(config: &Log) {
    let terminal = io::stderr().is_terminal();
    let text = match config.format {
        LogFormat::Text => true,
        LogFormat::Json => false,
        LogFormat::Auto => terminal,
    };
    let registry = tracing_subscriber::registry().with(config.level.clone());
    let installed = if text {
        registry.with(fmt::layer().with_writer(io::stderr).with_ansi(terminal)).try_init()
    } else {
        registry.with(fmt::layer().json().flatten_event(true).with_writer(io::stderr)).try_init()
    };
    // Only a second call fails, and the first one's subscriber serves as well.
    drop(installed);
}
