//! Which tokens of a prompt are fed, and which were there already.

use super::*;

async fn reusing(script: &Script) -> LocalEngine {
    let loader = ScriptedLoader { name: "scripted".into(), script: script.clone() };
    LocalEngine::start(LocalOptions { queue: 4, reuse: true, speculation: false }, loader).await.unwrap()
}

/// Tokens of the prompt that were cached.
async fn cached(engine: &LocalEngine, prompt: &str, max_tokens: usize) -> usize {
    let finish = engine.generate(greedy(prompt, max_tokens)).await.unwrap().collect().await.unwrap().finish;
    assert_eq!(finish.usage.prompt_tokens, prompt.len());
    finish.usage.cached_tokens
}

/// What the steps fed from the `first` on, in one piece, as text.
fn fed(script: &Script, first: usize) -> String {
    script.steps()[first..].iter().flatten().flat_map(|(_, tokens)| tokens).map(|&token| char::from(token as u8)).collect()
}

#[tokio::test]
async fn a_conversation_goes_on_where_it_stopped() {
    let script = scripted("abcdefgh");
    let engine = reusing(&script).await;
    assert_eq!(cached(&engine, "Tell me: abc", 4).await, 0);
    let before = script.steps().len();
    // The answer's last token was never fed.
    assert_eq!(cached(&engine, "Tell me: abcdefg And now?", 1).await, 15);
    assert_eq!(fed(&script, before), "g And now?");
    assert_eq!(script.steps().last().unwrap()[0].0, script.steps()[0][0].0, "in the same slot");
}

#[tokio::test]
async fn the_last_token_of_a_prompt_is_always_fed() {
    let script = scripted("abcdefgh");
    let engine = reusing(&script).await;
    cached(&engine, "Tell me", 1).await;
    assert_eq!(cached(&engine, "Tell me", 1).await, 6);
    assert_eq!(cached(&engine, "Te", 1).await, 1);
    assert_eq!(cached(&engine, "T", 1).await, 0);
}

#[tokio::test]
async fn a_shared_beginning_is_copied_and_both_conversations_go_on() {
    let script = slots(scripted("abcdefgh"), 3);
    let engine = reusing(&script).await;
    let system = "You are most helpful. ";
    let (one, other) = (format!("{system}What is the capital of France?"), format!("{system}Why?"));
    assert_eq!(cached(&engine, &one, 2).await, 0);
    assert_eq!(cached(&engine, &other, 2).await, system.len() + 2, "the Wh too");
    assert_eq!(cached(&engine, &format!("{one}!"), 2).await, one.len(), "the first is still whole");
    assert_eq!(cached(&engine, &format!("{other}!"), 2).await, other.len());
}

#[tokio::test]
async fn a_running_sequence_lends_its_beginning() {
    let (gate, script) = gated("abcdefgh");
    let engine = reusing(&script).await;
    let first = engine.generate(greedy("Tell me more", 100)).await.unwrap();
    gate.allow(1);
    blocking({
        let gate = gate.clone();
        move || gate.wait_until_reached()
    })
    .await;
    let second = engine.generate(greedy("Tell me less", 2)).await.unwrap();
    gate.open();
    assert_eq!(second.collect().await.unwrap().finish.usage.cached_tokens, 8);
    first.collect().await.unwrap();
}

#[tokio::test]
async fn a_cancelled_request_leaves_what_was_computed() {
    let (gate, script) = gated("abcdefgh");
    let engine = reusing(&script).await;
    let first = engine.generate(greedy("Tell me more", 100)).await.unwrap();
    gate.allow(3);
    blocking({
        let gate = gate.clone();
        move || gate.wait_until_reached()
    })
    .await;
    drop(first);
    gate.open();
    assert!(cached(&engine, "Tell me morefgh!", 1).await >= 14);
}

#[tokio::test]
async fn the_longest_unused_goes_first() {
    let script = slots(scripted("abcdefgh"), 2);
    let engine = reusing(&script).await;
    for prompt in ["Alpha is the first", "Beta is the second", "Gamma is the third"] {
        assert_eq!(cached(&engine, prompt, 1).await, 0);
    }
    assert_eq!(cached(&engine, "Beta is the second", 1).await, 17);
    assert_eq!(cached(&engine, "Alpha is the first", 1).await, 0, "Gamma took its place");
    assert_eq!(cached(&engine, "Beta is the second", 1).await, 17);
}

#[tokio::test]
async fn nothing_of_a_failed_step_is_relied_on() {
    for fault in [Fault::FailsAt(1), Fault::NotNumbersAt(1)] {
        let script = slots(Script { fault: Some(fault), ..scripted("abcdefgh") }, 1);
        let engine = reusing(&script).await;
        assert!(engine.generate(greedy("Tell me", 5)).await.unwrap().collect().await.is_err());
        assert_eq!(cached(&engine, "Tell me", 1).await, 0);
    }
}

#[tokio::test]
async fn without_the_option_nothing_is_remembered() {
    let script = scripted("abcdefgh");
    let engine = start(&script, 1).await;
    for _ in 0..3 {
        assert_eq!(cached(&engine, "Tell me more", 1).await, 0);
    }
}
