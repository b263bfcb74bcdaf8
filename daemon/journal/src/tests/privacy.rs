//! What may not be recorded isn't.

use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};

use crate::tests::kit::{Log, record, rotating};
use crate::{Kept, Options, Record, Recording};

/// A record with a secret wherever somebody can write one.
fn telling() -> Record {
    let mut told = record("an-id");
    told.prompt = "tell secret-1".into();
    told.response = "here is secret-2".into();
    told.tool_calls = vec![json!({"function": {"name": "secret-3", "arguments": "{}"}})];
    told.error = Some("no secret-4".into());
    told.request = json!({
        "messages": [{"role": "user", "content": "secret-5"}],
        "prompt_tokens": [4_000_000_711_u32],
        "stop": ["secret-6"],
        "response_format": {"properties": {"secret-7": {}}},
        "max_tokens": 3,
        "temperature": 0.5,
        "echo": false,
    });
    told.prompt_token_ids = vec![4_000_000_711_u32];
    told.response_token_ids = vec![4_000_000_712];
    told
}

async fn written(log: &Log, options: Options) -> (String, Value) {
    let journal = log.open(&options);
    journal.reserve().unwrap().write(telling()).wait().await.unwrap();
    drop(journal);
    let text = std::fs::read_to_string(&log.path).unwrap();
    let line = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    (text, line)
}

#[track_caller]
fn tells_nothing(text: &str) {
    assert!(!text.contains("secret") && !text.contains("40000007"), "{text}");
}

#[tokio::test]
async fn hashes_stand_in_the_place_of_texts() {
    let log = Log::new();
    let options = Options { recording: Recording::Hash, ..Options::default() };
    let (text, first) = written(&log, options.clone()).await;
    tells_nothing(&text);
    assert_eq!((&first["record"], &first["request"]["max_tokens"]), (&json!("hash"), &json!(3)));
    for field in [&first["prompt"], &first["request"]["messages"], &first["token_hashes"]["response"]] {
        assert!(field.as_str().is_some_and(|hash| hash.starts_with("blake3:") && hash.len() == 71), "{field}");
    }
    let key = log.folder.path().join("log.jsonl.key");
    assert_eq!(std::fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
    let second = written(&log, options.clone()).await.1;
    assert_eq!(second["prompt"], first["prompt"], "the same text, the same hash, also after a restart");
    let elsewhere = written(&Log::new(), options).await.1;
    assert_ne!(elsewhere["prompt"], first["prompt"], "with another key it is another one");
}

#[tokio::test]
async fn meta_tells_neither_texts_nor_hashes() {
    let log = Log::new();
    let (text, line) = written(&log, Options { recording: Recording::Meta, ..Options::default() }).await;
    tells_nothing(&text);
    assert!(!text.contains("blake3:"));
    assert_eq!((&line["record"], &line["request"]), (&json!("meta"), &json!({"max_tokens": 3, "temperature": 0.5, "echo": false})));
    assert_eq!(line["seed"], 7);
}

#[tokio::test]
async fn off_touches_no_file() {
    let log = Log::new();
    let journal = log.open(&Options { recording: Recording::Off, ..rotating(1) });
    let written = journal.reserve().unwrap().write(record("a")).wait().await.unwrap();
    assert_eq!(written, Kept::Unlogged);
    drop(journal);
    assert_eq!(log.files(), [] as [&str; 0]);
}

#[tokio::test]
async fn one_interaction_can_be_left_out() {
    let log = Log::new();
    let journal = log.open(&Options::default());
    assert_eq!(journal.unlogged().write(record("a")).wait().await.unwrap(), Kept::Unlogged);
    drop(journal);
    assert_eq!(log.ids().len(), 0);
}

#[tokio::test]
async fn numbers_that_somebody_wrote_are_blackened_and_settings_are_not() {
    let log = Log::new();
    let journal = log.open(&Options { redact: vec![regex::Regex::new("[0-9]{3,}").unwrap()], ..Options::default() });
    let mut told = record("an-id");
    told.request = json!({"max_tokens": 1000, "prompt_tokens": [12345], "response_format": {"const": 99887766, "minimum": 12.5}});
    journal.reserve().unwrap().write(told.clone()).wait().await.unwrap();
    told.request = json!({"max_tokens": 1000, "prompt_tokens": [12345]});
    journal.reserve().unwrap().write(told).wait().await.unwrap();
    drop(journal);
    let text = std::fs::read_to_string(&log.path).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines[0]["request"], json!({"max_tokens": 1000, "response_format": {"const": "[redacted]", "minimum": 12.5}}));
    assert_eq!(
        (&lines[1]["redacted"], &lines[1]["request"]["prompt_tokens"]),
        (&Value::Null, &json!([12345])),
        "a token's number is no text"
    );
}

#[tokio::test]
async fn a_request_that_is_no_object_is_all_text() {
    for (recording, expected) in [(Recording::Meta, None), (Recording::Hash, Some("blake3:"))] {
        let log = Log::new();
        let journal = log.open(&Options { recording, ..Options::default() });
        let mut told = record("an-id");
        told.request = json!(["secret"]);
        journal.reserve().unwrap().write(told).wait().await.unwrap();
        drop(journal);
        let line: Value = serde_json::from_str(std::fs::read_to_string(&log.path).unwrap().trim()).unwrap();
        assert_eq!(line["request"].as_str().map(|hash| &hash[..7]), expected, "{line}");
    }
}

#[tokio::test]
async fn what_matches_is_blackened_everywhere() {
    let log = Log::new();
    let redact = vec![regex::Regex::new("secret-[0-9]").unwrap()];
    let (text, line) = written(&log, Options { redact, ..Options::default() }).await;
    tells_nothing(&text);
    assert_eq!((&line["prompt"], &line["redacted"]), (&json!("tell [redacted]"), &json!(true)));
    assert_eq!(line["request"]["stop"], json!(["[redacted]"]));
    let redact = vec![regex::Regex::new("something else").unwrap()];
    let line = written(&log, Options { redact, ..Options::default() }).await.1;
    assert_eq!(
        (&line["redacted"], &line["prompt_token_ids"]),
        (&Value::Null, &json!([4_000_000_711_u32])),
        "untouched, it can be replayed"
    );
}
