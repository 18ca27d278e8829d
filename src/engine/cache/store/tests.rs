//! The folder: what is kept, what goes, and what others do in it meanwhile.

use std::thread;

use tempfile::TempDir;

use super::super::entry::tests::{key, made};
use super::*;

const KIB: u64 = 1024;

fn store(folder: &TempDir, max_bytes: u64) -> Store {
    Store::open(folder.path(), max_bytes).unwrap()
}

fn names(folder: &TempDir) -> Vec<String> {
    let entries = fs::read_dir(folder.path()).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// As if it had last been used so long ago.
fn age(store: &Store, of: &str, seconds: u64) {
    let file = File::options().write(true).open(store.path(&key(of))).unwrap();
    file.set_modified(SystemTime::now() - Duration::from_secs(seconds)).unwrap();
}

#[test]
fn what_is_kept_is_found_also_by_another_daemon() {
    let folder = TempDir::new().unwrap();
    let (one, other) = (store(&folder, KIB * KIB), store(&folder, KIB * KIB));
    assert_eq!(one.find(&key("a")), Found::Nothing);
    assert_eq!(one.keep(&key("a"), &made(vec![1; 5000])).unwrap(), Kept { bytes: 8 * KIB, evicted: 0 });
    assert_eq!(other.find(&key("a")), Found::Made(made(vec![1; 5000])));
    assert_eq!(other.find(&key("b")), Found::Nothing);
    assert_eq!(names(&folder), [key("a").to_string()]);
}

#[test]
fn a_damaged_entry_goes() {
    let folder = TempDir::new().unwrap();
    let store = store(&folder, KIB * KIB);
    let damages: [fn(&Path); 4] = [
        |path| fs::write(path, "").unwrap(),
        |path| File::options().write(true).open(path).unwrap().set_len(400).unwrap(),
        |path| {
            let mut bytes = fs::read(path).unwrap();
            bytes[300] ^= 1;
            fs::write(path, bytes).unwrap();
        },
        |path| {
            fs::copy(path.with_file_name(key("b").to_string()), path).unwrap();
        },
    ];
    for damage in damages {
        store.keep(&key("a"), &made(vec![1; 1000])).unwrap();
        store.keep(&key("b"), &made(vec![2; 1000])).unwrap();
        damage(&store.path(&key("a")));
        assert_eq!(store.find(&key("a")), Found::Corrupt);
        assert_eq!(store.find(&key("a")), Found::Nothing);
        assert_eq!(names(&folder), [key("b").to_string()]);
    }
}

#[test]
fn the_longest_unused_make_room() {
    let folder = TempDir::new().unwrap();
    let store = store(&folder, 32 * KIB);
    for (at, name) in ["a", "b", "c", "d"].into_iter().enumerate() {
        assert_eq!(store.keep(&key(name), &made(vec![0; 5000])).unwrap().evicted, 0);
        age(&store, name, 100 - at as u64);
    }
    // Being found is being used.
    assert!(matches!(store.find(&key("a")), Found::Made(_)));
    assert_eq!(store.keep(&key("e"), &made(vec![0; 5000])).unwrap(), Kept { bytes: 24 * KIB, evicted: 2 });
    let left = ["a", "b", "c", "d", "e"].map(|name| matches!(store.find(&key(name)), Found::Made(_)));
    assert_eq!(left, [true, false, false, true, true]);
}

#[test]
fn one_that_is_larger_than_all_that_may_be_kept() {
    let folder = TempDir::new().unwrap();
    let store = store(&folder, 16 * KIB);
    store.keep(&key("a"), &made(vec![0; 5000])).unwrap();
    assert_eq!(store.keep(&key("b"), &made(vec![0; 50_000])).unwrap(), Kept { bytes: 8 * KIB, evicted: 0 });
    assert_eq!(store.find(&key("b")), Found::Nothing);
}

#[test]
fn what_another_daemon_writes_counts() {
    let folder = TempDir::new().unwrap();
    let (one, other) = (store(&folder, 64 * KIB), store(&folder, 64 * KIB));
    for number in 0..40 {
        let writer = if number % 2 == 0 { &one } else { &other };
        writer.keep(&key(&number.to_string()), &made(vec![0; 5000])).unwrap();
        let bytes = CacheSurvey::of(folder.path()).unwrap().bytes;
        assert!(bytes <= 64 * KIB * 5 / 4, "{bytes}");
    }
}

#[test]
fn what_a_dead_writer_left_goes_and_strangers_stay() {
    let folder = TempDir::new().unwrap();
    let lay = |name: &str, age: Duration| {
        let file = File::create(folder.path().join(name)).unwrap();
        file.set_modified(SystemTime::now() - age).unwrap();
    };
    lay("unfinished-old", UNFINISHED_KEPT * 2);
    lay("unfinished-new", Duration::ZERO);
    lay("README", UNFINISHED_KEPT * 2);
    store(&folder, KIB).make_room().unwrap();
    let mut left = names(&folder);
    left.sort();
    assert_eq!(left, ["README", "unfinished-new"]);
    assert_eq!(CacheSurvey::clear(folder.path()).unwrap(), CacheSurvey::default());
    assert_eq!(names(&folder).len(), 2);
}

#[test]
fn survey_and_clear() {
    let folder = TempDir::new().unwrap();
    let store = store(&folder, KIB * KIB);
    assert_eq!(CacheSurvey::of(&folder.path().join("not there")).unwrap(), CacheSurvey::default());
    store.keep(&key("a"), &made(vec![0; 5000])).unwrap();
    store.keep(&key("b"), &made(vec![0; 5000])).unwrap();
    age(&store, "a", 3600);
    let survey = CacheSurvey::clear(folder.path()).unwrap();
    assert_eq!((survey.entries, survey.bytes), (2, 16 * KIB));
    assert!(survey.oldest.unwrap() < SystemTime::now() - Duration::from_secs(3000));
    assert_eq!(store.find(&key("a")), Found::Nothing);
    assert_eq!(CacheSurvey::of(folder.path()).unwrap(), CacheSurvey::default());
}

/// Readers meet whole entries or none, whatever writers and evictions do.
#[test]
fn many_hands_on_one_folder() {
    let folder = TempDir::new().unwrap();
    thread::scope(|scope| {
        for hand in 0..4_u8 {
            let store = store(&folder, 64 * KIB);
            scope.spawn(move || {
                for number in 0..200_u32 {
                    let name = (number % 16).to_string();
                    store.keep(&key(&name), &made(vec![hand; 6000])).unwrap();
                    let found = store.find(&key(&name));
                    assert_ne!(found, Found::Corrupt, "round {number} of {hand}");
                }
            });
        }
    });
}
