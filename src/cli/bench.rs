//! `sandboxd bench`: what a request costs next to starting the same program by hand, in one run.
//!
//! Machines differ and are noisy, so every figure is a ratio to the floor, a bare posix_spawn of the same command,
//! measured in turn with it. Deliberately absent: thresholds; a benchmark reports, it never fails for being slow.

#![allow(clippy::disallowed_types, reason = "the floor is what starting a program by hand costs")]

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use base64::Engine as _;

/// The closed loops run in turn as well, so many times for so long, and so many warm-up requests come first.
const LOOP_ROUNDS: u32 = 8;
const LOOP_TIME: Duration = Duration::from_millis(500);
const WARM_UP: usize = 20;

#[derive(Debug, clap::Args)]
pub(super) struct BenchArgs {
    /// The socket of a running daemon; without it one is started for the bench
    #[arg(long, value_name = "SOCKET")]
    socket: Option<PathBuf>,
    /// Requests of each kind, one at a time
    #[arg(long, default_value_t = 300)]
    runs: usize,
    /// Print one JSON object instead of a table
    #[arg(long)]
    json: bool,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum BenchError {
    #[error("{operation}: {source}")]
    Io { operation: &'static str, source: std::io::Error },
    #[error("{0}")]
    Failed(String),
}

type Result<T> = std::result::Result<T, BenchError>;

/// Names the step that failed.
fn step(operation: &'static str) -> impl Fn(std::io::Error) -> BenchError {
    move |source| BenchError::Io { operation, source }
}

/// The same work by hand and through the daemon.
struct Work {
    name: &'static str,
    command: Vec<String>,
    body: String,
}

/// # Errors
/// When no daemon can be started or reached, or a request does not answer `ok`.
pub(super) fn run(args: &BenchArgs) -> Result<()> {
    let scratch = Scratch::new()?;
    let daemon = match &args.socket {
        Some(socket) => Daemon { socket: socket.clone(), child: None },
        None => Daemon::start(&scratch.path)?,
    };
    let works = [python(), hello(&scratch.path)?];
    let rows: Vec<Row> = works.iter().map(|work| measure(work, &daemon, args.runs)).collect::<Result<_>>()?;
    if args.json {
        let rows: Vec<_> = rows.iter().map(Row::to_json).collect();
        println!("{}", serde_json::json!({ "rows": rows }));
    } else {
        print_table(&rows);
    }
    Ok(())
}

fn python() -> Work {
    let body = serde_json::json!({ "language": "python", "code": "print(1)" });
    Work {
        name: "python3 print(1)",
        command: ["/usr/bin/python3", "-c", "print(1)"].map(str::to_owned).to_vec(),
        body: body.to_string(),
    }
}

/// A static program of a few kilobytes, already compiled.
fn hello(scratch: &Path) -> Result<Work> {
    const SOURCE: &str = r#"
        static long call(long number, long a, const char *b, long c) {
            long result;
            __asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory");
            return result;
        }
        void _start(void) { call(1, 1, "hello\n", 6); call(60, 0, 0, 0); }
    "#;
    let (source, binary) = (scratch.join("hello.c"), scratch.join("hello"));
    fs::write(&source, SOURCE).map_err(step("write hello.c"))?;
    let compiled = Command::new("gcc")
        .args(["-O2", "-static", "-nostdlib", "-fno-stack-protector", "-s", "-o"])
        .args([&binary, &source])
        .status()
        .map_err(step("run gcc"))?;
    if !compiled.success() {
        return Err(BenchError::Failed("gcc could not compile hello.c".to_owned()));
    }
    let content = fs::read(&binary).map_err(step("read hello"))?;
    let content = base64::engine::general_purpose::STANDARD.encode(content);
    let file = serde_json::json!({ "path": "program", "content": content, "encoding": "base64", "executable": true });
    let body = serde_json::json!({ "language": "binary", "files": [file] });
    Ok(Work { name: "static C hello", command: vec![binary.display().to_string()], body: body.to_string() })
}

struct Row {
    name: &'static str,
    /// Sorted, one at a time.
    floor: Vec<Duration>,
    ours: Vec<Duration>,
    /// Runs per second in a closed loop of four.
    floor_rate: f64,
    our_rate: f64,
}

fn measure(work: &Work, daemon: &Daemon, runs: usize) -> Result<Row> {
    let mut client = Client::connect(&daemon.socket)?;
    for _ in 0..WARM_UP {
        client.execute(&work.body)?;
        spawn(&work.command)?;
    }
    let (mut floor, mut ours) = (Vec::with_capacity(runs), Vec::with_capacity(runs));
    for _ in 0..runs {
        let began = Instant::now();
        spawn(&work.command)?;
        floor.push(began.elapsed());
        let began = Instant::now();
        client.execute(&work.body)?;
        ours.push(began.elapsed());
    }
    floor.sort_unstable();
    ours.sort_unstable();
    let (mut floor_rate, mut our_rate) = (0.0, 0.0);
    for _ in 0..LOOP_ROUNDS {
        floor_rate += closed_loop(|| Ok(()), |()| spawn(&work.command))? / f64::from(LOOP_ROUNDS);
        our_rate += closed_loop(|| Client::connect(&daemon.socket), |client| client.execute(&work.body))?
            / f64::from(LOOP_ROUNDS);
    }
    Ok(Row { name: work.name, floor, ours, floor_rate, our_rate })
}

fn spawn(command: &[String]) -> Result<()> {
    let (program, arguments) =
        command.split_first().ok_or_else(|| BenchError::Failed("an empty command".to_owned()))?;
    let status = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .map_err(step("spawn"))?;
    if status.success() { Ok(()) } else { Err(BenchError::Failed(format!("{program}: {status}"))) }
}

/// Four callers, each starting its next run when the last has ended.
fn closed_loop<S>(
    connect: impl Fn() -> Result<S> + Sync,
    once: impl Fn(&mut S) -> Result<()> + Sync,
) -> Result<f64> {
    const CALLERS: usize = 4;
    let over = AtomicBool::new(false);
    let began = Instant::now();
    let caller = || -> Result<usize> {
        let mut state = connect()?;
        let mut done = 0;
        while !over.load(Ordering::Relaxed) {
            once(&mut state)?;
            done += 1;
        }
        Ok(done)
    };
    let counts: Vec<Result<usize>> = thread::scope(|scope| {
        let callers: Vec<_> = (0..CALLERS).map(|_| scope.spawn(caller)).collect();
        thread::sleep(LOOP_TIME);
        over.store(true, Ordering::Relaxed);
        let panicked = || BenchError::Failed("a caller panicked".to_owned());
        callers.into_iter().map(|caller| caller.join().unwrap_or_else(|_| Err(panicked()))).collect()
    });
    let elapsed = began.elapsed().as_secs_f64();
    let done: usize = counts.into_iter().sum::<Result<usize>>()?;
    Ok(done as f64 / elapsed)
}

fn percentile(sorted: &[Duration], percent: usize) -> f64 {
    let at = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
    sorted.get(at).map_or(f64::NAN, |time| time.as_secs_f64() * 1000.0)
}

impl Row {
    fn to_json(&self) -> serde_json::Value {
        let times = |sorted: &[Duration]| {
            serde_json::json!({
                "p50_ms": percentile(sorted, 50), "p95_ms": percentile(sorted, 95), "p99_ms": percentile(sorted, 99),
            })
        };
        serde_json::json!({
            "work": self.name,
            "floor": times(&self.floor),
            "sandboxd": times(&self.ours),
            "floor_runs_per_second_at_4": self.floor_rate,
            "sandboxd_runs_per_second_at_4": self.our_rate,
        })
    }
}

fn print_table(rows: &[Row]) {
    println!("one at a time, ms                p50      p95      p99    p50 to the floor");
    for row in rows {
        for (who, sorted) in [("floor", &row.floor), ("sandboxd", &row.ours)] {
            let [p50, p95, p99] = [50, 95, 99].map(|percent| percentile(sorted, percent));
            let ratio = p50 / percentile(&row.floor, 50);
            println!("{:<17} {who:<9} {p50:>8.2} {p95:>8.2} {p99:>8.2} {ratio:>8.2}", row.name);
        }
    }
    println!("\nclosed loop of 4          floor/s  sandboxd/s    to the floor");
    for row in rows {
        let ratio = row.our_rate / row.floor_rate;
        println!("{:<22} {:>10.0} {:>11.0} {ratio:>11.2}", row.name, row.floor_rate, row.our_rate);
    }
}

/// One keep-alive connection. The daemon's answers carry a length, so reading them takes no library.
struct Client {
    reader: BufReader<UnixStream>,
}

impl Client {
    fn connect(socket: &Path) -> Result<Self> {
        let stream = UnixStream::connect(socket).map_err(step("connect to the daemon"))?;
        Ok(Self { reader: BufReader::new(stream) })
    }

    /// Runs the program of `body`; anything but the verdict `ok` is an error.
    fn execute(&mut self, body: &str) -> Result<()> {
        let request = format!(
            "POST /api/execute HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        self.reader.get_mut().write_all(request.as_bytes()).map_err(step("send a request"))?;
        let mut length = 0;
        let mut line = String::new();
        loop {
            line.clear();
            self.reader.read_line(&mut line).map_err(step("read an answer"))?;
            if let Some((_, value)) =
                line.split_once(':').filter(|(name, _)| name.eq_ignore_ascii_case("content-length"))
            {
                length =
                    value.trim().parse().map_err(|_| BenchError::Failed("a strange answer".to_owned()))?;
            }
            if line.trim().is_empty() {
                break;
            }
        }
        let mut answer = vec![0; length];
        self.reader.read_exact(&mut answer).map_err(step("read an answer"))?;
        let answer = String::from_utf8_lossy(&answer);
        if answer.contains("\"status\":\"ok\"") {
            Ok(())
        } else {
            Err(BenchError::Failed(answer.into_owned()))
        }
    }
}

/// A daemon of the bench's own, or somebody else's.
struct Daemon {
    socket: PathBuf,
    child: Option<Child>,
}

impl Daemon {
    fn start(scratch: &Path) -> Result<Self> {
        let socket = scratch.join("sandboxd.sock");
        let config = scratch.join("config.toml");
        // Warming toolchains up would be measured along, and a line for each run would bury the table.
        let text = format!(
            "state_dir = {:?}\n[executors]\nprepare = false\n[log]\nlevel = \"warn\"\n[server]\nlisten = [\"unix:{}\"]\n",
            scratch.join("state"),
            socket.display()
        );
        fs::write(&config, text).map_err(step("write a configuration"))?;
        let own = std::env::current_exe().map_err(step("find this program"))?;
        let child = Command::new(own)
            .args(["serve", "--config"])
            .arg(&config)
            .stdout(Stdio::null())
            .spawn()
            .map_err(step("start the daemon"))?;
        let mut daemon = Self { socket, child: Some(child) };
        daemon.await_ready()?;
        Ok(daemon)
    }

    fn await_ready(&mut self) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(60);
        while Instant::now() < deadline {
            let ended = self.child.as_mut().and_then(|child| child.try_wait().ok().flatten());
            if let Some(status) = ended {
                return Err(BenchError::Failed(format!("the daemon ended: {status}")));
            }
            if UnixStream::connect(&self.socket).is_ok() {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(50));
        }
        Err(BenchError::Failed("the daemon does not listen after 60 s".to_owned()))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let pid = nix::unistd::Pid::from_raw(child.id().cast_signed());
            // It may have ended already; what counts is that it is reaped.
            let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
            let _ = child.wait();
        }
    }
}

/// A folder that goes with its owner.
struct Scratch {
    path: PathBuf,
}

impl Scratch {
    fn new() -> Result<Self> {
        let path = std::env::temp_dir().join(format!("sandboxd-bench-{}", std::process::id()));
        fs::create_dir(&path).map_err(step("make a scratch folder"))?;
        Ok(Self { path })
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}
