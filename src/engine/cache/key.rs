//! What makes two compiles the same: a digest over everything that decides what comes out. Limits are absent on purpose,
//! except where a command carries them: they decide whether a compile ends well, and what did not is never kept.

use std::fmt;

use sandboxd_contract::{Command, File, Glob};
use sha2::{Digest, Sha256};

/// Before everything else: another meaning of the parts behind it needs another number.
const MEANING: &str = "sandboxd compile 1";

/// A compile by its ingredients; printed, the name of its file.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::engine) struct Key([u8; Key::BYTES]);

/// Everything that decides what a compiler makes.
pub(in crate::engine) struct Ingredients<'a> {
    pub executor: &'a str,
    /// The toolchain's, as it was found on the runtime.
    pub version: &'a str,
    /// The runtime's name, and where its sandboxes come from: what was made beside one libc must not meet another.
    pub runtime: &'a str,
    pub origin: &'a str,
    /// Filled in: the flags and the entry are in it.
    pub command: &'a Command,
    pub artifacts: &'a [Glob],
    pub files: &'a [File],
}

impl Key {
    pub(super) const BYTES: usize = 32;

    pub(in crate::engine) fn of(ingredients: &Ingredients<'_>) -> Self {
        let Ingredients { executor, version, runtime, origin, command, artifacts, files } = ingredients;
        let mut digest = Parts(Sha256::new());
        for text in [MEANING, executor, version, runtime, origin] {
            digest.part(text.as_bytes());
        }
        digest.list(&command.argv, |digest, word| digest.part(word.as_bytes()));
        digest.list(&command.env, |digest, (name, value)| {
            digest.part(name.as_bytes());
            digest.part(value.as_bytes());
        });
        digest.list(artifacts, |digest, glob| digest.part(glob.as_str().as_bytes()));
        digest.list(files, |digest, file| {
            digest.part(file.path.as_str().as_bytes());
            digest.part(&file.content);
            digest.part(&[u8::from(file.executable)]);
        });
        Self(digest.0.finalize().into())
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Each part with its length before it, so that no two lists of parts look alike.
struct Parts(Sha256);

impl Parts {
    fn part(&mut self, bytes: &[u8]) {
        self.0.update((bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
    }

    fn list<T>(&mut self, all: &[T], each: impl Fn(&mut Self, &T)) {
        self.0.update((all.len() as u64).to_le_bytes());
        all.iter().for_each(|one| each(self, one));
    }
}

impl fmt::Display for Key {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(out, "{byte:02x}"))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use sandboxd_contract::FilePath;

    use super::*;

    fn file(path: &str, content: &'static str, executable: bool) -> File {
        let path = FilePath::parse(path).unwrap();
        File { path, content: Bytes::from_static(content.as_bytes()), executable }
    }

    struct Mix {
        names: [String; 4],
        command: Command,
        artifacts: Vec<Glob>,
        files: Vec<File>,
    }

    fn key(change: impl FnOnce(&mut Mix)) -> Key {
        let argv = ["g++", "-O2", "main.cpp"].map(str::to_owned).to_vec();
        let mut mix = Mix {
            names: ["cpp", "12.2", "native", "native"].map(str::to_owned),
            command: Command { argv, env: vec![("A".to_owned(), "b".to_owned())] },
            artifacts: vec![Glob::parse("a.out").unwrap()],
            files: vec![file("main.cpp", "int main", false), file("a.h", "", false)],
        };
        change(&mut mix);
        let [executor, version, runtime, origin] = &mix.names;
        let Mix { command, artifacts, files, .. } = &mix;
        Key::of(&Ingredients { executor, version, runtime, origin, command, artifacts, files })
    }

    #[test]
    fn every_ingredient_counts() {
        let keys = [
            key(|_| {}),
            key(|mix| mix.names[0].push('x')),
            key(|mix| mix.names[1].push('x')),
            key(|mix| mix.names[2].push('x')),
            key(|mix| mix.names[3].push('x')),
            key(|mix| mix.command.argv[1] = "-O3".to_owned()),
            key(|mix| mix.command.argv = vec!["g++".to_owned(), "-O2main.cpp".to_owned()]),
            key(|mix| mix.command.env.clear()),
            key(|mix| mix.artifacts.push(Glob::parse("b").unwrap())),
            key(|mix| mix.files[0].content = Bytes::from_static(b"int mair")),
            key(|mix| mix.files[0].executable = true),
            key(|mix| mix.files[1].path = FilePath::parse("b.h").unwrap()),
            key(|mix| mix.files.truncate(1)),
        ];
        for (at, one) in keys.iter().enumerate() {
            assert_eq!(keys.iter().position(|other| other == one), Some(at));
        }
        assert_eq!(keys[0], key(|_| {}));
        assert_eq!(keys[0].to_string().len(), 2 * Key::BYTES);
    }
}
