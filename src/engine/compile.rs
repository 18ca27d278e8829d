//! The compile phase: from the cache, or in a sandbox; and what goes on to the run phase. What makes two compiles the
//! same is in `cache`, how a phase runs in `execute`.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use sandboxd_contract::{Collected, Exit, File};
use tokio::time::Instant;

use super::artifacts::{artifact_request, hand_on};
use super::cache::{CompileCache, Ingredients, Key, Made, Turn};
use super::execute::{Ended, Execution, Failure, Job};
use super::plan::PhasePlan;
use super::{LimitName, PhaseReport, Usage, Verdict};

/// Hashing less than this takes less than handing it to another thread is worth.
const HASHED_HERE_BYTES: usize = 256 << 10;

/// The files for the run phase, if there is to be one.
type Compiled = (PhaseReport, Option<Vec<File>>);

impl Execution {
    pub(super) async fn compile(&mut self, phase: &PhasePlan, files: Vec<File>) -> Result<Compiled, Failure> {
        let Some(cache) = self.engine.cache.clone() else {
            return Ok(self.run_compiler(phase, files).await?.0);
        };
        let began = Instant::now();
        let output_bytes = phase.limits.get(LimitName::OutputBytes);
        let turn = async {
            let key = key(self.recipe(&cache, phase, &files), &files).await?;
            Some(cache.turn(key, phase.limits.wall_time(), output_bytes).await)
        };
        let lead = match self.unless_canceled(turn).await? {
            Some(Turn::Made(made)) => {
                self.timing.compile = began.elapsed();
                return Ok(self.hand_on(report_of(&made, began.elapsed()), files, collected(&made)));
            }
            Some(Turn::Compile(lead)) => lead,
            None => None,
        };
        let (compiled, made) = self.run_compiler(phase, files).await?;
        match (lead, made) {
            (Some(lead), Some(made)) => cache.keep(lead, made),
            // Whoever waits may have more patience.
            (Some(lead), None) if compiled.0.verdict == Verdict::Canceled => drop(lead),
            (Some(lead), None) => CompileCache::in_vain(lead),
            (None, _) => {}
        }
        Ok(compiled)
    }

    /// Also what may be kept of it.
    async fn run_compiler(
        &mut self,
        phase: &PhasePlan,
        files: Vec<File>,
    ) -> Result<(Compiled, Option<Made>), Failure> {
        let job = Job {
            subject: "the compiler",
            phase,
            files: files.clone(),
            stdin: Bytes::new(),
            consumer: None,
            request: artifact_request(self.plan.executor.artifacts(), &files, &self.plan.run.limits),
            only_if_ok: true,
        };
        let Ended { report, collected, took, .. } = self.phase(job).await?;
        self.timing.compile = took;
        if report.verdict != Verdict::Ok {
            return Ok(((report, None), None));
        }
        let made = worth_keeping(&report, &collected);
        let compiled = self.hand_on(report, files, collected);
        let made = made.filter(|_| compiled.1.is_some());
        Ok((compiled, made))
    }

    fn hand_on(&self, mut report: PhaseReport, files: Vec<File>, collected: Collected) -> Compiled {
        match hand_on(files, collected, &self.plan.run.limits) {
            Ok(files) => (report, Some(files)),
            Err(error) => {
                // It ended well, and yet there is no program that could run.
                report.verdict = Verdict::RuntimeError;
                report.error = Some(error);
                (report, None)
            }
        }
    }

    /// Everything that a key is made of, in hands of its own.
    fn recipe(
        &self,
        cache: &CompileCache,
        phase: &PhasePlan,
        files: &[File],
    ) -> impl FnOnce() -> Key + Send + use<> {
        let (executor, runtime) = (Arc::clone(&self.plan.executor), Arc::clone(&self.plan.runtime));
        let (version, origin) = (self.plan.version.clone(), cache.origin(runtime.name()));
        let (command, files) = (phase.command.clone(), files.to_vec());
        move || {
            Key::of(&Ingredients {
                executor: &executor.id,
                version: &version,
                runtime: runtime.name(),
                origin: &origin,
                command: &command,
                artifacts: executor.artifacts(),
                files: &files,
            })
        }
    }
}

/// `None` when it could not be made: the thread has panicked.
async fn key(recipe: impl FnOnce() -> Key + Send + 'static, files: &[File]) -> Option<Key> {
    if files.iter().map(|file| file.content.len()).sum::<usize>() <= HASHED_HERE_BYTES {
        return Some(recipe());
    }
    tokio::task::spawn_blocking(recipe).await.ok()
}

/// One that met a limit may have made something else than it would have made without; and one that made nothing is
/// worth nothing.
fn worth_keeping(report: &PhaseReport, collected: &Collected) -> Option<Made> {
    let met_no_limit = !report.output_truncated && report.usage.process_limit_hits.unwrap_or(0) == 0;
    let whole = collected.omitted.is_empty() && !collected.files.is_empty();
    let made = || Made {
        stdout: report.stdout.clone(),
        stderr: report.stderr.clone(),
        files: collected.files.clone(),
    };
    (report.verdict == Verdict::Ok && met_no_limit && whole).then(made)
}

fn collected(made: &Made) -> Collected {
    Collected { files: made.files.clone(), omitted: Vec::new() }
}

/// The compiler's words are those of then; the usage is this request's own: no process ran.
fn report_of(made: &Made, took: Duration) -> PhaseReport {
    PhaseReport {
        verdict: Verdict::Ok,
        limit: None,
        error: None,
        exit: Exit::Code(0),
        stdout: made.stdout.clone(),
        stderr: made.stderr.clone(),
        output_truncated: false,
        cached: true,
        usage: Usage {
            wall_time: took,
            cpu_time: Some(Duration::ZERO),
            memory_peak_bytes: Some(0),
            processes_peak: Some(0),
            process_limit_hits: Some(0),
        },
    }
}
