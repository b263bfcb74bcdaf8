//! What one event of a server's stream adds to an answer, in the dialects there are.

use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::generation::{Alternative, FinishReason, Token, ToolCallPiece, Usage};
use crate::request::TokenId;

/// One event of a stream, of a text or a chat. Everything may be missing.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Chunk {
    #[serde(default, deserialize_with = "or_default")]
    choices: Vec<Choice>,
    #[serde(default)]
    usage: Option<UsageTold>,
}

#[derive(Debug, Default, Deserialize)]
struct Choice {
    #[serde(default, deserialize_with = "or_default")]
    index: usize,
    /// Of a text.
    #[serde(default)]
    text: Option<String>,
    /// Of a chat.
    #[serde(default, deserialize_with = "or_default")]
    delta: Delta,
    #[serde(default)]
    logprobs: Option<LogprobsTold>,
    #[serde(default)]
    finish_reason: Option<String>,
    /// The stop string that ended it (vLLM), or a token's number.
    #[serde(default)]
    stop_reason: Option<Value>,
}

#[derive(Debug, Default, Deserialize)]
struct Delta {
    #[serde(default)]
    content: Option<String>,
    #[serde(default, deserialize_with = "or_default")]
    tool_calls: Vec<CallTold>,
}

#[derive(Debug, Default, Deserialize)]
struct CallTold {
    #[serde(default)]
    index: Option<usize>,
    #[serde(default)]
    id: Option<String>,
    #[serde(default, deserialize_with = "or_default")]
    function: FunctionTold,
}

#[derive(Debug, Default, Deserialize)]
struct FunctionTold {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    arguments: Option<String>,
}

#[derive(Debug, Deserialize)]
struct UsageTold {
    #[serde(default, deserialize_with = "or_default")]
    prompt_tokens: usize,
    #[serde(default, deserialize_with = "or_default")]
    completion_tokens: usize,
    #[serde(default, deserialize_with = "or_default")]
    prompt_tokens_details: PromptDetails,
}

#[derive(Debug, Default, Deserialize)]
struct PromptDetails {
    #[serde(default, deserialize_with = "or_default")]
    cached_tokens: usize,
}

/// Log probabilities in both shapes: `content` is a chat's, and everything's on llama-server; the lists are a text's.
#[derive(Debug, Default, Deserialize)]
struct LogprobsTold {
    #[serde(default, deserialize_with = "or_default")]
    content: Vec<TokenTold>,
    #[serde(default, deserialize_with = "or_default")]
    tokens: Vec<String>,
    #[serde(default, deserialize_with = "or_default")]
    token_logprobs: Vec<Option<f32>>,
    #[serde(default, deserialize_with = "or_default")]
    top_logprobs: Vec<Option<serde_json::Map<String, Value>>>,
}

#[derive(Debug, Deserialize)]
struct TokenTold {
    #[serde(default)]
    id: Option<TokenId>,
    #[serde(default, deserialize_with = "or_default")]
    token: String,
    #[serde(default)]
    bytes: Option<Vec<u8>>,
    #[serde(default)]
    logprob: Option<f32>,
    #[serde(default, deserialize_with = "or_default")]
    top_logprobs: Vec<TokenTold>,
}

/// `null` where a server has nothing to say.
fn or_default<'de, T: Default + Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// What a chunk adds.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Addition {
    pub text: String,
    pub tokens: Vec<Token>,
    pub calls: Vec<ToolCallPiece>,
    pub finish: Option<FinishReason>,
    pub usage: Option<Usage>,
}

impl Chunk {
    /// What it adds to the only choice that was asked for. Of each token's alternatives the first `alternatives` count; with `None` nobody
    /// asked for log probabilities.
    pub fn addition(self, alternatives: Option<usize>, stop: &[String]) -> Addition {
        let mut addition = Addition::default();
        for choice in self.choices.into_iter().filter(|choice| choice.index == 0) {
            addition.text.extend(choice.text.into_iter().chain(choice.delta.content));
            addition.calls.extend(choice.delta.tool_calls.into_iter().enumerate().map(|(place, CallTold { index, id, function })| {
                let FunctionTold { name, arguments } = function;
                // Ollama tells whole calls, without their places in older versions.
                ToolCallPiece { index: index.unwrap_or(place), id, name, arguments: arguments.unwrap_or_default() }
            }));
            if let (Some(alternatives), Some(told)) = (alternatives, choice.logprobs) {
                addition.tokens.extend(tokens(told, alternatives));
            }
            if let Some(reason) = choice.finish_reason {
                let stopped_by = choice.stop_reason.as_ref().and_then(Value::as_str).filter(|by| stop.iter().any(|stop| stop == by));
                addition.finish = Some(match (reason.as_str(), stopped_by) {
                    ("length", _) => FinishReason::Length,
                    ("tool_calls", _) => FinishReason::ToolCalls,
                    ("timeout", _) => FinishReason::Timeout,
                    (_, Some(stop)) => FinishReason::StopString(stop.to_owned()),
                    _ => FinishReason::EndOfText,
                });
            }
        }
        addition.usage = self.usage.map(|told| Usage {
            prompt_tokens: told.prompt_tokens,
            completion_tokens: told.completion_tokens,
            cached_tokens: told.prompt_tokens_details.cached_tokens,
        });
        addition
    }
}

fn tokens(told: LogprobsTold, alternatives: usize) -> Vec<Token> {
    if !told.content.is_empty() {
        return told.content.into_iter().map(|token| token_of(token, alternatives)).collect();
    }
    let mut top = told.top_logprobs.into_iter();
    let mut logprobs = told.token_logprobs.into_iter();
    let token = |text: String| {
        let top = top.next().flatten().unwrap_or_default();
        let top = top.into_iter().filter_map(|(token, logprob)| {
            Some(TokenTold { id: None, token, bytes: None, logprob: Some(logprob.as_f64()? as f32), top_logprobs: Vec::new() })
        });
        let told = TokenTold { id: None, token: text, bytes: None, logprob: logprobs.next().flatten(), top_logprobs: top.collect() };
        token_of(told, alternatives)
    };
    told.tokens.into_iter().map(token).collect()
}

fn token_of(told: TokenTold, alternatives: usize) -> Token {
    let (id, bytes) = (told.id, told.bytes.unwrap_or_else(|| spelt(told.token)));
    let id = id.unwrap_or_else(|| own_id(&bytes));
    let alternative = |told: TokenTold| {
        let bytes = told.bytes.unwrap_or_else(|| spelt(told.token));
        Some(Alternative { id: told.id.unwrap_or_else(|| own_id(&bytes)), logprob: told.logprob?, bytes })
    };
    let mut top: Vec<Alternative> = told.top_logprobs.into_iter().filter_map(alternative).collect();
    // A text's come as an object, in any order; the chosen one is the first of several that are equal.
    top.sort_by(|a, b| b.logprob.total_cmp(&a.logprob).then_with(|| (b.id == id).cmp(&(a.id == id))));
    // A text's hold the chosen one on top of those asked for.
    top.truncate(alternatives);
    Token { id, bytes, logprob: told.logprob, top }
}

/// The number of a token whose server doesn't tell it, as only llama-server does: a hash of its bytes, above all vocabularies.
fn own_id(bytes: &[u8]) -> TokenId {
    let hash = blake3::hash(bytes);
    let [first, second, third, fourth, ..] = *hash.as_bytes();
    TokenId::from_le_bytes([first, second, third, fourth]) | 1 << 31
}

/// The bytes of a token as texts spell it: itself, or `bytes:` and each byte that makes no character.
fn spelt(token: String) -> Vec<u8> {
    let numbers = token.strip_prefix("bytes:\\x").map(|numbers| numbers.split("\\x").map(|byte| u8::from_str_radix(byte, 16)).collect());
    match numbers {
        Some(Ok(bytes)) => bytes,
        _ => token.into_bytes(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn check(chunk: &str, expected: &Addition) {
        let seen = serde_json::from_str::<Chunk>(chunk).unwrap().addition(Some(2), &["END".into()]);
        assert_eq!(seen, *expected, "{chunk}");
    }

    fn token(ids: Option<[TokenId; 2]>) -> Token {
        let [chosen, other] = ids.unwrap_or_else(|| [own_id("é".as_bytes()), own_id(b"e")]);
        let bytes = "é".as_bytes().to_vec();
        let top = vec![
            Alternative { id: chosen, bytes: bytes.clone(), logprob: -0.5 },
            Alternative { id: other, bytes: b"e".to_vec(), logprob: -2.0 },
        ];
        Token { id: chosen, bytes, logprob: Some(-0.5), top }
    }

    #[test]
    fn text_comes_from_either_endpoint() {
        let hi = Addition { text: "Hi".into(), ..Addition::default() };
        check(r#"{"choices":[{"index":0,"text":"Hi","logprobs":null,"finish_reason":null}]}"#, &hi);
        check(r#"{"choices":[{"delta":{"role":"assistant","content":"Hi"}}],"usage":null}"#, &hi);
        check(r#"{"choices":[{"index":1,"text":"other"}]}"#, &Addition::default());
        check(r#"{"choices":null}"#, &Addition::default());
        check(r#"{"choices":[{"index":0,"delta":{"role":"assistant","content":null},"finish_reason":null}]}"#, &Addition::default());
    }

    #[test]
    fn an_end_has_a_reason_and_a_usage() {
        let end = |finish| Addition { finish: Some(finish), ..Addition::default() };
        check(r#"{"choices":[{"text":"","finish_reason":"length"}]}"#, &end(FinishReason::Length));
        check(r#"{"choices":[{"delta":{},"finish_reason":"stop"}]}"#, &end(FinishReason::EndOfText));
        check(r#"{"choices":[{"text":"","finish_reason":"stop","stop_reason":"END"}]}"#, &end(FinishReason::StopString("END".into())));
        check(r#"{"choices":[{"text":"","finish_reason":"stop","stop_reason":128001}]}"#, &end(FinishReason::EndOfText));
        let usage = Some(Usage { prompt_tokens: 3, completion_tokens: 4, cached_tokens: 2 });
        let told = r#"{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":4,"total_tokens":7,"prompt_tokens_details":{"cached_tokens":2}}}"#;
        check(told, &Addition { usage, ..Addition::default() });
        let usage = Some(Usage { prompt_tokens: 3, completion_tokens: 4, cached_tokens: 0 });
        check(
            r#"{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":4,"prompt_tokens_details":null}}"#,
            &Addition { usage, ..Addition::default() },
        );
    }

    #[test]
    fn log_probabilities_come_in_three_shapes() {
        let with = |token| Addition { text: "é".into(), tokens: vec![token], ..Addition::default() };
        let chat = r#"{"choices":[{"delta":{"content":"é"},"logprobs":{"content":[{"token":"é","bytes":[195,169],"logprob":-0.5,
            "top_logprobs":[{"token":"é","bytes":[195,169],"logprob":-0.5},{"token":"e","bytes":[101],"logprob":-2}]}]}}]}"#;
        check(chat, &with(token(None)));
        let text = r#"{"choices":[{"text":"é","logprobs":{"tokens":["é"],"token_logprobs":[-0.5],"text_offset":[0],
            "top_logprobs":[{"a":-3,"e":-2,"é":-0.5}]}}]}"#;
        check(text, &with(token(None)));
        let llama = r#"{"choices":[{"text":"é","logprobs":{"content":[{"id":7,"token":"é","bytes":[195,169],"logprob":-0.5,
            "top_logprobs":[{"id":7,"token":"é","bytes":[195,169],"logprob":-0.5},{"id":3,"token":"e","bytes":[101],"logprob":-2}]}]}}]}"#;
        check(llama, &with(token(Some([7, 3]))));
    }

    #[test]
    fn bytes_that_make_no_character_are_read_back() {
        assert_eq!(spelt("bytes:\\xf0\\x9f".into()), [0xf0, 0x9f]);
        assert_eq!(spelt("bytes:\\xzz".into()), b"bytes:\\xzz");
        assert_eq!(spelt("é".into()), "é".as_bytes());
    }

    #[test]
    fn a_call_of_a_tool_comes_in_pieces() {
        let piece = |index, id: Option<&str>, name: Option<&str>, arguments: &str| ToolCallPiece {
            index,
            id: id.map(str::to_owned),
            name: name.map(str::to_owned),
            arguments: arguments.into(),
        };
        let calls = |calls| Addition { calls, ..Addition::default() };
        let first =
            r#"{"choices":[{"delta":{"tool_calls":[{"index":0,"id":"c1","type":"function","function":{"name":"f","arguments":""}}]}}]}"#;
        check(first, &calls(vec![piece(0, Some("c1"), Some("f"), "")]));
        check(
            r#"{"choices":[{"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{\"a\""}}]}}]}"#,
            &calls(vec![piece(0, None, None, "{\"a\"")]),
        );
        let end = Addition { finish: Some(FinishReason::ToolCalls), ..Addition::default() };
        check(r#"{"choices":[{"delta":{},"finish_reason":"tool_calls"}]}"#, &end);
    }
}
