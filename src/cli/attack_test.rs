//! `sandboxd attack-test`: hostile programs, each in a sandbox as anybody's, and a look at the host after each: whether
//! what must hold has held. For operators on their own hosts, and for the tests.
//!
//! ```text
//! attack ─> its verdict and words ─> a good program still runs ─> the host as before: mounts, processes, files, memory
//! ```

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    process::ExitCode,
    time::{Duration, Instant},
};

use serde_json::json;

use crate::{
    attacks::{self, Attack},
    cli::{Exit, Failure, block_on, catalog},
    config::Config,
    engine::{Report, Source, Submission, Verdict},
    house::{House, Stay},
};

#[derive(Debug, clap::Args)]
pub(super) struct AttackArgs {
    /// On this runtime [default: the configured one]
    #[arg(long, value_name = "NAME")]
    runtime: Option<String>,
    /// Only these; may be given several times
    #[arg(long = "attack", value_name = "NAME")]
    attacks: Vec<String>,
    /// One JSON object instead of a table
    #[arg(long)]
    json: bool,
}

/// After an attack, what it left is removed behind the answer.
const SETTLE: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(50);
/// What this process may have more of than before. The host's memory is everybody's, and says nothing.
const MEMORY_SLACK_KIB: u64 = 64 << 10;

/// Mounts of engines come and go with everybody's containers.
const ENGINES: [&str; 5] = ["overlay", "docker", "containerd", "/containers/", "netns"];

struct Outcome {
    attack: Attack,
    /// Some say nothing on some runtimes.
    asked: bool,
    /// `None`: it held.
    broken: Option<String>,
    verdict: String,
    took: Duration,
}

/// Ends with 0 when everything held, with 1 when something did not.
///
/// # Errors
/// When the runtime can't be used, or there is no attack of a name.
pub(super) fn run(config: &Config, args: &AttackArgs) -> Result<ExitCode, Failure> {
    let mut all = attacks::all().map_err(|reason| Failure::new(Exit::System, reason))?;
    let names: Vec<_> = all.iter().map(|attack| attack.name).collect();
    if let Some(stranger) = args.attacks.iter().find(|name| !names.contains(&name.as_str())) {
        let message = format!("there is no attack {stranger:?}; there are {}", names.join(", "));
        return Err(Failure::new(Exit::Usage, message));
    }
    all.retain(|attack| args.attacks.is_empty() || args.attacks.iter().any(|name| name == attack.name));
    let catalog = catalog(config)?;
    let mut config = config.clone();
    if let Some(runtime) = &args.runtime {
        if !config.runtimes.iter().any(|configured| configured.name == *runtime) {
            let message = format!("there is no runtime {runtime:?} in the configuration");
            return Err(Failure::new(Exit::Usage, message));
        }
        config.execution.default_runtime.clone_from(runtime);
    }
    let outcomes = block_on(async {
        let house = House::build(&config, catalog, Stay::Short)
            .await
            .map_err(|error| Failure::new(Exit::System, error))?;
        let refusals = house.refusals(&config).await;
        let outcomes = match refusals.is_empty() {
            true => Ok(attack_all(&house, all, args.json).await),
            false => Err(Failure { exit: Exit::Unavailable, lines: refusals }),
        };
        house.close().await;
        outcomes
    })?;
    let broken = outcomes.iter().filter(|outcome| outcome.broken.is_some()).count();
    if args.json {
        println!("{}", as_json(&outcomes, &config.execution.default_runtime));
    } else {
        let asked = outcomes.iter().filter(|outcome| outcome.asked).count();
        println!("\n{asked} attacks, {} held, {broken} did not", asked - broken);
    }
    Ok(ExitCode::from(u8::from(broken > 0)))
}

async fn attack_all(house: &House, attacks: Vec<Attack>, quiet: bool) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    // Once before anything is compared: what a runtime makes for all of its sandboxes is there then.
    let mut trouble = good_program(house).await.err();
    let gvisor = house.engine.runtimes().iter().any(|runtime| {
        let details = runtime.probe.as_ref().map(|probe| probe.details.clone()).unwrap_or_default();
        runtime.default && details.iter().any(|(name, _)| *name == "gvisor")
    });
    let before = Host::look();
    for attack in attacks {
        let began = Instant::now();
        let asked = !gvisor || attack.not_on_gvisor.is_none();
        let (verdict, mut broken) = match trouble.take() {
            Some(trouble) => ("-".to_owned(), Some(format!("before it: {trouble}"))),
            None if asked => one(house, &attack).await,
            None => ("-".to_owned(), None),
        };
        if broken.is_none() {
            broken = good_program(house).await.err();
        }
        if broken.is_none() {
            broken = before.differs().await;
        }
        let outcome = Outcome { attack, asked, broken, verdict, took: began.elapsed() };
        if !quiet {
            print(&outcome);
        }
        outcomes.push(outcome);
    }
    outcomes
}

/// Its verdict, and what did not hold.
async fn one(house: &House, attack: &Attack) -> (String, Option<String>) {
    let ran = match attack.submission() {
        Ok(submission) => house.execute(submission).await,
        Err(reason) => Err(reason),
    };
    match ran {
        Ok(report) => {
            let leaked =
                report.files.iter().find(|file| file.content.windows(5).any(|part| part == b"root:"));
            let leaked = leaked.map(|file| format!("{} came out of the host", file.path));
            let broken = leaked.or_else(|| attack.broken(report.verdict, stdout(&report)));
            (report.verdict.as_str().to_owned(), broken)
        }
        Err(reason) => ("-".to_owned(), Some(reason)),
    }
}

/// Others are served as before.
async fn good_program(house: &House) -> Result<(), String> {
    let submission = Submission {
        language: "python".to_owned(),
        source: Source::Code("print(6 * 7)".into()),
        ..Submission::default()
    };
    let report = house.execute(submission).await.map_err(|reason| format!("a good program: {reason}"))?;
    match report.verdict {
        Verdict::Ok if stdout(&report) == b"42\n" => Ok(()),
        other => Err(format!("a good program comes to {}", other.as_str())),
    }
}

fn stdout(report: &Report) -> &[u8] {
    report.run.as_ref().map_or(&[], |run| &run.stdout)
}

/// What an attack could leave outside of its sandbox.
struct Host {
    mounts: usize,
    /// Names below the places that everybody may write to.
    files: BTreeSet<String>,
    /// Of this process.
    resident_kib: u64,
}

impl Host {
    fn look() -> Self {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let of_an_engine = |line: &&str| ENGINES.iter().any(|word| line.contains(word));
        let mounts = mounts.lines().filter(|line| !of_an_engine(line)).count();
        let names = |folder: &str| {
            fs::read_dir(Path::new(folder)).into_iter().flatten().flatten().map(|entry| entry.path())
        };
        let files = ["/tmp", "/var/tmp", "/dev/shm", "/dev/mqueue"].into_iter().flat_map(names);
        let marked = files.filter(|path| path.to_string_lossy().contains("attack"));
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let resident = resident.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok());
        Self {
            mounts,
            files: marked.map(|path| path.display().to_string()).collect(),
            resident_kib: resident.unwrap_or_default(),
        }
    }

    /// What is still different when all has had time to settle. Every process of an attack has this word in its name.
    async fn differs(&self) -> Option<String> {
        let deadline = Instant::now() + SETTLE;
        loop {
            let difference = self.difference();
            if difference.is_none() || Instant::now() >= deadline {
                return difference;
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    fn difference(&self) -> Option<String> {
        let now = Self::look();
        if now.mounts > self.mounts {
            return Some(format!("{} mounts more on the host", now.mounts - self.mounts));
        }
        if let Some(file) = now.files.difference(&self.files).next() {
            return Some(format!("{file} is on the host"));
        }
        if now.resident_kib > self.resident_kib + MEMORY_SLACK_KIB {
            return Some(format!("{} KiB stay with us", now.resident_kib - self.resident_kib));
        }
        left_over().map(|process| format!("the process {process} lives on"))
    }
}

/// A process that an attack has named.
fn left_over() -> Option<String> {
    let entries = fs::read_dir("/proc").ok()?.flatten();
    entries
        .filter(|entry| entry.file_name().to_string_lossy().bytes().all(|byte| byte.is_ascii_digit()))
        .filter_map(|entry| Some((entry.file_name(), fs::read_to_string(entry.path().join("comm")).ok()?)))
        .find(|(_, name)| name.trim() == "attack-left")
        .map(|(pid, _)| pid.to_string_lossy().into_owned())
}

fn print(outcome: &Outcome) {
    let Outcome { attack, asked, broken, verdict, took } = outcome;
    let (held, says) = match (broken, &attack.not_on_gvisor) {
        (Some(_), _) => ("BROKEN", &attack.says),
        (None, Some(reason)) if !asked => ("-", reason),
        (None, _) => ("held", &attack.says),
    };
    println!("{held:<7} {:<18} {:<24} {:>6} ms  {says}", attack.name, verdict, took.as_millis());
    if let Some(reason) = broken {
        println!("        {reason}");
    }
}

fn as_json(outcomes: &[Outcome], runtime: &str) -> serde_json::Value {
    let one = |outcome: &Outcome| {
        json!({
            "name": outcome.attack.name, "says": outcome.attack.says, "verdict": outcome.verdict,
            "asked": outcome.asked, "held": outcome.broken.is_none(), "reason": outcome.broken,
        })
    };
    json!({ "runtime": runtime, "attacks": outcomes.iter().map(one).collect::<Vec<_>>() })
}
