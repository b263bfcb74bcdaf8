//! `/v1/embeddings`: texts in, vectors out. No text is generated, so nothing is logged.

use std::sync::Arc;
use std::time::Instant;

use axum::Json;
use axum::extract::State;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use minivault_engines::{EngineInfo, Prompt};
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
    let Embedded { engine, vectors, .. } = of(&app, body.model.as_deref(), body.input, body.dimensions).await?;
    let tokens = vectors.iter().map(|embedding| embedding.tokens).sum();
    let format = body.encoding_format.unwrap_or_default();
    let data = vectors.into_iter().enumerate().map(|(index, embedding)| Embedding {
        object: "embedding".into(),
        index,
        embedding: written(embedding.vector, format),
    });
    Ok(Json(EmbeddingsAnswer {
        object: "list".into(),
        data: data.collect(),
        model: engine.name.clone(),
        usage: EmbeddingsUsage { prompt_tokens: tokens, total_tokens: tokens },
    }))
}

/// Vectors, whoever asked for them.
pub(in crate::routes) struct Embedded {
    pub engine: Arc<EngineInfo>,
    pub vectors: Vec<minivault_engines::Embedding>,
    /// When the engine was there.
    pub found: Instant,
}

/// A vector for each text of an input.
///
/// # Errors
/// What is wrong with it; the engine has none, or none of that width.
pub(in crate::routes) async fn of(app: &App, model: Option<&str>, input: Input, dimensions: Option<usize>) -> Result<Embedded, ApiError> {
    let texts = texts(app, input)?;
    let engine = app.engine(model, &mut app.patience()).await?;
    let found = Instant::now();
    let vectors = engine.embed(&texts).await.map_err(|error| ApiError::from(error).about("prompt", "input"))?;
    let width = vectors.first().map_or(0, |embedding| embedding.vector.len());
    if let Some(dimensions) = dimensions.filter(|&dimensions| dimensions != width) {
        let message = format!("dimensions is {dimensions}; this model's vectors have {width}, and no others can be had");
        return Err(ApiError::invalid(Some("dimensions"), message));
    }
    Ok(Embedded { engine: engine.info(), vectors, found })
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
