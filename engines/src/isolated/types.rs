//! The types of this crate as they cross the socket. A field that one of them gains must be named here, or this doesn't compile.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use serde_json::{Map, Number, Value};

use super::wire::{Bytes, Malformed, Wire, choice, put_text, record};
use crate::chat::{ChatMessage, ToolCall};
use crate::error::EngineError;
use crate::generation::{Alternative, Beginning, Finish, FinishReason, PromptProgress, TextEvent, Token, ToolCallPiece, Usage};
use crate::meter::{Counts, Measured};
use crate::model::Logits;
use crate::request::{Constraint, GenerateRequest, MaxTokens, Prompt, RequestOptions, Sampling, ToolChoice};
use crate::text_engine::{Capabilities, Computation, Determinism, Embedding, EngineInfo, Health, RenderedPrompt, State};

record!(GenerateRequest {
    prompt,
    max_tokens,
    sampling,
    stop,
    logprobs,
    constraint,
    tool_choice,
    deterministic,
    parallel_tool_calls,
    options,
    client,
});
record!(RequestOptions { ignore_eos, continue_final_message, logprobs_of_draw, without_cache, progress });
choice!(Prompt { 0 => Text { 0: text }, 1 => Tokens { 0: tokens }, 2 => Chat { messages: messages, tools: tools } });
record!(ChatMessage { role, content, tool_calls, tool_call_id });
record!(ToolCall { id, name, arguments });
choice!(ToolChoice { 0 => Auto {}, 1 => None {}, 2 => Required {}, 3 => Named { 0: name } });
choice!(MaxTokens { 0 => Exactly { 0: count }, 1 => AtMost { 0: count }, 2 => Remaining {} });
record!(Sampling { logit_bias, repetition_penalty, presence_penalty, frequency_penalty, temperature, top_k, top_p, min_p, seed });
choice!(Constraint { 0 => JsonObject {}, 1 => JsonSchema { 0: schema }, 2 => Grammar { 0: grammar }, 3 => Regex { 0: regex } });

record!(Beginning { seed, prompt_text, prompt_tokens, max_tokens });
choice!(TextEvent {
    0 => Text { text: text, tokens: tokens },
    1 => ToolCall { 0: piece },
    2 => Finished { 0: finish },
    3 => Reading { 0: progress },
});
record!(PromptProgress { total, cached, processed });
record!(ToolCallPiece { index, id, name, arguments });
record!(Token { id, bytes, logprob, top });
record!(Alternative { id, bytes, logprob });
record!(Finish { reason, usage, end });
choice!(FinishReason { 0 => EndOfText {}, 1 => StopString { 0: stop }, 2 => Length {}, 3 => ToolCalls {}, 4 => Timeout {} });
record!(Usage { prompt_tokens, completion_tokens, cached_tokens });
record!(Embedding { vector, tokens });

record!(EngineInfo { name, backend, model, source, fingerprint, context_length, determinism, capabilities, computation });
choice!(Determinism { 0 => Bitwise {}, 1 => Serial {}, 2 => None {} });
record!(Capabilities { chat_template, logprobs, tokenize, embeddings });
record!(Computation { version, dtype, kernel, threads });
record!(RenderedPrompt { text, tokens });
record!(Health { state, active, queued, slots, measured, restarts });
record!(Measured { widths, waits });
record!(Counts { counts, sum });
choice!(State { 0 => Loading {}, 1 => Ready {}, 2 => Failed { 0: reason } });

impl Wire for EngineError {
    fn put(&self, bytes: &mut Vec<u8>) {
        let mut tag = |tag| bytes.push(tag);
        match self {
            Self::InvalidRequest { param, message } => {
                tag(0);
                put_text(param, bytes);
                message.put(bytes);
            }
            Self::ContextLengthExceeded { prompt_tokens, max_tokens, limit } => {
                tag(1);
                (*prompt_tokens, (*max_tokens, *limit)).put(bytes);
            }
            Self::Busy { waiting } => {
                tag(2);
                waiting.put(bytes);
            }
            Self::UpstreamBusy { retry_after } => {
                tag(3);
                retry_after.put(bytes);
            }
            Self::Unsupported { engine, what } => {
                tag(4);
                engine.put(bytes);
                what.put(bytes);
            }
            Self::Unavailable(reason) => {
                tag(5);
                reason.put(bytes);
            }
            Self::Stopped => tag(6),
            Self::Upstream(reason) => {
                tag(7);
                reason.put(bytes);
            }
            // A cause is for the diagnostic log, where it is read as text.
            Self::Failed(cause) => {
                tag(8);
                crate::web::chain(&**cause).put(bytes);
            }
        }
    }

    fn take(from: &mut Bytes<'_>) -> Result<Self, Malformed> {
        Ok(match u8::take(from)? {
            0 => Self::InvalidRequest { param: known_for_ever(&String::take(from)?), message: Wire::take(from)? },
            1 => {
                let (prompt_tokens, (max_tokens, limit)) = Wire::take(from)?;
                Self::ContextLengthExceeded { prompt_tokens, max_tokens, limit }
            }
            2 => Self::Busy { waiting: Wire::take(from)? },
            3 => Self::UpstreamBusy { retry_after: Wire::take(from)? },
            4 => Self::Unsupported { engine: Wire::take(from)?, what: Wire::take(from)? },
            5 => Self::Unavailable(Wire::take(from)?),
            6 => Self::Stopped,
            7 => Self::Upstream(Wire::take(from)?),
            8 => Self::failed(String::take(from)?),
            _ => return Err(Malformed),
        })
    }
}

/// A field's name as errors carry it. There are as many as the program has fields; each is kept once.
fn known_for_ever(name: &str) -> &'static str {
    static NAMES: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());
    let mut names = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
    match names.get(name) {
        Some(known) => known,
        None => {
            let kept: &'static str = Box::leak(name.into());
            names.insert(kept);
            kept
        }
    }
}

impl Wire for Logits {
    fn put(&self, bytes: &mut Vec<u8>) {
        self.width().put(bytes);
        self.rows().put(bytes);
        (0..self.rows()).flat_map(|row| self.row(row)).for_each(|logit| logit.put(bytes));
    }

    fn take(from: &mut Bytes<'_>) -> Result<Self, Malformed> {
        let (width, rows) = (usize::take(from)?, usize::take(from)?);
        let length = width.checked_mul(rows).and_then(|count| count.checked_mul(size_of::<f32>())).ok_or(Malformed)?;
        let bits = from.next(length)?.as_chunks::<4>().0;
        let mut logits = Self::new(width);
        logits.extend(rows).iter_mut().zip(bits).for_each(|(logit, bits)| *logit = f32::from_le_bytes(*bits));
        Ok(logits)
    }
}

impl Wire for Value {
    fn put(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Null => bytes.push(0),
            Self::Bool(value) => {
                bytes.push(1);
                value.put(bytes);
            }
            Self::Number(number) => match (number.as_u64(), number.as_i64()) {
                (Some(number), _) => {
                    bytes.push(2);
                    number.put(bytes);
                }
                (None, Some(number)) => {
                    bytes.push(3);
                    number.cast_unsigned().put(bytes);
                }
                (None, None) => {
                    bytes.push(4);
                    number.as_f64().unwrap_or_default().to_bits().put(bytes);
                }
            },
            Self::String(text) => {
                bytes.push(5);
                text.put(bytes);
            }
            Self::Array(values) => {
                bytes.push(6);
                values.put(bytes);
            }
            Self::Object(members) => {
                bytes.push(7);
                members.len().put(bytes);
                for (key, value) in members {
                    key.put(bytes);
                    value.put(bytes);
                }
            }
        }
    }

    fn take(from: &mut Bytes<'_>) -> Result<Self, Malformed> {
        Ok(match u8::take(from)? {
            0 => Self::Null,
            1 => Self::Bool(Wire::take(from)?),
            2 => Self::Number(u64::take(from)?.into()),
            3 => Self::Number(u64::take(from)?.cast_signed().into()),
            4 => Self::Number(Number::from_f64(f64::from_bits(u64::take(from)?)).ok_or(Malformed)?),
            5 => Self::String(Wire::take(from)?),
            6 => Self::Array(Wire::take(from)?),
            7 => {
                let members = usize::take(from)?;
                let pairs = (0..members).map(|_| Ok((String::take(from)?, Wire::take(from)?)));
                Self::Object(pairs.collect::<Result<Map<_, _>, Malformed>>()?)
            }
            _ => return Err(Malformed),
        })
    }
}
