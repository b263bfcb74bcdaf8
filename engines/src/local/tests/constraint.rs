//! Answers of a prescribed form, on the scripted model: tokens are bytes, and logits know nothing of the form.

use serde_json::{Value, json};

use super::speculation::both;
use super::*;
use crate::request::Constraint;
use crate::testkit::random_schema;

fn constrained(prompt: &str, max_tokens: usize, constraint: Constraint) -> GenerateRequest {
    GenerateRequest { constraint: Some(constraint), ..greedy(prompt, max_tokens) }
}

#[allow(clippy::needless_pass_by_value)] // Written in place.
fn object(properties: Value) -> Value {
    let required: Vec<String> = properties.as_object().unwrap().keys().cloned().collect();
    json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false})
}

async fn answer(engine: &LocalEngine, request: GenerateRequest) -> Completion {
    engine.generate(request).await.unwrap().collect().await.unwrap()
}

#[tokio::test]
async fn an_answer_is_ended_within_its_tokens() {
    let engine = start(&scripted("Never an end to this, "), 1).await;
    let wanted = object(json!({"city": {"type": "string"}, "sights": {"type": "array", "items": {"type": "string"}, "minItems": 2}}));
    for max_tokens in [40, 41, 60, 100] {
        let answer = answer(&engine, constrained("Rome", max_tokens, Constraint::JsonSchema(wanted.clone()))).await;
        assert_eq!(answer.finish.reason, FinishReason::EndOfText, "{}", answer.text);
        assert!(answer.tokens.len() <= max_tokens);
        assert!(jsonschema::is_valid(&wanted, &serde_json::from_str(&answer.text).unwrap()), "{}", answer.text);
        assert!(max_tokens < 60 || answer.text.contains("Never an"), "the model has its say: {}", answer.text);
    }
    let cut = answer(&engine, constrained("Rome", 12, Constraint::JsonSchema(wanted))).await;
    assert_eq!((cut.finish.reason, cut.text.get(..8)), (FinishReason::Length, Some("{\"city\":")));
}

#[tokio::test]
async fn drafts_change_nothing_under_a_constraint() {
    let repeating =
        object(json!({"lines": {"type": "array", "items": {"enum": ["abcdefgh abcdefgh", "hgfedcba hgfedcba"]}, "minItems": 12}}));
    let request = constrained("abcdefgh [\"abcdefgh\",\"abcdefgh\"]", 300, Constraint::JsonSchema(repeating.clone()));
    let (first, [(steps, _), (plain, _)]) = both(|| scripted("abcdefgh"), request).await;
    assert!(jsonschema::is_valid(&repeating, &serde_json::from_str(&first.text).unwrap()), "{}", first.text);
    assert!(steps < plain, "{steps} steps instead of {plain}");
    for seed in 0..24 {
        let sampling = Sampling { temperature: 1.5, frequency_penalty: 0.3, seed: Some(seed), ..Sampling::default() };
        let constraint = Constraint::JsonSchema(random_schema(seed));
        let request = GenerateRequest { sampling, logprobs: Some(1), ..constrained("{\"a\": \"a\", \"b\": \"b\"}", 90, constraint) };
        both(|| scripted("abc \", \"a\": "), request).await;
    }
}

#[tokio::test]
async fn a_stream_is_the_whole_in_pieces() {
    let engine = start(&Script::default(), 1).await;
    for seed in 0..10 {
        let request = constrained("Say", 200, Constraint::JsonSchema(random_schema(seed)));
        let whole = answer(&engine, request.clone()).await;
        let mut stream = engine.generate(request).await.unwrap();
        let mut text = String::new();
        while let Some(event) = stream.next().await {
            if let TextEvent::Text { text: piece, .. } = event.unwrap() {
                text.push_str(&piece);
            }
        }
        assert_eq!(text, whole.text);
    }
}

#[tokio::test]
async fn a_stop_string_ends_it_too() {
    let engine = start(&scripted("one two three"), 1).await;
    let request = GenerateRequest { stop: vec!["two".into()], ..constrained("x", 50, Constraint::JsonSchema(json!({"type": "string"}))) };
    let answer = answer(&engine, request).await;
    assert_eq!((answer.text.as_str(), answer.finish.reason), ("\"one ", FinishReason::StopString("two".into())));
}

#[tokio::test]
async fn what_cannot_be_followed_is_refused_at_once() {
    let engine = start(&scripted("abc"), 1).await;
    for constraint in [Constraint::Regex("(".into()), Constraint::JsonSchema(json!({"uniqueItems": true})), Constraint::Grammar("a".into())]
    {
        let error = engine.generate(constrained("x", 9, constraint)).await.err();
        assert!(matches!(error, Some(EngineError::InvalidRequest { .. })), "{error:?}");
    }
    assert_eq!(engine.health().queued, 0);
    assert_eq!(answer(&engine, constrained("x", 9, Constraint::Regex("b{3}".into()))).await.text, "bbb");
}

#[tokio::test]
async fn answers_of_different_forms_run_side_by_side() {
    let engine = start(&scripted("abcdefgh"), 4).await;
    let requests = (0..4).map(|number| {
        let constraint = (number > 0).then(|| Constraint::Regex(format!("({number}[a-z]){{10}}")));
        GenerateRequest { constraint, ..greedy("x", 20) }
    });
    let answers = futures_util::future::join_all(requests.map(|request| answer(&engine, request))).await;
    assert_eq!(answers[0].text, "abcdefghabcdefghabcd");
    for (number, answer) in answers.iter().enumerate().skip(1) {
        assert_eq!(answer.text.matches(&number.to_string()).count(), 10, "{}", answer.text);
    }
}
