//! A daemon as a process, on the parrot engine.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

/// Longer than anything here takes, so that a hang becomes a failure.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A running daemon; it is killed when this is dropped.
pub struct Daemon {
    pub child: Child,
    pub address: String,
    pub folder: TempDir,
    pub said: Receiver<String>,
}

impl Daemon {
    /// Starts with this configuration, and waits until it is ready.
    pub fn start(configuration: &str) -> Self {
        Self::start_as(configuration, |_| {})
    }

    /// The same, with more said of its process.
    pub fn start_as(configuration: &str, change: impl FnOnce(&mut Command)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        configure(folder.path(), configuration);
        let mut command = command(folder.path(), &["--listen", "127.0.0.1:0"]);
        change(&mut command);
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let (sender, said) = channel();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        std::thread::spawn(move || stderr.lines().map_while(Result::ok).for_each(|line| drop(sender.send(line))));
        let mut daemon = Self { child, address: String::new(), folder, said };
        let first = daemon.hears("listens on");
        daemon.address = first.split_whitespace().find_map(|word| word.strip_prefix("http://")).unwrap().to_owned();
        daemon.hears("Ready");
        daemon
    }

    /// Waits for a line on stderr that holds this.
    pub fn hears(&self, part: &str) -> String {
        loop {
            let line = self.said.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("the daemon never said {part:?}"));
            if line.contains(part) {
                return line;
            }
        }
    }

    pub fn send(&self, method: &str, path: &str, body: &str) -> TcpStream {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
        );
        stream.write_all(format!("{head}{body}").as_bytes()).unwrap();
        stream
    }

    /// A whole exchange: status and body.
    pub fn ask(&self, path: &str, body: &Value) -> (u16, Value) {
        let mut answer = String::new();
        self.send("POST", path, &body.to_string()).read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), serde_json::from_str(body).unwrap())
    }

    /// A stream that has told its first piece.
    pub fn stream(&self, body: &Value) -> BufReader<TcpStream> {
        let mut reader = BufReader::new(self.send("POST", "/stream-generate", &body.to_string()));
        let mut line = String::new();
        while !line.contains("data: ") {
            line.clear();
            assert!(reader.read_line(&mut line).unwrap() > 0, "the stream ended before its first piece");
        }
        reader
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for the end; the exit code.
    pub fn ended(&mut self) -> i32 {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code().unwrap_or(-1);
            }
            assert!(start.elapsed() < PATIENCE, "the daemon doesn't end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// The log once it has so many lines.
    pub fn log(&self, lines: usize) -> Vec<Value> {
        let start = Instant::now();
        loop {
            let text = std::fs::read_to_string(self.folder.path().join("logs/log.jsonl")).unwrap_or_default();
            let whole: Vec<Value> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
            if whole.len() >= lines {
                assert!(text.ends_with('\n'), "the log is whole to its last line");
                return whole;
            }
            assert!(start.elapsed() < PATIENCE, "{} lines instead of {lines}", whole.len());
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    pub fn client(&self, arguments: &[&str]) -> Output {
        let client = Path::new(env!("CARGO_BIN_EXE_minivault-echo")).with_file_name("minivault");
        assert!(client.exists(), "{} isn't built; tests run with `cargo test --workspace`", client.display());
        let url = format!("http://{}", self.address);
        Command::new(client)
            .args(arguments)
            .env("MINIVAULT_URL", url)
            .env("HOME", self.folder.path())
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Writes a configuration with one engine, the parrot, into this folder.
pub fn configure(folder: &Path, configuration: &str) {
    let configuration = format!("{configuration}\n[engines.parrot]\nbackend = \"echo\"\nslots = 2\nqueue = 4\npace = 5\n");
    std::fs::write(folder.join("config.toml"), configuration).unwrap();
}

pub fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_minivault-echo"));
    command.args(arguments).current_dir(folder).env_remove("RUST_LOG").stdin(Stdio::null()).stdout(Stdio::piped());
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("MINIVAULTD_")) {
        command.env_remove(name);
    }
    command
}
