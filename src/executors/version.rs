//! Versions as toolchains print them. No semantic versioning: only what can be told of any language.

use std::fmt;

/// The first dotted number in what a version command printed. Ordered by its components, each as a number.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(Vec<u64>);

impl Version {
    /// `go version go1.19 linux/amd64` is 1.19, `v20.20.2` is 20.20.2, `javac 17.0.15` is 17.0.15. The first number
    /// with a dot in it wins over a number before it (`g++ (Debian 12) 12.2.0`); a plain one counts when there is
    /// no other (`openjdk 21`).
    pub fn find(printed: &str) -> Option<Self> {
        let numbers = || {
            printed
                .split(|c: char| !c.is_ascii_digit() && c != '.')
                .map(|run| run.trim_matches('.'))
                .filter(|run| !run.is_empty())
                .filter_map(Self::exactly)
        };
        numbers().find(|version| version.0.len() > 1).or_else(|| numbers().next())
    }

    /// Whether this version is `wanted` or begins with it, component by component: 3.11.2 begins with 3 and 3.11,
    /// not with 3.1. What is no version matches nothing.
    pub fn matches_prefix(&self, wanted: &str) -> bool {
        let wanted = wanted.strip_prefix(['v', 'V']).unwrap_or(wanted);
        Self::exactly(wanted).is_some_and(|wanted| self.0.starts_with(&wanted.0))
    }

    fn exactly(text: &str) -> Option<Self> {
        text.split('.').map(|component| component.parse().ok()).collect::<Option<Vec<_>>>().map(Self)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, component) in self.0.iter().enumerate() {
            let dot = if index == 0 { "" } else { "." };
            write!(out, "{dot}{component}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(printed: &str) -> Option<String> {
        Version::find(printed).map(|version| version.to_string())
    }

    #[test]
    fn finds_the_first_dotted_number() {
        for (printed, version) in [
            ("go version go1.19 linux/amd64", "1.19"),
            ("v20.20.2\n", "20.20.2"),
            ("javac 17.0.15", "17.0.15"),
            ("Python 3.11.2", "3.11.2"),
            ("Python 3.13.0rc1", "3.13.0"),
            ("gcc (Debian 12.2.0-14+deb12u1) 12.2.0\nCopyright (C) 2022 Free", "12.2.0"),
            ("GNU bash, version 5.2.15(1)-release (x86_64-pc-linux-gnu)", "5.2.15"),
            ("gcc (SUSE 12) 13.3", "13.3"),
            ("javac 21", "21"),
            ("openjdk version \"1.8.0_292\"", "1.8.0"),
        ] {
            assert_eq!(found(printed).as_deref(), Some(version), "{printed:?}");
        }
        for nothing in ["", "no number", "...", ". . ."] {
            assert_eq!(found(nothing), None, "{nothing:?}");
        }
        assert_eq!(found("99999999999999999999999.1 then 1.2").as_deref(), Some("1.2"));
    }

    #[test]
    fn orders_by_number() {
        let version = |text: &str| Version::find(text).unwrap();
        assert!(version("3.9") < version("3.11"));
        assert!(version("3.11") < version("3.11.2"));
        assert!(version("20.20.2") > version("20.3"));
    }

    #[test]
    fn prefixes_go_by_component() {
        let version = Version::find("3.11.2").unwrap();
        for yes in ["3", "3.11", "3.11.2", "v3.11"] {
            assert!(version.matches_prefix(yes), "{yes}");
        }
        for no in ["3.1", "3.11.20", "3.11.2.0", "4", "", "3.", "3.x", "latest"] {
            assert!(!version.matches_prefix(no), "{no}");
        }
    }
}
