//! Records, logs, and what stands in them afterwards.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use flate2::read::MultiGzDecoder;
use serde_json::Value;

use crate::chain::{START, follow};
use crate::disk::Disk;
use crate::segment::{Kind, Segment, segments};
use crate::{Computation, Journal, JournalError, Kept, Options, Outcome, Record, Recording, Rotate, TokenUsage};

/// Longer than anything here takes, so that a hang becomes a failure.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub fn record(id: &str) -> Record {
    Record {
        timestamp: "2026-01-02T03:04:05.678901234Z".parse().unwrap(),
        prompt: "a".into(),
        response: "b\n".into(),
        tool_calls: Vec::new(),
        id: id.into(),
        replay_of: None,
        seq: 0,
        endpoint: "/generate".into(),
        key: None,
        model: "m".into(),
        backend: "scripted".into(),
        fingerprint: "f".into(),
        determinism: "bitwise".into(),
        computation: Computation::default(),
        seed: 7,
        request: serde_json::json!({"max_tokens": 3}),
        prompt_token_ids: vec![1],
        response_token_ids: vec![2, 3],
        usage: TokenUsage::default(),
        finish_reason: Outcome::Stop,
        status: 200,
        error: None,
        ttft_ms: Some(1.5),
        duration_ms: 2.0,
        record: Recording::Full,
        redacted: false,
        token_hashes: None,
    }
}

/// A folder with a log in it.
pub struct Log {
    pub folder: tempfile::TempDir,
    pub path: PathBuf,
}

impl Log {
    pub fn new() -> Self {
        // In memory where that can be had: waiting for a disk thousands of times takes minutes and shows nothing more.
        let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let path = folder.path().join("log.jsonl");
        Self { folder, path }
    }

    pub fn open(&self, options: &Options) -> Journal {
        Journal::open(&self.path, options).unwrap()
    }

    pub fn open_on(&self, disk: Arc<dyn Disk>, options: &Options) -> Result<Journal, JournalError> {
        Journal::open_on(disk, &self.path, options)
    }

    pub fn files(&self) -> Vec<String> {
        let names = std::fs::read_dir(self.folder.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = names.collect();
        names.sort();
        names
    }

    /// How often each id stands in the log; every line must be whole, chained and numbered without a gap.
    pub fn ids(&self) -> BTreeMap<String, usize> {
        ids_of(&self.path)
    }
}

/// See [`Log::ids`].
#[track_caller]
pub fn ids_of(log: &Path) -> BTreeMap<String, usize> {
    let (mut ids, mut chain, mut seq) = (BTreeMap::new(), START, 0);
    for segment in segments(log).unwrap() {
        let text = text_of(&segment);
        assert!(text.is_empty() || text.ends_with('\n'), "a whole last line in {}", segment.path.display());
        for line in text.lines() {
            let value: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
            let followed = follow(&chain, line.as_bytes());
            assert_eq!(followed.told, Some(followed.computed), "the chain at line {} of {}", seq + 1, segment.path.display());
            assert_eq!(value["seq"], seq + 1, "{line}");
            (chain, seq) = (followed.computed, seq + 1);
            *ids.entry(value["id"].as_str().unwrap().to_owned()).or_default() += 1;
        }
    }
    ids
}

pub fn text_of(segment: &Segment) -> String {
    let bytes = std::fs::read(&segment.path).unwrap();
    if segment.kind != Kind::Compressed {
        return String::from_utf8(bytes).unwrap();
    }
    let mut text = String::new();
    MultiGzDecoder::new(&*bytes).read_to_string(&mut text).unwrap();
    text
}

/// Options under which every few lines make a segment.
pub fn rotating(bytes: u64) -> Options {
    Options { rotate: Rotate { bytes: Some(bytes), age: None }, ..Options::default() }
}

/// Writes a record with this id and waits for it.
pub async fn write(journal: &Journal, id: &str) -> Result<Kept, JournalError> {
    let place = journal.reserve()?;
    tokio::time::timeout(PATIENCE, place.write(record(id)).wait()).await.expect("an answer in time")
}

/// Waits until something holds.
pub async fn until(what: &str, holds: impl Fn() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "{what}, in time");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
