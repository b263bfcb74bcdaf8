//! What stands where a log should be when a daemon starts: no whole line changes, and the log goes on, or stays as it is.

use std::path::Path;
use std::sync::OnceLock;

use minivault_journal::reading::{Filter, LogReader, PageLimits};
use minivault_journal::{Journal, JournalError, Kept, Options, Record};
use serde_json::json;
use tokio::runtime::{Builder, Runtime};

use super::input::Input;

thread_local! {
    static RUNTIME: Runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
}

/// A sound log with changes, with anything behind it, or no log at all.
pub fn check(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let kind = input.below(3);
    let is_changed = kind == 0;
    let before = match kind {
        0 => input.changed(sound()),
        1 => {
            let cut = input.below(sound().len() + 1);
            [&sound()[..cut], input.rest()].concat()
        }
        _ => input.rest().to_vec(),
    };
    let folder = folder();
    let path = folder.path().join("log.jsonl");
    std::fs::write(&path, &before).expect("a log");
    let reader = LogReader::new(&path);
    let fault = reader.verify(|| true).expect("a log that can be read").fault;
    if before == sound() {
        assert!(fault.is_none(), "{fault:?}");
    } else if is_changed && before.len() == sound().len() {
        assert!(fault.is_some(), "nobody saw a change");
    }
    match Journal::open(&path, &Options::default()) {
        Ok(journal) => {
            let written = write(&journal, "next");
            assert!(matches!(written, Ok(Kept::Line(_))), "{written:?}");
            drop(journal);
            let after = read(&path);
            let common = before.iter().zip(&after).take_while(|(one, other)| one == other).count();
            let end_of_lines = before[..common].iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
            assert!(after[end_of_lines..].starts_with(b"{") && after.ends_with(b"\n"), "only what isn't a whole line may go");
        }
        Err(JournalError::NotALog { .. }) => assert_eq!(read(&path), before, "what isn't a log stays"),
        Err(other) => panic!("{other}"),
    }
    reader.verify(|| true).expect("a log that can be read");
    reader.page(&Filter::default(), PageLimits::default()).expect("a log that can be read");
    reader.stats(&Filter::default(), || true).expect("a log that can be read");
}

/// A log of four lines.
fn sound() -> &'static [u8] {
    static SOUND: OnceLock<Vec<u8>> = OnceLock::new();
    SOUND.get_or_init(|| {
        let folder = folder();
        let path = folder.path().join("log.jsonl");
        let journal = Journal::open(&path, &Options::default()).expect("a new log");
        for id in ["a", "b", "c", "d"] {
            write(&journal, id).expect("a line");
        }
        drop(journal);
        read(&path)
    })
}

fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).expect("a log")
}

/// In memory where that can be had: waiting for a disk shows nothing more.
fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a folder")
}

fn write(journal: &Journal, id: &str) -> Result<Kept, JournalError> {
    let record = json!({
        "timestamp": "2026-01-02T03:04:05.678901234Z", "prompt": "a", "response": "b\n", "tool_calls": [], "id": id, "replay_of": null,
        "seq": 0, "endpoint": "/generate", "key": null, "model": "m", "backend": "scripted", "fingerprint": "f", "determinism": "bitwise",
        "computation": {"version": "", "dtype": "", "kernel": "", "threads": 1}, "seed": 7, "request": {"max_tokens": 3},
        "prompt_token_ids": [1], "response_token_ids": [2, 3], "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3},
        "finish_reason": "stop", "status": 200, "error": null, "ttft_ms": 1.5, "duration_ms": 2.0, "record": "full", "redacted": false,
    });
    let record: Record = serde_json::from_value(record).expect("a record");
    let place = journal.reserve()?;
    RUNTIME.with(|runtime| runtime.block_on(place.write(record).wait()))
}
