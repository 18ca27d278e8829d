//! An engine that is made up: its containers are tasks that speak an agent's frames, and do what the program is called.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use sandboxd_agent::{Decoder, FromAgent, Output, ToAgent, VERSION, header};
use sandboxd_contract::{KernelLimits, Result, RuntimeError};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, ReadHalf, WriteHalf},
    task::AbortHandle,
};

use crate::backend::{Backend, Container, ContainerSpec, Examined, Handle, Leftover, Witness};

#[derive(Default)]
pub(super) struct FakeEngine {
    pub containers: Arc<Mutex<BTreeMap<String, Held>>>,
    pub made: AtomicUsize,
    pub down: Arc<AtomicBool>,
    /// A container that can't be removed.
    pub stuck: Arc<Mutex<Option<String>>>,
    leaving: Arc<Mutex<BTreeSet<String>>>,
    /// How long a container takes to be made.
    pub slow: Mutex<Duration>,
    pub updates: Arc<AtomicUsize>,
    /// What an agent says first.
    pub version: Mutex<Option<u32>>,
}

/// How long a container takes to be removed.
pub(super) const REMOVAL: Duration = Duration::from_millis(100);

/// The owner of what the engine itself has lost.
pub(super) const NOBODY: &str = "nobody";

pub(super) struct Held {
    pub owner: String,
    executor: String,
    agent: Option<AbortHandle>,
    pub witness: Witness,
}

impl FakeEngine {
    pub(super) fn names(&self) -> Vec<String> {
        self.containers.lock().unwrap().keys().cloned().collect()
    }

    /// How many there are of this executor.
    pub(super) fn count_of(&self, executor: &str) -> usize {
        self.containers.lock().unwrap().values().filter(|held| held.executor == executor).count()
    }

    pub(super) fn made(&self) -> usize {
        self.made.load(SeqCst)
    }

    /// Something of this owner's that has no agent any more; of [`NOBODY`]'s when the engine has lost it.
    pub(super) fn leave(&self, name: &str, owner: &str) {
        let held = Held {
            owner: owner.to_owned(),
            executor: String::new(),
            agent: None,
            witness: Witness::default(),
        };
        self.containers.lock().unwrap().insert(name.to_owned(), held);
    }

    /// The container's end, as the engine sees it.
    pub(super) fn die(&self, name: &str, out_of_memory: bool) {
        let mut containers = self.containers.lock().unwrap();
        let held = containers.get_mut(name).unwrap();
        held.witness = Witness { running: Some(false), out_of_memory: Some(out_of_memory) };
        held.agent.take().unwrap().abort();
    }

    fn handle(&self, name: &str) -> Arc<dyn Handle> {
        Arc::new(FakeHandle {
            name: name.to_owned(),
            containers: Arc::clone(&self.containers),
            down: Arc::clone(&self.down),
            stuck: Arc::clone(&self.stuck),
            leaving: Arc::clone(&self.leaving),
            updates: Arc::clone(&self.updates),
        })
    }
}

fn unless_down(down: &AtomicBool) -> Result<()> {
    if down.load(SeqCst) { Err(RuntimeError::unavailable("the engine is down")) } else { Ok(()) }
}

#[async_trait]
impl Backend for FakeEngine {
    async fn examine(&self) -> std::result::Result<Examined, String> {
        unless_down(&self.down).map_err(|error| error.to_string())?;
        Ok(Examined { details: Vec::new(), gvisor: false, missing: Vec::new(), local: false })
    }

    async fn create(&self, spec: &ContainerSpec) -> Result<Container> {
        unless_down(&self.down)?;
        let slow = *self.slow.lock().unwrap();
        tokio::time::sleep(slow).await;
        self.made.fetch_add(1, SeqCst);
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        let version = self.version.lock().unwrap().unwrap_or(VERSION);
        let agent = tokio::spawn(agent(theirs, version)).abort_handle();
        let witness = Witness { running: Some(true), out_of_memory: Some(false) };
        let held =
            Held { owner: spec.owner.clone(), executor: spec.executor.clone(), agent: Some(agent), witness };
        self.containers.lock().unwrap().insert(spec.name.clone(), held);
        let (stdout, stdin) = tokio::io::split(ours);
        let handle = self.handle(&spec.name);
        Ok(Container { handle, pid: None, stdin: Box::new(stdin), stdout: Box::new(stdout) })
    }

    async fn list(&self) -> Result<Vec<Leftover>> {
        unless_down(&self.down)?;
        let containers = self.containers.lock().unwrap();
        let leftover = |(name, held): (&String, &Held)| Leftover {
            owner: Some(held.owner.clone()).filter(|owner| owner != NOBODY),
            sandbox: name.clone(),
            handle: self.handle(name),
        };
        Ok(containers.iter().map(leftover).collect())
    }
}

struct FakeHandle {
    name: String,
    containers: Arc<Mutex<BTreeMap<String, Held>>>,
    down: Arc<AtomicBool>,
    stuck: Arc<Mutex<Option<String>>>,
    leaving: Arc<Mutex<BTreeSet<String>>>,
    updates: Arc<AtomicUsize>,
}

#[async_trait]
impl Handle for FakeHandle {
    async fn update(&self, _limits: &KernelLimits) -> Result<()> {
        self.updates.fetch_add(1, SeqCst);
        Ok(())
    }

    async fn witness(&self) -> Result<Witness> {
        unless_down(&self.down)?;
        let containers = self.containers.lock().unwrap();
        let gone = Witness { running: Some(false), ..Witness::default() };
        Ok(containers.get(&self.name).map_or(gone, |held| held.witness))
    }

    async fn remove(&self) -> Result<()> {
        unless_down(&self.down)?;
        if self.stuck.lock().unwrap().as_ref() == Some(&self.name) {
            return Err(RuntimeError::sandbox("remove", "device or resource busy"));
        }
        if !self.leaving.lock().unwrap().insert(self.name.clone()) {
            return Err(RuntimeError::sandbox("remove", "somebody else is at it"));
        }
        tokio::time::sleep(REMOVAL).await;
        self.leaving.lock().unwrap().remove(&self.name);
        if let Some(held) = self.containers.lock().unwrap().remove(&self.name)
            && let Some(agent) = held.agent
        {
            agent.abort();
        }
        Ok(())
    }
}

type Out = WriteHalf<DuplexStream>;

async fn say(out: &mut Out, frame: FromAgent) {
    let (kind, content) = frame.encode();
    let _gone = out.write_all(&[&header(kind, content.len())[..], &content].concat()).await;
}

/// What the program called `argv[0]` does; the agent goes on listening.
async fn play(out: &mut Out, argv: &[String]) -> bool {
    match argv.first().map(String::as_str) {
        Some("exit") => {
            let code: u32 = argv[1].parse().unwrap();
            say(out, FromAgent::Started).await;
            say(out, FromAgent::Ended { status: code << 8 }).await;
        }
        // Beyond any window: only credit that comes back lets it through.
        Some("flood") => {
            say(out, FromAgent::Started).await;
            say(out, FromAgent::StdinCredit { bytes: 1000 }).await;
        }
        Some("babble") => {
            say(out, FromAgent::Started).await;
            for _ in 0..100 {
                let bytes = Bytes::from(vec![b'x'; 60_000]);
                say(out, FromAgent::Output { output: Output::Stdout, bytes }).await;
            }
        }
        Some("none") => {
            let reason = "No such file or directory".to_owned();
            say(out, FromAgent::NotStarted { program: "none".to_owned(), reason }).await;
        }
        Some("garbage") => {
            say(out, FromAgent::Started).await;
            let _gone = out.write_all(&[1, 0, 0, 0, 200, 7]).await;
        }
        Some("never") => {}
        Some("stuck") => {
            say(out, FromAgent::Started).await;
            return false;
        }
        _ => say(out, FromAgent::Started).await,
    }
    true
}

async fn next(decoder: &mut Decoder, input: &mut ReadHalf<DuplexStream>) -> Option<ToAgent> {
    loop {
        if let Some((kind, content)) = decoder.next_frame().unwrap() {
            return Some(ToAgent::decode(kind, content).unwrap());
        }
        if input.read_buf(decoder.buffer()).await.unwrap() == 0 {
            return None;
        }
    }
}

async fn agent(stream: DuplexStream, version: u32) {
    let (mut input, mut out) = tokio::io::split(stream);
    let mut decoder = Decoder::new(1 << 20);
    say(&mut out, FromAgent::Hello { version }).await;
    let (mut credit, mut put, mut listens, mut flooding) = (0_u64, 0_u64, true, 0_u64);
    while let Some(frame) = next(&mut decoder, &mut input).await {
        match frame {
            ToAgent::Start(start) => {
                if start.argv[0] == "flood" {
                    flooding = start.argv[1].parse().unwrap();
                }
                listens = play(&mut out, &start.argv).await;
                if start.argv[0] == "count" {
                    say(&mut out, FromAgent::Ended { status: (put as u32) << 8 }).await;
                }
            }
            ToAgent::Prestart { start, .. } if start.argv[0] == "impatient" => {
                let reason = "it has ended".to_owned();
                say(&mut out, FromAgent::NotStarted { program: "impatient".to_owned(), reason }).await;
            }
            ToAgent::Prestart { .. } => say(&mut out, FromAgent::Parked).await,
            ToAgent::Resume => {
                say(&mut out, FromAgent::Started).await;
                say(&mut out, FromAgent::Ended { status: 77 << 8 }).await;
            }
            ToAgent::PutData(bytes) => put += bytes.len() as u64,
            ToAgent::Credit { output: Output::Stdout, bytes } => credit += bytes,
            ToAgent::Signal(9) if listens => say(&mut out, FromAgent::Ended { status: 9 }).await,
            ToAgent::Signal(signal) if listens => {
                say(&mut out, FromAgent::Ended { status: (100 + signal) << 8 }).await;
            }
            _ => {}
        }
        while flooding > 0 && credit > 0 {
            let count = flooding.min(credit).min(50_000);
            (flooding, credit) = (flooding - count, credit - count);
            let bytes = Bytes::from(vec![b'x'; count as usize]);
            say(&mut out, FromAgent::Output { output: Output::Stdout, bytes }).await;
            if flooding == 0 {
                say(&mut out, FromAgent::OutputEnd(Output::Stdout)).await;
                say(&mut out, FromAgent::Ended { status: 0 }).await;
            }
        }
    }
}
