//! Requests that must be computed alone.

use super::*;
use crate::error::EngineError;
use crate::text_engine::Determinism;

fn serial(text: &str) -> (Gate, Script) {
    let (gate, script) = gated(text);
    (gate, Script { determinism: Determinism::Serial, ..script })
}

fn alone(prompt: &str, max_tokens: usize) -> GenerateRequest {
    GenerateRequest { deterministic: true, ..greedy(prompt, max_tokens) }
}

/// How many feeds each step had in which this prompt's first token or its answer was fed; slots are given to one after the other.
fn widths(script: &Script) -> Vec<usize> {
    script.steps().iter().map(Vec::len).collect()
}

#[tokio::test]
async fn nothing_is_computed_beside_a_request_that_must_be_alone() {
    let (gate, script) = serial("abcdefgh");
    let engine = start(&script, 4).await;
    let first = engine.generate(greedy("x", 3)).await.unwrap();
    let second = engine.generate(greedy("y", 3)).await.unwrap();
    blocking({
        let gate = gate.clone();
        move || gate.wait_until_reached()
    })
    .await;
    let by_itself = engine.generate(alone("z", 4)).await.unwrap();
    let later = [engine.generate(greedy("v", 2)).await.unwrap(), engine.generate(greedy("w", 2)).await.unwrap()];
    gate.open();
    let (first, second) = tokio::join!(first.collect(), second.collect());
    assert_eq!((first.unwrap().text, second.unwrap().text), ("abc".into(), "abc".into()));
    assert_eq!(by_itself.collect().await.unwrap().text, "abcd");
    for generation in later {
        assert_eq!(generation.collect().await.unwrap().text, "ab");
    }
    let steps = script.steps();
    let begin = steps.iter().position(|step| step.iter().any(|feed| feed.1 == [u32::from(b'z')])).unwrap();
    assert_eq!(widths(&script)[begin..begin + 4], [1; 4], "{steps:?}");
    assert!(steps[..begin].iter().flatten().all(|feed| !feed.1.contains(&u32::from(b'v'))), "who came later waits: {steps:?}");
    assert_eq!(widths(&script)[begin + 4..], [2, 2], "and then they run together");
}

#[tokio::test]
async fn a_text_that_is_read_keeps_a_request_waiting_that_must_be_alone() {
    let (gate, script) = serial("abcdefgh");
    gate.open();
    let limits = Limits { step_tokens: 4, ..script.limits };
    let engine = start(&Script { limits, ..script.clone() }, 4).await;
    let tokens: Vec<TokenId> = (0..12).map(|_| u32::from(b'x')).collect();
    let mut rows = engine.logits(&tokens).await.unwrap();
    rows.next().await.unwrap().unwrap();
    let mut by_itself = engine.generate(alone("z", 2)).await.unwrap();
    // The text holds a slot between its steps; only when it is over, or given up, is the other one alone.
    tokio::time::timeout(std::time::Duration::from_millis(50), by_itself.next()).await.unwrap_err();
    while let Some(more) = rows.next().await {
        more.unwrap();
    }
    assert_eq!(by_itself.collect().await.unwrap().text, "ab");
    let rows = engine.logits(&tokens).await.unwrap();
    drop(rows);
    assert_eq!(engine.generate(alone("z", 2)).await.unwrap().collect().await.unwrap().text, "ab");
}

#[tokio::test]
async fn several_answers_that_must_be_alone_come_one_after_the_other() {
    let (gate, script) = serial("abcdefgh");
    gate.open();
    let engine = start(&script, 4).await;
    for answer in engine.choices(alone("z", 3), 3).await.unwrap() {
        assert_eq!(answer.collect().await.unwrap().text, "abc");
    }
    assert!(widths(&script).iter().all(|&width| width == 1), "{:?}", script.steps());
}

#[tokio::test]
async fn an_engine_whose_bytes_hold_beside_others_runs_it_beside_others_and_one_without_a_promise_refuses_it() {
    let (gate, script) = gated("abcdefgh");
    let engine = start(&script, 4).await;
    let both = [engine.generate(alone("y", 3)).await.unwrap(), engine.generate(alone("z", 3)).await.unwrap()];
    gate.open();
    for generation in both {
        generation.collect().await.unwrap();
    }
    assert!(widths(&script).contains(&2), "{:?}", script.steps());
    let engine = start(&Script { determinism: Determinism::None, ..scripted("abc") }, 4).await;
    let refused = engine.generate(alone("z", 3)).await.err();
    assert!(
        matches!(&refused, Some(EngineError::Unsupported { engine, what }) if engine == "scripted" && what.contains("deterministic")),
        "{refused:?}"
    );
}
