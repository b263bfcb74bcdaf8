//! `/v1/chat/completions`.

use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::support::{Daemon, events_of, text_of};

fn conversation() -> Value {
    json!({"messages": [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "How are you?"}], "temperature": 0})
}

#[tokio::test]
async fn messages_go_in_and_text_comes_out() {
    let daemon = Daemon::reciting("Assistant: fine.\n\nUser: ").await;
    let (status, answer) = daemon.ask("/v1/chat/completions", &conversation()).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    assert_eq!((&answer["object"], &answer["model"]), (&json!("chat.completion"), &json!("scripted")));
    let expected = json!([{"index": 0, "message": {"role": "assistant", "content": " fine.\n", "refusal": null}, "logprobs": null, "finish_reason": "stop"}]);
    assert_eq!(answer["choices"], expected);
    let line = daemon.log().pop().unwrap();
    assert_eq!(line["prompt"], "Be kind.\n\nUser: How are you?\n\nAssistant:", "the log has the rendered text");
    assert_eq!(line["request"]["messages"], conversation()["messages"]);
    assert_eq!(line["id"], answer["id"]);
}

#[tokio::test]
async fn a_second_turn_tells_what_was_cached_of_the_first() {
    let daemon = Daemon::reciting("Assistant: fine.\n\nUser: ").await;
    let mut body = conversation();
    let (_, answer) = daemon.ask("/v1/chat/completions", &body).await;
    assert_eq!(answer["usage"]["prompt_tokens_details"], json!({"cached_tokens": 0}));
    let messages = body["messages"].as_array_mut().unwrap();
    messages.extend([json!({"role": "assistant", "content": "fine."}), json!({"role": "user", "content": "Good."})]);
    let (_, answer) = daemon.ask("/v1/chat/completions", &body).await;
    let cached = answer["usage"]["prompt_tokens_details"]["cached_tokens"].as_u64();
    assert!(cached >= Some(40 + " fine.".len() as u64), "{answer}");
}

#[tokio::test]
async fn a_stream_speaks_openais_dialect() {
    let daemon = Daemon::reciting("Assistant: fine.\n\nUser: ").await;
    let mut body = conversation();
    (body["stream"], body["stream_options"]) = (json!(true), json!({"include_usage": true}));
    let events = events_of(daemon.post("/v1/chat/completions", &body).await).await;
    assert!(events.iter().all(|(name, _)| name.is_empty()), "all events are unnamed");
    let (done, chunks) = events.split_last().unwrap();
    assert_eq!(done.1, "[DONE]");
    let chunks: Vec<Value> = chunks.iter().map(|(_, data)| serde_json::from_str(data).unwrap()).collect();
    assert_eq!(chunks[0]["choices"][0]["delta"], json!({"role": "assistant", "content": null}));
    let text: String = chunks.iter().filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str()).collect();
    assert_eq!(text, " fine.\n");
    let [.., finish, usage] = &chunks[..] else { panic!("{chunks:?}") };
    assert_eq!(finish["choices"][0]["finish_reason"], "stop");
    assert_eq!((&usage["choices"], &usage["usage"]["prompt_tokens"]), (&json!([]), &json!(40)));
    assert!(chunks.iter().all(|chunk| chunk["id"] == chunks[0]["id"] && chunk["object"] == "chat.completion.chunk"));
}

#[tokio::test]
async fn several_answers_and_what_the_model_thought_of_them() {
    let daemon = Daemon::reciting("Assistant: fine.\n\nUser: ").await;
    let mut body = conversation();
    for (field, value) in
        [("n", json!(3)), ("seed", json!(-5)), ("temperature", json!(1.5)), ("logprobs", json!(true)), ("top_logprobs", json!(2))]
    {
        body[field] = value;
    }
    body["max_completion_tokens"] = json!(5);
    let (status, answer) = daemon.ask("/v1/chat/completions", &body).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    let choices = answer["choices"].as_array().unwrap();
    assert_eq!((choices.len(), &answer["usage"]["completion_tokens"]), (3, &json!(15)));
    for choice in choices {
        let tokens = choice["logprobs"]["content"].as_array().unwrap();
        let text: String = tokens.iter().map(|token| token["token"].as_str().unwrap()).collect();
        assert_eq!(json!(text), choice["message"]["content"]);
        for token in tokens {
            assert_eq!(token["bytes"], json!(token["token"].as_str().unwrap().as_bytes()));
            let top = token["top_logprobs"].as_array().unwrap();
            assert!(top.len() == 2 && top[0]["logprob"].as_f64() >= top[1]["logprob"].as_f64(), "{token}");
            assert!(token["logprob"].as_f64() <= top[0]["logprob"].as_f64());
        }
    }
    body["stream"] = json!(true);
    let events = events_of(daemon.post("/v1/chat/completions", &body).await).await;
    let chunks: Vec<Value> = events.iter().filter_map(|(_, data)| serde_json::from_str(data).ok()).collect();
    for choice in choices {
        let own: Vec<&Value> = chunks.iter().map(|chunk| &chunk["choices"][0]).filter(|own| own["index"] == choice["index"]).collect();
        let text: String = own.iter().filter_map(|own| own["delta"]["content"].as_str()).collect();
        assert_eq!(json!(text), choice["message"]["content"]);
        let told: Vec<&Value> = own.iter().filter_map(|own| own["logprobs"]["content"].as_array()).flatten().collect();
        assert_eq!(json!(told), choice["logprobs"]["content"]);
    }
}

#[tokio::test]
async fn a_bias_forbids_a_token() {
    let daemon = Daemon::reciting("Assistant: fine.\n\nUser: ").await;
    let mut body = conversation();
    (body["logit_bias"], body["max_tokens"]) = (json!({"102": -100}), json!(3));
    let (_, answer) = daemon.ask("/v1/chat/completions", &body).await;
    let text = answer["choices"][0]["message"]["content"].as_str().unwrap();
    assert!(text.starts_with(' ') && !text.contains('f'), "{text:?}");
}

#[tokio::test]
async fn content_comes_in_parts_too() {
    let daemon = Daemon::reciting("Assistant: fine.\n\nUser: ").await;
    let parts = json!([{"type": "text", "text": "How"}, {"type": "text", "text": "are you?"}]);
    let body = json!({"messages": [{"role": "developer", "content": "Be kind."}, {"role": "user", "content": parts}], "max_tokens": 1});
    let (status, answer) = daemon.ask("/v1/chat/completions", &body).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    assert_eq!(daemon.log().pop().unwrap()["prompt"], "Be kind.\n\nUser: How\nare you?\n\nAssistant:");
}

#[tokio::test]
async fn an_answer_of_no_tokens_is_an_empty_one() {
    let daemon = Daemon::reciting("Assistant: fine.\n\nUser: ").await;
    let mut body = conversation();
    (body["max_tokens"], body["max_completion_tokens"]) = (json!(0), json!(0));
    let (status, answer) = daemon.ask("/v1/chat/completions", &body).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    let choice = &answer["choices"][0];
    assert_eq!((&choice["message"]["content"], &choice["finish_reason"]), (&json!(""), &json!("length")));
    assert_eq!((&answer["usage"]["prompt_tokens"], &answer["usage"]["completion_tokens"]), (&json!(40), &json!(0)));
    body["stream"] = json!(true);
    let events = events_of(daemon.post("/v1/chat/completions", &body).await).await;
    assert!(events.iter().any(|(_, data)| data.contains(r#""finish_reason":"length""#)), "{events:?}");
    let completion = daemon.ask("/v1/completions", &json!({"prompt": "x", "max_tokens": 0})).await.1;
    assert_eq!((&completion["choices"][0]["text"], &completion["choices"][0]["finish_reason"]), (&json!(""), &json!("length")));
}

#[tokio::test]
async fn what_is_left_aside_is_named_in_the_head_and_the_log() {
    let daemon = Daemon::reciting("Assistant: fine.\n\nUser: ").await;
    let mut body = conversation();
    body["web_search_options"] = json!({"search_context_size": "low"});
    body["reasoning_effort"] = json!("low");
    for (stream, path) in [(false, "/v1/chat/completions"), (true, "/v1/chat/completions"), (false, "/v1/completions")] {
        (body["stream"], body["prompt"]) = (json!(stream), json!("x"));
        let response = daemon.post(path, &body).await;
        assert_eq!(
            (response.status(), &response.headers()["x-minivault-ignored"]),
            (StatusCode::OK, &"web_search_options, reasoning_effort".parse().unwrap())
        );
        text_of(response).await;
        assert_eq!(daemon.log().pop().unwrap()["request"]["ignored"], json!(["web_search_options", "reasoning_effort"]));
    }
    let response = daemon.post("/v1/chat/completions", &conversation()).await;
    assert!(!response.headers().contains_key("x-minivault-ignored"));
    text_of(response).await;
    assert_eq!(daemon.log().pop().unwrap()["request"].get("ignored"), None);
}
