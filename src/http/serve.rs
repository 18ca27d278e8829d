//! Taking connections in and serving HTTP on them: HTTP/1.1, and HTTP/2 for clients that know beforehand. Bounded in
//! number and in the time without a request. Where the daemon listens is `listeners`, what it answers is the router's.
//!
//! ```text
//! accept ─> connection ──request, answer, request …──> closed by the client, for want of a request, for another's sake,
//!    │          │                                         or because an answer is not taken
//!    │          │ stop: no further request, the current one is answered
//!    stop       │ over: likewise, and answers that are ready have a last few seconds
//!               └ cut: dropped at once
//! ```

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use nix::sys::resource::{Resource, getrlimit};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tokio_rustls::server::TlsStream;
use tokio_util::either::Either;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use super::business::{Business, Idle, hand_over};
use super::listeners::{Listeners, NamedSocket};
use super::live::Live;
use super::malformed::Malformed;
use super::patience::Patience;
use crate::access::Peer;
use crate::config::Server;
use crate::telemetry::Metrics;

/// HTTP/2 requests of one connection at once.
const MAX_STREAMS: u32 = 64;
/// How often a silent HTTP/2 client is asked whether it lives, and how long it may take to say so.
const PING_INTERVAL: Duration = Duration::from_secs(20);
const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// After an accept that failed for want of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long a client may leave an answer untaken, without a byte of progress.
const WRITE_TIMEOUT: Duration = Duration::from_secs(60);
/// After the last connection was taken in: how long the requests on those that there are may still come.
pub const LAST_REQUESTS: Duration = Duration::from_millis(250);
/// How long answers that are ready may take to reach their clients once the daemon stops.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// Serves until `stop`; then takes nobody in any more, lets every answer go out that is under way, and returns: after
/// `over`, which is to imply `stop`, at the latest when whoever was answered had [`CLOSE_TIMEOUT`] to take it.
pub async fn serve(
    listeners: Listeners,
    live: Live,
    server: &Server,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
    over: CancellationToken,
) {
    let door = Door::new(live, server, metrics, stop, over);
    let accepting = TaskTracker::new();
    for tcp in listeners.tcp {
        let door = door.clone();
        accepting.spawn(async move { door.accept_all(&tcp).await });
    }
    for unix in listeners.unix {
        let door = door.clone();
        accepting.spawn(async move {
            door.accept_all(&unix).await;
            unix.remove();
        });
    }
    accepting.close();
    accepting.wait().await;
    door.over.cancelled().await;
    door.connections.close();
    if timeout(CLOSE_TIMEOUT, door.connections.wait()).await.is_err() {
        tracing::warn!(left = door.connections.len(), "cutting connections that do not take their answers");
        door.cut.cancel();
        door.connections.wait().await;
    }
}

fn builder(header_read_timeout: Duration) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(header_read_timeout);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT);
    builder
}

/// What every connection needs.
#[derive(Clone)]
pub(super) struct Door {
    live: Live,
    builder: Builder<TokioExecutor>,
    header_read_timeout: Duration,
    places: Arc<Semaphore>,
    idle: Arc<Idle>,
    metrics: Arc<Metrics>,
    connections: TaskTracker,
    stop: CancellationToken,
    over: CancellationToken,
    cut: CancellationToken,
}

/// Of the descriptors that this process may have: sandboxes need theirs, and a place is made by closing what is idle, which
/// a failed accept does not do.
fn descriptors_for_connections() -> usize {
    getrlimit(Resource::RLIMIT_NOFILE).map_or(usize::MAX, |(most, _)| room_of(most))
}

/// Half of few, nearly all of many.
fn room_of(descriptors: u64) -> usize {
    const FOR_ALL_ELSE: u64 = 4096;
    let room = (descriptors / 2).max(descriptors.saturating_sub(FOR_ALL_ELSE));
    usize::try_from(room).unwrap_or(usize::MAX).clamp(1, Semaphore::MAX_PERMITS)
}

impl Door {
    pub(super) fn new(
        live: Live,
        server: &Server,
        metrics: Arc<Metrics>,
        stop: CancellationToken,
        over: CancellationToken,
    ) -> Self {
        Self {
            live,
            builder: builder(server.header_read_timeout),
            header_read_timeout: server.header_read_timeout,
            places: Arc::new(Semaphore::new(server.max_connections.min(descriptors_for_connections()))),
            idle: Arc::default(),
            metrics,
            connections: TaskTracker::new(),
            stop,
            over,
            cut: CancellationToken::new(),
        }
    }

    async fn accept_all(&self, listener: &impl Accept) {
        while let Some(Some((stream, peer, place))) = self.stop.run_until_cancelled(self.next(listener)).await
        {
            let door = self.clone();
            self.connections.spawn(async move {
                door.metrics.connection_opened();
                door.connection(stream, peer).await;
                door.metrics.connection_closed();
                drop(place);
            });
        }
    }

    /// The next connection and its place. Without a free place the one that has been idle for the longest gives up its own;
    /// where all are busy one waits here, and all others in the kernel's queue. The place comes second: held while nobody
    /// comes, it would be lost to the other listeners.
    async fn next<L: Accept>(&self, listener: &L) -> Option<(L::Stream, Peer, OwnedSemaphorePermit)> {
        let (stream, peer) = loop {
            match listener.accept().await {
                Ok(accepted) => break accepted,
                Err(error) if concerns_one_client(&error) => {}
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be taken in");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        };
        let mut place = pin!(Arc::clone(&self.places).acquire_owned());
        let free = tokio::select! {
            biased;
            place = place.as_mut() => Some(place),
            () = self.idle.let_go_of_one() => None,
        };
        // `None` for a closed semaphore, and this one never is.
        let place = match free {
            Some(place) => place.ok()?,
            None => place.await.ok()?,
        };
        Some((stream, peer, place))
    }

    /// When no further request is read. Who was let in just before the end is about to ask.
    async fn last_request(&self) {
        tokio::select! {
            () = self.over.cancelled() => {}
            () = async { self.stop.cancelled().await; sleep(LAST_REQUESTS).await } => {}
        }
    }

    /// TLS where it is spoken here, within the time that a request's head may take; `None` when it comes to nothing.
    async fn secured<S: Transport>(
        &self,
        stream: S,
        peer: Peer,
        business: &Business,
    ) -> Option<Either<Box<TlsStream<S>>, S>> {
        let Some(tls) = self.live.tls().filter(|_| matches!(peer, Peer::Tcp(_))) else {
            return Some(Either::Right(stream));
        };
        let shaken = tokio::select! {
            shaken = timeout(self.header_read_timeout, tls.accept(stream)) => shaken.ok()?,
            () = self.last_request() => return None,
            () = business.let_go() => return None,
        };
        let failed = |error: &io::Error| tracing::debug!(%error, "a client came to no terms on TLS");
        shaken.inspect_err(failed).ok().map(|stream| Either::Left(Box::new(stream)))
    }

    pub(super) async fn connection(&self, stream: impl Transport, peer: Peer) {
        let business = Business::new(&self.idle);
        let Some(stream) = self.secured(stream, peer, &business).await else { return };
        let stream = Malformed::new(Patience::new(stream, WRITE_TIMEOUT));
        let service = service_fn({
            let (live, business) = (self.live.clone(), business.clone());
            move |mut request: Request<Incoming>| {
                let matter = business.begin();
                request.extensions_mut().insert(peer);
                let answer = live.router().oneshot(request);
                async move { answer.await.map(|response| hand_over(response, matter)) }
            }
        });
        let mut connection = pin!(self.builder.serve_connection(TokioIo::new(stream), service));
        let mut first_request = pin!(sleep(self.header_read_timeout));
        let mut last_request = pin!(self.last_request());
        let (mut stopping, mut waited) = (false, false);
        loop {
            tokio::select! {
                ended = connection.as_mut() => {
                    if let Err(error) = ended {
                        tracing::debug!(error, "a connection ended badly");
                    }
                    return;
                }
                () = self.cut.cancelled() => return,
                () = business.let_go() => return,
                () = business.overdue() => {
                    tracing::debug!("a client does not take its answer");
                    return;
                }
                () = last_request.as_mut(), if !stopping => {
                    stopping = true;
                    connection.as_mut().graceful_shutdown();
                }
                // The library's own timer begins when it knows which HTTP is spoken, which a client may never say.
                () = first_request.as_mut(), if !waited => {
                    waited = true;
                    if !business.was_asked() {
                        return;
                    }
                }
            }
        }
    }
}

/// It came and went: no reason to let the next one wait.
fn concerns_one_client(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

/// Bytes both ways.
pub(super) trait Transport: AsyncRead + AsyncWrite + Unpin + Send + 'static {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Transport for S {}

trait Accept: Sync {
    type Stream: Transport;

    fn accept(&self) -> impl Future<Output = io::Result<(Self::Stream, Peer)>> + Send;
}

impl Accept for TcpListener {
    type Stream = TcpStream;

    async fn accept(&self) -> io::Result<(TcpStream, Peer)> {
        let (stream, address) = self.accept().await?;
        // An answer is one write; waiting for more would only delay it. A client that is gone already fails later.
        let _ = stream.set_nodelay(true);
        Ok((stream, Peer::Tcp(address.ip().to_canonical())))
    }
}

impl Accept for NamedSocket {
    type Stream = UnixStream;

    async fn accept(&self) -> io::Result<(UnixStream, Peer)> {
        let (stream, _) = self.listener.accept().await?;
        let peer = Peer::Unix(stream.peer_cred().ok().map(|credentials| credentials.uid()));
        Ok((stream, peer))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_descriptors_for_all_else() {
        assert_eq!(room_of(100), 50);
        assert_eq!(room_of(20_000), 15_904);
        assert_eq!(room_of(0), 1);
        assert_eq!(room_of(u64::MAX), Semaphore::MAX_PERMITS);
    }
}
