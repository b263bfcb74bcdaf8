//! `minivaultd eval`, on scripted engines and on real ones.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use figment::value::Value;
use minivault_daemon::arguments::EvalArguments;
use minivault_daemon::config::{EngineSettings, KeepAlive};
use minivault_daemon::eval::evaluate;
use minivault_engines::testkit::{SCRIPT, Script, ScriptedBackend, ScriptedConfig};
use minivault_engines::{Backend, EngineError, Engines, Opening, TextEngine};

/// A scripted engine that, taken exactly, recites another text.
struct Approximate;

#[async_trait]
impl Backend for Approximate {
    type Config = String;

    fn reference(&self, config: &String) -> Option<String> {
        (config != SCRIPT).then(|| SCRIPT.to_owned())
    }

    async fn open(&self, opening: &Opening, config: &String) -> Result<Arc<dyn TextEngine>, EngineError> {
        let backend = ScriptedBackend { script: Script { text: config.clone(), ..Script::default() }, queue: 1 };
        backend.open(opening, &ScriptedConfig::default()).await
    }
}

fn settings(engines: &Engines, backend: &str, table: impl Into<Value>) -> EngineSettings {
    EngineSettings {
        backend: backend.into(),
        fallback: None,
        load: None,
        keep_alive: KeepAlive::Forever,
        tags: Vec::new(),
        isolate: false,
        memory_limit: None,
        load_timeout: Duration::from_secs(60),
        prepared: engines.prepare(backend, &table.into()).unwrap().unwrap(),
        opening: Opening { name: backend.into(), ..Opening::default() },
        table: Default::default(),
    }
}

fn approximate(name: &str, text: &str) -> (String, EngineSettings) {
    let engines = Engines::none().with("approximate", Approximate);
    let mut settings = settings(&engines, "approximate", text);
    settings.opening.name = name.to_owned();
    (name.to_owned(), settings)
}

fn arguments(file: &Path) -> EvalArguments {
    EvalArguments { engine: "one".into(), file: file.into(), against: None, json: false, window: None, limit: None }
}

fn text(text: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    file
}

#[tokio::test]
async fn an_exact_engine_is_only_scored() {
    let engines = BTreeMap::from([approximate("one", SCRIPT)]);
    let file = text(&SCRIPT.repeat(20));
    let report = evaluate(&engines, &EvalArguments { window: Some(100), limit: Some(350), ..arguments(file.path()) }).await.unwrap();
    assert_eq!((report.tokens, report.window, report.windows, report.scored), (350, 100, 3, 150));
    assert!(report.engine.perplexity < 2.0, "it knows the text by heart: {report}");
    assert!(report.reference.is_none() && report.comparison.is_none());
}

#[tokio::test]
async fn the_backend_says_what_is_exact() {
    let engines = BTreeMap::from([approximate("one", &SCRIPT.replace("Zwölf", "Elfen"))]);
    let file = text(&SCRIPT.repeat(10));
    let report = evaluate(&engines, &arguments(file.path())).await.unwrap();
    let (reference, comparison) = (report.reference.unwrap(), report.comparison.unwrap());
    assert_eq!(reference.name, "one (exact)");
    assert!(reference.perplexity < report.engine.perplexity);
    assert!(comparison.top1_agreement > 0.9 && comparison.top1_agreement < 1.0, "{comparison:?}");
    assert!(comparison.kl_mean > 0.0 && comparison.kl_max >= comparison.kl_p99, "{comparison:?}");
}

#[tokio::test]
async fn an_engine_against_its_equal_is_no_distance_apart() {
    let engines = BTreeMap::from([approximate("one", SCRIPT), approximate("two", SCRIPT)]);
    let file = text(SCRIPT);
    let report = evaluate(&engines, &EvalArguments { against: Some("two".into()), ..arguments(file.path()) }).await.unwrap();
    let comparison = report.comparison.unwrap();
    assert_eq!((comparison.top1_agreement, comparison.kl_max), (1.0, 0.0));
    assert_eq!((report.windows, report.window), (1, SCRIPT.len()), "a short text is one window");
}

#[tokio::test]
async fn what_cannot_be_evaluated_is_told() {
    let engines = BTreeMap::from([approximate("one", SCRIPT)]);
    let (long, short) = (text(SCRIPT), text("a"));
    let check = async |arguments: EvalArguments, expected: &str| {
        let error = evaluate(&engines, &arguments).await.unwrap_err();
        assert_eq!(format!("{error:#}"), expected);
    };
    check(EvalArguments { engine: "none".into(), ..arguments(long.path()) }, "there is no engine `none`; there are one").await;
    check(EvalArguments { against: Some("two".into()), ..arguments(long.path()) }, "there is no engine `two`; there are one").await;
    check(arguments(Path::new("nowhere")), "nowhere can't be read: No such file or directory (os error 2)").await;
    check(arguments(short.path()), "the text has 1 tokens; it takes 2 at least, one to predict the other from").await;
    check(EvalArguments { window: Some(513), ..arguments(long.path()) }, "--window is 513; it must be from 2 to 512, the engines' context")
        .await;
}

#[tokio::test]
#[cfg(feature = "llama-cpp")]
async fn gpt2_and_llama_cpp_agree_on_the_same_weights() {
    let Some(model) = std::env::var("MINIVAULT_TEST_TAROTBLE").ok().filter(|path| !path.is_empty()) else {
        println!("skipped: MINIVAULT_TEST_TAROTBLE is not set");
        return;
    };
    let table = |model: String| figment::value::Dict::from([("model".to_owned(), model.into())]);
    let engines = BTreeMap::from([
        ("one".to_owned(), settings(&Engines::builtin(), "gpt2", table(model.clone()))),
        ("two".to_owned(), settings(&Engines::builtin(), "llama-cpp", table(format!("{model}/tarotble-f32.gguf")))),
    ]);
    let file = text(&"The best thing to someone today you could make the mistake of saying something. ".repeat(20));
    let report = evaluate(&engines, &EvalArguments { against: Some("two".into()), ..arguments(file.path()) }).await.unwrap();
    assert_eq!(report.window, 64, "the model's context");
    let comparison = report.comparison.unwrap();
    assert!(comparison.kl_mean < 1e-5 && comparison.top1_agreement > 0.99, "{comparison:?}");
}
