//! The compile cache: what a compiler made once is not made again for the same sources. On disk, bounded, and shared by
//! those who ask at the same time.
//!
//! ```text
//!  turn ─> sharing: somebody compiles this already? wait for it
//!            └ lead ─> store: kept on disk? ── yes ──> Made
//!                                           └─ no ───> Compile ─> keep | in vain
//! ```
//!
//! What is kept ended well and met no limit; whoever calls sees to that. How a compile is run is not known here, nor HTTP
//! or the configuration's form.

mod entry;
mod key;
mod sharing;
mod store;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use self::sharing::{Joined, Lead, Sharing};
use self::store::{Found, Kept, Store};
use crate::telemetry::Metrics;

pub(super) use self::entry::Made;
pub(super) use self::key::{Ingredients, Key};
pub use self::store::CacheSurvey;

/// A disk that takes longer is slower than many a compiler.
const LOOK_TIMEOUT: Duration = Duration::from_secs(2);
/// Entries that are being written; with more, the disk is what is slow, and the next ones are not kept.
const WRITES_AT_ONCE: usize = 8;

/// Where compiled programs are kept, and how much of them.
#[derive(Debug, Clone)]
pub struct CacheConfig {
    pub folder: PathBuf,
    /// Above zero.
    pub max_bytes: u64,
    /// For each runtime by its name, where its sandboxes come from, in any words that change when that does.
    pub origins: BTreeMap<String, String>,
}

pub(super) struct CompileCache {
    store: Arc<Store>,
    sharing: Arc<Sharing>,
    origins: BTreeMap<String, String>,
    writes: Arc<Semaphore>,
    metrics: Arc<Metrics>,
    /// Entries that are being written.
    tasks: TaskTracker,
}

/// What a compile comes to.
pub(super) enum Turn {
    Made(Arc<Made>),
    /// Compile; with a lead others wait for what comes of it.
    Compile(Option<Lead>),
}

impl CompileCache {
    /// `None` where there can't be one: then everything is compiled, and the log says why.
    pub(super) fn open(config: &CacheConfig, tasks: TaskTracker, metrics: Arc<Metrics>) -> Option<Arc<Self>> {
        let store = match Store::open(&config.folder, config.max_bytes) {
            Ok(store) => Arc::new(store),
            Err(error) => {
                let folder = config.folder.display();
                tracing::warn!(%folder, %error, "no folder for compiled programs: nothing is kept");
                return None;
            }
        };
        let cache = Self {
            store,
            sharing: Arc::default(),
            origins: config.origins.clone(),
            writes: Arc::new(Semaphore::new(WRITES_AT_ONCE)),
            metrics,
            tasks,
        };
        cache.look_around();
        Some(Arc::new(cache))
    }

    pub(super) fn origin(&self, runtime: &str) -> String {
        self.origins.get(runtime).cloned().unwrap_or_default()
    }

    /// Waits for another's compile of the same, at most for `patience`, then looks on disk. What the compiler had to say
    /// must fit into `output_bytes` of each stream, as it would have to if it ran. Dropping the future gives up.
    pub(super) async fn turn(&self, key: Key, patience: Duration, output_bytes: u64) -> Turn {
        let (made, lead) = match timeout(patience, self.sharing.join(key)).await {
            Ok(Joined::Lead(lead)) => self.look(lead).await,
            Ok(Joined::Made(made)) => (Some(made), None),
            Ok(Joined::InVain) | Err(_) => (None, None),
        };
        let fits = |made: &Arc<Made>| made.stdout.len().max(made.stderr.len()) as u64 <= output_bytes;
        match made.filter(fits) {
            Some(made) => {
                self.metrics.compile_found();
                Turn::Made(made)
            }
            None => {
                self.metrics.compile_not_found();
                Turn::Compile(lead)
            }
        }
    }

    /// The lead stays where nothing was found.
    async fn look(&self, mut lead: Lead) -> (Option<Arc<Made>>, Option<Lead>) {
        let (store, key) = (Arc::clone(&self.store), *lead.key());
        let looking = self.tasks.spawn_blocking(move || store.find(&key));
        match timeout(LOOK_TIMEOUT, looking).await {
            Ok(Ok(Found::Made(made))) => {
                let made = Arc::new(made);
                lead.made(Arc::clone(&made));
                (Some(made), None)
            }
            Ok(Ok(Found::Corrupt)) => {
                tracing::warn!(%key, "a compiled program was damaged, and was removed");
                self.metrics.compile_corrupt();
                (None, Some(lead))
            }
            Ok(Ok(Found::Nothing) | Err(_)) | Err(_) => (None, Some(lead)),
        }
    }

    /// Hands it to those who wait now, and keeps it behind the answer.
    pub(super) fn keep(&self, mut lead: Lead, made: Made) {
        let made = Arc::new(made);
        lead.made(Arc::clone(&made));
        let Ok(permit) = Arc::clone(&self.writes).try_acquire_owned() else { return };
        let (store, metrics) = (Arc::clone(&self.store), Arc::clone(&self.metrics));
        self.tasks.spawn_blocking(move || {
            match store.keep(lead.key(), &made) {
                Ok(kept) => record(&metrics, kept),
                Err(error) => tracing::warn!(%error, "a compiled program could not be kept"),
            }
            // Only now may another one look for it on disk.
            drop(lead);
            drop(permit);
        });
    }

    /// Lets those who wait compile for themselves.
    pub(super) fn in_vain(mut lead: Lead) {
        lead.in_vain();
    }

    /// What earlier daemons have left counts.
    fn look_around(&self) {
        let (store, metrics) = (Arc::clone(&self.store), Arc::clone(&self.metrics));
        self.tasks.spawn_blocking(move || match store.make_room() {
            Ok(kept) => record(&metrics, kept),
            Err(error) => tracing::warn!(%error, "could not look through the compiled programs"),
        });
    }
}

fn record(metrics: &Metrics, kept: Kept) {
    metrics.set_compile_cache_bytes(kept.bytes);
    metrics.compiles_evicted(kept.evicted);
}
