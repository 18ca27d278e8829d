//! Programs: how they start, talk, end and are ended, and what they can't see.

use std::time::Duration;

use super::{
    Verdict, slack,
    toolbox::{Toolbox, command, equal, holds, kill, limits, read_all, read_some, start, told, write_all},
};
use crate::{Command, Exit, RuntimeError, Signal};

pub(super) async fn exit_codes_pass_through(toolbox: &Toolbox) -> Verdict {
    for code in [0, 1, 7, 127, 255] {
        let ran = toolbox.shell(&format!("exit {code}")).await?;
        equal("exit", ran.exit, Exit::Code(code))?;
    }
    Ok(())
}

pub(super) async fn signals_pass_through(toolbox: &Toolbox) -> Verdict {
    // The last ones are real-time signals, which have no names that all shells know.
    let signals =
        [("SEGV", 11), ("TERM", 15), ("ABRT", 6), ("KILL", 9), ("XCPU", 24), ("34", 34), ("64", 64)];
    for (name, number) in signals {
        let ran = toolbox.shell(&format!("kill -{name} $$")).await?;
        equal(name, ran.exit, Exit::Signal(number))?;
    }
    Ok(())
}

pub(super) async fn an_orphan_may_end_however_it_likes(toolbox: &Toolbox) -> Verdict {
    let ran = toolbox.shell("(sh -c 'sleep 0.1; kill -40 $$' &); sleep 0.4; exit 3").await?;
    equal("exit", ran.exit, Exit::Code(3))
}

pub(super) async fn wait_is_sticky_and_cancel_safe(toolbox: &Toolbox) -> Verdict {
    let mut sandbox = toolbox.launch().await?;
    let mut started = start(&mut *sandbox, &["/bin/sh", "-c", "sleep 0.3; exit 5"]).await?;
    let early = tokio::time::timeout(Duration::from_millis(50), started.process.wait()).await;
    holds("it ended at once", early.is_err())?;
    for _ in 0..3 {
        equal("exit", started.process.wait().await.map_err(told)?, Exit::Code(5))?;
    }
    sandbox.destroy().await.map_err(told)
}

/// An error may come from the start or from the wait, but must be of the one kind.
async fn not_started(toolbox: &Toolbox, argv: &[&str]) -> Verdict {
    let mut sandbox = toolbox.launch().await?;
    let failure = match sandbox.start(command(argv), &limits()).await {
        Err(error) => Err(error),
        Ok(mut started) => started.process.wait().await,
    };
    sandbox.destroy().await.map_err(told)?;
    match failure {
        Err(RuntimeError::NotStarted { program, .. }) => equal("program", program.as_str(), argv[0]),
        other => Err(format!("{other:?} rather than NotStarted")),
    }
}

pub(super) async fn a_program_that_is_not_there_is_not_started(toolbox: &Toolbox) -> Verdict {
    not_started(toolbox, &["/nowhere/program"]).await?;
    not_started(toolbox, &["no-such-program-in-path"]).await
}

pub(super) async fn a_program_that_can_not_be_executed_is_not_started(toolbox: &Toolbox) -> Verdict {
    not_started(toolbox, &["/etc/passwd"]).await
}

pub(super) async fn arguments_and_environment_are_exact(toolbox: &Toolbox) -> Verdict {
    let mut sandbox = toolbox.launch().await?;
    let code = "import os, sys\nprint(sys.argv[1:], sorted(os.environ.items()), os.getcwd())";
    let argv = ["/usr/bin/python3", "-c", code, "", "a b", "ü", "-x"].map(str::to_owned).to_vec();
    // LC_CTYPE keeps the interpreter from adding it by itself.
    let env = [("LC_CTYPE", "C.UTF-8"), ("B", ""), ("A", "1=2")]
        .map(|(a, b)| (a.to_owned(), b.to_owned()))
        .to_vec();
    let mut started = sandbox.start(Command { argv, env }, &limits()).await.map_err(told)?;
    let stdout = read_all(started.stdout).await?;
    equal("exit", started.process.wait().await.map_err(told)?, Exit::Code(0))?;
    sandbox.destroy().await.map_err(told)?;
    let expected = "['', 'a b', 'ü', '-x'] [('A', '1=2'), ('B', ''), ('LC_CTYPE', 'C.UTF-8')] /box/work\n";
    equal("what the program saw", String::from_utf8_lossy(&stdout).as_ref(), expected)
}

pub(super) async fn stdin_arrives_and_ends(toolbox: &Toolbox) -> Verdict {
    let mut sandbox = toolbox.launch().await?;
    let mut started = start(&mut *sandbox, &["/bin/sh", "-c", "read line; echo \"<$line>\"; cat"]).await?;
    write_all(&mut started, b"first\n").await?;
    equal("answer", read_some(&mut started, 8).await?.as_str(), "<first>\n")?;
    write_all(&mut started, b"rest").await?;
    drop(started.stdin);
    let rest = read_all(started.stdout).await?;
    equal("rest", rest.as_slice(), b"rest")?;
    equal("exit", started.process.wait().await.map_err(told)?, Exit::Code(0))?;
    sandbox.destroy().await.map_err(told)
}

pub(super) async fn stdout_and_stderr_are_apart(toolbox: &Toolbox) -> Verdict {
    let ran =
        toolbox.shell("echo out; echo err >&2; echo out2 > /dev/stdout; echo err2 > /dev/stderr").await?;
    equal("stdout", ran.stdout.as_str(), "out\nout2\n")?;
    equal("stderr", ran.stderr.as_str(), "err\nerr2\n")
}

pub(super) async fn a_slow_reader_loses_nothing(toolbox: &Toolbox) -> Verdict {
    const TOTAL: usize = 10 << 20;
    let mut sandbox = toolbox.launch().await?;
    let code = "import sys\nfor i in range(160): sys.stdout.buffer.write(bytes([i]) * 65536)";
    let mut started = start(&mut *sandbox, &["python3", "-c", code]).await?;
    drop(started.stdin);
    tokio::time::sleep(Duration::from_millis(300)).await;
    let mut stdout = started.stdout;
    let mut seen = 0_usize;
    let mut buffer = vec![0; 8192];
    loop {
        let count = tokio::io::AsyncReadExt::read(&mut stdout, &mut buffer)
            .await
            .map_err(|error| error.to_string())?;
        if count == 0 {
            break;
        }
        let right =
            buffer[..count].iter().enumerate().all(|(at, byte)| usize::from(*byte) == (seen + at) / 65536);
        holds(format!("a wrong byte after {seen}"), right)?;
        if seen.is_multiple_of(1 << 20) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        seen += count;
    }
    equal("bytes", seen, TOTAL)?;
    equal("exit", started.process.wait().await.map_err(told)?, Exit::Code(0))?;
    sandbox.destroy().await.map_err(told)
}

pub(super) async fn kill_takes_grandchildren_daemons_and_the_stopped(toolbox: &Toolbox) -> Verdict {
    let mut sandbox = toolbox.launch().await?;
    let script = "trap '' TERM INT HUP; setsid sh -c 'trap \"\" TERM; sleep 1000 & sleep 1000' & (sh -c 'kill -STOP $$') & \
                  sleep 0.2; echo up; while :; do sleep 1000; done";
    let mut started = start(&mut *sandbox, &["/bin/sh", "-c", script]).await?;
    read_some(&mut started, 3).await?;
    equal("exit", kill(&mut started).await?, Exit::Signal(9))?;
    // With everybody dead, nobody holds the streams open.
    read_all(started.stdout).await?;
    read_all(started.stderr).await?;
    sandbox.destroy().await.map_err(told)
}

pub(super) async fn other_signals_reach_the_program(toolbox: &Toolbox) -> Verdict {
    let mut sandbox = toolbox.launch().await?;
    let code = "import os, signal, sys, time\ndef caught(*_): os.write(1, b'int\\n'); sys.exit(3)\n\
                signal.signal(signal.SIGINT, caught)\nprint('up', flush=True)\ntime.sleep(60)";
    let mut started = start(&mut *sandbox, &["python3", "-c", code]).await?;
    read_some(&mut started, 3).await?;
    started.process.signal(Signal::Interrupt).await.map_err(told)?;
    equal("answer", read_some(&mut started, 4).await?.as_str(), "int\n")?;
    equal("exit", started.process.wait().await.map_err(told)?, Exit::Code(3))?;
    started.process.signal(Signal::Terminate).await.map_err(told)?;
    sandbox.destroy().await.map_err(told)
}

pub(super) async fn leftovers_die_with_the_first_process(toolbox: &Toolbox) -> Verdict {
    let began = tokio::time::Instant::now();
    let ran =
        toolbox.shell("sleep 1000 & setsid sleep 1000 & (sleep 1000 & exec sleep 1000) & exit 4").await?;
    equal("exit", ran.exit, Exit::Code(4))?;
    holds("the streams stayed open", began.elapsed() < Duration::from_secs(5) * slack())
}

pub(super) async fn destroy_twice(toolbox: &Toolbox) -> Verdict {
    let mut sandbox = toolbox.launch().await?;
    let mut started = start(&mut *sandbox, &["/bin/sh", "-c", "exit 0"]).await?;
    started.process.wait().await.map_err(told)?;
    sandbox.destroy().await.map_err(told)?;
    sandbox.destroy().await.map_err(told)
}

pub(super) async fn destroy_without_wait(toolbox: &Toolbox) -> Verdict {
    let mut sandbox = toolbox.launch().await?;
    let _started = start(&mut *sandbox, &["/bin/sh", "-c", "sleep 1000 & sleep 1000"]).await?;
    sandbox.destroy().await.map_err(told)
}

pub(super) async fn destroy_without_start(toolbox: &Toolbox) -> Verdict {
    let mut sandbox = toolbox.launch().await?;
    sandbox.destroy().await.map_err(told)
}

pub(super) async fn a_dropped_sandbox_leaves_nothing(toolbox: &Toolbox) -> Verdict {
    let mut sandbox = toolbox.launch().await?;
    drop(start(&mut *sandbox, &["/bin/sh", "-c", "setsid sleep 1000 & sleep 1000"]).await?);
    drop(sandbox);
    drop(toolbox.launch().await?);
    Ok(())
}

pub(super) async fn two_sandboxes_do_not_see_each_other(toolbox: &Toolbox) -> Verdict {
    let mut first = toolbox.launch().await?;
    let script = "echo secret > mine; echo secret > /tmp/mine; echo up; sleep 1000";
    let mut started = start(&mut *first, &["/bin/sh", "-c", script]).await?;
    read_some(&mut started, 3).await?;
    let code = "import os\nnames = [name for name in os.listdir('.') + os.listdir('/tmp') if 'mine' in name]\n\
                others = [p for p in os.listdir('/proc') if p.isdigit() and 'secret' in open(f'/proc/{p}/cmdline').read() and int(p) != os.getpid()]\n\
                print(names, others)";
    let ran = toolbox.python(code).await;
    first.destroy().await.map_err(told)?;
    equal("what the second saw", ran?.stdout.as_str(), "[] []\n")
}

pub(super) async fn there_is_no_network(toolbox: &Toolbox) -> Verdict {
    let code = "import socket\nfor family, address in ((socket.AF_INET, ('127.0.0.1', 22)), (socket.AF_INET, ('192.0.2.1', 80)), (socket.AF_INET6, ('::1', 22))):\n\
                \x20   s = socket.socket(family)\n\
                \x20   s.settimeout(1)\n\
                \x20   try:\n\
                \x20       s.connect(address)\n\
                \x20       print('connected')\n\
                \x20   except OSError:\n\
                \x20       print('no')\n";
    let ran = toolbox.python(code).await?;
    equal("connections", ran.stdout.as_str(), "no\nno\nno\n")
        .map_err(|error| format!("{error} {}", ran.stderr))
}

pub(super) async fn the_program_is_nobody_special(toolbox: &Toolbox) -> Verdict {
    // Not every kernel (gVisor's) shows the last right in status: PR_GET_NO_NEW_PRIVS of prctl(2).
    let code = "import os\nstatus = dict(line.split(':\\t') for line in open('/proc/self/status').read().splitlines() if ':\\t' in line)\n\
                print(os.getuid() != 0, int(status['CapEff'], 16), int(status['CapBnd'], 16), status.get('NoNewPrivs') or __import__('ctypes').CDLL(None).prctl(39, 0, 0, 0, 0), os.access('/usr/bin', os.W_OK))";
    let ran = toolbox.python(code).await?;
    equal("privileges", ran.stdout.as_str(), "True 0 0 1 False\n")
        .map_err(|error| format!("{error} {}", ran.stderr))
}
