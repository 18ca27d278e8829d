//! How much of requests and answers is held in memory, over all connections. Each alone is bounded elsewhere; together a
//! thousand of the largest would be more than any host has.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

/// Past it no further request is taken.
const MAX_BYTES: usize = 512 << 20;

#[derive(Debug, Clone, Default)]
pub(super) struct Budget(Arc<AtomicUsize>);

impl Budget {
    pub(super) fn exhausted(&self) -> bool {
        self.0.load(Relaxed) >= MAX_BYTES
    }

    pub(super) fn hold(&self, bytes: usize) -> Held {
        let mut held = Held { budget: self.clone(), bytes: 0 };
        held.grow(bytes);
        held
    }
}

/// Given back when dropped.
#[derive(Debug)]
pub(super) struct Held {
    budget: Budget,
    bytes: usize,
}

impl Held {
    /// Whether there was room for it.
    pub(super) fn grow(&mut self, bytes: usize) -> bool {
        self.bytes += bytes;
        self.budget.0.fetch_add(bytes, Relaxed) + bytes <= MAX_BYTES
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.budget.0.fetch_sub(self.bytes, Relaxed);
    }
}
