//! What clients of llama.cpp's server ask for.

use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::support::{Daemon, events_of};

#[tokio::test]
async fn a_completion_has_the_form_of_llama_cpps_server() {
    let daemon = Daemon::reciting("one\ntwo three ").await;
    let body = json!({"prompt": "x", "n_predict": 7, "seed": 5, "return_tokens": true, "n_probs": 2});
    for path in ["/completion", "/completions"] {
        let (status, answer) = daemon.ask(path, &body).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        assert_eq!((&answer["content"], &answer["stop"], &answer["stop_type"]), (&json!("one\ntwo"), &json!(true), &json!("limit")));
        assert_eq!(answer["tokens"], json!("one\ntwo".bytes().collect::<Vec<_>>()));
        assert_eq!((&answer["has_new_line"], &answer["truncated"], &answer["prompt"]), (&json!(true), &json!(false), &json!("x")));
        assert_eq!((&answer["generation_settings"]["seed"], &answer["timings"]["predicted_n"]), (&json!(5), &json!(7)));
        let probabilities = answer["completion_probabilities"].as_array().unwrap();
        assert_eq!((probabilities.len(), probabilities[0]["top_logprobs"].as_array().unwrap().len()), (7, 2));
    }
    let (_, stopped) = daemon.ask("/completion", &json!({"prompt": "x", "stop": ["two"]})).await;
    assert_eq!((&stopped["content"], &stopped["stop_type"], &stopped["stopping_word"]), (&json!("one\n"), &json!("word"), &json!("two")));
    assert_eq!(stopped["tokens"], json!([]));
    let tokens = async |body: Value| daemon.ask("/completion", &body).await.1["tokens_predicted"].clone();
    assert_eq!(tokens(json!({"prompt": "x"})).await, 20, "the daemon's default");
    assert_eq!(tokens(json!({"prompt": "x", "n_predict": -1})).await, 511, "the rest of the context");
    assert_eq!(tokens(json!({"prompt": "x", "n_predict": 0})).await, 0);
}

#[tokio::test]
async fn its_stream_ends_with_the_whole_story() {
    let daemon = Daemon::reciting("one two three ").await;
    let events = events_of(daemon.post("/completion", &json!({"prompt": "x", "n_predict": 5, "stream": true})).await).await;
    let events: Vec<Value> = events.iter().map(|(_, data)| serde_json::from_str(data).unwrap()).collect();
    let (end, pieces) = events.split_last().unwrap();
    let text: String = pieces.iter().map(|piece| piece["content"].as_str().unwrap()).collect();
    assert_eq!((text.as_str(), &end["stop"], &end["tokens_predicted"]), ("one t", &json!(true), &json!(5)));
    assert!(pieces.iter().all(|piece| piece["stop"] == false && piece["tokens"].as_array().unwrap().len() == 1));
}

#[tokio::test]
async fn prompts_may_mix_text_and_tokens() {
    let daemon = Daemon::reciting("abcdef").await;
    let ask = async |prompt: Value| daemon.ask("/completion", &json!({"prompt": prompt, "n_predict": 2})).await.1;
    for prompt in [json!("ab"), json!([97, 98]), json!([97, "b"]), json!({"prompt_string": "ab"})] {
        assert_eq!(ask(prompt).await["content"], "cd");
    }
    let several = ask(json!(["ab", [97, 98], {"prompt_string": "abc"}])).await;
    assert_eq!(several.as_array().unwrap().iter().map(|answer| &answer["content"]).collect::<Vec<_>>(), ["cd", "cd", "de"]);
    let too_many = ask(json!(vec!["a"; 129])).await;
    assert!(too_many["error"]["message"].as_str().unwrap().contains("1 to 128 entries"), "{too_many}");
    let image = ask(json!({"prompt_string": "a", "multimodal_data": "iVBO"})).await;
    assert_eq!(image["error"]["param"], "multimodal_data");
    for biases in [json!([["c", false]]), json!([[99, -100]]), json!({"99": -100}), json!({"c": -100})] {
        let (_, answer) = daemon.ask("/completion", &json!({"prompt": "ab", "n_predict": 1, "logit_bias": biases})).await;
        assert_ne!(answer["content"], "c", "{biases}");
    }
}

#[tokio::test]
async fn a_chat_is_refused_in_the_words_of_llama_cpps_server() {
    let daemon = Daemon::reciting("Assistant: fine.\n\nUser: ").await;
    let said = |role: &str, content: &str| json!({"role": role, "content": content});
    let twice = json!({"messages": [said("user", "a"), said("assistant", "b"), said("assistant", "c")], "max_tokens": 1});
    let long = json!({"messages": [said("user", &"a".repeat(600))]});
    for (body, path, status, kind) in [
        (&twice, "/chat/completions", 400, "invalid_request_error"),
        (&twice, "/v1/chat/completions", 200, ""),
        (&long, "/chat/completions", 400, "exceed_context_size_error"),
        (&long, "/v1/chat/completions", 400, "invalid_request_error"),
    ] {
        let (seen, answer) = daemon.ask(path, body).await;
        assert_eq!((seen.as_u16(), answer["error"]["type"].as_str().unwrap_or_default()), (status, kind), "{path}: {answer}");
    }
}

#[tokio::test]
async fn props_and_slots_tell_of_the_default_engine() {
    let daemon = Daemon::reciting("abc").await;
    let (_, props) = daemon.get("/props").await;
    assert_eq!((&props["total_slots"], &props["default_generation_settings"]["n_ctx"]), (&json!(4), &json!(512)));
    let (_, slots) = daemon.get("/slots").await;
    assert_eq!(slots.as_array().unwrap().len(), 4);
    assert_eq!(slots[0], json!({"id": 0, "n_ctx": 512, "is_processing": false}));
    assert_eq!(daemon.get("/v1/health").await.0, StatusCode::OK);
    assert_eq!(daemon.get("/models").await.1, daemon.get("/v1/models").await.1);
}
