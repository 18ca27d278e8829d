//! Clients that want to have the daemon's memory, its connections or its time, and what they get. In virtual time, on pipes
//! instead of sockets, where it is about patience.

use std::net::{IpAddr, Ipv4Addr};

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::access::Peer;
use crate::http::serve::Door;
use crate::http::{Front, Live};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Kinds of frames (RFC 9113, 6).
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const INITIAL_WINDOW_SIZE: [u8; 2] = [0, 4];
/// `:method GET`, `:scheme http`, `:path /healthz`, `:authority x`, by the static table of HPACK.
const GET_HEALTHZ: &[u8] = b"\x82\x86\x04\x08/healthz\x01\x01x";
const GET_DOCUMENT: &[u8] = b"\x82\x86\x04\x0d/openapi.json\x01\x01x";

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// The next frame's kind and payload; `None` when the connection has ended.
async fn next_frame(stream: &mut DuplexStream) -> Option<(u8, Vec<u8>)> {
    let mut head = [0; 9];
    stream.read_exact(&mut head).await.ok()?;
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
    let mut payload = vec![0; length];
    stream.read_exact(&mut payload).await.ok()?;
    Some((head[3], payload))
}

/// A connection of its own, with a buffer of this size in between.
fn connect(door: &Door, buffer: usize) -> DuplexStream {
    let (near, far) = duplex(buffer);
    let door = door.clone();
    tokio::spawn(async move { door.connection(near, Peer::Tcp(IpAddr::V4(Ipv4Addr::LOCALHOST))).await });
    far
}

async fn connect_http_2(door: &Door, settings: &[u8]) -> DuplexStream {
    let mut stream = connect(door, 1 << 20);
    stream.write_all(PREFACE).await.unwrap();
    stream.write_all(&frame(SETTINGS, 0, 0, settings)).await.unwrap();
    stream
}

fn door(house: &House) -> Door {
    let live = Live::new(Front { router: house.router.clone(), tls: None });
    let (stop, over) = (CancellationToken::new(), CancellationToken::new());
    Door::new(live, &house.server, Arc::clone(house.engine.metrics()), stop, over)
}

/// Others are served as ever.
async fn assert_serves(door: &Door) {
    let mut stream = connect(door, 4096);
    stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

/// CVE-2023-44487: requests that are taken back as soon as they are made.
#[tokio::test]
async fn streams_that_are_reset_at_once_end_the_connection() {
    let house = house();
    let door = door(&house);
    let mut stream = connect_http_2(&door, &[]).await;
    let flood = async {
        for number in 0..100_000u32 {
            let id = 2 * number + 1;
            let mut pair = frame(HEADERS, END_STREAM | END_HEADERS, id, GET_HEALTHZ);
            pair.extend(frame(RST_STREAM, 0, id, &[0, 0, 0, 8]));
            if stream.write_all(&pair).await.is_err() {
                return number;
            }
        }
        100_000
    };
    let taken = timeout(Duration::from_secs(30), flood).await.unwrap();
    assert!(taken < 100_000, "all of them were taken");
    let mut kinds = Vec::new();
    while let Some((kind, _)) = next_frame(&mut stream).await {
        kinds.push(kind);
    }
    assert_eq!(kinds.last(), Some(&GOAWAY), "{kinds:?}");
    assert_serves(&door).await;
}

/// CVE-2024-27316 and its kin: headers without an end.
#[tokio::test]
async fn headers_without_an_end_end_the_connection() {
    let house = house();
    let door = door(&house);
    let mut stream = connect_http_2(&door, &[]).await;
    stream.write_all(&frame(HEADERS, END_STREAM, 1, GET_HEALTHZ)).await.unwrap();
    // A literal that is never indexed: name "a", value of 1000 bytes.
    let field = [b"\x00\x01a\x7f\xe9\x06".as_slice(), &[b'v'; 1000]].concat();
    let mut written = 0;
    while written < 64 << 20 && stream.write_all(&frame(CONTINUATION, 0, 1, &field)).await.is_ok() {
        written += field.len();
    }
    assert!(written < 16 << 20, "{written} bytes of headers were taken");
    assert_serves(&door).await;
}

/// A client that never opens its window, but answers to every PING that it lives.
#[tokio::test(start_paused = true)]
async fn a_window_that_stays_closed_ends_the_connection() {
    let house = house();
    let door = door(&house);
    let closed = [&INITIAL_WINDOW_SIZE[..], &[0; 4]].concat();
    let mut stream = connect_http_2(&door, &closed).await;
    for id in (1..60).step_by(2) {
        stream.write_all(&frame(HEADERS, END_STREAM | END_HEADERS, id, GET_DOCUMENT)).await.unwrap();
    }
    let began = Instant::now();
    let mut answered = 0;
    while let Some((kind, payload)) = next_frame(&mut stream).await {
        match kind {
            PING => stream.write_all(&frame(PING, 1, 0, &payload)).await.unwrap_or_default(),
            HEADERS => answered += 1,
            _ => {}
        }
    }
    assert_eq!(answered, 30);
    let held = began.elapsed().as_secs();
    assert!((60..90).contains(&held), "{held} s");
}

/// A client that takes a byte now and then.
#[tokio::test(start_paused = true)]
async fn an_answer_that_is_taken_byte_by_byte_ends_the_connection() {
    let house = house();
    let door = door(&house);
    let mut stream = connect(&door, 16);
    stream.write_all(b"GET /openapi.json HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let (began, mut taken) = (Instant::now(), 0);
    loop {
        sleep(Duration::from_secs(5)).await;
        match stream.read_u8().await {
            Ok(_) => taken += 1,
            Err(_) => break,
        }
    }
    let held = began.elapsed().as_secs();
    assert!((60..180).contains(&held) && taken < 40, "{taken} bytes in {held} s");
}

#[tokio::test]
async fn a_pipeline_is_answered_in_turn() {
    let house = house();
    let door = door(&house);
    let mut stream = connect(&door, 1 << 20);
    for path in ["/healthz", "/nothing", "/api/languages"].repeat(20) {
        stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes()).await.unwrap();
    }
    stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut answers = String::new();
    stream.read_to_string(&mut answers).await.unwrap();
    let codes: Vec<_> = answers.split("HTTP/1.1 ").skip(1).map(|answer| &answer[..3]).collect();
    assert_eq!(codes, [["200", "404", "200"].repeat(20), vec!["200"]].concat());
}

#[tokio::test]
async fn memory_for_requests_and_answers_has_an_end() {
    let house = house();
    let budget = crate::http::budget::Budget::of_this_process();
    let full = budget.hold(512 << 20);
    let limits = BodyLimits { max_bytes: 1 << 20, read_timeout: Duration::from_secs(1) };
    let ask = || async {
        let request = http::Request::post("/").header("content-type", "application/json").body("{}".into());
        crate::http::body::json(request.unwrap(), limits, &budget).await
    };
    let problem = ask().await.unwrap_err();
    assert_eq!(problem.code(), Code::Overloaded);
    drop(full);
    let (body, held) = ask().await.unwrap();
    assert_eq!(body, b"{}");
    // What was read counts until it is let go.
    let rest = budget.hold((512 << 20) - 2);
    assert!(budget.exhausted());
    drop(held);
    assert!(!budget.exhausted());
    drop((rest, house));
}
