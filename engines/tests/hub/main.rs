//! The ways to model files, against a hub on this machine, a cache in a temporary folder, and the real pip.
#![allow(clippy::unwrap_used)]

mod answers;
mod faults;
mod folders;
mod processes;
mod server;
mod settings;
mod wheels;

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use minivault_engines::EngineError;
use minivault_engines::hub::progress::{Progress, Transfer};
use minivault_engines::hub::{Hub, ModelSource, Settings};

/// A hub with everything below `home`, and impatient.
fn settings(endpoint: &str, home: &Path) -> Settings {
    let variables = [("HF_ENDPOINT", endpoint.into()), ("HOME", home.as_os_str().to_owned())];
    let lookup = |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone());
    let mut settings = Settings::from_lookup(lookup).unwrap();
    settings.backoff = Duration::from_millis(1);
    settings.read_timeout = Duration::from_secs(20);
    settings
}

fn hub(settings: Settings) -> Hub {
    Hub::new(settings, Arc::new(Notes::default()))
}

fn source(model: &str, base: &Path) -> ModelSource {
    ModelSource { model: model.into(), base: base.to_path_buf(), ..ModelSource::default() }
}

/// The message of the error for which nothing but the configuration or the network is to blame.
fn unavailable<T: std::fmt::Debug>(result: Result<T, EngineError>) -> String {
    match result {
        Err(EngineError::Unavailable(message)) => message,
        other => panic!("expected Unavailable, got {other:?}"),
    }
}

#[track_caller]
fn assert_says(message: &str, parts: &[&str]) {
    for part in parts {
        assert!(message.contains(part), "`{part}` is missing in:\n{message}");
    }
}

/// Bytes that don't repeat with any power of two, so that a shifted part shows.
fn content(length: usize, seed: u32) -> Vec<u8> {
    (0..length as u32).map(|index| (index.wrapping_mul(2_654_435_761).wrapping_add(seed) >> 13) as u8).collect()
}

/// Keeps what it is told.
#[derive(Debug, Default, Clone)]
struct Notes(Arc<Mutex<Vec<String>>>);

impl Notes {
    fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

impl Progress for Notes {
    fn note(&self, line: &str) {
        self.0.lock().unwrap().push(line.to_owned());
    }

    fn begin(&self, name: &str, total: Option<u64>) -> Box<dyn Transfer> {
        self.note(&format!("begin {name} {total:?}"));
        Box::new(Noted { notes: self.clone(), name: name.to_owned() })
    }
}

struct Noted {
    notes: Notes,
    name: String,
}

impl Transfer for Noted {
    fn reached(&mut self, _bytes: u64) {}

    fn finished(self: Box<Self>) {
        self.notes.note(&format!("finished {}", self.name));
    }
}
