//! Requests byte by byte, so that wrong ones can be sent, too.

use std::io;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Longer than any answer takes, so that a hang becomes a failure.
const PATIENCE: Duration = Duration::from_secs(60);

/// What came back.
#[derive(Debug)]
pub struct Answer {
    /// 0: nothing that is HTTP.
    pub status: u16,
    /// The head, in lower case.
    pub head: String,
    pub body: String,
    /// From the last byte of the request to the last one of the answer.
    pub after: Duration,
}

impl Answer {
    /// Its JSON body's `error`, if it has the form that all errors have.
    pub fn error(&self) -> Option<serde_json::Value> {
        let body: serde_json::Value = serde_json::from_str(&self.body).ok()?;
        let error = body.get("error")?.clone();
        ["message", "type", "code"].iter().all(|name| error[*name].is_string()).then_some(error)
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
    }
}

/// Sends these bytes and reads until the other side closes.
pub async fn send(address: &str, bytes: &[u8]) -> io::Result<Answer> {
    let exchange = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let sent = stream.write_all(bytes).await;
        let begun = Instant::now();
        let mut all = Vec::new();
        // Whoever refuses a request may do so before it is whole.
        match stream.read_to_end(&mut all).await {
            Ok(_) => {}
            Err(_) if !all.is_empty() => {}
            Err(error) => return Err(sent.err().unwrap_or(error)),
        }
        Ok(parse(&String::from_utf8_lossy(&all), begun.elapsed()))
    };
    tokio::time::timeout(PATIENCE, exchange).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}

/// `POST` with a JSON body.
pub async fn post(address: &str, path: &str, body: &[u8]) -> io::Result<Answer> {
    send(address, &request(path, body)).await
}

pub async fn get(address: &str, path: &str) -> io::Result<Answer> {
    send(address, format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").as_bytes()).await
}

/// A whole request, after which the connection is closed.
pub fn request(path: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    );
    [head.as_bytes(), body].concat()
}

/// A number that `/metrics` tells.
pub async fn metric(address: &str, name: &str) -> f64 {
    let text = get(address, "/metrics").await.unwrap().body;
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next_back()?.parse().ok());
    value.unwrap_or_else(|| panic!("no {name} in {text}"))
}

/// Bytes of memory of a process.
pub fn memory(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let kilobytes = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.split_whitespace().next()?.parse::<u64>().ok());
    kilobytes.unwrap() * 1024
}

/// How many files, sockets among them, a process has open.
pub fn descriptors(process: u32) -> usize {
    std::fs::read_dir(format!("/proc/{process}/fd")).unwrap().count()
}

/// How many of them are sockets.
pub fn sockets(process: u32) -> usize {
    let open = std::fs::read_dir(format!("/proc/{process}/fd")).unwrap().flatten();
    open.filter(|entry| std::fs::read_link(entry.path()).is_ok_and(|to| to.to_string_lossy().starts_with("socket:"))).count()
}

fn parse(text: &str, after: Duration) -> Answer {
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((text, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    let head = head.to_ascii_lowercase();
    let body = if head.contains("transfer-encoding: chunked") { unchunked(body) } else { body.to_owned() };
    Answer { status, head, body, after }
}

fn unchunked(mut body: &str) -> String {
    let mut whole = String::new();
    while let Some((length, rest)) = body.split_once("\r\n") {
        let Some(length) = usize::from_str_radix(length, 16).ok().filter(|length| *length > 0) else { break };
        let Some(chunk) = rest.get(..length) else { break };
        whole.push_str(chunk);
        body = rest[length..].trim_start_matches("\r\n");
    }
    whole
}
