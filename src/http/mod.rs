//! The HTTP door: routes and what surrounds every one of them. Each resource has a file of its own; how connections
//! are taken in is `listeners`; what travels is `wire`; what goes wrong is `problem`. Nothing is decided here that
//! another door would have to decide again: that is the engine's.

mod around;
mod body;
mod budget;
mod business;
mod correlation;
mod cors;
mod execute;
mod guard;
mod health;
pub(crate) mod languages;
pub mod listeners;
mod live;
mod malformed;
mod metrics;
mod openapi;
mod patience;
mod problem;
mod runtimes;
mod serve;
#[cfg(test)]
mod tests;
mod tls;
mod wire;

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{get, post};
use bytes::Bytes;
use tower::util::option_layer;

use self::body::BodyLimits;
use self::budget::Budget;
use self::problem::{Code, Problem};
use crate::access::Access;
use crate::config::Server;
use crate::engine::Engine;

pub use self::live::{Front, Live};
pub use self::serve::{LAST_REQUESTS, serve};
pub use self::tls::{TlsError, load as load_tls};

/// What the handlers share.
#[derive(Clone)]
struct Api {
    engine: Arc<Engine>,
    access: Arc<Access>,
    cors_origins: Arc<[String]>,
    body_limits: BodyLimits,
    budget: Budget,
    document: Bytes,
}

/// Every route.
///
/// # Errors
/// When the OpenAPI document can't be written, which the tests rule out.
pub fn router(
    engine: Arc<Engine>,
    access: Arc<Access>,
    server: &Server,
) -> Result<Router, serde_json::Error> {
    let api = Api {
        engine,
        access,
        cors_origins: server.cors_origins.as_slice().into(),
        body_limits: BodyLimits { max_bytes: server.max_body_bytes, read_timeout: server.body_read_timeout },
        budget: Budget::of_this_process(),
        document: openapi::text()?.into(),
    };
    Ok(Router::new()
        .route("/api/execute", post(execute::execute))
        .route("/api/languages", get(languages::languages))
        .route("/api/runtimes", get(runtimes::runtimes))
        .route("/healthz", get(health::health))
        .route("/readyz", get(health::ready))
        .route("/metrics", get(metrics::metrics))
        .route("/openapi.json", get(openapi::document))
        .method_not_allowed_fallback(method_not_allowed)
        .fallback(not_found)
        .layer(from_fn_with_state(api.clone(), guard::guard))
        .layer(from_fn(around::catch_panic))
        // Before the guard: a browser asks whether it may, without a token, before it asks with one.
        .layer(option_layer(cors::layer(&server.cors_origins)))
        .layer(from_fn_with_state(api.clone(), around::observe))
        .with_state(api))
}

async fn not_found(request: Request) -> Problem {
    let problem = Problem::new(Code::NotFound, format!("there is nothing at {}", request.uri().path()));
    body::discard(request).await;
    problem
}

/// The framework adds `Allow`.
async fn method_not_allowed(request: Request) -> Problem {
    let detail = format!("{} does not take {}", request.uri().path(), request.method());
    let problem = Problem::new(Code::MethodNotAllowed, detail);
    body::discard(request).await;
    problem
}
