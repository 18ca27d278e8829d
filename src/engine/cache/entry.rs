//! One kept compile, and its form as bytes: what the compiler said, and the files that it handed on. A digest stands
//! before it all, so that what was torn, cut or changed since is recognised. Where the bytes lie is not known here.
//!
//! ```text
//! MAGIC │ digest of the rest │ key │ stdout │ stderr │ number of files │ path, executable, content │ …
//! ```
//! Lengths are 64 bits, little endian, before what they are the length of.

use bytes::{BufMut, Bytes};
use sandboxd_contract::CollectedFile;
use sha2::{Digest, Sha256};

use super::key::Key;
use crate::engine::artifacts::MAX_ARTIFACTS;

const MAGIC: &[u8] = b"sandboxd compiled program 1\n";
const DIGEST_BYTES: usize = 32;
const HEAD_BYTES: usize = MAGIC.len() + DIGEST_BYTES + Key::BYTES;

/// A compile that ended well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::engine) struct Made {
    pub stdout: Bytes,
    pub stderr: Bytes,
    pub files: Vec<CollectedFile>,
}

/// The bytes are not what was written.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Corrupt;

impl Made {
    pub(super) fn to_bytes(&self, key: &Key) -> Vec<u8> {
        let contents = self.files.iter().map(|file| file.content.len() + file.path.len() + 32).sum::<usize>();
        let mut bytes =
            Vec::with_capacity(HEAD_BYTES + 64 + self.stdout.len() + self.stderr.len() + contents);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&[0; DIGEST_BYTES]);
        bytes.extend_from_slice(key.as_bytes());
        put(&mut bytes, &self.stdout);
        put(&mut bytes, &self.stderr);
        bytes.put_u64_le(self.files.len() as u64);
        for file in &self.files {
            put(&mut bytes, file.path.as_bytes());
            bytes.put_u8(u8::from(file.executable));
            put(&mut bytes, &file.content);
        }
        let body = MAGIC.len() + DIGEST_BYTES;
        let digest = Sha256::digest(bytes.get(body..).unwrap_or_default());
        if let Some(place) = bytes.get_mut(MAGIC.len()..body) {
            place.copy_from_slice(&digest);
        }
        bytes
    }

    /// The files' contents are parts of `bytes`, not copies.
    ///
    /// # Errors
    /// When they are not what [`Self::to_bytes`] made for this key.
    pub(super) fn from_bytes(bytes: Bytes, key: &Key) -> Result<Self, Corrupt> {
        let mut rest = Rest(bytes);
        if rest.take(MAGIC.len())? != MAGIC {
            return Err(Corrupt);
        }
        let digest = rest.take(DIGEST_BYTES)?;
        if digest != Sha256::digest(&rest.0)[..] || rest.take(Key::BYTES)? != key.as_bytes() {
            return Err(Corrupt);
        }
        let (stdout, stderr) = (rest.part()?, rest.part()?);
        let count = rest.number()?;
        if count > MAX_ARTIFACTS {
            return Err(Corrupt);
        }
        let mut files = Vec::with_capacity(count);
        for _ in 0..count {
            let path = std::str::from_utf8(&rest.part()?).map_err(|_| Corrupt)?.to_owned();
            let executable = rest.take(1)? != [0][..];
            files.push(CollectedFile { path, executable, content: rest.part()? });
        }
        if rest.0.is_empty() { Ok(Self { stdout, stderr, files }) } else { Err(Corrupt) }
    }
}

fn put(bytes: &mut Vec<u8>, part: &[u8]) {
    bytes.put_u64_le(part.len() as u64);
    bytes.extend_from_slice(part);
}

/// What has not been read yet.
struct Rest(Bytes);

impl Rest {
    fn take(&mut self, count: usize) -> Result<Bytes, Corrupt> {
        if count > self.0.len() { Err(Corrupt) } else { Ok(self.0.split_to(count)) }
    }

    fn number(&mut self) -> Result<usize, Corrupt> {
        let bytes = self.take(size_of::<u64>())?;
        let number = <[u8; 8]>::try_from(&bytes[..]).map_err(|_| Corrupt)?;
        usize::try_from(u64::from_le_bytes(number)).map_err(|_| Corrupt)
    }

    fn part(&mut self) -> Result<Bytes, Corrupt> {
        let length = self.number()?;
        self.take(length)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use sandboxd_contract::Command;

    use super::super::key::Ingredients;
    use super::*;

    pub(in crate::engine::cache) fn key(of: &str) -> Key {
        let command = Command { argv: Vec::new(), env: Vec::new() };
        Key::of(&Ingredients {
            executor: of,
            version: "",
            runtime: "",
            origin: "",
            command: &command,
            artifacts: &[],
            files: &[],
        })
    }

    pub(in crate::engine::cache) fn made(content: Vec<u8>) -> Made {
        let file = |path: &str, content, executable| CollectedFile {
            path: path.to_owned(),
            content: Bytes::from(content),
            executable,
        };
        Made {
            stdout: Bytes::from_static(b"note"),
            stderr: Bytes::from_static(b"warning: \xff"),
            files: vec![file("a.out", content, true), file("lib/ä", Vec::new(), false)],
        }
    }

    #[test]
    fn there_and_back() {
        let (key, made) = (key("a"), made(vec![7; 1000]));
        assert_eq!(Made::from_bytes(made.to_bytes(&key).into(), &key), Ok(made));
    }

    #[test]
    fn whatever_is_changed_is_noticed() {
        let (right, wrong) = (key("a"), key("b"));
        let bytes = made(vec![7; 10]).to_bytes(&right);
        assert_eq!(Made::from_bytes(bytes.clone().into(), &wrong), Err(Corrupt));
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert_eq!(Made::from_bytes(changed.into(), &right), Err(Corrupt), "byte {at}");
            assert_eq!(Made::from_bytes(bytes[..at].to_vec().into(), &right), Err(Corrupt), "cut at {at}");
        }
        let longer = [&bytes[..], b"x"].concat();
        assert_eq!(Made::from_bytes(longer.into(), &right), Err(Corrupt));
    }
}
