//! The measuring: everything that is compared takes turns, many times, so that whatever else the machine does meets all
//! of it alike.

use std::{
    io::{IsTerminal, Write},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

use super::{Result, client::Client, daemon::Daemon, failed, floor, works::Work};

/// Turns for each figure, and requests before the first.
const ROUNDS: u32 = 8;
const WARM_UP: usize = 3;
/// The slowest programs get fewer turns.
const LONGEST: Duration = Duration::from_secs(60);

/// How much is measured.
pub(super) struct Pace {
    concurrency: Vec<usize>,
    turn: Duration,
    /// After each run where one runs at a time: callers who don't come one upon the other find ready what is made ahead.
    pause: Duration,
}

impl Pace {
    pub(super) fn new(concurrency: &[u16], each: Duration, pause: Duration) -> Self {
        let cpus = thread::available_parallelism().map_or(1, usize::from);
        let mut concurrency: Vec<_> = concurrency.iter().map(|count| usize::from(*count)).collect();
        if concurrency.is_empty() {
            concurrency = vec![1, cpus, 4 * cpus];
        }
        concurrency.sort_unstable();
        concurrency.dedup();
        Self { concurrency, turn: each / ROUNDS, pause }
    }

    fn pause(&self, concurrency: usize) -> Duration {
        if concurrency == 1 { self.pause } else { Duration::ZERO }
    }
}

/// What is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Who {
    /// By hand, as for the first time: compile and run.
    FloorFirst,
    /// By hand: the program alone.
    Floor,
    Ready,
    Cold,
    Peer,
}

impl Who {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::FloorFirst => "by hand, compiled",
            Self::Floor => "by hand",
            Self::Ready => "ready",
            Self::Cold => "cold",
            Self::Peer => "peer",
        }
    }
}

/// One program in one way at one concurrency.
pub(super) struct Row {
    pub work: &'static str,
    pub runtime: String,
    pub concurrency: usize,
    pub who: Who,
    pub samples: Samples,
    /// The p50 and the rate of the floor that it is compared with.
    pub floor: Option<(Duration, f64)>,
}

/// All runs of a row.
#[derive(Default)]
pub(super) struct Samples {
    pub whole: Vec<Duration>,
    /// Of answers: queue, sandbox, compile, run.
    pub parts: [Vec<Duration>; PARTS.len()],
    pub errors: usize,
    pub first_error: Option<String>,
    /// While runs were under way, the pauses between them left out.
    pub busy: Duration,
    paused: Duration,
}

pub(super) const PARTS: [&str; 4] = ["queue", "sandbox", "compile", "run"];

impl Samples {
    pub(super) fn rate(&self) -> f64 {
        self.whole.len() as f64 / self.busy.as_secs_f64().max(f64::MIN_POSITIVE)
    }

    fn add(&mut self, other: Self) {
        self.whole.extend(other.whole);
        for (mine, theirs) in self.parts.iter_mut().zip(other.parts) {
            mine.extend(theirs);
        }
        self.errors += other.errors;
        self.paused += other.paused;
        self.first_error = self.first_error.take().or(other.first_error);
    }

    fn note(&mut self, ran: Result<(Duration, Option<Value>)>) {
        match ran {
            Ok((took, answer)) => {
                self.whole.push(took);
                let Some(answer) = answer else { return };
                for (part, name) in self.parts.iter_mut().zip(PARTS) {
                    let took = answer["timing"][format!("{name}_us")].as_u64().unwrap_or_default();
                    part.push(Duration::from_micros(took));
                }
            }
            Err(error) => {
                self.errors += 1;
                self.first_error.get_or_insert_with(|| error.to_string());
            }
        }
    }
}

pub(super) fn percentile(samples: &mut [Duration], percent: usize) -> Duration {
    samples.sort_unstable();
    let at = (samples.len() * percent / 100).min(samples.len().saturating_sub(1));
    samples.get(at).copied().unwrap_or_default()
}

/// Everything there is to know of a program on a runtime.
pub(super) fn all(
    work: &Work,
    runtime: &str,
    daemon: &Daemon,
    peer: Option<&[String]>,
    pace: &Pace,
) -> Result<Vec<Row>> {
    let subject = Subject { work, runtime, daemon, peer };
    subject.warm_up()?;
    let mut rows = Vec::new();
    for &concurrency in &pace.concurrency {
        let mut compared = vec![Who::Floor, Who::Ready];
        if work.is_compiled() {
            compared.insert(0, Who::FloorFirst);
        }
        if work.cold(runtime).is_some() {
            compared.push(Who::Cold);
        }
        // One container at a time is what an engine's own command does at its best.
        if peer.is_some() && concurrency == 1 {
            compared.push(Who::Peer);
        }
        let mut all: Vec<_> = compared.iter().map(|who| (*who, Samples::default())).collect();
        let began = Instant::now();
        for round in 0..ROUNDS {
            if round > 0 && began.elapsed() > LONGEST {
                break;
            }
            show(&format!(
                "{} on {}, {concurrency} at once, turn {} of {ROUNDS}",
                work.name,
                runtime,
                round + 1
            ));
            for (who, samples) in &mut all {
                subject.turn(*who, concurrency, pace, samples)?;
            }
        }
        rows.extend(compare(all).map(|(who, samples, floor)| Row {
            work: work.name,
            runtime: runtime.to_owned(),
            concurrency,
            who,
            samples,
            floor,
        }));
    }
    show("");
    Ok(rows)
}

/// With each, the p50 and the rate of its floor.
fn compare(mut all: Vec<(Who, Samples)>) -> impl Iterator<Item = (Who, Samples, Option<(Duration, f64)>)> {
    let mut floor = |wanted: Who| {
        let (_, samples) = all.iter_mut().find(|(who, _)| *who == wanted)?;
        Some((percentile(&mut samples.whole, 50), samples.rate()))
    };
    let (first, again) = (floor(Who::FloorFirst), floor(Who::Floor));
    all.into_iter().map(move |(who, samples)| {
        let floor = match who {
            Who::FloorFirst | Who::Floor => None,
            Who::Cold => first.or(again),
            Who::Ready | Who::Peer => again,
        };
        (who, samples, floor)
    })
}

struct Subject<'a> {
    work: &'a Work,
    runtime: &'a str,
    daemon: &'a Daemon,
    peer: Option<&'a [String]>,
}

impl Subject<'_> {
    /// Nothing is worth measuring that does not run even once.
    fn warm_up(&self) -> Result<()> {
        for who in [Who::Floor, Who::Ready, Who::Cold] {
            let mut client = None;
            for _ in 0..WARM_UP {
                self.once(who, 0, &mut client)?;
            }
        }
        match self.peer {
            Some(_) => self.once(Who::Peer, 0, &mut None).map(drop),
            None => Ok(()),
        }
    }

    /// A closed loop: so many callers, each starting its next run when the last has ended, at least one.
    fn turn(&self, who: Who, concurrency: usize, pace: &Pace, samples: &mut Samples) -> Result<()> {
        let (began, pause) = (Instant::now(), pace.pause(concurrency));
        let caller = |place| {
            let (mut own, mut client) = (Samples::default(), None);
            loop {
                let ran = self.once(who, place, &mut client);
                if ran.is_err() {
                    // After an answer that was cut, a connection is out of step.
                    client = None;
                }
                own.note(ran);
                if began.elapsed() >= pace.turn {
                    return own;
                }
                let pausing = Instant::now();
                thread::sleep(pause);
                own.paused += pausing.elapsed();
            }
        };
        let all: Vec<_> = thread::scope(|scope| {
            let callers: Vec<_> = (0..concurrency).map(|place| scope.spawn(move || caller(place))).collect();
            callers.into_iter().map(|caller| caller.join().map_err(|_| failed("a caller panicked"))).collect()
        });
        for own in all {
            samples.add(own?);
        }
        samples.busy += began.elapsed().saturating_sub(std::mem::take(&mut samples.paused));
        Ok(())
    }

    fn once(&self, who: Who, place: usize, client: &mut Option<Client>) -> Result<(Duration, Option<Value>)> {
        let body = match who {
            Who::Ready => self.work.ready(self.runtime),
            Who::Cold => match self.work.cold(self.runtime) {
                Some(body) => body,
                None => return Ok((Duration::ZERO, None)),
            },
            Who::FloorFirst | Who::Floor | Who::Peer => {
                let first = who == Who::FloorFirst;
                let compile = if first { Some(self.work.compile_by_hand(place)?) } else { None };
                let run = match (who, self.peer) {
                    (Who::Peer, Some(peer)) => peer.to_vec(),
                    _ => self.work.run_by_hand(if first { place } else { 0 }),
                };
                let began = Instant::now();
                compile.as_deref().map_or(Ok(()), floor::spawn)?;
                floor::spawn(&run)?;
                return Ok((began.elapsed(), None));
            }
        };
        let connected = match client {
            Some(client) => client,
            None => client.insert(self.daemon.connect()?),
        };
        let answer = connected.execute(&body)?;
        Ok((answer.took, Some(answer.body)))
    }
}

/// One line that is written over, on a terminal only.
fn show(line: &str) {
    let mut stderr = std::io::stderr();
    if stderr.is_terminal() {
        let _ = write!(stderr, "\r\x1b[K{line}").and_then(|()| stderr.flush());
    }
}
