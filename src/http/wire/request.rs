//! The request of `POST /api/execute`: its shape, and the submission that comes of it. How a body is read into the
//! shape is `reading`; what the engine can judge better (languages, limits, paths) is left to it.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use serde::Deserialize;
use serde::de::{self, Deserializer, Visitor};
use utoipa::ToSchema;

use super::Encoding;
use crate::engine::{
    Ceilings, ClientKey, LimitName, LimitRequest, Source, Submission, SubmittedFile, Violation, ViolationKind,
};
use crate::strict::Object;

/// One program to be run. Exactly one of `code` and `files` is needed.
#[derive(Debug, Deserialize, ToSchema)]
pub(in crate::http) struct ExecuteRequest {
    /// An id or alias of `GET /api/languages`, any case.
    #[schema(required, nullable = false, example = "python")]
    language: Option<String>,
    /// A version or its beginning, such as `3.11`; the highest installed one where it is left out.
    version: Option<String>,
    /// The source: short for one file with the language's own source name.
    #[schema(example = "print(1)")]
    code: Option<String>,
    #[schema(value_type = Option<Vec<FileInput>>)]
    files: Option<Vec<Object<FileInput>>>,
    /// Which file is compiled or run; the language's own source name, or the only file, where it is left out.
    entry: Option<String>,
    stdin: Option<String>,
    stdin_encoding: Option<Encoding>,
    /// The program's arguments.
    args: Option<Vec<String>>,
    /// Added to the language's environment.
    env: Option<BTreeMap<String, String>>,
    /// Replaces the compiler flags that the language marks as replaceable.
    compile_args: Option<Vec<String>>,
    #[schema(value_type = Option<LimitsInput>)]
    limits: Option<Object<LimitsInput>>,
    #[schema(value_type = Option<LimitsInput>)]
    compile_limits: Option<Object<LimitsInput>>,
    /// A name of `GET /api/runtimes`.
    runtime: Option<String>,
    /// For stdout, stderr and collected files alike.
    pub(super) output_encoding: Option<Encoding>,
    /// Globs over the working directory: which files to hand back. Regular files only, links are never followed.
    collect: Option<Vec<String>>,
}

/// A file to be put below the working directory.
#[derive(Debug, Deserialize, ToSchema)]
pub(in crate::http) struct FileInput {
    /// Relative, without `..`.
    #[schema(required, nullable = false)]
    path: Option<String>,
    #[schema(required, nullable = false)]
    content: Option<String>,
    encoding: Option<Encoding>,
    executable: Option<bool>,
}

/// Limits of one phase. What is left out has the configured default; what is above the configured maximum is refused.
#[derive(Debug, Deserialize, ToSchema)]
pub(in crate::http) struct LimitsInput {
    #[schema(value_type = Option<u64>, minimum = 1)]
    wall_time_ms: Option<Integer>,
    #[schema(value_type = Option<u64>, minimum = 1)]
    cpu_time_ms: Option<Integer>,
    #[schema(value_type = Option<u64>, minimum = 1)]
    memory_bytes: Option<Integer>,
    /// Tasks, threads included.
    #[schema(value_type = Option<u64>, minimum = 1)]
    processes: Option<Integer>,
    /// Stdout and stderr, each.
    #[schema(value_type = Option<u64>, minimum = 1)]
    output_bytes: Option<Integer>,
    /// One file.
    #[schema(value_type = Option<u64>, minimum = 1)]
    file_size_bytes: Option<Integer>,
    /// All that is written.
    #[schema(value_type = Option<u64>, minimum = 1)]
    disk_bytes: Option<Integer>,
    #[schema(value_type = Option<u64>, minimum = 1)]
    open_files: Option<Integer>,
    #[schema(value_type = Option<u64>, minimum = 1)]
    stack_bytes: Option<Integer>,
}

impl ExecuteRequest {
    pub(super) fn into_submission(self, violations: &mut Vec<Violation>) -> Submission {
        let mut invalid = |field: String, message: &str| {
            let message = message.to_owned();
            violations.push(Violation { kind: ViolationKind::InvalidRequest, field, message });
        };
        if self.language.is_none() {
            invalid("language".to_owned(), "is required");
        }
        let source = match (self.code, self.files) {
            (Some(code), None) => Source::Code(code.into()),
            (None, Some(files)) => Source::Files(submitted(files, &mut invalid)),
            (Some(_), Some(_)) => {
                invalid("code".to_owned(), "stands there together with files: exactly one of them is needed");
                Source::default()
            }
            (None, None) => {
                invalid("code".to_owned(), "is missing, and so is files: exactly one of them is needed");
                Source::default()
            }
        };
        let stdin = decoded(self.stdin.unwrap_or_default(), self.stdin_encoding).unwrap_or_else(|message| {
            invalid("stdin".to_owned(), &message);
            Bytes::new()
        });
        Submission {
            language: self.language.unwrap_or_default(),
            version: self.version,
            source,
            entry: self.entry,
            stdin,
            args: self.args.unwrap_or_default(),
            env: self.env.unwrap_or_default().into_iter().collect(),
            compile_args: self.compile_args,
            limits: self.limits.map(|Object(limits)| limits.into()).unwrap_or_default(),
            compile_limits: self.compile_limits.map(|Object(limits)| limits.into()).unwrap_or_default(),
            runtime: self.runtime,
            collect: self.collect.unwrap_or_default(),
            // Who asks is known to the door.
            client: ClientKey::default(),
            ceilings: Ceilings::default(),
        }
    }
}

fn submitted(files: Vec<Object<FileInput>>, invalid: &mut impl FnMut(String, &str)) -> Vec<SubmittedFile> {
    let mut submitted = Vec::with_capacity(files.len());
    for (index, Object(file)) in files.into_iter().enumerate() {
        if file.path.is_none() {
            invalid(format!("files[{index}].path"), "is required");
        }
        if file.content.is_none() {
            invalid(format!("files[{index}].content"), "is required");
        }
        let content = decoded(file.content.unwrap_or_default(), file.encoding).unwrap_or_else(|message| {
            invalid(format!("files[{index}].content"), &message);
            Bytes::new()
        });
        submitted.push(SubmittedFile {
            path: file.path.unwrap_or_default(),
            content,
            executable: file.executable.unwrap_or_default(),
        });
    }
    submitted
}

fn decoded(text: String, encoding: Option<Encoding>) -> Result<Bytes, String> {
    match encoding.unwrap_or_default() {
        Encoding::Utf8 => Ok(text.into()),
        Encoding::Base64 => BASE64_STANDARD
            .decode(text)
            .map(Bytes::from)
            .map_err(|error| format!("is no base64: {}", error.to_string().to_lowercase())),
    }
}

impl From<LimitsInput> for LimitRequest {
    fn from(input: LimitsInput) -> Self {
        let mut limits = Self::default();
        for name in LimitName::ALL {
            let value = match name {
                LimitName::WallTimeMs => input.wall_time_ms,
                LimitName::CpuTimeMs => input.cpu_time_ms,
                LimitName::MemoryBytes => input.memory_bytes,
                LimitName::Processes => input.processes,
                LimitName::OutputBytes => input.output_bytes,
                LimitName::FileSizeBytes => input.file_size_bytes,
                LimitName::DiskBytes => input.disk_bytes,
                LimitName::OpenFiles => input.open_files,
                LimitName::StackBytes => input.stack_bytes,
            };
            limits.set(name, value.map(|Integer(value)| value));
        }
        limits
    }
}

/// A whole number, however JSON spells it: some languages write 1e9 for a billion. What is beyond u64 becomes the
/// greatest one, which is above every maximum just the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Integer(u64);

impl<'de> Deserialize<'de> for Integer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct IntegerVisitor;

        impl Visitor<'_> for IntegerVisitor {
            type Value = Integer;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("an integer above zero")
            }

            fn visit_u64<E>(self, value: u64) -> Result<Integer, E> {
                Ok(Integer(value))
            }

            fn visit_f64<E: de::Error>(self, value: f64) -> Result<Integer, E> {
                if value.fract() != 0.0 || value < 0.0 {
                    return Err(E::invalid_value(de::Unexpected::Float(value), &self));
                }
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "whole and not negative"
                )]
                Ok(Integer(value as u64))
            }
        }

        deserializer.deserialize_u64(IntegerVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::super::reading::{Parsed, parse};
    use super::*;

    fn parsed(body: &str) -> Parsed {
        parse(body.as_bytes()).unwrap()
    }

    #[test]
    fn everything_is_understood() {
        let Parsed { submission, output_encoding, .. } = parsed(
            r#"{"language":"C++","version":"12","files":[{"path":"a.cpp","content":"x"},
                {"path":"b","content":"AAH/","encoding":"base64","executable":true}],"entry":"a.cpp",
                "stdin":"/w==","stdin_encoding":"base64","args":["1",""],"env":{"A":"b"},"compile_args":["-O0"],
                "limits":{"wall_time_ms":1000,"memory_bytes":1e9,"stack_bytes":99999999999999999999},
                "compile_limits":{"open_files":7},"runtime":"native","output_encoding":"base64",
                "collect":["*.txt"]}"#,
        );
        assert_eq!(output_encoding, Encoding::Base64);
        let Source::Files(files) = &submission.source else { panic!("no files") };
        assert_eq!(files[0].path, "a.cpp");
        assert!(!files[0].executable && files[1].executable);
        assert_eq!(files[1].content.as_ref(), [0, 1, 255]);
        assert_eq!(submission.stdin.as_ref(), [255]);
        assert_eq!(submission.env, [("A".to_owned(), "b".to_owned())]);
        assert_eq!(submission.args, ["1", ""]);
        assert_eq!(submission.compile_args.as_deref(), Some(["-O0".to_owned()].as_slice()));
        assert_eq!(submission.limits.get(LimitName::WallTimeMs), Some(1000));
        assert_eq!(submission.limits.get(LimitName::MemoryBytes), Some(1_000_000_000));
        assert_eq!(submission.limits.get(LimitName::StackBytes), Some(u64::MAX));
        assert_eq!(submission.limits.get(LimitName::Processes), None);
        assert_eq!(submission.compile_limits.get(LimitName::OpenFiles), Some(7));
        assert_eq!(submission.collect, ["*.txt"]);
    }

    #[test]
    fn nearly_everything_may_be_left_out() {
        let Parsed { submission, output_encoding, .. } =
            parsed(" {\"language\":\"py\",\"code\":\"\",\"limits\":null,\"version\":null}\n");
        assert!(matches!(&submission.source, Source::Code(code) if code.is_empty()));
        assert_eq!(submission.language, "py");
        assert_eq!(output_encoding, Encoding::Utf8);
    }
}
