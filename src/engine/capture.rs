//! Keeps what one stream of a program says, up to a limit, and hands it on to a consumer as it comes.
//!
//! The buffer is all there is, and it is bounded by the output limit: what waits for the consumer waits in it. So a
//! slow consumer is waited for (nothing is lost, nothing piles up elsewhere), yet never slows the program down,
//! which would turn a client's pace into a time limit exceeded.
//!
//! ```text
//! stream ─> bytes[ .. handed .. | .. waiting .. ] ─> events, as fast as they are taken
//!                                               └──> the report, when all is over
//! ```
//!
//! Killing the program that went past the limit is the supervisor's business.

use std::io;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::{Event, Stream};

const READ_BYTES: usize = 32 * 1024;
/// The most that one [`Event::Output`] carries.
const EVENT_BYTES: usize = 64 * 1024;

pub(super) type Reader = Box<dyn AsyncRead + Send + Unpin>;

pub(super) struct Capture {
    stream: Stream,
    /// `None` when it has ended or failed.
    reader: Option<Reader>,
    limit: usize,
    bytes: BytesMut,
    overflowed: bool,
    failure: Option<io::Error>,
    consumer: Option<mpsc::Sender<Event>>,
    /// How much of `bytes` the consumer has got.
    handed: usize,
}

/// The consumer took nothing for too long.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Stalled;

impl Capture {
    pub(super) fn new(
        stream: Stream,
        reader: Reader,
        limit: u64,
        consumer: Option<mpsc::Sender<Event>>,
    ) -> Self {
        Self {
            stream,
            reader: Some(reader),
            limit: usize::try_from(limit).unwrap_or(usize::MAX),
            bytes: BytesMut::new(),
            overflowed: false,
            failure: None,
            consumer,
            handed: 0,
        }
    }

    /// Reads, and hands on, until the stream has ended or gone past its limit. Cancel-safe: called again, it goes on.
    pub(super) async fn read(&mut self) {
        while let (Some(reader), false) = (&mut self.reader, self.overflowed) {
            // One byte more than fits tells a stream that is full from one that goes past.
            let room = self.limit - self.bytes.len();
            self.bytes.reserve(READ_BYTES.min(room.saturating_add(1)));
            let waiting = self.consumer.is_some() && self.handed < self.bytes.len();
            let mut space = (&mut self.bytes).limit(room.saturating_add(1));
            let read = tokio::select! {
                read = reader.read_buf(&mut space) => Some(read),
                permit = permit(&self.consumer), if waiting => {
                    let rest = self.bytes.get(self.handed..).unwrap_or_default();
                    self.handed += hand_on(permit, self.stream, rest);
                    None
                }
            };
            if let Some(read) = read {
                self.took(read);
            }
        }
    }

    /// Reads on and keeps nothing, until the stream has ended. So a program that went past its limit is killed as it
    /// is: a closed pipe would give it something to complain about, and a full one could hold up its runtime.
    pub(super) async fn discard(&mut self) {
        let mut scrap = BytesMut::with_capacity(READ_BYTES);
        while let Some(reader) = &mut self.reader {
            if !matches!(reader.read_buf(&mut scrap).await, Ok(1..)) {
                self.reader = None;
            }
            scrap.clear();
        }
    }

    fn took(&mut self, read: io::Result<usize>) {
        match read {
            Ok(0) => self.reader = None,
            Ok(_) if self.bytes.len() > self.limit => {
                self.bytes.truncate(self.limit);
                self.overflowed = true;
            }
            Ok(_) => {}
            Err(error) => {
                self.failure = Some(error);
                self.reader = None;
            }
        }
    }

    pub(super) fn overflowed(&self) -> bool {
        self.overflowed
    }

    /// Whether the stream may still have more to say that would be kept.
    pub(super) fn is_open(&self) -> bool {
        self.reader.is_some() && !self.overflowed
    }

    /// Why the stream could not be read to its end.
    pub(super) fn failure(&self) -> Option<&io::Error> {
        self.failure.as_ref()
    }

    /// Ends the reading, whatever there was still to come.
    pub(super) fn close(self) -> Captured {
        let consumer = self.consumer.filter(|_| self.handed < self.bytes.len());
        Captured {
            stream: self.stream,
            bytes: self.bytes.freeze(),
            truncated: self.overflowed,
            consumer,
            handed: self.handed,
        }
    }
}

/// `None` when there is no consumer, or none any more.
async fn permit(consumer: &Option<mpsc::Sender<Event>>) -> Option<mpsc::Permit<'_, Event>> {
    consumer.as_ref()?.reserve().await.ok()
}

/// Answers how much of `rest` is settled.
fn hand_on(permit: Option<mpsc::Permit<'_, Event>>, stream: Stream, rest: &[u8]) -> usize {
    // A consumer that has gone is its own affair.
    let Some(permit) = permit else { return rest.len() };
    let chunk = rest.get(..EVENT_BYTES).unwrap_or(rest);
    permit.send(Event::Output { stream, data: Bytes::copy_from_slice(chunk) });
    chunk.len()
}

/// A stream that was read to its end, or to its limit.
#[derive(Debug)]
pub(super) struct Captured {
    stream: Stream,
    pub bytes: Bytes,
    pub truncated: bool,
    /// There while it has not got everything.
    consumer: Option<mpsc::Sender<Event>>,
    handed: usize,
}

impl Captured {
    /// Hands on what the consumer has not got yet.
    ///
    /// # Errors
    /// When it takes nothing for `patience`.
    pub(super) async fn hand_on_rest(mut self, patience: Duration) -> Result<(), Stalled> {
        let Some(consumer) = self.consumer.take() else { return Ok(()) };
        let mut rest = self.bytes.slice(self.handed..);
        while !rest.is_empty() {
            let data = rest.split_to(rest.len().min(EVENT_BYTES));
            let sent = timeout(patience, consumer.send(Event::Output { stream: self.stream, data })).await;
            match sent {
                Ok(Ok(())) => {}
                Ok(Err(_gone)) => return Ok(()),
                Err(_elapsed) => return Err(Stalled),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncWriteExt, duplex};

    use super::*;

    fn capture(limit: u64, consumer: Option<mpsc::Sender<Event>>) -> (tokio::io::DuplexStream, Capture) {
        let (writer, reader) = duplex(16);
        (writer, Capture::new(Stream::Stdout, Box::new(reader), limit, consumer))
    }

    async fn captured(limit: u64, text: &str) -> Captured {
        let (mut writer, mut capture) = capture(limit, None);
        let write = async {
            let _closed = writer.write_all(text.as_bytes()).await;
            drop(writer);
        };
        tokio::join!(write, capture.read());
        capture.close()
    }

    #[tokio::test]
    async fn a_full_stream_is_not_one_that_went_past() {
        let full = captured(20, &"a".repeat(20)).await;
        assert_eq!((full.bytes.len(), full.truncated), (20, false));
        let past = captured(20, &"a".repeat(21)).await;
        assert_eq!((past.bytes.len(), past.truncated), (20, true));
        let empty = captured(1, "").await;
        assert_eq!((empty.bytes.len(), empty.truncated), (0, false));
    }

    #[tokio::test]
    async fn reading_goes_on_after_it_was_given_up() {
        let (mut writer, mut capture) = capture(100, None);
        writer.write_all(b"one ").await.unwrap();
        assert!(timeout(Duration::from_millis(5), capture.read()).await.is_err());
        writer.write_all(b"two").await.unwrap();
        drop(writer);
        capture.read().await;
        assert_eq!(capture.close().bytes, "one two");
    }

    #[tokio::test(start_paused = true)]
    async fn a_consumer_that_takes_nothing_holds_up_nobody_but_itself() {
        let (sender, mut events) = mpsc::channel(1);
        let (mut writer, mut capture) = capture(1 << 20, Some(sender));
        let write = async {
            writer.write_all(&[b'x'; 500_000]).await.unwrap();
            drop(writer);
        };
        tokio::join!(write, capture.read());
        let captured = capture.close();
        assert_eq!(captured.bytes.len(), 500_000);

        let handing = tokio::spawn(captured.hand_on_rest(Duration::from_secs(1)));
        let mut got = 0;
        while let Some(Event::Output { data, .. }) = events.recv().await {
            assert!(data.len() <= EVENT_BYTES);
            got += data.len();
        }
        assert_eq!(got, 500_000);
        assert_eq!(handing.await.unwrap(), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn patience_ends() {
        let (sender, events) = mpsc::channel(1);
        let (mut writer, mut capture) = capture(100_000, Some(sender));
        let write = async {
            writer.write_all(&[b'x'; 100_000]).await.unwrap();
            drop(writer);
        };
        tokio::join!(write, capture.read());
        assert_eq!(capture.close().hand_on_rest(Duration::from_secs(1)).await, Err(Stalled));
        drop(events);
    }

    #[tokio::test]
    async fn a_consumer_that_has_gone_is_no_error() {
        let (sender, events) = mpsc::channel(1);
        drop(events);
        let (mut writer, mut capture) = capture(100, Some(sender));
        writer.write_all(b"text").await.unwrap();
        drop(writer);
        capture.read().await;
        let captured = capture.close();
        assert_eq!(captured.bytes, "text");
        assert_eq!(captured.hand_on_rest(Duration::ZERO).await, Ok(()));
    }
}
