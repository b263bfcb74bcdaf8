//! A client that keeps its connection, and knows no more of HTTP than it needs.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// Longer than any answer takes, so that a hang becomes a failure.
const PATIENCE: Duration = Duration::from_secs(60);

pub struct Client(BufReader<TcpStream>);

impl Client {
    pub fn connect(address: &str) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(Self(BufReader::new(stream)))
    }

    /// Asks, reads the whole answer, and returns its id. An error is an answer that didn't come, or not whole.
    pub fn ask(&mut self, path: &str, body: &str) -> io::Result<String> {
        let length = body.len();
        let head = format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n");
        self.0.get_mut().write_all(format!("{head}{body}").as_bytes())?;
        let status = self.line()?;
        let mut length = None;
        loop {
            let header = self.line()?.to_ascii_lowercase();
            if header.is_empty() {
                break;
            }
            if let Some(value) = header.strip_prefix("content-length: ") {
                length = value.parse().ok();
            }
        }
        let answer = match length {
            Some(length) => self.exactly(length)?,
            None => self.chunks()?,
        };
        if !status.contains(" 200 ") {
            return Err(io::Error::other(format!("{status}: {answer}")));
        }
        let whole = answer.rsplit_once("event: done\ndata: ").map_or(answer.as_str(), |(_, done)| done);
        let id = serde_json::from_str::<serde_json::Value>(whole.trim()).ok().and_then(|whole| Some(whole["id"].as_str()?.to_owned()));
        id.ok_or_else(|| io::Error::other(format!("no id in {answer}")))
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        self.0.read_line(&mut line)?;
        line.strip_suffix("\r\n").map(str::to_owned).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    fn exactly(&mut self, length: usize) -> io::Result<String> {
        let mut bytes = vec![0; length];
        self.0.read_exact(&mut bytes)?;
        String::from_utf8(bytes).map_err(io::Error::other)
    }

    fn chunks(&mut self) -> io::Result<String> {
        let mut whole = String::new();
        loop {
            let length = usize::from_str_radix(&self.line()?, 16).map_err(io::Error::other)?;
            let chunk = self.exactly(length)?;
            self.line()?;
            if length == 0 {
                return Ok(whole);
            }
            whole.push_str(&chunk);
        }
    }
}
