//! A daemon that is told to read its configuration again: as a whole, or not at all.
//!
//! ```text
//! SIGHUP ──> read and checked ──> a new engine beside the old one ──> swapped ──> the old one ends with its last request
//!               └ one line for each reason, and everything stays as it was
//! ```
//! Runtimes that are configured as before go on in the new engine, with all that they have ready. What other processes
//! were promised, or what can't be had twice at once, stays until a restart. Called by `serve` alone.

use std::{path::PathBuf, sync::Arc, time::Duration};

use super::catalog;
use crate::{
    cli::serve,
    config::{self, Config, RuntimeKind, Surroundings},
    house::House,
    http,
};

/// How often it is looked whether anybody still has business with the engine before.
const LOOK: Duration = Duration::from_millis(50);

/// What serves now.
pub(super) struct Current {
    /// The file that the command line names; without it, it is looked for anew.
    pub(super) named: Option<PathBuf>,
    pub(super) config: Config,
    pub(super) house: Arc<House>,
    pub(super) live: http::Live,
}

impl Current {
    /// Reads everything again.
    ///
    /// # Errors
    /// One line for each reason; nothing has changed then.
    pub(super) async fn reload(&mut self) -> Result<(), Vec<String>> {
        let config = config::load(self.named.as_deref(), &Surroundings::of_process())
            .map_err(|error| error.violations)?;
        let fixed = fixed(&self.config, &config);
        if !fixed.is_empty() {
            return Err(fixed);
        }
        let catalog = catalog(&config).map_err(|failure| failure.lines)?;
        let access = serve::access(&config.auth).map_err(|failure| failure.lines)?;
        let tls = serve::tls(&config.server).map_err(|failure| failure.lines)?;
        let next = self.house.rebuild(&config, catalog).await.map_err(|error| vec![error.to_string()])?;
        let refusals = next.refusals(&config).await;
        if !refusals.is_empty() && !next.waits_for_engine(&config).await {
            next.close_all_but(&self.house).await;
            return Err(refusals);
        }
        // Otherwise the first who ask would wait for it.
        if let Err(error) = next.engine.discover(&config.execution.default_runtime).await {
            tracing::warn!(%error, "could not look for languages");
        }
        let front = match serve::front(&next, access, tls, &config) {
            Ok(front) => front,
            Err(failure) => {
                next.close_all_but(&self.house).await;
                return Err(failure.lines);
            }
        };
        self.live.swap(front);
        let before = std::mem::replace(&mut self.house, Arc::new(next));
        let (after, patience) = (Arc::clone(&self.house), self.config.server.shutdown_timeout);
        self.config = config;
        tokio::spawn(async move { retire(before, after, patience).await });
        Ok(())
    }
}

/// Waits for the last request that began before, then ends what only the house before had.
async fn retire(before: Arc<House>, after: Arc<House>, patience: Duration) {
    let all_answered = async {
        while Arc::strong_count(&before.engine) > 1 {
            tokio::time::sleep(LOOK).await;
        }
    };
    if tokio::time::timeout(patience, all_answered).await.is_err() {
        tracing::warn!("requests from before the reload are cut short");
    }
    before.engine.drained(Duration::ZERO).await;
    before.close_all_but(&after).await;
}

/// What can't change while the daemon runs, and did.
fn fixed(before: &Config, after: &Config) -> Vec<String> {
    let stays = |key: &str| format!("{key} can't change while the daemon runs: restart it");
    let (old, new) = (&before.server, &after.server);
    let mut changed = Vec::new();
    let mut note = |key: &str, same: bool| {
        if !same {
            changed.push(stays(key));
        }
    };
    note("state_dir", before.state_dir == after.state_dir);
    note("server.listen", old.listen == new.listen);
    note("server.socket_mode", old.socket_mode == new.socket_mode);
    note("server.max_connections", old.max_connections == new.max_connections);
    note("server.header_read_timeout_ms", old.header_read_timeout == new.header_read_timeout);
    note("log.level", before.log.level == after.log.level);
    note("log.format", before.log.format == after.log.format);
    // Two of one kind would have the same users for their programs.
    let native = |config: &Config| {
        let natives = config.runtimes.iter().filter(|runtime| matches!(runtime.kind, RuntimeKind::Native(_)));
        natives.cloned().collect::<Vec<_>>()
    };
    note(
        "a runtime of kind native (by default its lanes follow execution.max_concurrent)",
        native(before) == native(after),
    );
    changed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Config {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, text).unwrap();
        let surroundings = Surroundings { cpus: 2, is_root: true, ..Surroundings::default() };
        config::load(Some(file.path()), &surroundings).unwrap()
    }

    #[test]
    fn what_stays_until_a_restart_is_named() {
        let before = config("");
        for (text, key) in [
            ("state_dir = \"/elsewhere\"", "state_dir"),
            ("[server]\nlisten = \"127.0.0.1:1\"", "server.listen"),
            ("[server]\nsocket_mode = \"0600\"", "server.socket_mode"),
            ("[log]\nlevel = \"debug\"", "log.level"),
            ("[execution]\nmax_concurrent = 7", "a runtime of kind native"),
            ("[runtimes.native]\nuid_base = 2000000000", "a runtime of kind native"),
        ] {
            let fixed = fixed(&before, &config(text));
            assert!(fixed.len() == 1 && fixed[0].starts_with(key), "{text}: {fixed:?}");
        }
        let free = config(
            "[limits.max]\nwall_time_ms = 9000\n[execution]\nqueue_length = 1\n[server]\nmax_body_bytes = 1000",
        );
        assert_eq!(fixed(&before, &free), Vec::<String>::new());
    }
}
