//! Who compiles when several ask for the same at once: one of them, and the others wait for what it makes.
//!
//! ```text
//!  join ──> Lead ── made ──────> everybody waiting has it
//!   │        ├───── in vain ───> everybody waiting compiles for itself
//!   │        └───── dropped ───> one of those waiting leads
//!   └─────> Wait ──┘
//! ```
//!
//! What is made, and where it is kept, is not known here. Whoever waits may go at any point.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::entry::Made;
use super::key::Key;

/// The compiles that are under way; no more than there are executions.
#[derive(Default)]
pub(super) struct Sharing {
    under_way: Mutex<HashMap<Key, watch::Sender<State>>>,
}

#[derive(Clone)]
enum State {
    UnderWay,
    Made(Arc<Made>),
    InVain,
    Abandoned,
}

pub(super) enum Joined {
    Lead(Lead),
    Made(Arc<Made>),
    /// Who led has nothing to share.
    InVain,
}

/// The duty to say what came of it; dropped without a word, it goes to somebody else. Whoever comes after it leads.
pub(in crate::engine) struct Lead {
    sharing: Arc<Sharing>,
    key: Key,
    told: bool,
}

impl Sharing {
    /// Waits while somebody else leads. Dropping the future leaves.
    pub(super) async fn join(self: &Arc<Self>, key: Key) -> Joined {
        loop {
            let mut leader = {
                let mut under_way = self.lock();
                match under_way.get(&key) {
                    Some(leader) => leader.subscribe(),
                    None => {
                        under_way.insert(key, watch::Sender::new(State::UnderWay));
                        return Joined::Lead(Lead { sharing: Arc::clone(self), key, told: false });
                    }
                }
            };
            let state = leader.wait_for(|state| !matches!(state, State::UnderWay)).await;
            match state.as_deref() {
                Ok(State::Made(made)) => return Joined::Made(Arc::clone(made)),
                Ok(State::InVain) => return Joined::InVain,
                Ok(State::Abandoned | State::UnderWay) | Err(_) => {}
            }
        }
    }

    fn tell(&self, key: &Key, state: State) {
        if let Some(leader) = self.lock().get(key) {
            leader.send_replace(state);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, watch::Sender<State>>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lead {
    pub(super) fn key(&self) -> &Key {
        &self.key
    }

    /// Gives it to who waits, and to who comes until this is dropped.
    pub(super) fn made(&mut self, made: Arc<Made>) {
        self.tell(State::Made(made));
    }

    pub(super) fn in_vain(&mut self) {
        self.tell(State::InVain);
    }

    fn tell(&mut self, state: State) {
        self.told = true;
        self.sharing.tell(&self.key, state);
    }
}

impl Drop for Lead {
    fn drop(&mut self) {
        let leader = self.sharing.lock().remove(&self.key);
        if let Some(leader) = leader.filter(|_| !self.told) {
            leader.send_replace(State::Abandoned);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::super::entry::tests::{key, made};
    use super::*;

    fn join(sharing: &Arc<Sharing>) -> tokio::task::JoinHandle<Joined> {
        let sharing = Arc::clone(sharing);
        tokio::spawn(async move { sharing.join(key("a")).await })
    }

    async fn lead(sharing: &Arc<Sharing>) -> Lead {
        match sharing.join(key("a")).await {
            Joined::Lead(lead) => lead,
            Joined::Made(_) | Joined::InVain => panic!("somebody leads already"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_one_has_made_all_have() {
        let sharing = Arc::default();
        let mut leader = lead(&sharing).await;
        let waiting: Vec<_> = (0..5).map(|_| join(&sharing)).collect();
        let waits = timeout(Duration::from_secs(1), sharing.join(key("a"))).await;
        assert!(waits.is_err());
        assert!(matches!(sharing.join(key("b")).await, Joined::Lead(_)), "another compile waits for nobody");

        let program = Arc::new(made(vec![1]));
        leader.made(Arc::clone(&program));
        for joined in waiting {
            assert!(matches!(joined.await.unwrap(), Joined::Made(made) if Arc::ptr_eq(&made, &program)));
        }
        assert!(matches!(sharing.join(key("a")).await, Joined::Made(_)), "until it is kept");
        drop(leader);
        lead(&sharing).await;
        assert!(sharing.lock().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_goes_hands_the_lead_over() {
        let sharing: Arc<Sharing> = Arc::default();
        let leader = lead(&sharing).await;
        let led = || {
            let sharing = Arc::clone(&sharing);
            // Whoever gets the lead gives it up as well.
            tokio::spawn(async move { matches!(sharing.join(key("a")).await, Joined::Lead(_)) })
        };
        let waiting = [led(), led(), led()];
        tokio::task::yield_now().await;
        drop(leader);
        for one in waiting {
            assert!(one.await.unwrap());
        }
        assert!(sharing.lock().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_twice_for_what_fails() {
        let sharing = Arc::default();
        let mut leader = lead(&sharing).await;
        let waiting: Vec<_> = (0..3).map(|_| join(&sharing)).collect();
        tokio::task::yield_now().await;
        leader.in_vain();
        drop(leader);
        for joined in waiting {
            assert!(matches!(joined.await.unwrap(), Joined::InVain));
        }
    }
}
