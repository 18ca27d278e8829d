//! How many stand ready: as many as are asked for while one more is made, and never more than is allowed in all.

use std::{sync::Arc, time::Duration};

use sandboxd_contract::SandboxSpec;
use tokio::{task::JoinSet, time::sleep};

use super::{Place, eventually, spec};
use crate::shelves::ReadyPolicy;

const ROOMY: ReadyPolicy = ReadyPolicy { warm: 1, max_ready: 64, max_memory_bytes: u64::MAX };
/// What a container of the engine that is made up is taken to hold.
const EACH_BYTES: u64 = 5 << 20;

fn of(executor: &str) -> SandboxSpec {
    SandboxSpec { executor: executor.to_owned(), ..spec() }
}

/// All at once; what they got is thrown away.
async fn rush(place: &Place, executor: &str, asks: usize) {
    let mut takers = JoinSet::new();
    for _ in 0..asks {
        let (yard, spec) = (Arc::clone(&place.yard), of(executor));
        takers.spawn(async move { yard.take(&spec).await });
    }
    for taken in takers.join_all().await {
        place.yard.bury(taken.unwrap());
    }
}

#[tokio::test(start_paused = true)]
async fn a_rush_finds_as_many_ready_when_it_comes_again_and_they_go_when_it_does_not() {
    let place = Place::keeping(ROOMY);
    place.yard.tend();
    rush(&place, "python", 10).await;
    eventually("ten are ready", || place.yard.ready() == 10).await;
    let made = place.engine.made();
    rush(&place, "python", 10).await;
    assert_eq!(place.engine.made(), made, "all ten found one");
    eventually("ten are ready again", || place.yard.ready() == 10).await;
    eventually("half are left", || place.yard.ready() == 5).await;
    eventually("one is left", || place.yard.ready() == 1).await;
    eventually("the others are removed", || place.engine.names().len() == 1).await;
}

#[tokio::test(start_paused = true)]
async fn one_after_the_other_needs_no_more_than_is_kept_anyway() {
    let place = Place::keeping(ROOMY);
    for _ in 0..20 {
        rush(&place, "python", 1).await;
        sleep(Duration::from_secs(1)).await;
        assert_eq!(place.yard.ready(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn no_more_than_allowed_and_what_is_not_asked_for_makes_room() {
    let place = Place::keeping(ReadyPolicy { max_ready: 4, ..ROOMY });
    rush(&place, "python", 9).await;
    sleep(Duration::from_secs(5)).await;
    assert_eq!(place.yard.ready(), 4);
    rush(&place, "c", 3).await;
    sleep(Duration::from_secs(5)).await;
    assert_eq!(
        (place.engine.count_of("python"), place.engine.count_of("c")),
        (4, 0),
        "python was asked for just now"
    );
    sleep(Duration::from_secs(6)).await;
    rush(&place, "c", 3).await;
    sleep(Duration::from_secs(5)).await;
    assert_eq!((place.engine.count_of("python"), place.engine.count_of("c"), place.yard.ready()), (1, 3, 4));
}

#[tokio::test(start_paused = true)]
async fn no_more_than_may_be_held_in_memory() {
    let place = Place::keeping(ReadyPolicy { max_memory_bytes: 44 << 20, ..ROOMY });
    rush(&place, "python", 1).await;
    eventually("the first was measured", || place.yard.ready() == 1).await;
    rush(&place, "python", 20).await;
    sleep(Duration::from_secs(10)).await;
    assert_eq!(place.yard.ready() as u64, (44 << 20) / EACH_BYTES);
    assert_eq!(place.stock.level().ready_memory_bytes, Some(8 * EACH_BYTES));
}
