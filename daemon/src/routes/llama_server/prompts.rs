//! Prompts and biases of llama.cpp's server: texts and tokens, mixed at will.

use minivault_engines::{Prompt, TextEngine, TokenId};
use minivault_wire::llama_server::{self as wire, Bias, Biases, PromptOrPrompts, TokenOrText};

use crate::error::ApiError;
use crate::routes::App;
use crate::routes::openai::MAX_CHOICES;

/// What stands for a token that never comes.
const NEVER: f32 = -100.0;

/// The prompts in their order, and whether they came in a list.
///
/// # Errors
/// None at all, one that is too long, or one that isn't text.
pub(super) async fn of_body(app: &App, engine: &dyn TextEngine, prompts: PromptOrPrompts) -> Result<(Vec<Prompt>, bool), ApiError> {
    let (prompts, several) = match prompts {
        PromptOrPrompts::One(prompt) => (vec![prompt], false),
        PromptOrPrompts::Several(prompts) => (prompts, true),
    };
    if prompts.is_empty() || prompts.len() > MAX_CHOICES {
        let message = format!("prompt is a list of {}; it must have 1 to {MAX_CHOICES} entries", prompts.len());
        return Err(ApiError::invalid(Some("prompt"), message));
    }
    let mut found = Vec::with_capacity(prompts.len());
    for prompt in prompts {
        found.push(of_prompt(app, engine, prompt).await?);
    }
    Ok((found, several))
}

async fn of_prompt(app: &App, engine: &dyn TextEngine, prompt: wire::Prompt) -> Result<Prompt, ApiError> {
    match prompt {
        wire::Prompt::Object { multimodal_data: Some(_), .. } => {
            Err(ApiError::unsupported_field("multimodal_data", "`multimodal_data` isn't supported; the models here read text alone"))
        }
        wire::Prompt::Text(text) | wire::Prompt::Object { prompt_string: text, .. } => {
            app.check_prompt_bytes("prompt", text.len())?;
            Ok(Prompt::Text(text))
        }
        wire::Prompt::Mixed(parts) => {
            let mut tokens = Vec::new();
            for part in parts {
                tokens.extend(of_part(app, engine, "prompt", part).await?);
            }
            Ok(Prompt::Tokens(tokens))
        }
    }
}

async fn of_part(app: &App, engine: &dyn TextEngine, param: &str, part: TokenOrText) -> Result<Vec<TokenId>, ApiError> {
    match part {
        TokenOrText::Token(token) => Ok(vec![token]),
        TokenOrText::Text(text) => {
            app.check_prompt_bytes(param, text.len())?;
            Ok(engine.tokenize(&text).await?)
        }
    }
}

/// The biases of single tokens; one for a text goes to each of its tokens.
///
/// # Errors
/// A text that has no tokens in this vocabulary.
pub(super) async fn biases(app: &App, engine: &dyn TextEngine, biases: Biases) -> Result<Vec<(TokenId, f32)>, ApiError> {
    let pairs: Vec<(TokenOrText, Bias)> = match biases {
        Biases::Pairs(pairs) => pairs,
        Biases::Map(map) => {
            let key = |key: String| key.parse().map_or(TokenOrText::Text(key), TokenOrText::Token);
            map.into_iter().map(|(token, bias)| (key(token), bias)).collect()
        }
    };
    let mut found = Vec::with_capacity(pairs.len());
    for (part, bias) in pairs {
        let bias = match bias {
            Bias::Number(bias) => bias,
            Bias::Never(true) => continue,
            Bias::Never(false) => NEVER,
        };
        found.extend(of_part(app, engine, "logit_bias", part).await?.into_iter().map(|token| (token, bias)));
    }
    Ok(found)
}
