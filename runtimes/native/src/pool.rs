//! The lanes of one runtime and the slots that are ready in them.
//!
//! A request takes a ready slot, the one made for limits nearest to its own; an empty pool makes it wait for the next
//! one to stand. A lane that dies is replaced, the spawner too. Deliberately absent: what happens inside a slot.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use sandboxd_contract::RuntimeError;
use tokio::{sync::Semaphore, time};

use crate::{
    lane_client::{LaneClient, ReadySlot},
    protocol::{NewLane, SlotLimits},
    spawner_link::{Keeper, SpawnerLink},
};

/// How long a launch waits for a slot: many times what making one takes.
const LAUNCH_PATIENCE: Duration = Duration::from_secs(10);

/// Pauses before a lane is made again, doubling from the first to the last.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LAST_PAUSE: Duration = Duration::from_secs(2);

pub(crate) struct Pool {
    keeper: Keeper,
    /// `None` until the first lane is made, after the spawner's death, and for good once closed.
    link: tokio::sync::Mutex<Option<Arc<SpawnerLink>>>,
    uid_base: Option<u32>,
    state: Mutex<State>,
    /// One permit for each ready slot.
    ready: Semaphore,
}

#[derive(Default)]
struct State {
    slots: Vec<ReadySlot>,
    /// Lanes that serve or have a slot ready.
    alive: u32,
    /// Why the last lane or spawner ended.
    trouble: Option<String>,
    closed: bool,
    tasks: Vec<tokio::task::AbortHandle>,
}

impl State {
    fn take_likest(&mut self, limits: SlotLimits) -> Option<ReadySlot> {
        let slots = self.slots.iter().enumerate();
        let (best, _) = slots.max_by_key(|(_, slot)| likeness(slot.limits, limits))?;
        Some(self.slots.swap_remove(best))
    }
}

impl Pool {
    pub(crate) fn new(keeper: Keeper, uid_base: Option<u32>) -> Arc<Self> {
        Arc::new(Self {
            keeper,
            link: tokio::sync::Mutex::default(),
            uid_base,
            state: Mutex::default(),
            ready: Semaphore::new(0),
        })
    }

    /// Starts the spawner, if none lives, and gives back what it said of itself.
    pub(crate) async fn link(&self) -> Result<Arc<SpawnerLink>, String> {
        let mut link = self.link.lock().await;
        if self.state().closed {
            return Err("the runtime is shut down".to_owned());
        }
        if let Some(link) = link.as_ref() {
            return Ok(Arc::clone(link));
        }
        let fresh = Arc::new(self.keeper.spawn().await?);
        *link = Some(Arc::clone(&fresh));
        Ok(fresh)
    }

    /// Keeps `count` lanes alive from now on, until closed.
    pub(crate) fn open(self: &Arc<Self>, count: u32, limits: SlotLimits) {
        for index in 0..count {
            let pool = Arc::clone(self);
            let task = tokio::spawn(async move { pool.keep_lane(index, limits).await });
            self.state().tasks.push(task.abort_handle());
        }
    }

    /// Takes the ready slot that needs the fewest changes for `limits`, or waits for the next one.
    pub(crate) async fn take(&self, limits: SlotLimits) -> Result<ReadySlot, RuntimeError> {
        let taking = async {
            loop {
                let permit = self.ready.acquire().await;
                permit.map_err(|_| RuntimeError::unavailable("the runtime is shut down"))?.forget();
                // Nothing, or a slot whose lane has just died: the next permit is for another one.
                if let Some(slot) = self.state().take_likest(limits).filter(|slot| !slot.commands.is_closed())
                {
                    return Ok(slot);
                }
            }
        };
        let taken = time::timeout(LAUNCH_PATIENCE, taking).await;
        taken.unwrap_or_else(|_| Err(RuntimeError::unavailable(self.why_nothing_is_ready())))
    }

    /// Ends the spawner and all lanes; no slot is handed out any more.
    pub(crate) async fn close(&self) {
        self.ready.close();
        let (slots, tasks) = {
            let mut state = self.state();
            state.closed = true;
            (std::mem::take(&mut state.slots), std::mem::take(&mut state.tasks))
        };
        for task in tasks {
            task.abort();
        }
        drop(slots);
        *self.link.lock().await = None;
        self.keeper.stop().await;
    }

    fn why_nothing_is_ready(&self) -> String {
        let state = self.state();
        let waited = format!("no sandbox became ready within {} s", LAUNCH_PATIENCE.as_secs());
        match &state.trouble {
            Some(trouble) if state.alive == 0 => format!("{waited}: {trouble}"),
            _ => waited,
        }
    }

    /// Makes a lane, serves it, and makes it again when it ends.
    async fn keep_lane(self: Arc<Self>, index: u32, limits: SlotLimits) {
        let mut pause = FIRST_PAUSE;
        loop {
            let began = time::Instant::now();
            let reason = match self.start_lane(index, limits).await {
                Ok(client) => {
                    self.state().alive += 1;
                    let ended = client.run(|slot| self.offer(slot)).await;
                    self.state().alive -= 1;
                    ended.reason
                }
                Err(reason) => reason,
            };
            tracing::warn!(lane = index, %reason, "a lane ended");
            self.forget_dead_slots();
            self.state().trouble = Some(reason);
            if began.elapsed() > LAST_PAUSE {
                pause = FIRST_PAUSE;
            }
            time::sleep(pause).await;
            pause = (pause * 2).min(LAST_PAUSE);
        }
    }

    async fn start_lane(&self, index: u32, limits: SlotLimits) -> Result<LaneClient, String> {
        let link = self.link().await?;
        let flags = SockFlag::SOCK_CLOEXEC;
        let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags)
            .map_err(|errno| format!("make a socket: {errno}"))?;
        if let Err(errno) = link.request_lane(NewLane { index, limits }, &theirs) {
            self.drop_link(&link).await;
            return Err(format!("the spawner is gone: {errno}"));
        }
        let user = self.uid_base.map(|base| base + 2 * index);
        LaneClient::new(ours, limits, user).map_err(|error| error.to_string())
    }

    /// Forgets a dead spawner, so that the next lane starts another.
    async fn drop_link(&self, dead: &Arc<SpawnerLink>) {
        let mut link = self.link.lock().await;
        if link.as_ref().is_some_and(|link| Arc::ptr_eq(link, dead)) {
            *link = None;
        }
    }

    fn offer(&self, slot: ReadySlot) {
        self.state().slots.push(slot);
        self.ready.add_permits(1);
    }

    /// Takes slots whose lane died out of the pool, and their permits with them.
    fn forget_dead_slots(&self) {
        let mut state = self.state();
        let before = state.slots.len();
        state.slots.retain(|slot| !slot.commands.is_closed());
        let dead = before - state.slots.len();
        drop(state);
        self.ready.forget_permits(dead);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic while the lock was held can't leave a list of slots half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How many of a slot's limits are already right.
fn likeness(made: SlotLimits, wanted: SlotLimits) -> u8 {
    u8::from(made.memory_bytes == wanted.memory_bytes)
        + u8::from(made.tasks == wanted.tasks)
        + u8::from(made.cpu_millis == wanted.cpu_millis)
        + u8::from(made.disk_bytes == wanted.disk_bytes)
}
