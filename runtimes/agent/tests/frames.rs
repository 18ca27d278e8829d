//! Every frame comes back as it went, and no bytes, however bad, do more harm than to be refused.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use bytes::Bytes;
use sandboxd_agent::{
    Decoder, FromAgent, MAX_DATA_BYTES, MAX_FROM_AGENT_BYTES, MAX_TO_AGENT_BYTES, Output, Start, ToAgent,
    header,
};

fn to_agent() -> Vec<ToAgent> {
    let start = Start {
        argv: vec!["sh".to_owned(), String::new(), "ä\n".to_owned()],
        env: vec!["A=1=2".to_owned()],
        open_files: 1,
        file_size_bytes: u64::MAX,
        stack_bytes: 3,
        tasks: None,
    };
    vec![
        ToAgent::Put { path: "a/b".to_owned(), executable: true, content_bytes: 7 },
        ToAgent::PutData(Bytes::from_static(b"\0\xff")),
        ToAgent::Start(start.clone()),
        ToAgent::Prestart { start: start.clone(), script: "main.py".to_owned() },
        ToAgent::Start(Start { tasks: Some(64), argv: Vec::new(), ..start }),
        ToAgent::Stdin(Bytes::new()),
        ToAgent::StdinEnd,
        ToAgent::Resume,
        ToAgent::Credit { output: Output::Stdout, bytes: 1 },
        ToAgent::Credit { output: Output::Stderr, bytes: u64::MAX },
        ToAgent::Signal(9),
        ToAgent::Collect { globs: vec!["*".to_owned()], max_files: 1, max_bytes: 2, max_entries: 3 },
    ]
}

fn from_agent() -> Vec<FromAgent> {
    let (path, reason) = ("p".to_owned(), "r".to_owned());
    vec![
        FromAgent::Hello { version: 1 },
        FromAgent::Started,
        FromAgent::Parked,
        FromAgent::NotStarted { program: "sh".to_owned(), reason: reason.clone() },
        FromAgent::StdinCredit { bytes: 5 },
        FromAgent::Output { output: Output::Stdout, bytes: Bytes::from_static(b"\xfe") },
        FromAgent::Output { output: Output::Stderr, bytes: Bytes::new() },
        FromAgent::OutputEnd(Output::Stdout),
        FromAgent::OutputEnd(Output::Stderr),
        FromAgent::Ended { status: 0x8b },
        FromAgent::File { path: path.clone(), executable: false, content_bytes: 1 },
        FromAgent::FileData(Bytes::from_static(b"x")),
        FromAgent::Omitted { path, reason: reason.clone() },
        FromAgent::Collected,
        FromAgent::Failed { reason },
    ]
}

#[test]
fn every_frame_comes_back_as_it_went() {
    let mut decoder = Decoder::new(MAX_TO_AGENT_BYTES);
    for frame in to_agent() {
        let (kind, content) = frame.encode();
        decoder.buffer().extend_from_slice(&header(kind, content.len()));
        decoder.buffer().extend_from_slice(&content);
        let (kind, content) = decoder.next_frame().unwrap().unwrap();
        assert_eq!(ToAgent::decode(kind, content), Ok(frame));
    }
    for frame in from_agent() {
        let (kind, content) = frame.encode();
        decoder.buffer().extend_from_slice(&header(kind, content.len()));
        decoder.buffer().extend_from_slice(&content);
        let (kind, content) = decoder.next_frame().unwrap().unwrap();
        assert_eq!(FromAgent::decode(kind, content), Ok(frame));
    }
    assert_eq!(decoder.next_frame(), Ok(None));
}

#[test]
fn what_is_cut_short_is_malformed() {
    for frame in to_agent().into_iter().filter(|frame| {
        !matches!(frame, ToAgent::PutData(_) | ToAgent::Stdin(_) | ToAgent::StdinEnd | ToAgent::Resume)
    }) {
        let (kind, content) = frame.encode();
        for end in 0..content.len() {
            assert!(ToAgent::decode(kind, Bytes::copy_from_slice(&content[..end])).is_err(), "{frame:?}");
        }
    }
    assert!(ToAgent::decode(3, vec![0; MAX_DATA_BYTES + 1].into()).is_err());
}

#[test]
fn the_longest_frames_of_the_agent_are_within_its_bound() {
    let long = "x".repeat(100_000);
    for frame in [
        FromAgent::NotStarted { program: long.clone(), reason: long.clone() },
        FromAgent::Failed { reason: long },
        FromAgent::Output { output: Output::Stdout, bytes: vec![0; MAX_DATA_BYTES].into() },
        // A path of the longest names, none of them UTF-8, as deep as files are looked for.
        FromAgent::Omitted { path: "\u{fffd}".repeat(255 * 34), reason: String::new() },
    ] {
        assert!(frame.encode().1.len() <= MAX_FROM_AGENT_BYTES);
    }
}

/// xorshift64*: the same numbers in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }
}

/// Bytes of strings in it: never more than came.
fn held(frame: &ToAgent) -> usize {
    let all = |list: &[String]| list.iter().map(String::len).sum::<usize>();
    match frame {
        ToAgent::Put { path, .. } => path.len(),
        ToAgent::PutData(bytes) | ToAgent::Stdin(bytes) => bytes.len(),
        ToAgent::Start(start) => all(&start.argv) + all(&start.env),
        ToAgent::Collect { globs, .. } => all(globs),
        ToAgent::Prestart { start, script } => script.len() + all(&start.argv) + all(&start.env),
        ToAgent::StdinEnd | ToAgent::Credit { .. } | ToAgent::Signal(_) | ToAgent::Resume => 0,
    }
}

/// Frames that are almost right, and noise, in pieces of any size.
#[test]
fn any_bytes_are_taken_or_refused() {
    const ROUNDS: usize = 100_000;
    const MAX_BYTES: usize = 4096;
    let mut random = Random(0x5eed_0f5a_4db0_ced5);
    let (to, from) = (to_agent(), from_agent());
    let mut decoded = 0;
    for _ in 0..ROUNDS {
        let mut bytes = Vec::new();
        for _ in 0..random.below(4) {
            let (kind, mut content) = if random.below(2) == 0 {
                to[random.below(to.len())].encode()
            } else {
                from[random.below(from.len())].encode()
            };
            for _ in 0..random.below(4) {
                if !content.is_empty() {
                    let at = random.below(content.len());
                    content[at] = random.next() as u8;
                }
            }
            bytes.extend_from_slice(&header(kind, content.len()));
            bytes.extend_from_slice(&content);
        }
        bytes.extend((0..random.below(12)).map(|_| random.next() as u8));
        let mut decoder = Decoder::new(MAX_BYTES);
        let mut rest = &bytes[..];
        'stream: while !rest.is_empty() {
            let (piece, later) = rest.split_at(1 + random.below(rest.len()));
            rest = later;
            decoder.buffer().extend_from_slice(piece);
            loop {
                match decoder.next_frame() {
                    Ok(Some((kind, content))) => {
                        let came = content.len();
                        if let Ok(frame) = ToAgent::decode(kind, content.clone()) {
                            assert!(held(&frame) <= came);
                            decoded += 1;
                        }
                        let _ = FromAgent::decode(kind, content);
                    }
                    Ok(None) => break,
                    Err(oversized) => {
                        assert!(oversized.bytes > MAX_BYTES);
                        break 'stream;
                    }
                }
            }
            assert!(decoder.buffer().capacity() <= 2 * bytes.len().max(64), "memory for what did not come");
        }
    }
    assert!(decoded > ROUNDS / 10, "{decoded}: the noise was too loud to get anywhere");
}
