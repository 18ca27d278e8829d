//! Plain bytes between the daemon and its helpers in and around a sandbox: little-endian numbers, length-prefixed
//! strings. What the messages are, and their versions where there are any, is for those who use this. A reader never
//! trusts a length further than the bytes it holds.

use std::time::Duration;

#[derive(Debug, Default)]
pub struct Writer(Vec<u8>);

impl Writer {
    pub fn new() -> Self {
        Self(Vec::with_capacity(256))
    }

    pub fn byte(&mut self, value: u8) -> &mut Self {
        self.0.push(value);
        self
    }

    pub fn number(&mut self, value: u64) -> &mut Self {
        self.0.extend_from_slice(&value.to_le_bytes());
        self
    }

    /// A number that may be unknown.
    pub fn optional(&mut self, value: Option<u64>) -> &mut Self {
        self.byte(u8::from(value.is_some())).number(value.unwrap_or(0))
    }

    pub fn optional_time(&mut self, value: Option<Duration>) -> &mut Self {
        self.optional(value.map(|time| time.as_nanos() as u64))
    }

    pub fn bytes(&mut self, value: &[u8]) -> &mut Self {
        self.number(value.len() as u64);
        self.0.extend_from_slice(value);
        self
    }

    pub fn finish(self) -> Vec<u8> {
        self.0
    }
}

/// A message that ends too early or names what does not exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed message")]
pub struct Malformed;

pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let (head, rest) = self.0.split_at_checked(count).ok_or(Malformed)?;
        self.0 = rest;
        Ok(head)
    }

    pub fn byte(&mut self) -> Result<u8, Malformed> {
        self.take(1)?.first().copied().ok_or(Malformed)
    }

    pub fn number(&mut self) -> Result<u64, Malformed> {
        let bytes = self.take(8)?.try_into().map_err(|_| Malformed)?;
        Ok(u64::from_le_bytes(bytes))
    }

    pub fn optional(&mut self) -> Result<Option<u64>, Malformed> {
        let known = self.byte()? != 0;
        let value = self.number()?;
        Ok(known.then_some(value))
    }

    pub fn optional_time(&mut self) -> Result<Option<Duration>, Malformed> {
        Ok(self.optional()?.map(Duration::from_nanos))
    }

    pub fn bytes(&mut self) -> Result<&'a [u8], Malformed> {
        let length = usize::try_from(self.number()?).map_err(|_| Malformed)?;
        self.take(length)
    }

    pub fn string(&mut self) -> Result<String, Malformed> {
        String::from_utf8(self.bytes()?.to_vec()).map_err(|_| Malformed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let mut writer = Writer::new();
        writer.byte(7).number(u64::MAX).optional(None).optional(Some(3)).bytes(b"abc");
        let bytes = writer.finish();
        let mut reader = Reader::new(&bytes);
        assert_eq!(reader.byte(), Ok(7));
        assert_eq!(reader.number(), Ok(u64::MAX));
        assert_eq!(reader.optional(), Ok(None));
        assert_eq!(reader.optional(), Ok(Some(3)));
        assert_eq!(reader.bytes(), Ok(&b"abc"[..]));
        assert_eq!(reader.byte(), Err(Malformed));
    }

    #[test]
    fn a_length_beyond_the_message_is_malformed() {
        let bytes = u64::MAX.to_le_bytes();
        assert_eq!(Reader::new(&bytes).bytes(), Err(Malformed));
    }
}
