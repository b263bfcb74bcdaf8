//! What crosses the socket arrives as it was.

use std::fmt::Debug;
use std::time::Duration;

use serde_json::json;

use super::frame::{self, framed};
use super::messages::{Answer, Ask, Call, Start, Tell};
use super::wire::{Bytes, Malformed, Wire};
use crate::chat::{ChatMessage, ToolCall};
use crate::error::EngineError;
use crate::generation::{Alternative, Beginning, Finish, FinishReason, TextEvent, Token, ToolCallPiece, Usage};
use crate::meter::{Counts, Measured};
use crate::model::Logits;
use crate::request::{Constraint, GenerateRequest, MaxTokens, Prompt, RequestOptions, Sampling, ToolChoice};
use crate::text_engine::{Capabilities, Computation, Determinism, Embedding, EngineInfo, Health, State};

fn crossed<T: Wire>(value: &T) -> T {
    let mut bytes = Vec::new();
    value.put(&mut bytes);
    let mut from = Bytes::new(&bytes);
    let value = T::take(&mut from).unwrap();
    assert!(from.is_empty(), "all of it was taken");
    value
}

/// `Debug` tells every field of these types; floats are told exactly, too.
fn check<T: Wire + Debug>(value: &T) {
    assert_eq!(format!("{:?}", crossed(value)), format!("{value:?}"));
}

fn requests() -> Vec<GenerateRequest> {
    let plain = GenerateRequest::text("Grüße 🥊", MaxTokens::Exactly(7));
    let schema = json!({"type": "object", "b": [1, -2, 0.1, 1e300, null, true, u64::MAX, i64::MIN], "a": {"z": {}, "": []}});
    let calls = vec![ToolCall { id: "1".into(), name: "weather".into(), arguments: "{\"city\":\"Łódź\"}".into() }];
    let asked = ChatMessage { role: "assistant".into(), content: String::new(), tool_calls: calls, tool_call_id: None };
    let answered = ChatMessage { tool_call_id: Some("1".into()), ..ChatMessage::new("tool", "rain") };
    let sampling = Sampling {
        logit_bias: vec![(3, -0.0), (u32::MAX, f32::MIN_POSITIVE)],
        repetition_penalty: 1.1,
        presence_penalty: -0.3,
        frequency_penalty: 1.7,
        temperature: 0.7,
        top_k: 40,
        top_p: 0.95,
        min_p: 0.05,
        seed: Some(u64::MAX),
    };
    vec![
        plain.clone(),
        GenerateRequest {
            prompt: Prompt::Chat { messages: vec![asked, answered], tools: vec![schema.clone()] },
            max_tokens: MaxTokens::Remaining,
            sampling,
            stop: vec!["\n".into(), "ß".into()],
            logprobs: Some(20),
            constraint: Some(Constraint::JsonSchema(schema)),
            tool_choice: ToolChoice::Named("weather".into()),
            deterministic: true,
            parallel_tool_calls: false,
            options: RequestOptions { ignore_eos: true, logprobs_of_draw: true, progress: true, ..RequestOptions::default() },
            client: Some("somebody".into()),
        },
        GenerateRequest { prompt: Prompt::Tokens(vec![0, 1, 49_151]), constraint: Some(Constraint::JsonObject), ..plain.clone() },
        GenerateRequest {
            max_tokens: MaxTokens::AtMost(1),
            constraint: Some(Constraint::Grammar("root ::= \"a\"".into())),
            ..plain.clone()
        },
        GenerateRequest { constraint: Some(Constraint::Regex("a+".into())), tool_choice: ToolChoice::Required, ..plain.clone() },
        GenerateRequest { tool_choice: ToolChoice::None, ..plain },
    ]
}

#[test]
fn requests_arrive_whole() {
    for request in requests() {
        assert_eq!(crossed(&request), request);
        check(&Ask::Call { id: u64::MAX, call: Call::Choices { request, count: 3 } });
    }
    let start = Start {
        backend: "llama-cpp".into(),
        table: json!({"model": "m.gguf", "slots": 8}),
        name: "mine".into(),
        base: "/tmp/ü".into(),
        memory_limit: Some(1 << 40),
        turn: vec!["/proc/1/fd/2".into()],
    };
    let prompt = Prompt::Text("x".into());
    for ask in [
        Ask::Start(start),
        Ask::More { id: 5 },
        Ask::Cancel { first: 5, count: 2 },
        Ask::Call { id: 1, call: Call::Score { prompt: prompt.clone(), alternatives: 5 } },
        Ask::Call { id: 1, call: Call::TokenBytes(vec![1, 2]) },
        Ask::Call { id: 1, call: Call::PromptPrefix },
        Ask::Call { id: 1, call: Call::Tokenize("Łódź".into()) },
        Ask::Call { id: 1, call: Call::Detokenize(vec![7]) },
        Ask::Call { id: 1, call: Call::Embed(vec![prompt]) },
        Ask::Call { id: 1, call: Call::Logits(vec![]) },
    ] {
        check(&ask);
    }
}

#[test]
fn answers_arrive_whole() {
    let token = Token {
        id: 1,
        bytes: vec![0xF0, 0x9F],
        logprob: Some(-0.1),
        top: vec![Alternative { id: 2, bytes: vec![], logprob: f32::NEG_INFINITY }, Alternative { id: 3, bytes: vec![9], logprob: -1e-40 }],
    };
    let usage = Usage { prompt_tokens: 1, completion_tokens: 2, cached_tokens: 3 };
    let piece = ToolCallPiece { index: 1, id: Some("c".into()), name: None, arguments: "{".into() };
    let mut events = vec![
        Ok(TextEvent::Text { text: "ß".into(), tokens: vec![token.clone()] }),
        Ok(TextEvent::ToolCall(piece)),
        Err(EngineError::Stopped),
    ];
    let reasons = [FinishReason::EndOfText, FinishReason::StopString("\n".into()), FinishReason::Length, FinishReason::ToolCalls];
    events.extend(reasons.map(|reason| Ok(TextEvent::Finished(Finish { reason, usage, end: Some(token.clone()) }))));
    check(&Tell::Events { id: 3, events });
    let beginning = Beginning { seed: 1 << 53, prompt_text: "ä".into(), prompt_tokens: [1, 2].into(), max_tokens: 9 };
    for answer in [
        Answer::Begun(vec![beginning]),
        Answer::Scored(vec![token]),
        Answer::Bytes(vec![vec![], vec![255]]),
        Answer::Tokens(vec![u32::MAX]),
        Answer::Text("🥊".into()),
        Answer::Embedded(vec![Embedding { vector: vec![0.1, -0.0], tokens: 4 }]),
        Answer::Readable,
        Answer::Rows(None),
    ] {
        check(&Tell::Answer { id: 0, answer: Ok(answer) });
    }
    let info = EngineInfo {
        name: "a".into(),
        backend: "b".into(),
        model: "c".into(),
        source: "d".into(),
        fingerprint: "e".into(),
        context_length: 2048,
        determinism: Determinism::Serial,
        capabilities: Capabilities { chat_template: true, logprobs: false, tokenize: true, embeddings: false },
        computation: Computation { version: "f".into(), dtype: "g".into(), kernel: "h".into(), threads: 3 },
    };
    let counts = |sum| Counts { counts: vec![1, 0, u64::MAX], sum };
    let measured = Measured { widths: counts(0.1), waits: counts(-1e300) };
    let health = Health { state: State::Failed("why".into()), active: 1, queued: 2, slots: 3, measured, restarts: 4 };
    check(&Tell::Serving { info, health: health.clone() });
    check(&Tell::Health(health));
}

#[test]
fn refusals_keep_their_fields() {
    let refusals = [
        EngineError::invalid("max_tokens", "max_tokens is 0; it must be at least 1"),
        EngineError::ContextLengthExceeded { prompt_tokens: 9, max_tokens: Some(4), limit: 8 },
        EngineError::ContextLengthExceeded { prompt_tokens: 9, max_tokens: None, limit: 8 },
        EngineError::Busy { waiting: 64 },
        EngineError::UpstreamBusy { retry_after: Duration::new(3, 999_999_999) },
        EngineError::Unsupported { engine: "a".into(), what: "embeddings".into() },
        EngineError::Unavailable("no file".into()),
        EngineError::Stopped,
        EngineError::Upstream("gone".into()),
        EngineError::failed("the matrix is singular"),
    ];
    for refusal in refusals {
        check(&refusal);
    }
    let EngineError::Failed(cause) = crossed(&EngineError::failed(std::io::Error::other("disk"))) else { panic!("another error") };
    assert_eq!(cause.to_string(), "disk");
}

#[test]
fn floats_keep_their_bits() {
    let strange = [0x7FC0_0001, 0xFFC0_0000, 0x7F80_0001, 0x8000_0000, 0x0000_0001, 0xFF80_0000].map(f32::from_bits);
    for number in strange {
        assert_eq!(crossed(&number).to_bits(), number.to_bits());
    }
    let mut logits = Logits::new(3);
    logits.push(&strange[..3]);
    logits.push(&strange[3..]);
    let crossed = crossed(&logits);
    let bits = |row: &[f32]| row.iter().map(|logit| logit.to_bits()).collect::<Vec<_>>();
    assert_eq!((crossed.rows(), crossed.width()), (2, 3));
    assert_eq!([bits(crossed.row(0)), bits(crossed.row(1))].concat(), bits(&strange));
}

#[tokio::test]
async fn what_is_cut_short_or_wrong_is_no_message() {
    let whole = framed(&Ask::Call { id: 1, call: Call::Choices { request: requests().remove(1), count: 1 } });
    let read = async |mut bytes: &[u8]| frame::read::<Ask>(&mut bytes, &mut Vec::new()).await.map_err(|error| error.kind());
    assert!(read(&whole).await.is_ok());
    for length in 0..whole.len() {
        assert_eq!(read(&whole[..length]).await.err(), Some(std::io::ErrorKind::UnexpectedEof), "{length} bytes of it");
        let mut message = &whole[8..];
        message = &message[..length.min(message.len() - 1)];
        assert_eq!(Ask::take(&mut Bytes::new(message)).err(), Some(Malformed), "{length} bytes of the message");
    }
    // Lengths that nothing follows ask for no memory.
    for lie in [&[0xFF; 8][..], &[1 << 6, 0, 0, 0, 0, 0, 0, 0, 255]] {
        assert!(read(lie).await.is_err());
    }
    let mut longer = framed(&Ask::More { id: 1 });
    longer.push(0);
    longer[0] += 1;
    assert_eq!(read(&longer).await.err(), Some(std::io::ErrorKind::InvalidData));
    assert_eq!(Vec::<u64>::take(&mut Bytes::new(&[0xFF; 8])), Err(Malformed));
}
