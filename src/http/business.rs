//! What a connection is about: requests that it answers, and answers that it hands over. A connection that is about nothing
//! is let go when another needs its place, the one that has been so for the longest first; one whose client does not take
//! an answer in time is cut, so that nobody has his answers kept in memory for as long as he likes, byte by byte or, in
//! HTTP/2, with a window that never opens. Who decides when is `serve`.

use std::{
    any::Any,
    collections::BTreeMap,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use axum::body::{Body, HttpBody};
use bytes::Bytes;
use http::Response;
use http_body::{Frame, SizeHint};
use tokio::{sync::Notify, time::Instant};
use tokio_util::sync::CancellationToken;

/// How long an answer may take to be handed over, however short it is; and how much of it is to go out in a second.
const HAND_OVER_TIME: Duration = Duration::from_secs(60);
const HAND_OVER_BYTES_PER_S: u64 = 64 << 10;

/// The connections that are about nothing, by how long they have been so.
#[derive(Debug, Default)]
pub(super) struct Idle {
    seats: Mutex<Seats>,
    taken: Notify,
}

#[derive(Debug, Default)]
struct Seats {
    next: u64,
    by_age: BTreeMap<u64, CancellationToken>,
}

impl Idle {
    /// Lets go of the one that has been idle for the longest, as soon as there is one.
    pub(super) async fn let_go_of_one(&self) {
        loop {
            let taken = self.taken.notified();
            if let Some((_, let_go)) = lock(&self.seats).by_age.pop_first() {
                let_go.cancel();
                return;
            }
            taken.await;
        }
    }

    fn sit(&self, let_go: CancellationToken) -> u64 {
        let mut seats = lock(&self.seats);
        let seat = seats.next;
        seats.next += 1;
        seats.by_age.insert(seat, let_go);
        self.taken.notify_one();
        seat
    }

    fn leave(&self, seat: u64) {
        lock(&self.seats).by_age.remove(&seat);
    }
}

/// One connection's.
#[derive(Clone)]
pub(super) struct Business(Arc<Shared>);

struct Shared {
    idle: Arc<Idle>,
    let_go: CancellationToken,
    matters: Mutex<Matters>,
    /// A matter got a time by which it is to be over.
    due: Notify,
}

struct Matters {
    next: u64,
    /// Those that are open, each with the time by which it is to be over.
    open: BTreeMap<u64, Option<Instant>>,
    /// While there are none.
    seat: Option<u64>,
}

impl Business {
    pub(super) fn new(idle: &Arc<Idle>) -> Self {
        let let_go = CancellationToken::new();
        let seat = Some(idle.sit(let_go.clone()));
        let matters = Mutex::new(Matters { next: 0, open: BTreeMap::new(), seat });
        Self(Arc::new(Shared { idle: Arc::clone(idle), let_go, matters, due: Notify::new() }))
    }

    /// A request has come.
    pub(super) fn begin(&self) -> Matter {
        let mut matters = lock(&self.0.matters);
        if let Some(seat) = matters.seat.take() {
            self.0.idle.leave(seat);
        }
        let number = matters.next;
        matters.next += 1;
        matters.open.insert(number, None);
        Matter { shared: Arc::clone(&self.0), number }
    }

    /// Whether any request ever came.
    pub(super) fn was_asked(&self) -> bool {
        lock(&self.0.matters).next > 0
    }

    /// Ends when the connection's place is needed, and nothing goes on in it.
    pub(super) async fn let_go(&self) {
        self.0.let_go.cancelled().await;
    }

    /// Ends when a client has not taken an answer in time.
    pub(super) async fn overdue(&self) {
        loop {
            let due = self.0.due.notified();
            let first = lock(&self.0.matters).open.values().flatten().min().copied();
            let Some(first) = first else {
                due.await;
                continue;
            };
            if first <= Instant::now() {
                return;
            }
            // A later answer may have to be over earlier.
            tokio::select! { () = tokio::time::sleep_until(first) => {}, () = due => {} }
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let seat = self.matters.get_mut().unwrap_or_else(PoisonError::into_inner).seat.take();
        if let Some(seat) = seat {
            self.idle.leave(seat);
        }
    }
}

/// A request, until its answer has been handed over.
pub(super) struct Matter {
    shared: Arc<Shared>,
    number: u64,
}

impl Matter {
    fn answered(&self, bytes: u64) {
        let time = HAND_OVER_TIME + Duration::from_secs(bytes / HAND_OVER_BYTES_PER_S);
        lock(&self.shared.matters).open.insert(self.number, Some(Instant::now() + time));
        self.shared.due.notify_one();
    }
}

impl Drop for Matter {
    fn drop(&mut self) {
        let mut matters = lock(&self.shared.matters);
        matters.open.remove(&self.number);
        if matters.open.is_empty() {
            matters.seat = Some(self.shared.idle.sit(self.shared.let_go.clone()));
        }
    }
}

/// Whatever is to be given back only when an answer has been handed over; an extension of the response.
#[derive(Clone)]
pub(super) struct UntilHandedOver(
    #[allow(dead_code, reason = "kept for its Drop")] Arc<dyn Any + Send + Sync>,
);

impl UntilHandedOver {
    pub(super) fn new(what: impl Any + Send + Sync) -> Self {
        Self(Arc::new(what))
    }
}

/// The response with a body that ends the matter when the last of its bytes is gone.
pub(super) fn hand_over(mut response: Response<Body>, matter: Matter) -> Response<Body> {
    // What is made as it goes has no time by which it is to be over.
    if let Some(bytes) = response.body().size_hint().exact() {
        matter.answered(bytes);
    }
    let until = response.extensions_mut().remove::<UntilHandedOver>();
    let kept = Arc::new(Kept { _matter: matter, _until: until });
    response.map(|body| Body::new(HandedOver { body, kept }))
}

struct Kept {
    _matter: Matter,
    _until: Option<UntilHandedOver>,
}

struct HandedOver {
    body: Body,
    kept: Arc<Kept>,
}

/// Some of it, on its way; the HTTP library drops it once it has been written.
struct Piece {
    bytes: Bytes,
    _kept: Arc<Kept>,
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl HttpBody for HandedOver {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        let piece = |bytes| Bytes::from_owner(Piece { bytes, _kept: Arc::clone(&self.kept) });
        frame.map(|frame| frame.map(|frame| frame.map(|frame| frame.map_data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
