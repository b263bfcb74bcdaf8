//! `/v1/completions`.

use axum::http::StatusCode;
use minivault_engines::testkit::Script;
use serde_json::{Value, json};

use crate::support::{Daemon, Engine, events_of};

const PATH: &str = "/v1/completions";

/// The chunks of a stream that ended as it should.
async fn chunks_of(daemon: &Daemon, body: &Value) -> Vec<Value> {
    let events = events_of(daemon.post(PATH, body).await).await;
    assert!(events.iter().all(|(name, _)| name.is_empty()), "all events are unnamed");
    let (done, chunks) = events.split_last().unwrap();
    assert_eq!(done.1, "[DONE]");
    chunks.iter().map(|(_, data)| serde_json::from_str(data).unwrap()).collect()
}

fn texts(answer: &Value) -> Vec<String> {
    answer["choices"].as_array().unwrap().iter().map(|choice| choice["text"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn an_answer_has_openais_form() {
    let daemon = Daemon::reciting("one two three four five ").await;
    let body = json!({"prompt": "x", "temperature": 0, "seed": 7, "user": "Ann", "metadata": {"session": "5"}});
    let (status, answer) = daemon.ask(PATH, &body).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    let choices = json!([{"index": 0, "text": "one two three fo", "logprobs": null, "finish_reason": "length"}]);
    assert_eq!((&answer["object"], &answer["choices"]), (&json!("text_completion"), &choices), "16 tokens are the default");
    let usage = json!({"prompt_tokens": 1, "completion_tokens": 16, "total_tokens": 17, "prompt_tokens_details": {"cached_tokens": 0}});
    assert_eq!(answer["usage"], usage);
    assert_eq!((&answer["model"], &answer["system_fingerprint"]), (&json!("scripted"), &json!("scripted-1")));
    let line = daemon.log().pop().unwrap();
    assert_eq!((&line["id"], &line["endpoint"], &line["prompt"]), (&answer["id"], &json!(PATH), &json!("x")));
    assert_eq!((&line["request"]["user"], &line["request"]["metadata"]), (&json!("Ann"), &json!({"session": "5"})));
    assert_eq!((&line["request"]["top_k"], &line["request"]["repetition_penalty"]), (&json!(0), &json!(1.0)), "OpenAI's defaults");
}

#[tokio::test]
async fn prompts_come_in_four_forms() {
    let daemon = Daemon::reciting("abcdef").await;
    let cases = [
        (json!("ab"), vec!["cde"]),
        (json!(["ab", "abc", "x"]), vec!["cde", "def", "abc"]),
        (json!([97, 98]), vec!["cde"]),
        (json!([[97, 98], [97]]), vec!["cde", "bcd"]),
    ];
    for (prompt, expected) in cases {
        let (_, answer) = daemon.ask(PATH, &json!({"prompt": prompt, "max_tokens": 3, "temperature": 0})).await;
        assert_eq!(texts(&answer), expected, "{answer}");
        let indexes: Vec<usize> = answer["choices"].as_array().unwrap().iter().map(|c| c["index"].as_u64().unwrap() as usize).collect();
        assert_eq!(indexes, (0..expected.len()).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn a_list_may_be_longer_than_the_engines_queue() {
    let daemon = Daemon::reciting("abcdef").await;
    let prompts: Vec<&str> = ["ab", "abc", "x"].into_iter().cycle().take(60).collect();
    let (status, answer) = daemon.ask(PATH, &json!({"prompt": prompts, "max_tokens": 3, "temperature": 0})).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    let expected: Vec<&str> = ["cde", "def", "abc"].into_iter().cycle().take(60).collect();
    assert_eq!(texts(&answer), expected);
    assert_eq!(daemon.log().len(), 60);
}

#[tokio::test]
async fn a_stream_tells_what_a_whole_answer_tells() {
    let daemon = Daemon::with(vec![Engine::new("scripted", Script::default())]).await;
    let mut body = json!({"prompt": ["x", "Zwölf "], "n": 2, "max_tokens": 40, "seed": 5, "temperature": 1.3, "logprobs": 2, "echo": true});
    let (_, whole) = daemon.ask(PATH, &body).await;
    (body["stream"], body["stream_options"]) = (json!(true), json!({"include_usage": true}));
    let chunks = chunks_of(&daemon, &body).await;
    let (usage, chunks) = chunks.split_last().unwrap();
    assert_eq!((&usage["choices"], &usage["usage"]["total_tokens"]), (&json!([]), &whole["usage"]["total_tokens"]));
    for (index, choice) in whole["choices"].as_array().unwrap().iter().enumerate() {
        let own: Vec<&Value> = chunks.iter().map(|chunk| &chunk["choices"][0]).filter(|choice| choice["index"] == index).collect();
        let text: String = own.iter().map(|choice| choice["text"].as_str().unwrap()).collect();
        assert_eq!(json!(text), choice["text"]);
        for list in ["tokens", "token_logprobs", "top_logprobs", "text_offset"] {
            let joined: Vec<&Value> = own.iter().filter_map(|choice| choice["logprobs"][list].as_array()).flatten().collect();
            assert_eq!(json!(joined), choice["logprobs"][list], "{list}");
        }
        assert_eq!(own.last().unwrap()["finish_reason"], choice["finish_reason"]);
        assert!(own.iter().rev().skip(1).all(|choice| choice["finish_reason"].is_null()));
    }
}

#[tokio::test]
async fn several_answers_share_their_prompt_and_repeat() {
    let script = Script::default();
    let daemon = Daemon::with(vec![Engine::new("scripted", script.clone())]).await;
    let prompt = "A prompt that is read in more than one step";
    let body = json!({"prompt": prompt, "n": 4, "max_tokens": 12, "seed": 7, "temperature": 2});
    let (_, answer) = daemon.ask(PATH, &body).await;
    let answers = texts(&answer);
    assert!(answers.iter().enumerate().all(|(index, text)| !answers[..index].contains(text)), "{answers:?}");
    let fed: usize = script.steps().iter().flatten().map(|(_, tokens)| tokens.len()).sum();
    assert_eq!(fed, prompt.len() + 4 * 11);
    let usage = &answer["usage"];
    assert_eq!((&usage["prompt_tokens"], &usage["completion_tokens"]), (&json!(prompt.len()), &json!(48)), "the prompt counts once");
    assert_eq!(texts(&daemon.ask(PATH, &body).await.1), answers, "and again");
    let log = daemon.log();
    assert_eq!(log.len(), 8, "a line for each answer");
    for (index, line) in log[..4].iter().enumerate() {
        assert_eq!(line["id"], format!("{}-{index}", answer["id"].as_str().unwrap()));
        assert_eq!((&line["response"], &line["request"]["choice"]), (&json!(answers[index]), &json!(index)));
        let alone = json!({"prompt": prompt, "max_tokens": 12, "seed": line["seed"], "temperature": 2});
        assert_eq!(texts(&daemon.ask(PATH, &alone).await.1), [answers[index].clone()], "its line says how to have it again");
    }
}

#[tokio::test]
async fn the_likeliest_of_several_answers_are_told() {
    let daemon = Daemon::with(vec![Engine::new("scripted", Script::default())]).await;
    let mut body = json!({"prompt": "x", "n": 6, "max_tokens": 8, "seed": 7, "temperature": 2, "logprobs": 0});
    let (_, all) = daemon.ask(PATH, &body).await;
    let sum = |choice: &Value| choice["logprobs"]["token_logprobs"].as_array().unwrap().iter().map(|p| p.as_f64().unwrap()).sum::<f64>();
    let mut sums: Vec<f64> = all["choices"].as_array().unwrap().iter().map(sum).collect();
    sums.sort_by(|a, b| b.total_cmp(a));
    (body["n"], body["best_of"]) = (json!(2), json!(6));
    let (_, best) = daemon.ask(PATH, &body).await;
    assert_eq!(best["choices"].as_array().unwrap().iter().map(sum).collect::<Vec<_>>(), sums[..2]);
    assert_eq!(best["usage"]["completion_tokens"], 48, "all of them count");
    assert_eq!(daemon.log().len(), 12, "and are logged");
}

#[tokio::test]
async fn a_prompt_is_scored_without_an_answer() {
    let script = Script { text: "abcdef".into(), ..Script::default() };
    let daemon = Daemon::with(vec![Engine::new("scripted", script)]).await;
    let mut body = json!({"prompt": "abcéx", "max_tokens": 0, "echo": true, "logprobs": 2});
    let (status, answer) = daemon.ask(PATH, &body).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    let choice = &answer["choices"][0];
    assert_eq!((&choice["text"], &choice["finish_reason"]), (&json!("abcéx"), &json!("length")));
    let logprobs = &choice["logprobs"];
    assert_eq!(logprobs["tokens"], json!(["a", "b", "c", "bytes:\\xc3", "bytes:\\xa9", "x"]));
    assert_eq!(logprobs["text_offset"], json!([0, 1, 2, 3, 3, 4]));
    let given: Vec<f64> = logprobs["token_logprobs"].as_array().unwrap().iter().map(|logprob| logprob.as_f64().unwrap()).collect();
    assert!(given[0] == 0.0, "it follows nothing");
    assert!(given[1] > -1.0 && given[5] < -3.0, "{given:?}");
    let top = logprobs["top_logprobs"].as_array().unwrap();
    assert_eq!((&top[0], &top[1]["b"]), (&Value::Null, &logprobs["token_logprobs"][1]));
    assert!(top[5]["x"].is_number() && top[5].as_object().unwrap().len() == 3, "the token itself beside the two likeliest: {top:?}");
    assert_eq!(answer["usage"]["completion_tokens"], 0);
    let line = daemon.log().pop().unwrap();
    assert_eq!((&line["response"], &line["finish_reason"]), (&json!(""), &json!("length")));
    body["max_tokens"] = json!(2);
    let (_, longer) = daemon.ask(PATH, &body).await;
    let tokens = longer["choices"][0]["logprobs"]["token_logprobs"].as_array().unwrap();
    assert_eq!(tokens[..6], logprobs["token_logprobs"].as_array().unwrap()[..]);
    assert_eq!(tokens.len(), 8, "the answer's stand behind the prompt's");
}

#[tokio::test]
async fn a_stop_strings_tokens_are_not_told() {
    let daemon = Daemon::reciting("one two three ").await;
    let body = json!({"prompt": "x", "stop": " two", "temperature": 0, "logprobs": 1});
    let (_, answer) = daemon.ask(PATH, &body).await;
    let choice = &answer["choices"][0];
    assert_eq!((&choice["text"], &choice["logprobs"]["tokens"]), (&json!("one"), &json!(["o", "n", "e"])));
    assert_eq!(answer["usage"]["completion_tokens"], 7, "but they were generated");
}

#[tokio::test]
async fn the_token_that_ends_a_text_has_a_log_probability_too() {
    let script = Script { text: "abcd".into(), ends: true, ..Script::default() };
    let daemon = Daemon::with(vec![Engine::new("scripted", script)]).await;
    let mut body = json!({"prompt": "abcd", "max_tokens": 1, "temperature": 0, "echo": true, "logprobs": 1});
    let (_, answer) = daemon.ask(PATH, &body).await;
    let logprobs = &answer["choices"][0]["logprobs"];
    assert_eq!((&answer["choices"][0]["text"], &answer["choices"][0]["finish_reason"]), (&json!("abcd"), &json!("stop")));
    assert_eq!((&logprobs["tokens"], &logprobs["text_offset"]), (&json!(["a", "b", "c", "d", ""]), &json!([0, 1, 2, 3, 4])));
    assert!(logprobs["token_logprobs"][4].as_f64().unwrap() > -0.1, "{logprobs}");
    assert_eq!(answer["usage"]["completion_tokens"], 0);
    body["stream"] = json!(true);
    let chunks = chunks_of(&daemon, &body).await;
    let told: Vec<&Value> = chunks.iter().filter_map(|chunk| chunk["choices"][0]["logprobs"]["tokens"].as_array()).flatten().collect();
    assert_eq!(json!(told), logprobs["tokens"]);
}
