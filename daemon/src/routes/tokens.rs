//! `/tokenize` and `/detokenize`: between text and a model's tokens, in the shape of llama.cpp's server.

use axum::Json;
use axum::extract::State;
use minivault_engines::{TextEngine, TokenId};
use minivault_wire::tokens::{DetokenizeAnswer, DetokenizeBody, Piece, Spelling, TokenOrPiece, TokenizeAnswer, TokenizeBody};

use super::App;
use crate::body::JsonBody;
use crate::error::ApiError;
use crate::openapi::Asking;

/// The tokens of a text.
#[utoipa::path(
    post,
    path = "/tokenize",
    tag = "llama-server",
    request_body = TokenizeBody,
    responses((status = 200, description = "The tokens", body = TokenizeAnswer), Asking)
)]
pub(super) async fn tokenize(State(app): State<App>, JsonBody(body): JsonBody<TokenizeBody>) -> Result<Json<TokenizeAnswer>, ApiError> {
    app.check_prompt_bytes("content", body.content.len())?;
    if body.parse_special == Some(true) {
        let message = "`parse_special` isn't supported: what is written here never becomes a control token";
        return Err(ApiError::unsupported_field("parse_special", message));
    }
    let engine = app.engines.find(body.model.as_deref()).await?;
    let mut ids = if body.add_special { engine.prompt_prefix().await? } else { Vec::new() };
    ids.extend(engine.tokenize(&body.content).await?);
    let tokens = if body.with_pieces { pieces(&*engine, &ids).await? } else { ids.into_iter().map(TokenOrPiece::Token).collect() };
    Ok(Json(TokenizeAnswer { tokens }))
}

/// The text of tokens.
#[utoipa::path(
    post,
    path = "/detokenize",
    tag = "llama-server",
    request_body = DetokenizeBody,
    responses((status = 200, description = "The text", body = DetokenizeAnswer), Asking)
)]
pub(super) async fn detokenize(
    State(app): State<App>,
    JsonBody(body): JsonBody<DetokenizeBody>,
) -> Result<Json<DetokenizeAnswer>, ApiError> {
    let engine = app.engines.find(body.model.as_deref()).await?;
    Ok(Json(DetokenizeAnswer { content: engine.detokenize(&body.tokens).await? }))
}

async fn pieces(engine: &dyn TextEngine, ids: &[TokenId]) -> Result<Vec<TokenOrPiece>, ApiError> {
    let spelling = |bytes| String::from_utf8(bytes).map_or_else(|error| Spelling::Bytes(error.into_bytes()), Spelling::Text);
    let bytes = engine.token_bytes(ids).await?;
    Ok(ids.iter().zip(bytes).map(|(&id, bytes)| TokenOrPiece::Piece(Piece { id, piece: spelling(bytes) })).collect())
}
