//! Frames in a stream of bytes: a length of four bytes, a kind of one, then the content.
//!
//! The decoder holds no more than one frame of the size that its owner allows, and believes nothing that it was not
//! sent: a length is room for what comes, never memory ahead of it.

use bytes::{Buf as _, Bytes, BytesMut};

const HEADER_BYTES: usize = 5;

/// Bytes of a program or a file in one frame.
pub const MAX_DATA_BYTES: usize = 64 * 1024;

/// A frame that is larger than its reader allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Oversized {
    pub bytes: usize,
}

/// Puts a frame's header before its content, which is what both sides write.
pub fn header(kind: u8, content_bytes: usize) -> [u8; HEADER_BYTES] {
    let [a, b, c, d] = u32::try_from(content_bytes).unwrap_or(u32::MAX).to_le_bytes();
    [a, b, c, d, kind]
}

/// Cuts a stream into frames.
#[derive(Debug)]
pub struct Decoder {
    buffer: BytesMut,
    max_bytes: usize,
}

impl Decoder {
    /// `max_bytes`: of one frame's content.
    pub fn new(max_bytes: usize) -> Self {
        Self { buffer: BytesMut::new(), max_bytes }
    }

    /// Where bytes from the stream are appended.
    pub fn buffer(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    /// The next whole frame's kind and content; `None` until more has come.
    ///
    /// # Errors
    /// When the other side announces more than is allowed; nothing makes sense after that.
    pub fn next_frame(&mut self) -> Result<Option<(u8, Bytes)>, Oversized> {
        let Some((&[a, b, c, d, kind], _)) = self.buffer.split_first_chunk::<HEADER_BYTES>() else {
            return Ok(None);
        };
        let bytes = u32::from_le_bytes([a, b, c, d]) as usize;
        if bytes > self.max_bytes {
            return Err(Oversized { bytes });
        }
        if self.buffer.len() - HEADER_BYTES < bytes {
            return Ok(None);
        }
        self.buffer.advance(HEADER_BYTES);
        Ok(Some((kind, self.buffer.split_to(bytes).freeze())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_whole_however_they_were_cut() {
        let mut sent = Vec::new();
        for (kind, content) in [(3, &b"abc"[..]), (4, b""), (250, b"x")] {
            sent.extend_from_slice(&header(kind, content.len()));
            sent.extend_from_slice(content);
        }
        for step in 1..=sent.len() {
            let mut decoder = Decoder::new(3);
            let mut got = Vec::new();
            for piece in sent.chunks(step) {
                decoder.buffer().extend_from_slice(piece);
                while let Some((kind, content)) = decoder.next_frame().unwrap() {
                    got.push((kind, content.to_vec()));
                }
            }
            assert_eq!(
                got,
                [(3, b"abc".to_vec()), (4, Vec::new()), (250, b"x".to_vec())],
                "in steps of {step}"
            );
        }
    }

    #[test]
    fn more_than_is_allowed_is_refused_before_it_comes() {
        let mut decoder = Decoder::new(1000);
        decoder.buffer().extend_from_slice(&header(1, 1001));
        assert_eq!(decoder.next_frame(), Err(Oversized { bytes: 1001 }));
    }
}
