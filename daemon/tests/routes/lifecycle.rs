//! Clients that leave, streams side by side, and the end of the daemon.

use axum::http::StatusCode;
use futures_util::StreamExt;
use minivault_engines::testkit::{Gate, Script};
use serde_json::json;

use crate::support::{Daemon, Engine, text_of};

async fn gated() -> (Gate, Script, Daemon) {
    let gate = Gate::closed();
    let script = Script { gate: Some(gate.clone()), text: "abcdef".into(), ..Script::default() };
    let daemon = Daemon::with(vec![Engine::new("scripted", script.clone())]).await;
    (gate, script, daemon)
}

async fn reached(gate: &Gate) {
    let gate = gate.clone();
    tokio::task::spawn_blocking(move || gate.wait_until_reached()).await.unwrap();
}

#[tokio::test]
async fn a_client_that_leaves_frees_its_slot_and_leaves_a_line() {
    let (gate, script, daemon) = gated().await;
    let mut body = daemon.post("/stream-generate", &json!({"prompt": "x", "max_tokens": 400})).await.into_body().into_data_stream();
    gate.allow(3);
    for _ in 0..3 {
        body.next().await.unwrap().unwrap();
    }
    reached(&gate).await;
    drop(body);
    let line = &daemon.log_of(1).await[0];
    assert_eq!((&line["finish_reason"], &line["response"], &line["status"]), (&json!("cancelled"), &json!("abc"), &json!(499)));
    assert_eq!(line["usage"]["completion_tokens"], 3);
    let steps = script.steps().len();
    gate.open();
    let (_, answer) = daemon.ask("/generate", &json!({"prompt": "x", "max_tokens": 2})).await;
    assert_eq!(answer["response"], "ab");
    assert!(script.steps().len() <= steps + 3, "one step under way, two for the next request: {}", script.steps().len() - steps);
}

#[tokio::test]
async fn a_client_that_leaves_before_a_whole_answer_leaves_a_line_too() {
    let (gate, _, daemon) = gated().await;
    let body = json!({"prompt": "x"});
    let mut asking = Box::pin(daemon.ask("/generate", &body));
    assert!(futures_util::poll!(&mut asking).is_pending());
    drop(asking);
    gate.open();
    assert_eq!(daemon.log_of(1).await[0]["finish_reason"], "cancelled");
}

#[tokio::test]
async fn the_last_event_comes_after_its_line() {
    let daemon = Daemon::reciting("abc").await;
    let mut body = daemon.post("/stream-generate", &json!({"prompt": "x", "max_tokens": 3})).await.into_body().into_data_stream();
    while let Some(chunk) = body.next().await {
        if chunk.unwrap().starts_with(b"event: done") {
            assert_eq!(daemon.log().len(), 1, "the line stands when the event arrives");
        }
    }
}

#[tokio::test]
async fn eight_streams_interleave() {
    let gate = Gate::closed();
    let mut engine = Engine::new("scripted", Script { gate: Some(gate.clone()), ..Script::default() });
    (engine.script.limits.slots, engine.script.limits.step_tokens) = (8, 64);
    let daemon = Daemon::with(vec![engine]).await;
    let mut streams = Vec::new();
    for _ in 0..8 {
        streams.push(daemon.post("/stream-generate", &json!({"prompt": "x", "max_tokens": 40})).await.into_body().into_data_stream());
    }
    gate.allow(9);
    for stream in &mut streams {
        let first = stream.next().await.unwrap().unwrap();
        assert!(first.starts_with(b"data: "), "a first piece while none has ended: {first:?}");
    }
    gate.open();
    for stream in streams {
        let rest: Vec<_> = stream.collect().await;
        assert!(rest.last().unwrap().as_ref().unwrap().starts_with(b"event: done"));
    }
    assert_eq!(daemon.log().len(), 8);
}

#[tokio::test]
async fn two_engines_answer_at_the_same_time() {
    let gates = [Gate::closed(), Gate::closed()];
    let engine = |name, gate: &Gate| Engine::new(name, Script { gate: Some(gate.clone()), text: "abcdef".into(), ..Script::default() });
    let daemon = Daemon::with(vec![engine("one", &gates[0]), engine("other", &gates[1])]).await;
    let mut streams = Vec::new();
    for name in ["one", "other"] {
        let asked = json!({"prompt": "x", "max_tokens": 40, "model": name});
        streams.push(daemon.post("/stream-generate", &asked).await.into_body().into_data_stream());
    }
    // Both are in the middle of their answers; now one, now the other goes on.
    for _ in 0..3 {
        for (gate, stream) in gates.iter().zip(&mut streams) {
            gate.allow(1);
            assert!(stream.next().await.unwrap().unwrap().starts_with(b"data: "));
        }
    }
    for (gate, stream) in gates.iter().zip(streams) {
        gate.open();
        let rest: Vec<_> = stream.collect().await;
        assert!(rest.last().unwrap().as_ref().unwrap().starts_with(b"event: done"));
    }
    assert_eq!(daemon.log().iter().map(|line| &line["model"]).collect::<Vec<_>>(), ["one", "other"]);
}

#[tokio::test]
async fn a_draining_daemon_refuses_new_work_and_finishes_the_old() {
    let (gate, _, daemon) = gated().await;
    let running = daemon.post("/stream-generate", &json!({"prompt": "x", "max_tokens": 4})).await;
    daemon.app.drain();
    let (status, error) = daemon.ask("/generate", &json!({"prompt": "x"})).await;
    assert_eq!((status, &error["error"]["code"]), (StatusCode::SERVICE_UNAVAILABLE, &json!("draining")));
    assert_eq!(daemon.get("/ready").await.1["status"], "draining");
    gate.open();
    assert!(text_of(running).await.contains("event: done"));
}
