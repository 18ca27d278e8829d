//! The embedded manifests, and manifests that somebody got wrong.

use std::fs;

use sandboxd_contract::FilePath;
use tempfile::TempDir;

use super::*;

fn path(path: &str) -> FilePath {
    FilePath::parse(path).unwrap()
}

fn embedded() -> Catalog {
    Catalog::load(&[]).unwrap()
}

fn compile_argv(executor: &Executor, entry: &str, files: &[&str]) -> Vec<String> {
    let files: Vec<_> = files.iter().map(|file| path(file)).collect();
    let limits = executor.default_limits(Phase::Compile, &LimitPolicy::COMPILE);
    let vars = Vars { entry: &path(entry), files: &files, compile_args: None, limits: &limits };
    executor.compile_command(&vars).unwrap().argv
}

fn run(executor: &Executor, entry: &str, args: &[String], env: &[(String, String)]) -> Command {
    let limits = executor.default_limits(Phase::Run, &LimitPolicy::RUN);
    let vars = Vars { entry: &path(entry), files: &[path(entry)], compile_args: None, limits: &limits };
    executor.run_command(&vars, args, env)
}

/// A folder `id` with this manifest and a program `hello`, and what loading it says.
fn load(id: &str, manifest: &str) -> (TempDir, Result<Catalog, Vec<ManifestError>>) {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join(id)).unwrap();
    fs::write(dir.path().join(id).join("executor.toml"), manifest).unwrap();
    fs::write(dir.path().join(id).join("hello"), "hi").unwrap();
    let loaded = Catalog::load(&[dir.path().to_owned()]);
    (dir, loaded)
}

fn problems(id: &str, manifest: &str) -> Vec<String> {
    let (dir, loaded) = load(id, manifest);
    let folder = format!("{}/", dir.path().display());
    loaded.unwrap_err().iter().map(|error| error.to_string().replace(&folder, "")).collect()
}

const GOOD: &str = r#"
name = "Good"
aliases = ["py"]
extensions = ["good", "py"]
version_command = ["good", "--version"]
env = { CACHE = "{toolchain}/cache" }
source = { name = "main.good" }
run = { command = ["good", "{entry}"], limits = { memory_bytes = 1073741824, processes = 1 } }
example = { file = "hello" }
self_test = { file = "hello", stdout = "hi" }
"#;

#[test]
fn every_embedded_manifest_loads() {
    let catalog = embedded();
    let ids: Vec<_> = catalog.iter().map(|executor| executor.id.as_str()).collect();
    assert_eq!(ids, ["bash", "binary", "c", "cpp", "go", "java", "javascript", "python"]);
    for executor in catalog.iter() {
        assert!(!executor.packages.is_empty(), "{}: no packages", executor.id);
        assert!(!executor.self_test.stdout.is_empty(), "{}: the self-test expects nothing", executor.id);
        assert!(executor.default_limits(Phase::Run, &LimitPolicy::RUN).get(LimitName::MemoryBytes) > 0);
    }
}

#[test]
fn languages_are_found_by_id_alias_and_extension() {
    let catalog = embedded();
    for name in ["python", "Python", "PY", "python3"] {
        let found = catalog.named(name);
        assert_eq!(
            found.iter().map(|executor| executor.id.as_str()).collect::<Vec<_>>(),
            ["python"],
            "{name}"
        );
    }
    assert!(catalog.named("cobol").is_empty());
    assert_eq!(catalog.by_extension("py").map(|executor| executor.id.as_str()), Some("python"));
    assert!(catalog.by_extension("cobol").is_none());
}

#[test]
fn commands_and_environment() {
    let catalog = embedded();
    let python = catalog.named("python")[0];
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let command = run(python, "src/app.py", &["{entry}".to_owned()], &[pair("HOME", "/"), pair("X", "1")]);
    assert_eq!(command.argv, ["python3", "src/app.py", "{entry}"]);
    assert!(command.env.contains(&pair("HOME", "/")) && command.env.contains(&pair("X", "1")));
    assert!(command.env.contains(&pair("TMPDIR", "/box/tmp")));
    assert!(python.compile.is_none() && python.artifacts().is_empty());

    let c = catalog.named("c")[0];
    let argv = compile_argv(c, "main.c", &["util.h", "util.c", "main.c"]);
    assert_eq!(argv.last().map(String::as_str), Some("-lm"));
    assert!(argv.windows(2).any(|pair| pair == ["main.c", "util.c"]), "{argv:?}");
    assert!(c.artifacts().iter().any(|glob| glob.matches("a.out")));
}

#[test]
fn a_folder_adds_or_replaces() {
    let (_dir, loaded) = load("good", GOOD);
    let catalog = loaded.unwrap();
    assert_eq!(catalog.named("py").len(), 2);
    // The first one keeps the extension.
    assert_eq!(catalog.by_extension("py").map(|executor| executor.id.as_str()), Some("python"));
    let good = catalog.named("good")[0];
    assert_eq!(good.env, [("CACHE".to_owned(), "/opt/toolchains/good/cache".to_owned())]);

    let (_dir, loaded) = load("python", GOOD);
    let catalog = loaded.unwrap();
    assert_eq!(
        catalog.named("python").iter().map(|executor| executor.name.as_str()).collect::<Vec<_>>(),
        ["Good"]
    );
    assert_eq!(catalog.iter().count(), embedded().iter().count());
}

#[test]
fn own_limits_raise_defaults_and_never_pass_a_maximum() {
    let (_dir, loaded) = load("good", GOOD);
    let catalog = loaded.unwrap();
    let good = catalog.named("good")[0];
    let mut policy = LimitPolicy::RUN;
    let limits = good.default_limits(Phase::Run, &policy);
    assert_eq!(limits.get(LimitName::MemoryBytes), 1 << 30);
    assert_eq!(
        limits.get(LimitName::Processes),
        policy.default.get(LimitName::Processes),
        "1 would lower it"
    );
    policy.max.set(LimitName::MemoryBytes, 300 << 20);
    assert_eq!(good.default_limits(Phase::Run, &policy).get(LimitName::MemoryBytes), 300 << 20);
    assert_eq!(good.default_limits(Phase::Compile, &LimitPolicy::COMPILE), LimitPolicy::COMPILE.default);
}

#[test]
fn all_violations_come_at_once_and_name_file_and_key() {
    let bad = GOOD
        .replace("name = \"Good\"", "name = \" \"")
        .replace("\"good\", \"py\"", "\".good\"")
        .replace("{entry}", "{entri}")
        .replace("memory_bytes", "memory")
        .replace("processes = 1", "processes = 0")
        .replace("{toolchain}", "{entry}")
        .replace("file = \"hello\"", "file = \"hallo\"");
    let said = problems("Bad", &bad);
    for (key, words) in [
        ("id", "1 to 64 of a-z"),
        ("name", "must not be empty"),
        ("extensions", "\".good\" must be a word"),
        ("env.CACHE", "no placeholder but {toolchain}"),
        ("run.command", "{entri} in \"{entri}\" is not known; there are {entry}, "),
        ("run.limits.memory", "is no limit; there are wall_time_ms, "),
        ("run.limits.processes", "must be above zero"),
        ("example.file", "there is no file \"hallo\""),
        ("self_test.file", "there is no file \"hallo\""),
    ] {
        let start = format!("Bad/executor.toml: {key}: ");
        assert!(
            said.iter().any(|line| line.starts_with(&start) && line.contains(words)),
            "nothing about {key}: {said:#?}"
        );
    }
    assert_eq!(said.len(), 9, "{said:#?}");
}

#[test]
fn what_has_not_the_shape_is_told_by_key() {
    for (from, to, expected) in [
        (
            "name = \"Good\"",
            "nam = \"Good\"",
            "good/executor.toml: nam: unknown field `nam`, expected one of `name`",
        ),
        (
            "name = \"Good\"",
            "name = 1",
            "good/executor.toml: name: invalid type: integer `1`, expected a string",
        ),
        ("name = \"Good\"", "", "good/executor.toml: file: missing field `name`"),
        ("name = \"Good\"", "name = ", "good/executor.toml: file: "),
        ("limits = {", "limit = {", "good/executor.toml: run.limit: unknown field `limit`"),
        (
            "memory_bytes = 1073741824",
            "memory_bytes = -1",
            "good/executor.toml: run.limits.memory_bytes: invalid value",
        ),
    ] {
        let said = problems("good", &GOOD.replace(from, to));
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(said[0].starts_with(expected), "{said:?}");
    }
    let compile = format!("{GOOD}compile = {{ command = [], artifacts = [\"../x\"] }}");
    let said = problems("good", &compile);
    assert_eq!(said.len(), 2, "{said:?}");
    let deep = GOOD.replace("name = \"main.good\"", "name = \"src/main.good\"");
    let waits = deep.replace("processes = 1 } }", "processes = 1 }, prestart = {} }");
    let compile = "compile = { command = [\"x\"], artifacts = [\"x\"], prestart = {} }";
    for (manifest, key) in [(waits, "run"), (format!("{deep}{compile}"), "compile")] {
        let said = problems("good", &manifest);
        assert!(
            said.len() == 1 && said[0].contains(&format!("{key}.prestart: is for a language ")),
            "{said:?}"
        );
    }
    assert!(Catalog::load(&["/nowhere/at/all".into()]).unwrap_err()[0].message.starts_with("read: "));
}
