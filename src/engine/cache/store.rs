//! The folder with the kept compiles: one file each, named by its key. Everything here blocks, so it is called on
//! threads for that. Several daemons may share a folder; they agree through the filesystem alone.
//!
//! - An entry appears whole: it is written beside and renamed. Nothing is synced, since a torn one is recognised.
//! - The time of an entry's last use is its file's modification time. The longest unused go first.
//! - What others write is seen when the folder is looked through, at the latest when this daemon has written an eighth
//!   of the bound since the last time. So together they exceed it by that much at most, each.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use uuid::Uuid;

use super::entry::Made;
use super::key::Key;

/// Artifacts at their most, the compiler's words and the names of files.
const MAX_ENTRY_BYTES: u64 = 256 << 20;
/// A file takes up whole blocks.
const BLOCK_BYTES: u64 = 4096;
/// What is written to under another name first.
const UNFINISHED: &str = "unfinished-";
/// Nobody writes for so long: its writer has died.
const UNFINISHED_KEPT: Duration = Duration::from_secs(600);
/// Once the bound is met, the folder shrinks to so many hundredths of it, so that not every write looks through it.
const KEPT_PERCENT: u64 = 90;
/// The share of the bound that may be written without looking.
const UNSEEN_SHARE: u64 = 8;

pub(super) struct Store {
    folder: PathBuf,
    max_bytes: u64,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    /// What lay in the folder when it was last looked through; `None` until it was.
    bytes: Option<u64>,
    /// Written since.
    written: u64,
}

/// What came of looking for an entry.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    Made(Made),
    Nothing,
    /// It was not what was written, and is gone.
    Corrupt,
}

/// What came of keeping one.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Kept {
    /// In the folder now, as far as is known.
    pub bytes: u64,
    pub evicted: u64,
}

/// What lies in a folder of compiled programs.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct CacheSurvey {
    pub entries: u64,
    pub bytes: u64,
    /// When the one that has been unused for longest was last used.
    pub oldest: Option<SystemTime>,
}

struct Lying {
    path: PathBuf,
    bytes: u64,
    used: SystemTime,
}

impl Store {
    /// # Errors
    /// When there is no folder and none can be made.
    pub(super) fn open(folder: &Path, max_bytes: u64) -> io::Result<Self> {
        // Who can write here decides what programs are made of.
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        Ok(Self { folder: folder.to_owned(), max_bytes, seen: Mutex::default() })
    }

    /// An entry that can't be read is no reason to compile nothing: it is as if it were not there.
    pub(super) fn find(&self, key: &Key) -> Found {
        let path = self.path(key);
        let Ok(mut file) = File::open(&path) else { return Found::Nothing };
        match read(&mut file) {
            Ok(bytes) => match Made::from_bytes(bytes, key) {
                Ok(made) => {
                    // Only its place in the order of eviction hangs on it.
                    let _ = file.set_modified(SystemTime::now());
                    Found::Made(made)
                }
                Err(_corrupt) => {
                    let _gone_already = fs::remove_file(&path);
                    Found::Corrupt
                }
            },
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "a compiled program could not be read");
                Found::Nothing
            }
        }
    }

    /// Keeps an entry and makes room where it is needed. One that is too large for the whole bound is not kept.
    ///
    /// # Errors
    /// When the filesystem refuses; nothing is left behind then.
    pub(super) fn keep(&self, key: &Key, made: &Made) -> io::Result<Kept> {
        let bytes = made.to_bytes(key);
        let size = taken_up(bytes.len() as u64);
        if size <= self.max_bytes && bytes.len() as u64 <= MAX_ENTRY_BYTES {
            self.write(key, &bytes)?;
            let mut seen = self.seen();
            seen.written = seen.written.saturating_add(size);
        }
        self.make_room()
    }

    fn write(&self, key: &Key, bytes: &[u8]) -> io::Result<()> {
        let unfinished = self.folder.join(format!("{UNFINISHED}{}", Uuid::now_v7()));
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished)?;
        let written = file.write_all(bytes).and_then(|()| fs::rename(&unfinished, self.path(key)));
        if written.is_err() {
            let _left_to_make_room = fs::remove_file(&unfinished);
        }
        written
    }

    /// Looks through the folder where that is due, and removes what exceeds the bound.
    pub(super) fn make_room(&self) -> io::Result<Kept> {
        let (known, written) = {
            let seen = self.seen();
            (seen.bytes, seen.written)
        };
        if let Some(bytes) = known.map(|bytes| bytes.saturating_add(written))
            && bytes <= self.max_bytes
            && written <= self.max_bytes / UNSEEN_SHARE
        {
            return Ok(Kept { bytes, evicted: 0 });
        }
        let mut lying = look_through(&self.folder)?;
        let mut bytes = lying.iter().map(|entry| entry.bytes).sum::<u64>();
        let mut evicted = 0;
        if bytes > self.max_bytes {
            lying.sort_unstable_by_key(|entry| entry.used);
            let goal = self.max_bytes / 100 * KEPT_PERCENT;
            for entry in lying {
                if bytes <= goal {
                    break;
                }
                // Another daemon may have been quicker: gone is gone.
                let _gone = fs::remove_file(&entry.path);
                bytes = bytes.saturating_sub(entry.bytes);
                evicted += 1;
            }
        }
        let mut seen = self.seen();
        // What was written while looking is counted once more at most.
        *seen = Seen { bytes: Some(bytes), written: seen.written.saturating_sub(written) };
        Ok(Kept { bytes, evicted })
    }

    fn path(&self, key: &Key) -> PathBuf {
        self.folder.join(key.to_string())
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CacheSurvey {
    /// # Errors
    /// When the folder can't be read; one that is not there is empty.
    pub fn of(folder: &Path) -> io::Result<Self> {
        let lying = look_through(folder)?;
        Ok(Self {
            entries: lying.len() as u64,
            bytes: lying.iter().map(|entry| entry.bytes).sum(),
            oldest: lying.iter().map(|entry| entry.used).min(),
        })
    }

    /// Removes every entry, and says what they were. Daemons that use the folder go on with an empty one.
    ///
    /// # Errors
    /// When the folder can't be read, or one of them not removed.
    pub fn clear(folder: &Path) -> io::Result<Self> {
        let survey = Self::of(folder)?;
        for entry in look_through(folder)? {
            match fs::remove_file(&entry.path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _gone => {}
            }
        }
        Ok(survey)
    }
}

fn read(file: &mut File) -> io::Result<Bytes> {
    let length = file.metadata()?.len();
    if length > MAX_ENTRY_BYTES {
        // Not by us; reading a part of it shows that.
        return Ok(Bytes::new());
    }
    let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or_default());
    file.take(length).read_to_end(&mut bytes)?;
    Ok(bytes.into())
}

/// The entries; what a dead writer has left is removed on the way. Other files are not ours and not touched.
fn look_through(folder: &Path) -> io::Result<Vec<Lying>> {
    let mut lying = Vec::new();
    let listed = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(lying),
        listed => listed?,
    };
    let now = SystemTime::now();
    for entry in listed {
        let entry = entry?;
        let name = entry.file_name();
        // It may have gone since it was listed.
        let (Some(name), Ok(metadata)) = (name.to_str(), entry.metadata()) else { continue };
        let used = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
        if is_key(name) && metadata.is_file() {
            lying.push(Lying { path: entry.path(), bytes: taken_up(metadata.len()), used });
        } else if name.starts_with(UNFINISHED)
            && now.duration_since(used).is_ok_and(|age| age > UNFINISHED_KEPT)
        {
            let _gone_already = fs::remove_file(entry.path());
        }
    }
    Ok(lying)
}

fn is_key(name: &str) -> bool {
    name.len() == 2 * Key::BYTES && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn taken_up(bytes: u64) -> u64 {
    bytes.div_ceil(BLOCK_BYTES).saturating_mul(BLOCK_BYTES)
}

#[cfg(test)]
mod tests;
