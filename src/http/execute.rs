//! `POST /api/execute`: from a body to a submission, from a report to a body. What happens in between is the
//! engine's.

use std::collections::HashSet;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, HeaderValue};
use uuid::Uuid;

use super::budget::Held;
use super::business::UntilHandedOver;
use super::problem::{Code, EXECUTION_ID, Problem};
use super::wire::Encoding;
use super::wire::reading::{self, Parsed};
use super::wire::request::ExecuteRequest;
use super::wire::response::{self, ExecuteResponse};
use super::{Api, body, openapi};
use crate::access::Client;
use crate::engine::{ExecuteError, Plan, PlanError, Report, Verdict, Violation};
use crate::telemetry::Refusal;

/// A body or an output up to this size is worked on where it is; a larger one would keep other requests of the same
/// thread waiting for milliseconds.
const INLINE_BYTES: usize = 256 << 10;

/// Runs one program and answers when it has ended.
///
/// 200 whatever the program did: `status` says it. When the client goes away, the program is killed.
#[utoipa::path(
    post,
    path = "/api/execute",
    operation_id = "execute",
    tag = "execute",
    request_body = ExecuteRequest,
    responses(
        (status = 200, body = ExecuteResponse<'static>, description = "The program was run, or compiled in vain",
            headers(("X-Execution-Id" = String, description = "The execution's id"))),
        openapi::ExecuteProblems,
    ),
)]
pub(super) async fn execute(State(api): State<Api>, request: Request) -> Response {
    let (id, mut response) = match answer(&api, request).await {
        Ok(Answer { id, body, until_handed_over }) => {
            let mut response = Response::new(Body::from(body));
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            response.extensions_mut().insert(until_handed_over);
            (id, response)
        }
        Err(problem) => (problem.id(), problem.into_response()),
    };
    // A UUID is a header value always.
    if let Ok(id) = HeaderValue::try_from(id.to_string()) {
        response.headers_mut().insert(EXECUTION_ID, id);
    }
    response
}

struct Answer {
    id: Uuid,
    body: Vec<u8>,
    /// The client's turn and the answer's memory.
    until_handed_over: UntilHandedOver,
}

async fn answer(api: &Api, request: Request) -> Result<Answer, Problem> {
    let client = request.extensions().get::<Client>().cloned();
    let turn = client.as_ref().map(Client::begin).transpose()?;
    let read = body::json(request, api.body_limits, &api.budget).await;
    let (body, _held) = read.inspect_err(|problem| {
        if problem.code() == Code::Overloaded {
            api.engine.metrics().refused(Refusal::Memory);
        }
    })?;
    let Parsed { mut submission, output_encoding, violations } = parse(body).await?;
    if let Some(client) = &client {
        submission.client = client.key().clone();
        submission.ceilings = client.ceilings();
    }
    let plan = believe(api.engine.plan(submission).await, violations)?;
    let id = plan.id;
    if let Some(client) = &client {
        client
            .may_have(plan.language(), plan.runtime())
            .map_err(|denied| Problem::from(denied).with_id(id))?;
    }
    let report = api.engine.execute(plan, None).await.and_then(own_end);
    let report = report.map_err(|error| Problem::of_execution(error, id))?;
    let unwritten = room_for(&report, api).map_err(|problem| problem.with_id(id))?;
    let body = write(report, output_encoding).await.map_err(|problem| problem.with_id(id))?;
    drop(unwritten);
    let until_handed_over = UntilHandedOver::new((turn, api.budget.hold(body.len())));
    Ok(Answer { id, body, until_handed_over })
}

/// Programs may say more than clients take, and faster than it is written: what is large is only written where there is
/// room for it.
fn room_for(report: &Report, api: &Api) -> Result<Held, Problem> {
    let bytes = response::size_hint(report);
    if bytes > INLINE_BYTES && api.budget.exhausted() {
        api.engine.metrics().refused(Refusal::Memory);
        return Err(body::exhausted());
    }
    Ok(api.budget.hold(bytes))
}

/// Two verdicts are none of the program's: where somebody waits for the answer, they are errors.
fn own_end(report: Report) -> Result<Report, ExecuteError> {
    match report.verdict {
        Verdict::Canceled => Err(ExecuteError::Canceled),
        Verdict::InternalError => Err(ExecuteError::Internal(report.error.unwrap_or_default())),
        _ => Ok(report),
    }
}

/// Every violation at once: those of the wire first, then those of the plan that concern other fields.
fn believe(planned: Result<Plan, PlanError>, mut violations: Vec<Violation>) -> Result<Plan, Problem> {
    match planned {
        Ok(plan) if violations.is_empty() => Ok(plan),
        Ok(_) => Err(Problem::invalid(violations)),
        Err(PlanError::Invalid(more)) => {
            let told: HashSet<_> = violations.iter().map(|violation| violation.field.clone()).collect();
            violations.extend(more.into_iter().filter(|violation| !told.contains(&violation.field)));
            Err(Problem::invalid(violations))
        }
        Err(PlanError::Execute(_)) if !violations.is_empty() => Err(Problem::invalid(violations)),
        Err(PlanError::Execute(error)) => Err(Problem::of_execution(error, Uuid::now_v7())),
    }
}

async fn parse(body: Vec<u8>) -> Result<Parsed, Problem> {
    if body.len() <= INLINE_BYTES {
        return reading::parse(&body);
    }
    tokio::task::spawn_blocking(move || reading::parse(&body))
        .await
        .unwrap_or_else(|error| Err(failed(&error)))
}

async fn write(report: Report, encoding: Encoding) -> Result<Vec<u8>, Problem> {
    let written = if response::size_hint(&report) <= INLINE_BYTES {
        response::body(&report, encoding)
    } else {
        let write = tokio::task::spawn_blocking(move || response::body(&report, encoding));
        write.await.map_err(|error| failed(&error))?
    };
    written.map_err(|error| failed(&error))
}

fn failed(error: &dyn std::error::Error) -> Problem {
    let problem = Problem::new(Code::Internal, "the answer could not be written; see the logs");
    tracing::error!(id = %problem.id(), %error, "an answer could not be written");
    problem
}
