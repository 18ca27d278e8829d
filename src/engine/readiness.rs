//! Whether code can be run, now: by running some. An answer is good for a second, and whoever asks meanwhile shares
//! it, so that no number of probes from outside costs more than one run a second. What is run is decided by the
//! caller.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};
use tokio_util::task::TaskTracker;

const KEPT: Duration = Duration::from_secs(1);
/// A probe from outside would not wait longer, unless sandboxes are known to take their time.
const CHECK_TIMEOUT: Duration = Duration::from_secs(10);

type Answer = Result<(), String>;

pub(super) struct Readiness {
    patience: Duration,
    last: Arc<Mutex<Option<(Instant, Answer)>>>,
}

impl Readiness {
    /// Of sandboxes that may take so long until they are ready.
    pub(super) fn new(start_timeout: Duration) -> Self {
        Self { patience: CHECK_TIMEOUT.max(start_timeout), last: Arc::default() }
    }

    /// Runs `check`, unless somebody has just done so. It goes on when the caller goes away.
    pub(super) async fn ask<C>(&self, tasks: &TaskTracker, check: C) -> Answer
    where
        C: Future<Output = Answer> + Send + 'static,
    {
        let mut last = Arc::clone(&self.last).lock_owned().await;
        if let Some((at, answer)) = &*last
            && at.elapsed() < KEPT
        {
            return answer.clone();
        }
        let patience = self.patience;
        let run = tasks.spawn(async move {
            let answer = timeout(patience, check)
                .await
                .unwrap_or_else(|_| Err(format!("nothing could be run within {} ms", patience.as_millis())));
            *last = Some((Instant::now(), answer.clone()));
            answer
        });
        run.await.unwrap_or_else(|error| Err(format!("the check failed: {error}")))
    }
}
