//! The file of tokens: one table for each, by its name. Read at the start and at every reload, as a whole; whoever may
//! write it decides who may run programs, so nobody else may.
//!
//! ```toml
//! [ci]
//! sha256 = "…"                 # as `sandboxd token ci` prints it
//! requests_per_minute = 600    # optional, as is what follows
//! max_concurrent = 4
//! languages = ["python"]
//! runtimes = ["native"]
//! limits = { wall_time_ms = 5000 }             # at most; compile_limits likewise
//! ```

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::Deserialize;
use tokio::sync::Semaphore;

use super::{Bucket, Token};
use crate::{
    engine::{Ceilings, LimitName, LimitRequest},
    private_file::{self, PrivateFileError},
};

/// More is no file of tokens.
const MAX_BYTES: u64 = 4 << 20;
/// Every one is looked at for every request.
const MAX_TOKENS: usize = 4096;
const MAX_PER_MINUTE: u32 = 1_000_000;
const MAX_CONCURRENT: usize = 1024;

#[derive(Debug, thiserror::Error)]
pub enum TokensError {
    #[error("auth.tokens: {path}: {source}")]
    PrivateFile { path: PathBuf, source: PrivateFileError },
    #[error("auth.tokens: {path}: {message}")]
    Wrong { path: PathBuf, message: String },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TokenShape {
    sha256: String,
    requests_per_minute: Option<u32>,
    max_concurrent: Option<usize>,
    languages: Option<Vec<String>>,
    runtimes: Option<Vec<String>>,
    #[serde(default)]
    limits: BTreeMap<String, u64>,
    #[serde(default)]
    compile_limits: BTreeMap<String, u64>,
}

/// # Errors
/// Every token that is wrong, by its name.
pub fn load(path: &Path) -> Result<Vec<Arc<Token>>, Vec<TokensError>> {
    let bytes = private_file::read(path, MAX_BYTES)
        .map_err(|source| vec![TokensError::PrivateFile { path: path.to_owned(), source }])?;
    let wrong = |message: String| TokensError::Wrong { path: path.to_owned(), message };
    let text = String::from_utf8(bytes).map_err(|error| vec![wrong(error.to_string())])?;
    let written: BTreeMap<String, TokenShape> = serde_path_to_error::deserialize(
        toml::Deserializer::parse(&text).map_err(|error| vec![wrong(error.message().to_owned())])?,
    )
    .map_err(|error| vec![wrong(format!("{}: {}", error.path(), error.inner().message()))])?;
    if written.len() > MAX_TOKENS {
        return Err(vec![wrong(format!("{} tokens: at most {MAX_TOKENS} are allowed", written.len()))]);
    }
    let (mut tokens, mut errors) = (Vec::new(), Vec::new());
    for (name, shape) in written {
        match believe(&name, shape) {
            Ok(token) => tokens.push(Arc::new(token)),
            Err(message) => errors.push(wrong(format!("{name}.{message}"))),
        }
    }
    if errors.is_empty() { Ok(tokens) } else { Err(errors) }
}

fn believe(name: &str, shape: TokenShape) -> Result<Token, String> {
    let TokenShape {
        sha256,
        requests_per_minute,
        max_concurrent,
        languages,
        runtimes,
        limits,
        compile_limits,
    } = shape;
    let digest = digest(&sha256)
        .ok_or("sha256: 64 hexadecimal digits are needed, as 'sandboxd token NAME' prints them")?;
    if requests_per_minute.is_some_and(|rate| !(1..=MAX_PER_MINUTE).contains(&rate)) {
        return Err(format!("requests_per_minute: must be 1 to {MAX_PER_MINUTE}"));
    }
    if max_concurrent.is_some_and(|count| !(1..=MAX_CONCURRENT).contains(&count)) {
        return Err(format!("max_concurrent: must be 1 to {MAX_CONCURRENT}"));
    }
    Ok(Token {
        name: name.to_owned(),
        digest,
        rate: requests_per_minute.map(Bucket::new),
        concurrent: max_concurrent.map(|count| Arc::new(Semaphore::new(count))),
        runtimes,
        languages,
        ceilings: Ceilings {
            run: ceilings("limits", limits)?,
            compile: ceilings("compile_limits", compile_limits)?,
        },
    })
}

fn ceilings(table: &str, written: BTreeMap<String, u64>) -> Result<LimitRequest, String> {
    let mut believed = LimitRequest::default();
    for (name, value) in written {
        let limit = LimitName::named(&name).ok_or_else(|| {
            let known = LimitName::ALL.map(LimitName::as_str).join(", ");
            format!("{table}.{name}: there is no such limit: {known}")
        })?;
        if value == 0 {
            return Err(format!("{table}.{name}: must be above zero"));
        }
        believed.set(limit, Some(value));
    }
    Ok(believed)
}

fn digest(hex: &str) -> Option<[u8; 32]> {
    if hex.len() != 64 || !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut digest = [0; 32];
    for (at, byte) in digest.iter_mut().enumerate() {
        *byte = u8::from_str_radix(hex.get(2 * at..2 * at + 2)?, 16).ok()?;
    }
    Some(digest)
}
