//! `GET /api/runtimes`: where sandboxes come from, and which limits each can hold.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use sandboxd_contract::LimitSupport;
use serde::Serialize;
use utoipa::ToSchema;

use super::Api;
use crate::engine::RuntimeStatus;

/// Every configured runtime.
#[utoipa::path(
    get,
    path = "/api/runtimes",
    operation_id = "runtimes",
    tag = "about",
    responses(
        (status = 200, body = Runtimes, description = "Every configured runtime"),
        super::openapi::GuardProblems,
    ),
)]
pub(super) async fn runtimes(State(api): State<Api>) -> Json<Runtimes> {
    Json(Runtimes { runtimes: api.engine.runtimes().into_iter().map(RuntimeOutput::of).collect() })
}

#[derive(Serialize, ToSchema)]
pub(super) struct Runtimes {
    runtimes: Vec<RuntimeOutput>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = Runtime)]
struct RuntimeOutput {
    /// What a request calls it.
    name: String,
    /// `native`, `docker` or `containerd`.
    kind: String,
    /// Whether it is the one that a request without `runtime` gets.
    default: bool,
    available: bool,
    /// Why it is not available.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    reason: Option<String>,
    /// By name, for the limits that a kernel holds. Time and output are held by the daemon itself, everywhere.
    limits: BTreeMap<&'static str, LimitOutput>,
    /// What an operator should know: isolation layers, versions, modes.
    details: BTreeMap<&'static str, String>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = LimitSupport)]
struct LimitOutput {
    held: bool,
    /// Why it can't be held.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    reason: Option<String>,
}

impl RuntimeOutput {
    fn of(status: RuntimeStatus) -> Self {
        let (available, limits, details) = match status.probe {
            Some(probe) => (probe.available, probe.limits, probe.details),
            None => (Err("nobody has asked for this runtime yet".to_owned()), Vec::new(), Vec::new()),
        };
        Self {
            name: status.name,
            kind: status.kind,
            default: status.default,
            available: available.is_ok(),
            reason: available.err(),
            limits: limits
                .into_iter()
                .map(|(limit, support)| (limit.name(), LimitOutput::of(support)))
                .collect(),
            details: details.into_iter().collect(),
        }
    }
}

impl LimitOutput {
    fn of(support: LimitSupport) -> Self {
        match support {
            LimitSupport::Held => Self { held: true, reason: None },
            LimitSupport::Waived(reason) | LimitSupport::Missing(reason) => {
                Self { held: false, reason: Some(reason) }
            }
        }
    }
}
