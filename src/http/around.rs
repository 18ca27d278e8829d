//! What surrounds every handler: a panic becomes an answer, and every answer is counted, timed and logged.

use std::any::Any;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;
use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use http::{HeaderValue, Method};
use tracing::Instrument;

use super::Api;
use super::correlation::Correlation;
use super::problem::{Code, EXECUTION_ID, Problem};

/// The route of what matched none, as a label: paths that clients make up must not become labels.
const NO_ROUTE: &str = "none";

pub(super) async fn observe(State(api): State<Api>, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let route = request.extensions().get::<MatchedPath>().cloned();
    let in_flight = api.engine.metrics().in_flight();
    let correlation = Correlation::of(request.headers());
    let span = correlation.span();
    let mut response = next.run(request).instrument(span.clone()).await;
    let _entered = span.enter();
    correlation.mark(response.headers_mut());
    drop(in_flight);
    let took = started.elapsed();
    let status = response.status();
    let route = route.as_ref().map_or(NO_ROUTE, MatchedPath::as_str);
    api.engine.metrics().answered(label(&method), route, status.as_u16(), took);
    let id = response.headers().get(EXECUTION_ID).and_then(|id| id.to_str().ok());
    let took_ms = took.as_secs_f64() * 1000.0;
    if status.is_server_error() {
        tracing::warn!(%method, path, status = status.as_u16(), took_ms, id, "answered");
    } else {
        tracing::debug!(%method, path, status = status.as_u16(), took_ms, id, "answered");
    }
    response
}

/// Clients may make up methods too.
fn label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

/// A handler that panics takes nothing down but its own answer.
pub(super) async fn catch_panic(request: Request, next: Next) -> Response {
    let mut handled = pin!(next.run(request));
    let caught = poll_fn(|context| {
        // Nothing that the handler has touched is looked at after a panic: its future is only dropped.
        match catch_unwind(AssertUnwindSafe(|| handled.as_mut().poll(context))) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(response)) => Poll::Ready(Ok(response)),
            Err(panic) => Poll::Ready(Err(panic)),
        }
    });
    caught.await.unwrap_or_else(|panic| {
        let problem = Problem::new(Code::Internal, "the daemon has a fault; see the logs");
        tracing::error!(id = %problem.id(), panic = text(panic.as_ref()), "a handler panicked");
        let id = HeaderValue::try_from(problem.id().to_string());
        let mut response = problem.into_response();
        // A UUID is a header value always.
        if let Ok(id) = id {
            response.headers_mut().insert(EXECUTION_ID, id);
        }
        response
    })
}

fn text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no text")
}
