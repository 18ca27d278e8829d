//! `GET /api/languages`: what can be run, in which version, on which runtime.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::Api;
use crate::engine::{Installation, LanguageOnRuntime, LanguageStatus};

/// Every language that the daemon knows, installed or not.
#[utoipa::path(
    get,
    path = "/api/languages",
    operation_id = "languages",
    tag = "about",
    responses(
        (status = 200, body = Languages, description = "Every language"),
        super::openapi::GuardProblems,
    ),
)]
pub(super) async fn languages(State(api): State<Api>) -> Json<Languages> {
    let default =
        api.engine.runtimes().into_iter().find(|runtime| runtime.default).map(|runtime| runtime.name);
    let default = default.unwrap_or_default();
    let languages = api.engine.languages();
    Json(Languages {
        languages: languages.into_iter().map(|status| Language::of(status, &default)).collect(),
    })
}

#[derive(Serialize, ToSchema)]
pub(crate) struct Languages {
    languages: Vec<Language>,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct Language {
    /// What a request calls it.
    pub(crate) id: String,
    /// For people.
    pub(crate) name: String,
    /// What a request may call it too.
    pub(crate) aliases: Vec<String>,
    /// On the default runtime; null where it is not installed there.
    #[schema(required)]
    pub(crate) version: Option<String>,
    /// Whether the default runtime can run it.
    pub(crate) available: bool,
    /// Why it is not available.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(crate) reason: Option<String>,
    /// The Debian packages that it needs.
    pub(crate) packages: Vec<String>,
    /// Of source files, without the dot.
    extensions: Vec<String>,
    /// Whether there is a compile phase.
    compiled: bool,
    /// The flags that `compile_args` of a request replaces.
    compile_args: Vec<String>,
    example: ExampleOutput,
    /// On every configured runtime.
    pub(crate) runtimes: Vec<LanguageRuntime>,
}

/// A program to try.
#[derive(Serialize, ToSchema)]
#[schema(as = Example)]
pub(crate) struct ExampleOutput {
    path: String,
    code: String,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct LanguageRuntime {
    pub(crate) runtime: String,
    pub(crate) available: bool,
    #[schema(required)]
    pub(crate) version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(crate) reason: Option<String>,
}

impl Language {
    pub(crate) fn of(status: LanguageStatus, default_runtime: &str) -> Self {
        let executor = &status.executor;
        let runtimes: Vec<_> = status.runtimes.into_iter().map(LanguageRuntime::of).collect();
        let default = runtimes.iter().find(|on| on.runtime == default_runtime);
        Self {
            id: executor.id.clone(),
            name: executor.name.clone(),
            aliases: executor.aliases.clone(),
            version: default.and_then(|on| on.version.clone()),
            available: default.is_some_and(|on| on.available),
            reason: default.and_then(|on| on.reason.clone()),
            packages: executor.packages.clone(),
            extensions: executor.extensions.clone(),
            compiled: executor.compile.is_some(),
            compile_args: executor.compile.as_ref().map(|compile| compile.args.clone()).unwrap_or_default(),
            example: ExampleOutput {
                path: executor.example.name.to_string(),
                code: executor.example.code.clone(),
            },
            runtimes,
        }
    }
}

impl LanguageRuntime {
    fn of(on: LanguageOnRuntime) -> Self {
        let (version, reason) = match on.installation {
            Installation::Installed { version } => (Some(version), None),
            Installation::Missing { reason } => (None, Some(reason)),
            Installation::NotLookedFor => (None, Some("nobody has asked for this runtime yet".to_owned())),
        };
        Self { runtime: on.runtime, available: version.is_some(), version, reason }
    }
}
