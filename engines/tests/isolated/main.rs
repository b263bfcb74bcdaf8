//! Engines in processes of their own: this test's program is started again as the process.
#![cfg(unix)]
#![allow(clippy::unwrap_used)]

mod death;
mod fragile;
mod sameness;

use std::sync::Arc;
use std::time::Duration;

use figment::value::Value;
use minivault_engines::error::Result;
use minivault_engines::isolated::{self, Isolation};
use minivault_engines::registry::Prepared;
use minivault_engines::testkit::{Script, ScriptedBackend};
use minivault_engines::{Engines, Opening, TextEngine};

use fragile::Fragile;

/// Longer than anything here takes, so that a hang becomes a failure.
const PATIENCE: Duration = Duration::from_secs(60);

fn engines() -> Engines {
    let scripted = ScriptedBackend { script: Script::default(), queue: 4 };
    let narrow = Script { limits: minivault_engines::model::Limits { step_tokens: 5, ..Script::default().limits }, ..Script::default() };
    Engines::builtin()
        .with("scripted", scripted)
        .with("narrow", ScriptedBackend { script: narrow, queue: 4 })
        .with("fragile", Fragile { dies_loading: false })
        .with("stillborn", Fragile { dies_loading: true })
}

/// Not a test: what the process of an engine runs.
#[test]
#[ignore = "it is the process of an engine"]
fn engine_process() {
    isolated::serve(&engines()).unwrap();
}

/// How this program becomes the process of an engine.
fn isolation() -> Isolation {
    Isolation::of_this_program(["--exact", "engine_process", "--ignored", "--nocapture"]).unwrap()
}

fn prepared(backend: &str, table: &serde_json::Value) -> Prepared {
    let table: Value = figment::Figment::from(figment::providers::Serialized::defaults(table)).extract().unwrap();
    engines().prepare(backend, &table).unwrap().unwrap()
}

fn opening() -> Opening {
    Opening { name: "subject".into(), ..Opening::default() }
}

/// An engine in a process of its own.
async fn open(backend: &str, table: &serde_json::Value) -> Result<Arc<dyn TextEngine>> {
    prepared(backend, table).isolated(isolation()).open(&opening()).await
}

/// One whose prompts can kill it.
async fn fragile() -> Arc<dyn TextEngine> {
    open("fragile", &serde_json::json!({})).await.unwrap()
}

/// A model file from the environment; `None` and a printed reason where there is none.
#[cfg(feature = "llama-cpp")]
fn given(variable: &str) -> Option<std::path::PathBuf> {
    let path = std::env::var_os(variable).filter(|value| !value.is_empty()).map(std::path::PathBuf::from);
    if path.is_none() {
        println!("skipped: {variable} is not set");
    }
    path
}
