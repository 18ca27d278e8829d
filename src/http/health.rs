//! `GET /healthz` (the process lives) and `GET /readyz` (it can run code).

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::problem::{Code, Problem};
use super::{Api, openapi};

/// How long whoever asks for readiness may wait until asking again makes sense.
const ASK_AGAIN: Duration = Duration::from_secs(2);

#[derive(Serialize, ToSchema)]
pub(super) struct Health {
    #[schema(example = "ok")]
    status: &'static str,
    /// Of the daemon.
    version: &'static str,
}

impl Health {
    fn well() -> Json<Self> {
        Json(Self { status: "ok", version: env!("CARGO_PKG_VERSION") })
    }
}

/// Whether the process lives.
#[utoipa::path(
    get,
    path = "/healthz",
    operation_id = "health",
    tag = "operation",
    responses((status = 200, body = Health, description = "It lives")),
)]
pub(super) async fn health() -> Json<Health> {
    Health::well()
}

/// Whether it can run code: a program is really run, at most once a second.
#[utoipa::path(
    get,
    path = "/readyz",
    operation_id = "ready",
    tag = "operation",
    responses(
        (status = 200, body = Health, description = "It can run code"),
        openapi::NotReady,
    ),
)]
pub(super) async fn ready(State(api): State<Api>) -> Result<Json<Health>, Problem> {
    match api.engine.ready().await {
        Ok(()) => Ok(Health::well()),
        Err(reason) if api.engine.stats().draining => Err(Problem::new(Code::Draining, reason)),
        Err(reason) => Err(Problem::new(Code::RuntimeUnavailable, reason).retry_after(ASK_AGAIN)),
    }
}
