//! What a program finds around it, and that it can't reach the agent.

use crate::rig::{Rig, possible};

#[test]
fn a_program_is_nobody_with_nothing() {
    if !possible() {
        return;
    }
    let script = "grep -E '^(Uid|Gid|Groups|Cap...|NoNewPrivs|Sig(Blk|Ign|Cgt)):' /proc/self/status; \
                  cat /proc/self/oom_score_adj; pwd; umask; \
                  echo shown > /dev/stdout; readlink /dev/shm /tmp; touch /tmp/x /dev/shm/y; cat /proc/1/cmdline";
    let text = Rig::ready().shell(script).text().replace('\t', " ");
    let expected = [
        "Uid: 10000 10000 10000 10000",
        "Gid: 10000 10000 10000 10000",
        "Groups:  ",
        "SigBlk: 0000000000000000",
        "CapInh: 0000000000000000",
        "CapPrm: 0000000000000000",
        "CapEff: 0000000000000000",
        "CapBnd: 0000000000000000",
        "CapAmb: 0000000000000000",
        "NoNewPrivs: 1",
        "1000",
        "/box/work",
        "0022",
        "shown",
        "/box/shm",
        "/box/tmp",
    ];
    for line in expected {
        assert!(text.lines().any(|other| other == line), "{line} is missing:\n{text}");
    }
    // 32 and 33 belong to the C library, which lets nobody change them: they are as whoever ran the test had them.
    let ignored = text.lines().find_map(|line| line.strip_prefix("SigIgn: ")).unwrap();
    assert_eq!(u64::from_str_radix(ignored, 16).unwrap() & !(3 << 31), 0, "{ignored}");
    assert_eq!(Rig::ready().run(&["ls", "/proc/self/fd"]).text(), "0\n1\n2\n3\n", "3 is its own");
}

#[test]
fn the_agent_can_not_be_reached() {
    if !possible() {
        return;
    }
    let script = "for name in environ mem maps fd exe cwd root; do \
                    if cat /proc/1/$name >/dev/null 2>&1 || ls /proc/1/$name/ >/dev/null 2>&1; \
                    then echo $name is open; fi; done; \
                  kill -9 1 2>/dev/null && echo signal 9 was taken; \
                  kill -TERM 1 2>/dev/null && echo signal 15 was taken; \
                  perl -e 'for (16, 0x4206) { $! = 0; my $r = syscall(101, $_, 1, 0, 0); \
                    print \"ptrace $_: $r\\n\" unless $r == -1 && $!{EPERM} }'; \
                  echo alive";
    assert_eq!(Rig::ready().shell(script).text(), "alive\n");
}

#[test]
fn the_root_is_not_the_programs() {
    if !possible() {
        return;
    }
    let script = "for place in / /box /dev /.sandboxd; do touch $place/x 2>/dev/null && echo $place; done; \
                  mv /box/work /box/else 2>/dev/null && echo moved; rmdir /box/shm 2>/dev/null && echo gone; true";
    assert_eq!(Rig::ready().shell(script).text(), "");
}
