//! Bytes of anybody's choice against everything that reads some: each target takes what an attacker, or a hand that slips,
//! could send there, and must neither panic nor say what can't be. What the fuzzer once found is a seed, and every seed
//! is run by the tests.
//!
//! Deliberately absent: what a program does in a sandbox. That is what attacks are for.

mod files;
mod requests;

use bytes::{BufMut as _, Bytes};
use sandboxd_agent::{Decoder, FromAgent, MAX_FROM_AGENT_BYTES, MAX_TO_AGENT_BYTES, ToAgent};
use sandboxd_contract::{FilePath, Glob};

/// Takes what the fuzzer made up.
pub type Target = fn(&[u8]);

/// By the names of their folders in `seeds`.
pub const TARGETS: [(&str, Target); 10] = [
    ("request", requests::execute),
    ("configuration", files::configuration),
    ("executor", files::executor),
    ("tokens", files::tokens),
    ("archive", files::archive),
    ("dockerfile", |bytes| text(bytes, sandboxd_containerd::fuzzing::dockerfile)),
    ("agent_frames", agent_frames),
    ("native_messages", sandboxd_native::fuzzing::messages),
    ("kernel_texts", |bytes| text(bytes, kernel_texts)),
    ("paths", |bytes| text(bytes, paths)),
];

fn text(bytes: &[u8], target: fn(&str)) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        target(text);
    }
}

/// Both ends of the line to the agent. A frame that was understood is the same when it is written and read again.
fn agent_frames(bytes: &[u8]) {
    for from_agent in [true, false] {
        let most = if from_agent { MAX_FROM_AGENT_BYTES } else { MAX_TO_AGENT_BYTES };
        let mut decoder = Decoder::new(most);
        // In pieces, as streams come.
        for piece in bytes.chunks(1 + usize::from(bytes.first().copied().unwrap_or_default())) {
            decoder.buffer().put_slice(piece);
            while let Ok(Some((kind, content))) = decoder.next_frame() {
                assert!(content.len() <= most);
                if from_agent { from(kind, content) } else { to(kind, content) }
            }
        }
    }
}

fn from(kind: u8, content: Bytes) {
    let Ok(frame) = FromAgent::decode(kind, content) else { return };
    let (kind, content) = frame.encode();
    assert_eq!(FromAgent::decode(kind, content.into()).as_ref(), Ok(&frame));
}

fn to(kind: u8, content: Bytes) {
    let Ok(frame) = ToAgent::decode(kind, content) else { return };
    let (kind, content) = frame.encode();
    assert_eq!(ToAgent::decode(kind, content.into()).as_ref(), Ok(&frame));
}

fn kernel_texts(text: &str) {
    sandboxd_cgroup::fuzzing::texts(text);
    sandboxd_native::fuzzing::proc_stat(text);
}

/// A path that was believed leads down and nowhere else; a pattern matches or not, and comes to an end.
fn paths(text: &str) {
    let (path, pattern) = text.split_once('\n').unwrap_or((text, "**"));
    let believed = FilePath::parse(path);
    if let Ok(path) = &believed {
        let path = path.as_str();
        assert!(!path.starts_with('/') && !path.contains('\0'));
        assert!(path.split('/').all(|part| !matches!(part, "" | "." | "..")), "{path:?}");
    }
    if let (Ok(path), Ok(pattern)) = (believed, Glob::parse(pattern)) {
        let _either = pattern.matches(path.as_str());
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn no_seed_makes_trouble() {
        for (name, target) in TARGETS {
            let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/seeds/").to_owned() + name;
            let seeds: Vec<_> =
                fs::read_dir(&folder).unwrap_or_else(|error| panic!("{folder}: {error}")).collect();
            assert!(!seeds.is_empty(), "{folder}");
            for seed in seeds {
                target(&fs::read(seed.unwrap().path()).unwrap());
            }
        }
    }
}
