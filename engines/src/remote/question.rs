//! A request as an upstream server takes it.

use serde_json::{Map, Value, json};

use crate::chat::{ChatMessage, ToolCall};
use crate::request::{Constraint, GenerateRequest, MaxTokens, Prompt, Sampling};

/// A request in OpenAI's form.
#[derive(Debug)]
pub(super) struct Question {
    /// The path below the base URL.
    pub endpoint: &'static str,
    /// The body.
    pub body: Map<String, Value>,
    /// The tokens that the request insists on.
    pub insists_on: Option<usize>,
    /// The most alternatives that are told with each token; `None`: no log probabilities.
    pub logprobs: Option<usize>,
    /// Its stop strings.
    pub stop: Vec<String>,
}

impl Question {
    /// Puts a request for a model into OpenAI's form. `context` is what the model holds, where it is known.
    ///
    /// Settings that OpenAI's API has are always sent, because a server may have other defaults; those it hasn't (`top_k`, `min_p`,
    /// penalties for repetition, grammars) under the names they usually have, and only where they do something: OpenAI itself refuses
    /// fields it doesn't know.
    pub fn new(model: &str, extra: &Map<String, Value>, request: GenerateRequest, seed: u64, context: Option<usize>) -> Self {
        let GenerateRequest {
            prompt,
            max_tokens,
            sampling,
            stop,
            logprobs,
            constraint,
            tool_choice,
            deterministic: _,
            parallel_tool_calls,
            options: _,
            client: _,
        } = request;
        let mut body = extra.clone();
        let mut put = |key: &str, value: Value| drop(body.insert(key.to_owned(), value));
        put("model", model.into());
        put("stream", true.into());
        put("stream_options", json!({"include_usage": true}));
        let is_chat = matches!(prompt, Prompt::Chat { .. });
        match prompt {
            Prompt::Text(text) => put("prompt", text.into()),
            Prompt::Tokens(tokens) => put("prompt", tokens.into()),
            Prompt::Chat { messages, tools } => {
                put("messages", messages.iter().map(message).collect());
                if !tools.is_empty() {
                    put("tools", tools.into());
                    put("tool_choice", tool_choice.to_json());
                    if !parallel_tool_calls {
                        put("parallel_tool_calls", false.into());
                    }
                }
            }
        }
        let most = |wanted: usize| context.map_or(wanted, |context| wanted.min(context));
        match max_tokens {
            MaxTokens::Exactly(wanted) => put("max_tokens", wanted.into()),
            MaxTokens::AtMost(wanted) => put("max_tokens", most(wanted).into()),
            // A chat goes on to the end of the context by itself; for a text OpenAI's default would be 16 tokens.
            MaxTokens::Remaining if !is_chat => context.into_iter().for_each(|context| put("max_tokens", context.into())),
            MaxTokens::Remaining => {}
        }
        sampling_fields(&sampling, seed, &mut put);
        if !stop.is_empty() {
            put("stop", json!(stop));
        }
        match logprobs {
            Some(alternatives) if is_chat => {
                put("logprobs", true.into());
                put("top_logprobs", alternatives.into());
            }
            // With 0 llama-server would tell none at all.
            Some(alternatives) => put("logprobs", alternatives.max(1).into()),
            None => {}
        }
        if let Some(constraint) = constraint {
            let (key, value) = form(constraint);
            put(key, value);
        }
        let insists_on = if let MaxTokens::Exactly(wanted) = max_tokens { Some(wanted) } else { None };
        let endpoint = if is_chat { "chat/completions" } else { "completions" };
        Self { endpoint, body, insists_on, logprobs, stop }
    }

    /// The most tokens that the answer can have, as far as this is known.
    pub fn max_tokens(&self) -> Option<usize> {
        self.body.get("max_tokens").and_then(Value::as_u64).and_then(|tokens| usize::try_from(tokens).ok())
    }

    /// Asks for fewer tokens, where the request leaves that open.
    pub fn settle_for(&mut self, room: usize) -> bool {
        let lower = self.insists_on.is_none() && room > 0 && self.max_tokens().is_some_and(|tokens| tokens > room);
        if lower {
            self.body.insert("max_tokens".to_owned(), room.into());
        }
        lower
    }
}

fn sampling_fields(sampling: &Sampling, seed: u64, put: &mut impl FnMut(&str, Value)) {
    let Sampling { logit_bias, repetition_penalty, presence_penalty, frequency_penalty, temperature, top_k, top_p, min_p, seed: _ } =
        sampling;
    put("temperature", number(*temperature));
    put("top_p", number(*top_p));
    put("presence_penalty", number(*presence_penalty));
    put("frequency_penalty", number(*frequency_penalty));
    put("seed", seed.into());
    if !logit_bias.is_empty() {
        put("logit_bias", logit_bias.iter().map(|(token, bias)| (token.to_string(), number(*bias))).collect::<Map<_, _>>().into());
    }
    if *top_k > 0 {
        put("top_k", (*top_k).into());
    }
    if *min_p > 0.0 {
        put("min_p", number(*min_p));
    }
    if *repetition_penalty != 1.0 {
        // vLLM's and MiniVault's name for it, and llama-server's.
        put("repetition_penalty", number(*repetition_penalty));
        put("repeat_penalty", number(*repetition_penalty));
    }
}

fn message(message: &ChatMessage) -> Value {
    let ChatMessage { role, content, tool_calls, tool_call_id } = message;
    let mut message = json!({"role": role, "content": content});
    if !tool_calls.is_empty() {
        let call = |ToolCall { id, name, arguments }: &ToolCall| json!({"id": id, "type": "function", "function": {"name": name, "arguments": arguments}});
        message["tool_calls"] = tool_calls.iter().map(call).collect();
    }
    if let Some(id) = tool_call_id {
        message["tool_call_id"] = id.as_str().into();
    }
    message
}

fn form(constraint: Constraint) -> (&'static str, Value) {
    match constraint {
        Constraint::JsonObject => ("response_format", json!({"type": "json_object"})),
        Constraint::JsonSchema(schema) => {
            ("response_format", json!({"type": "json_schema", "json_schema": {"name": "answer", "schema": schema, "strict": true}}))
        }
        Constraint::Grammar(grammar) => ("grammar", grammar.into()),
        Constraint::Regex(regex) => ("regex", regex.into()),
    }
}

/// A setting as people type it: widened to 64 bits, 0.7 would be sent as 0.699999988079071.
fn number(value: f32) -> Value {
    value.to_string().parse::<f64>().map_or_else(|_| value.into(), Value::from)
}

/// A conversation for the log; what the upstream's template makes of it is unknown here.
pub(super) fn transcript(messages: &[ChatMessage]) -> String {
    messages.iter().map(|message| format!("{}: {}", message.role, message.content)).collect::<Vec<_>>().join("\n\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[allow(clippy::needless_pass_by_value)] // Written in place.
    fn check(request: GenerateRequest, expected: Value) {
        let mut question = Question::new("m", &Map::new(), request, 7, Some(64));
        for always in ["model", "stream", "stream_options", "seed"] {
            assert!(question.body.remove(always).is_some(), "{always} is missing");
        }
        assert_eq!(Value::Object(question.body), expected);
    }

    #[test]
    fn a_text_is_sent_with_openais_settings_and_nothing_that_is_off() {
        let plain =
            json!({"prompt": "Hi", "max_tokens": 9, "temperature": 1.0, "top_p": 1.0, "presence_penalty": 0.0, "frequency_penalty": 0.0});
        check(GenerateRequest::text("Hi", MaxTokens::Exactly(9)), plain);
    }

    #[test]
    fn what_openai_does_not_have_is_sent_under_its_usual_name() {
        let sampling = Sampling {
            top_k: 40,
            min_p: 0.05,
            repetition_penalty: 1.1,
            temperature: 0.7,
            logit_bias: vec![(5, -1.5)],
            ..Sampling::default()
        };
        let request = GenerateRequest {
            sampling,
            stop: vec!["\n".into()],
            logprobs: Some(0),
            constraint: Some(Constraint::Regex("a+".into())),
            ..GenerateRequest::text("Hi", MaxTokens::AtMost(900))
        };
        let expected = json!({"prompt": "Hi", "max_tokens": 64, "temperature": 0.7, "top_p": 1.0, "presence_penalty": 0.0, "frequency_penalty": 0.0,
            "logit_bias": {"5": -1.5}, "top_k": 40, "min_p": 0.05, "repetition_penalty": 1.1, "repeat_penalty": 1.1, "stop": ["\n"],
            "logprobs": 1, "regex": "a+"});
        check(request, expected);
    }

    #[test]
    fn a_request_of_the_operators_own_fields_keeps_its_own() {
        let Value::Object(extra) = json!({"keep_alive": "1h", "temperature": 5}) else { unreachable!() };
        let question = Question::new("m", &extra, GenerateRequest::text("Hi", MaxTokens::Remaining), 7, None);
        assert_eq!((&question.body["keep_alive"], &question.body["temperature"]), (&json!("1h"), &json!(1.0)));
        assert_eq!(question.max_tokens(), None);
    }
}
