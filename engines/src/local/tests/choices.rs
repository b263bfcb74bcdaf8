//! Several answers to one request.

use super::*;
use crate::error::EngineError;
use crate::request::seed_of_choice;

fn drawn(prompt: &str, max_tokens: usize, seed: u64) -> GenerateRequest {
    let sampling = Sampling { temperature: 2.0, seed: Some(seed), ..Sampling::default() };
    GenerateRequest { sampling, ..GenerateRequest::text(prompt, MaxTokens::Exactly(max_tokens)) }
}

async fn texts(generations: Vec<Generation>) -> Vec<String> {
    let mut texts = Vec::new();
    for generation in generations {
        texts.push(generation.collect().await.unwrap().text);
    }
    texts
}

fn fed(script: &Script) -> usize {
    script.steps().iter().flatten().map(|(_, tokens)| tokens.len()).sum()
}

#[tokio::test]
async fn a_prompt_is_read_once_for_all_answers() {
    let prompt = "A prompt that takes more than one step to be read";
    for reuse in [false, true] {
        let script = scripted("abcdefgh");
        let loader = ScriptedLoader { name: "scripted".into(), script: script.clone() };
        let engine = LocalEngine::start(LocalOptions { queue: 4, reuse, speculation: false }, loader).await.unwrap();
        let answers = texts(engine.choices(drawn(prompt, 3, 5), 4).await.unwrap()).await;
        assert_eq!(answers.len(), 4);
        assert_eq!(fed(&script), prompt.len() + 4 * 2, "of three tokens two are fed again");
    }
}

#[tokio::test]
async fn each_answer_is_the_one_that_its_seed_gives_alone() {
    let engine = start(&Script::default(), 4).await;
    let together = engine.choices(drawn("Hello", 12, 7), 4).await.unwrap();
    let seeds: Vec<u64> = together.iter().map(|generation| generation.beginning().seed).collect();
    assert_eq!(seeds[0], 7);
    let together = texts(together).await;
    assert_eq!(together, texts(engine.choices(drawn("Hello", 12, 7), 4).await.unwrap()).await, "and again");
    for (choice, answer) in together.iter().enumerate() {
        assert_eq!(seeds[choice], seed_of_choice(7, choice));
        assert!(seeds[choice] < 1 << 53 && !together[..choice].contains(answer), "{together:?}");
        let alone = engine.generate(drawn("Hello", 12, seeds[choice])).await.unwrap().collect().await.unwrap().text;
        assert_eq!(*answer, alone);
    }
}

#[tokio::test]
async fn more_answers_than_slots_come_one_after_the_other() {
    for copies in [true, false] {
        let script = slots(Script { copies, ..scripted("abcdefgh") }, 2);
        let engine = start(&script, 4).await;
        let answers = texts(engine.choices(greedy("Tell me: ", 4), 5).await.unwrap()).await;
        assert_eq!(answers, ["abcd"; 5]);
    }
}

#[tokio::test]
async fn a_model_that_can_not_copy_reads_the_prompt_for_each() {
    let script = Script { copies: false, ..scripted("abcdefgh") };
    let engine = start(&script, 4).await;
    assert_eq!(texts(engine.choices(greedy("Tell me: ", 3), 3).await.unwrap()).await, ["abc"; 3]);
    assert_eq!(fed(&script), 3 * ("Tell me: ".len() + 2));
}

#[tokio::test]
async fn all_answers_begin_or_none() {
    let (gate, script) = gated("abcdefgh");
    let engine = start(&slots(script, 2), 2).await;
    match engine.choices(greedy("Tell me: ", 3), 5).await.err() {
        Some(EngineError::InvalidRequest { param: "n", message }) => assert!(message.contains("between 1 and 4"), "{message}"),
        other => panic!("{other:?}"),
    }
    let held = engine.choices(greedy("Tell me: ", 3), 2).await.unwrap();
    assert!(matches!(engine.choices(greedy("Tell me: ", 3), 3).await.err(), Some(EngineError::Busy { .. })));
    let two = engine.choices(greedy("Tell me: ", 3), 2).await.unwrap();
    gate.open();
    assert_eq!(texts(held.into_iter().chain(two).collect()).await, ["abc"; 4]);
}

#[tokio::test]
async fn an_answer_that_nobody_wants_any_more_leaves_the_prompt_to_the_next() {
    let (gate, script) = gated("abcdefgh");
    let engine = start(&script, 4).await;
    let mut generations = engine.choices(greedy("A prompt of more than sixteen tokens: ", 3), 3).await.unwrap();
    gate.allow(1);
    blocking({
        let gate = gate.clone();
        move || gate.wait_until_reached()
    })
    .await;
    drop(generations.remove(0));
    gate.open();
    assert_eq!(texts(generations).await, ["abc"; 2]);
}

#[tokio::test]
async fn slots_are_kept_for_those_that_wait_for_their_prompt() {
    let (gate, script) = gated("abcdefgh");
    let script = slots(script, 3);
    let engine = start(&script, 4).await;
    let prompt = "A prompt of more than sixteen tokens: ";
    let first = engine.choices(greedy(prompt, 3), 3).await.unwrap();
    let later = engine.generate(greedy("Me too", 3)).await.unwrap();
    gate.open();
    assert_eq!(texts(first).await, ["abc"; 3]);
    later.collect().await.unwrap();
    assert_eq!(fed(&script), prompt.len() + 3 * 2 + "Me too".len() + 2, "nobody took a slot that a copy was meant for");
}

#[tokio::test]
async fn an_answer_of_no_tokens_only_measures_the_prompt() {
    let script = scripted("abcdefgh");
    let engine = start(&script, 1).await;
    for length in [1, 512] {
        let request = GenerateRequest::text("x".repeat(length), MaxTokens::Exactly(0));
        let Completion { text, finish, .. } = engine.generate(request).await.unwrap().collect().await.unwrap();
        assert_eq!((text.as_str(), finish.reason, finish.usage.prompt_tokens), ("", FinishReason::Length, length));
    }
    let too_long = GenerateRequest::text("x".repeat(513), MaxTokens::Exactly(0));
    assert!(matches!(engine.generate(too_long).await, Err(EngineError::ContextLengthExceeded { .. })));
    assert!(script.steps().is_empty());
    assert_eq!(engine.health().queued, 0);
}
