//! Rules alone; what a client sees of them is tested through the door.

use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf};

use super::*;

const SECRET: &str = "sbx_secret";

struct File {
    _folder: tempfile::TempDir,
    path: PathBuf,
}

fn file(text: &str, mode: u32) -> File {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokens.toml");
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    File { _folder: folder, path }
}

fn access(more: &str) -> Access {
    let text = format!("[ci]\nsha256 = \"{}\"\n{more}", sha256_of(SECRET));
    Access { tokens: load(&file(&text, 0o600).path).unwrap(), unix_users: Vec::new() }
}

fn tcp() -> Peer {
    Peer::Tcp(IpAddr::from([192, 0, 2, 1]))
}

#[test]
fn without_rules_everybody_is_somebody() {
    let access = Access::default();
    assert_eq!(access.who(tcp(), None).unwrap().key(), &ClientKey::new("address 192.0.2.1"));
    assert_eq!(access.who(Peer::Unix(Some(7)), None).unwrap().key(), &ClientKey::new("user 7"));
    // Nobody asked for it.
    assert!(access.who(tcp(), Some("Bearer whatever")).is_ok());
}

#[test]
fn tokens_are_needed_over_tcp_and_count_everywhere() {
    let access = access("");
    let ci = Some("Bearer sbx_secret");
    for (peer, given, key) in [
        (tcp(), ci, Some("token ci")),
        (tcp(), Some("bearer  sbx_secret "), Some("token ci")),
        (tcp(), None, None),
        (tcp(), Some("Bearer sbx_secreT"), None),
        (tcp(), Some("Bearer "), None),
        (tcp(), Some("Basic sbx_secret"), None),
        (Peer::Unix(Some(7)), None, Some("user 7")),
        (Peer::Unix(Some(7)), ci, Some("token ci")),
        (Peer::Unix(Some(7)), Some("Bearer wrong"), None),
    ] {
        let client = access.who(peer, given);
        match key {
            Some(key) => assert_eq!(client.unwrap().key(), &ClientKey::new(key), "{given:?}"),
            None => assert!(matches!(client, Err(Denied::Unauthorized(_))), "{given:?}"),
        }
    }
}

#[test]
fn a_unix_socket_may_be_for_some() {
    let access = Access { unix_users: vec![7], ..Access::default() };
    assert!(access.who(Peer::Unix(Some(7)), None).is_ok());
    for other in [Some(8), None] {
        assert!(matches!(access.who(Peer::Unix(other), None), Err(Denied::Forbidden { .. })));
    }
}

#[tokio::test(start_paused = true)]
async fn shares_are_used_up_and_come_back() {
    let access = access("requests_per_minute = 2\nmax_concurrent = 1\n");
    let client = access.who(tcp(), Some("Bearer sbx_secret")).unwrap();
    let first = client.begin().unwrap();
    assert!(matches!(client.begin(), Err(Denied::RateLimited { retry_after: RETRY_CONCURRENT, .. })));
    drop(first);
    drop(client.begin().unwrap());
    let Err(Denied::RateLimited { reason, retry_after }) = client.begin() else { panic!() };
    assert_eq!((reason.as_str(), retry_after.as_secs()), ("the token ci may ask 2 times a minute", 30));
    tokio::time::advance(retry_after).await;
    drop(client.begin().unwrap());
    assert!(client.begin().is_err());
}

#[test]
fn some_may_not_have_everything() {
    let access = access("languages = [\"python\"]\nruntimes = [\"gvisor\"]\n");
    let client = access.who(tcp(), Some("Bearer sbx_secret")).unwrap();
    assert_eq!(client.may_have("python", "gvisor"), Ok(()));
    for (language, runtime, denied) in [("c", "gvisor", "language"), ("python", "native", "runtime")] {
        let Err(Denied::Forbidden { field, reason }) = client.may_have(language, runtime) else { panic!() };
        assert_eq!(field, Some(denied));
        assert!(reason.contains("the token ci may not use the "), "{reason}");
    }
}

#[test]
fn a_file_that_is_wrong_is_told_by_token_and_key() {
    let good = sha256_of(SECRET);
    for (text, mode, words) in [
        (format!("[ci]\nsha256 = \"{good}\""), 0o644, "chmod 0640"),
        (format!("[ci]\nsha256 = \"{good}\""), 0o620, "chmod 0640"),
        ("[ci]\nsha256 = \"abc\"".to_owned(), 0o600, "ci.sha256: 64 hexadecimal digits"),
        (format!("[ci]\nsha256 = \"{good}\"\nrate = 1"), 0o600, "ci.rate: unknown field `rate`"),
        ("[ci]\n".to_owned(), 0o600, "ci: missing field `sha256`"),
        (format!("[ci]\nsha256 = \"{good}\"\nmax_concurrent = 0"), 0o600, "ci.max_concurrent: must be 1 to"),
        (format!("[ci]\nsha256 = \"{good}\"\nrequests_per_minute = 0"), 0o600, "must be 1 to 1000000"),
        (
            format!("[ci]\nsha256 = \"{good}\"\nlimits = {{ time = 1 }}"),
            0o600,
            "ci.limits.time: there is no such",
        ),
        (
            format!("[ci]\nsha256 = \"{good}\"\nlimits.memory_bytes = 0"),
            0o600,
            "ci.limits.memory_bytes: must be",
        ),
        ("[ci".to_owned(), 0o600, "tokens.toml: "),
    ] {
        let errors = load(&file(&text, mode).path).unwrap_err();
        let [error] = errors.as_slice() else { panic!("{errors:?}") };
        assert!(error.to_string().contains(words), "{error}");
    }
    assert!(load(std::path::Path::new("/nowhere")).unwrap_err()[0].to_string().contains("/nowhere"));
    assert_eq!(load(&file(&format!("[ci]\nsha256 = \"{good}\""), 0o640).path).unwrap().len(), 1);
}
