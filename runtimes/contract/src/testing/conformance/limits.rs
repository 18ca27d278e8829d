//! Kernel limits: held, and told by the counters that the kernel itself keeps.

use super::{
    Verdict, slack,
    toolbox::{Ran, Toolbox, command, equal, holds, limits, run_out, told},
};
use crate::{Exit, KernelLimits, RuntimeError};

const MIB: u64 = 1 << 20;

fn oom_kills(ran: &Ran) -> Result<u64, String> {
    ran.facts.oom_kills.ok_or_else(|| "the oom counter is not known".to_owned())
}

pub(super) async fn a_memory_hog_moves_the_oom_counter(toolbox: &Toolbox) -> Verdict {
    let ran = toolbox.python("x = bytearray(300 << 20)").await?;
    equal("exit", ran.exit, Exit::Signal(9))?;
    holds("the oom counter stands still", oom_kills(&ran)? >= 1)?;
    if let Some(peak) = ran.facts.memory_peak_bytes {
        holds(format!("a peak of {peak} bytes"), (100 * MIB..=128 * MIB).contains(&peak))?;
    }
    Ok(())
}

pub(super) async fn a_hungry_grandchild_takes_the_sandbox_along(toolbox: &Toolbox) -> Verdict {
    let code = "import os, time\nif os.fork() == 0:\n    x = bytearray(300 << 20)\ntime.sleep(20)";
    let ran = toolbox.python(code).await?;
    equal("exit", ran.exit, Exit::Signal(9))?;
    holds("the oom counter stands still", oom_kills(&ran)? >= 1)
}

pub(super) async fn a_plain_kill_does_not_move_the_oom_counter(toolbox: &Toolbox) -> Verdict {
    let ran = toolbox.shell("kill -9 $$").await?;
    equal("exit", ran.exit, Exit::Signal(9))?;
    equal("oom kills", oom_kills(&ran)?, 0)
}

pub(super) async fn files_count_as_memory(toolbox: &Toolbox) -> Verdict {
    let limits = KernelLimits { memory_bytes: 32 * MIB, ..limits() };
    let ran = toolbox.run(&["/bin/sh", "-c", "head -c 50000000 /dev/zero > x"], &limits).await?;
    holds("the oom counter stands still", oom_kills(&ran)? >= 1)
}

/// What can't be held may be refused; what is held is the program's end, however early the kernel kills for it.
pub(super) async fn a_limit_that_nothing_fits_into(toolbox: &Toolbox) -> Verdict {
    let limits = KernelLimits { memory_bytes: 1, ..limits() };
    let mut sandbox = toolbox.launch_with(&limits).await?;
    let started = sandbox.start(command(&["/bin/sh", "-c", "exit 0"]), &limits).await;
    let ended = match started {
        Ok(started) => run_out(&mut *sandbox, started).await.and_then(|ran| {
            equal("exit", ran.exit, Exit::Signal(9))?;
            holds("a program ran in one byte", oom_kills(&ran)? >= 1)
        }),
        Err(RuntimeError::LimitNotHeld { .. }) => Ok(()),
        Err(error) => Err(told(error)),
    };
    sandbox.destroy().await.map_err(told)?;
    ended
}

pub(super) async fn the_disk_is_full_at_its_limit(toolbox: &Toolbox) -> Verdict {
    let limits = KernelLimits { disk_bytes: 8 * MIB, ..limits() };
    let script = "head -c 5000000 /dev/zero > a; head -c 5000000 /dev/zero > /tmp/b; wc -c < a";
    let ran = toolbox.run(&["/bin/sh", "-c", script], &limits).await?;
    equal("what fitted", ran.stdout.as_str(), "5000000\n")?;
    holds(format!("no word of it: {}", ran.stderr), ran.stderr.contains("No space left"))
}

pub(super) async fn a_file_ends_at_its_limit(toolbox: &Toolbox) -> Verdict {
    let limits = KernelLimits { file_size_bytes: MIB, ..limits() };
    let ran = toolbox.run(&["/bin/sh", "-c", "exec head -c 2000000 /dev/zero > x"], &limits).await?;
    // SIGXFSZ
    equal("exit", ran.exit, Exit::Signal(25))
}

pub(super) async fn descriptors_end_at_their_limit(toolbox: &Toolbox) -> Verdict {
    let limits = KernelLimits { open_files: 16, ..limits() };
    let code = "import os\nn = 0\ntry:\n    while True: os.open('/dev/null', 0); n += 1\nexcept OSError as error: print(n, error.errno)";
    let ran = toolbox.python_within(code, &limits).await?;
    equal("descriptors", ran.stdout.as_str(), "13 24\n")
}

pub(super) async fn a_fork_bomb_stays_within_its_tasks(toolbox: &Toolbox) -> Verdict {
    let limits = KernelLimits { tasks: 20, ..limits() };
    let code = "import os, time\nn = 1\ntry:\n    while n < 500:\n        if os.fork() == 0: time.sleep(20)\n        n += 1\nexcept OSError: pass\nprint(n)";
    let ran = toolbox.python_within(code, &limits).await?;
    equal("tasks", ran.stdout.as_str(), "20\n")?;
    holds("no hit is counted", ran.facts.task_limit_hits != Some(0))?;
    equal("peak", ran.facts.tasks_peak.unwrap_or(20), 20)
}

pub(super) async fn cpu_time_is_counted(toolbox: &Toolbox) -> Verdict {
    let code = "import time\nend = time.process_time() + 0.3\nwhile time.process_time() < end: pass";
    let busy = toolbox.python(code).await?;
    let time = busy.facts.cpu_time.ok_or("CPU time is not known")?.as_millis();
    // A clock inside may tick coarsely; the count comes from outside.
    holds(format!("{time} ms for 300 ms of work"), (250..2000 * u128::from(slack())).contains(&time))?;
    let idle = toolbox.shell("sleep 0.3").await?;
    let time = idle.facts.cpu_time.ok_or("CPU time is not known")?.as_millis();
    holds(format!("{time} ms for sleeping"), time < 150 * u128::from(slack()))
}

pub(super) async fn limits_of_the_start_replace_those_of_the_launch(toolbox: &Toolbox) -> Verdict {
    let wide = KernelLimits { memory_bytes: 256 * MIB, tasks: 100, disk_bytes: 128 * MIB, ..limits() };
    let code = "x = bytearray(200 << 20)\ndel x\nopen('f', 'wb').write(bytes(60 << 20))\nopen('g', 'wb').write(bytes(40 << 20))\nprint('fits')";
    equal("wider", toolbox.python_within(code, &wide).await?.stdout.as_str(), "fits\n")?;
    let narrow = KernelLimits { memory_bytes: 24 * MIB, ..limits() };
    let ran = toolbox.python_within("x = bytearray(60 << 20)", &narrow).await?;
    holds("narrower does not hold", oom_kills(&ran)? >= 1)
}
