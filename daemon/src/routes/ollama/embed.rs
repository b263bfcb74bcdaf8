//! `/api/embed` and `/api/embeddings`: texts in, vectors out.

use std::time::Instant;

use axum::Json;
use axum::extract::State;
use minivault_wire::embeddings::Input;
use minivault_wire::ollama::{EmbedAnswer, EmbedBody, EmbeddingsAnswer, EmbeddingsBody};

use super::{engine_of, nanoseconds};
use crate::body::JsonBody;
use crate::error::ApiError;
use crate::routes::App;
use crate::routes::openai::embeddings;

pub(super) async fn embed(State(app): State<App>, JsonBody(body): JsonBody<EmbedBody>) -> Result<Json<EmbedAnswer>, ApiError> {
    let started = Instant::now();
    let embedded = embeddings::of(&app, Some(engine_of(&app, &body.model)), body.input, body.dimensions).await?;
    Ok(Json(EmbedAnswer {
        model: body.model,
        prompt_eval_count: embedded.vectors.iter().map(|embedding| embedding.tokens).sum(),
        embeddings: embedded.vectors.into_iter().map(|embedding| embedding.vector).collect(),
        total_duration: nanoseconds(started.elapsed()),
        load_duration: nanoseconds(embedded.found - started),
    }))
}

pub(super) async fn embed_one(
    State(app): State<App>,
    JsonBody(body): JsonBody<EmbeddingsBody>,
) -> Result<Json<EmbeddingsAnswer>, ApiError> {
    let input = Input::Text(body.prompt);
    let embedded = embeddings::of(&app, Some(engine_of(&app, &body.model)), input, None).await?;
    let embedding = embedded.vectors.into_iter().next().ok_or_else(ApiError::internal)?;
    Ok(Json(EmbeddingsAnswer { embedding: embedding.vector }))
}
