//! Who may run now: so many at once, and a bounded queue before them. Each client has a line of its own in it, first come
//! first served, and the lines take turns: a client that sends a flood waits behind itself.
//!
//! ```text
//!  admit ──> a permit is free ────────────────────────────────> Permit ──drop──> the next line's first
//!        └─> a seat is free ──> waits, at most queue_timeout ──┘
//!        │                  └─> too long, or everything was canceled: refused
//!        └─> no seat: refused
//! ```
//!
//! Permit and seat are given back by dropping them, so a caller that goes away at any point leaves nothing behind.
//! What is run under a permit is not known here, nor what makes a client one.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};

use super::{ClientKey, ExecuteError};
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
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    /// How long a permit is held on average, in microseconds.
    hold_us: AtomicU64,
    metrics: Arc<Metrics>,
}

struct State {
    free: usize,
    waiting: usize,
    /// Whose turn it is comes first. No line is empty.
    lines: VecDeque<Line>,
    seats: u64,
}

struct Line {
    client: ClientKey,
    waiting: VecDeque<(u64, oneshot::Sender<Permit>)>,
}

/// The right to run; given back when dropped.
pub(super) struct Permit {
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
        let max_concurrent = max_concurrent.max(1);
        let state = State { free: max_concurrent, waiting: 0, lines: VecDeque::new(), seats: 0 };
        let shared =
            Shared { state: Mutex::new(state), hold_us: AtomicU64::new(micros(HOLD_GUESS)), metrics };
        Self { max_concurrent, queue_length, queue_timeout, shared: Arc::new(shared) }
    }

    /// # Errors
    /// [`ExecuteError::Overloaded`] when the queue is full or the wait was too long.
    pub(super) async fn admit(&self, client: &ClientKey) -> Result<Permit, ExecuteError> {
        let (seat, mut turn) = {
            let mut state = self.shared.state();
            // Who waits is served before a permit becomes free: no one jumps the queue here.
            if state.free > 0 {
                state.free -= 1;
                drop(state);
                return Ok(self.shared.permit());
            }
            if state.waiting >= self.queue_length {
                drop(state);
                self.shared.metrics.refused(Refusal::QueueFull);
                return Err(
                    self.overloaded(format!("all {} places in the queue are taken", self.queue_length))
                );
            }
            let (sender, turn) = oneshot::channel();
            let number = state.sit(client, sender);
            drop(state);
            let queued = self.shared.metrics.queued();
            (Seat { shared: &self.shared, client, number, _queued: queued }, turn)
        };
        let waited = timeout(self.queue_timeout, &mut turn).await;
        drop(seat);
        match waited {
            Ok(Ok(permit)) => Ok(permit),
            // Nobody drops the other end while its seat is taken.
            Ok(Err(_gone)) => Err(ExecuteError::Draining),
            Err(_elapsed) => {
                // It may have come at that very moment.
                if let Ok(permit) = turn.try_recv() {
                    return Ok(permit);
                }
                self.shared.metrics.refused(Refusal::QueueTimeout);
                let waited = self.queue_timeout.as_millis();
                Err(self.overloaded(format!("its turn did not come within {waited} ms")))
            }
        }
    }

    pub(super) fn running(&self) -> usize {
        self.max_concurrent - self.shared.state().free
    }

    pub(super) fn waiting(&self) -> usize {
        self.shared.state().waiting
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

impl State {
    /// Takes the last seat in the client's line.
    fn sit(&mut self, client: &ClientKey, sender: oneshot::Sender<Permit>) -> u64 {
        let number = self.seats;
        self.seats += 1;
        self.waiting += 1;
        match self.lines.iter_mut().find(|line| line.client == *client) {
            Some(line) => line.waiting.push_back((number, sender)),
            None => self.lines.push_back(Line { client: client.clone(), waiting: [(number, sender)].into() }),
        }
        number
    }

    /// Gives up a seat; nothing where its turn has come.
    fn leave(&mut self, client: &ClientKey, number: u64) {
        let Some(at) = self.lines.iter().position(|line| line.client == *client) else { return };
        let Some(line) = self.lines.get_mut(at) else { return };
        let before = line.waiting.len();
        line.waiting.retain(|(seat, _)| *seat != number);
        self.waiting -= before - line.waiting.len();
        if line.waiting.is_empty() {
            self.lines.remove(at);
        }
    }

    /// The first of the line whose turn it is; the next time it is another's.
    fn next(&mut self) -> Option<oneshot::Sender<Permit>> {
        let mut line = self.lines.pop_front()?;
        let (_, sender) = line.waiting.pop_front()?;
        self.waiting -= 1;
        if !line.waiting.is_empty() {
            self.lines.push_back(line);
        }
        Some(sender)
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing in here panics half way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn permit(self: &Arc<Self>) -> Permit {
        Permit { since: Instant::now(), shared: Arc::clone(self) }
    }

    /// Hands a permit that has come back to whoever is next.
    fn hand_on(self: &Arc<Self>) {
        let next = {
            let mut state = self.state();
            let next = state.next();
            if next.is_none() {
                state.free += 1;
            }
            next
        };
        if let Some(next) = next {
            // Whoever has just given up drops it, and so hands it on.
            drop(next.send(self.permit()));
        }
    }

    /// Two that end at once may lose one of them: this is an estimate.
    fn held_for(&self, held: Duration) {
        let before = Duration::from_micros(self.hold_us.load(Relaxed));
        let now = before.mul_f64(1.0 - HOLD_WEIGHT) + held.mul_f64(HOLD_WEIGHT);
        self.hold_us.store(micros(now), Relaxed);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.shared.held_for(self.since.elapsed());
        self.shared.hand_on();
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// A place in the queue.
struct Seat<'a> {
    shared: &'a Shared,
    client: &'a ClientKey,
    number: u64,
    _queued: Queued<'a>,
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        self.shared.state().leave(self.client, self.number);
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

    fn anyone() -> ClientKey {
        ClientKey::default()
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
        let running = admission.admit(&anyone()).await.unwrap();
        let waiting = tokio::spawn({
            let admission = Arc::clone(&admission);
            async move { admission.admit(&anyone()).await.map(drop) }
        });
        tokio::task::yield_now().await;
        assert_eq!((admission.running(), admission.waiting()), (1, 1));

        let asked = Instant::now();
        retry_after(admission.admit(&anyone()).await);
        assert_eq!(asked.elapsed(), Duration::ZERO);

        drop(running);
        assert!(waiting.await.unwrap().is_ok());
        assert_eq!((admission.running(), admission.waiting()), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_has_an_end() {
        let admission = admission(1, 1);
        let _running = admission.admit(&anyone()).await.unwrap();
        let asked = Instant::now();
        retry_after(admission.admit(&anyone()).await);
        assert_eq!(asked.elapsed(), Duration::from_secs(10));
        assert_eq!(admission.waiting(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn first_come_first_served() {
        let admission = Arc::new(admission(1, 100));
        let running = admission.admit(&anyone()).await.unwrap();
        let order = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = JoinSet::new();
        for number in 0..100 {
            let (admission, order) = (Arc::clone(&admission), Arc::clone(&order));
            tasks.spawn(async move {
                let _permit = admission.admit(&anyone()).await.unwrap();
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
        let running = admission.admit(&anyone()).await.unwrap();
        for _ in 0..10 {
            assert!(timeout(Duration::from_millis(1), admission.admit(&anyone())).await.is_err());
        }
        assert_eq!(admission.waiting(), 0);
        drop(running);
        assert!(admission.admit(&anyone()).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn retry_after_follows_what_executions_take() {
        let admission = admission(2, 0);
        for _ in 0..50 {
            let _permit = admission.admit(&anyone()).await.unwrap();
            sleep(Duration::from_secs(8)).await;
        }
        let _both = (admission.admit(&anyone()).await.unwrap(), admission.admit(&anyone()).await.unwrap());
        let wait = retry_after(admission.admit(&anyone()).await);
        assert!((3.9..4.1).contains(&wait.as_secs_f64()), "{wait:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_waits_behind_itself() {
        let admission = Arc::new(admission(1, 1000));
        let running = admission.admit(&anyone()).await.unwrap();
        let order = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = JoinSet::new();
        for (client, count) in [("flood", 100), ("b", 3), ("c", 1)] {
            for _ in 0..count {
                let (admission, order) = (Arc::clone(&admission), Arc::clone(&order));
                tasks.spawn(async move {
                    let _permit = admission.admit(&ClientKey::new(client)).await.unwrap();
                    order.lock().unwrap().push(client);
                });
                tokio::task::yield_now().await;
            }
        }
        drop(running);
        tasks.join_all().await;
        let order = order.lock().unwrap();
        assert_eq!(order[..7], ["flood", "b", "c", "flood", "b", "flood", "b"]);
        assert_eq!((order.len(), admission.running(), admission.waiting()), (104, 0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_permit_on_its_way_to_one_who_has_gone_is_not_lost() {
        let admission = Arc::new(admission(1, 2));
        let running = admission.admit(&anyone()).await.unwrap();
        let client = anyone();
        let mut waiting = Box::pin(admission.admit(&client));
        assert!(waits(&mut waiting).await);
        drop(running);
        // It was sent, and nobody has looked.
        drop(waiting);
        assert_eq!((admission.running(), admission.waiting()), (0, 0));
        assert!(admission.admit(&anyone()).await.is_ok());
    }

    /// Polls it once; whether it waits.
    async fn waits<T>(future: &mut (impl Future<Output = T> + Unpin)) -> bool {
        std::future::poll_fn(|context| {
            std::task::Poll::Ready(std::pin::Pin::new(&mut *future).poll(context).is_pending())
        })
        .await
    }
}
