//! The door with real connections: both kinds of sockets, both kinds of HTTP, and clients that behave badly.

use std::path::PathBuf;

use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::config::ListenAddress;
use crate::http::listeners::Listeners;

const SOON: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(300);

/// A house that listens.
struct Open {
    house: House,
    tcp: std::net::SocketAddr,
    unix: PathBuf,
    stop: CancellationToken,
    serving: JoinHandle<()>,
    _folder: TempDir,
}

async fn open(server: Server) -> Open {
    let house = house_with(2, 4, server);
    house.engine.discover("fake").await.unwrap();
    let folder = TempDir::new().unwrap();
    let unix = folder.path().join("s.sock");
    let addresses = [ListenAddress::Tcp("127.0.0.1:0".parse().unwrap()), ListenAddress::Unix(unix.clone())];
    let listeners = Listeners::bind(&addresses, 0o600).await.unwrap();
    let bound = listeners.addresses();
    let [ListenAddress::Tcp(tcp), _] = bound[..] else { panic!("no port") };
    let stop = CancellationToken::new();
    let serving = tokio::spawn({
        let (router, server) = (house.router.clone(), house.server.clone());
        let (metrics, stop) = (Arc::clone(house.engine.metrics()), stop.clone());
        async move {
            crate::http::serve(
                listeners,
                crate::http::Live::new(crate::http::Front { router, tls: None }),
                &server,
                metrics,
                stop.clone(),
                stop,
            )
            .await
        }
    });
    Open { house, tcp, unix, stop, serving, _folder: folder }
}

fn request(arg: &str) -> String {
    let body = format!(r#"{{"language":"py","code":"","args":["{arg}"]}}"#);
    format!(
        "POST /api/execute HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// Reads until what came contains `end`.
async fn until(stream: &mut (impl AsyncRead + Unpin), end: &str) -> String {
    let mut text = String::new();
    let read = async {
        while !text.contains(end) {
            let mut piece = [0; 4096];
            let length = stream.read(&mut piece).await.unwrap();
            assert!(length > 0, "the connection ended after {text:?}");
            text.push_str(&String::from_utf8_lossy(&piece[..length]));
        }
    };
    timeout(SOON, read).await.unwrap();
    text
}

/// Whatever comes until the daemon closes the connection.
async fn rest(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut bytes = Vec::new();
    timeout(SOON, stream.read_to_end(&mut bytes)).await.unwrap().unwrap();
    String::from_utf8_lossy(&bytes).into_owned()
}

async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..4000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("never: {what}");
}

/// A client whose program runs until it goes.
async fn hanging(open: &Open) -> TcpStream {
    let mut stream = TcpStream::connect(open.tcp).await.unwrap();
    stream.write_all(request("hang").as_bytes()).await.unwrap();
    eventually("it runs", || open.house.engine.stats().running == 1).await;
    stream
}

async fn two_requests(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) {
    for _ in 0..2 {
        stream.write_all(request("").as_bytes()).await.unwrap();
        let answer = until(stream, r#""omitted_files":[]}"#).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(answer.contains("x-execution-id: "), "{answer}");
    }
}

#[tokio::test]
async fn tcp_and_unix_at_once() {
    let open = open(server()).await;
    two_requests(&mut TcpStream::connect(open.tcp).await.unwrap()).await;
    two_requests(&mut UnixStream::connect(&open.unix).await.unwrap()).await;
}

#[tokio::test]
async fn http_2_with_prior_knowledge() {
    /// Kind of the first frame that a server sends.
    const SETTINGS: u8 = 4;
    let open = open(server()).await;
    let mut stream = TcpStream::connect(open.tcp).await.unwrap();
    let empty_settings = [0, 0, 0, SETTINGS, 0, 0, 0, 0, 0];
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    stream.write_all(&empty_settings).await.unwrap();
    let mut head = [0; 9];
    timeout(SOON, stream.read_exact(&mut head)).await.unwrap().unwrap();
    assert_eq!(head[3], SETTINGS);
}

#[tokio::test]
async fn a_client_that_goes_away_cancels() {
    let open = open(server()).await;
    let stream = hanging(&open).await;
    drop(stream);
    eventually("it was canceled", || open.house.runtime.alive() == 0).await;
    assert_eq!(open.house.engine.stats().running, 0);
}

#[tokio::test]
async fn a_body_that_is_too_large_still_gets_its_answer() {
    let open = open(server()).await;
    let mut stream = TcpStream::connect(open.tcp).await.unwrap();
    let size = 4 << 20;
    let head = format!(
        "POST /api/execute HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {size}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&vec![b' '; size]).await.unwrap();
    assert!(until(&mut stream, "}").await.starts_with("HTTP/1.1 413 "));
    // One that asks first need not send it at all.
    let mut stream = TcpStream::connect(open.tcp).await.unwrap();
    let head = head.replace("\r\n\r\n", "\r\nexpect: 100-continue\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    assert!(until(&mut stream, "}").await.starts_with("HTTP/1.1 413 "));
}

#[tokio::test]
async fn clients_that_say_nothing_or_half_of_it() {
    let open = open(Server { header_read_timeout: SHORT, ..server() }).await;
    for beginning in ["", "P", "PRI * HTTP/2.0\r\n", "GET /healthz HTTP/1.1\r\nhost:"] {
        let mut stream = TcpStream::connect(open.tcp).await.unwrap();
        stream.write_all(beginning.as_bytes()).await.unwrap();
        let answer = rest(&mut stream).await;
        assert!(!answer.contains(" 200 "), "{answer}");
    }
    // One that has said something is closed when it says no more.
    let mut stream = TcpStream::connect(open.tcp).await.unwrap();
    stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    assert!(rest(&mut stream).await.starts_with("HTTP/1.1 200 OK"));
}

#[tokio::test]
async fn connections_are_bounded() {
    let open = open(Server { max_connections: 1, ..server() }).await;
    let health = b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n";
    let first = hanging(&open).await;
    let mut second = TcpStream::connect(open.tcp).await.unwrap();
    second.write_all(health).await.unwrap();
    let mut byte = [0];
    assert!(timeout(SHORT, second.read(&mut byte)).await.is_err(), "a second one was served");
    drop(first);
    until(&mut second, "}").await;
    // One that is about nothing gives up its place, however many of them there are.
    let mut third = TcpStream::connect(open.tcp).await.unwrap();
    third.write_all(health).await.unwrap();
    until(&mut third, "}").await;
    assert_eq!(rest(&mut second).await, "");
}

#[tokio::test]
async fn a_crowd_that_says_nothing_keeps_nobody_out() {
    let open = open(Server { max_connections: 8, ..server() }).await;
    let mut crowd = Vec::new();
    for _ in 0..200 {
        crowd.push(TcpStream::connect(open.tcp).await.unwrap());
    }
    let mut stream = TcpStream::connect(open.tcp).await.unwrap();
    stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    until(&mut stream, "}").await;
    drop(crowd);
}

/// Whoever closes his half has gone, as far as can be told: nobody would take the answer.
#[tokio::test]
async fn a_half_closed_socket_cancels() {
    let open = open(server()).await;
    let mut stream = hanging(&open).await;
    stream.shutdown().await.unwrap();
    eventually("it was canceled", || open.house.runtime.alive() == 0).await;
    assert_eq!(rest(&mut stream).await, "");
}

#[tokio::test]
async fn stopping_lets_answers_out() {
    let open = open(server()).await;
    let mut idle = TcpStream::connect(open.tcp).await.unwrap();
    idle.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    until(&mut idle, "}").await;
    let mut busy = UnixStream::connect(&open.unix).await.unwrap();
    busy.write_all(request("wait").as_bytes()).await.unwrap();
    eventually("it runs", || open.house.engine.stats().running == 1).await;
    open.stop.cancel();
    assert_eq!(rest(&mut idle).await, "");
    let answer = rest(&mut busy).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    timeout(SOON, open.serving).await.unwrap().unwrap();
    assert!(!open.unix.exists());
    assert!(TcpStream::connect(open.tcp).await.is_err());
}
