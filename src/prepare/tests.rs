//! Preparing with a made-up toolchain, in temporary folders.

use std::os::unix::fs::symlink;
use std::sync::Arc;

use super::*;

const MANIFEST: &str = r#"
name = "Fake"
extensions = ["fake"]
version_command = ["cat", "VERSION"]
source = { name = "main.fake" }
run = { command = ["fake"] }
example = { file = "prepare.sh" }
self_test = { file = "prepare.sh", stdout = "x" }
prepare = { script = "prepare.sh", timeout_seconds = 1 }
"#;

struct Lab {
    dir: tempfile::TempDir,
    catalog: Catalog,
}

impl Lab {
    fn new(version_command: &str, script: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("executors/fake");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("executor.toml"), MANIFEST.replace(r#""cat", "VERSION""#, version_command))
            .unwrap();
        fs::write(folder.join("prepare.sh"), script).unwrap();
        let catalog = Catalog::load(&[dir.path().join("executors")]).unwrap();
        Self { dir, catalog }
    }

    fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    fn made(&self, name: &str) -> PathBuf {
        self.state().join("toolchains/fake").join(name)
    }

    fn prepare(&self) -> Outcome {
        run(&self.catalog, &self.state(), &["fake".to_owned()]).unwrap().remove(0).outcome
    }

    fn leftovers(&self) -> Vec<String> {
        let names = fs::read_dir(self.state().join("toolchains")).unwrap();
        let mut names: Vec<_> =
            names.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }
}

#[test]
fn a_toolchain_is_made_once_and_readable_by_all() {
    let lab = Lab::new(
        r#""echo", "fake 1.2""#,
        "mkdir -m 700 $1/sub; echo hi >$1/sub/file; chmod 600 $1/sub/file; ln -s /nowhere $1/link; echo $$ >$1/pid",
    );
    assert!(matches!(lab.prepare(), Outcome::Prepared { version, .. } if version == "1.2"));
    let mode = |name| fs::symlink_metadata(lab.made(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("sub"), mode("sub/file"), mode(MARKER), mode("")), (0o755, 0o644, 0o644, 0o755));
    assert_eq!(fs::read_link(lab.made("link")).unwrap(), Path::new("/nowhere"));
    let first = fs::read_to_string(lab.made("pid")).unwrap();
    assert!(matches!(lab.prepare(), Outcome::UpToDate { version } if version == "1.2"));
    assert_eq!(fs::read_to_string(lab.made("pid")).unwrap(), first);
    assert_eq!(lab.leftovers(), [".fake.lock", "fake"]);
}

#[test]
fn another_version_replaces_it_whole() {
    let lab = Lab::new(r#""echo", "fake 1.2""#, "touch $1/new");
    let old = lab.made("old");
    fs::create_dir_all(&old).unwrap();
    fs::write(lab.made(MARKER), "fake 1.1\n").unwrap();
    assert!(matches!(lab.prepare(), Outcome::Prepared { .. }));
    assert!(lab.made("new").exists() && !old.exists());
    assert_eq!(lab.leftovers(), [".fake.lock", "fake"]);
}

#[test]
fn a_failure_leaves_what_was_there_and_says_why() {
    let lab = Lab::new(r#""echo", "fake 1.2""#, "echo out of luck >&2; touch $1/new; exit 3");
    fs::create_dir_all(lab.made("old")).unwrap();
    let Outcome::Failed(error) = lab.prepare() else { panic!("it can't succeed") };
    assert_eq!(error.to_string(), "the prepare script ended with exit status: 3:\nout of luck\n");
    assert!(lab.made("old").exists() && !lab.made("new").exists());
    assert_eq!(lab.leftovers(), [".fake.lock", "fake"]);
}

#[test]
fn time_is_bounded_and_takes_the_whole_group() {
    let lab = Lab::new(r#""echo", "fake 1.2""#, "sleep 60 & wait");
    let began = Instant::now();
    let Outcome::Failed(error) = lab.prepare() else { panic!("it can't succeed") };
    assert_eq!(error.to_string(), "the prepare script took longer than 1 s");
    assert!(began.elapsed() < Duration::from_secs(20));
}

#[test]
fn what_is_not_there_is_said() {
    let lab = Lab::new(r#""no-such-compiler""#, "true");
    assert!(matches!(lab.prepare(), Outcome::NotInstalled { reason } if reason.contains("no-such-compiler")));
    let error = run(&lab.catalog, &lab.state(), &["cobol".to_owned()]).unwrap_err();
    assert!(error.to_string().starts_with("\"cobol\" is no language here; there are bash, "), "{error}");
    let python = run(&lab.catalog, &lab.state(), &["py".to_owned()]).unwrap();
    assert!(matches!(python[0].outcome, Outcome::NothingToPrepare));
}

#[test]
fn two_at_once_do_the_work_once() {
    let lab = Arc::new(Lab::new(r#""echo", "fake 1.2""#, "sleep 0.2; touch $1/made"));
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let lab = Arc::clone(&lab);
            std::thread::spawn(move || matches!(lab.prepare(), Outcome::Prepared { .. }))
        })
        .collect();
    let made = threads.into_iter().map(|thread| thread.join().unwrap()).filter(|made| *made).count();
    assert_eq!(made, 1);
}

#[test]
fn a_dead_attempt_is_cleared() {
    let lab = Lab::new(r#""echo", "fake 1.2""#, "test ! -e $1/half && touch $1/made");
    let half = lab.state().join("toolchains/.fake.new/out/half");
    fs::create_dir_all(&half).unwrap();
    symlink("/", half.join("root")).unwrap();
    assert!(matches!(lab.prepare(), Outcome::Prepared { .. }));
    assert!(Path::new("/usr").exists());
}
