//! `GET /openapi.json`: the document that the types and handlers make of themselves, and the problems that each
//! operation may answer with.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::CONTENT_TYPE;
use utoipa::openapi::content::ContentBuilder;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::response::{Response as Described, ResponseBuilder};
use utoipa::openapi::schema::{AdditionalProperties, ObjectBuilder, Ref, Schema, Type};
use utoipa::openapi::{OpenApi as Document, RefOr};
use utoipa::{IntoResponses, Modify, OpenApi};

use super::problem::{CONTENT_TYPE_PROBLEM, Code, ProblemBody};
use super::wire::request::ExecuteRequest;
use super::{Api, execute, health, languages, metrics, runtimes};
use crate::engine::ViolationKind;

#[derive(OpenApi)]
#[openapi(
    info(title = "sandboxd", description = "Runs programs that nobody trusts, and says what happened"),
    paths(
        execute::execute,
        languages::languages,
        runtimes::runtimes,
        health::health,
        health::ready,
        metrics::metrics,
        document,
    ),
    components(schemas(ProblemBody<'static>, ExecuteRequest)),
    tags(
        (name = "execute", description = "Running programs"),
        (name = "about", description = "What can be run, and where"),
        (name = "operation", description = "For whoever operates the daemon"),
    ),
    modifiers(&Strict),
)]
struct Definition;

/// This document.
#[utoipa::path(
    get,
    path = "/openapi.json",
    operation_id = "openapi",
    tag = "about",
    responses((status = 200, body = Object, description = "OpenAPI 3.1")),
)]
pub(super) async fn document(State(api): State<Api>) -> Response {
    ([(CONTENT_TYPE, "application/json")], api.document.clone()).into_response()
}

/// The document as it is served.
///
/// # Errors
/// Never in practice: it was made to be JSON.
pub(super) fn text() -> Result<String, serde_json::Error> {
    Definition::openapi().to_json()
}

/// Says of every object in a request that it takes no field besides those named, which its derived reading can't
/// say: it would then stop at the first one.
struct Strict;

impl Modify for Strict {
    fn modify(&self, document: &mut Document) {
        let Some(components) = &mut document.components else { return };
        for name in ["ExecuteRequest", "FileInput", "LimitsInput"] {
            if let Some(RefOr::T(Schema::Object(object))) = components.schemas.get_mut(name) {
                object.additional_properties = Some(Box::new(AdditionalProperties::FreeForm(false)));
            }
        }
    }
}

pub(super) struct ExecuteProblems;

impl IntoResponses for ExecuteProblems {
    fn responses() -> BTreeMap<String, RefOr<Described>> {
        problems(&[
            Code::Malformed,
            Code::InvalidJson,
            Code::Unauthorized,
            Code::Forbidden,
            Code::RateLimited,
            Code::RequestTimeout,
            Code::PayloadTooLarge,
            Code::UnsupportedMediaType,
            Code::Invalid(ViolationKind::InvalidRequest),
            Code::Invalid(ViolationKind::UnknownField),
            Code::Invalid(ViolationKind::UnknownLanguage),
            Code::Invalid(ViolationKind::UnknownRuntime),
            Code::Invalid(ViolationKind::LimitTooHigh),
            Code::Invalid(ViolationKind::InvalidPath),
            Code::Overloaded,
            Code::RuntimeUnavailable,
            Code::Draining,
            Code::Internal,
        ])
    }
}

/// Of routes that take nothing: whoever asks may be nobody.
pub(super) struct GuardProblems;

impl IntoResponses for GuardProblems {
    fn responses() -> BTreeMap<String, RefOr<Described>> {
        problems(&[Code::Unauthorized, Code::Forbidden])
    }
}

pub(super) struct NotReady;

impl IntoResponses for NotReady {
    fn responses() -> BTreeMap<String, RefOr<Described>> {
        problems(&[Code::RuntimeUnavailable, Code::Draining])
    }
}

/// One response for each status, with the codes that it may have.
fn problems(codes: &[Code]) -> BTreeMap<String, RefOr<Described>> {
    let mut by_status: BTreeMap<u16, Vec<&str>> = BTreeMap::new();
    for code in codes {
        by_status.entry(code.status().as_u16()).or_default().push(code.as_str());
    }
    let described = |(status, codes): (u16, Vec<&str>)| {
        let schema = Ref::from_schema_name("Problem");
        let content = ContentBuilder::new().schema(Some(schema)).build();
        let mut response = ResponseBuilder::new()
            .description(format!("`code`: {}", codes.join(", ")))
            .content(CONTENT_TYPE_PROBLEM, content);
        if matches!(status, 429 | 503) {
            let seconds = HeaderBuilder::new()
                .schema(Some(ObjectBuilder::new().schema_type(Type::Integer).build()))
                .description(Some("When to come back, in seconds"))
                .build();
            response = response.header("Retry-After", seconds);
        }
        (status.to_string(), RefOr::T(response.build()))
    };
    by_status.into_iter().map(described).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn document() -> Value {
        serde_json::from_str(&text().unwrap()).unwrap()
    }

    /// Every `$ref` below a value.
    fn references(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(fields) => fields.iter().for_each(|(key, value)| match value {
                Value::String(target) if key == "$ref" => found.push(target.clone()),
                other => references(other, found),
            }),
            Value::Array(items) => items.iter().for_each(|item| references(item, found)),
            _ => {}
        }
    }

    #[test]
    fn is_openapi_3_1_and_whole() {
        let document = document();
        assert_eq!(document["openapi"], "3.1.0");
        let paths: Vec<_> = document["paths"].as_object().unwrap().keys().collect();
        assert_eq!(
            paths,
            [
                "/api/execute",
                "/api/languages",
                "/api/runtimes",
                "/healthz",
                "/metrics",
                "/openapi.json",
                "/readyz"
            ]
        );
        let mut found = Vec::new();
        references(&document, &mut found);
        assert!(!found.is_empty());
        for reference in found {
            let pointer = reference.trim_start_matches('#');
            assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
        }
    }

    #[test]
    fn requests_take_no_other_field() {
        let document = document();
        let schemas = &document["components"]["schemas"];
        for name in ["ExecuteRequest", "FileInput", "LimitsInput"] {
            assert_eq!(schemas[name]["additionalProperties"], false, "{name}");
        }
        assert_eq!(schemas["ExecuteRequest"]["required"], serde_json::json!(["language"]));
        assert_eq!(schemas["FileInput"]["required"], serde_json::json!(["path", "content"]));
        assert!(schemas["LimitsInput"].get("required").is_none());
    }

    #[test]
    fn problems_are_described() {
        let document = document();
        let responses = &document["paths"]["/api/execute"]["post"]["responses"];
        let statuses: Vec<_> = responses.as_object().unwrap().keys().collect();
        assert_eq!(statuses, ["200", "400", "401", "403", "408", "413", "415", "422", "429", "500", "503"]);
        let schema = &responses["422"]["content"]["application/problem+json"]["schema"];
        assert_eq!(schema["$ref"], "#/components/schemas/Problem");
    }
}
