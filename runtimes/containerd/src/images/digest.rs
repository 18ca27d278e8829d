//! SHA-256 as images are named by it, and the names of what layers are stacked to. Pure.

use sha2::{Digest as _, Sha256};

/// Of what comes piece by piece.
#[derive(Default)]
pub(super) struct Digest(Sha256);

impl Digest {
    pub(super) fn add(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub(super) fn finish(self) -> String {
        let hash: String = self.0.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        of_hash(&hash)
    }
}

pub(super) fn of(bytes: &[u8]) -> String {
    let mut digest = Digest::default();
    digest.add(bytes);
    digest.finish()
}

pub(super) fn of_hash(hash: &str) -> String {
    format!("sha256:{hash}")
}

/// The name of the snapshot that each layer makes upon those below it.
pub(super) fn chain(diff_ids: &[&str]) -> Vec<String> {
    let mut chain: Vec<String> = Vec::new();
    for diff_id in diff_ids {
        let next = match chain.last() {
            Some(below) => of(format!("{below} {diff_id}").as_bytes()),
            None => (*diff_id).to_owned(),
        };
        chain.push(next);
    }
    chain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_and_chains_are_those_of_the_specification() {
        let empty = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(of(b""), empty);
        let chain = chain(&["sha256:a", "sha256:b"]);
        assert_eq!(chain[0], "sha256:a");
        assert_eq!(chain[1], of(b"sha256:a sha256:b"));
    }
}
