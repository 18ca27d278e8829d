//! The program's three streams as the daemon sees them: bytes that have come from the agent or shall go to it, bounded
//! by credit, and a waker on each side. What carries them is `line`.

use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use bytes::{Buf as _, Bytes, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::Notify,
};

/// Of each output, what may be under way or unread: the agent is given credit for no more.
pub(crate) const OUTPUT_WINDOW_BYTES: u64 = 256 * 1024;
/// Credit is given back in pieces, so that it costs no frame for each read.
const CREDIT_STEP_BYTES: u64 = OUTPUT_WINDOW_BYTES / 4;
/// Of stdin, what waits for the agent's credit.
const STDIN_BUFFER_BYTES: usize = 64 * 1024;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// stdout or stderr, between the line and who reads it.
pub(crate) struct Outlet {
    state: Mutex<OutletState>,
    /// Wakes the line's writer when there is credit to give.
    line: Arc<Notify>,
}

#[derive(Default)]
struct OutletState {
    chunks: std::collections::VecDeque<Bytes>,
    unread_bytes: u64,
    /// Read, and not given back yet.
    owed_bytes: u64,
    ended: bool,
    reader: Option<Waker>,
    reader_gone: bool,
}

impl Outlet {
    pub(crate) fn new(line: Arc<Notify>) -> Arc<Self> {
        Arc::new(Self { state: Mutex::default(), line })
    }

    /// # Errors
    /// When the agent sends more than it was given credit for.
    pub(crate) fn push(&self, bytes: Bytes) -> Result<(), String> {
        let mut state = lock(&self.state);
        let length = bytes.len() as u64;
        if state.unread_bytes + state.owed_bytes + length > OUTPUT_WINDOW_BYTES {
            return Err("the agent sends more output than it may".to_owned());
        }
        if state.reader_gone {
            state.owed_bytes += length;
            drop(state);
            self.line.notify_one();
            return Ok(());
        }
        state.unread_bytes += length;
        state.chunks.push_back(bytes);
        let reader = state.reader.take();
        drop(state);
        if let Some(reader) = reader {
            reader.wake();
        }
        Ok(())
    }

    pub(crate) fn end(&self) {
        let reader = {
            let mut state = lock(&self.state);
            state.ended = true;
            state.reader.take()
        };
        if let Some(reader) = reader {
            reader.wake();
        }
    }

    /// What may be given back to the agent now, 0 while it is too little to bother.
    pub(crate) fn take_owed(&self) -> u64 {
        let mut state = lock(&self.state);
        if state.ended || state.owed_bytes < CREDIT_STEP_BYTES {
            return 0;
        }
        std::mem::take(&mut state.owed_bytes)
    }
}

/// The end that is read. Dropping it lets the program write on, to nobody.
pub(crate) struct OutputReader(pub(crate) Arc<Outlet>);

impl AsyncRead for OutputReader {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut state = lock(&self.0.state);
        let Some(chunk) = state.chunks.front_mut() else {
            if state.ended {
                return Poll::Ready(Ok(()));
            }
            state.reader = Some(context.waker().clone());
            return Poll::Pending;
        };
        let count = chunk.len().min(into.remaining());
        into.put_slice(&chunk.split_to(count));
        if chunk.is_empty() {
            state.chunks.pop_front();
        }
        state.unread_bytes -= count as u64;
        state.owed_bytes += count as u64;
        let worth_it = state.owed_bytes >= CREDIT_STEP_BYTES && !state.ended;
        drop(state);
        if worth_it {
            self.0.line.notify_one();
        }
        Poll::Ready(Ok(()))
    }
}

impl Drop for OutputReader {
    fn drop(&mut self) {
        let mut state = lock(&self.0.state);
        state.reader_gone = true;
        state.chunks.clear();
        state.owed_bytes += std::mem::take(&mut state.unread_bytes);
        drop(state);
        self.0.line.notify_one();
    }
}

/// stdin, between who writes it and the line.
pub(crate) struct Inlet {
    state: Mutex<InletState>,
    /// Wakes the line's writer when there is something to send.
    line: Arc<Notify>,
}

#[derive(Default)]
struct InletState {
    buffer: BytesMut,
    credit_bytes: u64,
    closed: bool,
    end_told: bool,
    /// The program is gone: nobody reads any more.
    broken: bool,
    writer: Option<Waker>,
}

/// What the line's writer finds in an inlet.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Pulled {
    Bytes(Bytes),
    End,
    Nothing,
}

impl Inlet {
    pub(crate) fn new(line: Arc<Notify>) -> Arc<Self> {
        Arc::new(Self { state: Mutex::default(), line })
    }

    pub(crate) fn add_credit(&self, bytes: u64) {
        let mut state = lock(&self.state);
        state.credit_bytes = state.credit_bytes.saturating_add(bytes);
        drop(state);
        self.line.notify_one();
    }

    pub(crate) fn breaks(&self) {
        let writer = {
            let mut state = lock(&self.state);
            state.broken = true;
            state.writer.take()
        };
        if let Some(writer) = writer {
            writer.wake();
        }
    }

    /// The next piece that may be sent, at most `max_bytes`.
    pub(crate) fn pull(&self, max_bytes: usize) -> Pulled {
        let mut state = lock(&self.state);
        let credit = usize::try_from(state.credit_bytes).unwrap_or(usize::MAX);
        let count = state.buffer.len().min(max_bytes).min(credit);
        if count == 0 {
            if state.buffer.is_empty() && state.closed && !state.end_told {
                state.end_told = true;
                return Pulled::End;
            }
            return Pulled::Nothing;
        }
        state.credit_bytes -= count as u64;
        let piece = state.buffer.split_to(count).freeze();
        let writer = state.writer.take();
        drop(state);
        if let Some(writer) = writer {
            writer.wake();
        }
        Pulled::Bytes(piece)
    }
}

/// The end that is written. Dropping it is the program's end of file.
pub(crate) struct StdinWriter(pub(crate) Arc<Inlet>);

impl AsyncWrite for StdinWriter {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut state = lock(&self.0.state);
        if state.broken || state.closed {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let room = STDIN_BUFFER_BYTES.saturating_sub(state.buffer.len());
        if room == 0 {
            state.writer = Some(context.waker().clone());
            return Poll::Pending;
        }
        let mut rest = bytes;
        rest.advance(room.min(bytes.len()));
        let taken = bytes.len() - rest.len();
        state.buffer.extend_from_slice(bytes.get(..taken).unwrap_or_default());
        drop(state);
        self.0.line.notify_one();
        Poll::Ready(Ok(taken))
    }

    fn poll_flush(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.close();
        Poll::Ready(Ok(()))
    }
}

impl StdinWriter {
    fn close(&self) {
        lock(&self.0.state).closed = true;
        self.0.line.notify_one();
    }
}

impl Drop for StdinWriter {
    fn drop(&mut self) {
        self.close();
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test]
    async fn output_is_read_as_it_came_and_credit_comes_back() {
        let outlet = Outlet::new(Arc::default());
        let mut reader = OutputReader(Arc::clone(&outlet));
        let chunk = Bytes::from(vec![7; 64 * 1024]);
        for _ in 0..4 {
            outlet.push(chunk.clone()).unwrap();
        }
        assert!(outlet.push(Bytes::from_static(b"x")).is_err());
        assert_eq!(outlet.take_owed(), 0);
        let mut half = vec![0; 100_000];
        reader.read_exact(&mut half).await.unwrap();
        assert_eq!(outlet.take_owed(), 100_000);
        outlet.end();
        let mut rest = Vec::new();
        reader.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest.len(), 4 * 64 * 1024 - 100_000);
    }

    #[tokio::test]
    async fn output_that_nobody_reads_is_let_go() {
        let outlet = Outlet::new(Arc::default());
        outlet.push(Bytes::from(vec![1; 70_000])).unwrap();
        drop(OutputReader(Arc::clone(&outlet)));
        assert_eq!(outlet.take_owed(), 70_000);
        outlet.push(Bytes::from(vec![1; 70_000])).unwrap();
        assert_eq!(outlet.take_owed(), 70_000);
    }

    #[tokio::test]
    async fn stdin_goes_as_far_as_there_is_credit_and_ends_after_its_last_byte() {
        let inlet = Inlet::new(Arc::default());
        let mut writer = StdinWriter(Arc::clone(&inlet));
        writer.write_all(b"hello").await.unwrap();
        assert_eq!(inlet.pull(100), Pulled::Nothing);
        inlet.add_credit(3);
        assert_eq!(inlet.pull(100), Pulled::Bytes(Bytes::from_static(b"hel")));
        drop(writer);
        assert_eq!(inlet.pull(100), Pulled::Nothing);
        inlet.add_credit(9);
        assert_eq!(inlet.pull(1), Pulled::Bytes(Bytes::from_static(b"l")));
        assert_eq!(inlet.pull(1), Pulled::Bytes(Bytes::from_static(b"o")));
        assert_eq!((inlet.pull(1), inlet.pull(1)), (Pulled::End, Pulled::Nothing));
    }

    #[tokio::test]
    async fn writing_to_a_program_that_is_gone_fails() {
        let inlet = Inlet::new(Arc::default());
        let mut writer = StdinWriter(Arc::clone(&inlet));
        let flood = vec![0; STDIN_BUFFER_BYTES + 1];
        let (written, ()) = tokio::join!(writer.write_all(&flood), async { inlet.breaks() });
        assert_eq!(written.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }
}
