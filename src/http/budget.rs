//! How much of requests and answers is held in memory, over all connections. Each alone is bounded elsewhere; together a
//! thousand of the largest would be more than any host has.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

/// Past it no further request is taken, where there is memory enough.
const MAX_BYTES: usize = 512 << 20;
/// The part of the memory that this process may have at all; programs' output on its way takes as much again and more.
const SHARE: u64 = 8;
const MIN_BYTES: usize = 16 << 20;

#[derive(Debug, Clone)]
pub(super) struct Budget {
    most: usize,
    held: Arc<AtomicUsize>,
}

impl Budget {
    /// By what this process is limited to: a container's or a unit's memory.
    pub(super) fn of_this_process() -> Self {
        Self::of(sandboxd_cgroup::own_memory_limit_bytes())
    }

    fn of(limit_bytes: Option<u64>) -> Self {
        let share = limit_bytes.map(|bytes| usize::try_from(bytes / SHARE).unwrap_or(MAX_BYTES));
        let most = share.unwrap_or(MAX_BYTES).clamp(MIN_BYTES, MAX_BYTES);
        Self { most, held: Arc::default() }
    }

    pub(super) fn exhausted(&self) -> bool {
        self.held.load(Relaxed) >= self.most
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
        self.budget.held.fetch_add(bytes, Relaxed) + bytes <= self.budget.most
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.budget.held.fetch_sub(self.bytes, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_with_little_memory_holds_little() {
        assert_eq!(Budget::of(None).most, MAX_BYTES);
        assert_eq!(Budget::of(Some(u64::MAX)).most, MAX_BYTES);
        assert_eq!(Budget::of(Some(256 << 20)).most, 32 << 20);
        assert_eq!(Budget::of(Some(1)).most, MIN_BYTES);
        let budget = Budget::of(Some(256 << 20));
        let held = budget.hold(32 << 20);
        assert!(budget.exhausted());
        drop(held);
        assert!(!budget.exhausted());
    }
}
