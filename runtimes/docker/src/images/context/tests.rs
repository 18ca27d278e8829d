//! The Dockerfile, its arguments and the archive, looked at without an engine.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::Read;

use super::*;

fn recipe() -> Recipe {
    Recipe {
        executor: "lua".to_owned(),
        base: "debian:bookworm-slim".to_owned(),
        packages: vec!["lua5.4".to_owned(), "libc6".to_owned()],
        files: vec![
            ("hello.lua".to_owned(), b"print(1)".to_vec()),
            (".dockerignore".to_owned(), b"*".to_vec()),
        ],
        prepare: Some("warm.sh".to_owned()),
        dockerfile: None,
    }
}

#[test]
fn the_common_dockerfile_gets_everything_from_the_recipe() {
    let arguments = arguments(&recipe(), "prepared:today");
    let expected = [
        ("BASE", "prepared:today"),
        ("EXECUTOR", "lua"),
        ("PACKAGES", "lua5.4 libc6"),
        ("PREPARE", "warm.sh"),
    ];
    for (name, value) in expected {
        assert_eq!(arguments[name], value);
    }
    assert_eq!(arguments.len(), expected.len());
    assert!(asks_for_base(&recipe()));
}

#[test]
fn an_executors_own_dockerfile_is_used_and_ends_like_all() {
    let own = "FROM scratch\nARG PACKAGES=none\nUSER nobody\n\n";
    let recipe = Recipe { dockerfile: Some(own.to_owned()), ..recipe() };
    let text = recipe.full_dockerfile();
    assert!(
        text.starts_with("FROM scratch\nARG PACKAGES=none\nUSER nobody\nUSER 0\nRUN rm -rf /tmp"),
        "{text}"
    );
    assert!(text.ends_with("ln -s /box/tmp /tmp\n"), "{text}");
    assert_eq!(arguments(&recipe, "x").into_keys().collect::<Vec<_>>(), ["PACKAGES"]);
    assert!(!asks_for_base(&recipe));
}

#[test]
fn the_archive_holds_the_folder_and_is_always_the_same() {
    let bytes = archive("FROM scratch\n", &recipe().files).unwrap();
    assert_eq!(bytes, archive("FROM scratch\n", &recipe().files).unwrap());
    let mut archive = tar::Archive::new(bytes.as_slice());
    let entries: Vec<_> = archive
        .entries()
        .unwrap()
        .map(|entry| {
            let mut entry = entry.unwrap();
            let mut text = String::new();
            entry.read_to_string(&mut text).unwrap();
            (entry.path().unwrap().display().to_string(), text)
        })
        .collect();
    let expected = [(DOCKERFILE, "FROM scratch\n"), ("hello.lua", "print(1)")];
    assert_eq!(entries, expected.map(|(name, text)| (name.to_owned(), text.to_owned())));
}

#[test]
fn every_day_has_its_lists() {
    assert_ne!(lists_dockerfile("debian", 1), lists_dockerfile("debian", 2));
}
