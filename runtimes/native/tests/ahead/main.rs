//! Interpreters that wait for their programs: what a program can see of it, which is nothing, and what is left of them,
//! which is nothing either. Without the usual harness, for the reason that the conformance suite has.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod rig;
mod seen;
mod stock;

use std::{panic::AssertUnwindSafe, pin::Pin, process::ExitCode};

use crate::rig::Rig;

type Test = fn(&Rig) -> Pin<Box<dyn Future<Output = ()> + '_>>;

/// A name and the function of that name.
macro_rules! tests {
    ($($module:ident::$name:ident),* $(,)?) => {
        [$((concat!(stringify!($module), "::", stringify!($name)), (|rig| Box::pin($module::$name(rig))) as Test)),*]
    };
}

fn main() -> ExitCode {
    sandboxd_native::become_spawner_if_asked();
    let asked: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let tests = tests![
        seen::python_sees_no_difference,
        seen::node_sees_no_difference,
        seen::endings_are_the_same,
        seen::signals_arrive,
        seen::a_long_program_comes_whole,
        seen::a_program_that_is_wrong_says_so,
        seen::what_the_interpreter_used_is_not_the_programs,
        seen::a_program_finds_nobody_else,
        stock::one_waits_again_after_each_use,
        stock::another_start_gets_another_slot,
        stock::less_memory_gets_another_slot,
        stock::ordinary_programs_find_their_slots,
        stock::what_does_not_wait_is_left_alone,
        stock::one_that_died_is_not_handed_out,
        stock::what_is_asked_for_once_waits_for_nobody,
        stock::places_follow_what_is_asked_for,
    ];
    let (mut passed, mut failed) = (0, Vec::new());
    for (name, test) in tests {
        if !asked.is_empty() && !asked.iter().any(|word| name.contains(word.as_str())) {
            continue;
        }
        let tokio = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let Some(rig) = tokio.block_on(Rig::new()) else {
            return ExitCode::from(u8::from(std::env::var_os("CI").is_some()));
        };
        let run = || {
            tokio.block_on(test(&rig));
            tokio.block_on(rig.close());
        };
        let went_well = std::panic::catch_unwind(AssertUnwindSafe(run)).is_ok();
        println!("test {name} ... {}", if went_well { "ok" } else { "FAILED" });
        if went_well { passed += 1 } else { failed.push(name) }
    }
    let word = if failed.is_empty() { "ok" } else { "FAILED" };
    println!("\ntest result: {word}. {passed} passed; {} failed; 0 ignored\n", failed.len());
    ExitCode::from(u8::from(!failed.is_empty()))
}
