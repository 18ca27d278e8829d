//! The name under which a lone piece of code is stored. Java wants a file to be called like the public class in it,
//! so a manifest may say which words announce such a name; the reading of them is here. No compiler: what it can't
//! tell from the words, it leaves to the fixed name and the compiler's message.

use sandboxd_contract::FilePath;

/// How an executor names `code`.
#[derive(Debug, Clone)]
pub(super) struct SourceName {
    pub fixed: FilePath,
    pub declared: Option<Declared>,
}

/// `public final class Hello` outside all braces: somewhere behind the word `after` one of `keywords`, then the name.
#[derive(Debug, Clone)]
pub(super) struct Declared {
    pub after: String,
    pub keywords: Vec<String>,
    pub suffix: String,
}

impl SourceName {
    /// The name of code that declares none.
    pub(super) fn usual(&self) -> &FilePath {
        &self.fixed
    }

    pub(super) fn of(&self, code: &[u8]) -> FilePath {
        self.declared.as_ref().and_then(|declared| declared.find(code)).unwrap_or_else(|| self.fixed.clone())
    }
}

impl Declared {
    fn find(&self, code: &[u8]) -> Option<FilePath> {
        let mut words = OutermostWords { rest: std::str::from_utf8(code).ok()?, depth: 0 };
        words.find(|word| *word == self.after)?;
        words.find(|word| self.keywords.iter().any(|known| known == word))?;
        FilePath::parse(&format!("{}{}", words.next()?, self.suffix)).ok()
    }
}

/// The words outside of braces, comments and quotes, for every language with C's manners.
struct OutermostWords<'a> {
    rest: &'a str,
    depth: usize,
}

impl<'a> Iterator for OutermostWords<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        loop {
            let first = self.rest.chars().next()?;
            if self.rest.starts_with("//") {
                self.skip(self.rest.find('\n'));
            } else if self.rest.starts_with("/*") {
                self.skip(self.rest[2..].find("*/").map(|at| at + 4));
            } else if self.rest.starts_with("\"\"\"") {
                self.skip_quoted("\"\"\"");
            } else if first == '"' {
                self.skip_quoted("\"");
            } else if first == '\'' {
                self.skip_quoted("'");
            } else if in_word(first) {
                let word = self.skip(self.rest.find(|c| !in_word(c)));
                if self.depth == 0 {
                    return Some(word);
                }
            } else {
                match first {
                    '{' => self.depth += 1,
                    '}' => self.depth = self.depth.saturating_sub(1),
                    _ => {}
                }
                self.skip(Some(first.len_utf8()));
            }
        }
    }
}

impl<'a> OutermostWords<'a> {
    /// Goes past so many bytes, or to the end, and hands them out.
    fn skip(&mut self, bytes: Option<usize>) -> &'a str {
        let split = bytes.and_then(|bytes| self.rest.split_at_checked(bytes));
        let (skipped, rest) = split.unwrap_or((self.rest, ""));
        self.rest = rest;
        skipped
    }

    fn skip_quoted(&mut self, quote: &str) {
        let body = &self.rest[quote.len()..];
        let mut escaped = false;
        let end = body.char_indices().find(|(at, c)| {
            let ends = !escaped && body[*at..].starts_with(quote);
            escaped = !escaped && *c == '\\';
            ends
        });
        self.skip(end.map(|(at, _)| at + 2 * quote.len()));
    }
}

fn in_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '$'
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(code: &str) -> String {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        let declared = Declared {
            after: "public".to_owned(),
            keywords: words(&["class", "interface", "enum", "record"]),
            suffix: ".java".to_owned(),
        };
        let source = SourceName { fixed: FilePath::parse("Main.java").unwrap(), declared: Some(declared) };
        source.of(code.as_bytes()).to_string()
    }

    #[test]
    fn a_public_type_names_its_file() {
        for (code, file) in [
            ("public class Hello { }", "Hello.java"),
            ("package a;\nimport b.c;\n\npublic\nfinal class\n Hello<T> extends X { }", "Hello.java"),
            ("class A { public class B { } }\npublic class C { }", "C.java"),
            ("/* public class A */ // public class B\npublic class C{}", "C.java"),
            ("@Note(\"public class A {\") public @Deprecated class B { }", "B.java"),
            ("class A { char c = '{'; String s = \"\\\"}{\"; }\npublic enum E { X }", "E.java"),
            ("class A { String s = \"\"\"\n a \\\"\"\" } \" {\n\"\"\"; } public interface I { }", "I.java"),
            ("public @interface Note { }", "Note.java"),
            ("public record Point(int x, int y) { }", "Point.java"),
            ("public sealed interface S permits A {} ", "S.java"),
            ("public class Grüße { }", "Grüße.java"),
        ] {
            assert_eq!(name(code), file, "{code:?}");
        }
    }

    #[test]
    fn anything_else_keeps_the_fixed_name() {
        for code in [
            "",
            "class Hello { }",
            "public",
            "public class",
            "/* public class A",
            "\"public class A",
            "// public class A",
        ] {
            assert_eq!(name(code), "Main.java", "{code:?}");
        }
        let source = SourceName { fixed: FilePath::parse("main.py").unwrap(), declared: None };
        assert_eq!(source.of(b"public class A").as_str(), "main.py");
        assert_eq!(source.of(&[0xff, 0xfe]).as_str(), "main.py");
    }
}
