//! What completions continue.

use minivault_engines::Prompt;
use minivault_wire::completions::Prompts;

use crate::error::ApiError;
use crate::routes::App;

/// Answers that one request may ask for, all its prompts together: OpenAI's limit.
pub(in crate::routes) const MAX_CHOICES: usize = 128;

/// The prompts in their order.
///
/// # Errors
/// None at all, too many, or one that is too long.
pub(super) fn of_body(app: &App, prompts: Prompts) -> Result<Vec<Prompt>, ApiError> {
    let prompts: Vec<Prompt> = match prompts {
        Prompts::Text(text) => vec![Prompt::Text(text)],
        Prompts::Texts(texts) => texts.into_iter().map(Prompt::Text).collect(),
        Prompts::Tokens(tokens) => vec![Prompt::Tokens(tokens)],
        Prompts::TokenLists(lists) => lists.into_iter().map(Prompt::Tokens).collect(),
    };
    if prompts.is_empty() || prompts.len() > MAX_CHOICES {
        let message = format!("prompt is a list of {}; it must have 1 to {MAX_CHOICES} entries", prompts.len());
        return Err(ApiError::invalid(Some("prompt"), message));
    }
    for prompt in &prompts {
        if let Prompt::Text(text) = prompt {
            app.check_prompt_bytes("prompt", text.len())?;
        }
    }
    Ok(prompts)
}

/// How many answers there are to each prompt.
///
/// # Errors
/// None at all, or too many.
pub(super) fn answers(param: &str, wanted: Option<usize>, prompts: usize) -> Result<usize, ApiError> {
    let count = wanted.unwrap_or(1);
    if count == 0 || count > MAX_CHOICES / prompts.max(1) {
        let each = if prompts == 1 { String::new() } else { format!(" for each of {prompts} prompts") };
        let message = format!("{param} is {count}{each}; it must be at least 1, and a request has at most {MAX_CHOICES} answers");
        return Err(ApiError::invalid(Some(param), message));
    }
    Ok(count)
}
