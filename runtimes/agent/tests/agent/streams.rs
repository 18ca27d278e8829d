//! Bytes flow as far as there is credit, and hold up nothing else.

use std::time::Duration;

use sandboxd_agent::{FromAgent, MAX_DATA_BYTES, Output, ToAgent};

use crate::rig::{Rig, possible};

const MIB: usize = 1 << 20;

#[test]
fn a_slow_reader_gets_every_byte_and_never_more_than_it_wants() {
    if !possible() {
        return;
    }
    let mut rig = Rig::ready();
    rig.begin(&["head", "-c", "10485760", "/dev/zero"]);
    assert_eq!(rig.next(), FromAgent::Started);
    assert!(rig.is_quiet(Duration::from_millis(50)), "nothing comes without credit");
    let (mut got, mut credit, mut ended, mut open) = (0, 0, false, 2);
    while open > 0 || !ended {
        if credit == 0 && got < 10 * MIB {
            credit = 50_001;
            rig.credit(Output::Stdout, 50_001);
        }
        match rig.next() {
            FromAgent::Output { output: Output::Stdout, bytes } => {
                got += bytes.len();
                credit = usize::checked_sub(credit, bytes.len()).expect("more came than there was credit");
            }
            FromAgent::OutputEnd(_) => open -= 1,
            FromAgent::Ended { status } => ended = status == 0,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(got, 10 * MIB);
}

#[test]
fn the_end_is_told_before_output_that_has_no_credit() {
    if !possible() {
        return;
    }
    let mut rig = Rig::ready();
    rig.begin(&["sh", "-c", "echo out"]);
    assert_eq!(rig.next(), FromAgent::Started);
    assert_eq!(rig.next(), FromAgent::Ended { status: 0 });
    assert_eq!(rig.next(), FromAgent::OutputEnd(Output::Stderr));
    assert!(rig.is_quiet(Duration::from_millis(50)));
    rig.credit(Output::Stdout, 2);
    assert_eq!(rig.next(), FromAgent::Output { output: Output::Stdout, bytes: (&b"ou"[..]).into() });
    assert!(rig.is_quiet(Duration::from_millis(50)));
    rig.credit(Output::Stdout, 2);
    assert_eq!(rig.next(), FromAgent::Output { output: Output::Stdout, bytes: (&b"t\n"[..]).into() });
    assert_eq!(rig.next(), FromAgent::OutputEnd(Output::Stdout));
}

#[test]
fn one_output_without_credit_does_not_hold_up_the_other() {
    if !possible() {
        return;
    }
    let mut rig = Rig::ready();
    rig.begin(&["sh", "-c", "head -c 1000000 /dev/zero & sleep 0.1; echo here >&2; wait"]);
    rig.credit(Output::Stderr, 100);
    assert_eq!(rig.next(), FromAgent::Started);
    assert_eq!(rig.next(), FromAgent::Output { output: Output::Stderr, bytes: (&b"here\n"[..]).into() });
    rig.credit(Output::Stdout, u64::MAX);
    assert_eq!(rig.outcome().stdout.len(), 1_000_000);
}

#[test]
fn a_daemon_that_does_not_read_can_still_kill() {
    if !possible() {
        return;
    }
    let mut rig = Rig::ready();
    rig.begin(&["yes"]);
    rig.credit(Output::Stdout, u64::MAX);
    std::thread::sleep(Duration::from_millis(200));
    rig.send(&ToAgent::Signal(9));
    std::thread::sleep(Duration::from_millis(200));
    let outcome = rig.outcome();
    assert_eq!(outcome.status, Some(9));
    // Two pipes, the queue and a frame or two: it was held up.
    assert!(outcome.stdout.len() < MIB, "{} bytes", outcome.stdout.len());
}

#[test]
fn a_large_stdin_arrives_as_far_as_there_is_credit() {
    if !possible() {
        return;
    }
    let mut rig = Rig::start("64m", "/box/tmp");
    assert!(matches!(rig.next(), FromAgent::Hello { .. }));
    rig.begin(&["sh", "-c", "sleep 0.1; wc -c"]);
    rig.credit(Output::Stdout, 100);
    let (mut left, mut credit) = (5 * MIB, 0);
    while left > 0 {
        let piece = credit.min(MAX_DATA_BYTES).min(left);
        if piece > 0 {
            rig.send(&ToAgent::Stdin(vec![b'x'; piece].into()));
            (left, credit) = (left - piece, credit - piece);
            continue;
        }
        match rig.next() {
            FromAgent::StdinCredit { bytes } => credit += bytes as usize,
            FromAgent::Started => {}
            other => panic!("{other:?}"),
        }
    }
    rig.send(&ToAgent::StdinEnd);
    assert_eq!(rig.outcome().text().trim(), "5242880");
}

#[test]
fn stdin_may_come_before_the_program_and_in_small_pieces() {
    if !possible() {
        return;
    }
    let mut rig = Rig::ready();
    for _ in 0..1000 {
        rig.send(&ToAgent::Stdin((&b"ab\n"[..]).into()));
    }
    assert_eq!(rig.run(&["wc", "-l"]).text(), "1000\n");
}

#[test]
fn a_program_may_leave_its_stdin_unread_or_closed() {
    if !possible() {
        return;
    }
    let mut rig = Rig::ready();
    rig.begin(&["sh", "-c", "exec <&-; sleep 0.2; echo done"]);
    rig.credit(Output::Stdout, 100);
    assert_eq!(rig.next(), FromAgent::Started);
    for _ in 0..4 {
        rig.send(&ToAgent::Stdin(vec![b'x'; MAX_DATA_BYTES].into()));
    }
    assert_eq!(rig.outcome().text(), "done\n");
    assert_eq!(Rig::ready().run(&["true"]).status, Some(0));
}

#[test]
fn an_output_that_is_closed_early_ends_early() {
    if !possible() {
        return;
    }
    let mut rig = Rig::ready();
    rig.begin(&["sh", "-c", "exec >&-; read line; exit 4"]);
    rig.credit(Output::Stdout, 100);
    assert_eq!(rig.next(), FromAgent::Started);
    assert_eq!(rig.next(), FromAgent::OutputEnd(Output::Stdout));
    rig.send(&ToAgent::StdinEnd);
    assert_eq!(rig.next(), FromAgent::Ended { status: 4 << 8 });
    assert_eq!(rig.next(), FromAgent::OutputEnd(Output::Stderr));
}
