//! Things that die without a word, one after the other, while programs run on all three runtimes: whoever asked gets his
//! answer, right or a problem, in his limit's time; soon everything works again; and nothing is left in the end. For as many
//! rounds as FAULT_ROUNDS says (`make faults`), in another order and at other moments each time.

use std::{
    fs,
    process::Command,
    sync::{
        Arc, RwLock,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant, SystemTime},
};

use serde_json::json;

use crate::{
    containerd, docker,
    engines::{self, eventually},
    faults::{cgroups, children, kill, spawner},
    support::{Daemon, free_port},
};

const RUNTIMES: [&str; 3] = ["native", "docker", "containerd"];
const CLIENTS_OF_EACH: usize = 2;
const WALL_TIME: Duration = Duration::from_secs(3);
/// What an answer may take beyond its program's limit and its turn: a second, and more where the host is busy.
const GRACE: Duration = Duration::from_secs(5);
/// Until what has died is replaced, and what it left is removed.
const NOTICED: Duration = Duration::from_secs(40);

const VICTIMS: [&str; 10] = [
    "the spawner",
    "a lane",
    "an init",
    "the daemon",
    "an agent of docker's",
    "a shim of docker's",
    "docker",
    "an agent of containerd's",
    "a shim of containerd's",
    "containerd",
];

/// The daemon that clients ask, one after the other.
type Current = Arc<RwLock<Arc<Daemon>>>;

struct World {
    docker: docker::Engine,
    containerd: containerd::Engine,
    daemon: Current,
    /// Of all daemons so far.
    instances: Vec<String>,
}

impl World {
    fn new() -> Option<Self> {
        let (mut docker, mut containerd) = (docker::Engine::new()?, containerd::Engine::new()?);
        docker.start();
        docker.has_image_of("bash");
        containerd.start();
        containerd.has_image_of("bash");
        let daemon = start(&docker, &containerd);
        let instances = vec![format!("{}-", daemon.pid())];
        Some(Self { docker, containerd, daemon: Arc::new(RwLock::new(Arc::new(daemon))), instances })
    }

    fn daemon(&self) -> Arc<Daemon> {
        Arc::clone(&self.daemon.read().unwrap())
    }
}

/// A daemon with all of them, and a state folder that outlives it.
fn start(docker: &docker::Engine, containerd: &containerd::Engine) -> Daemon {
    let (folder, port) = (tempfile::tempdir().unwrap(), free_port());
    let config = folder.path().join("config.toml");
    let text = format!(
        "state_dir = {:?}\n[server]\nlisten = [\"127.0.0.1:{port}\"]\n[executors]\nprepare = false\n\
         [execution]\nmax_concurrent = 6\nqueue_timeout_ms = 60000\n[runtimes.native]\n\
         [runtimes.docker]\nhost = {:?}\n[runtimes.containerd]\naddress = {:?}\n",
        containerd.path("sandboxd"),
        docker.host(),
        containerd.address(),
    );
    fs::write(&config, text).unwrap();
    let daemon = Daemon::start_with(folder, &config, port);
    daemon.await_ready();
    daemon
}

/// Enough of chance for which comes when.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: usize) -> usize {
        // xorshift64 (Marsaglia, 2003).
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % bound as u64).unwrap()
    }

    fn one_of<T: Clone>(&mut self, all: &[T]) -> Option<T> {
        if all.is_empty() { None } else { Some(all[self.below(all.len())].clone()) }
    }
}

/// One client: asks for as long as the loop goes on, and looks at every answer.
fn ask(current: &Current, runtime: &str, over: &AtomicBool, answered: &AtomicUsize) {
    while !over.load(Relaxed) {
        let daemon = Arc::clone(&current.read().unwrap());
        let number = answered.fetch_add(1, Relaxed);
        let request = json!({
            "language": "bash", "code": format!("sleep 0.{}; echo {number}", number % 4), "runtime": runtime,
            "limits": { "wall_time_ms": WALL_TIME.as_millis() as u64 },
        });
        let began = Instant::now();
        let answer = daemon.try_execute(&request);
        let took = began.elapsed();
        let told = || format!("{runtime}: {answer:?} after {took:?}\n{}", log(&daemon));
        assert!(took < WALL_TIME + GRACE, "{}", told());
        // A daemon that dies takes its connections with it.
        let Ok(answer) = &answer else { continue };
        match answer.status {
            200 => {
                let body = answer.json();
                let right = body["status"] == "ok" && body["stdout"] == format!("{number}\n");
                let held_up = body["status"] == "time_limit_exceeded";
                assert!(right || held_up, "{}", told());
            }
            500 | 503 => {
                assert_eq!(answer.header("content-type"), "application/problem+json", "{}", told());
            }
            _ => panic!("{}", told()),
        }
        // Other tests have this host's CPUs too.
        thread::sleep(Duration::from_millis(100));
    }
}

/// What the daemon said but that all went well.
fn log(daemon: &Daemon) -> String {
    let lines = daemon.log();
    lines.lines().filter(|line| !line.contains("\"status\":\"ok\"")).map(|line| format!("{line}\n")).collect()
}

fn parent(pid: i32) -> Option<i32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("PPid:"))?.trim().parse().ok()
}

impl World {
    /// The first processes of docker's containers.
    fn agents_of_docker(&self) -> Vec<i32> {
        let ids = self.docker.docker(&["ps", "--quiet"]);
        let ids: Vec<_> = ids.lines().collect();
        let inspect = |id: &str| {
            let found = Command::new("docker")
                .args(["--host", &self.docker.host(), "inspect", "--format", "{{.State.Pid}}", id])
                .output();
            String::from_utf8(found.unwrap().stdout).unwrap().trim().parse().ok()
        };
        ids.into_iter().filter_map(inspect).filter(|pid| *pid > 0).collect()
    }

    fn agents_of_containerd(&self) -> Vec<i32> {
        let listed = self.containerd.ctr(&["tasks", "ls"]);
        let pid = |line: &str| line.split_whitespace().nth(1)?.parse().ok();
        listed.lines().filter_map(pid).filter(|pid| *pid > 0).collect()
    }

    /// Has this one die; for an engine or the daemon, starts another. The engines' containers live on.
    fn let_die(&mut self, victim: &str, chance: &mut Chance) {
        let daemon = self.daemon();
        let of = |pids: Vec<i32>, chance: &mut Chance| {
            if let Some(pid) = chance.one_of(&pids) {
                kill(pid);
            }
        };
        let lanes = || children(spawner(&daemon));
        match victim {
            "the spawner" => kill(spawner(&daemon)),
            "a lane" => of(lanes(), chance),
            "an init" => of(lanes().into_iter().flat_map(children).collect(), chance),
            "an agent of docker's" => of(self.agents_of_docker(), chance),
            "a shim of docker's" => {
                of(self.agents_of_docker().into_iter().filter_map(parent).collect(), chance);
            }
            "an agent of containerd's" => of(self.agents_of_containerd(), chance),
            "a shim of containerd's" => of(self.containerd.shims(), chance),
            "docker" => {
                self.docker.kill();
                thread::sleep(Duration::from_millis(chance.below(1500) as u64));
                self.docker.start();
            }
            "containerd" => {
                self.containerd.kill();
                thread::sleep(Duration::from_millis(chance.below(1500) as u64));
                self.containerd.start();
            }
            "the daemon" => {
                daemon.signal("-KILL");
                daemon.wait(NOTICED);
                let next = start(&self.docker, &self.containerd);
                self.instances.push(format!("{}-", next.pid()));
                *self.daemon.write().unwrap() = Arc::new(next);
            }
            other => panic!("{other}"),
        }
    }

    fn works_again(&self) {
        let daemon = self.daemon();
        for runtime in RUNTIMES {
            engines::soon_runs(&daemon, runtime, NOTICED);
        }
        eventually("it says that it is ready", || daemon.get("/readyz").status == 200);
    }

    fn nothing_is_left(&self) {
        let daemon = self.daemon();
        daemon.signal("-TERM");
        assert_eq!(daemon.wait(NOTICED).code(), Some(0), "{}", daemon.log());
        assert_eq!(self.docker.containers(), Vec::<String>::new(), "{}", daemon.log());
        assert_eq!(self.containerd.containers(), Vec::<String>::new(), "{}", daemon.log());
        assert_eq!(self.containerd.tasks(), Vec::<String>::new(), "{}", daemon.log());
        assert_eq!(self.containerd.active_snapshots(), Vec::<String>::new(), "{}", daemon.log());
        // A shim ends by itself once its task is gone.
        eventually("no shim is left", || self.containerd.shims().is_empty());
        for instance in &self.instances {
            assert_eq!(cgroups(instance), Vec::<String>::new());
        }
        assert_eq!(self.containerd.pipes(), Vec::<std::ffi::OsString>::new());
    }
}

/// Ends the loop, however its owner ends.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

#[test]
fn whoever_dies_under_load_is_replaced_and_leaves_nothing() {
    let rounds = std::env::var("FAULT_ROUNDS").map_or(VICTIMS.len(), |rounds| rounds.parse().unwrap());
    let seed = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64 | 1;
    println!("{rounds} faults by chance {seed}");
    let Some(mut world) = World::new() else { return };
    let mut chance = Chance(seed);
    let (over, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
    world.works_again();
    let current = Arc::clone(&world.daemon);
    thread::scope(|scope| {
        for runtime in RUNTIMES.iter().flat_map(|runtime| [runtime; CLIENTS_OF_EACH]) {
            let (over, answered, current) = (&over, &answered, &current);
            scope.spawn(move || {
                // Nobody else asks any more when one answer was wrong.
                let _ends = Ends(over);
                ask(current, runtime, over, answered);
            });
        }
        let _ends = Ends(&over);
        let mut order: Vec<&str> = Vec::new();
        for _ in 0..rounds {
            if over.load(Relaxed) {
                return;
            }
            if order.is_empty() {
                order = VICTIMS.to_vec();
            }
            let victim = order.swap_remove(chance.below(order.len()));
            thread::sleep(Duration::from_millis(chance.below(800) as u64));
            world.let_die(victim, &mut chance);
            let began = Instant::now();
            world.works_again();
            println!("after the death of {victim} all worked again in {:.1?}", began.elapsed());
        }
    });
    println!("{} requests", answered.load(Relaxed));
    world.nothing_is_left();
}
