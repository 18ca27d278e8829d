//! What programs are, are given and say, in the log: only where the operator wants it (`log.log_programs`), for nobody else
//! may read along. One event before and one after an execution, under its id.

use std::borrow::Cow;

use super::{Plan, Report};

/// Of a file, of stdin, of a stream: what goes beyond is left out.
const MAX_PART_BYTES: usize = 64 << 10;
/// Further files are left out.
const MAX_FILES: usize = 16;

pub(super) fn given(plan: &Plan) {
    for file in plan.files.iter().take(MAX_FILES) {
        tracing::info!(id = %plan.id, path = %file.path, content = %text(&file.content), "program file");
    }
    let args = plan.run.command.argv.join(" ");
    tracing::info!(id = %plan.id, command = %text(args.as_bytes()), stdin = %text(&plan.stdin), "program");
}

pub(super) fn said(report: &Report) {
    let phases = [("compile", &report.compile), ("run", &report.run)];
    for (phase, report_of) in phases {
        let Some(said) = report_of else { continue };
        let (stdout, stderr) = (text(&said.stdout), text(&said.stderr));
        tracing::info!(id = %report.id, phase, %stdout, %stderr, "program output");
    }
}

/// Bytes that are no UTF-8 become U+FFFD.
fn text(bytes: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(bytes.get(..MAX_PART_BYTES).unwrap_or(bytes))
}
