//! TLS on TCP, with curl as the client: what is agreed on, what is refused, and a certificate that a reload exchanges.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use crate::{
    engines::eventually,
    support::{Daemon, configuration, free_port, try_serve},
};

struct Secured {
    daemon: Daemon,
    port: u16,
}

/// A certificate for localhost, signed by itself, and its key; gives back the lines of `[server]` that name them.
fn certificate(folder: &Path) -> String {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (chain, key) = (folder.join("chain.pem"), folder.join("key.pem"));
    fs::write(&chain, made.cert.pem()).unwrap();
    fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    format!("tls_certificate = {chain:?}\ntls_key = {key:?}\n---")
}

impl Secured {
    fn start(more: &str) -> Self {
        let (folder, port) = (tempfile::tempdir().unwrap(), free_port());
        let server = certificate(folder.path());
        let config =
            configuration(folder.path(), &format!("\"127.0.0.1:{port}\""), &format!("{more}\n{server}"));
        let secured = Self { daemon: Daemon::start_with(folder, &config, port), port };
        eventually("it is ready", || secured.curl(&["/readyz"]).is_ok());
        secured
    }

    fn chain(&self) -> PathBuf {
        self.daemon.folder().join("chain.pem")
    }

    /// What curl prints, or its exit code. The last argument is the path.
    fn curl(&self, args: &[&str]) -> Result<String, i32> {
        let (path, options) = args.split_last().unwrap();
        let url = format!("https://localhost:{}{path}", self.port);
        let mut curl = Command::new("curl");
        curl.args(["-sSf", "--max-time", "60", "--resolve"])
            .arg(format!("localhost:{}:127.0.0.1", self.port));
        let output = curl.arg("--cacert").arg(self.chain()).args(options).arg(url).output().unwrap();
        match output.status.code() {
            Some(0) => Ok(String::from_utf8(output.stdout).unwrap()),
            code => Err(code.unwrap_or_default()),
        }
    }
}

#[test]
fn programs_are_run_over_tls_in_either_http() {
    let secured = Secured::start("");
    for (option, version) in [("--http1.1", "1.1"), ("--http2", "2")] {
        let request = r#"{"language": "bash", "code": "echo hello"}"#;
        let said = secured.curl(&[
            option,
            "-H",
            "content-type: application/json",
            "-d",
            request,
            "-w",
            "%{http_version}",
            "/api/execute",
        ]);
        let said = said.unwrap();
        assert!(said.contains("\"stdout\":\"hello\\n\"") && said.ends_with(version), "{said}");
    }
    assert!(secured.curl(&["--tlsv1.2", "--tls-max", "1.2", "/healthz"]).is_ok());
    // 35: no terms were come to.
    assert_eq!(secured.curl(&["--tls-max", "1.1", "/healthz"]), Err(35));
}

/// Who does not speak TLS, or does not speak at all, is let go, and others are served meanwhile.
#[test]
fn who_does_not_shake_hands_is_let_go() {
    let secured = Secured::start("header_read_timeout_ms = 500");
    let mut silent = TcpStream::connect(("127.0.0.1", secured.port)).unwrap();
    silent.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let mut plain = TcpStream::connect(("127.0.0.1", secured.port)).unwrap();
    plain.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    // An alert of TLS at most, and no word of HTTP.
    let _reset_or_end = plain.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
    assert_eq!(silent.read(&mut [0; 8]).unwrap(), 0);
    assert!(secured.curl(&["/healthz"]).is_ok());
}

#[test]
fn a_reload_takes_another_certificate() {
    let secured = Secured::start("");
    let first = fs::read(secured.chain()).unwrap();
    // Half of a pair is refused, and the first stays.
    fs::write(secured.daemon.folder().join("key.pem"), "none\n").unwrap();
    secured.daemon.signal("-HUP");
    eventually("it is refused", || secured.daemon.log().contains("there is no private key in it"));
    assert!(secured.curl(&["/healthz"]).is_ok());
    certificate(secured.daemon.folder());
    assert_ne!(fs::read(secured.chain()).unwrap(), first);
    // 60: not the certificate that it knows.
    assert_eq!(secured.curl(&["/healthz"]), Err(60));
    secured.daemon.signal("-HUP");
    eventually("the other is shown", || secured.curl(&["/healthz"]).is_ok());
}

#[test]
fn files_that_are_wrong_are_told_by_key_and_reason() {
    let folder = tempfile::tempdir().unwrap();
    let good = certificate(folder.path());
    let (chain, key) = (folder.path().join("chain.pem"), folder.path().join("key.pem"));
    let refused = |server: &str, words: &str| {
        let listen = format!("\"127.0.0.1:{}\"", free_port());
        let (code, said) = try_serve(&configuration(folder.path(), &listen, server));
        assert!(code == Some(78) && said.contains(words), "{words}: {code:?}: {said}");
    };
    refused(&format!("tls_key = {key:?}\n---"), "server.tls_certificate: must be set where tls_key is");
    refused(
        &format!("tls_certificate = {chain:?}\n---"),
        "server.tls_key: must be set where tls_certificate is",
    );
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    refused(&good, "may be read or written by others (mode 0644): chmod 0640, or 0600");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    let own_key = fs::read(&key).unwrap();
    let other = tempfile::tempdir().unwrap();
    certificate(other.path());
    fs::copy(other.path().join("key.pem"), &key).unwrap();
    refused(&good, "server.tls_key");
    fs::write(&key, own_key).unwrap();
    fs::write(&chain, "no certificate\n").unwrap();
    refused(&good, "there is no certificate in it");
    fs::remove_file(&chain).unwrap();
    refused(&good, "No such file or directory");
}
