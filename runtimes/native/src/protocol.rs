//! What the daemon, the spawner, the lanes and the parked programs say to each other.
//!
//! ```text
//! daemon ──Setup, lane sockets──> spawner ──fork──> lane 0..n ──clone──> init ──fork──> parked program
//!    │ ^───────Built | Failed──────┘                  │ ^                                    │
//!    │ └── Ready + 2 descriptors, Exited, Facts ──────┘ │                                    │
//!    ├──── Ahead, Begin, Facts, Signal, Renew ──────────┘                                    │
//!    └──── Launch + 3 descriptors (straight to the program's own socket) ────────────────────┘
//! ```
//! Daemon to spawner and to lanes: SOCK_SEQPACKET, one message a packet. Daemon to program: SOCK_STREAM, since files
//! go that way; what it says is in `launch`. Deliberately absent: any reading or writing of sockets.

mod launch;

use std::time::Duration;

use sandboxd_contract::{Exit, Facts, KernelLimits};

use sandboxd_inside::codec::{Malformed, Reader, Writer};

pub(crate) use self::launch::{FileHeader, Launch, encode_file_header, encode_launch};

/// The largest packet between daemon, spawner and lanes.
pub(crate) const MAX_PACKET_BYTES: usize = 16 * 1024;

/// The largest packet from a lane: numbers, and a reason of one sentence.
pub(crate) const MAX_ANSWER_BYTES: usize = 4096;

/// What the spawner must know to build the root filesystem and its lanes; sent once, with the descriptors of the
/// cgroup subtree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Setup {
    /// The operator's own root filesystem, or the host's.
    pub rootfs: Option<String>,
    pub toolchains: Option<String>,
    /// As root: the first of our own user ids. Otherwise lanes live in a user namespace.
    pub uid_base: Option<u32>,
    pub lanes: u32,
    /// The hierarchy tag of each cgroup descriptor that comes along.
    pub cgroup_tags: Vec<u8>,
}

impl Setup {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Writer::new();
        out.bytes(self.rootfs.as_deref().unwrap_or_default().as_bytes());
        out.bytes(self.toolchains.as_deref().unwrap_or_default().as_bytes());
        out.optional(self.uid_base.map(u64::from)).number(self.lanes.into()).bytes(&self.cgroup_tags);
        out.finish()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut input = Reader::new(bytes);
        let path = |text: String| (!text.is_empty()).then_some(text);
        Ok(Self {
            rootfs: path(input.string()?),
            toolchains: path(input.string()?),
            uid_base: input.optional()?.map(|uid| uid as u32),
            lanes: input.number()? as u32,
            cgroup_tags: input.bytes()?.to_vec(),
        })
    }
}

/// Daemon to spawner: fork a lane that talks over the socket that comes along.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NewLane {
    pub index: u32,
    /// What its first slot is made for.
    pub limits: SlotLimits,
}

impl NewLane {
    pub(crate) fn encode(self) -> Vec<u8> {
        let mut out = Writer::new();
        self.limits.encode(out.number(self.index.into()));
        out.finish()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut input = Reader::new(bytes);
        Ok(Self { index: input.number()? as u32, limits: SlotLimits::decode(&mut input)? })
    }
}

/// Spawner to daemon, once: whether the root filesystem stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Built {
    /// The landlock ABI of this kernel, 0 for none.
    Ok {
        landlock_abi: u32,
    },
    Failed {
        reason: String,
    },
}

impl Built {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Writer::new();
        match self {
            Self::Ok { landlock_abi } => out.byte(0).number(u64::from(*landlock_abi)),
            Self::Failed { reason } => out.byte(1).bytes(short(reason)),
        };
        out.finish()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut input = Reader::new(bytes);
        match input.byte()? {
            0 => Ok(Self::Ok { landlock_abi: input.number()? as u32 }),
            1 => Ok(Self::Failed { reason: reason(&mut input)? }),
            _ => Err(Malformed),
        }
    }
}

/// The limits that a lane installs from outside; the rest goes to the program with its command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SlotLimits {
    pub memory_bytes: u64,
    pub tasks: u64,
    pub cpu_millis: Option<u32>,
    pub disk_bytes: u64,
}

impl SlotLimits {
    pub(crate) fn of(limits: &KernelLimits) -> Self {
        Self {
            memory_bytes: limits.memory_bytes,
            tasks: limits.tasks,
            cpu_millis: limits.cpu_millis,
            disk_bytes: limits.disk_bytes,
        }
    }

    fn encode(self, out: &mut Writer) {
        out.number(self.memory_bytes).number(self.tasks).optional(self.cpu_millis.map(u64::from));
        out.number(self.disk_bytes);
    }

    fn decode(input: &mut Reader) -> Result<Self, Malformed> {
        Ok(Self {
            memory_bytes: input.number()?,
            tasks: input.number()?,
            cpu_millis: input.optional()?.map(|millis| millis as u32),
            disk_bytes: input.number()?,
        })
    }
}

/// Daemon to lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ToLane {
    /// An interpreter is about to be started ahead under these limits: it has time. Answered as `Begin` is.
    Ahead(SlotLimits),
    /// Install these limits; what was used until now is not the program's. Answered by `LimitsSet` or `LimitRefused`.
    Begin(SlotLimits),
    /// Answered by `Facts`.
    Facts,
    /// SIGKILL goes to the whole slot, any other signal to its program.
    Signal(i32),
    /// Destroy the slot and make the next one, with these limits; answered by `Ready`.
    Renew(SlotLimits),
}

impl ToLane {
    pub(crate) fn encode(self) -> Vec<u8> {
        let mut out = Writer::new();
        match self {
            Self::Begin(limits) => limits.encode(out.byte(0)),
            Self::Facts => drop(out.byte(1)),
            Self::Signal(signal) => drop(out.byte(2).number(signal as u64)),
            Self::Renew(limits) => limits.encode(out.byte(3)),
            Self::Ahead(limits) => limits.encode(out.byte(4)),
        }
        out.finish()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut input = Reader::new(bytes);
        Ok(match input.byte()? {
            0 => Self::Begin(SlotLimits::decode(&mut input)?),
            1 => Self::Facts,
            2 => Self::Signal(input.number()? as i32),
            3 => Self::Renew(SlotLimits::decode(&mut input)?),
            4 => Self::Ahead(SlotLimits::decode(&mut input)?),
            _ => return Err(Malformed),
        })
    }
}

/// Lane to daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum FromLane {
    /// A slot stands; its program's socket and its working directory come along.
    Ready,
    LimitsSet,
    LimitRefused {
        limit: u8,
        reason: String,
    },
    Facts(Facts),
    /// The program has ended and whatever it left behind is dead.
    Exited(Exit, Facts),
    /// The slot could not be made; the lane ends.
    Failed {
        reason: String,
    },
}

impl FromLane {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Writer::new();
        match self {
            Self::Ready => drop(out.byte(0)),
            Self::LimitsSet => drop(out.byte(1)),
            Self::LimitRefused { limit, reason } => {
                out.byte(2).byte(*limit).bytes(short(reason));
            }
            Self::Facts(facts) => encode_facts(facts, out.byte(3)),
            Self::Exited(exit, facts) => {
                let (kind, value) = match exit {
                    Exit::Code(code) => (0, *code),
                    Exit::Signal(signal) => (1, *signal),
                };
                encode_facts(facts, out.byte(4).byte(kind).number(value as u64));
            }
            Self::Failed { reason } => drop(out.byte(5).bytes(short(reason))),
        }
        out.finish()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut input = Reader::new(bytes);
        Ok(match input.byte()? {
            0 => Self::Ready,
            1 => Self::LimitsSet,
            2 => Self::LimitRefused { limit: input.byte()?, reason: reason(&mut input)? },
            3 => Self::Facts(decode_facts(&mut input)?),
            4 => {
                let kind = input.byte()?;
                let value = input.number()? as i32;
                let exit = if kind == 0 { Exit::Code(value) } else { Exit::Signal(value) };
                Self::Exited(exit, decode_facts(&mut input)?)
            }
            5 => Self::Failed { reason: reason(&mut input)? },
            _ => return Err(Malformed),
        })
    }
}

fn encode_facts(facts: &Facts, out: &mut Writer) {
    out.optional_time(facts.cpu_time).optional(facts.memory_peak_bytes).optional(facts.oom_kills);
    out.optional(facts.tasks_peak).optional(facts.task_limit_hits);
}

fn decode_facts(input: &mut Reader) -> Result<Facts, Malformed> {
    Ok(Facts {
        cpu_time: input.optional_time()?,
        memory_peak_bytes: input.optional()?,
        oom_kills: input.optional()?,
        tasks_peak: input.optional()?,
        task_limit_hits: input.optional()?,
    })
}

/// Init to lane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum FromInit {
    /// Mounts stand and the program is parked; the root and the working directory of the slot's disk come along.
    Parked,
    /// The program's wait status, and the CPU time of all that were reaped; whatever it left behind is dead.
    Ended(i32, Option<Duration>),
    Failed(String),
}

impl FromInit {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Writer::new();
        match self {
            Self::Parked => drop(out.byte(0)),
            Self::Ended(status, time) => {
                out.byte(1).number(*status as u32 as u64).optional_time(*time);
            }
            Self::Failed(reason) => drop(out.byte(2).bytes(short(reason))),
        }
        out.finish()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut input = Reader::new(bytes);
        Ok(match input.byte()? {
            0 => Self::Parked,
            1 => Self::Ended(input.number()? as i32, input.optional_time()?),
            2 => Self::Failed(reason(&mut input)?),
            _ => return Err(Malformed),
        })
    }
}

/// A reason that fits any of the packets.
fn short(reason: &str) -> &[u8] {
    let end = reason.floor_char_boundary(MAX_ANSWER_BYTES / 2);
    reason.get(..end).unwrap_or_default().as_bytes()
}

/// As [`short`] wrote it; of a longer one no more is believed.
fn reason(input: &mut Reader) -> Result<String, Malformed> {
    let mut reason = input.string()?;
    reason.truncate(short(&reason).len());
    Ok(reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_back_as_they_went() {
        let setup = Setup {
            rootfs: None,
            toolchains: Some("/var/lib/x".to_owned()),
            uid_base: Some(7),
            lanes: 4,
            cgroup_tags: vec![1, 2],
        };
        assert_eq!(Setup::decode(&setup.encode()), Ok(setup));
        let limits = SlotLimits { memory_bytes: 1, tasks: 2, cpu_millis: Some(3), disk_bytes: 4 };
        let with_limits = [ToLane::Ahead(limits), ToLane::Begin(limits), ToLane::Renew(limits)];
        for message in with_limits.into_iter().chain([ToLane::Facts, ToLane::Signal(9)]) {
            assert_eq!(ToLane::decode(&message.encode()), Ok(message));
        }
        let facts = Facts {
            cpu_time: Some(Duration::from_micros(5)),
            memory_peak_bytes: None,
            oom_kills: Some(1),
            tasks_peak: None,
            task_limit_hits: Some(0),
        };
        for message in [
            FromLane::Ready,
            FromLane::LimitsSet,
            FromLane::LimitRefused { limit: 1, reason: "no".to_owned() },
            FromLane::Facts(facts),
            FromLane::Exited(Exit::Code(255), facts),
            FromLane::Exited(Exit::Signal(9), facts),
            FromLane::Failed { reason: "why".to_owned() },
        ] {
            assert_eq!(FromLane::decode(&message.encode()), Ok(message));
        }
        let ended = FromInit::Ended(0x8b, Some(Duration::from_micros(7)));
        for message in [FromInit::Parked, ended, FromInit::Failed("x".to_owned())] {
            assert_eq!(FromInit::decode(&message.encode()), Ok(message));
        }
        assert_eq!(ToLane::decode(&[9]), Err(Malformed));
    }
}
