//! Programs of the host that make an image: started by the command line alone, never by the daemon.

use std::{
    collections::VecDeque,
    ffi::OsString,
    io::{self, BufRead, BufReader, Read, Write},
    process::Stdio,
};

use sandboxd_container::images::Progress;
use tokio::sync::mpsc;

const SEARCH_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// How the host reaches the mirrors.
const INHERITED: [&str; 3] = ["http_proxy", "https_proxy", "no_proxy"];
/// How much of a failed program's last words is repeated.
const LAST_LINES: usize = 40;
const MAX_LINE_BYTES: u64 = 4096;
const MAX_LINE_CHARS: usize = 300;
/// Lines on their way to whoever listens.
const LINES: usize = 64;
/// What a program may be given to read fits into a pipe, so that writing it never waits.
const MAX_INPUT_BYTES: usize = 32 * 1024;

/// A program, its arguments, its input and the variables that it sees besides a plain environment.
pub(super) struct Program {
    program: &'static str,
    arguments: Vec<OsString>,
    input: String,
    variables: Vec<(String, String)>,
}

impl Program {
    pub(super) fn new(program: &'static str) -> Self {
        Self { program, arguments: Vec::new(), input: String::new(), variables: Vec::new() }
    }

    pub(super) fn with<A: Into<OsString>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    pub(super) fn input(self, input: String) -> Self {
        Self { input, ..self }
    }

    pub(super) fn variables(self, variables: Vec<(String, String)>) -> Self {
        Self { variables, ..self }
    }
}

/// Runs it to its end; whoever gives up waiting kills it.
///
/// # Errors
/// `what` failed, and its last words.
pub(super) async fn run(what: &str, program: Program, progress: Progress<'_>) -> Result<(), String> {
    let failed = |error: io::Error| format!("{what}: {error}");
    let (output, input) = io::pipe().map_err(failed)?;
    let mut child = start(&program, input).map_err(failed)?;
    let (sender, mut receiver) = mpsc::channel(LINES);
    tokio::task::spawn_blocking(move || pass_on(output, &sender));
    let mut last = VecDeque::new();
    while let Some(line) = receiver.recv().await {
        progress(&line);
        if last.len() == LAST_LINES {
            last.pop_front();
        }
        last.push_back(line);
    }
    let status = child.wait().await.map_err(failed)?;
    if status.success() {
        return Ok(());
    }
    let mut reason = format!("{what}: {status}");
    for line in last {
        reason.push_str("\n  ");
        reason.push_str(&line);
    }
    Err(reason)
}

fn start(program: &Program, output: io::PipeWriter) -> io::Result<tokio::process::Child> {
    let (input, mut inside) = io::pipe()?;
    inside.write_all(program.input.as_bytes().get(..MAX_INPUT_BYTES).unwrap_or(program.input.as_bytes()))?;
    drop(inside);
    tokio::process::Command::new(program.program)
        .args(&program.arguments)
        .env_clear()
        .env("PATH", SEARCH_PATH)
        .env("LC_ALL", "C.UTF-8")
        .env("HOME", "/root")
        .env("DEBIAN_FRONTEND", "noninteractive")
        .envs(INHERITED.iter().filter_map(|name| Some((name, std::env::var_os(name)?))))
        .envs(program.variables.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::from(input))
        .stdout(Stdio::from(output.try_clone()?))
        .stderr(Stdio::from(output))
        .kill_on_drop(true)
        .spawn()
}

/// Until whoever writes has ended, or nobody listens any more.
fn pass_on(output: io::PipeReader, lines: &mpsc::Sender<String>) {
    let mut output = BufReader::new(output);
    loop {
        let mut line = Vec::new();
        match output.by_ref().take(MAX_LINE_BYTES).read_until(b'\n', &mut line) {
            Ok(1..) => {}
            Ok(0) | Err(_) => return,
        }
        let text: String = String::from_utf8_lossy(&line).chars().filter(|it| !it.is_control()).collect();
        let text: String = text.trim_end().chars().take(MAX_LINE_CHARS).collect();
        if !text.is_empty() && lines.blocking_send(text).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[tokio::test]
    async fn what_a_program_says_is_heard_and_its_failure_told() {
        let heard = Mutex::new(Vec::new());
        let hear = |line: &str| heard.lock().unwrap().push(line.to_owned());
        let script = "read a; echo \"$a $B\"; echo no >&2; exit 3";
        let program = Program::new("sh")
            .with(["-c", script])
            .input("one\n".to_owned())
            .variables(vec![("B".to_owned(), "two".to_owned())]);
        let error = run("try", program, &hear).await.unwrap_err();
        assert_eq!(error, "try: exit status: 3\n  one two\n  no");
        assert_eq!(heard.into_inner().unwrap(), ["one two", "no"]);
        let error = run("try", Program::new("no-such-program"), &|_| {}).await.unwrap_err();
        assert!(error.starts_with("try: "), "{error}");
    }

    #[tokio::test]
    async fn last_words_are_bounded() {
        let script = "i=0; while [ $i -lt 500 ]; do printf '%05000d\\n' $i; i=$((i+1)); done; exit 1";
        let error = run("try", Program::new("sh").with(["-c", script]), &|_| {}).await.unwrap_err();
        assert!(error.len() < 20_000, "{}", error.len());
    }
}
