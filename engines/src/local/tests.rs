mod alone;
mod choices;
mod constraint;
mod options;
mod reuse;
mod speculation;
mod tools;

use futures_util::StreamExt;

use super::*;
use crate::generation::{Completion, FinishReason, TextEvent};
use crate::model::{Limits, Slot};
use crate::request::{MaxTokens, Prompt, Sampling};
use crate::testkit::conformance::{self, Subject};
use crate::testkit::{Fault, Gate, Script, ScriptedLoader};
use crate::text_engine::Circumstance;
use crate::turn::Line;

fn greedy(prompt: &str, max_tokens: usize) -> GenerateRequest {
    GenerateRequest { sampling: Sampling::greedy(), ..GenerateRequest::text(prompt, MaxTokens::AtMost(max_tokens)) }
}

async fn start(script: &Script, queue: usize) -> LocalEngine {
    let loader = ScriptedLoader { name: "scripted".into(), script: script.clone() };
    LocalEngine::start(LocalOptions { queue, ..LocalOptions::default() }, loader).await.unwrap()
}

fn scripted(text: &str) -> Script {
    Script { text: text.into(), ..Script::default() }
}

fn gated(text: &str) -> (Gate, Script) {
    let gate = Gate::closed();
    (gate.clone(), Script { gate: Some(gate), ..scripted(text) })
}

fn slots(script: Script, slots: usize) -> Script {
    let limits = Limits { slots, ..script.limits };
    Script { limits, ..script }
}

async fn blocking(work: impl FnOnce() + Send + 'static) {
    tokio::task::spawn_blocking(work).await.unwrap();
}

/// Opens the scripted engine with these settings.
fn scripted_as(step_tokens: usize, reuse: bool, speculation: bool) -> conformance::Open {
    Box::new(move || {
        Box::pin(async move {
            let limits = Limits { step_tokens, ..Script::default().limits };
            let loader = ScriptedLoader { name: "scripted".into(), script: Script { limits, ..Script::default() } };
            let engine = LocalEngine::start(LocalOptions { queue: 6, reuse, speculation }, loader).await?;
            let engine: Arc<dyn TextEngine> = Arc::new(engine);
            Ok(engine)
        })
    })
}

#[tokio::test]
async fn the_scripted_engine_passes_the_conformance_kit() {
    let others = ["Zwölf Boxkämpfer jagen ", "🥊", "naïve 日", "quite something else"].map(str::to_owned).to_vec();
    let subject = Subject {
        open: scripted_as(32, true, true),
        prompt: "Hello".into(),
        others,
        capacity: Some(10),
        variants: vec![
            (Circumstance::ChunkSize, scripted_as(5, true, true)),
            (Circumstance::PrefixReuse, scripted_as(32, false, true)),
            (Circumstance::Speculation, scripted_as(32, true, false)),
        ],
        reuses_prefixes: true,
        knows_tokens_alone: true,
    };
    conformance::check(&subject).await;
}

#[tokio::test]
async fn a_text_that_ends_ends_the_answer() {
    let engine = start(&Script { ends: true, ..scripted("one two.") }, 1).await;
    let Completion { text, finish, tokens, .. } = engine.generate(greedy("x", 100)).await.unwrap().collect().await.unwrap();
    assert_eq!((text.as_str(), finish.reason, finish.usage.completion_tokens), ("one two.", FinishReason::EndOfText, 8));
    assert_eq!(tokens.len(), 8, "the end token is not a part of the answer");
}

#[tokio::test]
async fn a_character_cut_off_by_max_tokens_is_left_out() {
    let engine = start(&scripted("a🥊b"), 1).await;
    let Completion { text, tokens, .. } = engine.generate(greedy("x", 3)).await.unwrap().collect().await.unwrap();
    assert_eq!(text, "a");
    assert_eq!(tokens.iter().flat_map(|token| token.bytes.clone()).collect::<Vec<_>>(), "a🥊".as_bytes()[..3]);
}

#[tokio::test]
async fn long_prompts_are_read_in_chunks_beside_answers() {
    let (gate, script) = gated("abcdefgh");
    let limits = Limits { step_tokens: 5, ..script.limits };
    let script = Script { limits, ..script };
    let engine = start(&script, 4).await;
    let mut short = engine.generate(greedy("abc", 400)).await.unwrap();
    gate.allow(1);
    short.next().await.unwrap().unwrap();
    // Five tokens a step: beside the answer a prompt gets four of them.
    let long = engine.generate(greedy(&"x".repeat(10), 2)).await.unwrap();
    gate.open();
    long.collect().await.unwrap();
    let steps = script.steps();
    let beside: Vec<&(Slot, Vec<TokenId>)> =
        steps.iter().skip(1).flat_map(|step| step.iter().filter(|feed| feed.0 != steps[0][0].0)).collect();
    assert_eq!(beside.iter().map(|feed| feed.1.len()).collect::<Vec<_>>(), [4, 4, 2, 1], "{steps:?}");
    let answering = steps.iter().skip(2).take(3).all(|step| step.iter().any(|feed| feed.0 == steps[0][0].0 && feed.1.len() == 1));
    assert!(answering, "each of these steps carries a token of the answer too: {steps:?}");
}

#[tokio::test]
async fn prompts_share_a_step() {
    let (gate, script) = gated("abcdefgh");
    let engine = start(&script, 4).await;
    let first = engine.generate(greedy("a", 2)).await.unwrap();
    blocking({
        let gate = gate.clone();
        move || gate.wait_until_reached()
    })
    .await;
    let long = engine.generate(greedy(&"x".repeat(40), 1)).await.unwrap();
    let short = engine.generate(greedy("yyy", 1)).await.unwrap();
    gate.allow(2);
    first.collect().await.unwrap();
    gate.open();
    short.collect().await.unwrap();
    long.collect().await.unwrap();
    let widths: Vec<usize> = script.steps().iter().map(Vec::len).collect();
    assert_eq!(&widths[..2], [1, 3], "the long prompt doesn't keep the short one waiting: {:?}", script.steps());
}

#[tokio::test]
async fn eight_streams_interleave() {
    let (gate, script) = gated("abcdefgh");
    let limits = Limits { step_tokens: 64, ..script.limits };
    let engine = start(&slots(Script { limits, ..script }, 8), 8).await;
    let mut streams = Vec::new();
    for index in 0..8 {
        streams.push(engine.generate(greedy(&"x".repeat(index + 1), 40)).await.unwrap());
    }
    gate.allow(4);
    for stream in &mut streams {
        assert!(matches!(stream.next().await, Some(Ok(TextEvent::Text { .. }))));
    }
    gate.open();
    for stream in streams {
        stream.collect().await.unwrap();
    }
}

#[tokio::test]
async fn a_reader_that_leaves_frees_its_slot_within_one_step() {
    let (gate, script) = gated("abcdefgh");
    let script = slots(script, 1);
    let engine = start(&script, 1).await;
    let mut first = engine.generate(greedy("x", 400)).await.unwrap();
    let second = engine.generate(greedy("y", 1)).await.unwrap();
    assert!(matches!(engine.generate(greedy("z", 1)).await, Err(EngineError::Busy { waiting: 1 })));
    gate.allow(3);
    first.next().await.unwrap().unwrap();
    blocking({
        let gate = gate.clone();
        move || gate.wait_until_reached()
    })
    .await;
    drop(first);
    let steps_before = script.steps().len();
    gate.allow(2);
    second.collect().await.unwrap();
    assert_eq!(script.steps().len(), steps_before + 2, "the step under way, and then the second request's");
}

#[tokio::test]
async fn a_waiting_request_that_leaves_frees_its_place() {
    let (gate, script) = gated("abcdefgh");
    let engine = start(&slots(script, 1), 1).await;
    let first = engine.generate(greedy("x", 400)).await.unwrap();
    drop(engine.generate(greedy("y", 1)).await.unwrap());
    gate.allow(2);
    blocking({
        let gate = gate.clone();
        move || gate.wait_until_reached()
    })
    .await;
    let third = engine.generate(greedy("z", 1)).await.unwrap();
    drop(first);
    gate.open();
    third.collect().await.unwrap();
}

#[tokio::test]
async fn an_idle_engine_takes_no_steps() {
    let script = scripted("abc");
    let engine = start(&script, 1).await;
    engine.generate(greedy("x", 3)).await.unwrap().collect().await.unwrap();
    assert_eq!(script.steps().len(), 3);
}

#[tokio::test]
async fn a_failed_step_ends_its_requests_and_the_engine_goes_on() {
    let script = Script { fault: Some(Fault::FailsAt(2)), ..scripted("abcdef") };
    let engine = start(&script, 1).await;
    let broken = engine.generate(greedy("x", 10)).await.unwrap().collect().await;
    assert!(matches!(broken, Err(EngineError::Failed(_))), "{broken:?}");
    assert_eq!(engine.generate(greedy("x", 3)).await.unwrap().collect().await.unwrap().text, "abc");
}

#[tokio::test]
async fn logits_that_are_no_numbers_end_the_request_alone() {
    let script = Script { fault: Some(Fault::NotNumbersAt(1)), ..scripted("abcdef") };
    let engine = start(&script, 1).await;
    let broken = engine.generate(greedy("x", 10)).await.unwrap().collect().await;
    assert!(matches!(broken, Err(EngineError::Failed(_))), "{broken:?}");
    assert_eq!(engine.generate(greedy("x", 3)).await.unwrap().collect().await.unwrap().text, "abc");
}

#[tokio::test]
async fn a_panic_ends_running_and_waiting_requests_with_an_error() {
    let (gate, script) = gated("abcdef");
    let engine = start(&slots(Script { fault: Some(Fault::PanicsAt(2)), ..script }, 1), 3).await;
    let requests = [engine.generate(greedy("x", 10)).await.unwrap(), engine.generate(greedy("y", 10)).await.unwrap()];
    gate.open();
    for request in requests {
        let outcome = request.collect().await;
        assert!(matches!(outcome, Err(EngineError::Failed(_))), "{outcome:?}");
    }
    let refused = engine.generate(greedy("x", 1)).await.err();
    assert!(matches!(&refused, Some(EngineError::Unavailable(reason)) if reason.contains("the script says so")), "{refused:?}");
    assert!(matches!(engine.health().state, State::Failed(_)));
}

#[tokio::test]
async fn a_model_that_does_not_load_says_why() {
    for fault in [Fault::DoesNotLoad, Fault::PanicsWhileLoading] {
        let loader = ScriptedLoader { name: "scripted".into(), script: Script { fault: Some(fault), ..Script::default() } };
        let error = LocalEngine::start(LocalOptions { queue: 1, ..LocalOptions::default() }, loader).await.err();
        assert!(matches!(error, Some(EngineError::Unavailable(_))), "{error:?}");
    }
}

#[tokio::test]
async fn limits_that_hold_nothing_are_refused() {
    let script = Script { limits: Limits { slots: 0, ..Script::default().limits }, ..Script::default() };
    let loader = ScriptedLoader { name: "scripted".into(), script };
    let error = LocalEngine::start(LocalOptions { queue: 1, ..LocalOptions::default() }, loader).await.err();
    assert!(matches!(error, Some(EngineError::Unavailable(_))), "{error:?}");
}

#[tokio::test]
async fn a_chat_is_rendered_and_ends_where_the_user_would_speak() {
    let engine = start(&scripted("User: is fine.\n\n"), 1).await;
    let messages = vec![crate::chat::ChatMessage::new("user", "How are you?")];
    let request = GenerateRequest { prompt: Prompt::Chat { messages, tools: vec![] }, ..greedy("", 100) };
    let generation = engine.generate(request).await.unwrap();
    assert_eq!(&*generation.beginning().prompt_text, "User: How are you?\n\nAssistant:");
    let Completion { text, finish, .. } = generation.collect().await.unwrap();
    assert_eq!((text.as_str(), finish.reason), (" is fine.\n", FinishReason::StopString("\nUser:".into())));
}

#[tokio::test]
async fn texts_become_vectors() {
    let engine = start(&Script::default(), 1).await;
    let vectors = engine.embed(&[Prompt::Text("ab".into()), Prompt::Text("b".into())]).await.unwrap();
    let half = std::f32::consts::FRAC_1_SQRT_2;
    assert_eq!((vectors[0].tokens, vectors[0].vector[1], vectors[0].vector[2], vectors[1].vector[2]), (2, half, half, 1.0));
    assert!(matches!(engine.embed(&[Prompt::Text(String::new())]).await, Err(EngineError::InvalidRequest { .. })));
}

/// A number of the rows, and for each the token that stands out.
async fn read(engine: &LocalEngine, tokens: &[TokenId]) -> Result<Vec<TokenId>> {
    let mut rows = engine.logits(tokens).await?;
    let mut best = Vec::new();
    while let Some(chunk) = rows.next().await {
        let chunk = chunk?;
        let stands_out = |row: &[f32]| (0..).zip(row).max_by(|a: &(TokenId, &f32), b| a.1.total_cmp(b.1)).unwrap().0;
        best.extend((0..chunk.rows()).map(|row| stands_out(chunk.row(row))));
    }
    Ok(best)
}

fn bytes(text: &str) -> Vec<TokenId> {
    text.bytes().map(TokenId::from).collect()
}

#[tokio::test]
async fn a_text_is_read_in_steps_with_a_row_after_each_token() {
    let script = slots(scripted("abcdefgh"), 1);
    let engine = start(&script, 1).await;
    let text = "abcdefgh".repeat(5);
    for _ in 0..3 {
        assert_eq!(read(&engine, &bytes(&text)).await.unwrap(), bytes(&format!("{}a", &text[1..])));
    }
    let widths: Vec<_> = script.steps().iter().take(3).map(|step| step[0].1.len()).collect();
    assert_eq!(widths, [16, 16, 8], "no step is longer than the limits say");
    let too_long = read(&engine, &bytes(&"a".repeat(513))).await.unwrap_err();
    assert_eq!(too_long.to_string(), "a text of 513 tokens can't be read; it must have 1 to 512");
    assert!(read(&engine, &[]).await.is_err() && read(&engine, &[9999]).await.is_err());
}

#[tokio::test]
async fn whoever_stops_reading_gives_the_slot_back() {
    let engine = start(&slots(scripted("abcdefgh"), 1), 2).await;
    for _ in 0..3 {
        let mut rows = engine.logits(&bytes(&"x".repeat(100))).await.unwrap();
        rows.next().await.unwrap().unwrap();
        // The one slot is taken, and whoever wants it waits.
        let waiting = engine.generate(greedy("abc", 2)).await.unwrap();
        drop(rows);
        assert_eq!(waiting.collect().await.unwrap().text, "de");
    }
    let held = engine.logits(&bytes("x")).await.unwrap();
    let busy = [engine.logits(&bytes("x")).await, engine.logits(&bytes("x")).await, engine.logits(&bytes("x")).await];
    assert!(matches!(busy, [Ok(_), Ok(_), Err(EngineError::Busy { waiting: 2 })]), "a reading counts as a request");
    drop(busy);
    let mut held = held;
    drop(engine);
    assert!(matches!(held.next().await, Some(Err(EngineError::Stopped))), "the engine doesn't wait for whoever reads");
}

#[tokio::test]
async fn a_text_that_is_read_takes_its_turn_among_those_that_wait() {
    let (gate, script) = gated("abcdefgh");
    let script = slots(script, 1);
    let engine = start(&script, 8).await;
    let running = engine.generate(greedy("a", 2)).await.unwrap();
    let reader = gate.clone();
    blocking(move || reader.wait_until_reached()).await;
    let mut rows = engine.logits(&bytes("xyz")).await.unwrap();
    let reading = tokio::spawn(async move { rows.next().await.unwrap().unwrap().rows() });
    // It has asked before the others come.
    while engine.health().queued == 0 {
        tokio::task::yield_now().await;
    }
    tokio::task::yield_now().await;
    let later: Vec<_> = futures_util::future::try_join_all((0..4).map(|_| engine.generate(greedy("abc", 4)))).await.unwrap();
    gate.open();
    assert_eq!(reading.await.unwrap(), 3);
    for answer in std::iter::once(running).chain(later) {
        answer.collect().await.unwrap();
    }
    let fed: Vec<Vec<TokenId>> = script.steps().iter().map(|step| step[0].1.clone()).collect();
    let place = |tokens: &str| fed.iter().position(|step| *step == bytes(tokens)).unwrap();
    assert!(place("xyz") < place("abc"), "{fed:?}");
}

#[tokio::test]
async fn a_failed_step_ends_the_reading_and_not_the_engine() {
    let engine = start(&slots(Script { fault: Some(Fault::FailsAt(1)), ..scripted("abcdefgh") }, 1), 1).await;
    let mut rows = engine.logits(&bytes(&"abcdefgh".repeat(4))).await.unwrap();
    assert_eq!(rows.next().await.unwrap().unwrap().rows(), 16);
    assert!(matches!(rows.next().await, Some(Err(EngineError::Failed(_)))));
    assert!(rows.next().await.is_none());
    assert_eq!(read(&engine, &bytes("ab")).await.unwrap(), bytes("bc"));
}

#[tokio::test]
async fn two_engines_take_turns_and_never_step_at_once() {
    let line = Arc::new(Line::default());
    let gate = Gate::closed();
    let script = || Script { gate: Some(gate.clone()), turn: Some(line.clone()), ..scripted("abcdefgh") };
    let scripts = [script(), script()];
    let engines = [start(&scripts[0], 1).await, start(&scripts[1], 1).await];
    let answers = [engines[0].generate(greedy("abc", 20)).await.unwrap(), engines[1].generate(greedy("abc", 20)).await.unwrap()];
    for step in 0..20 {
        let (gate, line) = (gate.clone(), line.clone());
        blocking(move || {
            gate.wait_until_reached();
            while line.wanted() < 2 {
                std::thread::yield_now();
            }
            assert_eq!(gate.waiting(), 1, "both want to step, one may");
            gate.allow(1);
        })
        .await;
        let taken = scripts.each_ref().map(|script| script.steps().len());
        assert!(taken[0].abs_diff(taken[1]) <= 2, "step {step}: one engine lags behind: {taken:?}");
    }
    gate.open();
    for answer in answers {
        assert_eq!(answer.collect().await.unwrap().finish.usage.completion_tokens, 20);
    }
    assert_eq!(line.wanted(), 0, "an idle engine doesn't hold the turn");
}
