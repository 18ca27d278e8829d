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
    sync::Arc,
};

use sandboxd_contract::{Exit, Facts, KernelLimit, RuntimeError};
use tokio::{
    io::Interest,
    net::UnixDatagram,
    sync::{mpsc, oneshot, watch},
};

use crate::{
    ahead::Waiting,
    demand::Kind,
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
    /// Until the program is started.
    pub program: Option<Program>,
    pub work: Arc<OwnedFd>,
    pub limits: SlotLimits,
    /// The program's user on the host, where lanes have users of their own.
    pub user: Option<u32>,
    pub commands: mpsc::Sender<SlotCommand>,
    /// Until it is given back. Sending does so with a word when that is done; so does dropping, without one.
    pub give_back: Option<oneshot::Sender<GiveBack>>,
    pub ended: watch::Receiver<Option<(Exit, Facts)>>,
}

/// The process that becomes the program.
pub(crate) enum Program {
    /// It can become any; the socket to it.
    Parked(OwnedFd),
    /// It is an interpreter that waits for its program.
    Waiting(Box<Waiting>),
}

impl Program {
    pub(crate) fn is_waiting(&self) -> bool {
        matches!(self, Self::Waiting(_))
    }
}

impl ReadySlot {
    /// The interpreter that waits in it.
    pub(crate) fn kind(&self) -> Option<&Kind> {
        match &self.program {
            Some(Program::Waiting(waiting)) => Some(&waiting.kind),
            _ => None,
        }
    }

    /// Whether its process or its lane has died.
    pub(crate) fn is_over(&self) -> bool {
        self.commands.is_closed() || self.ended.borrow().is_some()
    }

    pub(crate) fn take_parked(&mut self) -> Result<OwnedFd, RuntimeError> {
        match self.program.take() {
            Some(Program::Parked(launch)) => Ok(launch),
            _ => Err(RuntimeError::sandbox("start", "it was started before")),
        }
    }

    /// Gets ready for an interpreter that waits.
    pub(crate) async fn prepare(&mut self, limits: SlotLimits) -> Result<(), RuntimeError> {
        self.install(limits, SlotCommand::Ahead).await
    }

    /// Gets ready for a program.
    pub(crate) async fn begin(&mut self, limits: SlotLimits) -> Result<(), RuntimeError> {
        // A parked process is what the slot was made for, and has used next to nothing.
        if limits == self.limits && self.kind().is_none() {
            return Ok(());
        }
        self.install(limits, SlotCommand::Begin).await
    }

    async fn install(
        &mut self,
        limits: SlotLimits,
        command: impl FnOnce(SlotLimits, oneshot::Sender<Result<(), RuntimeError>>) -> SlotCommand,
    ) -> Result<(), RuntimeError> {
        let (answer, answered) = oneshot::channel();
        self.commands.send(command(limits, answer)).await.map_err(|_| lane_gone("set limits"))?;
        answered.await.map_err(|_| lane_gone("set limits"))??;
        self.limits = limits;
        Ok(())
    }
}

pub(crate) fn lane_gone(operation: &'static str) -> RuntimeError {
    RuntimeError::sandbox(operation, "the process that kept the sandbox died")
}

pub(crate) enum SlotCommand {
    Ahead(SlotLimits, oneshot::Sender<Result<(), RuntimeError>>),
    Begin(SlotLimits, oneshot::Sender<Result<(), RuntimeError>>),
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
        let (program, work, give_back) = (Some(Program::Parked(launch)), Arc::new(work), Some(give_back));
        offer(ReadySlot { program, work, limits, user, commands, give_back, ended });
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
            SlotCommand::Ahead(limits, answer) => {
                self.limits.push_back(answer);
                ToLane::Ahead(limits)
            }
            SlotCommand::Begin(limits, answer) => {
                self.limits.push_back(answer);
                ToLane::Begin(limits)
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
