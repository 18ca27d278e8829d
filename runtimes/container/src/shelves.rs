//! The containers that stand ready, by what they are good for. Only bookkeeping: what is made and removed, and when, is
//! the yard's.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use sandboxd_contract::{Demand, SandboxSpec, Stock};
use tokio::time::Instant;

use crate::cell::Cell;

/// Kinds of sandboxes that are kept ready; the one that was not asked for longest makes room.
const MAX_SHELVES: usize = 64;
/// What was not asked for in so long is not kept ready any more.
const SHELF_IDLE: Duration = Duration::from_secs(600);

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
    ready: VecDeque<Arc<Cell>>,
    making: usize,
    asked: Instant,
}

pub(crate) struct Shelves {
    /// How many each shall hold.
    warm: usize,
    stock: Arc<Stock>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    shelves: HashMap<Key, Shelf>,
    closed: bool,
}

impl Shelves {
    pub(crate) fn new(warm: usize, stock: Arc<Stock>) -> Self {
        Self { warm, stock, state: Mutex::default() }
    }

    fn count(&self, state: &State) {
        self.stock.set_ready(state.ready());
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether anything is kept ready at all.
    pub(crate) fn keep_any(&self) -> bool {
        self.warm > 0
    }

    /// How many stand ready.
    pub(crate) fn ready(&self) -> usize {
        self.lock().ready()
    }

    /// The first that is still good, and those that serve nobody any more.
    pub(crate) fn take(&self, spec: &SandboxSpec) -> (Option<Arc<Cell>>, Vec<Arc<Cell>>) {
        let (key, mut lost) = (Key::of(spec), Vec::new());
        let mut state = self.lock();
        if state.closed || spec.demand == Demand::Once && !state.shelves.contains_key(&key) {
            return (None, lost);
        }
        if !state.shelves.contains_key(&key) && state.shelves.len() >= MAX_SHELVES {
            let oldest = state.shelves.iter().min_by_key(|(_, shelf)| shelf.asked);
            let oldest = oldest.map(|(key, _)| key.clone()).and_then(|oldest| state.shelves.remove(&oldest));
            lost.extend(oldest.into_iter().flat_map(|shelf| shelf.ready));
        }
        let shelf = state.shelves.entry(key).or_insert_with(|| Shelf::new(spec));
        shelf.asked = Instant::now();
        shelf.spec = spec.clone();
        shelf.standing |= spec.demand == Demand::Standing;
        let mut found = None;
        while let Some(cell) = shelf.ready.pop_front() {
            if cell.is_ready() {
                found = Some(cell);
                break;
            }
            lost.push(cell);
        }
        self.count(&state);
        (found, lost)
    }

    /// What one more for this shelf is to be, counted as being made until [`Self::end`]; `None` when it has enough.
    pub(crate) fn begin(&self, key: &Key) -> Option<SandboxSpec> {
        let mut state = self.lock();
        let shelf = state.shelves.get_mut(key)?;
        if shelf.ready.len() + shelf.making >= self.warm {
            return None;
        }
        shelf.making += 1;
        Some(shelf.spec.clone())
    }

    /// It was made, or could not be.
    pub(crate) fn end(&self, key: &Key) {
        if let Some(shelf) = self.lock().shelves.get_mut(key) {
            shelf.making = shelf.making.saturating_sub(1);
        }
    }

    /// Gives it back where there is no room for it.
    pub(crate) fn put(&self, key: &Key, cell: Arc<Cell>) -> Option<Arc<Cell>> {
        let mut state = self.lock();
        match state.shelves.get_mut(key) {
            Some(shelf) if shelf.ready.len() < self.warm => shelf.ready.push_back(cell),
            _ => return Some(cell),
        }
        self.count(&state);
        None
    }

    /// What stood ready of kinds that nobody has asked for in a while.
    pub(crate) fn clear_idle(&self) -> Vec<Arc<Cell>> {
        let idle = |_: &Key, shelf: &mut Shelf| {
            !shelf.standing && shelf.making == 0 && shelf.asked.elapsed() > SHELF_IDLE
        };
        let mut state = self.lock();
        let cleared = state.shelves.extract_if(idle).flat_map(|(_, shelf)| shelf.ready).collect();
        self.count(&state);
        cleared
    }

    /// All that stood ready; nothing ever will again.
    pub(crate) fn close(&self) -> Vec<Arc<Cell>> {
        let mut state = self.lock();
        state.closed = true;
        self.stock.set_ready(0);
        state.shelves.drain().flat_map(|(_, shelf)| shelf.ready).collect()
    }
}

impl State {
    fn ready(&self) -> usize {
        self.shelves.values().map(|shelf| shelf.ready.len()).sum()
    }
}

impl Shelf {
    fn new(spec: &SandboxSpec) -> Self {
        let (ready, asked) = (VecDeque::new(), Instant::now());
        Self { spec: spec.clone(), standing: false, ready, making: 0, asked }
    }
}
