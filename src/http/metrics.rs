//! `GET /metrics`: the Prometheus text format. The metrics themselves are in `telemetry::metrics`.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::CONTENT_TYPE;

use super::Api;
use super::problem::{Code, Problem};
use crate::telemetry::Metrics;

/// Every metric, as Prometheus reads it.
#[utoipa::path(
    get,
    path = "/metrics",
    operation_id = "metrics",
    tag = "operation",
    responses(
        (status = 200, body = String, content_type = "text/plain", description = "The Prometheus text format"),
        super::openapi::GuardProblems,
    ),
)]
pub(super) async fn metrics(State(api): State<Api>) -> Response {
    match api.engine.metrics().render() {
        Ok(text) => ([(CONTENT_TYPE, Metrics::CONTENT_TYPE)], text).into_response(),
        Err(error) => {
            let problem = Problem::new(Code::Internal, "the metrics could not be written; see the logs");
            tracing::error!(id = %problem.id(), %error, "the metrics could not be written");
            problem.into_response()
        }
    }
}
