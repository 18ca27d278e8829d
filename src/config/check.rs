//! From what was written to what is believed: every range, every default, every rule between two keys. A violation
//! is noted and a harmless value goes on in its place, so that the checks behind it still run.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::Table;
use tracing_subscriber::filter::{LevelFilter, Targets};

use super::layers::Layers;
use super::shape::{
    AuthShape, CacheShape, ExecutionShape, ExecutorsShape, FileShape, LimitsShape, LogShape, PolicyShape,
    PoolShape, ServerShape,
};
use super::{
    Auth, Cache, Config, ConfigError, Execution, ListenAddress, Log, LogFormat, RuntimeConfig, Server,
    Surroundings, TlsFiles,
    runtimes::{self, Common},
};
use crate::engine::{LimitName, LimitPolicy, Limits};

const DEFAULT_LISTEN: &str = "127.0.0.1:8080";
const DEFAULT_RUNTIME: &str = "native";
const DAY_MS: u64 = 24 * 3600 * 1000;
pub(super) const TIB: u64 = 1 << 40;

pub(super) fn config(layers: Layers, surroundings: &Surroundings) -> Result<Config, ConfigError> {
    let mut check = Check { layers, surroundings };
    let written: FileShape = check.layers.root();
    let max_concurrent = check.max_concurrent(written.execution.max_concurrent);
    let runtimes = check.runtimes(written.runtimes, &written.pool, max_concurrent);
    let state_dir = check.state_dir(written.state_dir);
    let server = check.server(written.server);
    let config = Config {
        file: check.layers.file().map(PathBuf::from),
        cache: check.cache(written.cache, &state_dir),
        state_dir,
        auth: check.auth(written.auth, &server.listen),
        server,
        execution: check.execution(written.execution, max_concurrent, &runtimes),
        run_limits: check.policy("limits", &written.limits, LimitPolicy::RUN),
        compile_limits: check.policy("compile_limits", &written.compile_limits, LimitPolicy::COMPILE),
        without_prestart: written.executors.without_prestart.clone().unwrap_or_default(),
        prepare_toolchains: written.executors.prepare.unwrap_or(true),
        executor_dirs: check.executor_dirs(written.executors),
        log: check.log(written.log),
        runtimes: runtimes.into_iter().flatten().collect(),
    };
    match check.layers.into_violations() {
        violations if violations.is_empty() => Ok(config),
        violations => Err(ConfigError { violations }),
    }
}

/// Notes violations; everything else about it is reading.
pub(super) struct Check<'a> {
    pub(super) layers: Layers,
    surroundings: &'a Surroundings,
}

/// A number with what it is and what it may be.
pub(super) struct Number {
    pub(super) default: u64,
    pub(super) min: u64,
    pub(super) max: u64,
    pub(super) unit: &'static str,
}

impl Check<'_> {
    pub(super) fn number(&mut self, path: &str, written: Option<i64>, number: &Number) -> u64 {
        let Some(written) = written else { return number.default };
        match u64::try_from(written) {
            Ok(value) if (number.min..=number.max).contains(&value) => value,
            _ => {
                let Number { min, max, unit, .. } = number;
                let message = format!("{written} is out of range: {min} to {max} ({unit})");
                self.layers.complain(path, &message);
                number.default
            }
        }
    }

    pub(super) fn count(&mut self, path: &str, written: Option<i64>, number: &Number) -> usize {
        usize::try_from(self.number(path, written, number)).unwrap_or(usize::MAX)
    }

    fn duration(&mut self, path: &str, written: Option<i64>, default_ms: u64, max_ms: u64) -> Duration {
        let number = Number { default: default_ms, min: 1, max: max_ms, unit: "milliseconds" };
        Duration::from_millis(self.number(path, written, &number))
    }

    pub(super) fn absolute(&mut self, path: &str, written: String) -> PathBuf {
        let folder = PathBuf::from(&written);
        if !folder.is_absolute() {
            self.layers.complain(path, &format!("{written:?} is no absolute path"));
        }
        folder
    }

    fn state_dir(&mut self, written: Option<String>) -> PathBuf {
        if let Some(written) = written {
            return self.absolute("state_dir", written);
        }
        if self.surroundings.is_root {
            return PathBuf::from("/var/lib/sandboxd");
        }
        let state_home = self.surroundings.variable("XDG_STATE_HOME").map(PathBuf::from);
        let home = || self.surroundings.variable("HOME").map(|home| PathBuf::from(home).join(".local/state"));
        match state_home.filter(|path| path.is_absolute()).or_else(home) {
            Some(state) => state.join("sandboxd"),
            None => {
                self.layers.complain("state_dir", "must be set, for there is no HOME");
                PathBuf::new()
            }
        }
    }

    fn server(&mut self, written: ServerShape) -> Server {
        let body = Number { default: 8 << 20, min: 1, max: 1 << 30, unit: "bytes" };
        let connections = Number { default: 1024, min: 1, max: 1 << 20, unit: "connections" };
        Server {
            listen: self.listen(written.listen),
            socket_mode: self.socket_mode(written.socket_mode),
            tls: self.tls(written.tls_certificate, written.tls_key),
            cors_origins: self.cors_origins(written.cors_origins.unwrap_or_default()),
            max_body_bytes: self.count("server.max_body_bytes", written.max_body_bytes, &body),
            max_connections: self.count("server.max_connections", written.max_connections, &connections),
            header_read_timeout: self.duration(
                "server.header_read_timeout_ms",
                written.header_read_timeout_ms,
                30_000,
                3_600_000,
            ),
            body_read_timeout: self.duration(
                "server.body_read_timeout_ms",
                written.body_read_timeout_ms,
                30_000,
                3_600_000,
            ),
            shutdown_timeout: self.duration(
                "server.shutdown_timeout_ms",
                written.shutdown_timeout_ms,
                30_000,
                DAY_MS,
            ),
        }
    }

    fn tls(&mut self, certificate: Option<String>, key: Option<String>) -> Option<TlsFiles> {
        let certificate = certificate.map(|path| self.absolute("server.tls_certificate", path));
        let key = key.map(|path| self.absolute("server.tls_key", path));
        match (certificate, key) {
            (Some(certificate), Some(key)) => Some(TlsFiles { certificate, key }),
            (None, None) => None,
            (Some(_), None) => {
                self.layers.complain("server.tls_key", "must be set where tls_certificate is");
                None
            }
            (None, Some(_)) => {
                self.layers.complain("server.tls_certificate", "must be set where tls_key is");
                None
            }
        }
    }

    fn cors_origins(&mut self, written: Vec<String>) -> Vec<String> {
        for origin in written.iter().filter(|origin| !is_origin(origin)) {
            let message =
                format!("{origin:?} is no origin: such as \"https://play.example.org\", or \"*\" for all");
            self.layers.complain("server.cors_origins", &message);
        }
        written
    }

    fn listen(&mut self, written: Option<Vec<String>>) -> Vec<ListenAddress> {
        let path = "server.listen";
        let written = written.unwrap_or_else(|| vec![DEFAULT_LISTEN.to_owned()]);
        if written.is_empty() {
            self.layers.complain(path, "names no address");
        }
        let mut listen = Vec::new();
        for entry in written {
            match listen_address(&entry) {
                Ok(address) if listen.contains(&address) => {
                    self.layers.complain(path, &format!("{entry:?} stands there twice"));
                }
                Ok(address) => listen.push(address),
                Err(message) => self.layers.complain(path, &format!("{entry:?} {message}")),
            }
        }
        listen
    }

    /// Nothing is open beyond this host by accident.
    fn auth(&mut self, written: AuthShape, listen: &[ListenAddress]) -> Auth {
        let tokens = written.tokens.map(|file| self.absolute("auth.tokens", file));
        let beyond = listen.iter().find(|address| match address {
            ListenAddress::Tcp(address) => !address.ip().to_canonical().is_loopback(),
            ListenAddress::Unix(_) => false,
        });
        if let Some(address) = beyond.filter(|_| tokens.is_none() && written.open_to_anyone != Some(true)) {
            let message = format!(
                "{address} can be reached from other hosts: name a file of tokens in auth.tokens, or say \
                 auth.open_to_anyone = true where everybody who reaches it may run programs"
            );
            self.layers.complain("server.listen", &message);
        }
        let unix_users = written.unix_users.unwrap_or_default();
        let unix_users = unix_users.iter().filter_map(|user| self.user(user)).collect();
        Auth { tokens, unix_users }
    }

    /// A name or a number.
    fn user(&mut self, written: &str) -> Option<u32> {
        let known = || nix::unistd::User::from_name(written).ok().flatten().map(|user| user.uid.as_raw());
        let uid = written.parse().ok().or_else(known);
        if uid.is_none() {
            self.layers.complain("auth.unix_users", &format!("{written:?} is no user of this host"));
        }
        uid
    }

    fn socket_mode(&mut self, written: Option<String>) -> u32 {
        let Some(written) = written else { return 0o660 };
        match u32::from_str_radix(&written, 8) {
            Ok(mode) if mode <= 0o777 => mode,
            _ => {
                let message = format!("{written:?} is no mode: octal digits up to \"0777\"");
                self.layers.complain("server.socket_mode", &message);
                0o660
            }
        }
    }

    fn max_concurrent(&mut self, written: Option<i64>) -> usize {
        let number = Number { default: 0, min: 0, max: 1024, unit: "executions; 0: one for each CPU" };
        match self.count("execution.max_concurrent", written, &number) {
            0 => self.surroundings.cpus.clamp(1, 1024),
            count => count,
        }
    }

    fn execution(
        &mut self,
        written: ExecutionShape,
        max_concurrent: usize,
        runtimes: &[Option<RuntimeConfig>],
    ) -> Execution {
        let queue = Number { default: 256, min: 0, max: 1 << 20, unit: "requests" };
        let cpu = Number { default: 0, min: 0, max: 1_024_000, unit: "thousandths of a CPU; 0: no limit" };
        let cpu_millis = self.number("execution.cpu_millis", written.cpu_millis, &cpu);
        let start = Number { default: 10_000, min: 1000, max: 600_000, unit: "milliseconds" };
        let start_ms = self.number("execution.start_timeout_ms", written.start_timeout_ms, &start);
        Execution {
            default_runtime: self.default_runtime(written.runtime, runtimes),
            max_concurrent,
            queue_length: self.count("execution.queue_length", written.queue_length, &queue),
            queue_timeout: self.duration(
                "execution.queue_timeout_ms",
                written.queue_timeout_ms,
                10_000,
                3_600_000,
            ),
            start_timeout: Duration::from_millis(start_ms),
            cpu_millis: u32::try_from(cpu_millis).ok().filter(|millis| *millis > 0),
        }
    }

    /// As written; else `native`, or the only one there is.
    fn default_runtime(&mut self, written: Option<String>, runtimes: &[Option<RuntimeConfig>]) -> String {
        let names: Vec<_> = runtimes.iter().flatten().map(|runtime| runtime.name.as_str()).collect();
        let name = written.unwrap_or_else(|| match names.as_slice() {
            [only] => (*only).to_owned(),
            _ => DEFAULT_RUNTIME.to_owned(),
        });
        // A runtime that could not be believed has its own violation already, and may be the one that is meant.
        if !names.contains(&name.as_str()) && names.len() == runtimes.len() {
            let message = format!("{name:?} is no configured runtime: {}", names.join(", "));
            self.layers.complain("execution.runtime", &message);
        }
        name
    }

    /// A default that nobody wrote follows its maximum down; one that somebody wrote must not be above it.
    fn policy(&mut self, section: &str, written: &PolicyShape, built_in: LimitPolicy) -> LimitPolicy {
        let mut policy = built_in;
        for name in LimitName::ALL {
            let (ceiling, unit) = ceiling(name);
            let range = |default: &Limits| Number { default: default.get(name), min: 1, max: ceiling, unit };
            let max_path = format!("{section}.max.{}", name.as_str());
            let max = self.number(&max_path, written.max.get(name), &range(&built_in.max));
            let default_path = format!("{section}.default.{}", name.as_str());
            let default = self.number(&default_path, written.default.get(name), &range(&built_in.default));
            if written.default.get(name).is_some() && default > max {
                let message = format!("{default} is above {max_path}, which is {max} ({unit})");
                self.layers.complain(&default_path, &message);
            }
            policy.max.set(name, max);
            policy.default.set(name, default.min(max));
        }
        policy
    }

    fn executor_dirs(&mut self, written: ExecutorsShape) -> Vec<PathBuf> {
        let dirs = written.dirs.unwrap_or_default();
        dirs.into_iter().map(|dir| self.absolute("executors.dirs", dir)).collect()
    }

    fn cache(&mut self, written: CacheShape, state_dir: &Path) -> Cache {
        let bytes = Number { default: 1 << 30, min: 0, max: TIB, unit: "bytes; 0: nothing is kept" };
        Cache {
            max_bytes: self.number("cache.max_bytes", written.max_bytes, &bytes),
            folder: match written.folder {
                Some(folder) => self.absolute("cache.folder", folder),
                None => state_dir.join("cache"),
            },
        }
    }

    fn log(&mut self, written: LogShape) -> Log {
        let format = match written.format.as_deref() {
            None | Some("auto") => LogFormat::Auto,
            Some("text") => LogFormat::Text,
            Some("json") => LogFormat::Json,
            Some("journald") => LogFormat::Journald,
            Some(other) => {
                self.layers
                    .complain("log.format", &format!("{other:?} is not one of auto, text, json, journald"));
                LogFormat::Auto
            }
        };
        let level = written.level.as_deref().unwrap_or("info");
        let level = log_level(level).unwrap_or_else(|| {
            let message = format!(
                "{level:?} is no level: off, error, warn, info, debug or trace, and after it such as \
                 \",sandboxd::http=debug\""
            );
            self.layers.complain("log.level", &message);
            Targets::new()
        });
        Log { level, format, programs: written.log_programs.unwrap_or(false) }
    }

    fn runtimes(
        &mut self,
        written: Option<BTreeMap<String, Table>>,
        pool: &PoolShape,
        max_concurrent: usize,
    ) -> Vec<Option<RuntimeConfig>> {
        let common = Common { max_concurrent, ready: runtimes::ready(self, pool) };
        match written {
            None => vec![Some(runtimes::built_in(DEFAULT_RUNTIME, max_concurrent))],
            Some(tables) => runtimes::all(self, tables, &common),
        }
    }
}

/// As browsers write it (RFC 6454, 6.2): scheme, host and port, nothing behind them.
fn is_origin(text: &str) -> bool {
    let host =
        |rest: &str| rest.parse::<http::uri::Authority>().is_ok_and(|host| !host.as_str().contains('@'));
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    text == "*" || rest.is_some_and(host) && text.chars().all(|letter| !letter.is_ascii_uppercase())
}

fn listen_address(entry: &str) -> Result<ListenAddress, &'static str> {
    match entry.strip_prefix("unix:") {
        Some(path) if path.starts_with('/') => Ok(ListenAddress::Unix(PathBuf::from(path))),
        Some(_) => Err("needs an absolute path after unix:"),
        None => entry
            .parse()
            .map(ListenAddress::Tcp)
            .map_err(|_| "is no address: such as \"127.0.0.1:8080\", \"[::]:8080\" or \"unix:/run/sandboxd/sandboxd.sock\""),
    }
}

/// `level` or `target=level`, with commas between them. [`Targets`] alone would take any word for a target.
fn log_level(text: &str) -> Option<Targets> {
    let sound = |part: &str| {
        let level = part.split_once('=').map_or(part, |(_, level)| level);
        level.starts_with(|first: char| first.is_ascii_alphabetic()) && level.parse::<LevelFilter>().is_ok()
    };
    text.split(',').all(|part| sound(part.trim())).then(|| text.parse().ok())?
}

/// What not even a configured maximum may exceed; far above any use, and below where arithmetic gets dangerous.
fn ceiling(name: LimitName) -> (u64, &'static str) {
    match name {
        LimitName::WallTimeMs | LimitName::CpuTimeMs => (DAY_MS, "milliseconds"),
        LimitName::OutputBytes => (1 << 30, "bytes"),
        LimitName::MemoryBytes | LimitName::FileSizeBytes | LimitName::DiskBytes => (TIB, "bytes"),
        LimitName::StackBytes => (1 << 36, "bytes"),
        LimitName::Processes => (1 << 22, "tasks"),
        LimitName::OpenFiles => (1 << 20, "descriptors"),
    }
}

impl LimitsShape {
    fn get(&self, name: LimitName) -> Option<i64> {
        match name {
            LimitName::WallTimeMs => self.wall_time_ms,
            LimitName::CpuTimeMs => self.cpu_time_ms,
            LimitName::MemoryBytes => self.memory_bytes,
            LimitName::Processes => self.processes,
            LimitName::OutputBytes => self.output_bytes,
            LimitName::FileSizeBytes => self.file_size_bytes,
            LimitName::DiskBytes => self.disk_bytes,
            LimitName::OpenFiles => self.open_files,
            LimitName::StackBytes => self.stack_bytes,
        }
    }
}
