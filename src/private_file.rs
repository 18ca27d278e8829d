//! Reading what only its owner, and a group that may read, are to see: tokens and keys. A file that others can read or
//! write is refused rather than believed.

use std::{fs, io, io::Read, os::unix::fs::MetadataExt, path::Path};

/// Reading by others, and writing by anybody but the owner.
const FORBIDDEN_MODE: u32 = 0o027;

#[derive(Debug, thiserror::Error)]
pub enum PrivateFileError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("may be read or written by others (mode {mode:04o}): chmod 0640, or 0600")]
    Open { mode: u32 },
    #[error("has more than {max_bytes} bytes")]
    TooLarge { max_bytes: u64 },
}

/// # Errors
/// When it can't be read, is too large, or others may read or write it.
pub(crate) fn read(path: &Path, max_bytes: u64) -> Result<Vec<u8>, PrivateFileError> {
    let file = fs::File::open(path)?;
    let mode = file.metadata()?.mode() & 0o7777;
    if mode & FORBIDDEN_MODE != 0 {
        return Err(PrivateFileError::Open { mode });
    }
    let mut bytes = Vec::new();
    file.take(max_bytes + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > max_bytes {
        return Err(PrivateFileError::TooLarge { max_bytes });
    }
    Ok(bytes)
}
