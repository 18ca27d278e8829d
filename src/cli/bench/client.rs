//! One keep-alive connection to a daemon, over TCP or a Unix socket. The daemon's answers carry a length, so reading them
//! takes no library, and the client's own share of what is measured stays small.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    os::unix::net::UnixStream,
    path::PathBuf,
    str::FromStr,
    time::{Duration, Instant},
};

use serde_json::Value;

use super::{Result, failed, step};

/// The longest that an answer may take: every limit of a program is far below.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(300);
/// A longer answer is not one to these requests.
const MAX_ANSWER_BYTES: usize = 16 << 20;

#[derive(Debug, Clone)]
pub(super) enum Address {
    /// Host and port.
    Tcp(String),
    Unix(PathBuf),
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:").filter(|path| path.starts_with('/')) {
            return Ok(Self::Unix(PathBuf::from(path)));
        }
        match text.strip_prefix("http://").map(|rest| rest.trim_end_matches('/')) {
            Some(host) if !host.is_empty() && !host.contains('/') => {
                let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
                Ok(Self::Tcp(if has_port { host.to_owned() } else { format!("{host}:80") }))
            }
            _ => Err("write http://HOST:PORT or unix:/PATH".to_owned()),
        }
    }
}

trait Stream: Read + Write + Send {}
impl<T: Read + Write + Send> Stream for T {}

pub(super) struct Client {
    reader: BufReader<Box<dyn Stream>>,
}

/// One execution, as its caller saw it.
pub(super) struct Answer {
    pub took: Duration,
    pub body: Value,
}

impl Client {
    pub(super) fn connect(address: &Address) -> Result<Self> {
        let connect = step("connect to the daemon");
        let stream: Box<dyn Stream> = match address {
            Address::Tcp(host) => {
                let stream = TcpStream::connect(host).map_err(&connect)?;
                stream.set_nodelay(true).map_err(&connect)?;
                stream.set_read_timeout(Some(ANSWER_TIMEOUT)).map_err(&connect)?;
                Box::new(stream)
            }
            Address::Unix(path) => {
                let stream = UnixStream::connect(path).map_err(&connect)?;
                stream.set_read_timeout(Some(ANSWER_TIMEOUT)).map_err(&connect)?;
                Box::new(stream)
            }
        };
        Ok(Self { reader: BufReader::new(stream) })
    }

    /// Runs a program; anything but the verdict `ok` is an error.
    pub(super) fn execute(&mut self, body: &str) -> Result<Answer> {
        let head = format!(
            "POST /api/execute HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        let request = head + body;
        let began = Instant::now();
        let (_, answer) = self.ask(&request)?;
        let took = began.elapsed();
        let body: Value = serde_json::from_slice(&answer).map_err(|_| failed("a strange answer"))?;
        if body["status"] == "ok" { Ok(Answer { took, body }) } else { Err(failed(body.to_string())) }
    }

    /// Status and body.
    pub(super) fn get(&mut self, path: &str) -> Result<(u16, Value)> {
        let (status, answer) = self.ask(&format!("GET {path} HTTP/1.1\r\nhost: bench\r\n\r\n"))?;
        Ok((status, serde_json::from_slice(&answer).unwrap_or(Value::Null)))
    }

    fn ask(&mut self, request: &str) -> Result<(u16, Vec<u8>)> {
        let read = step("read an answer");
        self.reader.get_mut().write_all(request.as_bytes()).map_err(step("send a request"))?;
        let mut line = String::new();
        self.reader.read_line(&mut line).map_err(&read)?;
        let status = line.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.ok_or_else(|| failed("a strange answer"))?;
        let mut length = 0;
        loop {
            line.clear();
            self.reader.read_line(&mut line).map_err(&read)?;
            let Some((name, value)) = line.split_once(':') else { break };
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse().map_err(|_| failed("a strange answer"))?;
            }
        }
        if length > MAX_ANSWER_BYTES {
            return Err(failed(format!("an answer of {length} bytes")));
        }
        let mut answer = vec![0; length];
        self.reader.read_exact(&mut answer).map_err(&read)?;
        Ok((status, answer))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let shown = |text: &str| text.parse::<Address>().map(|address| format!("{address:?}"));
        assert_eq!(shown("http://localhost:8080/").unwrap(), "Tcp(\"localhost:8080\")");
        assert_eq!(shown("http://[::1]:8080").unwrap(), "Tcp(\"[::1]:8080\")");
        assert_eq!(shown("http://host").unwrap(), "Tcp(\"host:80\")");
        assert_eq!(shown("unix:/run/a.sock").unwrap(), "Unix(\"/run/a.sock\")");
        for wrong in ["", "localhost:80", "https://a", "http://", "http://a/b", "unix:a"] {
            assert!(shown(wrong).is_err(), "{wrong}");
        }
    }
}
