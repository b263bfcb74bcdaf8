//! `/api/…`, as tools ask it that know only Ollama.

use axum::http::{StatusCode, header};
use minivault_daemon::config::ServerSettings;
use minivault_daemon::door::keys::{Key, Secret};
use minivault_daemon::door::limits::Limits;
use minivault_engines::testkit::{Fault, Script};
use serde_json::{Value, json};

use crate::support::{Daemon, Engine, server_settings, text_of};

async fn lines(daemon: &Daemon, path: &str, body: &Value) -> Vec<Value> {
    let response = daemon.post(path, body).await;
    assert_eq!((response.status(), &response.headers()[header::CONTENT_TYPE]), (StatusCode::OK, &"application/x-ndjson".parse().unwrap()));
    text_of(response).await.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn a_chat_comes_line_by_line_and_whole() {
    let daemon = Daemon::reciting("one two three ").await;
    let mut body = json!({"model": "scripted:latest", "messages": [{"role": "user", "content": "x"}], "options": {"num_predict": 7, "temperature": 0}});
    let told = lines(&daemon, "/api/chat", &body).await;
    let text: String = told.iter().map(|line| line["message"]["content"].as_str().unwrap()).collect();
    let end = told.last().unwrap();
    assert_eq!(
        (text.as_str(), &end["done"], &end["done_reason"], &end["eval_count"]),
        ("one two", &json!(true), &json!("length"), &json!(7))
    );
    assert!(told[..told.len() - 1].iter().all(|line| line["done"] == false && line["model"] == "scripted:latest"));
    body["stream"] = false.into();
    let (status, whole) = daemon.ask("/api/chat", &body).await;
    assert_eq!((status, &whole["message"]["content"], &whole["done"]), (StatusCode::OK, &json!("one two"), &json!(true)));
    let log = daemon.log();
    assert_eq!(log.iter().map(|line| &line["endpoint"]).collect::<Vec<_>>(), ["/api/chat", "/api/chat"]);
    assert_eq!((&log[0]["request"]["top_k"], &log[0]["request"]["repetition_penalty"]), (&json!(40), &json!(1.1)), "Ollama's defaults");
}

#[tokio::test]
async fn a_prompt_is_continued_where_the_model_has_no_template() {
    let daemon = Daemon::reciting("one two three ").await;
    let (_, whole) = daemon
        .ask(
            "/api/generate",
            &json!({"model": "scripted", "prompt": "x", "stream": false, "options": {"num_predict": 3, "temperature": 0}}),
        )
        .await;
    assert_eq!((&whole["response"], &whole["done_reason"], &whole["prompt_eval_count"]), (&json!("one"), &json!("length"), &json!(1)));
    assert_eq!(whole["context"].as_array().unwrap().len(), 4, "prompt and answer");
    assert_eq!(daemon.log()[0]["prompt"], "x");
    let (_, loaded) = daemon.ask("/api/generate", &json!({"model": "scripted"})).await;
    assert_eq!((&loaded["done_reason"], &loaded["response"]), (&json!("load"), &json!("")));
    assert_eq!(daemon.log().len(), 1, "nothing was asked");
}

#[tokio::test]
async fn what_is_refused_is_told_in_this_dialect() {
    let daemon = Daemon::reciting("one two three ").await;
    for (path, body, status, part) in [
        ("/api/chat", json!({"model": "scriptd", "messages": []}), 404, "did you mean `scripted`"),
        ("/api/generate", json!({"prompt": "x"}), 400, "`model` is missing"),
        ("/api/generate", json!({"model": "scripted", "prompt": "x", "images": ["aGk="]}), 400, "`images` isn't supported"),
        ("/api/generate", json!({"model": "scripted", "prompt": "x", "suffix": "y"}), 400, "`suffix`"),
        ("/api/generate", json!({"model": "scripted", "prompt": "x", "context": [1]}), 400, "`context`"),
        ("/api/generate", json!({"model": "scripted", "prompt": "x", "system": "y"}), 400, "no `system` has a place"),
        (
            "/api/chat",
            json!({"model": "scripted", "messages": [{"role": "user", "content": "x", "images": ["a"]}]}),
            400,
            "messages[0].images",
        ),
        ("/api/chat", json!({"model": "scripted", "messages": [], "think": true}), 400, "`think`"),
        ("/api/generate", json!({"model": "scripted", "prompt": "x", "options": {"mirostat": 2}}), 400, "options.mirostat"),
        (
            "/api/generate",
            json!({"model": "scripted", "prompt": "x", "options": {"num_ctx": 1 << 30}}),
            400,
            "options.num_ctx is 1073741824",
        ),
        ("/api/generate", json!({"model": "scripted", "prompt": "x", "format": "xml"}), 400, "format is \"xml\""),
        ("/api/embed", json!({"model": "scripted", "input": []}), 400, "input has 0 texts"),
    ] {
        let (seen, answer) = daemon.ask(path, &body).await;
        let error = answer["error"].as_str().unwrap_or_else(|| panic!("{path} {body}: {answer}"));
        assert!(seen == status && error.contains(part), "{path} {body}: {seen} {error}");
    }
    assert!(daemon.log().is_empty());
}

#[tokio::test]
async fn what_the_door_and_the_router_refuse_is_told_as_ollama_does() {
    let settings = ServerSettings {
        keys: vec![Key { name: "ada".into(), secret: Secret::of("sk-ada"), limits: Limits::default() }],
        ..server_settings()
    };
    let daemon = Daemon::reciting("abc").await.behind(&settings);
    let (status, answer) = daemon.get("/api/tags").await;
    assert_eq!(
        (status, answer["error"].as_str().is_some_and(|error| error.contains("an API key is needed"))),
        (StatusCode::UNAUTHORIZED, true),
        "{answer}"
    );
    let daemon = Daemon::reciting("abc").await;
    let (status, answer) = daemon.get("/api/nothing").await;
    assert_eq!((status, &answer), (StatusCode::NOT_FOUND, &json!({"error": "there is nothing at /api/nothing"})));
    assert_eq!(daemon.get("/api/chat").await, (StatusCode::METHOD_NOT_ALLOWED, json!({"error": "/api/chat doesn't answer GET"})));
}

#[tokio::test]
async fn a_failure_ends_the_lines_with_an_error() {
    let script = Script { text: "one two three ".into(), fault: Some(Fault::FailsAt(3)), ..Script::default() };
    let daemon = Daemon::with(vec![Engine::new("scripted", script)]).await;
    let told = lines(&daemon, "/api/generate", &json!({"model": "scripted", "prompt": "x"})).await;
    assert!(told.last().unwrap()["error"].as_str().unwrap().contains("failed"), "{told:?}");
    assert_eq!(daemon.log()[0]["finish_reason"], "error");
}

#[tokio::test]
async fn engines_are_listed_as_models() {
    let engines = ["first", "second"].map(|name| Engine::new(name, Script::default()));
    let daemon = Daemon::with(engines.into()).await;
    let names = |answer: &Value| answer["models"].as_array().unwrap().iter().map(|model| model["name"].clone()).collect::<Vec<_>>();
    assert_eq!(names(&daemon.get("/api/tags").await.1), ["first:latest", "second:latest"]);
    assert_eq!(names(&daemon.get("/api/ps").await.1), ["first:latest"], "the one that is loaded");
    let (_, shown) = daemon.ask("/api/show", &json!({"name": "first:latest"})).await;
    assert_eq!(
        (&shown["capabilities"][0], &shown["model_info"]["scripted.context_length"].is_u64()),
        (&json!("completion"), &true),
        "{shown}"
    );
    assert_eq!(daemon.get("/api/version").await.1, json!({"version": env!("CARGO_PKG_VERSION")}));
}
