//! House rules that no compiler checks: headers, file sizes, who may know whom, and words that don't belong here.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Lines of a source file. A table may be longer: it is read by looking something up.
const MAX_LINES: usize = 450;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every file below `folder` with this extension, build output and caches aside.
fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        let name = entry.file_name().into_string().unwrap();
        if path.is_dir() {
            if name != "target" && !name.starts_with('.') && name != "programs" {
                found.extend(files(&path, extension));
            }
        } else if path.extension().is_some_and(|other| other == extension) {
            found.push(path);
        }
    }
    found
}

fn sources() -> Vec<(String, String)> {
    let relative = |path: &Path| path.strip_prefix(root()).unwrap().display().to_string();
    let sources: Vec<_> =
        files(root(), "rs").iter().map(|path| (relative(path), fs::read_to_string(path).unwrap())).collect();
    assert!(sources.len() > 50, "only {} files found", sources.len());
    sources
}

#[track_caller]
fn assert_none(complaints: Vec<String>) {
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

#[test]
fn every_file_says_what_lives_in_it() {
    let bare = |(path, text): (String, String)| (!text.starts_with("//! ")).then_some(path);
    assert_none(sources().into_iter().filter_map(bare).collect());
}

#[test]
fn no_file_is_more_than_one_room() {
    let long = |(path, text): (String, String)| {
        let lines = text.lines().count();
        (lines > MAX_LINES).then(|| format!("{path}: {lines} lines, at most {MAX_LINES}"))
    };
    assert_none(sources().into_iter().filter_map(long).collect());
}

/// Who must not know whom: files below the first, words of the second.
const LAYERS: &[(&str, &[&str])] = &[
    (
        "src/engine/",
        &[
            "serde",
            "axum",
            "hyper",
            "http::",
            "crate::http",
            "crate::cli",
            "crate::config",
            "sandboxd_native",
            "sandboxd_container",
            "sandboxd_docker",
        ],
    ),
    ("src/executors/", &["axum", "crate::http", "crate::cli", "sandboxd_native"]),
    ("src/http/", &["sandboxd_native", "crate::cli"]),
    ("runtimes/contract/src/", &["serde", "sandboxd_native", "sandboxd_cgroup"]),
    ("runtimes/cgroup/src/", &["serde", "tokio", "sandboxd_contract", "sandboxd_native"]),
    ("runtimes/files/src/", &["serde", "tokio", "sandboxd_contract"]),
    ("runtimes/inside/src/", &["serde", "tokio", "sandboxd_contract"]),
    ("runtimes/agent/src/", &["serde", "tokio", "sandboxd_contract"]),
    ("runtimes/files/src/", &["serde", "tokio", "sandboxd_"]),
    ("runtimes/inside/src/", &["serde", "tokio", "sandboxd_contract", "sandboxd_native"]),
    ("runtimes/agent/src/", &["serde", "tokio", "sandboxd_contract", "sandboxd_container"]),
    ("runtimes/native/src/", &["serde", "hyper", "axum", "sandboxd_container", "sandboxd_docker"]),
    (
        "runtimes/container/src/",
        &["serde", "hyper", "axum", "bollard", "containerd_client", "sandboxd_native", "sandboxd_docker"],
    ),
    ("runtimes/docker/src/", &["axum", "containerd_client", "sandboxd_native", "sandboxd_containerd"]),
    ("runtimes/containerd/src/", &["axum", "bollard", "sandboxd_native", "sandboxd_docker"]),
];

#[test]
fn knowledge_flows_one_way() {
    let mut complaints = Vec::new();
    for (path, text) in sources() {
        for (folder, words) in LAYERS.iter().filter(|(folder, _)| path.starts_with(folder)) {
            let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
            for (line, word) in code.flat_map(|line| words.iter().map(move |word| (line, word))) {
                if line.contains(word) {
                    complaints.push(format!("{path}: {folder} knows nothing of {word}: {}", line.trim()));
                }
            }
        }
    }
    assert_none(complaints);
}

#[test]
fn unsafe_has_one_address() {
    let strays = sources().into_iter().filter(|(path, text)| {
        let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        let address = path.strip_prefix("runtimes/").and_then(|path| path.strip_suffix("/src/sys.rs"));
        address.is_none_or(|name| name.contains('/'))
            && path != "tests/tidy.rs"
            && code.into_iter().any(|line| line.contains("unsafe {") || line.contains("unsafe fn"))
    });
    assert_none(strays.map(|(path, _)| path).collect());
}

/// SECURITY.md says of each layer what shows that it stands.
#[test]
fn what_shows_that_a_layer_stands_is_there() {
    let text = fs::read_to_string(root().join("SECURITY.md")).unwrap();
    let rows = text.lines().filter_map(|line| {
        let cells: Vec<_> = line.strip_prefix("| ")?.strip_suffix(" |")?.split(" | ").collect();
        (cells.len() == 3 && cells[0] != "---" && cells[2] != "shown by").then(|| cells[2].to_owned())
    });
    let rows: Vec<String> = rows.collect();
    assert!(rows.len() > 20, "only {} rows", rows.len());
    let functions: String = sources().into_iter().map(|(_, text)| text).collect();
    let there = |name: &str| {
        root().join("tests/attacks").join(name).is_dir() || functions.contains(&format!("fn {name}("))
    };
    let shown = |row: &String| row.split('`').nth(1).is_some();
    let missing = rows.iter().flat_map(|row| row.split('`').skip(1).step_by(2)).filter(|name| !there(name));
    let bare = rows.iter().filter(|row| !shown(row));
    assert_none(missing.map(str::to_owned).chain(bare.cloned()).collect());
}

/// What a language needs stands in its manifest; a second list would soon be another one.
#[test]
fn a_dockerfile_names_no_package() {
    let mut dockerfiles = vec![root().join("executors/Dockerfile")];
    let folders = fs::read_dir(root().join("executors")).unwrap().flatten().map(|entry| entry.path());
    dockerfiles.extend(folders.map(|folder| folder.join("Dockerfile")).filter(|path| path.is_file()));
    let mut installs = 0;
    for path in dockerfiles {
        let text = fs::read_to_string(&path).unwrap().replace("\\\n", " ");
        for command in text.split(['\n', ';', '&', '|']).filter(|command| command.contains(" install ")) {
            let (_, words) = command.split_once(" install ").unwrap();
            let named: Vec<_> = words.split_whitespace().filter(|word| !word.starts_with('-')).collect();
            assert_eq!(named, ["${PACKAGES}"], "{}: {command}", path.display());
            installs += 1;
        }
    }
    assert!(installs > 0, "nothing is installed anywhere");
}

#[test]
fn no_test_is_ignored_and_nothing_is_left_to_do() {
    let words = ["#[ignore", "todo!(", "unimplemented!(", "FIXME", "XXX"];
    let mut complaints = Vec::new();
    for (path, text) in sources().into_iter().filter(|(path, _)| path != "tests/tidy.rs") {
        complaints
            .extend(words.iter().filter(|word| text.contains(**word)).map(|word| format!("{path}: {word}")));
    }
    assert_none(complaints);
}

/// Where commands of the documentation are run: tests/docs.py on a host and under systemd; the rest is what CI does itself,
/// what takes minutes, and what takes a cluster.
const PLACES: [&str; 5] = ["host", "systemd", "tests", "bench", "cluster"];

#[test]
fn every_command_of_the_documentation_has_a_place_where_it_is_run() {
    let mut complaints = Vec::new();
    for path in files(root(), "md") {
        let text = fs::read_to_string(&path).unwrap();
        for line in text.lines().filter_map(|line| line.strip_prefix("```console")) {
            if !PLACES.contains(&line.trim()) {
                complaints.push(format!("{}: ```console{line}, not one of {PLACES:?}", path.display()));
            }
        }
    }
    assert_none(complaints);
}

#[test]
fn every_link_of_the_documentation_leads_somewhere() {
    let mut complaints = Vec::new();
    for path in files(root(), "md") {
        let text = fs::read_to_string(&path).unwrap();
        let links = text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(link, _)| link);
        for link in links.filter(|link| !link.contains("://")) {
            let file = link.split('#').next().unwrap_or_default();
            if !path.parent().unwrap().join(file).exists() {
                complaints.push(format!("{}: {link}", path.display()));
            }
        }
    }
    assert_none(complaints);
}

/// What `cargo deny` finds more takes a network and minutes.
#[test]
fn every_crate_comes_from_one_registry_with_its_digest() {
    let lock = fs::read_to_string(root().join("Cargo.lock")).unwrap();
    let mut complaints = Vec::new();
    let mut count = 0;
    for package in lock.split("[[package]]\n").skip(1) {
        let field = |name: &str| {
            let line = package.lines().find_map(|line| line.strip_prefix(&format!("{name} = \"")));
            line.map(|line| line.trim_end_matches('"'))
        };
        let name = field("name").unwrap();
        let Some(source) = field("source") else { continue };
        if !source.starts_with("registry+https://github.com/rust-lang/crates.io-index") {
            complaints.push(format!("{name}: from {source}"));
        }
        if field("checksum").is_none_or(|digest| digest.len() != 64) {
            complaints.push(format!("{name}: has no digest"));
        }
        count += 1;
    }
    assert!(count > 100, "only {count} crates");
    assert_none(complaints);
}
