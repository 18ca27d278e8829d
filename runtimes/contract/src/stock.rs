//! What a runtime has ready and takes from it, counted by the runtime and read by whoever wants to know. Numbers only, no
//! names: whose they are is known to whoever made the [`Stock`].

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicU64, Ordering::Relaxed},
};

/// Shared between a runtime and its reader.
#[derive(Debug, Default)]
pub struct Stock {
    ready: AtomicU64,
    making: AtomicU64,
    taken_ready: AtomicU64,
    taken_cold: AtomicU64,
    ready_memory: OnceLock<AtomicU64>,
}

/// How a stock stands at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StockLevel {
    /// Sandboxes that wait for a program.
    pub ready: u64,
    /// Sandboxes that are being made ahead, or interpreters being started in them.
    pub making: u64,
    /// Launches so far that found one ready.
    pub taken_ready: u64,
    /// Launches so far that had to wait until one was made.
    pub taken_cold: u64,
    /// Memory that those which are ready hold, in bytes; `None` of a runtime that doesn't tell.
    pub ready_memory_bytes: Option<u64>,
}

impl Stock {
    pub fn set_ready(&self, count: usize) {
        self.ready.store(count as u64, Relaxed);
    }

    pub fn set_ready_memory(&self, bytes: u64) {
        self.ready_memory.get_or_init(AtomicU64::default).store(bytes, Relaxed);
    }

    /// Counts one that is being made, until dropped.
    pub fn making(self: &Arc<Self>) -> Making {
        self.making.fetch_add(1, Relaxed);
        Making(Arc::clone(self))
    }

    pub fn took_ready(&self) {
        self.taken_ready.fetch_add(1, Relaxed);
    }

    pub fn took_cold(&self) {
        self.taken_cold.fetch_add(1, Relaxed);
    }

    pub fn level(&self) -> StockLevel {
        StockLevel {
            ready: self.ready.load(Relaxed),
            making: self.making.load(Relaxed),
            taken_ready: self.taken_ready.load(Relaxed),
            taken_cold: self.taken_cold.load(Relaxed),
            ready_memory_bytes: self.ready_memory.get().map(|bytes| bytes.load(Relaxed)),
        }
    }
}

#[derive(Debug)]
pub struct Making(Arc<Stock>);

impl Drop for Making {
    fn drop(&mut self) {
        self.0.making.fetch_sub(1, Relaxed);
    }
}
