//! Commands with `{placeholders}`: checked when a manifest is loaded, filled in for each phase. Filling in can't
//! fail and decides nothing; what a placeholder may be is [`Placeholder`], and there is no other.

use sandboxd_contract::FilePath;

use super::Vars;
use crate::engine::LimitName;

/// One command, a template for each word of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct CommandTemplate(Vec<Vec<Part>>);

/// A single text, such as the value of a variable: no placeholder in it stands for several words.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct TextTemplate(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Value(Placeholder),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Placeholder {
    /// The file that is compiled or run.
    Entry,
    /// Its name without folders and extension.
    EntryStem,
    /// The entry, then every other file with one of the executor's extensions; a word of its own for each.
    Sources,
    /// The request's compiler flags, or the executor's; a word of its own for each.
    CompileArgs,
    MemoryMib,
    /// The step's `heap_percent` of the memory limit.
    HeapMib,
    /// The stack limit, or the step's `stack_percent` of the memory limit where that is less.
    StackKib,
    Processes,
    /// The folder that `prepare` has filled.
    Toolchain,
}

impl Placeholder {
    const ALL: [(&'static str, Self); 9] = [
        ("entry", Self::Entry),
        ("entry_stem", Self::EntryStem),
        ("sources", Self::Sources),
        ("compile_args", Self::CompileArgs),
        ("memory_mib", Self::MemoryMib),
        ("heap_mib", Self::HeapMib),
        ("stack_kib", Self::StackKib),
        ("processes", Self::Processes),
        ("toolchain", Self::Toolchain),
    ];

    fn is_list(self) -> bool {
        matches!(self, Self::Sources | Self::CompileArgs)
    }
}

/// What a command is filled in from, besides the request's [`Vars`].
#[derive(Debug, Clone, Copy)]
pub(super) struct Surroundings<'a> {
    pub extensions: &'a [String],
    /// The executor's own compiler flags.
    pub compile_args: &'a [String],
    pub heap_percent: u64,
    pub stack_percent: Option<u64>,
    pub toolchain: &'a str,
}

impl CommandTemplate {
    /// # Errors
    /// One sentence for each word that is wrong.
    pub(super) fn parse(words: &[String]) -> Result<Self, Vec<String>> {
        let mut problems = Vec::new();
        let mut parsed = Vec::with_capacity(words.len());
        for word in words {
            match parse_word(word) {
                Ok(parts) => parsed.push(parts),
                Err(problem) => problems.push(problem),
            }
        }
        if words.first().is_none_or(String::is_empty) {
            problems.push("a command begins with the name of a program".to_owned());
        }
        if problems.is_empty() { Ok(Self(parsed)) } else { Err(problems) }
    }

    pub(super) fn fill(&self, vars: &Vars<'_>, around: &Surroundings<'_>) -> Vec<String> {
        let mut argv = Vec::with_capacity(self.0.len());
        for word in &self.0 {
            match word.as_slice() {
                [Part::Value(Placeholder::Sources)] => argv.extend(sources(vars, around.extensions)),
                [Part::Value(Placeholder::CompileArgs)] => {
                    argv.extend_from_slice(vars.compile_args.unwrap_or(around.compile_args));
                }
                parts => argv
                    .push(parts.iter().enumerate().map(|(at, part)| part.text(at, vars, around)).collect()),
            }
        }
        argv
    }
}

impl TextTemplate {
    /// # Errors
    /// One sentence.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let parts = parse_word(text)?;
        match parts.as_slice() {
            [Part::Value(list)] if list.is_list() => Err(format!("{text:?} stands for several words")),
            _ => Ok(Self(parts)),
        }
    }

    pub(super) fn fill(&self, vars: &Vars<'_>, around: &Surroundings<'_>) -> String {
        joined(&self.0, vars, around)
    }
}

/// Fills in the only placeholder that is known before any request.
///
/// # Errors
/// One sentence when there is another placeholder.
pub(super) fn constant(word: &str, toolchain: &str) -> Result<String, String> {
    let mut text = String::new();
    for part in parse_word(word)? {
        match part {
            Part::Text(part) => text.push_str(&part),
            Part::Value(Placeholder::Toolchain) => text.push_str(toolchain),
            Part::Value(_) => return Err(format!("{word:?} may hold no placeholder but {{toolchain}}")),
        }
    }
    Ok(text)
}

fn joined(parts: &[Part], vars: &Vars<'_>, around: &Surroundings<'_>) -> String {
    parts.iter().enumerate().map(|(at, part)| part.text(at, vars, around)).collect()
}

impl Part {
    fn text(&self, at: usize, vars: &Vars<'_>, around: &Surroundings<'_>) -> String {
        let mib = |bytes: u64| (bytes >> 20).to_string();
        let memory = vars.limits.get(LimitName::MemoryBytes);
        match self {
            Self::Text(text) => text.clone(),
            // In the middle of a word a dash means nothing.
            Self::Value(Placeholder::Entry) if at > 0 => vars.entry.to_string(),
            Self::Value(Placeholder::Entry) => no_option(vars.entry),
            Self::Value(Placeholder::EntryStem) => vars.entry.stem().to_owned(),
            Self::Value(Placeholder::MemoryMib) => mib(memory),
            Self::Value(Placeholder::HeapMib) => mib(percent(memory, around.heap_percent)),
            Self::Value(Placeholder::StackKib) => {
                let stack = vars.limits.get(LimitName::StackBytes);
                let allowed = around.stack_percent.map_or(stack, |part| stack.min(percent(memory, part)));
                (allowed >> 10).to_string()
            }
            Self::Value(Placeholder::Processes) => vars.limits.get(LimitName::Processes).to_string(),
            Self::Value(Placeholder::Toolchain) => around.toolchain.to_owned(),
            // `parse_word` lets lists stand alone only, and `fill` has dealt with those.
            Self::Value(Placeholder::Sources | Placeholder::CompileArgs) => String::new(),
        }
    }
}

fn parse_word(word: &str) -> Result<Vec<Part>, String> {
    let mut parts = Vec::new();
    let mut text = String::new();
    let mut rest = word;
    while let Some(at) = rest.find(['{', '}', '\0']) {
        text.push_str(&rest[..at]);
        rest = &rest[at..];
        if let Some(after) = rest.strip_prefix("{{").or_else(|| rest.strip_prefix("}}")) {
            text.push_str(&rest[..1]);
            rest = after;
            continue;
        }
        let name = rest.strip_prefix('{').and_then(|rest| rest.split_once('}'));
        let Some((name, after)) = name else {
            return Err(format!(
                "{word:?} holds a NUL, or a brace that is neither doubled nor around a name"
            ));
        };
        let known = Placeholder::ALL.iter().find(|(known, _)| *known == name);
        let Some((_, placeholder)) = known else {
            let names: Vec<String> = Placeholder::ALL.iter().map(|(name, _)| format!("{{{name}}}")).collect();
            return Err(format!("{{{name}}} in {word:?} is not known; there are {}", names.join(", ")));
        };
        if placeholder.is_list() && word.len() != name.len() + 2 {
            return Err(format!(
                "{{{name}}} in {word:?} stands for several words and must be a word of its own"
            ));
        }
        if !text.is_empty() {
            parts.push(Part::Text(std::mem::take(&mut text)));
        }
        parts.push(Part::Value(*placeholder));
        rest = after;
    }
    text.push_str(rest);
    if !text.is_empty() || parts.is_empty() {
        parts.push(Part::Text(text));
    }
    Ok(parts)
}

fn sources<'a>(vars: &'a Vars<'_>, extensions: &'a [String]) -> impl Iterator<Item = String> + 'a {
    let is_source = |path: &&FilePath| {
        let name = path.as_str().rsplit('/').next().unwrap_or_default();
        let extension = name.rsplit_once('.').map(|(_, extension)| extension);
        extension.is_some_and(|extension| extensions.iter().any(|known| known == extension))
    };
    let others = vars.files.iter().filter(|path| *path != vars.entry).filter(is_source);
    std::iter::once(vars.entry).chain(others).map(no_option)
}

/// A file may be called `-rf`, or `@file`: no program shall take a name for an option.
fn no_option(path: &FilePath) -> String {
    match path.as_str() {
        name if name.starts_with(['-', '@', '+']) => format!("./{name}"),
        name => name.to_owned(),
    }
}

fn percent(whole: u64, part: u64) -> u64 {
    whole.saturating_mul(part) / 100
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Limits;

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    fn filled(command: &[&str], entry: &str, files: &[&str], compile_args: Option<&[&str]>) -> Vec<String> {
        let mut limits = Limits::new([1; 9]);
        limits.set(LimitName::MemoryBytes, 512 << 20);
        limits.set(LimitName::StackBytes, 64 << 20);
        limits.set(LimitName::Processes, 7);
        let files: Vec<_> = files.iter().map(|file| FilePath::parse(file).unwrap()).collect();
        let compile_args = compile_args.map(words);
        let vars = Vars {
            entry: &FilePath::parse(entry).unwrap(),
            files: &files,
            compile_args: compile_args.as_deref(),
            limits: &limits,
        };
        let around = Surroundings {
            extensions: &words(&["c", "cc"]),
            compile_args: &words(&["-O2", "-g"]),
            heap_percent: 50,
            stack_percent: Some(10),
            toolchain: "/opt/toolchains/x",
        };
        CommandTemplate::parse(&words(command)).unwrap().fill(&vars, &around)
    }

    #[test]
    fn every_placeholder_is_filled_in() {
        let argv = filled(
            &[
                "cc",
                "{compile_args}",
                "-o{entry_stem}.out",
                "{sources}",
                "{entry}",
                "{memory_mib}/{heap_mib}/{stack_kib}/{processes}",
                "{toolchain}/a",
                "",
            ],
            "src/main.c",
            &["a.h", "src/main.c", "b.cc", "c", "d.C"],
            None,
        );
        assert_eq!(
            argv,
            [
                "cc",
                "-O2",
                "-g",
                "-omain.out",
                "src/main.c",
                "b.cc",
                "src/main.c",
                "512/256/52428/7",
                "/opt/toolchains/x/a",
                "",
            ]
        );
    }

    #[test]
    fn compile_args_of_the_request_replace_the_flags() {
        assert_eq!(filled(&["cc", "{compile_args}"], "a.c", &[], Some(&["-O3"])), ["cc", "-O3"]);
        assert_eq!(filled(&["cc", "{compile_args}"], "a.c", &[], Some(&[])), ["cc"]);
    }

    #[test]
    fn no_file_name_becomes_an_option() {
        let argv = filled(&["cc", "{entry}", "{sources}", "x{entry}"], "-a.c", &["@b.c", "-a.c"], None);
        assert_eq!(argv, ["cc", "./-a.c", "./-a.c", "./@b.c", "x-a.c"]);
    }

    #[test]
    fn doubled_braces_are_braces() {
        assert_eq!(
            filled(&["sh", "-c", "f() {{ ${{x}}; }}"], "a.c", &[], None),
            ["sh", "-c", "f() { ${x}; }"]
        );
    }

    #[test]
    fn what_is_not_known_is_named_with_what_is() {
        let problems = |command: &[&str]| CommandTemplate::parse(&words(command)).unwrap_err();
        let unknown = problems(&["cc", "{nope}", "x{sources}"]);
        assert_eq!(unknown.len(), 2);
        assert!(unknown[0].contains("{nope} in \"{nope}\" is not known; there are {entry}, "), "{unknown:?}");
        assert!(unknown[1].contains("a word of its own"), "{unknown:?}");
        for broken in ["{entry", "}", "a{", "{}", "a\0b"] {
            assert_eq!(problems(&["cc", broken]).len(), 1, "{broken:?}");
        }
        assert!(problems(&[])[0].contains("name of a program"));
        assert_eq!(constant("{toolchain}/x", "/t"), Ok("/t/x".to_owned()));
        assert!(constant("{entry}", "/t").is_err());
        assert!(TextTemplate::parse("{sources}").is_err());
        assert!(TextTemplate::parse("{heap_mib}MiB").is_ok());
    }
}
