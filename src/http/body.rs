//! Reading the body of a request: JSON only, bounded in bytes and in time. What it says is read elsewhere.

use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, HeaderMap, HeaderValue};
use http_body_util::BodyExt;
use tokio::time::timeout;

use super::budget::{Budget, Held};
use super::problem::{Code, Problem};

/// What is read and thrown away of a body that nobody wants, and for how long. A client that still sends while the
/// answer comes, and then finds the connection closed, might never see the answer.
const DISCARD_BYTES: usize = 64 << 20;
const DISCARD_TIME: Duration = Duration::from_secs(5);

#[derive(Debug, Clone, Copy)]
pub(super) struct BodyLimits {
    pub(super) max_bytes: usize,
    pub(super) read_timeout: Duration,
}

/// After how long a client may come again that found the memory for requests and answers full.
const RETRY_EXHAUSTED: Duration = Duration::from_secs(1);

/// The whole body of a request that says it is JSON, and what it takes of the budget.
///
/// # Errors
/// The problem to answer with.
pub(super) async fn json(
    request: Request,
    limits: BodyLimits,
    budget: &Budget,
) -> Result<(Vec<u8>, Held), Problem> {
    let unsupported = match request.headers() {
        headers if !is_json(headers) => Some("the Content-Type must be application/json"),
        headers if headers.contains_key(CONTENT_ENCODING) => {
            Some("a body with a Content-Encoding is not taken")
        }
        _ => None,
    };
    if let Some(detail) = unsupported {
        discard(request).await;
        return Err(Problem::new(Code::UnsupportedMediaType, detail));
    }
    let announced = request.headers().get(CONTENT_LENGTH).and_then(number).unwrap_or(0);
    if announced > limits.max_bytes {
        discard(request).await;
        return Err(too_large(limits));
    }
    if budget.exhausted() {
        discard(request).await;
        return Err(exhausted());
    }
    let mut body = request.into_body();
    let (mut bytes, mut held) = (Vec::with_capacity(announced), budget.hold(0));
    let read = timeout(
        limits.read_timeout,
        read(&mut body, limits.max_bytes, |data| {
            bytes.extend_from_slice(data);
            held.grow(data.len())
        }),
    );
    match read.await {
        Ok(Ok(())) => Ok((bytes, held)),
        Ok(Err(Unread::TooLarge)) => {
            discard_body(&mut body).await;
            Err(too_large(limits))
        }
        Ok(Err(Unread::Exhausted)) => {
            drop((bytes, held));
            discard_body(&mut body).await;
            Err(exhausted())
        }
        // The client is gone, or does not speak HTTP: hardly anybody will read this.
        Ok(Err(Unread::Broken(error))) => {
            Err(Problem::new(Code::InvalidJson, format!("the body broke off: {error}")))
        }
        Err(_) => {
            let allowed = limits.read_timeout.as_millis();
            Err(Problem::new(Code::RequestTimeout, format!("the body took longer than {allowed} ms")))
        }
    }
}

/// Reads what the client sends anyway, within bounds, so that it gets to see the answer.
pub(super) async fn discard(request: Request) {
    // A client that expects a word before it sends takes the answer for that word.
    if !request.headers().contains_key(EXPECT) {
        discard_body(&mut request.into_body()).await;
    }
}

async fn discard_body(body: &mut Body) {
    // Whether all of it came makes no difference to the answer.
    let _ = timeout(DISCARD_TIME, read(body, DISCARD_BYTES, |_| true)).await;
}

enum Unread {
    TooLarge,
    Exhausted,
    Broken(axum::Error),
}

/// `take` says whether there is room for more.
async fn read(body: &mut Body, max_bytes: usize, mut take: impl FnMut(&Bytes) -> bool) -> Result<(), Unread> {
    let mut left = max_bytes;
    while let Some(frame) = body.frame().await {
        // Trailers are of no interest.
        let Ok(data) = frame.map_err(Unread::Broken)?.into_data() else { continue };
        left = left.checked_sub(data.len()).ok_or(Unread::TooLarge)?;
        if !take(&data) {
            return Err(Unread::Exhausted);
        }
    }
    Ok(())
}

pub(super) fn exhausted() -> Problem {
    let detail = "requests and answers that are on their way fill the memory there is for them";
    Problem::new(Code::Overloaded, detail).retry_after(RETRY_EXHAUSTED)
}

fn too_large(limits: BodyLimits) -> Problem {
    Problem::new(Code::PayloadTooLarge, format!("the body may have {} bytes at most", limits.max_bytes))
}

fn is_json(headers: &HeaderMap) -> bool {
    let essence = |value: &HeaderValue| {
        let text = value.to_str().unwrap_or_default();
        text.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json")
    };
    headers.get(CONTENT_TYPE).is_some_and(essence)
}

fn number(value: &HeaderValue) -> Option<usize> {
    value.to_str().ok()?.parse().ok()
}
