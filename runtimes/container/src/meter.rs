//! What one container uses and what it may use, seen from outside: its cgroup on this host where it can be read, and the
//! engine's word for the rest.
//!
//! A container is heavier than its program. What it held before anything of the program's was in it (the agent, and under
//! gVisor a whole kernel) is the baseline: limits are installed on top of it, and figures are given without it. An
//! interpreter that waits for its program is the program's.

use std::{
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use nix::errno::Errno;
use sandboxd_cgroup::{Adopted, Limits, Usage};
use sandboxd_contract::{Facts, KernelLimit, KernelLimits, Result, RuntimeError};
use tokio::time::Instant;

use crate::backend::{Handle, Witness};

/// Tasks of a container that are not its program's: the agent.
const OWN_TASKS: u64 = 1;

/// Of what a ready container holds, the parked process's part, whose place the program takes.
const PARKED_BYTES: u64 = 256 << 10;

/// What a container is taken to hold by itself where nobody can look: the agent, with room for the kernel's own tables.
const UNSEEN_OWN_BYTES: u64 = 2 << 20;

/// For an engine's word on a kill, which it sends on another way than the program's end.
const WORD_PATIENCE: Duration = Duration::from_millis(250);
const WORD_POLL: Duration = Duration::from_millis(5);

pub(crate) struct Meter {
    handle: Arc<dyn Handle>,
    /// `None` where the container's processes are not of this host, or its cgroup can't be read.
    group: Option<Mutex<Group>>,
    gvisor: bool,
    /// When it became ready, before an interpreter was in it.
    own_memory_bytes: u64,
    /// From the program's start on.
    baseline: OnceLock<Baseline>,
}

struct Group {
    adopted: Adopted,
    /// The last that could be read: a cgroup goes with its container.
    last: Usage,
}

#[derive(Default)]
struct Baseline {
    usage: Usage,
    own_memory_bytes: u64,
    /// Whether the peak began anew with the program.
    peak_is_ours: bool,
}

impl Meter {
    /// Of a container whose agent is ready and has nothing running yet; `installed` is what it was made with.
    pub(crate) fn of(
        handle: Arc<dyn Handle>,
        pid: Option<i32>,
        gvisor: bool,
        installed: &KernelLimits,
    ) -> Self {
        let adopted = pid.map(|pid| Adopted::of_process(pid, of_the_group(installed, gvisor)));
        let group = match adopted {
            Some(Ok(mut adopted)) => Some(Mutex::new(Group { last: adopted.usage(), adopted })),
            Some(Err(error)) => {
                tracing::warn!(%error, "a container's cgroup can't be read");
                None
            }
            None => None,
        };
        let mut meter = Self { handle, group, gvisor, own_memory_bytes: 0, baseline: OnceLock::new() };
        meter.own_memory_bytes = meter.held_memory_bytes().saturating_sub(PARKED_BYTES);
        meter
    }

    /// Counts from here, and installs the limits on top of what the container holds by itself. Once, before the start.
    ///
    /// In this order: v2's kernel may kill before a limit's writing has ended, and that is a kill of the program's. An
    /// interpreter that waits in it already counts as the program's; without one, what the container holds is asked anew,
    /// since gVisor gives back much of it in its first seconds.
    ///
    /// # Errors
    /// [`RuntimeError::LimitNotHeld`], and whatever the engine answers where only it can install them.
    pub(crate) async fn begin(&self, limits: &KernelLimits, interpreter_waits: bool) -> Result<()> {
        let held_bytes = self.held_memory_bytes();
        let own_memory_bytes =
            if interpreter_waits { self.own_memory_bytes } else { held_bytes.saturating_sub(PARKED_BYTES) };
        let mut baseline = Baseline { own_memory_bytes, ..Baseline::default() };
        if let Some(group) = &self.group {
            let mut group = locked(group);
            if let Err(error) = group.adopted.listen() {
                tracing::warn!(%error, "a kill for memory may be missed");
            }
            baseline.peak_is_ours = group.adopted.reset_memory_peak().is_ok();
            baseline.usage = group.adopted.usage();
            group.last = baseline.usage;
        }
        self.baseline.set(baseline).map_err(|_| RuntimeError::sandbox("start", "it was started before"))?;
        let memory_bytes = if self.gvisor && limits.memory_bytes < PARKED_BYTES {
            // Nothing runs in so little. gVisor has more than that to spare at any moment, and would let it.
            held_bytes / 2
        } else {
            // Not below what is held, where v2's kernel kills before the program is there: it meets that limit at once.
            limits.memory_bytes.saturating_add(own_memory_bytes).max(held_bytes)
        };
        let wanted = KernelLimits { memory_bytes, ..*limits };
        let installed = match self.install(&wanted) {
            Ok(true) => Ok(()),
            Ok(false) => self.handle.update(&wanted).await,
            Err(error) => Err(error),
        };
        // A kill was counted in a cgroup that may be gone in a moment.
        let _seen = self.out_of_memory();
        installed
    }

    /// Memory that the container holds now, and can't give back.
    pub(crate) fn held_memory_bytes(&self) -> u64 {
        self.group
            .as_ref()
            .and_then(|group| locked(group).adopted.held_memory_bytes())
            .unwrap_or(UNSEEN_OWN_BYTES)
    }

    /// Whether what is in it already leaves the program something of this limit.
    pub(crate) fn has_room(&self, limits: &KernelLimits) -> bool {
        let held = self.group.as_ref().and_then(|group| locked(group).adopted.held_memory_bytes());
        held.is_none_or(|held| held < limits.memory_bytes.saturating_add(self.own_memory_bytes))
    }

    /// Writes the cgroup itself, which takes microseconds; `false` where that is only the engine's to do.
    fn install(&self, wanted: &KernelLimits) -> Result<bool> {
        let Some(group) = &self.group else { return Ok(false) };
        match locked(group).adopted.set(&of_the_group(wanted, self.gvisor)) {
            Ok(()) => Ok(true),
            Err(error) if matches!(error.errno, Errno::EACCES | Errno::EPERM | Errno::EROFS) => {
                if self.gvisor { Err(not_held(KernelLimit::Memory, GVISOR_NEEDS_CGROUPS)) } else { Ok(false) }
            }
            Err(error) => Err(not_held(KernelLimit::Memory, error)),
        }
    }

    /// Whether the kernel has killed something for memory since the start, as far as the cgroup can still say.
    pub(crate) fn out_of_memory(&self) -> bool {
        let Some(group) = &self.group else { return self.handle.saw_out_of_memory() == Some(true) };
        let mut group = locked(group);
        if let Some(kills) = group.adopted.oom_kills() {
            group.last.oom_kills = Some(kills);
        }
        let before = self.baseline.get().and_then(|baseline| baseline.usage.oom_kills);
        group.last.oom_kills.unwrap_or(0) > before.unwrap_or(0)
    }

    /// A program was killed, and not by us. Where only the engine tells of memory, its word may come a moment after the end.
    pub(crate) async fn hear_why(&self) {
        let deadline = Instant::now() + WORD_PATIENCE;
        let may_come = || self.group.is_none() && self.handle.saw_out_of_memory() == Some(false);
        while may_come() && Instant::now() < deadline {
            tokio::time::sleep(WORD_POLL).await;
        }
    }

    /// The figures so far; after the container's end, the last that were seen.
    pub(crate) fn read(&self) -> Option<Facts> {
        let group = self.group.as_ref()?;
        let mut group = locked(group);
        let now = group.adopted.usage();
        group.last = Usage {
            cpu_time: now.cpu_time.or(group.last.cpu_time),
            memory_peak_bytes: now.memory_peak_bytes.or(group.last.memory_peak_bytes),
            oom_kills: now.oom_kills.or(group.last.oom_kills),
            tasks_peak: now.tasks_peak.or(group.last.tasks_peak),
            task_limit_hits: now.task_limit_hits.or(group.last.task_limit_hits),
        };
        Some(self.facts(&group.last))
    }

    fn facts(&self, usage: &Usage) -> Facts {
        let unknown = Baseline { own_memory_bytes: self.own_memory_bytes, ..Baseline::default() };
        let baseline = self.baseline.get().unwrap_or(&unknown);
        let base = &baseline.usage;
        let since = |now: Option<u64>, before: Option<u64>| Some(now?.saturating_sub(before.unwrap_or(0)));
        let peaked = |now: Option<u64>, before: Option<u64>| now.filter(|now| Some(*now) > before);
        // What making the container took at its height hides every lower peak of the program.
        let memory = if baseline.peak_is_ours {
            usage.memory_peak_bytes
        } else {
            peaked(usage.memory_peak_bytes, base.memory_peak_bytes)
        };
        let tasks = peaked(usage.tasks_peak, base.tasks_peak).filter(|_| !self.gvisor);
        Facts {
            cpu_time: usage.cpu_time.map(|time| time.saturating_sub(base.cpu_time.unwrap_or_default())),
            memory_peak_bytes: memory.map(|peak| peak.saturating_sub(baseline.own_memory_bytes)),
            oom_kills: since(usage.oom_kills, base.oom_kills),
            tasks_peak: tasks.map(|tasks| tasks.saturating_sub(OWN_TASKS)),
            // gVisor counts its guest's tasks itself, and tells nobody whom it refused.
            task_limit_hits: since(usage.task_limit_hits, base.task_limit_hits).filter(|_| !self.gvisor),
        }
    }

    /// What could not be seen the engine has: a kill for memory it knows of counts as one.
    pub(crate) fn with_witness(mut facts: Facts, witness: Witness) -> Facts {
        match witness.out_of_memory {
            Some(true) => facts.oom_kills = Some(facts.oom_kills.unwrap_or(0).max(1)),
            Some(false) => facts.oom_kills = facts.oom_kills.or(Some(0)),
            None => {}
        }
        facts
    }
}

/// What of these the cgroup holds.
fn of_the_group(limits: &KernelLimits, gvisor: bool) -> Limits {
    Limits {
        memory_bytes: Some(limits.memory_bytes),
        tasks: Some(host_tasks(limits.tasks, gvisor)),
        cpu_millis: limits.cpu_millis,
    }
}

fn locked(group: &Mutex<Group>) -> MutexGuard<'_, Group> {
    group.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The threads of gVisor's kernel and its helpers count as the container's tasks, and meeting the limit kills gVisor
/// itself. So under it the limit is a guard of the host and no more; the program's own tasks are counted inside. Seen in a
/// release of 2022: 48 tasks for a program with one, 508 for 64 busy processes, 2836 for 512, and 358, 946 and 2910 for
/// fork bombs of 32, 64 and 256, whose dead it is slow to bury; of 2024: 30, 164 and 664 for the first three. What they
/// take of the host is memory, which is limited by itself.
const GVISOR_TASKS: u64 = 512;
const GVISOR_TASKS_EACH: u64 = 32;

/// What the host's cgroup is told for so many tasks of the program.
pub fn host_tasks(tasks: u64, gvisor: bool) -> u64 {
    if gvisor {
        tasks.saturating_mul(GVISOR_TASKS_EACH).saturating_add(GVISOR_TASKS)
    } else {
        tasks.saturating_add(OWN_TASKS)
    }
}

/// No engine can change them, since runsc can't.
pub(crate) const GVISOR_NEEDS_CGROUPS: &str = "gVisor's limits are changed in its cgroup alone, and this process may not write there: \
     it has to be root, and under systemd gvisor.conf goes beside the drop-in of the engine";

/// For an engine that can't be told otherwise.
fn not_held(limit: KernelLimit, reason: impl std::fmt::Display) -> RuntimeError {
    RuntimeError::LimitNotHeld { limit, reason: reason.to_string() }
}
