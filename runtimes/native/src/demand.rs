//! Which interpreters should wait for their programs, from what was asked for lately: pure.
//!
//! The few places there are go to the kinds by their share of the last asks. Deliberately absent: slots, and when
//! there is time to start one (`pool`).

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use sandboxd_contract::{Demand, KernelLimits, Prestart, SandboxSpec};

/// Asks that count.
const HISTORY: usize = 32;

/// No interpreter is started ahead for less; who asks for less starts it under just that.
const LEAST_MEMORY_BYTES: u64 = 64 << 20;

const FAILURE_PAUSE: Duration = Duration::from_secs(30);

/// An interpreter, and the limits that it is started under.
#[derive(Debug, Clone)]
pub(crate) struct Kind {
    pub prestart: Arc<Prestart>,
    pub limits: KernelLimits,
}

impl Kind {
    /// `None` where nothing can wait.
    pub(crate) fn of(spec: &SandboxSpec) -> Option<Self> {
        let prestart = spec.prestart.clone()?;
        Some(Self { prestart, limits: spec.limits })
    }

    /// Whether the same interpreter waits for the same program.
    fn is(&self, other: &Self) -> bool {
        self.prestart == other.prestart && self.limits.same_for_a_process(&other.limits)
    }

    /// Whether one that was started as `self` has kept to these limits as well: it had no more to take.
    pub(crate) fn keeps_to(&self, limits: &KernelLimits) -> bool {
        self.limits.same_for_a_process(limits)
            && self.limits.memory_bytes <= limits.memory_bytes
            && self.limits.tasks <= limits.tasks
    }

    pub(crate) fn serves(&self, wanted: &Self) -> bool {
        self.prestart == wanted.prestart && self.keeps_to(&wanted.limits)
    }
}

#[derive(Debug, Default)]
pub(crate) struct Asked {
    /// The latest is the first.
    recent: VecDeque<Kind>,
    /// What did not start, or did not wait, and when it may be tried again.
    failed: Vec<(Kind, Instant)>,
}

/// What would bring what waits nearer to what is wanted.
#[derive(Debug)]
pub(crate) enum Step {
    Start(Kind),
    /// The one at this place of the list takes the place of one that is wanted more.
    GiveUp(usize),
}

impl Asked {
    /// Counts an ask, where another is to be expected.
    pub(crate) fn note(&mut self, spec: &SandboxSpec, now: Instant) {
        let Some(kind) = Kind::of(spec).filter(|_| spec.demand != Demand::Once) else { return };
        self.failed.retain(|(_, again)| now < *again);
        let has_failed = self.failed.iter().any(|(failed, _)| failed.is(&kind));
        if has_failed || kind.limits.memory_bytes < LEAST_MEMORY_BYTES {
            return;
        }
        self.recent.truncate(HISTORY - 1);
        self.recent.push_front(kind);
    }

    /// Asks for this one don't count for a while.
    pub(crate) fn failed(&mut self, kind: Kind, now: Instant) {
        self.recent.retain(|asked| !asked.is(&kind));
        self.failed.truncate(HISTORY - 1);
        self.failed.insert(0, (kind, now + FAILURE_PAUSE));
    }

    /// What to do next, with so many places in all.
    pub(crate) fn next_step(&self, places: usize, waiting: &[&Kind], starting: &[Kind]) -> Option<Step> {
        let mut wanted = self.wanted(places);
        let mut serve = |kind: &Kind| {
            let place = wanted.iter_mut().find(|(wanted, count)| *count > 0 && kind.serves(wanted));
            place.map(|(_, count)| *count -= 1).is_some()
        };
        let mut idle = None;
        for (at, kind) in waiting.iter().enumerate() {
            if !serve(kind) {
                idle = idle.or(Some(at));
            }
        }
        for kind in starting {
            serve(kind);
        }
        let (missing, _) = wanted.into_iter().find(|(_, count)| *count > 0)?;
        if waiting.len() + starting.len() < places {
            return Some(Step::Start(missing));
        }
        idle.map(Step::GiveUp)
    }

    /// How many of each, by largest remainder; the one that was asked for last comes first.
    fn wanted(&self, places: usize) -> Vec<(Kind, usize)> {
        let mut kinds: Vec<(Kind, usize)> = Vec::new();
        for asked in &self.recent {
            match kinds.iter_mut().find(|(kind, _)| kind.is(asked)) {
                Some((kind, count)) => {
                    *count += 1;
                    // What was started under the least serves all.
                    kind.limits.memory_bytes = kind.limits.memory_bytes.min(asked.limits.memory_bytes);
                    kind.limits.tasks = kind.limits.tasks.min(asked.limits.tasks);
                }
                None => kinds.push((asked.clone(), 1)),
            }
        }
        let asks = self.recent.len().max(1);
        let share = |count: usize| (count * places / asks, count * places % asks);
        let mut left = places - kinds.iter().map(|(_, count)| share(*count).0).sum::<usize>().min(places);
        let mut by_remainder: Vec<usize> = (0..kinds.len()).collect();
        by_remainder
            .sort_by_key(|at| std::cmp::Reverse(kinds.get(*at).map_or(0, |(_, count)| share(*count).1)));
        let mut more = vec![0; kinds.len()];
        for at in by_remainder {
            if let Some(more) = more.get_mut(at).filter(|_| left > 0) {
                *more = 1;
                left -= 1;
            }
        }
        kinds.into_iter().zip(more).map(|((kind, count), more)| (kind, share(count).0 + more)).collect()
    }
}

#[cfg(test)]
mod tests {
    use sandboxd_contract::{Command, FilePath};

    use super::*;

    const MIB: u64 = 1 << 20;

    fn spec(name: &str, memory_bytes: u64) -> SandboxSpec {
        let limits = KernelLimits {
            memory_bytes,
            tasks: 64,
            cpu_millis: None,
            open_files: 64,
            file_size_bytes: MIB,
            disk_bytes: MIB,
            stack_bytes: MIB,
        };
        let command = Command { argv: vec![name.to_owned()], env: Vec::new() };
        let prestart = Prestart { command, script: FilePath::parse("main").unwrap() };
        SandboxSpec {
            prestart: Some(Arc::new(prestart)),
            demand: Demand::Recurring,
            ..SandboxSpec::once(name, limits)
        }
    }

    fn kind(name: &str, memory_bytes: u64) -> Kind {
        Kind::of(&spec(name, memory_bytes)).unwrap()
    }

    fn asked(names: &[&str]) -> Asked {
        let mut asked = Asked::default();
        names.iter().for_each(|name| asked.note(&spec(name, 128 * MIB), Instant::now()));
        asked
    }

    fn wanted(asked: &Asked, places: usize) -> Vec<(String, usize)> {
        let wanted = asked.wanted(places).into_iter();
        wanted.map(|(kind, count)| (kind.prestart.command.argv[0].clone(), count)).collect()
    }

    fn pairs(pairs: &[(&str, usize)]) -> Vec<(String, usize)> {
        pairs.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
    }

    #[test]
    fn places_follow_what_is_asked_for() {
        assert_eq!(wanted(&asked(&[]), 2), []);
        assert_eq!(wanted(&asked(&["a"]), 0), pairs(&[("a", 0)]));
        assert_eq!(wanted(&asked(&["a"]), 3), pairs(&[("a", 3)]));
        assert_eq!(wanted(&asked(&["a", "b"]), 2), pairs(&[("b", 1), ("a", 1)]));
        assert_eq!(wanted(&asked(&["b", "b", "a", "a", "a"]), 2), pairs(&[("a", 1), ("b", 1)]));
        assert_eq!(wanted(&asked(&["a", "b", "c"]), 2), pairs(&[("c", 1), ("b", 1), ("a", 0)]));
        let mut many = vec!["b"];
        many.extend(["a"; HISTORY]);
        assert_eq!(wanted(&asked(&many), 2), pairs(&[("a", 2)]), "what was asked for long ago is forgotten");
    }

    #[test]
    fn one_that_is_missing_is_started_and_one_that_is_too_many_makes_room() {
        let (a, b) = (kind("a", 128 * MIB), kind("b", 128 * MIB));
        let asked = asked(&["a", "b"]);
        let start = |step: Option<Step>| match step {
            Some(Step::Start(kind)) => kind.prestart.command.argv[0].clone(),
            other => format!("{other:?}"),
        };
        assert_eq!(start(asked.next_step(2, &[], &[])), "b");
        assert_eq!(start(asked.next_step(2, &[], std::slice::from_ref(&b))), "a");
        assert_eq!(start(asked.next_step(2, &[&b], &[])), "a");
        assert!(asked.next_step(2, &[&b, &a], &[]).is_none());
        assert!(asked.next_step(2, &[&b], std::slice::from_ref(&a)).is_none());
        assert!(matches!(asked.next_step(2, &[&a, &a], &[]), Some(Step::GiveUp(1))));
        assert!(asked.next_step(0, &[], &[]).is_none());
        // Nothing is given up for nothing.
        assert!(Asked::default().next_step(2, &[&a, &a], &[]).is_none());
    }

    #[test]
    fn what_waits_has_kept_to_the_limits_that_are_asked_for() {
        let mut asked = asked(&["a"]);
        asked.note(&spec("a", 64 * MIB), Instant::now());
        let (small, large) = (kind("a", 64 * MIB), kind("a", 128 * MIB));
        assert!(small.serves(&large) && !large.serves(&small));
        assert!(matches!(asked.next_step(1, &[&large], &[]), Some(Step::GiveUp(0))));
        assert!(asked.next_step(1, &[&small], &[]).is_none());
        let mut other = small.clone();
        other.limits.open_files = 5;
        assert!(!small.serves(&other));
    }

    #[test]
    fn what_is_asked_for_once_or_with_next_to_nothing_is_not_kept() {
        let (mut asked, now) = (Asked::default(), Instant::now());
        asked.note(&SandboxSpec { demand: Demand::Once, ..spec("a", 128 * MIB) }, now);
        asked.note(&SandboxSpec { prestart: None, ..spec("a", 128 * MIB) }, now);
        asked.note(&spec("a", MIB), now);
        assert_eq!(wanted(&asked, 2), []);
    }

    #[test]
    fn what_fails_is_left_alone_for_a_while() {
        let (mut asked, now) = (asked(&["a", "b"]), Instant::now());
        asked.failed(kind("a", 256 * MIB), now);
        asked.note(&spec("a", 128 * MIB), now);
        assert_eq!(wanted(&asked, 2), pairs(&[("b", 2)]));
        asked.note(&spec("a", 128 * MIB), now + FAILURE_PAUSE);
        assert_eq!(wanted(&asked, 2), pairs(&[("a", 1), ("b", 1)]));
    }
}
