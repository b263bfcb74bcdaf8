//! What other servers say, recorded: Ollama's stream, its errors, and what is sent to it.

use minivault_engines::chat::ChatMessage;
use minivault_engines::{Completion, EngineError, FinishReason, GenerateRequest, MaxTokens, Prompt, Sampling, State, Usage};
use serde_json::json;

use crate::fixture::{Fixture, Reply};
use crate::{open, text};

/// What Ollama 0.5 streams for a chat, with the usage that it tells only when asked.
const OLLAMA_CHAT: [&str; 5] = [
    r#"{"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"llama3.2","system_fingerprint":"fp_ollama","choices":[{"index":0,"delta":{"role":"assistant","content":"Hel"},"finish_reason":null}]}"#,
    r#"{"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"llama3.2","system_fingerprint":"fp_ollama","choices":[{"index":0,"delta":{"role":"assistant","content":"lo 🥊"},"finish_reason":null}]}"#,
    r#"{"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"llama3.2","system_fingerprint":"fp_ollama","choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":"stop"}]}"#,
    r#"{"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"llama3.2","system_fingerprint":"fp_ollama","choices":[],"usage":{"prompt_tokens":26,"completion_tokens":3,"total_tokens":29}}"#,
    "[DONE]",
];

fn chat() -> GenerateRequest {
    let messages = vec![ChatMessage::new("system", "Be brief."), ChatMessage::new("user", "Hi")];
    GenerateRequest {
        prompt: Prompt::Chat { messages, tools: Vec::new() },
        max_tokens: MaxTokens::Remaining,
        ..GenerateRequest::text("", MaxTokens::Remaining)
    }
}

#[tokio::test]
async fn a_chat_goes_to_ollama_unrendered_and_comes_back_as_it_streams() {
    let ollama = Fixture::start(|_, _| Reply::events(&OLLAMA_CHAT)).await;
    let engine = open(&[&ollama.url], &json!({})).await.unwrap();
    let generation = engine.generate(chat()).await.unwrap();
    let seed = generation.beginning().seed;
    assert_eq!(&*generation.beginning().prompt_text, "system: Be brief.\n\nuser: Hi");
    let Completion { text, tokens, finish, .. } = generation.collect().await.unwrap();
    assert_eq!((text.as_str(), tokens.len(), &finish.reason), ("Hello 🥊", 0, &FinishReason::EndOfText));
    assert_eq!(finish.usage, Usage { prompt_tokens: 26, completion_tokens: 3, cached_tokens: 0 });
    let asked = &ollama.asked()[0];
    assert_eq!(asked.path, "/v1/chat/completions");
    let expected = json!({"model": "scripted", "stream": true, "stream_options": {"include_usage": true},
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}],
        "temperature": 1.0, "top_p": 1.0, "presence_penalty": 0.0, "frequency_penalty": 0.0, "seed": seed});
    assert_eq!(asked.body, expected);
    assert_eq!(engine.health().active, 0, "its place is free again");
}

#[tokio::test]
async fn a_text_is_streamed_and_without_a_usage_its_pieces_count() {
    let ollama = Fixture::start(|_, _| Reply::text(&["Once", " upon"])).await;
    let engine = open(&[&ollama.url], &json!({"extra": {"keep_alive": "1h"}})).await.unwrap();
    let request = GenerateRequest {
        sampling: Sampling { top_k: 5, seed: Some(9), ..Sampling::default() },
        stop: vec!["x".into()],
        ..GenerateRequest::text("Hi", MaxTokens::Exactly(4))
    };
    let Completion { text, finish, .. } = engine.generate(request).await.unwrap().collect().await.unwrap();
    assert_eq!((text.as_str(), finish.usage.completion_tokens), ("Once upon", 2));
    let asked = &ollama.asked()[0];
    assert_eq!((asked.path.as_str(), &asked.body["prompt"]), ("/v1/completions", &json!("Hi")));
    let sent = ["max_tokens", "top_k", "seed", "stop", "keep_alive"].map(|key| asked.body[key].clone());
    assert_eq!(sent, [json!(4), json!(5), json!(9), json!(["x"]), json!("1h")]);
}

#[tokio::test]
async fn the_end_may_lack_its_mark_but_not_its_reason() {
    let end = r#"{"choices":[{"index":0,"text":"","finish_reason":"length"}]}"#;
    let told = Fixture::start(move |_, _| Reply::events(&[r#"{"choices":[{"text":"a"}]}"#, end])).await;
    let engine = open(&[&told.url], &json!({})).await.unwrap();
    let completion = engine.generate(GenerateRequest::text("Hi", MaxTokens::AtMost(1))).await.unwrap().collect().await.unwrap();
    assert_eq!(completion.finish.reason, FinishReason::Length);

    let cut = Fixture::start(|_, _| Reply::events(&[r#"{"choices":[{"text":"a"}]}"#])).await;
    let engine = open(&[&cut.url], &json!({})).await.unwrap();
    let error = text(&*engine, GenerateRequest::text("Hi", MaxTokens::AtMost(1))).await.unwrap_err();
    assert_eq!(error.to_string(), "the upstream server failed: its answer broke off");
}

#[tokio::test]
async fn log_probabilities_that_are_not_told_are_refused_and_not_left_out() {
    let ollama = Fixture::start(|_, _| Reply::text(&["Once"])).await;
    let engine = open(&[&ollama.url], &json!({})).await.unwrap();
    let request = GenerateRequest { logprobs: Some(2), ..GenerateRequest::text("Hi", MaxTokens::AtMost(4)) };
    let error = text(&*engine, request).await.unwrap_err();
    assert!(matches!(&error, EngineError::Unsupported { what, .. } if what.starts_with("logprobs")), "{error:?}");
    assert_eq!(ollama.asked()[0].body["logprobs"], 2);
}

#[tokio::test]
async fn a_call_of_a_tool_is_passed_on() {
    let call = r#"{"choices":[{"index":0,"delta":{"role":"assistant","content":"","tool_calls":[{"id":"call_1","index":0,"type":"function","function":{"name":"weather","arguments":"{\"city\":\"Bonn\"}"}}]},"finish_reason":null}]}"#;
    let end = r#"{"choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":"tool_calls"}]}"#;
    let ollama = Fixture::start(move |_, _| Reply::events(&[call, end, "[DONE]"])).await;
    let engine = open(&[&ollama.url], &json!({})).await.unwrap();
    let tool = json!({"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}});
    let request =
        GenerateRequest { prompt: Prompt::Chat { messages: vec![ChatMessage::new("user", "Hi")], tools: vec![tool.clone()] }, ..chat() };
    let completion = engine.generate(request).await.unwrap().collect().await.unwrap();
    let called = &completion.tool_calls[0];
    assert_eq!((called.id.as_str(), called.name.as_str(), called.arguments.as_str()), ("call_1", "weather", r#"{"city":"Bonn"}"#));
    assert_eq!(completion.finish.reason, FinishReason::ToolCalls);
    let body = &ollama.asked()[0].body;
    assert_eq!((&body["tools"], &body["tool_choice"]), (&json!([tool]), &json!("auto")));
}

#[tokio::test]
async fn a_key_comes_from_the_environment_and_goes_along() {
    // Whatever runs the tests has set this; its value is no secret.
    let server = Fixture::start(|_, _| Reply::text(&["a"])).await;
    let engine = open(&[&server.url], &json!({"api_key_env": "CARGO_PKG_NAME"})).await.unwrap();
    text(&*engine, GenerateRequest::text("Hi", MaxTokens::AtMost(1))).await.unwrap();
    assert_eq!(server.asked()[0].headers["authorization"], "Bearer minivault-daemon");
    let missing = open(&[&server.url], &json!({"api_key_env": "MINIVAULT_TEST_NO_SUCH_KEY"})).await.err().unwrap();
    assert!(missing.to_string().contains("MINIVAULT_TEST_NO_SUCH_KEY, which isn't set"), "{missing}");
}

#[tokio::test]
async fn an_engine_opens_before_its_server_is_there() {
    let engine = open(&["http://127.0.0.1:9/v1"], &json!({"context": 64})).await.unwrap();
    assert_eq!((engine.health().state, engine.info().context_length), (State::Ready, 64));
    let error = text(&*engine, GenerateRequest::text("Hi", MaxTokens::AtMost(1))).await.unwrap_err();
    assert_eq!(error.to_string(), "the upstream server failed: it can't be reached");
}
