//! `/api/tags`, `/api/ps`, `/api/show` and `/api/version`: the engines there are.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use minivault_engines::EngineInfo;
use minivault_wire::ollama::{Details, Model, Models, ShowAnswer, ShowBody, VersionAnswer};
use serde_json::Map;

use super::{LATEST, engine_of};
use crate::body::JsonBody;
use crate::engine_table::{Entrant, Phase};
use crate::error::ApiError;
use crate::routes::App;

/// All engines, the default one first.
pub(super) async fn tags(State(app): State<App>) -> Json<Models> {
    Json(Models { models: app.engines.entrants().iter().map(|entrant| model(&app, entrant)).collect() })
}

/// Those that are loaded.
pub(super) async fn ps(State(app): State<App>) -> Json<Models> {
    let entrants = app.engines.entrants();
    let loaded = entrants.iter().filter(|entrant| info(entrant).is_some());
    Json(Models { models: loaded.map(|entrant| model(&app, entrant)).collect() })
}

/// What is known of one.
pub(super) async fn show(State(app): State<App>, JsonBody(body): JsonBody<ShowBody>) -> Result<Json<ShowAnswer>, ApiError> {
    let name = app.engines.resolve(Some(engine_of(&app, &body.model)))?;
    let entrants = app.engines.entrants();
    let entrant = entrants.iter().find(|entrant| entrant.name() == name).ok_or_else(ApiError::internal)?;
    let mut model_info = Map::from_iter([("general.architecture".to_owned(), entrant.backend().into())]);
    let mut capabilities = vec!["completion".to_owned()];
    if let Some(info) = info(entrant) {
        model_info.insert("general.basename".into(), info.model.clone().into());
        if info.context_length > 0 {
            model_info.insert(format!("{}.context_length", entrant.backend()), info.context_length.into());
        }
        capabilities.extend(info.capabilities.embeddings.then(|| "embedding".to_owned()));
    }
    let Model { details, modified_at, .. } = model(&app, entrant);
    let modelfile = format!("# MiniVault's engine [engines.{name}]\n");
    Ok(Json(ShowAnswer { modelfile, details, model_info, capabilities, modified_at, ..ShowAnswer::default() }))
}

/// This daemon's version.
pub(super) async fn version() -> Json<VersionAnswer> {
    Json(VersionAnswer { version: env!("CARGO_PKG_VERSION").into() })
}

fn model(app: &App, entrant: &Entrant) -> Model {
    let (name, info) = (format!("{}{LATEST}", entrant.name()), info(entrant));
    let format = match entrant.backend() {
        "llama-cpp" => "gguf",
        "gpt2" => "safetensors",
        other => other,
    };
    let mut details = Details { format: format.to_owned(), ..Details::default() };
    if let Some(info) = &info {
        // A model on disk is called by its folder.
        let family =
            std::path::Path::new(&info.model).file_name().map_or_else(|| info.model.clone(), |name| name.to_string_lossy().into_owned());
        details.family.clone_from(&family);
        details.families = vec![family];
        details.quantization_level.clone_from(&info.computation.dtype);
    }
    Model {
        model: name.clone(),
        name,
        modified_at: jiff::Timestamp::from_second(app.started).unwrap_or_default().to_string(),
        size: 0,
        digest: info.map(|info| info.fingerprint.clone()).unwrap_or_default(),
        details,
    }
}

/// What an engine says of itself, once it is loaded.
fn info(entrant: &Entrant) -> Option<Arc<EngineInfo>> {
    match &entrant.phase {
        Phase::Ready(engine) | Phase::Replaced { by: engine, .. } => Some(engine.info()),
        _ => None,
    }
}
