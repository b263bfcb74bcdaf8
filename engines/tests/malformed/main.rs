//! Model files that nobody's tools would write: each is refused with its reason, as an engine is opened, and what it claims is never allocated.
#![allow(clippy::unwrap_used)]

#[path = "../../../fuzz/src/allocation.rs"]
mod allocation;
mod foreign;
mod gguf;
mod safetensors;

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use allocation::measured;
use figment::Figment;
use figment::value::Value;
use minivault_engines::{EngineError, Engines, Opening};
use serde_json::json;

/// What opening an engine takes besides its files: a thread, a buffer, and a tokenizer with its regular expressions.
const OPENING: usize = 8 << 20;
/// What a pre-check takes besides the file's bytes: messages, and what a reader needs at least.
const READING: usize = 16 << 10;

/// What each test holds from its beginning to its end: another one's allocations would be counted, too.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A file's bytes, and what the refusal must say.
struct Malformation {
    what: &'static str,
    bytes: Vec<u8>,
    reason: &'static str,
}

impl Malformation {
    fn new(what: &'static str, bytes: Vec<u8>, reason: &'static str) -> Self {
        Self { what, bytes, reason }
    }

    /// A pre-check refuses it and takes no more memory than the file has bytes.
    fn check_reading<T, E: ToString>(&self, read: impl FnOnce(&[u8]) -> Result<T, E>) {
        let (outcome, peak) = measured(|| read(&self.bytes).err().map(|error| error.to_string()));
        let reason = outcome.unwrap_or_else(|| panic!("{} was read", self.what));
        assert!(reason.contains(self.reason), "{}: `{}` isn't in: {reason}", self.what, self.reason);
        assert!(peak <= self.bytes.len() + READING, "{}: {peak} bytes for a file of {}", self.what, self.bytes.len());
    }
}

/// Opens an engine of a backend as the daemon does: its configuration's table, its files looked for, its loader on its thread.
fn open(backend: &str, model: &Path) -> Result<(), EngineError> {
    let table: Value = Figment::from(figment::providers::Serialized::defaults(json!({"model": model}))).extract().unwrap();
    let prepared = Engines::builtin().prepare(backend, &table).unwrap().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(prepared.open(&Opening { name: "malformed".into(), ..Opening::default() })).map(drop)
}

/// Opening is refused with this reason, the file is named, and not much is allocated for `bytes` of them.
#[track_caller]
fn check_opening(backend: &str, model: &Path, what: &str, reason: &str, bytes: usize) {
    let (outcome, peak) = measured(|| open(backend, model));
    let error = outcome.err().unwrap_or_else(|| panic!("{backend} opened a model with {what}"));
    assert!(matches!(error, EngineError::Unavailable(_)), "{backend}, {what}: {error:?}");
    let message = error.to_string();
    assert!(message.contains(reason), "{backend}, {what}: `{reason}` isn't in: {message}");
    assert!(message.contains(&model.display().to_string()), "{backend}, {what}: the file isn't named: {message}");
    assert!(peak <= bytes + OPENING, "{backend}, {what}: {peak} bytes were in use at once for {bytes} bytes of files");
}
