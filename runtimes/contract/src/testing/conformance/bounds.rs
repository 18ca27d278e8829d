//! Bounds that nothing shows when all goes well: of a CPU's time, of the stack, of what is collected, of the network,
//! and of what a runtime may leave unknown.

use super::{
    Verdict,
    toolbox::{Toolbox, equal, holds, limits, run_in, told},
};
use crate::{CollectRequest, Collected, Exit, Glob, KernelLimit, KernelLimits, LimitSupport};

/// A counter may be unknown only where the runtime says that it can't hold the limit which the counter belongs to; but
/// whom a kernel inside of the sandbox (gVisor's) refuses a task, it tells nobody.
pub(super) async fn what_is_held_is_also_counted(toolbox: &Toolbox) -> Verdict {
    let probe = toolbox.probe().await;
    let held = |limit: KernelLimit| probe.limits.contains(&(limit, LimitSupport::Held));
    for limit in KernelLimit::ALL {
        let times = probe.limits.iter().filter(|(one, _)| *one == limit).count();
        equal(&format!("how often the probe names {}", limit.name()), times, 1)?;
    }
    let facts = toolbox.shell("exit 0").await?.facts;
    holds(
        "memory is held, but its kills are not counted",
        !held(KernelLimit::Memory) || facts.oom_kills.is_some(),
    )?;
    let own_kernel = probe.details.iter().any(|(name, _)| *name == "gvisor");
    holds(
        "tasks are held, but refused ones are not counted",
        !held(KernelLimit::Tasks) || own_kernel || facts.task_limit_hits.is_some(),
    )?;
    holds(
        "a share of a CPU is held, but its time is not counted",
        !held(KernelLimit::Cpu) || facts.cpu_time.is_some(),
    )
}

pub(super) async fn a_share_of_a_cpu_is_not_exceeded(toolbox: &Toolbox) -> Verdict {
    let limits = KernelLimits { cpu_millis: Some(200), ..limits() };
    let code = "import time\nend = time.monotonic() + 1.5\nwhile time.monotonic() < end: pass";
    let began = tokio::time::Instant::now();
    let ran = toolbox.python_within(code, &limits).await?;
    let wall = began.elapsed().as_millis();
    let Some(time) = ran.facts.cpu_time else { return Ok(()) };
    // From outside, so that a kernel of its own in the sandbox counts. A busy machine only makes the wall time longer.
    // Three periods' shares are for the rounding at both ends.
    let most = wall / 5 + 60;
    let time = time.as_millis();
    holds(format!("{time} ms of CPU in {wall} ms, with a fifth of one"), time <= most)?;
    holds(format!("{time} ms of CPU in {wall} ms is not even half of a fifth"), time >= 150)
}

pub(super) async fn the_stack_ends_at_its_limit(toolbox: &Toolbox) -> Verdict {
    let limits = KernelLimits { stack_bytes: 4 << 20, ..limits() };
    let code = "import resource\nprint(*resource.getrlimit(resource.RLIMIT_STACK))";
    let ran = toolbox.python_within(code, &limits).await?;
    equal("soft and hard limit", ran.stdout.as_str(), "4194304 4194304\n")
        .map_err(|error| format!("{error} {}", ran.stderr))
}

/// By asking for the name of every number an interface could have: the usual ways need a netlink socket or a full
/// /proc, which a sandbox may lack.
pub(super) async fn there_is_no_interface_but_the_loopback(toolbox: &Toolbox) -> Verdict {
    let code = "import fcntl, socket, struct\ns = socket.socket()\nnames = []\nfor index in range(1, 4096):\n\
                \x20   try:\n\
                \x20       name = fcntl.ioctl(s, 0x8910, struct.pack('16si20x', b'', index))[:16]\n\
                \x20       names.append(name.rstrip(b'\\0').decode())\n\
                \x20   except OSError:\n\
                \x20       pass\n\
                print([name for name in names if name != 'lo'])";
    let ran = toolbox.python(code).await?;
    equal("interfaces", ran.stdout.as_str(), "[]\n").map_err(|error| format!("{error} {}", ran.stderr))
}

async fn collect(toolbox: &Toolbox, argv: &[&str], request: &CollectRequest) -> Result<Collected, String> {
    let mut sandbox = toolbox.launch().await?;
    let ran = run_in(&mut *sandbox, argv, &limits()).await;
    let collected = sandbox.collect(request).await;
    sandbox.destroy().await.map_err(told)?;
    let ran = ran?;
    equal("exit", ran.exit, Exit::Code(0)).map_err(|error| format!("{error} {}", ran.stderr))?;
    collected.map_err(told)
}

fn everything() -> Result<CollectRequest, String> {
    let globs = vec![Glob::parse("**")?, Glob::parse("**/*")?];
    Ok(CollectRequest { globs, max_files: 1000, max_bytes: 1 << 20, max_entries: 10_000 })
}

pub(super) async fn collect_takes_no_socket(toolbox: &Toolbox) -> Verdict {
    let code = "import socket\nsocket.socket(socket.AF_UNIX).bind('talk')\nopen('file', 'w').write('x')";
    let collected = collect(toolbox, &["python3", "-c", code], &everything()?).await?;
    let files: Vec<_> = collected.files.iter().map(|file| file.path.as_str()).collect();
    equal("files", files, vec!["file"])?;
    let omitted: Vec<_> = collected.omitted.iter().map(|omitted| omitted.path.as_str()).collect();
    equal("omitted", omitted, vec!["talk"])
}

pub(super) async fn collect_names_what_does_not_fit(toolbox: &Toolbox) -> Verdict {
    let script = "for i in 1 2 3 4 5 6; do head -c 1000 /dev/zero > f$i; done";
    for (request, fits) in [
        (CollectRequest { max_files: 4, ..everything()? }, 4),
        (CollectRequest { max_bytes: 3500, ..everything()? }, 3),
    ] {
        let collected = collect(toolbox, &["/bin/sh", "-c", script], &request).await?;
        equal("files that fit", collected.files.len(), fits)?;
        equal("files that are named as omitted", collected.omitted.len(), 6 - fits)?;
        let whole = collected.files.iter().all(|file| file.content.len() == 1000);
        holds("a file was cut", whole)?;
    }
    Ok(())
}

pub(super) async fn collect_looks_at_so_many_entries_only(toolbox: &Toolbox) -> Verdict {
    let script = "i=0; while [ $i -lt 60 ]; do : > f$i; i=$((i+1)); done";
    let request = CollectRequest { max_entries: 20, ..everything()? };
    let collected = collect(toolbox, &["/bin/sh", "-c", script], &request).await?;
    let looked_at = collected.files.len() + collected.omitted.len();
    holds(format!("{looked_at} entries of 60, where 20 are the bound"), looked_at <= 21)?;
    holds("no entry at all", !collected.files.is_empty())
}
