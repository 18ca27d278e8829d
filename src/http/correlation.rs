//! What ties a request to others' logs: its own id, `X-Request-Id`, taken over or made, and the trace that it belongs to,
//! `traceparent` of <https://www.w3.org/TR/trace-context/>. Both stand in every log line of the request.
//!
//! Deliberately absent: spans sent anywhere. Whoever traces reads them from the logs.

use http::{HeaderMap, HeaderName, HeaderValue};
use tracing::Span;
use uuid::Uuid;

pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
pub(super) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// A longer id is not taken over: it would be in every line.
const MAX_ID_BYTES: usize = 128;

pub(super) struct Correlation {
    request_id: String,
    trace: Option<Trace>,
}

/// Where the caller stands in its trace.
#[derive(Debug, PartialEq, Eq)]
struct Trace {
    trace_id: String,
    parent_id: String,
}

impl Correlation {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
        let request_id = text(REQUEST_ID).filter(|id| is_id(id));
        Self {
            request_id: request_id.map_or_else(|| Uuid::now_v7().to_string(), str::to_owned),
            trace: text(TRACEPARENT).and_then(Trace::parse),
        }
    }

    pub(super) fn span(&self) -> Span {
        let request_id = self.request_id.as_str();
        match &self.trace {
            Some(Trace { trace_id, parent_id }) => {
                tracing::info_span!("request", request_id, trace_id, parent_id)
            }
            None => tracing::info_span!("request", request_id),
        }
    }

    pub(super) fn mark(&self, headers: &mut HeaderMap) {
        // Checked, or made here.
        if let Ok(id) = HeaderValue::try_from(&self.request_id) {
            headers.insert(REQUEST_ID, id);
        }
    }
}

/// What nobody can make a second log line of, or of another meaning.
fn is_id(id: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:+/=@".contains(&byte);
    (1..=MAX_ID_BYTES).contains(&id.len()) && id.bytes().all(allowed)
}

impl Trace {
    /// Version, trace, parent, flags. A later version may have more behind that; ff is none.
    fn parse(value: &str) -> Option<Self> {
        let mut parts = value.split('-');
        let (version, trace_id, parent_id, flags) =
            (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let is_hex = |text: &str, length: usize| {
            text.len() == length && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        };
        let is_some = |id: &str| id.bytes().any(|byte| byte != b'0');
        let right = is_hex(version, 2)
            && version != "ff"
            && is_hex(trace_id, 32)
            && is_some(trace_id)
            && is_hex(parent_id, 16)
            && is_some(parent_id)
            && is_hex(flags, 2)
            && (version != "00" || parts.next().is_none());
        right.then(|| Self { trace_id: trace_id.to_owned(), parent_id: parent_id.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
    const PARENT: &str = "b7ad6b7169203331";

    #[test]
    fn traces_are_taken_over_only_if_they_are_right() {
        let expected = Some(Trace { trace_id: TRACE.to_owned(), parent_id: PARENT.to_owned() });
        for good in [format!("00-{TRACE}-{PARENT}-01"), format!("cc-{TRACE}-{PARENT}-01-later")] {
            assert_eq!(Trace::parse(&good), expected, "{good}");
        }
        for bad in [
            String::new(),
            format!("00-{TRACE}-{PARENT}"),
            format!("00-{TRACE}-{PARENT}-01-more"),
            format!("ff-{TRACE}-{PARENT}-01"),
            format!("00-{}-{PARENT}-01", TRACE.to_uppercase()),
            format!("00-{}-{PARENT}-01", "0".repeat(32)),
            format!("00-{TRACE}-{}-01", "0".repeat(16)),
            format!("00-{TRACE}0-{PARENT}-01"),
        ] {
            assert_eq!(Trace::parse(&bad), None, "{bad}");
        }
    }

    #[test]
    fn ids_that_could_spoil_a_log_are_replaced() {
        let id = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(REQUEST_ID, HeaderValue::from_str(value).unwrap());
            Correlation::of(&headers).request_id
        };
        assert_eq!(id("job-7:ab/c+d=="), "job-7:ab/c+d==");
        for bad in ["", "a b", "a\"b", &"x".repeat(MAX_ID_BYTES + 1)] {
            assert!(Uuid::parse_str(&id(bad)).is_ok(), "{bad:?}");
        }
    }
}
