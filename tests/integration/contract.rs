//! The daemon held to its own OpenAPI document, by a program that knows nothing else of it: Schemathesis makes requests that
//! fit the document and requests that don't, and looks whether every answer is one that is promised.

use std::process::{Command, Stdio};

use crate::{engines::skip, support::Daemon};

const SCHEMATHESIS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/.cache/schemathesis/bin/schemathesis");
/// Of each operation, besides those that the document itself suggests.
const EXAMPLES: &str = "150";

fn is_there() -> bool {
    let found = Command::new(SCHEMATHESIS).arg("--version").stdout(Stdio::null()).status();
    found.is_ok_and(|status| status.success())
        || skip("schemathesis", "it is not in .cache: make test puts it there")
}

#[test]
fn every_answer_is_one_that_the_document_promises() {
    if !is_there() {
        return;
    }
    let daemon = Daemon::start(
        "[execution]\nqueue_timeout_ms = 60000\n[limits.max]\nwall_time_ms = 2000\ncpu_time_ms = 2000",
    );
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(SCHEMATHESIS)
        .current_dir(&folder)
        .args(["run", &format!("{}/openapi.json", daemon.url), "--max-examples", EXAMPLES])
        // What fits the document may still be refused: code and files together, an entry that is no file.
        .args(["--exclude-checks", "positive_data_acceptance", "--continue-on-failure"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("Tested: 6"), "{said}");
    assert!(!daemon.log().contains("\"level\":\"ERROR\""), "{}", daemon.log());
}
