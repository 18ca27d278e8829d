//! Who may run now: so many at once, and a bounded queue, first come first served, before them.
//!
//! ```text
//!  admit ──> a permit is free ────────────────────────────────> Permit ──drop──> the next in the queue
//!        └─> a seat is free ──> waits, at most queue_timeout ──┘
//!        │                  └─> too long, or everything was canceled: refused
//!        └─> no seat: refused
//! ```
//!
//! Permit and seat are given back by dropping them, so a caller that goes away at any point leaves nothing behind.
//! What is run under a permit is not known here.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};

use super::ExecuteError;
use crate::telemetry::{Metrics, Queued, Refusal};

/// What a client is told to wait, at least and at most.
const RETRY_MIN: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(60);
/// How long an execution takes is believed to be this, until one has ended.
const HOLD_GUESS: Duration = Duration::from_secs(1);
/// The share of the newest execution in that belief.
const HOLD_WEIGHT: f64 = 0.2;

pub(super) struct Admission {
    max_concurrent: usize,
    queue_length: usize,
    queue_timeout: Duration,
    permits: Arc<Semaphore>,
    shared: Arc<Shared>,
}

struct Shared {
    running: AtomicUsize,
    waiting: AtomicUsize,
    /// How long a permit is held on average, in microseconds.
    hold_us: AtomicU64,
    metrics: Arc<Metrics>,
}

/// The right to run; given back when dropped.
pub(super) struct Permit {
    _permit: OwnedSemaphorePermit,
    since: Instant,
    shared: Arc<Shared>,
}

impl Admission {
    pub(super) fn new(
        max_concurrent: usize,
        queue_length: usize,
        queue_timeout: Duration,
        metrics: Arc<Metrics>,
    ) -> Self {
        let max_concurrent = max_concurrent.clamp(1, Semaphore::MAX_PERMITS);
        let shared = Shared {
            running: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            hold_us: AtomicU64::new(micros(HOLD_GUESS)),
            metrics,
        };
        Self {
            max_concurrent,
            queue_length,
            queue_timeout,
            permits: Arc::new(Semaphore::new(max_concurrent)),
            shared: Arc::new(shared),
        }
    }

    /// # Errors
    /// [`ExecuteError::Overloaded`] when the queue is full or the wait was too long.
    pub(super) async fn admit(&self) -> Result<Permit, ExecuteError> {
        // The semaphore hands permits to who waits, in order, before anybody can try: no one jumps the queue here.
        if let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() {
            return Ok(self.permit(permit));
        }
        let Some(_seat) = Seat::take(&self.shared, self.queue_length) else {
            self.shared.metrics.refused(Refusal::QueueFull);
            return Err(self.overloaded(format!("all {} places in the queue are taken", self.queue_length)));
        };
        match timeout(self.queue_timeout, Arc::clone(&self.permits).acquire_owned()).await {
            Ok(Ok(permit)) => Ok(self.permit(permit)),
            // Nobody closes the semaphore.
            Ok(Err(_closed)) => Err(ExecuteError::Draining),
            Err(_elapsed) => {
                let waited = self.queue_timeout.as_millis();
                self.shared.metrics.refused(Refusal::QueueTimeout);
                Err(self.overloaded(format!("its turn did not come within {waited} ms")))
            }
        }
    }

    pub(super) fn running(&self) -> usize {
        self.shared.running.load(Relaxed)
    }

    pub(super) fn waiting(&self) -> usize {
        self.shared.waiting.load(Relaxed)
    }

    fn permit(&self, permit: OwnedSemaphorePermit) -> Permit {
        self.shared.running.fetch_add(1, Relaxed);
        Permit { _permit: permit, since: Instant::now(), shared: Arc::clone(&self.shared) }
    }

    /// The time that those who wait now will take, going by what executions have taken lately.
    fn overloaded(&self, reason: String) -> ExecuteError {
        let hold = Duration::from_micros(self.shared.hold_us.load(Relaxed));
        let ahead = u32::try_from(self.waiting() + 1).unwrap_or(u32::MAX);
        let abreast = u32::try_from(self.max_concurrent).unwrap_or(u32::MAX);
        let retry_after = (hold.saturating_mul(ahead) / abreast).clamp(RETRY_MIN, RETRY_MAX);
        ExecuteError::Overloaded { reason, retry_after }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.shared.running.fetch_sub(1, Relaxed);
        self.shared.held_for(self.since.elapsed());
    }
}

impl Shared {
    /// Two that end at once may lose one of them: this is an estimate.
    fn held_for(&self, held: Duration) {
        let before = Duration::from_micros(self.hold_us.load(Relaxed));
        let now = before.mul_f64(1.0 - HOLD_WEIGHT) + held.mul_f64(HOLD_WEIGHT);
        self.hold_us.store(micros(now), Relaxed);
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// A place in the queue.
struct Seat<'a> {
    shared: &'a Shared,
    _queued: Queued<'a>,
}

impl<'a> Seat<'a> {
    fn take(shared: &'a Shared, seats: usize) -> Option<Self> {
        let more = |waiting| (waiting < seats).then_some(waiting + 1);
        shared.waiting.fetch_update(Relaxed, Relaxed, more).ok()?;
        Some(Self { shared, _queued: shared.metrics.queued() })
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        self.shared.waiting.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use tokio::task::JoinSet;
    use tokio::time::sleep;

    use super::*;

    fn admission(max_concurrent: usize, queue_length: usize) -> Admission {
        let metrics = Arc::new(Metrics::new().unwrap());
        Admission::new(max_concurrent, queue_length, Duration::from_secs(10), metrics)
    }

    fn retry_after(refused: Result<Permit, ExecuteError>) -> Duration {
        match refused.map(drop) {
            Err(ExecuteError::Overloaded { retry_after, .. }) => retry_after,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_queue_refuses_at_once() {
        let admission = Arc::new(admission(1, 1));
        let running = admission.admit().await.unwrap();
        let waiting = tokio::spawn({
            let admission = Arc::clone(&admission);
            async move { admission.admit().await.map(drop) }
        });
        tokio::task::yield_now().await;
        assert_eq!((admission.running(), admission.waiting()), (1, 1));

        let asked = Instant::now();
        retry_after(admission.admit().await);
        assert_eq!(asked.elapsed(), Duration::ZERO);

        drop(running);
        assert!(waiting.await.unwrap().is_ok());
        assert_eq!((admission.running(), admission.waiting()), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_has_an_end() {
        let admission = admission(1, 1);
        let _running = admission.admit().await.unwrap();
        let asked = Instant::now();
        retry_after(admission.admit().await);
        assert_eq!(asked.elapsed(), Duration::from_secs(10));
        assert_eq!(admission.waiting(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn first_come_first_served() {
        let admission = Arc::new(admission(1, 100));
        let running = admission.admit().await.unwrap();
        let order = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = JoinSet::new();
        for number in 0..100 {
            let (admission, order) = (Arc::clone(&admission), Arc::clone(&order));
            tasks.spawn(async move {
                let _permit = admission.admit().await.unwrap();
                order.lock().unwrap().push(number);
            });
            tokio::task::yield_now().await;
        }
        drop(running);
        tasks.join_all().await;
        assert_eq!(*order.lock().unwrap(), (0..100).collect::<Vec<_>>());
    }

    #[tokio::test(start_paused = true)]
    async fn who_gives_up_leaves_neither_seat_nor_permit_behind() {
        let admission = Arc::new(admission(1, 2));
        let running = admission.admit().await.unwrap();
        for _ in 0..10 {
            assert!(timeout(Duration::from_millis(1), admission.admit()).await.is_err());
        }
        assert_eq!(admission.waiting(), 0);
        drop(running);
        assert!(admission.admit().await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn retry_after_follows_what_executions_take() {
        let admission = admission(2, 0);
        for _ in 0..50 {
            let _permit = admission.admit().await.unwrap();
            sleep(Duration::from_secs(8)).await;
        }
        let _both = (admission.admit().await.unwrap(), admission.admit().await.unwrap());
        let wait = retry_after(admission.admit().await);
        assert!((3.9..4.1).contains(&wait.as_secs_f64()), "{wait:?}");
    }
}
