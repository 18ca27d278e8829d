//! What a program sees, and what is seen of it.

use sandboxd_contract::{Exit, Signal};

use crate::rig::{Outcome, Rig, file, node, python};

/// Everything that a program can easily see of how it was started. Lanes have users of their own, so those are compared
/// with one another.
const PYTHON: &str = "import os, resource, sys, other
print(sys.argv, sys.orig_argv, sys.path[0], __file__, __name__, sys.flags, os.getcwd(), sys.path_importer_cache.keys())
print(sorted(os.environ.items()), os.getpid(), os.getppid(), os.getpgrp() == os.getpid(), os.getsid(0))
seen = os.stat(__file__)
print(open(__file__).read() == open('main.py').read(), seen.st_uid == os.getuid(), seen.st_gid == os.getgid())
print(oct(seen.st_mode), seen.st_nlink, seen.st_size, os.stat('sub').st_uid == os.getuid(), oct(os.stat('sub').st_mode))
print([resource.getrlimit(which) for which in range(16)], sorted(sys.modules), sorted(globals()))
print(sorted(os.listdir('.')), os.listdir('sub'), sorted(os.listdir('/proc/self/fd')), other.x, input())
print([os.fstat(number).st_uid == os.getuid() for number in range(3)], os.listdir('/tmp'), os.listdir('/dev/shm'))
print(open('/proc/self/cmdline').read(), open('/proc/self/status').read().split('SigQ')[1].split('\\n', 1)[1][:400])
print(len(os.listdir('/proc/self/task')), open('/proc/self/oom_score_adj').read(), os.nice(0), os.sched_getscheduler(0))
print(open('/proc/self/cgroup').read(), os.umask(0), [p for p in os.listdir('/proc') if p.isdigit()])
child = os.fork()
if child == 0:
    os._exit(0)
print(child, os.waitpid(child, 0))
def deep(n):
    return deep(n - 1) if n else sys._getframe()
frame, depth = deep(3), 0
while frame:
    frame, depth = frame.f_back, depth + 1
print(depth)
raise ValueError('told')
";

const NODE: &str = "const fs = require('fs');
const show = (...values) => console.log(JSON.stringify(values));
show(process.argv, process.argv0, process.execArgv, process.execPath, process.title, process.cwd(), process.env);
show(__filename, __dirname, require.main === module, module.paths, Object.keys(require.cache), require('./other').x);
show(process.pid, process.ppid, Object.keys(globalThis), process.umask(), process.versions);
show(fs.readFileSync(__filename, 'utf8').length, fs.statSync(__filename).uid === process.getuid());
show(fs.readdirSync('.'), fs.readdirSync('/proc/self/fd').length, fs.readdirSync('/proc/self/task').length);
show(fs.readFileSync('/proc/self/limits', 'utf8'), fs.readFileSync('/proc/self/cmdline', 'utf8'));
show(fs.readFileSync(0, 'utf8'), process.stdout.isTTY, process.listenerCount('exit'), new Error('x').stack);
setTimeout(() => { throw new Error('told') }, 1);
";

fn assert_same([ahead, plain]: &[Outcome; 2]) {
    for (one, other) in [(&ahead.stdout, &plain.stdout), (&ahead.stderr, &plain.stderr)] {
        for (one, other) in one.lines().zip(other.lines()) {
            assert_eq!(one, other);
        }
        assert_eq!(one, other);
    }
    assert_eq!(ahead.exit, plain.exit);
}

pub(crate) async fn python_sees_no_difference(rig: &Rig) {
    let files = [file("main.py", PYTHON), file("other.py", "x = 5\n"), file("sub/data", "1")];
    let both = rig.both(&python(), &files, None).await;
    assert_same(&both);
    assert!(both[0].stderr.contains("raise ValueError('told')"), "{both:?}");
    assert_eq!(both[0].exit, Exit::Code(1));
}

pub(crate) async fn node_sees_no_difference(rig: &Rig) {
    let files = [file("main.js", NODE), file("other.js", "exports.x = 5\n")];
    let both = rig.both(&node(), &files, None).await;
    assert_same(&both);
    assert!(both[0].stderr.contains("Error: told"), "{both:?}");
    assert_eq!(both[0].exit, Exit::Code(1));
}

pub(crate) async fn endings_are_the_same(rig: &Rig) {
    for (code, exit) in [
        ("", Exit::Code(0)),
        ("raise SystemExit(7)", Exit::Code(7)),
        ("import os\nos.abort()", Exit::Signal(6)),
        ("import os\nos.fork()\nos.kill(os.getpid(), 9)", Exit::Signal(9)),
        ("x = 'ä' * 3\nprint(x)\n\u{feff}", Exit::Code(1)),
    ] {
        let both = rig.both(&python(), &[file("main.py", code)], None).await;
        assert_same(&both);
        assert_eq!(both[0].exit, exit, "{code}");
    }
}

pub(crate) async fn signals_arrive(rig: &Rig) {
    let code = "import time\nprint(1, flush=True)\ntime.sleep(60)";
    for signal in [Signal::Interrupt, Signal::Terminate, Signal::Kill] {
        let [ahead, plain] = rig.both(&python(), &[file("main.py", code)], Some(signal)).await;
        assert_eq!(ahead.exit, plain.exit);
        assert_eq!(ahead.stderr.contains("KeyboardInterrupt"), signal == Signal::Interrupt, "{ahead:?}");
    }
}

pub(crate) async fn a_long_program_comes_whole(rig: &Rig) {
    // More than a pipe holds.
    let code = format!("x = '''{}'''\nprint(len(x))\n", "line\n".repeat(20_000));
    let both = rig.both(&python(), &[file("main.py", &code)], None).await;
    assert_same(&both);
    assert_eq!(both[0].stdout, "100000\n");
}

pub(crate) async fn a_program_that_is_wrong_says_so(rig: &Rig) {
    // Wrong at once, with much behind it that nobody wants any more.
    let code = format!("(]\n{}", "x = 1\n".repeat(15_000));
    let both = rig.both(&python(), &[file("main.py", &code)], None).await;
    assert_same(&both);
    assert!(both[0].stderr.contains("SyntaxError"), "{both:?}");
}

pub(crate) async fn what_the_interpreter_used_is_not_the_programs(rig: &Rig) {
    let [ahead, plain] = rig.both(&python(), &[file("main.py", "print(1)")], None).await;
    let times = (ahead.facts.cpu_time.unwrap(), plain.facts.cpu_time.unwrap());
    assert!(times.0 < times.1 / 2, "{times:?}");
    assert_eq!(ahead.facts.tasks_peak, plain.facts.tasks_peak);
    let peaks = (ahead.facts.memory_peak_bytes.unwrap(), plain.facts.memory_peak_bytes.unwrap());
    assert!(peaks.0 > peaks.1 / 2, "its memory is the program's: {peaks:?}");
}

pub(crate) async fn a_program_finds_nobody_else(rig: &Rig) {
    let look =
        "import os\nprint(sorted(p for p in os.listdir('/proc') if p.isdigit()), os.listdir('/box/work'))
for pid in range(1, 40):
    try:
        os.kill(pid, 0)
        print(pid)
    except OSError:
        pass
open('left', 'w').write('x')
open('/tmp/left', 'w').write('x')
os.symlink('/etc/passwd', 'main.js')
if os.fork() == 0:
    os.setsid()
    import time
    time.sleep(60)
";
    for _ in 0..2 {
        let both = rig.both(&python(), &[file("main.py", look)], None).await;
        assert_same(&both);
        assert_eq!(both[0].stdout, "['2'] ['main.py']\n2\n");
    }
}
