//! Bodies of requests, from the router to the answer, on a runtime that plays along.

use std::sync::{Arc, OnceLock};

use axum::{Router, body::Body};
use http::{Request, StatusCode, header::CONTENT_TYPE};
use http_body_util::BodyExt;
use sandboxd::{
    config::{self, Surroundings},
    engine::{Engine, EngineConfig},
    executors::Catalog,
    http::router,
    telemetry::Metrics,
};
use sandboxd_contract::testing::{fake::FakeRuntime, script::Script};
use serde_json::Value;
use tower::ServiceExt;

struct House {
    runtime: tokio::runtime::Runtime,
    router: Router,
}

fn house() -> &'static House {
    static HOUSE: OnceLock<House> = OnceLock::new();
    HOUSE.get_or_init(|| build().unwrap_or_else(|error| panic!("a daemon: {error}")))
}

/// Every language is installed, and every program says its version.
fn build() -> Result<House, Box<dyn std::error::Error>> {
    let surroundings = Surroundings { cpus: 2, is_root: true, ..Surroundings::default() };
    let nothing = tempfile::NamedTempFile::new()?;
    let server = config::load(Some(nothing.path()), &surroundings)?.server;
    let config = EngineConfig::bare("fake", "native");
    let fake = FakeRuntime::new("fake", |_| Script::prints("version 17.0.1\n"));
    let catalog = Catalog::load(&[]).map_err(|errors| format!("{errors:?}"))?;
    let engine = Engine::new(config, catalog, vec![Arc::new(fake)], Arc::new(Metrics::new()?));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(engine.discover("fake"))?;
    Ok(House { runtime, router: router(engine, Arc::default(), &server)? })
}

pub(crate) fn execute(body: &[u8]) {
    let House { runtime, router } = house();
    let request = Request::post("/api/execute").header(CONTENT_TYPE, "application/json");
    let Ok(request) = request.body(Body::from(body.to_vec())) else { return };
    let (head, answer) = runtime.block_on(async {
        let Ok(response) = router.clone().oneshot(request).await;
        let (head, body) = response.into_parts();
        (head, body.collect().await.map(|body| body.to_bytes()))
    });
    let answer = answer.unwrap_or_else(|error| panic!("an answer that breaks off: {error}"));
    let answer: Value = serde_json::from_slice(&answer).unwrap_or_else(|error| panic!("{error}: {answer:?}"));
    match head.status {
        StatusCode::OK => assert!(answer["status"].is_string() && answer["id"].is_string(), "{answer:#}"),
        status => {
            assert!(status.is_client_error(), "{status}: {answer:#}");
            assert_eq!(answer["status"], status.as_u16(), "{answer:#}");
            assert!(answer["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{answer:#}");
        }
    }
}
