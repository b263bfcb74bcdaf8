//! `/health`, `/ready`, `/v1/models`, and which engine answers.

use std::sync::Arc;

use axum::http::StatusCode;
use minivault_daemon::engine_table::EngineTable;
use minivault_engines::testkit::{Fault, Gate, Script, ScriptedConfig};
use minivault_engines::{Backend, Engines, Opening, TextEngine};
use serde_json::json;

use crate::support::{Daemon, Engine, PATIENCE, json_of, settings_of};

fn broken() -> Script {
    Script { fault: Some(Fault::DoesNotLoad), ..Script::default() }
}

#[tokio::test]
async fn the_daemon_is_alive_and_ready() {
    let daemon = Daemon::reciting("abc").await;
    let (status, health) = daemon.get("/health").await;
    assert_eq!((status, &health["status"]), (StatusCode::OK, &json!("ok")));
    assert_eq!(daemon.get("/ready").await, (StatusCode::OK, json!({"status": "ready", "engine": "scripted"})));
}

#[tokio::test]
async fn models_are_listed_with_the_default_first() {
    let daemon = Daemon::with(vec![Engine::new("zebra", Script::default()), Engine::new("ant", Script::default())]).await;
    let (_, list) = daemon.get("/v1/models").await;
    let models = list["data"].as_array().unwrap();
    assert_eq!((&list["object"], &models[0]["id"], &models[1]["id"]), (&json!("list"), &json!("zebra"), &json!("ant")));
    let zebra = &models[0]["minivault"];
    assert_eq!((&zebra["default"], &zebra["state"], &models[1]["minivault"]["state"]), (&json!(true), &json!("ready"), &json!("idle")));
    assert_eq!((&zebra["loaded"]["determinism"], &zebra["loaded"]["same_bytes"]["load"]), (&json!("bitwise"), &json!(true)));
    assert_eq!(zebra["loaded"]["same_bytes"]["cpu_kind"], json!(false));
}

#[tokio::test]
async fn a_named_engine_is_opened_when_it_is_first_asked() {
    let daemon = Daemon::with(vec![Engine::new("zebra", Script::default()), Engine::new("ant", Script::default())]).await;
    let (status, answer) = daemon.ask("/generate", &json!({"prompt": "x", "model": "ant"})).await;
    assert_eq!((status, &answer["model"]), (StatusCode::OK, &json!("ant")));
    assert_eq!(daemon.get("/v1/models").await.1["data"][1]["minivault"]["state"], "ready");
}

#[tokio::test]
async fn an_alias_is_answered_by_the_engine_it_stands_for() {
    let engines = || (Engine::new("zebra", Script::default()), Engine::new("ant", Script::default()));
    let (zebra, ant) = engines();
    let daemon = Daemon::with(vec![zebra, Engine { aliases: &["gpt-4o"], ..ant }]).await;
    let (status, answer) = daemon.ask("/generate", &json!({"prompt": "x", "model": "gpt-4o"})).await;
    assert_eq!((status, &answer["model"]), (StatusCode::OK, &json!("ant")));
    let (status, answer) = daemon.ask("/generate", &json!({"prompt": "x", "model": "gpt-4"})).await;
    let message = answer["error"]["message"].as_str().unwrap();
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert!(message.ends_with("there are zebra, ant, gpt-4o; did you mean `gpt-4o`?"), "{message}");

    let (zebra, ant) = engines();
    let daemon = Daemon::with(vec![zebra, Engine { aliases: &["*"], ..ant }]).await;
    let asked = async |model: &str| daemon.ask("/generate", &json!({"prompt": "x", "model": model})).await.1["model"].clone();
    assert_eq!((asked("zebra").await, asked("whatever").await), (json!("zebra"), json!("ant")));
}

#[tokio::test]
async fn a_default_that_is_loading_is_503() {
    let daemon = Daemon::unopened(vec![Engine::new("scripted", Script::default())], 4);
    assert_eq!(daemon.get("/ready").await, (StatusCode::SERVICE_UNAVAILABLE, json!({"status": "loading", "engine": "scripted"})));
}

#[tokio::test]
async fn a_fallback_answers_loudly() {
    let mut first = Engine::new("first", broken());
    first.fallback = Some("second");
    let daemon = Daemon::with(vec![first, Engine::new("second", Script::default())]).await;
    let (status, answer) = daemon.ask("/generate", &json!({"prompt": "x"})).await;
    assert_eq!((status, &answer["model"]), (StatusCode::OK, &json!("second")));
    assert_eq!(daemon.log()[0]["model"], "second");
    let (status, ready) = daemon.get("/ready").await;
    let expected = json!({"status": "ready", "engine": "first", "answered_by": "second", "reason": "the script says so"});
    assert_eq!((status, ready), (StatusCode::OK, expected));
    let (_, list) = daemon.get("/v1/models").await;
    assert_eq!(list["data"][0]["minivault"]["answered_by"], "second");
}

#[tokio::test]
async fn an_engine_that_can_not_be_had_says_why() {
    let daemon = Daemon::with(vec![Engine::new("good", Script::default()), Engine::new("bad", broken())]).await;
    let response = daemon.post("/generate", &json!({"prompt": "x", "model": "bad"})).await;
    assert_eq!(response.headers()["retry-after"], "10");
    let (status, error) = json_of(response).await;
    assert_eq!((status.as_u16(), &error["error"]["code"]), (503, &json!("engine_unavailable")));
    assert_eq!(error["error"]["message"], "the script says so");
    assert_eq!(daemon.get("/v1/models").await.1["data"][1]["minivault"]["reason"], "the script says so");
}

#[tokio::test]
async fn health_answers_while_an_engine_is_stuck() {
    let gate = Gate::closed();
    let daemon = Daemon::with(vec![Engine::new("scripted", Script { gate: Some(gate.clone()), ..Script::default() })]).await;
    let held = daemon.post("/stream-generate", &json!({"prompt": "x"})).await;
    assert_eq!(daemon.get("/health").await.0, StatusCode::OK);
    gate.open();
    drop(held);
}

/// A backend of somebody's that panics while it opens.
struct Panicking;

#[async_trait::async_trait]
impl Backend for Panicking {
    type Config = ScriptedConfig;

    async fn open(&self, _: &Opening, _: &ScriptedConfig) -> minivault_engines::error::Result<Arc<dyn TextEngine>> {
        panic!("as it was made to");
    }
}

#[tokio::test]
async fn a_panic_while_opening_is_a_failure_and_nobody_waits_for_ever() {
    let engines = Engines::none().with("panicking", Panicking);
    let table = Arc::new(EngineTable::new("bad".into(), [("bad".to_owned(), settings_of(&engines, "panicking", "bad"))].into()));
    let error = tokio::time::timeout(PATIENCE, table.open_default()).await.expect("an answer in time").err().unwrap();
    assert!(error.to_string().contains("panicked"), "{error}");
}
