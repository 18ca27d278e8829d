//! The daemon's end of a lane: a task that owns the lane's socket and turns packets into slots, exits and facts.
//!
//! ```text
//! request lane ──> wait for Ready ──> offer the slot to the pool ──> serve its commands ──slot given back──> Renew ─┐
//!                      ^                                                                                          │
//!                      └──────────────────────────────────────────────────────────────────────────────────────────┘
//! ```
//! Deliberately absent: who gets which slot (`pool`), and what a sandbox does with it (`sandbox`).

use std::{
    collections::VecDeque,
    io,
    os::fd::{AsFd, OwnedFd},
};

use sandboxd_contract::{Exit, Facts, KernelLimit, RuntimeError};
use tokio::{
    io::Interest,
    net::UnixDatagram,
    sync::{mpsc, oneshot, watch},
};

use crate::{
    packet,
    protocol::{FromLane, MAX_ANSWER_BYTES, SlotLimits, ToLane},
};

/// Commands of one sandbox that may wait for its lane.
const COMMANDS: usize = 8;

/// A slot is never made for less memory than making it takes, with a good margin; such a limit is installed when the
/// program starts.
const ROOM_FOR_A_SLOT: u64 = 16 << 20;

/// A slot that waits for a program, and the lines to it.
pub(crate) struct ReadySlot {
    pub launch: OwnedFd,
    pub work: OwnedFd,
    pub limits: SlotLimits,
    /// The program's user on the host, where lanes have users of their own.
    pub user: Option<u32>,
    pub commands: mpsc::Sender<SlotCommand>,
    /// Sending gives the slot back with a word when that is done; so does dropping, without one.
    pub give_back: oneshot::Sender<GiveBack>,
    pub ended: watch::Receiver<Option<(Exit, Facts)>>,
}

pub(crate) enum SlotCommand {
    Limits(SlotLimits, oneshot::Sender<Result<(), RuntimeError>>),
    Facts(oneshot::Sender<Facts>),
    Signal(i32),
}

pub(crate) struct GiveBack {
    /// What the next slot is best made for.
    pub next: SlotLimits,
    pub done: oneshot::Sender<Result<(), RuntimeError>>,
}

pub(crate) struct LaneClient {
    /// SOCK_SEQPACKET really; the type is the nearest one that waits without owning more than a descriptor.
    socket: UnixDatagram,
    limits: SlotLimits,
    user: Option<u32>,
}

/// Why a lane's task ended.
#[derive(Debug)]
pub(crate) struct LaneEnded {
    pub reason: String,
    /// The process is gone, rather than stuck or confused.
    is_dead: bool,
}

impl LaneEnded {
    fn because(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), is_dead: false }
    }
}

impl From<io::Error> for LaneEnded {
    fn from(error: io::Error) -> Self {
        Self::because(error.to_string())
    }
}

impl LaneClient {
    pub(crate) fn new(socket: OwnedFd, limits: SlotLimits, user: Option<u32>) -> io::Result<Self> {
        let socket = std::os::unix::net::UnixDatagram::from(socket);
        socket.set_nonblocking(true)?;
        Ok(Self { socket: UnixDatagram::from_std(socket)?, limits, user })
    }

    /// Serves slot after slot until the lane ends; `offer` gets each new one.
    pub(crate) async fn run(mut self, offer: impl Fn(ReadySlot)) -> LaneEnded {
        let mut give_back: Option<oneshot::Sender<Result<(), RuntimeError>>> = None;
        loop {
            let (launch, work) = match self.await_ready().await {
                Ok(handles) => handles,
                Err(ended) => {
                    if let Some(done) = give_back {
                        // A lane that died took everything in its slot along; one that could not unmake it says so.
                        let failed = || RuntimeError::sandbox("destroy a sandbox", &ended.reason);
                        let _ = done.send(if ended.is_dead { Ok(()) } else { Err(failed()) });
                    }
                    return ended;
                }
            };
            if let Some(done) = give_back.take() {
                // Nobody listens when the sandbox was dropped.
                let _ = done.send(Ok(()));
            }
            match self.serve(launch, work, &offer).await {
                Ok(done) => give_back = done,
                Err(ended) => return ended,
            }
        }
    }

    async fn await_ready(&mut self) -> Result<(OwnedFd, OwnedFd), LaneEnded> {
        loop {
            match self.receive().await? {
                (FromLane::Ready, descriptors) => {
                    let [launch, work] = descriptors
                        .try_into()
                        .map_err(|_| LaneEnded::because("a slot without descriptors"))?;
                    return Ok((launch, work));
                }
                (FromLane::Failed { reason }, _) => return Err(LaneEnded::because(reason)),
                // Late words about the slot before.
                _ => {}
            }
        }
    }

    /// Offers the slot and serves it until it is given back.
    async fn serve(
        &mut self,
        launch: OwnedFd,
        work: OwnedFd,
        offer: &impl Fn(ReadySlot),
    ) -> Result<Option<oneshot::Sender<Result<(), RuntimeError>>>, LaneEnded> {
        let (commands, mut inbox) = mpsc::channel(COMMANDS);
        let (give_back, mut given_back) = oneshot::channel::<GiveBack>();
        let (end, ended) = watch::channel(None);
        let (limits, user) = (self.limits, self.user);
        offer(ReadySlot { launch, work, limits, user, commands, give_back, ended });
        let mut answers = Answers::default();
        loop {
            tokio::select! {
                biased;
                packet = self.receive() => match packet?.0 {
                    FromLane::Exited(exit, facts) => drop(end.send(Some((exit, facts)))),
                    FromLane::Failed { reason } => return Err(LaneEnded::because(reason)),
                    other => answers.deliver(other),
                },
                Some(command) = inbox.recv() => {
                    let message = answers.expect(command);
                    self.send(message)?;
                },
                given = &mut given_back => {
                    let given = given.ok();
                    if let Some(given) = given.as_ref().filter(|given| given.next.memory_bytes >= ROOM_FOR_A_SLOT) {
                        self.limits = given.next;
                    }
                    self.send(ToLane::Renew(self.limits))?;
                    return Ok(given.map(|given| given.done));
                }
            }
        }
    }

    /// A packet is small and the lane reads at once, so a full socket means that it is stuck.
    fn send(&self, message: ToLane) -> Result<(), LaneEnded> {
        packet::send(self.socket.as_fd(), &message.encode(), &[])
            .map(drop)
            .map_err(|errno| LaneEnded::because(format!("the lane takes no messages: {errno}")))
    }

    async fn receive(&self) -> Result<(FromLane, Vec<OwnedFd>), LaneEnded> {
        let mut buffer = [0; MAX_ANSWER_BYTES];
        let (received, descriptors) = self
            .socket
            .async_io(Interest::READABLE, || {
                packet::receive(self.socket.as_fd(), &mut buffer).map_err(io::Error::from)
            })
            .await?;
        if received == 0 {
            return Err(LaneEnded { is_dead: true, reason: "the lane is gone".to_owned() });
        }
        let message = FromLane::decode(buffer.get(..received).unwrap_or_default())
            .map_err(|error| LaneEnded::because(error.to_string()))?;
        Ok((message, descriptors))
    }
}

/// Who waits for which answer: a lane answers in the order of the questions.
#[derive(Default)]
struct Answers {
    facts: VecDeque<oneshot::Sender<Facts>>,
    limits: VecDeque<oneshot::Sender<Result<(), RuntimeError>>>,
}

impl Answers {
    fn expect(&mut self, command: SlotCommand) -> ToLane {
        match command {
            SlotCommand::Limits(limits, answer) => {
                self.limits.push_back(answer);
                ToLane::Limits(limits)
            }
            SlotCommand::Facts(answer) => {
                self.facts.push_back(answer);
                ToLane::Facts
            }
            SlotCommand::Signal(signal) => ToLane::Signal(signal),
        }
    }

    fn deliver(&mut self, message: FromLane) {
        match message {
            FromLane::Facts(facts) => {
                if let Some(answer) = self.facts.pop_front() {
                    // Whoever asked may have gone.
                    let _ = answer.send(facts);
                }
            }
            FromLane::LimitsSet => self.answer_limits(Ok(())),
            FromLane::LimitRefused { limit, reason } => {
                let limit = KernelLimit::ALL.get(usize::from(limit)).copied().unwrap_or(KernelLimit::Memory);
                self.answer_limits(Err(RuntimeError::LimitNotHeld { limit, reason }));
            }
            FromLane::Ready | FromLane::Exited(..) | FromLane::Failed { .. } => {}
        }
    }

    fn answer_limits(&mut self, answer: Result<(), RuntimeError>) {
        if let Some(waiting) = self.limits.pop_front() {
            let _ = waiting.send(answer);
        }
    }
}
