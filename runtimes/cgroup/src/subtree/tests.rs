//! Subtrees in folders: locks, sweeps, descriptors, reasons.

use std::fs;
use std::path::Path;

use super::*;

fn layout(root: &Path) -> Layout {
    for name in ["memory", "pids"] {
        fs::create_dir_all(root.join(name)).unwrap();
    }
    let root = root.display();
    let mounts =
        format!("cgroup {root}/memory cgroup rw,memory 0 0\ncgroup {root}/pids cgroup rw,pids 0 0\n");
    Layout::from_parts(&mounts, "", true, false)
}

#[test]
fn an_instance_has_one_owner() {
    let root = tempfile::tempdir().unwrap();
    let layout = layout(root.path());
    let first = Subtree::create(&layout, "a").unwrap();
    let second = Subtree::create(&layout, "a").unwrap();
    assert!(second.gap(Controller::Memory).unwrap().contains("lock a"));
    assert_eq!(second.export().len(), 0);
    second.remove().unwrap();
    let other = Subtree::create(&layout, "b").unwrap();
    drop(first);
    let third = Subtree::create(&layout, "a").unwrap();
    assert_eq!(third.gap(Controller::Memory), None);
    third.remove().unwrap();
    assert!(root.path().join("memory/sandboxd/b").exists());
    other.remove().unwrap();
    assert!(!root.path().join("memory/sandboxd").exists());
    assert!(!root.path().join("pids/sandboxd").exists());
}

#[test]
fn a_sweep_removes_the_dead_and_leaves_the_living() {
    let root = tempfile::tempdir().unwrap();
    let layout = layout(root.path());
    let living = Subtree::create(&layout, "living").unwrap();
    for group in ["memory/sandboxd/dead/one", "pids/sandboxd/dead/one", "pids/sandboxd/dead/two"] {
        fs::create_dir_all(root.path().join(group)).unwrap();
    }
    fs::create_dir(root.path().join("memory/sandboxd/living/one")).unwrap();
    assert_eq!(sweep(&layout).unwrap(), Swept { groups: 2, processes: 0 });
    assert_eq!(sweep(&layout).unwrap(), Swept::default());
    assert!(!root.path().join("memory/sandboxd/dead").exists());
    assert!(!root.path().join("pids/sandboxd/dead").exists());
    assert!(root.path().join("memory/sandboxd/living/one").exists());
    living.remove().unwrap();
}

#[test]
fn a_sweep_that_meets_an_obstacle_goes_on_and_says_so() {
    let root = tempfile::tempdir().unwrap();
    let layout = layout(root.path());
    for instance in ["a", "b", "c"] {
        fs::create_dir_all(root.path().join("memory/sandboxd").join(instance)).unwrap();
    }
    // No folder with a file in it can be removed: unlike a group, whose files are the kernel's.
    fs::write(root.path().join("memory/sandboxd/b/obstacle"), "").unwrap();
    assert_eq!(sweep(&layout).unwrap_err().path, "b");
    assert!(!root.path().join("memory/sandboxd/a").exists());
    assert!(!root.path().join("memory/sandboxd/c").exists());
}

#[test]
fn exported_descriptors_do_not_carry_the_lock() {
    let root = tempfile::tempdir().unwrap();
    let layout = layout(root.path());
    let daemon = Subtree::create(&layout, "a").unwrap();
    let exported: Vec<_> =
        daemon.export().into_iter().map(|(tag, fd)| (tag, fd.try_clone_to_owned().unwrap())).collect();
    let helper = Subtree::import(exported).unwrap();
    assert!(helper.branches.iter().any(|branch| branch.has(Controller::Pids)));
    helper.clear("").unwrap();
    drop(daemon);
    assert_eq!(Subtree::create(&layout, "a").unwrap().gap(Controller::Memory), None);
    // A helper does not own what it was given.
    helper.remove().unwrap();
    assert!(root.path().join("memory/sandboxd/a").exists());
}

#[test]
fn controllers_are_handed_down_to_the_groups() {
    let root = tempfile::tempdir().unwrap();
    let own = root.path().join("own");
    let groups = [own.clone(), own.join("sandboxd"), own.join("sandboxd/a"), own.join("daemon")];
    for group in &groups {
        fs::create_dir_all(group).unwrap();
        for file in ["cgroup.procs", "cgroup.subtree_control", "cgroup.type"] {
            fs::write(group.join(file), "").unwrap();
        }
    }
    fs::write(root.path().join("cgroup.controllers"), "memory pids\n").unwrap();
    fs::write(own.join("cgroup.procs"), format!("1\n{}\n", std::process::id())).unwrap();
    let mounts = format!("cgroup2 {} cgroup2 rw 0 0\n", root.path().display());
    let layout = Layout::from_parts(&mounts, "0::/own\n", false, false);
    let subtree = Subtree::create(&layout, "a").unwrap();
    let text = |path: &Path| fs::read_to_string(path).unwrap();
    // A plain file keeps what a later write does not reach: the last word begins it.
    for group in groups.iter().take(3) {
        assert!(text(&group.join("cgroup.subtree_control")).starts_with("+pids"), "{}", group.display());
    }
    assert_eq!(text(&own.join("daemon/cgroup.procs")), "0");
    assert!(subtree.gap(Controller::Cpu).unwrap().contains("does not have the cpu controller"));
    // Once it has stepped aside, the daemon is not moved again.
    fs::write(own.join("cgroup.procs"), "1\n").unwrap();
    fs::write(own.join("daemon/cgroup.procs"), "").unwrap();
    drop(subtree);
    Subtree::create(&layout, "a").unwrap();
    assert_eq!(text(&own.join("daemon/cgroup.procs")), "");
}
