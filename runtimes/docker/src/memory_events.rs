//! Which containers the kernel has killed something in for want of memory, where their cgroups can't be read: the engine
//! tells it in an event, and in a container's state only once all of it has ended. Started when a connection is made.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bollard::{Docker, query_parameters::EventsOptionsBuilder};
use futures_util::StreamExt as _;
use sandboxd_container::backend::OWNER_LABEL;
use tokio::task::AbortHandle;

/// A container is asked about soon or never.
const REMEMBERED: usize = 1024;
/// Before a stream that broke is asked for again: what was missed meanwhile is told then.
const PAUSE: Duration = Duration::from_secs(1);

/// Ends its task when it is dropped.
pub(crate) struct MemoryEvents {
    seen: Arc<Mutex<VecDeque<String>>>,
    task: AbortHandle,
}

impl MemoryEvents {
    /// Of our containers, from now on.
    pub(crate) fn listen(docker: Docker) -> Self {
        let seen = Arc::default();
        let task = tokio::spawn(listen(docker, Arc::clone(&seen))).abort_handle();
        Self { seen, task }
    }

    /// Whether this container, by its id, was among them.
    pub(crate) fn saw(&self, container: &str) -> bool {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).iter().any(|seen| seen == container)
    }
}

impl Drop for MemoryEvents {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn listen(docker: Docker, seen: Arc<Mutex<VecDeque<String>>>) {
    let filters =
        HashMap::from([("type", vec!["container"]), ("event", vec!["oom"]), ("label", vec![OWNER_LABEL])]);
    // The last one's, by the engine's own clock: what came while nobody listened is told again from there.
    let mut time = None;
    loop {
        let mut options = EventsOptionsBuilder::new().filters(&filters);
        if let Some(time) = time {
            options = options.since(&format!("{time}"));
        }
        let mut events = std::pin::pin!(docker.events(Some(options.build())));
        while let Some(Ok(event)) = events.next().await {
            time = event.time.or(time);
            if let Some(id) = event.actor.and_then(|actor| actor.id) {
                note(&mut seen.lock().unwrap_or_else(PoisonError::into_inner), id);
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

fn note(seen: &mut VecDeque<String>, id: String) {
    if seen.contains(&id) {
        return;
    }
    if seen.len() == REMEMBERED {
        seen.pop_front();
    }
    seen.push_back(id);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_seen_is_bounded_and_told_once() {
        let mut seen = VecDeque::new();
        (0..REMEMBERED).for_each(|n| note(&mut seen, n.to_string()));
        note(&mut seen, "7".to_owned());
        assert_eq!(seen.len(), REMEMBERED);
        note(&mut seen, "new".to_owned());
        assert!(
            seen.len() == REMEMBERED && seen.contains(&"new".to_owned()) && !seen.contains(&"0".to_owned())
        );
    }
}
