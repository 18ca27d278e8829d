//! The lanes of one runtime and the slots that are ready in them.
//!
//! A request takes a ready slot: one in which its interpreter waits, or else the one made for limits nearest to its own;
//! an empty pool makes it wait for the next one to stand. In some slots interpreters are started ahead, when others stay
//! ready beside them. A lane that dies is replaced, the spawner too. Deliberately absent: what happens inside a slot, and
//! which interpreters are wanted (`demand`).

use std::{
    ops::{Deref, DerefMut},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use sandboxd_contract::{RuntimeError, SandboxSpec, Stock};
use tokio::{sync::Semaphore, task::JoinSet, time};

use crate::{
    ahead,
    demand::{Asked, Kind, Step},
    lane_client::{LaneClient, ReadySlot},
    protocol::{NewLane, SlotLimits},
    spawner_link::{Keeper, SpawnerLink},
};

/// How long a launch waits for a slot: many times what making one takes.
const LAUNCH_PATIENCE: Duration = Duration::from_secs(10);

/// Pauses before a lane is made again, doubling from the first to the last.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LAST_PAUSE: Duration = Duration::from_secs(2);

/// Of so many lanes one may have a waiting interpreter in it while nothing runs there; the others are for whatever comes.
const LANES_FOR_ONE_WAITING: u32 = 3;
/// Of so many lanes one may be starting an interpreter.
const LANES_FOR_ONE_STARTING: u32 = 4;
/// Ready slots that stay as they are.
const PARKED_RESERVE: usize = 1;
/// No interpreter is started for so long when a request could not do without a slot where one waited.
const HOLD_OFF: Duration = Duration::from_secs(1);

pub(crate) struct Pool {
    keeper: Keeper,
    /// `None` until the first lane is made, after the spawner's death, and for good once closed.
    link: tokio::sync::Mutex<Option<Arc<SpawnerLink>>>,
    uid_base: Option<u32>,
    lanes: u32,
    prestart: bool,
    stock: Arc<Stock>,
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
    asked: Asked,
    /// Interpreters that are being started.
    starting: Vec<Kind>,
    starters: JoinSet<()>,
    /// No interpreter is started before.
    hold_off: Option<time::Instant>,
}

impl State {
    /// The best there is for it.
    fn take_for(&mut self, spec: &SandboxSpec, wanted: Option<&Kind>) -> Option<ReadySlot> {
        let limits = SlotLimits::of(&spec.limits);
        let fitness = |slot: &ReadySlot| {
            let use_of = match (slot.kind(), wanted) {
                (Some(kind), Some(wanted)) if kind.serves(wanted) => 2,
                (None, _) => 1,
                (Some(_), _) => 0,
            };
            (use_of, likeness(slot.limits, limits))
        };
        let (best, _) = self.slots.iter().enumerate().max_by_key(|(_, slot)| fitness(slot))?;
        Some(self.slots.swap_remove(best))
    }

    fn step(&self, lanes: u32) -> Option<Step> {
        let held = self.hold_off.is_some_and(|until| time::Instant::now() < until);
        let starting_most = (lanes / LANES_FOR_ONE_STARTING).max(1) as usize;
        if self.closed || held || self.starting.len() >= starting_most {
            return None;
        }
        let waiting: Vec<&Kind> = self.slots.iter().filter_map(ReadySlot::kind).collect();
        let step =
            self.asked.next_step((lanes / LANES_FOR_ONE_WAITING) as usize, &waiting, &self.starting)?;
        let parked = self.slots.len() - waiting.len();
        Some(step).filter(|step| matches!(step, Step::GiveUp(_)) || parked > PARKED_RESERVE)
    }

    /// The parked slot that needs the fewest changes.
    fn take_parked(&mut self, limits: SlotLimits) -> Option<ReadySlot> {
        let parked = self.slots.iter().enumerate().filter(|(_, slot)| slot.kind().is_none());
        let (best, _) = parked.max_by_key(|(_, slot)| likeness(slot.limits, limits))?;
        Some(self.slots.swap_remove(best))
    }

    fn take_waiting(&mut self, which: usize) -> Option<ReadySlot> {
        let waiting = self.slots.iter().enumerate().filter(|(_, slot)| slot.kind().is_some());
        let at = waiting.map(|(at, _)| at).nth(which)?;
        Some(self.slots.swap_remove(at))
    }
}

impl Pool {
    pub(crate) fn new(
        keeper: Keeper,
        uid_base: Option<u32>,
        lanes: u32,
        prestart: bool,
        stock: Arc<Stock>,
    ) -> Arc<Self> {
        Arc::new(Self {
            keeper,
            link: tokio::sync::Mutex::default(),
            uid_base,
            lanes,
            prestart,
            stock,
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

    /// Keeps the lanes alive from now on, until closed.
    pub(crate) fn open(self: &Arc<Self>, limits: SlotLimits) {
        for index in 0..self.lanes {
            let pool = Arc::clone(self);
            let task = tokio::spawn(async move { pool.keep_lane(index, limits).await });
            self.state().tasks.push(task.abort_handle());
        }
    }

    /// Takes the ready slot that is best for it, or waits for the next one.
    pub(crate) async fn take(&self, spec: &SandboxSpec) -> Result<ReadySlot, RuntimeError> {
        let wanted = Kind::of(spec);
        self.state().asked.note(spec, time::Instant::now().into_std());
        let mut waited = false;
        let taking = async {
            loop {
                waited |= self.ready.available_permits() == 0;
                let permit = self.ready.acquire().await;
                permit.map_err(|_| RuntimeError::unavailable("the runtime is shut down"))?.forget();
                // Nothing, or a slot that has just died: the next permit is for another one.
                let slot = self.state().take_for(spec, wanted.as_ref());
                let Some(slot) = slot.filter(|slot| !slot.is_over()) else { continue };
                match (slot.kind(), &wanted) {
                    (Some(kind), Some(wanted)) if kind.serves(wanted) => return Ok(slot),
                    (None, _) => return Ok(slot),
                    // What waits there is of no use, and no other slot is ready: it is made anew.
                    (Some(_), _) => {
                        waited = true;
                        self.state().hold_off = Some(time::Instant::now() + HOLD_OFF);
                    }
                }
            }
        };
        let taken = time::timeout(LAUNCH_PATIENCE, taking).await;
        match &taken {
            Ok(Ok(_)) if waited => self.stock.took_cold(),
            Ok(Ok(_)) => self.stock.took_ready(),
            _ => {}
        }
        taken.unwrap_or_else(|_| Err(RuntimeError::unavailable(self.why_nothing_is_ready())))
    }

    /// Ends the spawner and all lanes; no slot is handed out any more.
    pub(crate) async fn close(&self) {
        self.ready.close();
        let (slots, tasks) = {
            let mut state = self.state();
            state.closed = true;
            state.starters.abort_all();
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

    /// After a program has ended and its slot was made anew, mostly: a good time to start an interpreter as well.
    fn offer(self: &Arc<Self>, slot: ReadySlot) {
        self.state().slots.push(slot);
        self.ready.add_permits(1);
        if self.prestart {
            self.start_ahead();
        }
    }

    /// Brings what waits one step nearer to what is wanted, if there is a slot to spare.
    fn start_ahead(self: &Arc<Self>) {
        let mut state = self.state();
        // Without a permit every ready slot is somebody's already.
        let Ok(permit) = self.ready.try_acquire() else { return };
        match state.step(self.lanes) {
            Some(Step::Start(kind)) => {
                let Some(slot) = state.take_parked(SlotLimits::of(&kind.limits)) else { return };
                permit.forget();
                state.starting.push(kind.clone());
                // Those that have ended.
                while state.starters.try_join_next().is_some() {}
                let pool = Arc::clone(self);
                state.starters.spawn(async move { pool.start_in(slot, kind).await });
            }
            Some(Step::GiveUp(which)) => {
                let Some(slot) = state.take_waiting(which) else { return };
                permit.forget();
                drop(state);
                drop(slot);
            }
            None => {}
        }
    }

    async fn start_in(self: Arc<Self>, mut slot: ReadySlot, kind: Kind) {
        let _making = self.stock.making();
        let started = ahead::start(&mut slot, kind.clone()).await;
        let mut state = self.state();
        if let Some(at) = state.starting.iter().position(|starting| starting.serves(&kind)) {
            state.starting.swap_remove(at);
        }
        match started {
            Ok(()) => {
                drop(state);
                self.offer(slot);
            }
            Err(error) => {
                let program = kind.prestart.command.argv.first();
                tracing::warn!(program, %error, "no interpreter waits for its program");
                state.asked.failed(kind, time::Instant::now().into_std());
            }
        }
    }

    /// Takes slots whose lane died out of the pool, and their permits with them.
    fn forget_dead_slots(&self) {
        let mut state = self.state();
        let before = state.slots.len();
        state.slots.retain(|slot| !slot.is_over());
        let dead = before - state.slots.len();
        drop(state);
        self.ready.forget_permits(dead);
    }

    fn state(&self) -> Locked<'_> {
        // A panic while the lock was held can't leave a list of slots half changed.
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        Locked { state, stock: &self.stock }
    }
}

/// The state, while nobody else has it. What stands ready is counted anew when it is let go.
struct Locked<'a> {
    state: MutexGuard<'a, State>,
    stock: &'a Stock,
}

impl Deref for Locked<'_> {
    type Target = State;

    fn deref(&self) -> &State {
        &self.state
    }
}

impl DerefMut for Locked<'_> {
    fn deref_mut(&mut self) -> &mut State {
        &mut self.state
    }
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        self.stock.set_ready(self.state.slots.len());
    }
}

/// How many of a slot's limits are already right.
fn likeness(made: SlotLimits, wanted: SlotLimits) -> u8 {
    u8::from(made.memory_bytes == wanted.memory_bytes)
        + u8::from(made.tasks == wanted.tasks)
        + u8::from(made.cpu_millis == wanted.cpu_millis)
        + u8::from(made.disk_bytes == wanted.disk_bytes)
}
