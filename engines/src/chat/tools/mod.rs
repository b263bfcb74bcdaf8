//! Calls of tools: how a model writes them, and how they are read from its text.
//!
//! A template shows its model's form ([`ToolForm`]). The answer's text goes through a [`ToolCallReader`], which takes the calls out of it
//! while they are being written; it finds the parts of a call with an [`object`] scanner. A call that must come is prescribed as a
//! [`Constraint`] on the answer.

mod object;
mod reader;
mod schema;

use futures_core::Stream;
use futures_util::StreamExt;
use serde_json::Value;

pub use reader::{Piece, ToolCallReader};

use crate::error::{EngineError, Result};
use crate::events::Timed;
use crate::generation::{FinishReason, TextEvent};
use crate::request::{Constraint, ToolChoice};

/// How a model writes its calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ToolForm {
    /// `<tool_call>{"name": …, "arguments": {…}}</tool_call>`: Hermes, Qwen.
    Tagged,
    /// `[TOOL_CALLS][{"name": …, "arguments": {…}}]`: Mistral. The mark is a control token, so its text is often not seen.
    Listed,
    /// `{"name": …, "parameters": {…}}` as the whole answer: Llama 3.
    Parameters,
    /// `{"name": …, "arguments": {…}}` as the whole answer: for templates that know tools and show none of the forms above.
    Plain,
}

/// The mark of [`ToolForm::Tagged`].
const TAG: &str = "<tool_call>";
/// The mark of [`ToolForm::Listed`].
const LIST_MARK: &str = "[TOOL_CALLS]";

impl ToolForm {
    /// The form that a template shows.
    pub fn of_template(source: &str) -> Self {
        if source.contains(TAG) {
            Self::Tagged
        } else if source.contains(LIST_MARK) {
            Self::Listed
        } else if source.contains("<|python_tag|>") || source.contains(r#""parameters": dictionary"#) {
            Self::Parameters
        } else {
            Self::Plain
        }
    }

    /// What stands between the prompt and a call that must come. It is put behind the prompt, so that the answer is JSON alone.
    pub fn opening(self) -> &'static str {
        match self {
            Self::Tagged => "<tool_call>\n",
            Self::Listed => LIST_MARK,
            Self::Parameters | Self::Plain => "",
        }
    }

    /// What marks the beginning of a call in the middle of a text.
    fn mark(self) -> &'static str {
        if self == Self::Listed { LIST_MARK } else { TAG }
    }

    /// Whether a call needs no mark at the beginning of an answer.
    fn begins_bare(self) -> bool {
        self != Self::Tagged
    }

    fn arguments_key(self) -> &'static str {
        if self == Self::Parameters { "parameters" } else { "arguments" }
    }
}

/// The tools that a choice leaves to the model.
///
/// # Errors
/// [`EngineError::InvalidRequest`] for a tool without a name, or a choice that none of them fits.
pub fn chosen(tools: Vec<Value>, choice: &ToolChoice) -> Result<Vec<Value>> {
    for (place, tool) in tools.iter().enumerate() {
        if name_of(tool).is_empty() {
            return Err(EngineError::invalid("tools", format!("tools[{place}] has no function.name")));
        }
    }
    match choice {
        ToolChoice::None => Ok(Vec::new()),
        ToolChoice::Required if tools.is_empty() => {
            Err(EngineError::invalid("tool_choice", "tool_choice is required, and there are no tools"))
        }
        ToolChoice::Named(name) if !tools.iter().any(|tool| name_of(tool) == name) => {
            Err(EngineError::invalid("tool_choice", format!("tool_choice names `{name}`, which is none of the tools")))
        }
        _ => Ok(tools),
    }
}

/// The names of tools.
pub fn names(tools: &[Value]) -> Vec<String> {
    tools.iter().map(|tool| name_of(tool).to_owned()).collect()
}

/// What prescribes a call, if the choice is for one.
pub fn prescribed(tools: &[Value], choice: &ToolChoice, form: ToolForm) -> Option<Constraint> {
    let callable: Vec<&Value> = match choice {
        ToolChoice::Auto | ToolChoice::None => return None,
        ToolChoice::Required => tools.iter().collect(),
        ToolChoice::Named(name) => tools.iter().filter(|tool| name_of(tool) == name).collect(),
    };
    Some(Constraint::JsonSchema(schema::of_calls(&callable, form)))
}

/// The events of an answer with the calls in it told as such.
pub fn with_calls(
    events: impl Stream<Item = Timed> + Send + 'static,
    mut reader: ToolCallReader,
) -> impl Stream<Item = Timed> + Send + 'static {
    events.flat_map(move |Timed { at, event }| {
        let told = told(event, &mut reader).into_iter().map(move |event| Timed { at, event });
        futures_util::stream::iter(told)
    })
}

fn told(event: Result<TextEvent>, reader: &mut ToolCallReader) -> Vec<Result<TextEvent>> {
    match event {
        Ok(TextEvent::Text { text, tokens }) => {
            let mut pieces = reader.push(&text).into_iter().peekable();
            // The tokens come with the first text, or with none.
            let text = match pieces.next_if(|piece| matches!(piece, Piece::Text(_))) {
                Some(Piece::Text(text)) => text,
                _ => String::new(),
            };
            let first = TextEvent::Text { text, tokens };
            std::iter::once(first).chain(pieces.map(Piece::into_event)).map(Ok).collect()
        }
        Ok(TextEvent::Finished(mut finish)) => {
            let mut events: Vec<_> = reader.finish().into_iter().map(Piece::into_event).map(Ok).collect();
            if reader.calls() > 0 && !matches!(finish.reason, FinishReason::Length | FinishReason::Timeout) {
                finish.reason = FinishReason::ToolCalls;
            }
            events.push(Ok(TextEvent::Finished(finish)));
            events
        }
        other => vec![other],
    }
}

/// A tool's function, in OpenAI's form or bare.
fn function_of(tool: &Value) -> &Value {
    tool.get("function").unwrap_or(tool)
}

fn name_of(tool: &Value) -> &str {
    function_of(tool)["name"].as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests;
