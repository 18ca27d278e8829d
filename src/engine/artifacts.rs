//! What goes from the compile phase's sandbox to the run phase's: the executor's artifacts, and the submitted files,
//! which may be data that the program reads. Bounds on what comes out of a sandbox are here, reading it is not.

use std::collections::HashSet;

use sandboxd_contract::{CollectRequest, Collected, CollectedFile, File, FilePath, Glob};

use super::plan::taken_up;
use super::{LimitName, Limits};

/// What `collect` of a submission may hand back.
const MAX_COLLECTED_FILES: usize = 256;
const MAX_COLLECTED_BYTES: u64 = 16 << 20;
/// What a compiler may hand on; they are in the daemon's memory on their way.
pub(super) const MAX_ARTIFACTS: usize = 2048;
const MAX_ARTIFACT_BYTES: u64 = 64 << 20;
/// Directory entries looked at, in either case.
const MAX_ENTRIES: usize = 10_000;

pub(super) fn collect_request(globs: &[Glob]) -> CollectRequest {
    CollectRequest {
        globs: globs.to_vec(),
        max_files: MAX_COLLECTED_FILES,
        max_bytes: MAX_COLLECTED_BYTES,
        max_entries: MAX_ENTRIES,
    }
}

/// No more than the run phase's sandbox has room for, beside `files`.
pub(super) fn artifact_request(globs: &[Glob], files: &[File], run: &Limits) -> CollectRequest {
    CollectRequest {
        globs: globs.to_vec(),
        max_files: MAX_ARTIFACTS,
        max_bytes: room(files, run).min(MAX_ARTIFACT_BYTES),
        max_entries: MAX_ENTRIES,
    }
}

fn room(files: &[File], run: &Limits) -> u64 {
    let taken: u64 = files.iter().map(|file| taken_up(file.content.len() as u64)).sum();
    run.get(LimitName::DiskBytes).min(run.get(LimitName::MemoryBytes)).saturating_sub(taken)
}

/// The files of the run phase. An artifact takes the place of a submitted file where both can't be.
///
/// # Errors
/// One sentence for the person whose program it is, when not all of the artifacts can be handed on.
pub(super) fn hand_on(files: Vec<File>, artifacts: Collected, run: &Limits) -> Result<Vec<File>, String> {
    if let Some(omitted) = artifacts.omitted.first() {
        return Err(format!("{}, which the compiler made, {}", omitted.path, omitted.reason));
    }
    let mut made = Vec::with_capacity(artifacts.files.len());
    for CollectedFile { path, content, executable } in artifacts.files {
        match FilePath::parse(&path) {
            Ok(path) => made.push(File { path, content, executable }),
            Err(error) => return Err(format!("{path}, which the compiler made, {error}")),
        }
    }
    let files = beside(files, &made);
    let needed: u64 = made.iter().map(|file| taken_up(file.content.len() as u64)).sum();
    let room = room(&files, run);
    if needed > room {
        return Err(format!("what the compiler made takes up {needed} bytes, and there is room for {room}"));
    }
    Ok(files.into_iter().chain(made).collect())
}

/// Those of `files` that can be there beside the artifacts.
fn beside(files: Vec<File>, made: &[File]) -> Vec<File> {
    let made_files: HashSet<&str> = made.iter().map(|file| file.path.as_str()).collect();
    let made_folders: HashSet<&str> = made.iter().flat_map(|file| file.path.parents()).collect();
    let stays = |file: &File| {
        let path = &file.path;
        !made_files.contains(path.as_str())
            && !made_folders.contains(path.as_str())
            && !path.parents().any(|folder| made_files.contains(folder))
    };
    files.into_iter().filter(stays).collect()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use sandboxd_contract::Omitted;

    use super::*;
    use crate::engine::LimitPolicy;

    const RUN: Limits = LimitPolicy::RUN.default;

    fn files(paths: &[&str]) -> Vec<File> {
        let file = |path: &&str| File {
            path: FilePath::parse(path).unwrap(),
            content: Bytes::from_static(b"source"),
            executable: false,
        };
        paths.iter().map(file).collect()
    }

    fn made(paths: &[&str]) -> Collected {
        let file = |path: &&str| CollectedFile {
            path: (*path).to_owned(),
            content: Bytes::from_static(b"made"),
            executable: true,
        };
        Collected { files: paths.iter().map(file).collect(), omitted: Vec::new() }
    }

    #[test]
    fn artifacts_take_the_place_of_files() {
        let handed = hand_on(files(&["main.c", "a", "out/x", "b/c"]), made(&["a", "out", "b/c/d"]), &RUN);
        let names: Vec<_> =
            handed.unwrap().iter().map(|file| format!("{} {:?}", file.path, file.content)).collect();
        assert_eq!(names, ["main.c b\"source\"", "a b\"made\"", "out b\"made\"", "b/c/d b\"made\""]);
    }

    #[test]
    fn what_can_not_be_handed_on_is_said() {
        let omitted = Collected {
            files: Vec::new(),
            omitted: vec![Omitted { path: "a.out".to_owned(), reason: "does not fit" }],
        };
        let said = hand_on(Vec::new(), omitted, &RUN).unwrap_err();
        assert_eq!(said, "a.out, which the compiler made, does not fit");

        assert!(hand_on(Vec::new(), made(&["../a"]), &RUN).is_err());

        let mut tight = RUN;
        tight.set(LimitName::DiskBytes, 2 * 4096);
        assert!(hand_on(files(&["a"]), made(&["b"]), &tight).is_ok());
        let said = hand_on(files(&["a"]), made(&["b", "c"]), &tight).unwrap_err();
        assert_eq!(said, "what the compiler made takes up 8192 bytes, and there is room for 4096");
    }

    #[test]
    fn requests_are_bounded() {
        let globs = [Glob::parse("a.out").unwrap()];
        assert_eq!(artifact_request(&globs, &[], &RUN).max_bytes, MAX_ARTIFACT_BYTES);
        let mut tight = RUN;
        tight.set(LimitName::MemoryBytes, 3 * 4096);
        assert_eq!(artifact_request(&globs, &files(&["a"]), &tight).max_bytes, 2 * 4096);
    }
}
