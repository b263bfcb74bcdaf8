//! What the types know: their keys and defaults.

use std::collections::BTreeMap;
use std::fmt::Debug;

use minivault_engines::Engines;
use minivault_engines::candle_models::CandleConfig;
use minivault_engines::gpt2::Gpt2Config;
use minivault_engines::llama::LlamaConfig;
use minivault_engines::remote::OpenAiConfig;
use serde::de::DeserializeOwned;

use crate::kit::Setup;

/// The keys of a table: those that a mistake in it is told.
#[track_caller]
pub fn keys(table: &str, needed: &str) -> Vec<String> {
    let head = if table.is_empty() { String::new() } else { format!("[{table}]\n") };
    let error = Setup::file(&format!("{head}{needed}qqqqqqqq = 1\n")).try_load_with(&Engines::builtin()).unwrap_err().to_string();
    let (_, list) = error.split_once("its keys are: ").or_else(|| error.split_once("there are: ")).unwrap_or_else(|| panic!("{error}"));
    list.lines().next().unwrap().split(", ").map(str::to_owned).collect()
}

/// A backend's keys with their defaults in Rust's notation; `None` for what may be left out.
pub fn defaults(backend: &str) -> BTreeMap<String, Option<String>> {
    match backend {
        "gpt2" => fields::<Gpt2Config>(),
        "llama-cpp" => fields::<LlamaConfig>(),
        "candle" => fields::<CandleConfig>(),
        "openai" => fields::<OpenAiConfig>(),
        other => panic!("no type is known of the backend {other}; add it here"),
    }
}

fn fields<C: DeserializeOwned + Debug>() -> BTreeMap<String, Option<String>> {
    let config: C = serde_json::from_value(serde_json::json!({"model": ""})).unwrap();
    let shown = format!("{config:#?}");
    let fields = shown.lines().filter_map(|line| line.strip_prefix("    ")?.strip_suffix(',')?.split_once(": "));
    fields.map(|(key, value)| (key.to_owned(), (value != "None").then(|| value.to_owned()))).collect()
}

/// Whether Rust's and TOML's notation mean the same value.
pub fn same(rust: &str, toml: &str) -> bool {
    let number = |text: &str| text.parse::<f64>().ok();
    match (number(rust), number(toml)) {
        (Some(one), Some(other)) => one.to_bits() == other.to_bits(),
        _ => rust.to_lowercase() == toml.replace('"', ""),
    }
}
