//! What of sandboxd's there is, by the labels and folders that every part carries: containers, snapshots without one,
//! pipes and cgroups without either. What somebody else keeps in the same namespace has no such label. A shim carries
//! nothing but its container's id: one whose container is unknown was lost by containerd, which died or was left while
//! it made or ended the task.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::Path,
    sync::Arc,
};

use containerd_client::services::v1::{ListContainersRequest, snapshots::ListSnapshotsRequest};
use sandboxd_container::{
    backend::{Leftover, OWNER_LABEL, SANDBOX_LABEL},
    is_sandbox_name,
};

use crate::{
    Shared, cgroups,
    engine::{TASK_DEADLINE, Trouble},
    fifos,
    handle::{ContainerdHandle, Parts},
    shim,
};

/// Far more than a host runs; the rest is for the next sweep.
const MAX_LEFTOVERS: usize = 16 * 1024;

type Found = BTreeMap<(String, String), Parts>;

/// Every container of any sandboxd, or what is left of it.
pub(crate) async fn list(shared: &Arc<Shared>) -> Result<Vec<Leftover>, Trouble> {
    let mut found = Found::new();
    let (state_dir, max) = (shared.config.state_dir.clone(), MAX_LEFTOVERS);
    let files = tokio::task::spawn_blocking(move || {
        (fifos::list(&state_dir, max), cgroups::list(Path::new(cgroups::ROOT), max))
    });
    let (pipes, groups) = files.await.unwrap_or_default();
    for one in pipes {
        found.entry(one).or_default().fifos = true;
    }
    for one in groups {
        found.entry(one).or_default().cgroup = true;
    }
    // Before the containers: a task is made after its container, and ended before it.
    let shims = shims(shared).await;
    containers(shared, &mut found).await?;
    snapshots(shared, &mut found).await?;
    let lost = lost(shims, &found);
    let leftover = |owner: Option<String>, name: String, parts| {
        // No limit of a leftover is ever changed, so it is all one which runtime it has.
        let owned = owner.clone().unwrap_or_default();
        let handle = ContainerdHandle::new(shared.clone(), owned, name.clone(), parts, true);
        Leftover { owner, sandbox: name, handle: Arc::new(handle) }
    };
    // Whatever is left of a container, its task may be too.
    let owned = found
        .into_iter()
        .map(|((owner, name), parts)| leftover(Some(owner), name, Parts { task: true, ..parts }));
    let lost = lost.into_iter().map(|name| leftover(None, name, Parts { task: true, ..Parts::default() }));
    Ok(owned.chain(lost).collect())
}

/// The sandboxes that have a shim. None where containerd's processes can't be seen.
async fn shims(shared: &Shared) -> BTreeSet<String> {
    let (namespace, address) = (shared.config.namespace.clone(), shared.config.address.clone());
    let shims = tokio::task::spawn_blocking(move || shim::containers(&namespace, &address)).await;
    match shims.map_err(io::Error::other).flatten() {
        Ok(shims) => shims,
        Err(error) => {
            tracing::debug!(%error, "could not look for shims");
            BTreeSet::new()
        }
    }
}

/// Of those that have a shim, the sandboxes of which there is nothing else.
fn lost(mut shims: BTreeSet<String>, found: &Found) -> Vec<String> {
    for (_, name) in found.keys() {
        shims.remove(name);
    }
    shims.into_iter().filter(|name| is_sandbox_name(name)).collect()
}

async fn containers(shared: &Shared, found: &mut Found) -> Result<(), Trouble> {
    let engine = &shared.engine;
    let mut containers = engine.containers().await?;
    let request = engine.request(TASK_DEADLINE, ListContainersRequest { filters: filters() });
    let all = async {
        let mut stream = containers.list_stream(request).await?.into_inner();
        while let Some(message) = stream.message().await? {
            let Some(container) = message.container else { continue };
            if let Some(one) = ours(&container.id, &container.labels).filter(|_| found.len() < MAX_LEFTOVERS)
            {
                let parts = found.entry(one).or_default();
                (parts.container, parts.cgroup) = (true, true);
            }
        }
        Ok(())
    };
    engine.within(TASK_DEADLINE, "containers.List", all).await
}

async fn snapshots(shared: &Shared, found: &mut Found) -> Result<(), Trouble> {
    let engine = &shared.engine;
    let mut snapshots = engine.snapshots().await?;
    let snapshotter = shared.config.snapshotter.clone();
    let request = engine.request(TASK_DEADLINE, ListSnapshotsRequest { snapshotter, filters: filters() });
    let all = async {
        let mut stream = snapshots.list(request).await?.into_inner();
        while let Some(message) = stream.message().await? {
            for info in message.info {
                if let Some(one) = ours(&info.name, &info.labels).filter(|_| found.len() < MAX_LEFTOVERS) {
                    found.entry(one).or_default().snapshot = true;
                }
            }
        }
        Ok(())
    };
    engine.within(TASK_DEADLINE, "snapshots.List", all).await
}

/// Owner and name, where the labels say that it is sandboxd's and the name agrees.
fn ours(id: &str, labels: &std::collections::HashMap<String, String>) -> Option<(String, String)> {
    let (owner, name) = (labels.get(OWNER_LABEL)?, labels.get(SANDBOX_LABEL)?);
    (name == id && is_plain(owner) && is_plain(name)).then(|| (owner.clone(), name.clone()))
}

/// A label becomes a part of paths.
fn is_plain(name: &str) -> bool {
    !name.is_empty() && !name.contains(['.', '/'])
}

fn filters() -> Vec<String> {
    vec![format!("labels.\"{OWNER_LABEL}\"")]
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn a_shim_is_lost_when_nothing_else_is_known_of_a_sandbox() {
        let [known, lost_one] = ["0", "1"].map(|digit| format!("sandboxd-{}", digit.repeat(32)));
        let found = Found::from([(("house".to_owned(), known.clone()), Parts::default())]);
        let shims = [known, lost_one.clone(), "somebody-else's".to_owned()];
        assert_eq!(lost(BTreeSet::from(shims), &found), [lost_one]);
    }

    #[test]
    fn only_what_says_so_twice_is_ours() {
        let labels = |owner: &str, name: &str| {
            HashMap::from([
                (OWNER_LABEL.to_owned(), owner.to_owned()),
                (SANDBOX_LABEL.to_owned(), name.to_owned()),
            ])
        };
        assert_eq!(ours("one", &labels("house", "one")), Some(("house".to_owned(), "one".to_owned())));
        assert_eq!(ours("another", &labels("house", "one")), None);
        assert_eq!(ours("one", &HashMap::new()), None);
        assert_eq!(ours("../one", &labels("house", "../one")), None);
        assert_eq!(ours("one", &labels("..", "one")), None);
    }
}
