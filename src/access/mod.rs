//! Who may use the daemon, and how much of it: bearer tokens (RFC 6750) over TCP, the users of a Unix socket.
//!
//! A door asks who somebody is, then lets each request begin, then asks whether what it wants may be had. Deliberately
//! absent: HTTP, and the queue, which knows a client by an opaque key.

mod file;

use std::{
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use sha2::{Digest, Sha256};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};

pub use self::file::{TokensError, load};
use crate::engine::{Ceilings, ClientKey};

/// What is told to come again when a token's executions at once are used up.
const RETRY_CONCURRENT: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

/// The rules; without any, whoever reaches an address may run programs.
#[derive(Debug, Default)]
pub struct Access {
    pub tokens: Vec<Arc<Token>>,
    /// User ids that may use Unix sockets; empty: whom the socket's own permissions let.
    pub unix_users: Vec<u32>,
}

/// One bearer token. Only its digest is known.
#[derive(Debug)]
pub struct Token {
    pub name: String,
    digest: [u8; 32],
    rate: Option<Bucket>,
    concurrent: Option<Arc<Semaphore>>,
    /// `None`: all of them.
    runtimes: Option<Vec<String>>,
    languages: Option<Vec<String>>,
    ceilings: Ceilings,
}

/// Where a request comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    Tcp(IpAddr),
    /// `None` where the kernel did not say who.
    Unix(Option<u32>),
}

/// Somebody who may come in.
#[derive(Debug, Clone)]
pub struct Client {
    key: ClientKey,
    token: Option<Arc<Token>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Denied {
    /// It is not known who it is.
    Unauthorized(&'static str),
    /// It is known, and may not.
    Forbidden {
        field: Option<&'static str>,
        reason: String,
    },
    RateLimited {
        reason: String,
        retry_after: Duration,
    },
}

/// A request that has begun; ends when dropped.
#[derive(Debug)]
pub struct Turn {
    _place: Option<OwnedSemaphorePermit>,
}

impl Access {
    /// `authorization` is the header's value.
    ///
    /// # Errors
    /// When it is nobody who may come in.
    pub fn who(&self, peer: Peer, authorization: Option<&str>) -> Result<Client, Denied> {
        let given = authorization.map(|value| {
            let (scheme, token) = value.split_once(' ').unwrap_or((value, ""));
            scheme.eq_ignore_ascii_case("bearer").then_some(token.trim()).filter(|token| !token.is_empty())
        });
        match (given, peer) {
            // A token counts wherever it is shown, if there are any.
            (Some(given), _) if !self.tokens.is_empty() => {
                let token = given.and_then(|token| self.token(token));
                let token = token.ok_or(Denied::Unauthorized("the token is not known here"))?;
                let key = ClientKey::new(&format!("token {}", token.name));
                Ok(Client { key, token: Some(token) })
            }
            (_, Peer::Unix(uid)) => self.unix_user(uid),
            (_, Peer::Tcp(_)) if !self.tokens.is_empty() => {
                Err(Denied::Unauthorized("a token is needed: Authorization: Bearer …"))
            }
            (_, Peer::Tcp(address)) => {
                Ok(Client { key: ClientKey::new(&format!("address {address}")), token: None })
            }
        }
    }

    fn unix_user(&self, uid: Option<u32>) -> Result<Client, Denied> {
        let named = uid.map_or_else(|| "of an unknown user".to_owned(), |uid| format!("{uid}"));
        if !self.unix_users.is_empty() && !uid.is_some_and(|uid| self.unix_users.contains(&uid)) {
            let reason = format!("the user {named} is none of auth.unix_users");
            return Err(Denied::Forbidden { field: None, reason });
        }
        Ok(Client { key: ClientKey::new(&format!("user {named}")), token: None })
    }

    /// Every digest is compared, each in full: how long it takes says nothing of any of them.
    fn token(&self, given: &str) -> Option<Arc<Token>> {
        let digest = digest_of(given);
        let mut found = None;
        for token in &self.tokens {
            let difference = token.digest.iter().zip(digest).fold(0, |all, (a, b)| all | (a ^ b));
            if difference == 0 {
                found = Some(Arc::clone(token));
            }
        }
        found
    }
}

fn digest_of(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

/// What a file of tokens holds of a token.
pub fn sha256_of(token: &str) -> String {
    hex(&digest_of(token))
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Client {
    /// Whether a token said who it is, and not only an address.
    pub fn has_token(&self) -> bool {
        self.token.is_some()
    }

    pub fn key(&self) -> &ClientKey {
        &self.key
    }

    /// Lets one execution begin.
    ///
    /// # Errors
    /// When the token has had its share.
    pub fn begin(&self) -> Result<Turn, Denied> {
        let Some(token) = &self.token else { return Ok(Turn { _place: None }) };
        let place = match &token.concurrent {
            None => None,
            Some(places) => {
                Some(Arc::clone(places).try_acquire_owned().map_err(|_| Denied::RateLimited {
                    reason: format!("the token {} has as many executions at once as it may", token.name),
                    retry_after: RETRY_CONCURRENT,
                })?)
            }
        };
        if let Some(bucket) = &token.rate
            && let Err(retry_after) = bucket.take(Instant::now())
        {
            let reason = format!("the token {} may ask {} times a minute", token.name, bucket.per_minute);
            return Err(Denied::RateLimited { reason, retry_after });
        }
        Ok(Turn { _place: place })
    }

    /// Limits that it may not go beyond.
    pub fn ceilings(&self) -> Ceilings {
        self.token.as_ref().map_or_else(Ceilings::default, |token| token.ceilings)
    }

    /// Whether it may have this language on this runtime.
    ///
    /// # Errors
    /// The field that asked for it, and who may not.
    pub fn may_have(&self, language: &str, runtime: &str) -> Result<(), Denied> {
        let Some(token) = &self.token else { return Ok(()) };
        let allowed = |list: &Option<Vec<String>>, word: &str| {
            list.as_ref().is_none_or(|list| list.iter().any(|one| one == word))
        };
        let denied = |field, word: &str| {
            let reason = format!("the token {} may not use the {field} {word}", token.name);
            Err(Denied::Forbidden { field: Some(field), reason })
        };
        if !allowed(&token.languages, language) {
            return denied("language", language);
        }
        if !allowed(&token.runtimes, runtime) {
            return denied("runtime", runtime);
        }
        Ok(())
    }
}

/// So many a minute, all of them at once if need be.
#[derive(Debug)]
struct Bucket {
    per_minute: u32,
    /// What is left, and when that was so.
    level: Mutex<(f64, Option<Instant>)>,
}

impl Bucket {
    fn new(per_minute: u32) -> Self {
        Self { per_minute, level: Mutex::new((f64::from(per_minute), None)) }
    }

    /// # Errors
    /// How long it takes until there is one again.
    fn take(&self, now: Instant) -> Result<(), Duration> {
        let mut level = self.level.lock().unwrap_or_else(PoisonError::into_inner);
        let (left, since) = *level;
        let elapsed = since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
        let full = f64::from(self.per_minute);
        let left = (left + full * elapsed.as_secs_f64() / MINUTE.as_secs_f64()).min(full);
        if left >= 1.0 {
            *level = (left - 1.0, Some(now));
            return Ok(());
        }
        *level = (left, Some(now));
        Err(MINUTE.mul_f64((1.0 - left) / full))
    }
}

#[cfg(test)]
mod tests;
