//! SIGHUP: the configuration is read again as a whole or not at all, and who is being served notices nothing.

use std::{fs, path::PathBuf, thread, time::Duration};

use serde_json::json;

use crate::{
    engines::eventually,
    support::{Daemon, assert_status, configuration, free_port},
};

struct House {
    daemon: Daemon,
    port: u16,
}

impl House {
    fn new(extra: &str) -> Self {
        let (folder, port) = (tempfile::tempdir().unwrap(), free_port());
        let config = configuration(folder.path(), &format!("\"127.0.0.1:{port}\""), extra);
        let daemon = Daemon::start_with(folder, &config, port);
        daemon.await_ready();
        Self { daemon, port }
    }

    fn folder(&self) -> PathBuf {
        self.daemon.folder().to_owned()
    }

    fn lines(&self, message: &str) -> usize {
        self.daemon.log().lines().filter(|line| line.contains(&format!("\"message\":\"{message}"))).count()
    }

    /// Another configuration, and the signal; waits for what comes of it.
    fn reload(&self, extra: &str, message: &str) {
        let before = self.lines(message);
        configuration(&self.folder(), &format!("\"127.0.0.1:{}\"", self.port), extra);
        self.daemon.signal("-HUP");
        eventually(message, || self.lines(message) > before);
    }
}

const LUA: &str = r#"
name = "Shell"
extensions = ["shx"]
packages = ["dash"]
version_command = ["sh", "-c", "echo 1.0"]
source = { name = "main.shx" }
run = { command = ["sh", "{entry}"] }
example = { file = "hello" }
self_test = { file = "hello", stdout = "hi\n" }
"#;

#[test]
fn what_is_new_is_there_and_what_runs_is_not_touched() {
    let house = House::new("");
    let languages = house.folder().join("languages/shx");
    fs::create_dir_all(&languages).unwrap();
    fs::write(languages.join("executor.toml"), LUA).unwrap();
    fs::write(languages.join("hello"), "echo hi\n").unwrap();
    let long = json!({
        "language": "bash", "code": "sleep 3; echo done", "limits": { "wall_time_ms": 30000 },
    });
    thread::scope(|scope| {
        let running = scope.spawn(|| house.daemon.execute(&long));
        thread::sleep(Duration::from_millis(500));
        let extra = format!(
            "[limits.max]\nwall_time_ms = 20000\n[executors]\ndirs = [{:?}]",
            house.folder().join("languages")
        );
        house.reload(&extra, "reloaded");
        assert_eq!(house.daemon.run("shx", "echo new")["stdout"], "new\n");
        // What was promised at its start holds for it, and no more for others.
        let refused = house.daemon.try_execute(&long).unwrap();
        assert_eq!(refused.json()["code"], "limit_too_high", "{}", refused.body);
        let answer = running.join().unwrap();
        assert_status(&answer, "ok");
        assert_eq!(answer["stdout"], "done\n");
    });
    // Counted on in the same figures.
    let metrics = house.daemon.get("/metrics").body;
    let count = "sandboxd_executions_total{language=\"bash\",runtime=\"native\",status=\"ok\"} 1";
    assert!(metrics.lines().any(|line| line == count), "{metrics}");
}

#[test]
fn what_is_wrong_is_refused_whole() {
    let house = House::new("");
    let refused = "not reloaded: everything stays as it was";
    for (extra, words) in [
        ("[limits.max]\nwall_time_ms = 20000\n[log]\nformat = \"xml\"", "log.format"),
        ("[limits.max]\nwall_time_ms = 20000\n[execution]\nmax_concurrent = 9", "a runtime of kind native"),
        ("[limits.max]\nwall_time_ms = 20000\n[executors]\ndirs = [\"/nowhere/at/all\"]", "/nowhere/at/all"),
        ("[limits.max]\nwall_time_ms = 20000\n[auth]\ntokens = \"/nowhere/tokens\"", "/nowhere/tokens"),
    ] {
        house.reload(extra, refused);
        assert!(house.daemon.log().contains(words), "{words}: {}", house.daemon.log());
        let request = json!({ "language": "bash", "code": "echo on", "limits": { "wall_time_ms": 50000 } });
        assert_eq!(house.daemon.execute(&request)["stdout"], "on\n");
    }
    house.reload("", "reloaded");
}

#[test]
fn many_reloads_leave_nothing_behind() {
    let house = House::new("");
    let figures = || {
        let process = format!("/proc/{}", house.daemon.pid());
        let threads = fs::read_dir(format!("{process}/task")).unwrap().count();
        (fs::read_dir(format!("{process}/fd")).unwrap().count(), threads)
    };
    house.reload("", "reloaded");
    let before = figures();
    for round in 0..15 {
        house.reload(&format!("[limits.max]\nwall_time_ms = {}", 20_000 + round), "reloaded");
        assert_status(&house.daemon.run("bash", "true"), "ok");
    }
    eventually("the engines before have ended", || {
        let now = figures();
        now.0 <= before.0 + 4 && now.1 <= before.1 + 2
    });
    assert!(!house.daemon.log().contains("cut short"), "{}", house.daemon.log());
}
