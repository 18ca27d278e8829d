//! How many sandboxes of a kind are asked for while one more is made: so many have to stand ready if nobody is to wait
//! (Little's law). Pure.
//!
//! The height of a rush is remembered, and halves with every minute that it does not come again: a class that hands in its
//! homework at once does so again.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

const HALF_LIFE: Duration = Duration::from_secs(60);
/// Asks that count; nobody keeps more ready.
const HISTORY: usize = 1024;

pub(crate) struct Rush {
    /// The latest is the last.
    recent: VecDeque<Instant>,
    height: f64,
    /// When it was so high.
    at: Instant,
}

impl Rush {
    pub(crate) fn new(now: Instant) -> Self {
        Self { recent: VecDeque::new(), height: 0.0, at: now }
    }

    /// Counts an ask, where making one more takes this long.
    pub(crate) fn note(&mut self, now: Instant, making: Duration) {
        let is_over = |asked: &Instant| now.duration_since(*asked) > making;
        while self.recent.len() >= HISTORY || self.recent.front().is_some_and(is_over) {
            self.recent.pop_front();
        }
        self.recent.push_back(now);
        self.height = self.height_at(now).max(self.recent.len() as f64);
        self.at = now;
    }

    /// How many should stand ready.
    pub(crate) fn wanted(&self, now: Instant) -> usize {
        self.height_at(now).round() as usize
    }

    fn height_at(&self, now: Instant) -> f64 {
        let half_lives = now.duration_since(self.at).as_secs_f64() / HALF_LIFE.as_secs_f64();
        self.height * (-half_lives).exp2()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAKING: Duration = Duration::from_millis(500);

    fn after(rush: &mut Rush, from: Instant, count: u32, apart: Duration) -> Instant {
        for nth in 0..count {
            rush.note(from + apart * nth, MAKING);
        }
        from + apart * (count - 1)
    }

    #[test]
    fn as_many_as_come_while_one_is_made() {
        let start = Instant::now();
        let wanted = |count, apart_ms| {
            let mut rush = Rush::new(start);
            let end = after(&mut rush, start, count, Duration::from_millis(apart_ms));
            rush.wanted(end)
        };
        assert_eq!(Rush::new(start).wanted(start), 0);
        assert_eq!(wanted(1, 0), 1);
        assert_eq!(wanted(8, 0), 8, "all at once");
        assert_eq!(wanted(100, 100), 6, "ten in a second, for half of one, and both ends");
        assert_eq!(wanted(100, 600), 1, "one after the other");
        assert_eq!(wanted(100_000, 0), HISTORY);
    }

    #[test]
    fn a_rush_is_remembered_and_fades() {
        let start = Instant::now();
        let mut rush = Rush::new(start);
        let mut now = after(&mut rush, start, 16, Duration::ZERO);
        for half in [8, 4, 2] {
            now += HALF_LIFE;
            rush.note(now, MAKING);
            assert_eq!(rush.wanted(now), half, "a single ask neither raises nor ends it");
        }
        assert_eq!(rush.wanted(now + HALF_LIFE * 10), 0);
    }
}
