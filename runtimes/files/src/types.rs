//! Files that go into a sandbox and come out of it, with paths that were checked once, by type.

use std::fmt;

use bytes::Bytes;

/// A file to be put below the working directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    pub path: FilePath,
    pub content: Bytes,
    /// Mode 0755 rather than 0644.
    pub executable: bool,
}

/// A relative path that can only lead downwards: no empty, `.` or `..` component, no NUL, bounded in length and depth.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FilePath(String);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    #[error("is empty")]
    Empty,
    #[error("must be relative")]
    Absolute,
    #[error("must not have an empty, '.' or '..' component")]
    Component,
    #[error("must not hold a NUL")]
    Nul,
    #[error(
        "is too long: {} bytes in all, {} in a component and {} components are allowed",
        FilePath::MAX_BYTES,
        FilePath::MAX_COMPONENT_BYTES,
        FilePath::MAX_COMPONENTS
    )]
    TooLong,
}

impl FilePath {
    pub const MAX_BYTES: usize = 1024;
    /// NAME_MAX of Linux.
    pub const MAX_COMPONENT_BYTES: usize = 255;
    pub const MAX_COMPONENTS: usize = 32;

    /// Checks a path that came from outside.
    pub fn parse(path: &str) -> Result<Self, PathError> {
        if path.is_empty() {
            return Err(PathError::Empty);
        }
        if path.starts_with('/') {
            return Err(PathError::Absolute);
        }
        if path.contains('\0') {
            return Err(PathError::Nul);
        }
        let too_long = |component: &str| component.len() > Self::MAX_COMPONENT_BYTES;
        if path.len() > Self::MAX_BYTES
            || path.split('/').count() > Self::MAX_COMPONENTS
            || path.split('/').any(too_long)
        {
            return Err(PathError::TooLong);
        }
        if path.split('/').any(|component| matches!(component, "" | "." | "..")) {
            return Err(PathError::Component);
        }
        Ok(Self(path.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The last component without its last extension: `Main` of `src/Main.java`.
    pub fn stem(&self) -> &str {
        let name = self.0.rsplit('/').next().unwrap_or(&self.0);
        match name.rfind('.') {
            Some(dot) if dot > 0 => name.get(..dot).unwrap_or(name),
            _ => name,
        }
    }

    /// The folders above it, from the top down: `a`, `a/b` of `a/b/c.txt`.
    pub fn parents(&self) -> impl Iterator<Item = &str> {
        self.0.match_indices('/').filter_map(|(at, _)| self.0.get(..at))
    }
}

impl fmt::Display for FilePath {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

/// A pattern over paths below the working directory: `*`, `?`, `[a-z]` within a component, `**` across them.
#[derive(Debug, Clone)]
pub struct Glob(glob::Pattern);

impl Glob {
    pub const MAX_BYTES: usize = 256;

    /// # Errors
    /// One sentence for the person who wrote the pattern.
    pub fn parse(pattern: &str) -> Result<Self, String> {
        if pattern.is_empty() || pattern.len() > Self::MAX_BYTES {
            return Err(format!("a pattern has 1 to {} bytes", Self::MAX_BYTES));
        }
        // As a shell's user writes the same file.
        let pattern = pattern.trim_start_matches("./");
        if pattern.split('/').any(|component| matches!(component, "" | "." | "..")) {
            let message =
                "a pattern is relative to the working directory, without empty, '.' or '..' components";
            return Err(message.to_owned());
        }
        if without_classes(pattern).contains(['{', '}']) {
            return Err("braces are no alternatives: give a pattern for each; a brace itself is [{] or [}]"
                .to_owned());
        }
        glob::Pattern::new(pattern).map(Self).map_err(|error| error.msg.to_owned())
    }

    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    pub fn matches(&self, path: &str) -> bool {
        let options = glob::MatchOptions {
            case_sensitive: true,
            require_literal_separator: true,
            require_literal_leading_dot: false,
        };
        self.0.matches_with(path, options)
    }
}

/// The pattern outside of its `[…]`.
fn without_classes(pattern: &str) -> String {
    let mut outside = true;
    let mut kept = |character: char| {
        let was_outside = outside;
        outside = if was_outside { character != '[' } else { character == ']' };
        was_outside && outside
    };
    pattern.chars().filter(|character| kept(*character)).collect()
}

/// What to read out of a working directory. Every number is a bound on work that a program could ask for.
#[derive(Debug, Clone)]
pub struct CollectRequest {
    pub globs: Vec<Glob>,
    pub max_files: usize,
    /// All contents together.
    pub max_bytes: u64,
    /// Directory entries looked at, matching or not.
    pub max_entries: usize,
}

#[derive(Debug, Clone, Default)]
pub struct Collected {
    pub files: Vec<CollectedFile>,
    /// What matched but did not fit into the bounds, or was no regular file with a single name.
    pub omitted: Vec<Omitted>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CollectedFile {
    /// Relative to the working directory; a byte that is no UTF-8 became U+FFFD.
    pub path: String,
    pub content: Bytes,
    pub executable: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Omitted {
    pub path: String,
    pub reason: &'static str,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_downwards_only() {
        for good in ["a", "a.txt", "src/Main.java", ".hidden", "a b", "ä/ö", "..a", "a.."] {
            assert_eq!(FilePath::parse(good).map(|path| path.to_string()), Ok(good.to_owned()));
        }
        for (bad, why) in [
            ("", PathError::Empty),
            ("/etc/passwd", PathError::Absolute),
            ("..", PathError::Component),
            ("a/../b", PathError::Component),
            ("./a", PathError::Component),
            ("a//b", PathError::Component),
            ("a/", PathError::Component),
            ("a\0b", PathError::Nul),
        ] {
            assert_eq!(FilePath::parse(bad), Err(why), "{bad:?}");
        }
        assert_eq!(FilePath::parse(&"a".repeat(256)), Err(PathError::TooLong));
        assert_eq!(FilePath::parse(&["a"; 33].join("/")), Err(PathError::TooLong));
        assert_eq!(FilePath::parse(&["abcdefgh"; 32].join("/").repeat(4)), Err(PathError::TooLong));
    }

    #[test]
    fn stems_and_parents() {
        let path = FilePath::parse("src/app/Main.java").unwrap();
        assert_eq!(path.stem(), "Main");
        assert_eq!(path.parents().collect::<Vec<_>>(), ["src", "src/app"]);
        assert_eq!(FilePath::parse(".profile").unwrap().stem(), ".profile");
    }

    #[test]
    fn globs_respect_separators() {
        let matches = |pattern: &str, path: &str| Glob::parse(pattern).unwrap().matches(path);
        assert!(matches("*.txt", "a.txt"));
        assert!(!matches("*.txt", "a/b.txt"));
        assert!(matches("**/*.class", "Main.class"));
        assert!(matches("**/*.class", "a/b/Main.class"));
        assert!(matches("out/**", "out/a/b"));
        assert!(Glob::parse("/etc/*").is_err());
        assert!(Glob::parse("../*").is_err());
        assert!(Glob::parse("a[").is_err());
        assert!(matches("./a.txt", "a.txt") && matches("././out/*", "out/a"));
        assert!(matches("[{]a[}].txt", "{a}.txt"));
        for (bad, why) in [
            ("out/", "components"),
            ("a//b", "components"),
            ("a/./b", "components"),
            ("{a,b}.txt", "a pattern for each"),
        ] {
            assert!(Glob::parse(bad).unwrap_err().contains(why), "{bad}");
        }
        assert!(Glob::parse(&"*".repeat(300)).is_err());
    }
}
