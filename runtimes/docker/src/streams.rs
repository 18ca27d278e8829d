//! The attached connection of a container as its stdin and stdout. Called when a container is made.
//!
//! The engine sends stdout and stderr in turns over one connection. stdout is the agent's word; stderr is what the agent,
//! or the OCI runtime, had to complain about before it could speak, and goes to the log, so much of it and no more.
//! One copy: from the connection's buffer into the reader's.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bollard::{
    container::{AttachContainerResults, LogOutput},
    errors::Error as ApiError,
};
use bytes::{Buf, Bytes};
use futures_util::Stream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Of one line of stderr; the rest of a longer one is left out.
const MAX_LINE_BYTES: usize = 512;
/// Of one container.
const MAX_LINES: u32 = 16;

pub(crate) type Stdin = Box<dyn AsyncWrite + Send + Unpin>;
pub(crate) type Stdout = Box<dyn AsyncRead + Send + Unpin>;

/// `sandbox` names the container in the log.
pub(crate) fn split(attached: AttachContainerResults, sandbox: &str) -> (Stdin, Stdout) {
    let complaints = Complaints { sandbox: sandbox.to_owned(), line: Vec::new(), lines: 0 };
    let stdout = Output { frames: attached.output, left: Bytes::new(), complaints };
    (Box::new(attached.input), Box::new(stdout))
}

struct Output<Frames> {
    frames: Frames,
    /// Of the last frame of stdout, what was not read yet.
    left: Bytes,
    complaints: Complaints,
}

impl<Frames> AsyncRead for Output<Frames>
where
    Frames: Stream<Item = Result<LogOutput, ApiError>> + Unpin,
{
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        while this.left.is_empty() {
            match ready!(Pin::new(&mut this.frames).poll_next(context)) {
                None => {
                    this.complaints.finish();
                    return Poll::Ready(Ok(()));
                }
                Some(Err(ApiError::IOError { err })) => return Poll::Ready(Err(err)),
                Some(Err(error)) => return Poll::Ready(Err(io::Error::other(error))),
                Some(Ok(LogOutput::StdOut { message })) => this.left = message,
                Some(Ok(LogOutput::StdErr { message })) => this.complaints.add(&message),
                Some(Ok(LogOutput::StdIn { .. } | LogOutput::Console { .. })) => {
                    let reason = "the engine sent what is neither stdout nor stderr";
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, reason)));
                }
            }
        }
        let length = this.left.len().min(buffer.remaining());
        buffer.put_slice(this.left.get(..length).unwrap_or_default());
        this.left.advance(length);
        Poll::Ready(Ok(()))
    }
}

/// Lines of stderr on their way to the log. Written by who is not trusted: bounded, and shown with escapes.
struct Complaints {
    sandbox: String,
    line: Vec<u8>,
    lines: u32,
}

impl Complaints {
    fn add(&mut self, bytes: &[u8]) {
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            if self.lines > MAX_LINES {
                return;
            }
            let text = part.strip_suffix(b"\n").unwrap_or(part);
            let room = MAX_LINE_BYTES - self.line.len();
            self.line.extend_from_slice(text.get(..room.min(text.len())).unwrap_or_default());
            if text.len() < part.len() {
                self.finish();
            }
        }
    }

    fn finish(&mut self) {
        if self.line.is_empty() || self.lines > MAX_LINES {
            return;
        }
        self.lines += 1;
        let line = String::from_utf8_lossy(&self.line);
        if self.lines > MAX_LINES {
            tracing::warn!(sandbox = self.sandbox, "more on the container's stderr is left out");
        } else {
            tracing::warn!(sandbox = self.sandbox, stderr = ?line, "the container complains");
        }
        self.line.clear();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream;
    use tokio::io::AsyncReadExt as _;

    use super::*;

    fn output(
        frames: Vec<Result<LogOutput, ApiError>>,
    ) -> Output<impl Stream<Item = Result<LogOutput, ApiError>> + Unpin> {
        let complaints = Complaints { sandbox: String::new(), line: Vec::new(), lines: 0 };
        Output { frames: stream::iter(frames), left: Bytes::new(), complaints }
    }

    fn out(text: &'static str) -> Result<LogOutput, ApiError> {
        Ok(LogOutput::StdOut { message: Bytes::from_static(text.as_bytes()) })
    }

    fn err(text: impl Into<Bytes>) -> Result<LogOutput, ApiError> {
        Ok(LogOutput::StdErr { message: text.into() })
    }

    #[tokio::test]
    async fn stdout_is_joined_and_stderr_is_kept_apart() {
        let mut output = output(vec![out("he"), err("oh\n"), out(""), out("llo"), err("no end of line")]);
        let mut text = String::new();
        output.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "hello");
        assert_eq!(output.complaints.lines, 2);
    }

    #[tokio::test]
    async fn a_frame_is_handed_out_in_parts_where_the_reader_has_less_room() {
        let mut output = output(vec![out("hello")]);
        let mut part = [0; 2];
        output.read_exact(&mut part).await.unwrap();
        assert_eq!(&part, b"he");
        assert_eq!(output.left, "llo");
    }

    #[tokio::test]
    async fn a_flood_of_stderr_is_bounded() {
        let flood = "x".repeat(3 * MAX_LINE_BYTES) + "\n";
        let frames = (0..1000).map(|_| err(flood.clone())).collect();
        let mut output = output(frames);
        assert_eq!(output.read(&mut [0; 8]).await.unwrap(), 0);
        assert_eq!(output.complaints.lines, MAX_LINES + 1);
        assert!(output.complaints.line.capacity() <= 2 * MAX_LINE_BYTES);
    }

    #[tokio::test]
    async fn what_is_no_frame_is_an_error() {
        let stray = Ok(LogOutput::Console { message: Bytes::from_static(b"?") });
        assert!(output(vec![stray]).read(&mut [0; 8]).await.is_err());
    }
}
