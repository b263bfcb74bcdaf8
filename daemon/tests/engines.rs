//! `minivaultd --engine NAME`: the same daemon on GPT-2 and on llama.cpp, with nothing rebuilt, over real HTTP.
#![cfg(feature = "llama-cpp")]
#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(60);
const TEXT: &str = "The best thing to someone today you could make the mistake of saying something that turns them against you.\nThere is";

struct Daemon {
    child: Child,
    address: String,
}

impl Daemon {
    fn start(folder: &Path, engine: &str) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_minivaultd"));
        command.args(["--engine", engine, "--listen", "127.0.0.1:0"]).current_dir(folder).stdin(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
        let address = lines.find_map(|line| line.split_whitespace().find_map(|word| word.strip_prefix("http://").map(str::to_owned)));
        lines.find(|line| line.contains("Ready")).expect("the daemon gets ready");
        // Whatever else it says must find a reader.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, address: address.unwrap() }
    }

    fn post(&self, path: &str, body: &Value) -> String {
        let body = body.to_string();
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let length = body.len();
        // HTTP/1.0: no chunks in the answer.
        let head = format!("POST {path} HTTP/1.0\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n");
        stream.write_all(format!("{head}{body}").as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.0 200"), "{answer}");
        body.to_owned()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The pieces of a stream, joined.
fn joined(events: &str) -> String {
    let data = events.lines().filter_map(|line| line.strip_prefix("data: ")).map(|data| serde_json::from_str::<Value>(data).unwrap());
    data.filter_map(|data| data["token"].as_str().map(str::to_owned)).collect()
}

#[test]
fn both_engines_tell_the_same_tale_whole_and_in_pieces() {
    let Some(model) = std::env::var_os("MINIVAULT_TEST_TAROTBLE").filter(|path| !path.is_empty()) else {
        println!("skipped: MINIVAULT_TEST_TAROTBLE is not set");
        return;
    };
    let model = model.to_str().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let configuration = format!(
        "engine = \"safetensors\"\n[engines.safetensors]\nbackend = \"gpt2\"\nmodel = \"{model}\"\n\
         [engines.gguf]\nbackend = \"llama-cpp\"\nmodel = \"{model}/tarotble-f32.gguf\"\nthreads = 1\n"
    );
    std::fs::write(folder.path().join("config.toml"), configuration).unwrap();
    for (number, engine) in (0..).zip(["safetensors", "gguf"]) {
        let daemon = Daemon::start(folder.path(), engine);
        let greedy = json!({"prompt": "The best thing", "max_tokens": 24, "temperature": 0, "repetition_penalty": 1, "echo": true});
        let whole: Value = serde_json::from_str(&daemon.post("/generate", &greedy)).unwrap();
        assert_eq!((&whole["response"], &whole["model"]), (&json!(TEXT), &json!(engine)));
        assert_eq!(joined(&daemon.post("/stream-generate", &greedy)), TEXT);

        // A stop string across tokens, after a prompt with an emoji, sampled.
        let sampled = json!({"prompt": "🥊 The best thing", "max_tokens": 30, "temperature": 1.5, "seed": 11, "stop": "never this"});
        let whole: Value = serde_json::from_str(&daemon.post("/generate", &sampled)).unwrap();
        let text = whole["response"].as_str().unwrap();
        assert_eq!(joined(&daemon.post("/stream-generate", &sampled)), text);
        let middle: String = text.chars().skip(text.chars().count() / 3).take(9).collect();
        let mut stopped = sampled.clone();
        stopped["stop"] = json!([middle]);
        let expected = &text[..text.find(&middle).unwrap()];
        assert_eq!(joined(&daemon.post("/stream-generate", &stopped)), expected);

        let log = std::fs::read_to_string(folder.path().join("logs/log.jsonl")).unwrap();
        let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 5 * (number + 1), "each request left its line");
        assert!(log.starts_with("{\"timestamp\":"));
        assert_eq!(lines.last().unwrap()["finish_reason"], "stop");
    }
}
