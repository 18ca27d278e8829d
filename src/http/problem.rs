//! Every answer outside 2xx: `application/problem+json` after RFC 9457, and the one table of status and title of each
//! code. Where problems come from is decided by whoever makes one.

use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use http::{HeaderName, StatusCode};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::engine::{ExecuteError, Violation, ViolationKind};

pub(super) const CONTENT_TYPE_PROBLEM: &str = "application/problem+json";
pub(super) const EXECUTION_ID: HeaderName = HeaderName::from_static("x-execution-id");

/// When a client may come back after the daemon said that it is about to stop: when its successor may be there.
const AFTER_DRAINING: Duration = Duration::from_secs(5);

/// What one problem tells at most: a request of 8 MiB could hold a million mistakes, and get them all back.
const MAX_VIOLATIONS: usize = 64;
const MAX_TEXT_BYTES: usize = 512;

/// The `code` of a problem.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Code {
    Unauthorized,
    Forbidden,
    RateLimited,
    Malformed,
    UriTooLong,
    HeadersTooLarge,
    InvalidJson,
    NotFound,
    MethodNotAllowed,
    RequestTimeout,
    PayloadTooLarge,
    UnsupportedMediaType,
    Invalid(ViolationKind),
    Overloaded,
    RuntimeUnavailable,
    Draining,
    Internal,
}

impl Code {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Unauthorized => "unauthorized",
            Self::Forbidden => "forbidden",
            Self::RateLimited => "rate_limited",
            Self::Malformed => "malformed_request",
            Self::UriTooLong => "uri_too_long",
            Self::HeadersTooLarge => "headers_too_large",
            Self::InvalidJson => "invalid_json",
            Self::NotFound => "not_found",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::RequestTimeout => "request_timeout",
            Self::PayloadTooLarge => "payload_too_large",
            Self::UnsupportedMediaType => "unsupported_media_type",
            Self::Invalid(kind) => kind.code(),
            Self::Overloaded => "overloaded",
            Self::RuntimeUnavailable => "runtime_unavailable",
            Self::Draining => "draining",
            Self::Internal => "internal",
        }
    }

    pub(super) fn status(self) -> StatusCode {
        match self {
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::RateLimited => StatusCode::TOO_MANY_REQUESTS,
            Self::Malformed | Self::InvalidJson => StatusCode::BAD_REQUEST,
            Self::UriTooLong => StatusCode::URI_TOO_LONG,
            Self::HeadersTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::RequestTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::PayloadTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Invalid(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Overloaded | Self::RuntimeUnavailable | Self::Draining => StatusCode::SERVICE_UNAVAILABLE,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::Unauthorized => "It is not known who asks",
            Self::Forbidden => "Who asks may not have this",
            Self::RateLimited => "Who asks has had its share",
            Self::Malformed => "This is no HTTP",
            Self::UriTooLong => "The path is too long",
            Self::HeadersTooLarge => "The header fields are too large",
            Self::InvalidJson => "The body is no JSON",
            Self::NotFound => "There is nothing at this path",
            Self::MethodNotAllowed => "This path does not take this method",
            Self::RequestTimeout => "The body took too long to arrive",
            Self::PayloadTooLarge => "The body is too large",
            Self::UnsupportedMediaType => "The body must be JSON",
            Self::Invalid(kind) => match kind {
                ViolationKind::InvalidRequest => "The request is not valid",
                ViolationKind::UnknownField => "The request has a field that nobody knows",
                ViolationKind::UnknownLanguage => "There is no such language",
                ViolationKind::UnknownRuntime => "There is no such runtime",
                ViolationKind::LimitTooHigh => "A limit is above its maximum",
                ViolationKind::InvalidPath => "A path is not allowed",
            },
            Self::Overloaded => "There is too much to do",
            Self::RuntimeUnavailable => "The runtime is not available",
            Self::Draining => "The daemon is shutting down",
            Self::Internal => "Something failed inside",
        }
    }
}

/// A problem on its way to a client.
#[derive(Debug)]
pub(super) struct Problem {
    code: Code,
    detail: String,
    errors: Vec<Violation>,
    /// Of a request that is valid.
    field: Option<&'static str>,
    retry_after: Option<Duration>,
    id: Uuid,
}

impl Problem {
    pub(super) fn new(code: Code, detail: impl Into<String>) -> Self {
        let retry_after = (code == Code::Draining).then_some(AFTER_DRAINING);
        Self { code, detail: detail.into(), errors: Vec::new(), field: None, retry_after, id: Uuid::now_v7() }
    }

    pub(super) fn code(&self) -> Code {
        self.code
    }

    #[cfg(test)]
    pub(super) fn violations(&self) -> &[Violation] {
        &self.errors
    }

    pub(super) fn id(&self) -> Uuid {
        self.id
    }

    /// For the problem of an execution that has an id already.
    pub(super) fn with_id(self, id: Uuid) -> Self {
        Self { id, ..self }
    }

    /// Names the field that asks for too much.
    pub(super) fn at(self, field: &'static str) -> Self {
        Self { field: Some(field), ..self }
    }

    pub(super) fn retry_after(self, after: Duration) -> Self {
        Self { retry_after: Some(after), ..self }
    }

    /// The first violation names the problem; `detail` and `errors` have all of them, up to a number that no honest
    /// mistake reaches.
    pub(super) fn invalid(mut violations: Vec<Violation>) -> Self {
        violations.truncate(MAX_VIOLATIONS);
        for violation in &mut violations {
            clip(&mut violation.field);
            clip(&mut violation.message);
        }
        let kind = violations.first().map_or(ViolationKind::InvalidRequest, |first| first.kind);
        let detail = violations.iter().map(Violation::to_string).collect::<Vec<_>>().join("; ");
        Self { errors: violations, ..Self::new(Code::Invalid(kind), detail) }
    }

    /// What is wrong inside is for the logs, where the id leads; the client could do nothing with it.
    pub(super) fn of_execution(error: ExecuteError, id: Uuid) -> Self {
        let detail = error.to_string();
        let problem = match error {
            ExecuteError::Overloaded { retry_after, .. } => {
                Self::new(Code::Overloaded, detail).retry_after(retry_after)
            }
            ExecuteError::RuntimeUnavailable { retry_after, .. } => {
                Self::new(Code::RuntimeUnavailable, detail).retry_after(retry_after)
            }
            ExecuteError::Draining => Self::new(Code::Draining, detail),
            // Nobody but the daemon itself cancels what a connected client waits for.
            ExecuteError::Canceled => {
                Self::new(Code::Draining, "the execution was canceled, for the daemon is shutting down")
            }
            ExecuteError::Internal(reason) => {
                tracing::error!(%id, reason, "an execution failed");
                Self::new(Code::Internal, "the sandbox failed, not the program; see the logs")
            }
        };
        problem.with_id(id)
    }

    /// A struct of texts and numbers always has a JSON form.
    pub(super) fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(&self.body()).unwrap_or_default()
    }

    fn body(&self) -> ProblemBody<'_> {
        let status = self.code.status();
        let named = |field: &'_ str| !field.is_empty();
        ProblemBody {
            problem_type: format!("urn:sandboxd:problem:{}", self.code.as_str()),
            title: self.code.title(),
            status: status.as_u16(),
            detail: &self.detail,
            code: self.code.as_str(),
            field: self
                .errors
                .first()
                .map(|first| first.field.as_str())
                .or(self.field)
                .filter(|field| named(field)),
            id: self.id.to_string(),
            errors: self
                .errors
                .iter()
                .map(|error| ErrorBody {
                    code: error.kind.code(),
                    field: Some(error.field.as_str()).filter(|field| named(field)),
                    detail: &error.message,
                })
                .collect(),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::from(self.to_json()));
        *response.status_mut() = self.code.status();
        if self.code == Code::Unauthorized {
            super::guard::challenge(&mut response);
        }
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE_PROBLEM));
        if let Some(after) = self.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(whole_seconds(after)));
        }
        response
    }
}

/// A text that a client has made up may be as long as its request.
fn clip(text: &mut String) {
    if text.len() > MAX_TEXT_BYTES {
        text.truncate(text.floor_char_boundary(MAX_TEXT_BYTES));
        text.push('…');
    }
}

/// Rounded up, and never "at once".
fn whole_seconds(duration: Duration) -> u64 {
    duration.as_secs().saturating_add(u64::from(duration.subsec_nanos() > 0)).max(1)
}

/// Why a request was not answered as hoped (RFC 9457).
#[derive(Serialize, ToSchema)]
#[schema(as = Problem)]
pub(super) struct ProblemBody<'a> {
    /// `urn:sandboxd:problem:` and the code.
    #[serde(rename = "type")]
    problem_type: String,
    /// The same for every problem of this code.
    title: &'a str,
    #[schema(minimum = 400, maximum = 599)]
    status: u16,
    /// What is wrong here, all of it.
    detail: &'a str,
    /// One word for programs.
    code: &'a str,
    /// Where in the request, for the first violation.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    field: Option<&'a str>,
    /// The execution, or this problem; also in the logs.
    #[schema(format = "uuid")]
    id: String,
    /// Every violation of the request.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<ErrorBody<'a>>,
}

/// One violation of a request.
#[derive(Serialize, ToSchema)]
#[schema(as = Violation)]
pub(super) struct ErrorBody<'a> {
    code: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    field: Option<&'a str>,
    detail: &'a str,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn violation(kind: ViolationKind, field: &str, message: &str) -> Violation {
        Violation { kind, field: field.to_owned(), message: message.to_owned() }
    }

    fn json(problem: &Problem) -> serde_json::Value {
        serde_json::to_value(problem.body()).unwrap()
    }

    #[test]
    fn violations_are_all_told() {
        let problem = Problem::invalid(vec![
            violation(ViolationKind::LimitTooHigh, "limits.processes", "600 is above 512"),
            violation(ViolationKind::InvalidRequest, "", "is wrong"),
        ]);
        let id = problem.id;
        assert_eq!(
            json(&problem),
            serde_json::json!({
                "type": "urn:sandboxd:problem:limit_too_high",
                "title": "A limit is above its maximum",
                "status": 422,
                "detail": "limits.processes: 600 is above 512; is wrong",
                "code": "limit_too_high",
                "field": "limits.processes",
                "id": id.to_string(),
                "errors": [
                    {"code": "limit_too_high", "field": "limits.processes", "detail": "600 is above 512"},
                    {"code": "invalid_request", "detail": "is wrong"},
                ],
            })
        );
    }

    #[test]
    fn nobody_gets_back_megabytes() {
        let long = "ä".repeat(1 << 20);
        let problem = Problem::invalid(vec![violation(ViolationKind::UnknownField, &long, &long); 1000]);
        assert!(serde_json::to_vec(&problem.body()).unwrap().len() < 256 << 10);
        assert_eq!(problem.errors.len(), MAX_VIOLATIONS);
    }

    #[test]
    fn what_the_engine_refuses() {
        let runtime = || "native".to_owned();
        let after = Duration::from_millis(1500);
        for (error, code, status, retry) in [
            (
                ExecuteError::Overloaded { reason: String::new(), retry_after: after },
                "overloaded",
                503,
                Some("2"),
            ),
            (
                ExecuteError::RuntimeUnavailable {
                    runtime: runtime(),
                    reason: String::new(),
                    retry_after: Duration::ZERO,
                },
                "runtime_unavailable",
                503,
                Some("1"),
            ),
            (ExecuteError::Draining, "draining", 503, Some("5")),
            (ExecuteError::Canceled, "draining", 503, Some("5")),
            (ExecuteError::Internal("secret".to_owned()), "internal", 500, None),
        ] {
            let problem = Problem::of_execution(error, Uuid::nil());
            let body = json(&problem);
            assert_eq!((body["code"].as_str(), body["status"].as_u64()), (Some(code), Some(status)));
            assert!(!body["detail"].as_str().unwrap().contains("secret"));
            assert!(body.get("field").is_none() && body.get("errors").is_none());
            let response = problem.into_response();
            assert_eq!(response.status(), u16::try_from(status).unwrap());
            assert_eq!(response.headers()[CONTENT_TYPE], CONTENT_TYPE_PROBLEM);
            let header = response.headers().get(RETRY_AFTER).map(|value| value.to_str().unwrap());
            assert_eq!(header, retry);
        }
    }
}
