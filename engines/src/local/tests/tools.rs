//! Calls of tools, from the template to the events.

use serde_json::{Value, json};

use super::*;
use crate::chat::ChatMessage;
use crate::request::ToolChoice;

/// Mistral's form, shortened. (What the scripted model says must not begin twice in the same way, as Hermes' tags do.)
const TEMPLATE: &str = "{% if tools %}<tools>{% for tool in tools %}{{ tool.function | tojson }}{% endfor %}</tools>[TOOL_CALLS]§{% endif %}\
    {% for message in messages %}[{{ message.role }}] {{ message.content }}{% for call in message.tool_calls %}[TOOL_CALLS]{{ call.function | tojson }}{% endfor %}§{% endfor %}~";

const CALL: &str = "[TOOL_CALLS][{\"name\": \"weather\", \"arguments\": {\"city\": \"Rome\"}}]";

fn tools() -> Vec<Value> {
    let parameters = json!({"type": "object", "properties": {"city": {"type": "string", "maxLength": 12}}, "required": ["city"], "additionalProperties": false});
    vec![
        json!({"type": "function", "function": {"name": "weather", "description": "Tells it", "parameters": parameters}}),
        json!({"type": "function", "function": {"name": "time"}}),
    ]
}

fn asked(choice: ToolChoice) -> GenerateRequest {
    let messages = vec![ChatMessage::new("user", "How is it in Rome?")];
    let sampling = Sampling { seed: Some(1), ..Sampling::greedy() };
    GenerateRequest { prompt: Prompt::Chat { messages, tools: tools() }, tool_choice: choice, sampling, ..greedy("", 200) }
}

async fn engine(text: &str) -> LocalEngine {
    start(&Script { ends: true, chat_template: Some(TEMPLATE.into()), ..scripted(text) }, 1).await
}

async fn answer(engine: &LocalEngine, request: GenerateRequest) -> Completion {
    engine.generate(request).await.unwrap().collect().await.unwrap()
}

#[tokio::test]
async fn a_call_in_the_answer_comes_back_as_a_call() {
    let engine = engine(&format!("Well.\n{CALL}")).await;
    let generation = engine.generate(asked(ToolChoice::Auto)).await.unwrap();
    assert!(generation.beginning().prompt_text.contains(r#"{"name": "weather", "description": "Tells it", "parameters": {"type""#));
    let answer = generation.collect().await.unwrap();
    assert_eq!((answer.text.as_str(), answer.finish.reason), ("Well.", FinishReason::ToolCalls));
    assert_eq!(answer.tool_calls.len(), 1);
    assert_eq!((answer.tool_calls[0].name.as_str(), answer.tool_calls[0].arguments.as_str()), ("weather", r#"{"city": "Rome"}"#));
    assert_eq!(answer.tokens.len(), answer.finish.usage.completion_tokens, "the tokens of a call are told too");
}

#[tokio::test]
async fn one_call_stays_alone_where_several_are_not_wanted() {
    let pair = format!("{CALL}[TOOL_CALLS][{{\"name\": \"time\", \"arguments\": {{}}}}]");
    let engine = engine(&pair).await;
    for (parallel_tool_calls, calls) in [(true, 2), (false, 1)] {
        let answer = answer(&engine, GenerateRequest { parallel_tool_calls, ..asked(ToolChoice::Auto) }).await;
        assert_eq!(answer.tool_calls.len(), calls, "{answer:?}");
    }
}

#[tokio::test]
async fn a_call_that_must_come_comes() {
    // The model would rather talk.
    let engine = engine("I know nothing of that. ").await;
    for (choice, names) in [(ToolChoice::Required, &["weather", "time"][..]), (ToolChoice::Named("weather".into()), &["weather"])] {
        let mut ids = Vec::new();
        for _ in 0..2 {
            let answer = answer(&engine, asked(choice.clone())).await;
            let [call] = &*answer.tool_calls else { panic!("{answer:?}") };
            assert!(names.contains(&call.name.as_str()) && answer.text.is_empty(), "{answer:?}");
            assert_eq!(answer.finish.reason, FinishReason::ToolCalls);
            let arguments: Value = serde_json::from_str(&call.arguments).unwrap();
            assert!(call.name == "time" || arguments["city"].is_string(), "{arguments}");
            ids.push(call.id.clone());
        }
        assert_eq!(ids[0], ids[1], "the same request, the same bytes");
    }
}

#[tokio::test]
async fn tools_that_must_not_be_called_are_not_told_of() {
    let engine = engine("Fine.").await;
    let generation = engine.generate(asked(ToolChoice::None)).await.unwrap();
    assert!(!generation.beginning().prompt_text.contains("tools"));
    assert_eq!(generation.collect().await.unwrap().text, "Fine.");
}

#[tokio::test]
async fn what_a_tool_said_goes_back_into_the_template() {
    let engine = engine("Sunny.").await;
    let call = crate::chat::ToolCall { id: "call_1".into(), name: "weather".into(), arguments: r#"{"city":"Rome"}"#.into() };
    let messages = vec![
        ChatMessage::new("user", "How is it in Rome?"),
        ChatMessage { tool_calls: vec![call], ..ChatMessage::new("assistant", "") },
        ChatMessage { tool_call_id: Some("call_1".into()), ..ChatMessage::new("tool", "22 <|end|>") },
    ];
    let request = GenerateRequest { prompt: Prompt::Chat { messages, tools: tools() }, ..greedy("", 20) };
    let generation = engine.generate(request).await.unwrap();
    let prompt = generation.beginning().prompt_text.clone();
    assert!(prompt.contains(r#"[assistant] [TOOL_CALLS]{"name": "weather", "arguments": {"city": "Rome"}}§"#), "{prompt}");
    assert!(prompt.contains("[tool] 22 <|end|>§"), "{prompt}");
    assert!(
        !generation.beginning().prompt_tokens.contains(&crate::testkit::ScriptedVocabulary::END),
        "a tool's words are no control tokens"
    );
}

#[tokio::test]
async fn tools_are_refused_by_name_where_nothing_is_known_of_them() {
    let engine = start(&scripted("abc"), 1).await;
    let error = engine.generate(asked(ToolChoice::Auto)).await.err().unwrap();
    assert!(matches!(&error, EngineError::Unsupported { engine, what } if engine == "scripted" && what.contains("tools")), "{error:?}");
    let error = engine.generate(GenerateRequest { constraint: Some(crate::Constraint::JsonObject), ..asked(ToolChoice::None) }).await;
    assert!(error.is_ok(), "tools that aren't called prescribe nothing");
}

#[tokio::test]
async fn a_tools_schema_that_cannot_be_followed_is_named() {
    let engine = engine("abc").await;
    let tool = json!({"type": "function", "function": {"name": "a", "parameters": {"type": "array", "uniqueItems": true}}});
    let messages = vec![ChatMessage::new("user", "Hi")];
    let request =
        GenerateRequest { prompt: Prompt::Chat { messages, tools: vec![tool] }, tool_choice: ToolChoice::Required, ..greedy("", 20) };
    let error = engine.generate(request).await.err().unwrap();
    assert!(matches!(&error, EngineError::InvalidRequest { param: "tools", message } if message.contains("uniqueItems")), "{error:?}");
}
