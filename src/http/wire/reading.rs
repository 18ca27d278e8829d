//! Reading the body of `POST /api/execute` into its shape, strictly, and finding in one go all that is wrong with it.
//! What the values mean is `request`'s.

use serde_json::Value;
use serde_json::error::Category;

use super::Encoding;
use super::request::ExecuteRequest;
use crate::engine::{Submission, Violation, ViolationKind};
use crate::http::problem::{Code, Problem};
use crate::strict::{self, Misfit, Reading};

/// A body with a value of the wrong type is looked through for more of them up to this size, and for so many: each
/// is one more reading.
const SEARCHED_BYTES: usize = 256 << 10;
const MAX_MISFITS: usize = 16;

/// A request that could be read.
#[derive(Debug)]
pub(in crate::http) struct Parsed {
    pub(in crate::http) submission: Submission,
    pub(in crate::http) output_encoding: Encoding,
    /// What can't be believed of it already; whoever looks further adds to these, so that all come back at once.
    pub(in crate::http) violations: Vec<Violation>,
}

/// Reads the body of a request.
///
/// # Errors
/// The problem to answer with, when it is no request at all.
pub(in crate::http) fn parse(body: &[u8]) -> Result<Parsed, Problem> {
    let mut json = serde_json::Deserializer::from_slice(body);
    let Reading { value, unknown } = strict::read::<ExecuteRequest, _>(&mut json);
    match value {
        Ok(request) => {
            json.end().map_err(no_json)?;
            let mut violations = unknown_fields(unknown);
            let output_encoding = request.output_encoding.unwrap_or_default();
            let submission = request.into_submission(&mut violations);
            Ok(Parsed { submission, output_encoding, violations })
        }
        Err(misfit) if misfit.error.classify() == Category::Data => {
            Err(misfits(body, unknown, misfit).map_or_else(no_json, Problem::invalid))
        }
        Err(misfit) => Err(no_json(misfit.error)),
    }
}

fn no_json(error: serde_json::Error) -> Problem {
    Problem::new(Code::InvalidJson, error.to_string())
}

/// All that is wrong with a body after a first value did not fit: that value is taken out and the rest is read again,
/// until everything fits that is left.
///
/// # Errors
/// When the body turns out to be no JSON behind the first misfit.
fn misfits(
    body: &[u8],
    mut unknown: Vec<String>,
    mut misfit: Misfit<serde_json::Error>,
) -> Result<Vec<Violation>, serde_json::Error> {
    let mut found = Vec::new();
    let mut rest = Vec::new();
    // Where this search ends early, what was found so far is told all the same.
    let mut value = if body.len() <= SEARCHED_BYTES { serde_json::from_slice(body)? } else { Value::Null };
    loop {
        let message = misfit.error.to_string();
        let twice = field_twice(&message).map(|field| join(&misfit.path(), field));
        // What stands there twice is there once in a `Value`.
        let taken_out = twice.is_some() && value.is_object() || take_out(&mut value, &misfit.keys());
        let field = twice.unwrap_or_else(|| misfit.path());
        found.push(Violation { kind: ViolationKind::InvalidRequest, field, message });
        if !taken_out || found.len() >= MAX_MISFITS {
            break;
        }
        let reading = strict::read::<ExecuteRequest, _>(&value);
        unknown.extend(reading.unknown);
        match reading.value {
            Ok(request) => {
                request.into_submission(&mut rest);
                break;
            }
            Err(next) => misfit = next,
        }
    }
    rest.retain(|violation| !follows(violation, &found));
    unknown.sort();
    unknown.dedup();
    let mut violations = unknown_fields(unknown);
    violations.append(&mut found);
    violations.append(&mut rest);
    Ok(violations)
}

fn unknown_fields(fields: Vec<String>) -> Vec<Violation> {
    let message = "is no field of this request";
    let violation =
        |field| Violation { kind: ViolationKind::UnknownField, field, message: message.to_owned() };
    fields.into_iter().map(violation).collect()
}

/// The name in the message about a field that stands there twice; its path is that of the object around it.
fn field_twice(message: &str) -> Option<&str> {
    let (field, _) = message.strip_prefix("duplicate field `")?.split_once('`')?;
    Some(field)
}

fn join(path: &str, field: &str) -> String {
    if path.is_empty() { field.to_owned() } else { format!("{path}.{field}") }
}

/// Whether there was something to take out.
fn take_out(value: &mut Value, keys: &[&str]) -> bool {
    let Some((last, way)) = keys.split_last() else { return false };
    let place = way.iter().try_fold(value, |value, key| value.get_mut(*key));
    place.and_then(Value::as_object_mut).and_then(|object| object.remove(*last)).is_some()
}

/// Whether a violation is there only because a misfit was taken out.
fn follows(violation: &Violation, misfits: &[Violation]) -> bool {
    let first = |field: &'_ str| field.split(['.', '[']).next().unwrap_or_default().to_owned();
    let field = first(&violation.field);
    let taken_out = |name: &str| misfits.iter().any(|misfit| first(&misfit.field) == name);
    taken_out(&field) || field == "code" && taken_out("files")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Status and code, and field and message of each violation.
    fn refused(body: &[u8]) -> (u16, String, Vec<(String, String)>) {
        use axum::response::IntoResponse;
        let problem = match parse(body) {
            Ok(parsed) => Problem::invalid(parsed.violations),
            Err(problem) => problem,
        };
        let code = problem.code().as_str().to_owned();
        let violations = problem.violations().iter();
        let violations = violations.map(|error| (error.field.clone(), error.message.clone())).collect();
        (problem.into_response().status().as_u16(), code, violations)
    }

    #[test]
    fn what_is_no_json() {
        for body in [
            &b""[..],
            b"{",
            b"{\"language\":\"py\",\"code\":\"\"} x",
            b"{\"language\":\"py\",}",
            b"{\"language\":\"p\xff\",\"code\":\"\"}",
            br#"{"language":"\ud800","code":""}"#,
            b"language=py",
            b"{\"language\":1,\"code\":}",
        ] {
            let (status, code, _) = refused(body);
            assert_eq!((status, code.as_str()), (400, "invalid_json"), "{}", String::from_utf8_lossy(body));
        }
    }

    #[test]
    fn what_is_not_believed() {
        let python = |rest: &str| format!(r#"{{"language":"py","code":"",{rest}}}"#);
        for (body, code, fields) in [
            ("[]".to_owned(), "invalid_request", vec![""]),
            ("\"x\"".to_owned(), "invalid_request", vec![""]),
            ("{}".to_owned(), "invalid_request", vec!["language", "code"]),
            (r#"{"language":"py"}"#.to_owned(), "invalid_request", vec!["code"]),
            (r#"{"language":3,"code":""}"#.to_owned(), "invalid_request", vec!["language"]),
            (python(r#""files":[]"#), "invalid_request", vec!["code"]),
            (python(r#""limit":{},"limits":{"cpu":1},"x":{"y":1}"#), "unknown_field", vec!["limit", "limits.cpu", "x"]),
            (python(r#""x":1,"args":"a""#), "unknown_field", vec!["x", "args"]),
            (
                r#"{"files":[{"path":1}],"limits":{"processes":"a","cpu":1},"args":[1],"x":1,"stdin":"*",
                    "stdin_encoding":"base64"}"#
                    .to_owned(),
                "unknown_field",
                vec!["limits.cpu", "x", "files[0].path", "args[0]", "limits.processes", "language", "stdin"],
            ),
            (
                r#"{"language":1,"language":"py","code":"","stdin":2}"#.to_owned(),
                "invalid_request",
                vec!["language", "stdin"],
            ),
            (python(r#""args":["a",1]"#), "invalid_request", vec!["args[1]"]),
            (python(r#""env":{"A":1}"#), "invalid_request", vec!["env.A"]),
            (python(r#""limits":{"memory_bytes":"1"}"#), "invalid_request", vec!["limits.memory_bytes"]),
            (python(r#""limits":{"memory_bytes":-1}"#), "invalid_request", vec!["limits.memory_bytes"]),
            (python(r#""limits":{"memory_bytes":1.5}"#), "invalid_request", vec!["limits.memory_bytes"]),
            (python(r#""limits":{"memory_bytes":true}"#), "invalid_request", vec!["limits.memory_bytes"]),
            (python(r#""limits":[1000]"#), "invalid_request", vec!["limits"]),
            (python(r#""output_encoding":"latin1""#), "invalid_request", vec!["output_encoding"]),
            (python(r#""stdin":"a","stdin_encoding":"base64""#), "invalid_request", vec!["stdin"]),
            (python(r#""code":"""#), "invalid_request", vec!["code"]),
            (python(r#""limits":{"processes":1,"processes":1}"#), "invalid_request", vec!["limits.processes"]),
            (
                r#"{"language":"py","files":[{"path":"a","content":"*","encoding":"base64"},{"mode":1},["a","b"]]}"#
                    .to_owned(),
                "unknown_field",
                vec!["files[1].mode", "files[2]"],
            ),
            (
                r#"{"language":"py","files":[{"path":"a","content":"*","encoding":"base64"},{}]}"#.to_owned(),
                "invalid_request",
                vec!["files[0].content", "files[1].path", "files[1].content"],
            ),
        ] {
            let (status, found, violations) = refused(body.as_bytes());
            assert_eq!((status, found.as_str()), (422, code), "{body}");
            let found: Vec<_> = violations.iter().map(|(field, _)| field.as_str()).collect();
            assert_eq!(found, fields, "{body}: {violations:?}");
        }
    }
}
