//! `/v1/embeddings`: texts in, vectors out. No text is generated, so nothing is logged.

use axum::Json;
use axum::extract::State;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use minivault_engines::Prompt;
use minivault_wire::embeddings::{Embedding, EmbeddingsAnswer, EmbeddingsBody, EmbeddingsUsage, EncodingFormat, Input, Vector};

use crate::body::JsonBody;
use crate::error::ApiError;
use crate::openapi::Asking;
use crate::routes::App;

/// Texts in one request (OpenAI's limit).
const MAX_TEXTS: usize = 2048;

/// A vector for each text.
#[utoipa::path(
    post,
    path = "/v1/embeddings",
    tag = "openai",
    request_body = EmbeddingsBody,
    responses((status = 200, description = "The vectors", body = EmbeddingsAnswer), Asking)
)]
pub(in crate::routes) async fn embed(
    State(app): State<App>,
    JsonBody(body): JsonBody<EmbeddingsBody>,
) -> Result<Json<EmbeddingsAnswer>, ApiError> {
    let texts = texts(&app, body.input)?;
    if app.is_draining() {
        return Err(ApiError::draining());
    }
    let engine = app.engines.find(body.model.as_deref()).await?;
    let embeddings = engine.embed(&texts).await.map_err(|error| ApiError::from(error).about("prompt", "input"))?;
    let width = embeddings.first().map_or(0, |embedding| embedding.vector.len());
    if let Some(dimensions) = body.dimensions.filter(|&dimensions| dimensions != width) {
        let message = format!("dimensions is {dimensions}; this model's vectors have {width}, and no others can be had");
        return Err(ApiError::invalid(Some("dimensions"), message));
    }
    let tokens = embeddings.iter().map(|embedding| embedding.tokens).sum();
    let format = body.encoding_format.unwrap_or_default();
    let data = embeddings.into_iter().enumerate().map(|(index, embedding)| Embedding {
        object: "embedding".into(),
        index,
        embedding: written(embedding.vector, format),
    });
    Ok(Json(EmbeddingsAnswer {
        object: "list".into(),
        data: data.collect(),
        model: engine.info().name.clone(),
        usage: EmbeddingsUsage { prompt_tokens: tokens, total_tokens: tokens },
    }))
}

/// The texts, none of them empty or too long for a prompt.
fn texts(app: &App, input: Input) -> Result<Vec<Prompt>, ApiError> {
    let texts: Vec<Prompt> = match input {
        Input::Text(text) => vec![Prompt::Text(text)],
        Input::Texts(texts) => texts.into_iter().map(Prompt::Text).collect(),
        // An empty list could be one of anything; it is refused either way.
        Input::Tokens(tokens) => vec![Prompt::Tokens(tokens)],
        Input::TokenLists(lists) => lists.into_iter().map(Prompt::Tokens).collect(),
    };
    if texts.is_empty() || texts.len() > MAX_TEXTS {
        let message = format!("input has {} texts; it must have 1 to {MAX_TEXTS}", texts.len());
        return Err(ApiError::invalid(Some("input"), message));
    }
    for text in &texts {
        let (bytes, is_empty) = match text {
            Prompt::Text(text) => (text.len(), text.is_empty()),
            Prompt::Tokens(tokens) => (0, tokens.is_empty()),
            Prompt::Chat { .. } => (0, false),
        };
        if is_empty {
            return Err(ApiError::invalid(Some("input"), "input holds an empty text; each needs at least one character or token"));
        }
        app.check_prompt_bytes("input", bytes)?;
    }
    Ok(texts)
}

fn written(vector: Vec<f32>, format: EncodingFormat) -> Vector {
    match format {
        EncodingFormat::Float => Vector::Numbers(vector),
        EncodingFormat::Base64 => {
            let bytes: Vec<u8> = vector.iter().flat_map(|value| value.to_le_bytes()).collect();
            Vector::Base64(BASE64_STANDARD.encode(bytes))
        }
    }
}
