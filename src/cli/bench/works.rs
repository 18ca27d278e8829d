//! What is run: small programs, each as commands by hand and as a request. A program is asked for in two ways:
//!
//! - ready: as most ask. The interpreter has been started ahead, the compiler's work is in the cache.
//! - cold: as nobody has asked before. A variable that no other request has keeps an interpreter from having been started
//!   ahead, a line that no other source has makes the compiler work.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use base64::Engine as _;
use serde_json::json;

use super::{Result, floor, step};

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum WorkName {
    /// print(1)
    Python,
    /// console.log(1)
    Javascript,
    /// A static hello of a few kilobytes, compiled before
    Binary,
    /// Hello with <stdio.h> at -O2, compile and run
    C,
    /// Hello with <iostream>, compile and run
    Cpp,
    /// Hello with <bits/stdc++.h> at -O2, compile and run
    CppBits,
    /// Hello, compile and run
    Java,
}

/// One program, ready to be measured.
pub(super) struct Work {
    pub name: &'static str,
    pub language: &'static str,
    /// By hand: what comes before the program the first time, and the program. Words may hold [`OUT`].
    compile: Option<Vec<String>>,
    run: Vec<String>,
    /// The program in one argument, for whoever starts containers by hand.
    pub one_liner: Option<Vec<String>>,
    source: Source,
    folder: PathBuf,
}

/// Stands in commands for the folder that is compiled to. Those who compile at once have one each.
const OUT: &str = "{out}";

enum Source {
    Script(&'static str),
    Compiled { code: &'static str, comment: &'static str },
    Binary(String),
}

const HELLO_BINARY: &str = r#"
static long call(long number, long a, const char *b, long c) {
    long result;
    __asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory");
    return result;
}
void _start(void) { call(1, 1, "hello\n", 6); call(60, 0, 0, 0); }
"#;
const HELLO_C: &str = "#include <stdio.h>\nint main(void) { puts(\"hello\"); }\n";
const HELLO_CPP: &str = "#include <iostream>\nint main() { std::cout << \"hello\\n\"; }\n";
const HELLO_BITS: &str = "#include <bits/stdc++.h>\nint main() { std::cout << \"hello\\n\"; }\n";
const HELLO_JAVA: &str =
    "public class Main { public static void main(String[] args) { System.out.println(\"hello\"); } }\n";

/// As the executors have them.
const GCC: [&str; 5] = ["gcc", "-O2", "-std=gnu17", "-Wall", "-pthread"];
const GXX: [&str; 5] = ["g++", "-O2", "-std=gnu++20", "-Wall", "-pthread"];

impl WorkName {
    pub(super) const ALL: [Self; 7] =
        [Self::Python, Self::Javascript, Self::Binary, Self::C, Self::Cpp, Self::CppBits, Self::Java];

    /// The language whose toolchain can be warmed up.
    pub(super) fn prepared_language(self) -> Option<&'static str> {
        match self {
            Self::Cpp | Self::CppBits => Some("cpp"),
            Self::Java => Some("java"),
            Self::Python | Self::Javascript | Self::Binary | Self::C => None,
        }
    }

    /// Writes and compiles what the floor needs.
    pub(super) fn prepare(self, scratch: &Path) -> Result<Work> {
        let work = match self {
            Self::Python => script(scratch, "python", "python3", "-c", "main.py", "print(1)")?,
            Self::Javascript => script(scratch, "javascript", "node", "-e", "main.js", "console.log(1)")?,
            Self::Binary => binary(scratch)?,
            Self::C => native(scratch, "c", "c", &GCC, HELLO_C)?,
            Self::Cpp => native(scratch, "cpp", "cpp", &GXX, HELLO_CPP)?,
            Self::CppBits => native(scratch, "cpp-bits", "cpp", &GXX, HELLO_BITS)?,
            Self::Java => java(scratch)?,
        };
        if work.is_compiled() {
            floor::spawn(&work.compile_by_hand(0)?)?;
        }
        Ok(work)
    }
}

fn fill(words: &[String], out: &Path) -> Vec<String> {
    words.iter().map(|word| word.replace(OUT, &out.display().to_string())).collect()
}

fn words<const N: usize>(words: [&str; N]) -> Vec<String> {
    words.map(str::to_owned).to_vec()
}

fn write(scratch: &Path, folder: &str, name: &str, text: &str) -> Result<PathBuf> {
    let folder = scratch.join(folder);
    fs::create_dir_all(&folder).map_err(step("make a folder"))?;
    let path = folder.join(name);
    fs::write(&path, text).map_err(step("write a source"))?;
    Ok(path)
}

fn script(
    scratch: &Path,
    language: &'static str,
    program: &str,
    option: &str,
    name: &str,
    code: &'static str,
) -> Result<Work> {
    let path = write(scratch, language, name, code)?;
    Ok(Work {
        name: language,
        language,
        compile: None,
        run: vec![program.to_owned(), path.display().to_string()],
        one_liner: Some(words([program, option, code])),
        source: Source::Script(code),
        folder: scratch.join(language),
    })
}

fn binary(scratch: &Path) -> Result<Work> {
    let source = write(scratch, "binary", "hello.c", HELLO_BINARY)?;
    let program = source.with_file_name("hello");
    let mut compile = words(["gcc", "-O2", "-static", "-nostdlib", "-fno-stack-protector", "-s", "-o"]);
    compile.extend([&program, &source].map(|path| path.display().to_string()));
    floor::spawn(&compile)?;
    let content = fs::read(&program).map_err(step("read a program"))?;
    Ok(Work {
        name: "binary",
        language: "binary",
        compile: None,
        run: vec![program.display().to_string()],
        one_liner: None,
        source: Source::Binary(base64::engine::general_purpose::STANDARD.encode(content)),
        folder: scratch.join("binary"),
    })
}

/// Compiled to a program of its own.
fn native(
    scratch: &Path,
    name: &'static str,
    language: &'static str,
    compiler: &[&str],
    code: &'static str,
) -> Result<Work> {
    let source = write(scratch, name, &format!("main.{language}"), code)?;
    let mut compile: Vec<_> = compiler.iter().map(|word| (*word).to_owned()).collect();
    compile.extend(words(["-o", "{out}/a.out", &source.display().to_string()]));
    Ok(Work {
        name,
        language,
        compile: Some(compile),
        run: words(["{out}/a.out"]),
        one_liner: None,
        source: Source::Compiled { code, comment: "//" },
        folder: scratch.join(name),
    })
}

fn java(scratch: &Path) -> Result<Work> {
    let source = write(scratch, "java", "Main.java", HELLO_JAVA)?;
    Ok(Work {
        name: "java",
        language: "java",
        compile: Some(words(["javac", "-proc:none", "-d", OUT, &source.display().to_string()])),
        run: words(["java", "-cp", OUT, "Main"]),
        one_liner: None,
        source: Source::Compiled { code: HELLO_JAVA, comment: "//" },
        folder: scratch.join("java"),
    })
}

impl Work {
    pub(super) fn is_compiled(&self) -> bool {
        self.compile.is_some()
    }

    /// Into a folder of the place's own; nothing for a program that is not compiled.
    pub(super) fn compile_by_hand(&self, place: usize) -> Result<Vec<String>> {
        let out = self.out(place);
        fs::create_dir_all(&out).map_err(step("make a folder"))?;
        Ok(fill(self.compile.as_deref().unwrap_or_default(), &out))
    }

    pub(super) fn run_by_hand(&self, place: usize) -> Vec<String> {
        fill(&self.run, &self.out(place))
    }

    fn out(&self, place: usize) -> PathBuf {
        self.folder.join(place.to_string())
    }

    /// As most ask.
    pub(super) fn ready(&self, runtime: &str) -> String {
        let mut body = match &self.source {
            Source::Script(code) | Source::Compiled { code, .. } => json!({ "code": code }),
            Source::Binary(content) => {
                let file = json!({
                    "path": "program", "content": content, "encoding": "base64", "executable": true,
                });
                json!({ "files": [file] })
            }
        };
        body["language"] = self.language.into();
        body["runtime"] = runtime.into();
        body.to_string()
    }

    /// As nobody has asked before; `None` where that makes no difference.
    pub(super) fn cold(&self, runtime: &str) -> Option<String> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        // Several benches may ask one daemon.
        let number = format!("{}_{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let body = match &self.source {
            Source::Script(code) => json!({
                "language": self.language, "runtime": runtime, "code": code, "env": { "BENCH": number },
            }),
            Source::Compiled { code, comment } => json!({
                "language": self.language, "runtime": runtime, "code": format!("{code}{comment} {number}\n"),
            }),
            Source::Binary(_) => return None,
        };
        Some(body.to_string())
    }
}
