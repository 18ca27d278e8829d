//! What comes before any request: a head that can't be read. The HTTP library answers it by itself, with a status and no
//! body, since there is no request yet that a service could be asked about. Here that answer gets its body, on its way out.
//!
//! It is told apart from every answer of ours: no head of those has a status of 4xx and no body, and no body of those has a
//! line that ends with CR LF, which JSON escapes. HTTP/2 says the like in a frame of its own, and is left alone.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::StatusCode;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::problem::{CONTENT_TYPE_PROBLEM, Code, Problem};

const STATUS_LINE: &[u8] = b"HTTP/1.1 4";
const NO_BODY: &[u8] = b"\r\ncontent-length: 0\r\n";

/// A connection whose answers all have a body.
pub(super) struct Malformed<S> {
    stream: S,
    /// The answer that is going out in the place of the library's.
    instead: Vec<u8>,
    sent: usize,
}

impl<S> Malformed<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, instead: Vec::new(), sent: 0 }
    }
}

impl<S: AsyncWrite + Unpin> Malformed<S> {
    fn poll_instead(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(rest) = self.instead.get(self.sent..).filter(|rest| !rest.is_empty()) {
            match ready!(Pin::new(&mut self.stream).poll_write(context, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                wrote => self.sent += wrote,
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// With a body, where these bytes are the whole of such an answer.
fn with_body(answer: &[u8]) -> Option<Vec<u8>> {
    let head = answer.strip_prefix(STATUS_LINE)?;
    let status = std::str::from_utf8(answer.get(9..12)?).ok()?.parse().ok()?;
    if !head.ends_with(b"\r\n\r\n") || !head.windows(NO_BODY.len()).any(|part| part == NO_BODY) {
        return None;
    }
    let problem = match StatusCode::from_u16(status).ok()? {
        StatusCode::URI_TOO_LONG => {
            Problem::new(Code::UriTooLong, "the path is longer than any that there is")
        }
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => Problem::new(
            Code::HeadersTooLarge,
            "there are more than 100 header fields, or they have more than 400 KiB",
        ),
        StatusCode::BAD_REQUEST => {
            Problem::new(Code::Malformed, "the head of the request is no HTTP/1.1 (RFC 9112)")
        }
        _ => return None,
    };
    let body = problem.to_json();
    let mut whole = format!(
        "HTTP/1.1 {}\r\ncontent-type: {CONTENT_TYPE_PROBLEM}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        problem.code().status(),
        body.len()
    )
    .into_bytes();
    whole.extend_from_slice(&body);
    Some(whole)
}

impl<S: AsyncRead + Unpin> AsyncRead for Malformed<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Malformed<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_instead(context))?;
        match with_body(bytes) {
            Some(instead) => {
                (self.instead, self.sent) = (instead, 0);
                Poll::Ready(Ok(bytes.len()))
            }
            None => Pin::new(&mut self.stream).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut full = pieces.iter().filter(|piece| !piece.is_empty());
        match (full.next(), full.next()) {
            (Some(only), None) => self.poll_write(context, only),
            _ => {
                ready!(self.poll_instead(context))?;
                Pin::new(&mut self.stream).poll_write_vectored(context, pieces)
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_instead(context))?;
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_instead(context))?;
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    async fn through(writes: &[&str]) -> String {
        // Narrow, so that nothing goes out in one piece.
        let (near, mut far) = duplex(7);
        let mut stream = Malformed::new(near);
        let write = async {
            for bytes in writes {
                stream.write_all(bytes.as_bytes()).await.unwrap();
            }
            stream.shutdown().await.unwrap();
        };
        let mut got = String::new();
        let (_, read) = tokio::join!(write, far.read_to_string(&mut got));
        read.unwrap();
        got
    }

    #[tokio::test]
    async fn the_librarys_answer_gets_a_body() {
        for (status, code) in [
            ("400 Bad Request", "malformed_request"),
            ("431 Request Header Fields Too Large", "headers_too_large"),
        ] {
            let bare =
                format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: 0\r\ndate: x\r\n\r\n");
            let got = through(&[&bare]).await;
            let (head, body) = got.split_once("\r\n\r\n").unwrap();
            assert!(head.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{head}");
            assert!(head.contains(&format!("content-length: {}\r\n", body.len())), "{head}");
            let body: serde_json::Value = serde_json::from_str(body).unwrap();
            assert_eq!((&body["code"], body["status"].to_string()), (&code.into(), status[..3].to_owned()));
        }
    }

    #[tokio::test]
    async fn ours_pass_as_they_are() {
        let ours = "HTTP/1.1 404 Not Found\r\ncontent-type: x\r\ncontent-length: 2\r\n\r\n{}";
        let empty = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
        let text = r#"{"stdout": "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n"}"#;
        assert_eq!(through(&[ours, empty, text]).await, format!("{ours}{empty}{text}"));
    }
}
