//! The whole door on the fake runtime: every status of the contract, and what happens on connections.

mod connections;
mod floods;
mod router;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use sandboxd_contract::Command;
use sandboxd_contract::testing::fake::FakeRuntime;
use sandboxd_contract::testing::script::{Output, Script, Step};

use super::*;
use crate::config::{self, Surroundings};
use crate::engine::EngineConfig;
use crate::executors::Catalog;
use crate::telemetry::Metrics;

/// A daemon without its process.
struct House {
    runtime: FakeRuntime,
    engine: Arc<Engine>,
    server: Server,
    router: Router,
}

/// The built-in settings, except what would make tests slow.
fn server() -> Server {
    let surroundings = Surroundings { cpus: 2, is_root: true, ..Surroundings::default() };
    let file = tempfile::NamedTempFile::new().unwrap();
    Server { max_body_bytes: 64 << 10, ..config::load(Some(file.path()), &surroundings).unwrap().server }
}

fn house() -> House {
    house_with(2, 4, server())
}

fn house_with(max_concurrent: usize, queue_length: usize, server: Server) -> House {
    let runtime = FakeRuntime::new("fake", play);
    let config = EngineConfig { max_concurrent, queue_length, ..EngineConfig::bare("fake", "native") };
    let catalog = Catalog::load(&[]).unwrap();
    let metrics = Arc::new(Metrics::new().unwrap());
    let engine = Engine::new(config, catalog, vec![Arc::new(runtime.clone())], metrics);
    let router = router(Arc::clone(&engine), Arc::default(), &server).unwrap();
    House { runtime, engine, server, router }
}

/// Python and C are installed; a program does what its first argument says.
fn play(command: &Command) -> Script {
    let argv: Vec<_> = command.argv.iter().map(String::as_str).collect();
    match argv.as_slice() {
        ["python3", "--version"] => Script::prints("Python 3.11.2\n"),
        ["gcc", "--version"] => Script::prints("gcc (Debian 12.2.0-14) 12.2.0\n"),
        ["gcc", flags @ ..] if flags.contains(&"-Dwrong") => Script::new([
            Step::Print(Output::Stderr, Bytes::from_static(b"main.c:1: wrong\n")),
            Step::Exit(1),
        ]),
        ["gcc", ..] => Script::new([Step::WriteFile("a.out", Bytes::from_static(b"\x7fELF"))]),
        [.., "fail"] => Script::exits(3),
        [.., "die"] => Script::new([Step::Die(11)]),
        [.., "hang"] => Script::new([Step::Hang]),
        [.., "wait"] => Script::new([Step::Sleep(Duration::from_millis(300))]),
        [.., "flood"] => Script::new([Step::Flood(Output::Stdout, 4096)]),
        [.., "bytes"] => Script::new([Step::Print(Output::Stdout, Bytes::from_static(b"\xff\0"))]),
        [.., "oom"] => Script::new([Step::MoveOomCounter, Step::Exit(1)]),
        [.., "echo"] => Script::new([Step::Echo]),
        [.., "write"] => Script::new([Step::WriteFile("out.txt", Bytes::from_static(b"written"))]),
        _ => Script::prints("hello\n"),
    }
}
