//! `minivault batch` against a real daemon: killed midway and started again, it answers each request exactly once, in order.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::kit::{Daemon, PATIENCE};

fn results(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.split_inclusive('\n').filter(|line| line.ends_with('\n')).map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_batch_that_is_killed_goes_on_where_it_was() {
    let daemon = Daemon::start_as("engine = \"parrot\"", |command| {
        command.env("MINIVAULTD_ENGINES__PARROT__PACE", "0").env("MINIVAULTD_ENGINES__PARROT__QUEUE", "64");
    });
    let [input, output] = ["in.jsonl", "out.jsonl"].map(|name| daemon.folder.path().join(name));
    let requests: Vec<Value> =
        (0..1000).map(|number| json!({"prompt": format!("parrot {number}"), "custom_id": number.to_string()})).collect();
    let lines: String = requests.iter().map(|request| format!("{request}\n")).collect();
    std::fs::write(&input, lines).unwrap();
    let paths = [&input, &output].map(|path| path.to_str().unwrap());
    let arguments = ["batch", paths[0], paths[1], "--max-tokens", "8", "--temperature", "0", "--concurrency", "16"];
    let client = Path::new(env!("CARGO_BIN_EXE_minivault-echo")).with_file_name("minivault");
    let mut command = Command::new(client);
    command.args(arguments).env("MINIVAULT_URL", format!("http://{}", daemon.address)).env("HOME", daemon.folder.path());
    let mut first = command.stdin(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let begun = Instant::now();
    while results(&output).len() < 200 {
        assert!(begun.elapsed() < PATIENCE && first.try_wait().unwrap().is_none(), "it should be at work");
        std::thread::sleep(Duration::from_millis(2));
    }
    first.kill().unwrap();
    first.wait().unwrap();
    let before = results(&output);
    assert!((200..1000).contains(&before.len()), "{} lines", before.len());
    // As a machine leaves it that lost power.
    OpenOptions::new().append(true).open(&output).unwrap().write_all(b"{\"line\":").unwrap();
    let second = daemon.client(&arguments);
    assert_eq!(second.status.code(), Some(0), "{second:?}");
    let after = results(&output);
    assert_eq!(after[..before.len()], before[..], "what was there stays as it was");
    let asked: Vec<&Value> = after.iter().map(|result| &result["request"]).collect();
    assert_eq!(asked, requests.iter().collect::<Vec<_>>(), "each exactly once, in order");
    assert!(after.iter().all(|result| result["answer"]["usage"]["completion_tokens"] == 8));
    let third = daemon.client(&arguments);
    assert!(third.status.success() && results(&output) == after, "there is nothing left to do");
    // Results of other requests aren't gone on with.
    std::fs::write(&input, "\"another\"\n").unwrap();
    let other = daemon.client(&arguments);
    assert_eq!(other.status.code(), Some(2), "{other:?}");
    assert_eq!(results(&output), after);
}

#[test]
fn a_request_that_is_refused_has_its_line_and_the_others_go_on() {
    let daemon = Daemon::start("engine = \"parrot\"");
    let [input, output] = ["in.jsonl", "out.jsonl"].map(|name| daemon.folder.path().join(name));
    let chat = json!({"custom_id": "c", "method": "POST", "url": "/v1/chat/completions", "body": {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 2}});
    std::fs::write(&input, format!("\"one\"\n\n{{\"prompt\":\"two\",\"temperature\":-1}}\n{chat}\n")).unwrap();
    let answer = daemon.client(&["batch", input.to_str().unwrap(), output.to_str().unwrap(), "-n", "2", "-c", "1"]);
    assert_eq!(answer.status.code(), Some(1), "{answer:?}");
    assert!(String::from_utf8_lossy(&answer.stderr).contains("1 of 3 were refused"), "{answer:?}");
    let results = results(&output);
    assert_eq!(results.iter().map(|result| result["line"].as_u64().unwrap()).collect::<Vec<_>>(), [1, 3, 4]);
    assert!(results[0]["answer"]["response"].is_string());
    assert_eq!(results[1]["error"]["param"], "temperature");
    assert!(results[2]["answer"]["choices"][0]["message"]["content"].is_string(), "{}", results[2]);
}
