//! `/props` and `/slots`: the default engine, as llama.cpp's server tells of its only one.

use axum::Json;
use axum::extract::State;
use minivault_wire::llama_server::{DefaultSettings, Props, SlotState};
use serde_json::json;

use crate::error::ApiError;
use crate::openapi::{AnyTime, Opening};
use crate::routes::App;

/// What the default engine is.
#[utoipa::path(get, path = "/props", tag = "llama-server", responses((status = 200, description = "The engine", body = Props), Opening, AnyTime))]
pub(in crate::routes) async fn props(State(app): State<App>) -> Result<Json<Props>, ApiError> {
    let engine = app.engines.find(None).await?;
    let (info, health, defaults) = (engine.info(), engine.health(), &app.configured.generation);
    let params = json!({
        "n_predict": defaults.max_tokens, "temperature": defaults.temperature, "top_k": defaults.top_k, "top_p": defaults.top_p,
        "min_p": defaults.min_p, "repeat_penalty": defaults.repetition_penalty, "ignore_eos": defaults.ignore_eos,
        // What a request says for none.
        "seed": defaults.seed.map_or(json!(-1), Into::into),
    });
    Ok(Json(Props {
        model_path: info.source.clone(),
        total_slots: health.slots,
        default_generation_settings: DefaultSettings { n_ctx: info.context_length, params },
        build_info: format!("minivaultd {}", env!("CARGO_PKG_VERSION")),
    }))
}

/// The slots of the default engine.
///
/// Which of them are in use is the engine's own affair, so the first ones are said to be.
#[utoipa::path(get, path = "/slots", tag = "llama-server", responses((status = 200, description = "The slots", body = [SlotState]), Opening, AnyTime))]
pub(in crate::routes) async fn slots(State(app): State<App>) -> Result<Json<Vec<SlotState>>, ApiError> {
    if !app.configured.tells.slots {
        return Err(ApiError::switched_off("/slots", "server.slots"));
    }
    let engine = app.engines.find(None).await?;
    let (n_ctx, health) = (engine.info().context_length, engine.health());
    Ok(Json((0..health.slots).map(|id| SlotState { id, n_ctx, is_processing: id < health.active }).collect()))
}
