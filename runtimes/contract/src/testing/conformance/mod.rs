//! The conformance suite: what every runtime must do alike, driven through the contract only.
//!
//! Cases use /bin/sh and, where a shell can't do it, python3: both are in every image of ours. Each case is a function
//! with its own sandbox; a runtime's test runs them all by [`run`] and says what is left on its host by [`Host`].
//! Deliberately absent: anything about verdicts, and any knowledge of how a runtime does it.

mod bounds;
mod files;
mod limits;
mod processes;
mod toolbox;

use std::{sync::Arc, time::Duration};

use crate::Runtime;
use toolbox::Toolbox;

/// What only the host can tell.
pub trait Host: Send + Sync {
    /// Everything of this runtime's sandboxes that is left: processes, cgroups, mounts, containers. Sandboxes that
    /// stand ready do not count.
    fn leftovers(&self) -> Vec<String>;
}

/// A case's failure, as one sentence.
pub type Verdict = Result<(), String>;

type CaseFuture<'a> = std::pin::Pin<Box<dyn Future<Output = Verdict> + Send + 'a>>;

pub struct Case {
    pub name: &'static str,
    run: for<'a> fn(&'a Toolbox) -> CaseFuture<'a>,
}

/// How long a case may take, whatever happens in it.
const PATIENCE: Duration = Duration::from_secs(30);

/// How many times slower than a real machine this one is, from the environment: 1 unless told otherwise, 20 under
/// software emulation. The one place where times are relaxed.
pub fn slack() -> u32 {
    std::env::var("TEST_SLACK").ok().and_then(|text| text.parse().ok()).unwrap_or(1)
}

/// Turns async functions into cases.
macro_rules! cases {
    ($($module:ident :: $name:ident),* $(,)?) => {
        &[$(Case { name: stringify!($name), run: |toolbox| Box::pin($module::$name(toolbox)) }),*]
    };
}

pub const CASES: &[Case] = cases![
    processes::exit_codes_pass_through,
    processes::signals_pass_through,
    processes::an_orphan_may_end_however_it_likes,
    processes::wait_is_sticky_and_cancel_safe,
    processes::a_program_that_is_not_there_is_not_started,
    processes::a_program_that_can_not_be_executed_is_not_started,
    processes::arguments_and_environment_are_exact,
    processes::stdin_arrives_and_ends,
    processes::stdout_and_stderr_are_apart,
    processes::a_slow_reader_loses_nothing,
    processes::kill_takes_grandchildren_daemons_and_the_stopped,
    processes::other_signals_reach_the_program,
    processes::leftovers_die_with_the_first_process,
    processes::destroy_twice,
    processes::destroy_without_wait,
    processes::destroy_without_start,
    processes::a_dropped_sandbox_leaves_nothing,
    processes::two_sandboxes_do_not_see_each_other,
    processes::there_is_no_network,
    processes::the_program_is_nobody_special,
    files::files_are_put_as_they_are,
    files::the_working_directory_and_the_temporary_one_are_writable,
    files::collect_takes_regular_files_only,
    files::collect_is_bounded,
    limits::a_memory_hog_moves_the_oom_counter,
    limits::a_hungry_grandchild_takes_the_sandbox_along,
    limits::a_plain_kill_does_not_move_the_oom_counter,
    limits::files_count_as_memory,
    limits::a_limit_that_nothing_fits_into,
    limits::the_disk_is_full_at_its_limit,
    limits::a_file_ends_at_its_limit,
    limits::descriptors_end_at_their_limit,
    limits::a_fork_bomb_stays_within_its_tasks,
    limits::cpu_time_is_counted,
    limits::limits_of_the_start_replace_those_of_the_launch,
    bounds::what_is_held_is_also_counted,
    bounds::a_share_of_a_cpu_is_not_exceeded,
    bounds::the_stack_ends_at_its_limit,
    bounds::there_is_no_interface_but_the_loopback,
    bounds::collect_takes_no_socket,
    bounds::collect_names_what_does_not_fit,
    bounds::collect_looks_at_so_many_entries_only,
];

/// Runs the whole suite, a line for each case, and gives back the number of passed and the failures.
pub async fn run(runtime: Arc<dyn Runtime>, host: Arc<dyn Host>) -> (usize, Vec<String>) {
    let (mut passed, mut failures) = (0, Vec::new());
    for case in CASES {
        let verdict = run_case(case, &runtime, &host).await;
        println!("test {} ... {}", case.name, if verdict.is_ok() { "ok" } else { "FAILED" });
        match verdict {
            Ok(()) => passed += 1,
            Err(reason) => failures.push(format!("{}: {reason}", case.name)),
        }
    }
    (passed, failures)
}

async fn run_case(case: &Case, runtime: &Arc<dyn Runtime>, host: &Arc<dyn Host>) -> Verdict {
    let toolbox = Toolbox::new(Arc::clone(runtime));
    let verdict = tokio::time::timeout(PATIENCE * slack(), (case.run)(&toolbox))
        .await
        .unwrap_or_else(|_| Err(format!("not done after {} s", PATIENCE.as_secs() * u64::from(slack()))));
    drop(toolbox);
    verdict?;
    // What is destroyed may take a moment to be gone.
    let deadline = std::time::Instant::now() + Duration::from_secs(2) * slack();
    loop {
        let left = host.leftovers();
        if left.is_empty() {
            return Ok(());
        }
        if std::time::Instant::now() > deadline {
            return Err(format!("left behind: {}", left.join(", ")));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
