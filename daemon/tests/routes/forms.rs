//! Answers of a given form, and tools, in OpenAI's dialect.

use axum::http::StatusCode;
use minivault_engines::testkit::Script;
use serde_json::{Value, json};

use crate::support::{Daemon, Engine, events_of};

const PATH: &str = "/v1/chat/completions";
const TEMPLATE: &str = "{% if tools %}{% for tool in tools %}{{ tool | tojson }}{% endfor %}[TOOL_CALLS]§{% endif %}\
    {% for message in messages %}[{{ message.role }}] {{ message.content }}{% for call in message.tool_calls %}{{ call.function | tojson }}{% endfor %}§{% endfor %}~";
const CALL: &str = "[TOOL_CALLS][{\"name\": \"weather\", \"arguments\": {\"city\": \"Rome\"}}]";

/// A daemon whose model says this once and knows tools.
async fn knowing_tools(text: &str) -> Daemon {
    let script = Script { text: text.into(), ends: true, chat_template: Some(TEMPLATE.into()), ..Script::default() };
    Daemon::with(vec![Engine::new("scripted", script)]).await
}

#[allow(clippy::needless_pass_by_value)] // Written in place.
fn asking(extra: Value) -> Value {
    let mut body = json!({"messages": [{"role": "user", "content": "How is it?"}], "temperature": 0, "seed": 1, "max_tokens": 150});
    body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    body
}

fn tools() -> Value {
    let parameters = json!({"type": "object", "properties": {"city": {"type": "string", "maxLength": 9}}, "required": ["city"], "additionalProperties": false});
    json!([{"type": "function", "function": {"name": "weather", "description": "Tells it", "parameters": parameters, "strict": true}}])
}

/// The deltas of a stream, and its finish reason.
async fn streamed(daemon: &Daemon, mut body: Value) -> (Vec<Value>, Value) {
    body["stream"] = true.into();
    let events = events_of(daemon.post(PATH, &body).await).await;
    let (done, chunks) = events.split_last().unwrap();
    assert_eq!(done.1, "[DONE]");
    let choices: Vec<Value> = chunks.iter().map(|(_, data)| serde_json::from_str::<Value>(data).unwrap()["choices"][0].clone()).collect();
    (choices.iter().map(|choice| choice["delta"].clone()).collect(), choices.last().unwrap()["finish_reason"].clone())
}

fn joined(deltas: &[Value]) -> String {
    deltas.iter().filter_map(|delta| delta["content"].as_str()).collect()
}

#[tokio::test]
async fn an_answer_has_the_form_that_was_asked_for() {
    let daemon = Daemon::reciting("Never an end to this, ").await;
    let schema = json!({"type": "object", "properties": {"b": {"type": "string"}, "a": {"type": "integer"}}, "required": ["b", "a"], "additionalProperties": false});
    let format = json!({"type": "json_schema", "json_schema": {"name": "n", "schema": schema, "strict": true}});
    for extra in [json!({"response_format": format.clone()}), json!({"response_format": {"type": "json_object"}})] {
        let (status, answer) = daemon.ask(PATH, &asking(extra.clone())).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        let choice = &answer["choices"][0];
        assert_eq!(choice["finish_reason"], "stop");
        let text = choice["message"]["content"].as_str().unwrap();
        assert!(serde_json::from_str::<Value>(text).unwrap().is_object(), "{text}");
        let (deltas, reason) = streamed(&daemon, asking(extra)).await;
        assert_eq!((joined(&deltas).as_str(), reason), (text, json!("stop")));
    }
    let asked = &daemon.log()[0]["request"]["response_format"];
    assert_eq!(asked["json_schema"]["schema"], schema, "the log has what the answer had to be");
    let order: Vec<&String> = asked["json_schema"]["schema"]["properties"].as_object().unwrap().keys().collect();
    assert_eq!(order, ["b", "a"]);

    let (_, answer) = daemon.ask(PATH, &asking(json!({"regex": "(ab){3}"}))).await;
    assert_eq!(answer["choices"][0]["message"]["content"], "ababab");
    let (_, answer) = daemon.ask("/v1/completions", &json!({"prompt": "x", "grammar": "start: \"yes\" | \"no\"", "temperature": 0})).await;
    assert!(["yes", "no"].contains(&answer["choices"][0]["text"].as_str().unwrap()), "{answer}");
    assert_eq!(daemon.log().last().unwrap()["request"]["grammar"], "start: \"yes\" | \"no\"");
}

#[tokio::test]
async fn a_call_comes_back_as_openai_tells_it() {
    let daemon = knowing_tools(&format!("Well.\n{CALL}")).await;
    let body = asking(json!({"tools": tools()}));
    let (status, answer) = daemon.ask(PATH, &body).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    let choice = &answer["choices"][0];
    assert_eq!((&choice["finish_reason"], &choice["message"]["content"]), (&json!("tool_calls"), &json!("Well.")));
    let call = &choice["message"]["tool_calls"][0];
    assert_eq!((&call["type"], &call["function"]), (&json!("function"), &json!({"name": "weather", "arguments": "{\"city\": \"Rome\"}"})));

    let (deltas, reason) = streamed(&daemon, body).await;
    let pieces: Vec<&Value> = deltas.iter().filter_map(|delta| delta.get("tool_calls")).map(|calls| &calls[0]).collect();
    assert_eq!((joined(&deltas).as_str(), reason), ("Well.", json!("tool_calls")));
    assert_eq!(
        (&pieces[0]["id"], &pieces[0]["function"]["name"], &pieces[0]["type"]),
        (&call["id"], &json!("weather"), &json!("function"))
    );
    assert!(pieces.len() > 2 && pieces[1..].iter().all(|piece| piece.get("id").is_none() && piece["index"] == 0), "{pieces:?}");
    let arguments: String = pieces.iter().filter_map(|piece| piece["function"]["arguments"].as_str()).collect();
    assert_eq!(arguments, "{\"city\": \"Rome\"}");

    for line in daemon.log() {
        assert_eq!((&line["finish_reason"], &line["response"], &line["tool_calls"][0]), (&json!("tool_calls"), &json!("Well."), call));
        assert_eq!((&line["request"]["tools"], &line["request"]["tool_choice"]), (&tools(), &json!("auto")));
    }
}

#[tokio::test]
async fn a_call_that_must_come_comes() {
    let daemon = knowing_tools("I know nothing of that. ").await;
    for choice in [json!("required"), json!({"type": "function", "function": {"name": "weather"}})] {
        let (_, answer) = daemon.ask(PATH, &asking(json!({"tools": tools(), "tool_choice": choice}))).await;
        let choice = &answer["choices"][0];
        assert_eq!((&choice["finish_reason"], &choice["message"]["content"]), (&json!("tool_calls"), &Value::Null), "{answer}");
        let arguments = choice["message"]["tool_calls"][0]["function"]["arguments"].as_str().unwrap();
        assert!(serde_json::from_str::<Value>(arguments).unwrap()["city"].is_string(), "{arguments}");
    }
    let (_, answer) = daemon.ask(PATH, &asking(json!({"tools": tools(), "tool_choice": "none"}))).await;
    assert_eq!(answer["choices"][0]["message"]["content"], "I know nothing of that. ");
}

#[tokio::test]
async fn a_conversation_goes_on_after_a_call() {
    let daemon = knowing_tools("Sunny.").await;
    let call = json!({"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": "{\"city\":\"Rome\"}"}});
    let mut body = asking(json!({"tools": tools()}));
    body["messages"].as_array_mut().unwrap().extend([
        json!({"role": "assistant", "content": null, "tool_calls": [call]}),
        json!({"role": "tool", "tool_call_id": "call_1", "content": "22 degrees"}),
    ]);
    let (status, answer) = daemon.ask(PATH, &body).await;
    assert_eq!((status, &answer["choices"][0]["message"]["content"]), (StatusCode::OK, &json!("Sunny.")), "{answer}");
    let prompt = daemon.log()[0]["prompt"].as_str().unwrap().to_owned();
    assert!(prompt.contains(r#"[assistant] {"name": "weather", "arguments": {"city": "Rome"}}§[tool] 22 degrees§~"#), "{prompt}");
}
