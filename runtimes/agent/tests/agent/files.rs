//! Files go in before the start and come out after the end.

use std::collections::BTreeMap;

use sandboxd_agent::{FromAgent, MAX_DATA_BYTES, Output, ToAgent};

use crate::rig::{Rig, possible};

impl Rig {
    fn put(&mut self, path: &str, content: &[u8], executable: bool) {
        let content_bytes = content.len() as u64;
        self.send(&ToAgent::Put { path: path.to_owned(), executable, content_bytes });
        for piece in content.chunks(MAX_DATA_BYTES) {
            self.send(&ToAgent::PutData(piece.to_vec().into()));
        }
    }

    fn collect(&mut self, globs: &[&str], max_files: u64, max_bytes: u64) -> Found {
        let globs = globs.iter().map(|&glob| glob.to_owned()).collect();
        self.send(&ToAgent::Collect { globs, max_files, max_bytes, max_entries: 1000 });
        let mut found = Found::default();
        loop {
            match self.next() {
                FromAgent::File { path, executable, content_bytes } => {
                    let mut content = Vec::new();
                    while (content.len() as u64) < content_bytes {
                        let FromAgent::FileData(bytes) = self.next() else { panic!("no data") };
                        content.extend(bytes);
                    }
                    assert_eq!(content.len() as u64, content_bytes);
                    found.files.insert(path, (content, executable));
                }
                FromAgent::Omitted { path, reason } => drop(found.omitted.insert(path, reason)),
                FromAgent::Collected => return found,
                other => panic!("{other:?}"),
            }
        }
    }
}

#[derive(Debug, Default)]
struct Found {
    files: BTreeMap<String, (Vec<u8>, bool)>,
    omitted: BTreeMap<String, String>,
}

#[test]
fn files_are_the_programs_own_wherever_they_are_put() {
    if !possible() {
        return;
    }
    let mut rig = Rig::ready();
    rig.put("main.sh", b"#!/bin/sh\necho run; cat a/b/data\n", true);
    rig.put("a/b/data", &vec![b'd'; 200_000], false);
    rig.put("a/empty", b"", false);
    let script = "./main.sh | wc -c; stat -c '%n %a %u %g %s' main.sh a a/b a/b/data a/empty; \
                  echo x >> a/b/data; echo y > a/b/more; rm a/empty";
    let expected = "200004\nmain.sh 755 10000 10000 33\na 755 10000 10000 60\na/b 755 10000 10000 60\n\
                    a/b/data 644 10000 10000 200000\na/empty 644 10000 10000 0\n";
    let text = rig.shell(script).text().to_owned();
    let same = |line: &str| {
        line.rsplit_once(' ')
            .filter(|_| line.starts_with("a ") || line.starts_with("a/b "))
            .map_or(line.to_owned(), |(head, _)| head.to_owned())
    };
    assert_eq!(text.lines().map(same).collect::<Vec<_>>(), expected.lines().map(same).collect::<Vec<_>>());
}

#[test]
fn a_file_that_does_not_fit_keeps_the_program_from_starting() {
    if !possible() {
        return;
    }
    let mut rig = Rig::start("1m", "/box/tmp");
    assert!(matches!(rig.next(), FromAgent::Hello { .. }));
    assert!(matches!(rig.next(), FromAgent::StdinCredit { .. }));
    rig.put("small", b"x", false);
    rig.put("in/large", &vec![0; 2 << 20], false);
    rig.put("after", b"x", false);
    rig.begin(&["true"]);
    let FromAgent::NotStarted { program, reason } = rig.next() else { panic!("it started") };
    assert_eq!(program, "true");
    assert!(reason.starts_with("in/large: No space left"), "{reason}");
}

#[test]
fn paths_are_checked_again() {
    if !possible() {
        return;
    }
    for path in ["../x", "/etc/x", "a/../../x", "", "a//b"] {
        let mut rig = Rig::ready();
        rig.put(path, b"x", false);
        rig.begin(&["true"]);
        assert!(matches!(rig.next(), FromAgent::NotStarted { .. }), "{path}");
    }
}

#[test]
fn announcements_are_kept_or_the_sandbox_is_broken() {
    if !possible() {
        return;
    }
    let mut rig = Rig::ready();
    rig.send(&ToAgent::Put { path: "a".to_owned(), executable: false, content_bytes: 3 });
    rig.send(&ToAgent::PutData((&b"abcd"[..]).into()));
    assert!(matches!(rig.next(), FromAgent::Failed { .. }));
    let mut rig = Rig::ready();
    rig.send(&ToAgent::Put { path: "a".to_owned(), executable: false, content_bytes: 3 });
    rig.begin(&["true"]);
    assert!(matches!(rig.next(), FromAgent::Failed { .. }));
    let mut rig = Rig::ready();
    rig.begin(&["cat"]);
    assert_eq!(rig.next(), FromAgent::Started);
    rig.put("a", b"x", false);
    assert!(matches!(rig.next(), FromAgent::Failed { .. }));
}

#[test]
fn only_regular_files_with_one_name_come_out() {
    if !possible() {
        return;
    }
    let mut rig = Rig::ready();
    let script = "echo a > a.txt; ln -s a.txt link.txt; ln -s /etc/passwd out.txt; mkfifo fifo.txt; \
                  echo h > one.txt; ln one.txt two.txt; mkdir -p deep/er; echo d > deep/er/d.txt; \
                  ln -s /etc dir; echo n > other.md; echo s > secret.txt; chmod 0 secret.txt; chmod 755 a.txt; \
                  chmod 0 deep . ; true";
    assert_eq!(rig.shell(script).text(), "");
    let found = rig.collect(&["**/*.txt", "dir/*"], 10, 1000);
    let names: Vec<_> = found.files.keys().map(String::as_str).collect();
    assert_eq!(names, ["a.txt", "deep/er/d.txt", "secret.txt"]);
    assert_eq!(found.files["a.txt"], (b"a\n".to_vec(), true));
    let left_out: Vec<_> = found.omitted.iter().map(|(path, why)| (path.as_str(), why.as_str())).collect();
    assert_eq!(
        left_out,
        [
            ("fifo.txt", "not a regular file"),
            ("link.txt", "a link"),
            ("one.txt", "has several names"),
            ("out.txt", "a link"),
            ("two.txt", "has several names"),
        ]
    );
}

#[test]
fn large_files_come_out_within_bounds() {
    if !possible() {
        return;
    }
    let mut rig = Rig::ready();
    let script = "head -c 20000000 /dev/zero > large; head -c 3000 /dev/zero > small; echo x > third";
    assert_eq!(rig.shell(script).text(), "");
    let found = rig.collect(&["*"], 10, 21_000_000);
    assert_eq!(found.files["large"].0.len(), 20_000_000);
    let found = rig.collect(&["*"], 10, 4000);
    assert_eq!(found.omitted["large"], "too large");
    assert_eq!(found.files["small"].0.len(), 3000);
    let found = rig.collect(&["*"], 1, u64::MAX);
    assert_eq!((found.files.len(), found.omitted.len()), (1, 1));
}

#[test]
fn a_daemon_that_does_not_read_files_and_goes_is_noticed() {
    if !possible() {
        return;
    }
    let mut rig = Rig::ready();
    rig.credit(Output::Stdout, 10);
    assert_eq!(rig.shell("head -c 20000000 /dev/zero > large").text(), "");
    let globs = vec!["*".to_owned()];
    rig.send(&ToAgent::Collect { globs, max_files: 1, max_bytes: u64::MAX, max_entries: 10 });
    rig.hang_up();
    assert_eq!(rig.ended().code(), Some(0));
}
