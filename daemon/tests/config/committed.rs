//! The repository's config.toml says what holds without it.

use std::fs;
use std::path::Path;

use minivault_daemon::config::Report;
use minivault_engines::Engines;

use crate::kit::Setup;

fn committed() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../config.toml")).unwrap()
}

fn values(report: &Report) -> Vec<(&str, &str)> {
    report.entries.iter().map(|entry| (entry.key.as_str(), entry.value.as_str())).collect()
}

#[test]
fn the_committed_file_has_every_key_with_its_default() {
    let setup = Setup::new();
    let built_in = setup.load().report;
    let setup = setup.with_file("config.toml", &committed());
    let written = setup.load().report;
    assert_eq!(values(&written), values(&built_in));
    for entry in &written.entries {
        assert!(entry.origin.starts_with("config.toml:"), "{} isn't in config.toml", entry.key);
    }
}

#[test]
fn every_key_of_the_committed_file_is_commented() {
    let text = committed();
    let lines: Vec<&str> = text.lines().collect();
    let mut explained = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        let Some((key, _)) = line.split_once(" = ").filter(|_| !line.starts_with('#')) else { continue };
        // The second engine has the keys of the first one.
        let above = if index == 0 { "" } else { lines[index - 1] };
        assert!(above.starts_with('#') || explained.contains(&key) || key == "backend", "{key} has no comment in line {}", index + 1);
        explained.push(key);
    }
    assert!(explained.len() > 15, "{explained:?}");
}

#[test]
fn every_key_of_the_built_in_backends_stands_in_the_committed_file() {
    for backend in Engines::builtin().names() {
        let table = figment::value::Value::from(figment::value::Dict::from([("no_such_key".to_owned(), 1.into())]));
        let error = Engines::builtin().prepare(backend, &table).unwrap().err().unwrap();
        let figment::error::Kind::UnknownField(_, keys) = error.kind else { panic!("{error}") };
        let text = committed();
        for key in keys {
            let stands = |start: &str| text.lines().any(|line| line.starts_with(&format!("{start}{key} = ")));
            assert!(stands("") || stands("# "), "{key} of {backend} is missing");
        }
    }
}

#[test]
fn a_backends_own_check_is_told_with_its_place() {
    let text = "[engines.distilgpt2]\nslots = 0\n";
    let error = Setup::file(text).try_load_with(&Engines::builtin()).unwrap_err().to_string();
    assert!(error.contains("config.toml") && error.contains("`slots` is 0; it must be from 1 to 256"), "{error}");
}

#[test]
fn the_real_backends_accept_the_defaults() {
    let loaded = Setup::new().try_load_with(&Engines::builtin()).unwrap();
    assert_eq!(loaded.settings.engines["distilgpt2"].backend, "gpt2");
    let smollm2 = if cfg!(feature = "llama-cpp") { "llama-cpp" } else { "candle" };
    assert_eq!(loaded.settings.engines["smollm2"].backend, smollm2);
}

#[test]
fn the_committed_file_is_accepted_by_the_real_backends() {
    let loaded = Setup::file(&committed()).try_load_with(&Engines::builtin()).unwrap();
    assert_eq!(loaded.settings.engines.keys().collect::<Vec<_>>(), ["distilgpt2", "smollm2"]);
}

#[test]
#[cfg(feature = "llama-cpp")]
fn threads_are_a_word_or_a_number() {
    let load = |threads: &str| Setup::file(&format!("[engines.smollm2]\nthreads = {threads}\n")).try_load_with(&Engines::builtin());
    for threads in ["\"auto\"", "2", "\"2\""] {
        assert!(load(threads).is_ok(), "{threads}");
    }
    for threads in ["0", "\"all\"", "1.5"] {
        let error = load(threads).unwrap_err().to_string();
        let expected = format!("config.toml:2:11: engines.smollm2.threads is {threads}; it must be \"auto\" or a whole number, 1 or more");
        assert_eq!(error, expected);
    }
    let setup = Setup::new().variable("MINIVAULTD_ENGINES__SMOLLM2__THREADS", "2");
    assert!(setup.try_load_with(&Engines::builtin()).is_ok());
}
