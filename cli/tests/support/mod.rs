//! A daemon that answers as its script says, and the CLI as a process.
#![allow(dead_code, reason = "each test program uses its own part")]

pub mod screen;
#[cfg(target_os = "linux")]
pub mod terminal;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

/// Longer than anything here takes, so that a hang becomes a failure.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Nobody listens here: the port is reserved, and too low to be given to one of the daemons of a test that runs meanwhile.
pub const NOBODY: &str = "http://127.0.0.1:1";

/// One step of an answer to one request.
pub enum Step {
    /// Bytes for the wire.
    Send(Vec<u8>),
    /// Tells when the client has closed its side.
    AwaitHangup(Sender<()>),
}

/// A request that arrived.
#[derive(Debug)]
pub struct Request {
    pub line: String,
    pub authorization: Option<String>,
    pub body: Value,
}

/// Answers one connection after the other, each with the next script; then nobody listens any more.
pub struct Daemon {
    pub url: String,
    pub requests: Receiver<Request>,
}

impl Daemon {
    pub fn answering(scripts: Vec<Vec<Step>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (sender, requests) = channel();
        thread::spawn(move || {
            for script in scripts {
                let (mut stream, _) = listener.accept().unwrap();
                stream.set_nodelay(true).unwrap();
                let _ = sender.send(read_request(&stream));
                for step in script {
                    match step {
                        Step::Send(bytes) => {
                            // A client that has gone is what some tests are about.
                            let _ = stream.write_all(&bytes);
                        }
                        Step::AwaitHangup(gone) => {
                            let end = stream.read(&mut [0]);
                            assert!(matches!(end, Ok(0) | Err(_)), "{end:?}");
                            let _ = gone.send(());
                        }
                    }
                }
            }
        });
        Self { url, requests }
    }

    pub fn request(&self) -> Request {
        self.requests.recv_timeout(PATIENCE).expect("a request")
    }
}

fn read_request(stream: &TcpStream) -> Request {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    let (mut length, mut authorization) = (0, None);
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).unwrap();
        if header.trim().is_empty() {
            break;
        }
        if let Some(value) = header.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        } else if let Some((_, value)) = header.split_once(':').filter(|(name, _)| name.eq_ignore_ascii_case("authorization")) {
            authorization = Some(value.trim().to_owned());
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    Request { line: line.trim().into(), authorization, body: serde_json::from_slice(&body).unwrap_or(Value::Null) }
}

/// A whole answer.
pub fn answer(status: &str, body: &str) -> Vec<Step> {
    let length = body.len();
    vec![Step::Send(
        format!("HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}")
            .into(),
    )]
}

/// The head of a stream.
pub fn stream_head() -> Step {
    Step::Send(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n".to_vec())
}

/// A part of a stream's body, which reaches the client's parser as one buffer.
pub fn chunk(bytes: &[u8]) -> Step {
    Step::Send([format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat())
}

/// The proper end of a stream's body.
pub fn stream_end() -> Step {
    Step::Send(b"0\r\n\r\n".to_vec())
}

/// A stream of these events that ends properly, `size` bytes at a time.
pub fn stream(events: &str, size: usize) -> Vec<Step> {
    let chunks = events.as_bytes().chunks(size).map(chunk);
    std::iter::once(stream_head()).chain(chunks).chain([stream_end()]).collect()
}

pub fn piece(text: &str) -> String {
    format!("data: {}\n\n", json!({"token": text}))
}

pub fn done_json() -> Value {
    json!({"id": "i-1", "model": "distilgpt2", "finish_reason": "stop", "seed": 7,
           "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}})
}

pub fn done() -> String {
    format!("event: done\ndata: {}\n\n", done_json())
}

pub fn error_json(message: &str) -> String {
    json!({"error": {"message": message, "type": "server_error", "code": "engine_failed", "param": null}}).to_string()
}

/// The chunks of a chat's answer, as `/v1/chat/completions` streams them.
pub fn chat_events(pieces: &[&str]) -> String {
    let chunk = |delta: Value, finish: Value| {
        let choice = json!({"index": 0, "delta": delta, "finish_reason": finish});
        let chunk = json!({"id": "c-1", "object": "chat.completion.chunk", "created": 1, "model": "smollm2",
                           "choices": [choice], "system_fingerprint": "f"});
        format!("data: {chunk}\n\n")
    };
    let mut events = chunk(json!({"role": "assistant"}), Value::Null);
    events.extend(pieces.iter().map(|piece| chunk(json!({"content": piece}), Value::Null)));
    events + &chunk(json!({}), json!("stop")) + "data: [DONE]\n\n"
}

/// `minivault` with nothing of the tester's own environment that it would look at.
pub struct Cli {
    pub command: Command,
    pub home: TempDir,
}

pub fn cli(arguments: &[&str]) -> Cli {
    let home = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_minivault"));
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.env_clear().env("HOME", home.path()).env("XDG_STATE_HOME", home.path().join("state")).env("TERM", "xterm");
    Cli { command, home }
}

/// The CLI against a daemon, to the end.
pub fn run(url: &str, arguments: &[&str]) -> Output {
    cli(arguments).command.env("MINIVAULT_URL", url).output().unwrap()
}

/// The CLI against a daemon, with something in the pipe.
pub fn run_with_input(url: &str, arguments: &[&str], input: &[u8]) -> Output {
    let mut cli = cli(arguments);
    let mut child = cli.command.env("MINIVAULT_URL", url).stdin(Stdio::piped()).spawn().unwrap();
    // A child that refuses its arguments reads nothing.
    let _ = child.stdin.take().unwrap().write_all(input);
    child.wait_with_output().unwrap()
}

/// What Ctrl-C sends.
pub fn interrupt(child: &Child) {
    signal(child, rustix::process::Signal::INT);
}

pub fn signal(child: &Child, signal: rustix::process::Signal) {
    rustix::process::kill_process(rustix::process::Pid::from_child(child), signal).unwrap();
}

/// Checks exit code and exact stdout, and that stderr tells `said` (nothing at all if empty).
#[track_caller]
pub fn check(output: &Output, code: i32, stdout: &str, said: &str) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(String::from_utf8_lossy(&output.stdout), stdout, "stdout; stderr: {stderr}");
    assert_eq!(output.status.code(), Some(code), "exit code; stderr: {stderr}");
    if said.is_empty() {
        assert_eq!(stderr, "", "stderr");
    } else {
        assert!(stderr.contains(said), "stderr lacks {said:?}: {stderr}");
    }
    assert!(!stderr.contains("panicked"), "{stderr}");
}
