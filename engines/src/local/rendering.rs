//! A prompt as the model reads it: a conversation rendered, a text encoded, and tokens as text again.

use crate::chat::{ChatMessage, ToolForm};
use crate::decoding::WholeCharacters;
use crate::error::{EngineError, Result};
use crate::model::{Specials, TokenKind, Vocabulary};
use crate::request::{Prompt, TokenId};

/// A prompt as the model takes it.
pub(super) struct Rendered {
    pub text: String,
    pub tokens: Vec<TokenId>,
    pub stop: Vec<String>,
    pub tool_form: Option<ToolForm>,
}

/// Renders and encodes a prompt.
pub(super) fn render(vocabulary: &dyn Vocabulary, prompt: Prompt, engine: &str, call_is_prescribed: bool) -> Result<Rendered> {
    match prompt {
        Prompt::Tokens(tokens) => Ok(Rendered { text: String::new(), tokens, stop: Vec::new(), tool_form: None }),
        Prompt::Text(text) => {
            let mut tokens = vocabulary.prompt_prefix().to_vec();
            tokens.extend(vocabulary.encode(&text, Specials::Literal)?);
            if tokens.is_empty() {
                return Err(EngineError::invalid("prompt", "prompt has no tokens in this model's vocabulary; it needs at least one"));
            }
            Ok(Rendered { text, tokens, stop: Vec::new(), tool_form: None })
        }
        Prompt::Chat { messages, tools } => {
            let chat = vocabulary.render_chat(&messages, &tools).map_err(|error| match error {
                // The vocabulary doesn't know what its engine is called.
                EngineError::Unsupported { what, .. } => EngineError::Unsupported { engine: engine.to_owned(), what },
                other => other,
            })?;
            let mut tokens = Vec::new();
            for piece in &chat.pieces {
                tokens.extend(vocabulary.encode(piece, chat.specials)?);
            }
            if tokens.is_empty() {
                return Err(EngineError::invalid("messages", "the model's chat template makes nothing of these messages"));
            }
            let mut text = chat.text();
            if let Some(form) = chat.tool_form.filter(|_| call_is_prescribed) {
                tokens.extend(vocabulary.encode(form.opening(), Specials::Parse)?);
                text.push_str(form.opening());
            }
            Ok(Rendered { text, tokens, stop: chat.stop, tool_form: chat.tool_form })
        }
    }
}

/// Takes the beginning of the answer from the end of a chat, if that is wanted: the template sees what is before it, and it comes behind as it is.
pub(super) fn take_begun(wanted: bool, prompt: &mut Prompt, call_is_prescribed: bool) -> Result<Option<String>> {
    let Prompt::Chat { messages, .. } = prompt else { return Ok(None) };
    if !wanted {
        return Ok(None);
    }
    if call_is_prescribed {
        let message = "a begun answer can't be gone on with by a prescribed call; leave out `tool_choice`, or the begun answer";
        return Err(EngineError::invalid("messages", message));
    }
    match messages.pop() {
        Some(ChatMessage { role, content, tool_calls, .. }) if role == "assistant" && tool_calls.is_empty() && !messages.is_empty() => {
            Ok(Some(content))
        }
        _ => Err(EngineError::invalid(
            "messages",
            "there is no begun answer to go on with; the last of several messages must be the assistant's, without calls",
        )),
    }
}

/// The bytes of tokens as text, invalid ones as U+FFFD; control tokens by their names, so that a logged prompt shows them.
pub(super) fn text_of(vocabulary: &dyn Vocabulary, tokens: &[TokenId]) -> String {
    let mut characters = WholeCharacters::default();
    let mut text = String::new();
    let mut bytes = Vec::new();
    for &token in tokens {
        bytes.clear();
        if vocabulary.kind(token) == TokenKind::Control {
            bytes.extend_from_slice(vocabulary.name(token).as_bytes());
        } else {
            vocabulary.push_bytes(token, &mut bytes);
        }
        text.push_str(&characters.push(&bytes));
    }
    text
}
