//! What is kept ready, what is removed, and what is left alone.

use std::{
    sync::{Arc, atomic::Ordering::SeqCst},
    time::Duration,
};

use sandboxd_contract::{Demand, KernelLimits, RuntimeError, Sandbox as _, SandboxSpec};

use super::{LIMITS, Place, engine::NOBODY, eventually, spec};
use crate::sandbox::ContainerSandbox;

fn with_memory(memory_bytes: u64) -> SandboxSpec {
    SandboxSpec { limits: KernelLimits { memory_bytes, ..LIMITS }, ..spec() }
}

#[tokio::test(start_paused = true)]
async fn what_was_asked_for_is_kept_ready() {
    let place = Place::new(2);
    let first = place.yard.take(&spec()).await.unwrap();
    eventually("two are ready", || place.yard.ready() == 2).await;
    assert_eq!(place.engine.made(), 3);
    let second = place.yard.take(&with_memory(5)).await.unwrap();
    assert_ne!(first.name, second.name);
    assert_eq!(place.engine.made(), 3, "one that was ready served");
    eventually("two are ready again", || place.yard.ready() == 2).await;
    place.yard.close().await.unwrap();
    assert_eq!(place.engine.names(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn one_that_has_died_on_the_shelf_serves_nobody() {
    let place = Place::new(1);
    let first = place.yard.take(&spec()).await.unwrap();
    eventually("one is ready", || place.yard.ready() == 1).await;
    let dead = place.engine.names().into_iter().find(|name| *name != first.name).unwrap();
    place.engine.die(&dead, false);
    tokio::time::sleep(Duration::from_millis(1)).await;
    let second = place.yard.take(&spec()).await.unwrap();
    assert!(second.is_ready() && second.name != dead);
    eventually("the dead one is removed", || !place.engine.names().contains(&dead)).await;
}

#[tokio::test(start_paused = true)]
async fn who_gives_up_leaves_one_for_the_next() {
    let place = Place::new(1);
    *place.engine.slow.lock().unwrap() = Duration::from_secs(3);
    let gave_up = tokio::time::timeout(Duration::from_secs(1), place.yard.take(&spec())).await.is_err();
    assert!(gave_up);
    eventually("it is ready", || place.yard.ready() == 1).await;
    assert_eq!(place.engine.made(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_is_down_is_unavailable_and_comes_back() {
    let place = Place::new(1);
    place.engine.down.store(true, SeqCst);
    let failed = place.yard.take(&spec()).await.map(|cell| cell.name.clone());
    assert!(matches!(failed, Err(RuntimeError::Unavailable { .. })), "{failed:?}");
    place.engine.down.store(false, SeqCst);
    assert!(place.yard.take(&spec()).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn an_agent_of_another_version_is_refused_and_its_container_removed() {
    let place = Place::new(0);
    *place.engine.version.lock().unwrap() = Some(99);
    let failed = place.yard.take(&spec()).await.map(|cell| cell.name.clone());
    assert!(failed.unwrap_err().to_string().contains("version 99"));
    eventually("it is removed", || place.engine.names().is_empty()).await;
}

#[tokio::test(start_paused = true)]
async fn the_dead_are_swept_and_the_living_and_strangers_are_not() {
    let place = Place::new(0);
    let living = Place::another(&place.folder, &place.engine);
    let alive = living.take(&spec()).await.unwrap();
    let dead = Place::another(&place.folder, &place.engine);
    dead.take(&spec()).await.unwrap();
    drop(dead);
    place.engine.leave("a-stranger", "018f0000000070008000000000000000");
    place.engine.leave("lost", NOBODY);
    assert_eq!(place.yard.sweep().await.unwrap().sandboxes, 2);
    let mut expected = vec!["a-stranger".to_owned(), alive.name.clone()];
    expected.sort();
    assert_eq!(place.engine.names(), expected);
    assert_eq!(std::fs::read_dir(place.folder.path().join("owners")).unwrap().count(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_sweep_that_could_not_be_done_is_done_before_the_first_sandbox() {
    let place = Place::new(0);
    let dead = Place::another(&place.folder, &place.engine);
    let left = dead.take(&spec()).await.unwrap().name.clone();
    drop(dead);
    place.engine.down.store(true, SeqCst);
    assert!(place.yard.sweep().await.is_err());
    place.engine.down.store(false, SeqCst);
    place.yard.take(&spec()).await.unwrap();
    assert!(!place.engine.names().contains(&left));
}

#[tokio::test(start_paused = true)]
async fn a_leftover_that_would_not_go_holds_up_nothing_and_is_tried_again() {
    let place = Place::new(0);
    let dead = Place::another(&place.folder, &place.engine);
    let left = dead.take(&spec()).await.unwrap().name.clone();
    drop(dead);
    *place.engine.stuck.lock().unwrap() = Some(left.clone());
    place.yard.take(&spec()).await.unwrap();
    assert!(place.engine.names().contains(&left));
    place.yard.tend();
    *place.engine.stuck.lock().unwrap() = None;
    eventually("it is removed", || !place.engine.names().contains(&left)).await;
    assert_eq!(std::fs::read_dir(place.folder.path().join("owners")).unwrap().count(), 1);
}

#[tokio::test(start_paused = true)]
async fn who_needs_one_now_waits_for_no_shelf() {
    let place = Place::new(16);
    *place.engine.slow.lock().unwrap() = Duration::from_secs(1);
    place.yard.take(&spec()).await.unwrap();
    // By now all makers make some of the sixteen.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let other = SandboxSpec { executor: "c".to_owned(), ..spec() };
    let asked = tokio::time::Instant::now();
    place.yard.take(&other).await.unwrap();
    assert!(asked.elapsed() <= Duration::from_millis(2100), "{:?}", asked.elapsed());
    eventually("the shelf is full", || place.yard.ready() == 32).await;
}

#[tokio::test(start_paused = true)]
async fn what_got_away_is_found_again() {
    let place = Place::new(0);
    let used = place.yard.take(&spec()).await.unwrap();
    place.yard.tend();
    let owner = place.engine.containers.lock().unwrap()[&used.name].owner.clone();
    place.engine.leave("sandboxd-stray", &owner);
    eventually("the stray is removed", || place.engine.names() == [used.name.clone()]).await;
}

#[tokio::test(start_paused = true)]
async fn removing_is_tried_again() {
    let place = Place::new(0);
    let cell = place.yard.take(&spec()).await.unwrap();
    place.engine.down.store(true, SeqCst);
    place.yard.bury(cell);
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(place.engine.names().len(), 1);
    place.engine.down.store(false, SeqCst);
    eventually("it is removed", || place.engine.names().is_empty()).await;
}

#[tokio::test(start_paused = true)]
async fn nothing_is_kept_ready_of_what_is_asked_for_once() {
    let place = Place::new(2);
    place.yard.take(&SandboxSpec { demand: Demand::Once, ..spec() }).await.unwrap();
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!((place.engine.made(), place.yard.ready()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn what_was_never_used_is_given_back() {
    let place = Place::new(1);
    let spec = SandboxSpec { demand: Demand::Standing, ..spec() };
    let cell = place.yard.take(&spec).await.unwrap();
    let name = cell.name.clone();
    drop(ContainerSandbox::new(Arc::clone(&place.yard), spec.clone(), cell));
    eventually("it is ready again", || place.yard.ready() == 1).await;
    let mut again = ContainerSandbox::new(Arc::clone(&place.yard), spec.clone(), {
        let cell = place.yard.take(&spec).await.unwrap();
        assert_eq!((&cell.name, place.engine.made()), (&name, 1));
        cell
    });
    // Once something was started in it, it is nobody's any more.
    let _started = again.start(super::command(&["wait"]), &LIMITS).await.unwrap();
    again.destroy().await.unwrap();
    assert!(!place.engine.names().contains(&name));
}

#[tokio::test(start_paused = true)]
async fn what_nobody_asks_for_any_more_is_not_kept_ready() {
    let place = Place::new(1);
    place.yard.tend();
    let standing = SandboxSpec { demand: Demand::Standing, ..SandboxSpec::once("c", LIMITS) };
    for spec in [&spec(), &standing] {
        let cell = place.yard.take(spec).await.unwrap();
        place.yard.bury(cell);
    }
    eventually("both are ready", || place.yard.ready() == 2).await;
    eventually("only what stands is left", || place.yard.ready() == 1).await;
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!((place.yard.ready(), place.engine.names().len()), (1, 1));
}
