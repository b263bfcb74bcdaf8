//! What clients of llama.cpp's server ask for.

use axum::http::StatusCode;
use minivault_daemon::routes::Tells;
use minivault_engines::testkit::Script;
use serde_json::{Value, json};

use crate::support::{Daemon, Engine, events_of};

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

#[tokio::test]
async fn slots_can_be_switched_off() {
    let daemon = Daemon::reciting("abc").await.telling(Tells { slots: false, verbose: true });
    let (status, answer) = daemon.get("/slots").await;
    assert_eq!((status, &answer["error"]["code"]), (StatusCode::NOT_IMPLEMENTED, &json!("unsupported")));
    assert!(answer["error"]["message"].as_str().unwrap().contains("server.slots = false"), "{answer}");
    let body = json!({"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 2});
    assert!(daemon.ask("/chat/completions", &body).await.1["__verbose"].is_object());
    assert_eq!(daemon.ask("/v1/chat/completions", &body).await.1["__verbose"], Value::Null);
}

#[tokio::test]
async fn a_chat_tells_its_times_its_prompt_and_how_far_it_is() {
    let daemon = Daemon::reciting("Assistant: fine, thank you.\n\n").await;
    let mut body = json!({"messages": [{"role": "user", "content": "How are you? ".repeat(9)}], "max_tokens": 6, "timings_per_token": true,
        "return_progress": true, "verbose": true, "temperature": 0, "cache_prompt": false});
    let (_, whole) = daemon.ask("/v1/chat/completions", &body).await;
    assert_eq!((&whole["timings"]["predicted_n"], &whole["timings"]["prompt_n"]), (&json!(6), &whole["usage"]["prompt_tokens"]), "{whole}");
    assert!(whole["timings"]["predicted_per_second"].as_f64().unwrap() > 0.0, "{whole}");
    let verbose = &whole["__verbose"];
    assert!(verbose["prompt"].as_str().unwrap().ends_with("How are you? \n\nAssistant:"), "{verbose}");
    assert_eq!((&verbose["content"], &verbose["stop_type"]), (&whole["choices"][0]["message"]["content"], &json!("limit")));
    assert_eq!(verbose["generation_settings"]["n_predict"], 6);
    (body["stream"], body["stream_options"]) = (json!(true), json!({"include_usage": true}));
    let events = events_of(daemon.post("/v1/chat/completions", &body).await).await;
    let chunks: Vec<Value> =
        events.iter().filter(|(_, data)| data != "[DONE]").map(|(_, data)| serde_json::from_str(data).unwrap()).collect();
    assert_eq!(chunks[0]["timings"], Value::Null);
    assert!(chunks[1..].iter().all(|chunk| chunk["timings"].is_object()), "{chunks:?}");
    assert_eq!(chunks.last().unwrap()["timings"]["predicted_n"], 6);
    let counts: Vec<u64> = chunks.iter().filter_map(|chunk| chunk["timings"]["predicted_n"].as_u64()).collect();
    assert!(counts.is_sorted() && counts[0] == 0, "{counts:?}");
    let read: Vec<&Value> = chunks.iter().map(|chunk| &chunk["prompt_progress"]).filter(|progress| progress.is_object()).collect();
    let (first, last) = (read[0], read[read.len() - 1]);
    assert_eq!((&first["processed"], &last["processed"]), (&json!(0), &last["total"]));
    assert!(read.len() > 2 && last["total"] == whole["usage"]["prompt_tokens"], "{read:?}");
    for wish in ["timings_per_token", "return_progress", "verbose"] {
        body[wish] = json!(false);
    }
    let events = events_of(daemon.post("/v1/chat/completions", &body).await).await;
    assert!(events.iter().all(|(_, data)| !data.contains("timings") && !data.contains("progress")));
}

#[tokio::test]
async fn a_completion_tells_its_times_and_how_far_it_is() {
    let daemon = Daemon::reciting("one two three ").await;
    let body = json!({"prompt": "x".repeat(70), "n_predict": 5, "stream": true, "timings_per_token": true, "return_progress": true});
    let events = events_of(daemon.post("/completion", &body).await).await;
    let events: Vec<Value> = events.iter().map(|(_, data)| serde_json::from_str(data).unwrap()).collect();
    assert!(events.iter().all(|event| event["timings"]["prompt_n"] == 70), "{events:?}");
    let read: Vec<u64> = events.iter().filter_map(|event| event["prompt_progress"]["processed"].as_u64()).collect();
    assert!(read.len() > 2 && read.first() == Some(&0) && read.last() == Some(&70), "{read:?}");
}

#[tokio::test]
async fn probabilities_of_the_draw_add_up() {
    let daemon = Daemon::reciting("one two three ").await;
    let body = json!({"prompt": "x", "n_predict": 5, "seed": 1, "temperature": 1.5, "top_k": 3, "top_p": 1, "n_probs": 10, "post_sampling_probs": true});
    let (_, answer) = daemon.ask("/completion", &body).await;
    let told = answer["completion_probabilities"].as_array().unwrap();
    assert_eq!(told.len(), 5);
    for token in told {
        let top = token["top_probs"].as_array().unwrap();
        let total: f64 = top.iter().map(|other| other["prob"].as_f64().unwrap()).sum();
        assert!(top.len() == 3 && (total - 1.0).abs() < 1e-5, "{token}");
        assert!(top.iter().any(|other| other["id"] == token["id"] && other["prob"] == token["prob"]), "{token}");
        assert!(token["logprob"].is_null() && token["top_logprobs"].is_null(), "{token}");
    }
    let logged = daemon.log().pop().unwrap();
    assert_eq!(logged["request"]["logprobs_of_draw"], json!(true), "a replay asks the same");
}

#[tokio::test]
async fn a_text_goes_on_where_its_end_is_ignored() {
    let script = Script { text: "abcd".into(), ends: true, ..Script::default() };
    let daemon = Daemon::with(vec![Engine::new("scripted", script)]).await;
    for (path, limit) in [("/completion", "n_predict"), ("/v1/completions", "max_tokens")] {
        let ask = async |ignore_eos| {
            let (_, answer) = daemon.ask(path, &json!({"prompt": "x", limit: 9, "temperature": 0, "ignore_eos": ignore_eos})).await;
            answer["tokens_predicted"].as_u64().or(answer["usage"]["completion_tokens"].as_u64())
        };
        assert_eq!((ask(false).await, ask(true).await), (Some(4), Some(9)), "{path}");
    }
}

#[tokio::test]
async fn a_conversation_is_rendered_and_measured_without_an_answer() {
    let daemon = Daemon::reciting("abc").await;
    let said = |role: &str, content: &str| json!({"role": role, "content": content});
    let mut body = json!({"messages": [said("user", "How are you?")]});
    let (_, applied) = daemon.ask("/apply-template", &body).await;
    assert_eq!(applied, json!({"prompt": "User: How are you?\n\nAssistant:"}));
    for path in ["/chat/completions/input_tokens", "/v1/chat/completions/input_tokens"] {
        let (_, measured) = daemon.ask(path, &body).await;
        assert_eq!(measured, json!({"object": "response.input_tokens", "input_tokens": 30}), "{path}");
    }
    body["messages"] = json!([said("user", "How?"), said("assistant", "Fi")]);
    assert_eq!(daemon.ask("/apply-template", &body).await.1["prompt"], "User: How?\n\nAssistant:Fi", "an answer is begun");
    assert!(daemon.log().is_empty(), "nothing was generated");
    body["messages"] = json!([]);
    assert_eq!(daemon.ask("/apply-template", &body).await.0, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_begun_answer_is_gone_on_with_where_llama_cpps_server_does() {
    let daemon = Daemon::reciting("Assistant: fine.\n\n").await;
    let begun = json!([{"role": "user", "content": "How?"}, {"role": "assistant", "content": " fi"}]);
    let prompt_of = async |path: &str, more: Value| {
        let mut body = json!({"messages": begun, "max_tokens": 3, "verbose": true});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let (status, answer) = daemon.ask(path, &body).await;
        (status.as_u16(), answer["__verbose"]["prompt"].as_str().unwrap_or_default().to_owned())
    };
    let (on, anew) = ("User: How?\n\nAssistant: fi", "User: How?\n\nAssistant:  fi\n\nAssistant:");
    assert_eq!(prompt_of("/chat/completions", json!({})).await, (200, on.into()));
    assert_eq!(prompt_of("/v1/chat/completions", json!({})).await, (200, anew.into()));
    assert_eq!(
        prompt_of("/v1/chat/completions", json!({"continue_final_message": true, "add_generation_prompt": false})).await,
        (200, on.into())
    );
    assert_eq!(prompt_of("/chat/completions", json!({"add_generation_prompt": true})).await, (200, anew.into()));
    let both = json!({"continue_final_message": true, "add_generation_prompt": true});
    assert_eq!(prompt_of("/v1/chat/completions", both).await.0, 400);
}
