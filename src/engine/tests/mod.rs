//! The engine on the scripted runtime, in virtual time. One file for each side of it; here is the bench they share:
//! two toy languages, one interpreted and one compiled, whose programs play what a test says.

mod cache;
mod cancel;
mod compile;
mod failures;
mod installed;
mod limits;
mod load;
mod output;
mod planning;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use sandboxd_contract::testing::fake::{Call, FakeRuntime};
use sandboxd_contract::testing::script::{NotStarted, Script};
use sandboxd_contract::{Command, RuntimeError};
use tempfile::TempDir;
use tokio::time::sleep;

use super::*;

const TOY: &str = r#"
name = "Toy"
extensions = ["toy"]
packages = ["toy-tools"]
version_command = ["toy", "--version"]
source = { name = "main.toy" }
run = { command = ["toy", "{entry}"], prestart = { unless = ["toy.json"] } }
example = { file = "hello" }
self_test = { file = "hello", stdout = "hi" }
"#;

const BUILT: &str = r#"
name = "Built"
aliases = ["bilt"]
extensions = ["built"]
packages = ["builder", "linker"]
version_command = ["builder", "--version"]
source = { name = "main.built" }
compile = { command = ["builder", "{compile_args}", "{sources}"], args = ["-O"], artifacts = ["a.out", "lib/*"], prestart = {} }
run = { command = ["./a.out"] }
example = { file = "hello" }
self_test = { file = "hello", stdout = "hi" }
"#;

struct Bench {
    engine: Arc<Engine>,
    runtime: FakeRuntime,
    metrics: Arc<Metrics>,
}

impl Bench {
    /// `player` plays every command but the version commands.
    fn new(player: impl Fn(&Command) -> Script + Send + Sync + 'static) -> Self {
        Self::with(|_| {}, player)
    }

    fn with(
        change: impl FnOnce(&mut EngineConfig),
        player: impl Fn(&Command) -> Script + Send + Sync + 'static,
    ) -> Self {
        let mut config =
            EngineConfig { max_concurrent: 4, queue_length: 64, ..EngineConfig::bare("fake", "fake") };
        change(&mut config);
        let runtime =
            FakeRuntime::new("fake", move |command| version_of(command).unwrap_or_else(|| player(command)));
        let metrics = Arc::new(Metrics::new().unwrap());
        let runtimes: Vec<Arc<dyn Runtime>> = vec![Arc::new(runtime.clone())];
        let engine = Engine::new(config, catalog(), runtimes, Arc::clone(&metrics));
        Self { engine, runtime, metrics }
    }

    /// The commands of submissions, in order.
    fn commands(&self) -> Vec<String> {
        let started = self.runtime.started().into_iter().map(|(command, _)| command);
        let ours = |command: &Command| version_of(command).is_none();
        started.filter(ours).map(|command| command.argv.join(" ")).collect()
    }

    async fn plan(&self, submission: Submission) -> Plan {
        self.engine.plan(submission).await.unwrap()
    }

    async fn execute(&self, submission: Submission) -> Result<Report, ExecuteError> {
        let plan = self.plan(submission).await;
        self.engine.execute(plan, None).await
    }

    async fn report(&self, submission: Submission) -> Report {
        self.execute(submission).await.unwrap()
    }

    /// Waits until all that was launched has been dealt with.
    async fn settle(&self) {
        for _ in 0..1000 {
            if self.runtime.alive() == 0 {
                break;
            }
            sleep(Duration::from_millis(100)).await;
        }
        assert_eq!(self.runtime.alive(), 0, "sandboxes are still alive");
        assert_eq!(self.runtime.dropped(), 0, "sandboxes were dropped without having been destroyed");
        assert_eq!(self.runtime.successes(Call::Launch), self.runtime.successes(Call::Destroy));
    }

    fn metric(&self, line_start: &str) -> Option<String> {
        let text = self.metrics.render().unwrap();
        let value = text.lines().find_map(|line| line.strip_prefix(line_start)).map(str::trim);
        value.map(str::to_owned)
    }
}

fn version_of(command: &Command) -> Option<Script> {
    match command.argv.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["toy", "--version"] => Some(Script::prints("toy 1.2.3")),
        ["builder", "--version"] => Some(Script::prints("builder 4.5")),
        ["toy" | "builder" | "./a.out", ..] => None,
        _ => Some(Script::not_started(NotStarted::AtStart, "no such file")),
    }
}

fn catalog() -> Catalog {
    let dir = tempfile::tempdir().unwrap();
    manifest(&dir, "toy", TOY);
    manifest(&dir, "built", BUILT);
    Catalog::load(&[dir.path().to_owned()]).unwrap()
}

fn manifest(dir: &TempDir, id: &str, text: &str) {
    let folder = Path::new(dir.path()).join(id);
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("executor.toml"), text).unwrap();
    fs::write(folder.join("hello"), "hi").unwrap();
}

fn toy() -> Submission {
    submission("toy")
}

fn built() -> Submission {
    submission("built")
}

fn submission(language: &str) -> Submission {
    let source = Source::Code(Bytes::from_static(b"the source"));
    Submission { language: language.to_owned(), source, ..Submission::default() }
}

fn limited(mut submission: Submission, name: LimitName, value: u64) -> Submission {
    submission.limits.set(name, Some(value));
    submission
}

fn broken() -> RuntimeError {
    RuntimeError::sandbox("test", "broken on purpose")
}

fn run_of(report: &Report) -> &PhaseReport {
    report.run.as_ref().unwrap()
}
