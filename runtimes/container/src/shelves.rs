//! The containers that stand ready, by what they are good for, and how many each kind should have: as many as are asked for
//! while one more is made, within what is allowed in all. Only bookkeeping: what is made and removed, and when, is the
//! yard's.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use sandboxd_contract::{Demand, SandboxSpec, Stock};
use tokio::time::Instant;

use crate::{cell::Cell, rush::Rush};

/// Kinds of sandboxes that are kept ready; the one that was not asked for longest makes room.
const MAX_SHELVES: usize = 64;
/// What was not asked for in so long is not kept ready any more.
const SHELF_IDLE: Duration = Duration::from_secs(600);
/// Where there is no room, a kind that was not asked for in so long makes some for one that is.
const MAKES_ROOM: Duration = Duration::from_secs(10);
/// Until the first one is there.
const FIRST_MAKING: Duration = Duration::from_millis(500);
/// What one is taken to hold before any of its kind was there to be measured: more than with runc, less than with gVisor.
const UNMEASURED_BYTES: u64 = 16 << 20;

/// What a runtime keeps ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadyPolicy {
    /// Sandboxes of each kind that is asked for at all; 0 keeps nothing ready.
    pub warm: usize,
    /// Of all kinds, however many are asked for.
    pub max_ready: usize,
    /// That those hold while they wait.
    pub max_memory_bytes: u64,
}

/// What makes one ready sandbox as good as another; other limits are installed when it is used.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub executor: String,
    disk_bytes: u64,
    prestarted: bool,
}

impl Key {
    pub(crate) fn of(spec: &SandboxSpec) -> Self {
        Self {
            executor: spec.executor.clone(),
            disk_bytes: spec.limits.disk_bytes,
            prestarted: spec.prestart.is_some(),
        }
    }
}

struct Shelf {
    /// What was asked for last.
    spec: SandboxSpec,
    /// It is kept however long nobody asks.
    standing: bool,
    ready: VecDeque<Ready>,
    making: usize,
    /// What making the last one took, with the pause before it.
    making_time: Duration,
    /// What the last one held.
    memory_bytes: u64,
    asked: Instant,
    rush: Rush,
}

struct Ready {
    cell: Arc<Cell>,
    memory_bytes: u64,
}

pub(crate) struct Shelves {
    policy: ReadyPolicy,
    stock: Arc<Stock>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    shelves: HashMap<Key, Shelf>,
    closed: bool,
}

impl Shelves {
    pub(crate) fn new(policy: ReadyPolicy, stock: Arc<Stock>) -> Self {
        Self { policy, stock, state: Mutex::default() }
    }

    fn count(&self, state: &State) {
        self.stock.set_ready(state.ready());
        self.stock.set_ready_memory(state.all_ready().map(|ready| ready.memory_bytes).sum());
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether anything is kept ready at all.
    pub(crate) fn keep_any(&self) -> bool {
        self.policy.warm > 0
    }

    /// How many stand ready.
    pub(crate) fn ready(&self) -> usize {
        self.lock().ready()
    }

    /// The first that is still good, and those that serve nobody any more.
    pub(crate) fn take(&self, spec: &SandboxSpec) -> (Option<Arc<Cell>>, Vec<Arc<Cell>>) {
        let (key, now, mut lost) = (Key::of(spec), Instant::now(), Vec::new());
        let mut state = self.lock();
        if state.closed || spec.demand == Demand::Once && !state.shelves.contains_key(&key) {
            return (None, lost);
        }
        if !state.shelves.contains_key(&key) && state.shelves.len() >= MAX_SHELVES {
            let oldest = state.shelves.iter().min_by_key(|(_, shelf)| shelf.asked);
            let oldest = oldest.map(|(key, _)| key.clone()).and_then(|oldest| state.shelves.remove(&oldest));
            lost.extend(oldest.into_iter().flat_map(|shelf| shelf.ready).map(|ready| ready.cell));
        }
        let shelf = state.shelves.entry(key).or_insert_with(|| Shelf::new(spec, now));
        shelf.asked = now;
        shelf.spec = spec.clone();
        shelf.standing |= spec.demand == Demand::Standing;
        if spec.demand == Demand::Recurring {
            shelf.rush.note(now, shelf.making_time);
        }
        let mut found = None;
        while let Some(Ready { cell, .. }) = shelf.ready.pop_front() {
            if cell.is_ready() {
                found = Some(cell);
                break;
            }
            lost.push(cell);
        }
        self.count(&state);
        (found, lost)
    }

    /// What one more for this shelf is to be, counted as being made until [`Self::end`], and what gave up its place for
    /// it; `None` when it has enough, or there is no room.
    pub(crate) fn begin(&self, key: &Key) -> (Option<SandboxSpec>, Vec<Arc<Cell>>) {
        let (now, mut given_up) = (Instant::now(), Vec::new());
        let mut state = self.lock();
        let Some(more_bytes) = state.lacks_one(key, self.policy.warm, now) else { return (None, given_up) };
        let mut has_room = state.has_room(&self.policy, more_bytes);
        while !has_room {
            let Some(cell) = state.give_up_one(key, self.policy.warm, now) else { break };
            given_up.push(cell);
            has_room = state.has_room(&self.policy, more_bytes);
        }
        self.count(&state);
        let shelf = state.shelves.get_mut(key).filter(|_| has_room);
        let spec = shelf.map(|shelf| {
            shelf.making += 1;
            shelf.spec.clone()
        });
        (spec, given_up)
    }

    /// It was made, in this time, or could not be.
    pub(crate) fn end(&self, key: &Key, took: Option<Duration>) {
        if let Some(shelf) = self.lock().shelves.get_mut(key) {
            shelf.making = shelf.making.saturating_sub(1);
            shelf.making_time = took.unwrap_or(shelf.making_time);
        }
    }

    /// Gives it back where there is no room for it.
    pub(crate) fn put(&self, key: &Key, cell: Arc<Cell>) -> Option<Arc<Cell>> {
        let (memory_bytes, now) = (cell.memory_bytes(), Instant::now());
        let mut state = self.lock();
        let has_room = state.has_room(&self.policy, memory_bytes);
        match state.shelves.get_mut(key) {
            Some(shelf) if has_room && shelf.ready.len() < shelf.wanted(self.policy.warm, now) => {
                shelf.memory_bytes = memory_bytes;
                shelf.ready.push_back(Ready { cell, memory_bytes });
            }
            _ => return Some(cell),
        }
        self.count(&state);
        None
    }

    /// What stood ready of kinds that nobody has asked for in a while, and more of others than is asked for now.
    pub(crate) fn clear_idle(&self) -> Vec<Arc<Cell>> {
        let now = Instant::now();
        let idle = |_: &Key, shelf: &mut Shelf| {
            !shelf.standing && shelf.making == 0 && shelf.asked.elapsed() > SHELF_IDLE
        };
        let mut state = self.lock();
        let mut cleared: Vec<_> = state.shelves.extract_if(idle).flat_map(|(_, shelf)| shelf.ready).collect();
        for shelf in state.shelves.values_mut() {
            let wanted = shelf.wanted(self.policy.warm, now).min(shelf.ready.len());
            cleared.extend(shelf.ready.drain(wanted..));
        }
        self.count(&state);
        cleared.into_iter().map(|ready| ready.cell).collect()
    }

    /// All that stood ready; nothing ever will again.
    pub(crate) fn close(&self) -> Vec<Arc<Cell>> {
        let mut state = self.lock();
        state.closed = true;
        let all = state.shelves.drain().flat_map(|(_, shelf)| shelf.ready).map(|ready| ready.cell).collect();
        self.count(&state);
        all
    }
}

impl State {
    fn all_ready(&self) -> impl Iterator<Item = &Ready> {
        self.shelves.values().flat_map(|shelf| &shelf.ready)
    }

    fn ready(&self) -> usize {
        self.shelves.values().map(|shelf| shelf.ready.len()).sum()
    }

    /// How much one more for this shelf would hold, where it has too few.
    fn lacks_one(&self, key: &Key, warm: usize, now: Instant) -> Option<u64> {
        let shelf = self.shelves.get(key)?;
        let there = shelf.ready.len() + shelf.making;
        (there < shelf.wanted(warm, now)).then_some(shelf.memory_bytes)
    }

    /// Whether one more fits, beside what is ready and what is being made.
    fn has_room(&self, policy: &ReadyPolicy, more_bytes: u64) -> bool {
        let shelves = self.shelves.values();
        let (count, bytes) = shelves.fold((0, more_bytes), |(count, bytes), shelf| {
            let ready: u64 = shelf.ready.iter().map(|ready| ready.memory_bytes).sum();
            let making = shelf.memory_bytes.saturating_mul(shelf.making as u64);
            (count + shelf.ready.len() + shelf.making, bytes.saturating_add(ready).saturating_add(making))
        });
        count < policy.max_ready && bytes <= policy.max_memory_bytes
    }

    /// One of another kind that has too many, or was not asked for in a while.
    fn give_up_one(&mut self, needy: &Key, warm: usize, now: Instant) -> Option<Arc<Cell>> {
        let can_spare = |shelf: &Shelf| {
            shelf.ready.len() > shelf.wanted(warm, now) || now.duration_since(shelf.asked) > MAKES_ROOM
        };
        let others = self.shelves.iter_mut().filter(|(key, _)| *key != needy).map(|(_, shelf)| shelf);
        let spare = others.filter(|shelf| !shelf.ready.is_empty() && can_spare(shelf));
        let giver = spare.min_by_key(|shelf| shelf.asked)?;
        giver.ready.pop_back().map(|ready| ready.cell)
    }
}

impl Shelf {
    fn new(spec: &SandboxSpec, now: Instant) -> Self {
        Self {
            spec: spec.clone(),
            standing: false,
            ready: VecDeque::new(),
            making: 0,
            making_time: FIRST_MAKING,
            memory_bytes: UNMEASURED_BYTES,
            asked: now,
            rush: Rush::new(now),
        }
    }

    /// How many should stand here.
    fn wanted(&self, warm: usize, now: Instant) -> usize {
        self.rush.wanted(now).max(warm)
    }
}
