//! Whether code can be run, now: by running some. An answer is good for a second, and whoever asks meanwhile shares
//! it, so that no number of probes from outside costs more than one run a second. What is run is decided by the
//! caller.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};
use tokio_util::task::TaskTracker;

const KEPT: Duration = Duration::from_secs(1);
/// A probe from outside would not wait longer.
const CHECK_TIMEOUT: Duration = Duration::from_secs(10);

type Answer = Result<(), String>;

#[derive(Default)]
pub(super) struct Readiness {
    last: Arc<Mutex<Option<(Instant, Answer)>>>,
}

impl Readiness {
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
        let run = tasks.spawn(async move {
            let answer = timeout(CHECK_TIMEOUT, check).await.unwrap_or_else(|_| {
                Err(format!("nothing could be run within {} s", CHECK_TIMEOUT.as_secs()))
            });
            *last = Some((Instant::now(), answer.clone()));
            answer
        });
        run.await.unwrap_or_else(|error| Err(format!("the check failed: {error}")))
    }
}
