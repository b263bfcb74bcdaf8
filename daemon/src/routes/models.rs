//! `/v1/models`: the engines there are.

use axum::Json;
use axum::extract::{Path, State};
use minivault_engines::{Circumstance, TextEngine};
use minivault_wire::models::{LoadedModel, Model, ModelDetails, ModelList};

use super::App;
use crate::engine_table::{Entrant, Phase};
use crate::error::ApiError;
use crate::openapi::{AnyTime, Found};

/// All engines of the configuration, the default one first.
#[utoipa::path(get, path = "/v1/models", tag = "openai", responses((status = 200, description = "The engines", body = ModelList), AnyTime))]
pub(super) async fn list(State(app): State<App>) -> Json<ModelList> {
    let models = app.engines.entrants().into_iter().map(|entrant| model(&app, &entrant));
    Json(ModelList { object: "list".into(), data: models.collect() })
}

/// One of them, by its name or by another one that stands for it.
#[utoipa::path(
    get,
    path = "/v1/models/{id}",
    tag = "openai",
    params(("id" = String, Path, description = "What a request's `model` says")),
    responses((status = 200, description = "The engine", body = Model), Found, AnyTime)
)]
pub(super) async fn retrieve(State(app): State<App>, Path(id): Path<String>) -> Result<Json<Model>, ApiError> {
    let name = app.engines.resolve(Some(&id))?;
    let entrants = app.engines.entrants();
    let entrant = entrants.iter().find(|entrant| entrant.name() == name);
    entrant.map(|entrant| Json(model(&app, entrant))).ok_or_else(ApiError::internal)
}

fn model(app: &App, entrant: &Entrant) -> Model {
    Model {
        id: entrant.name().to_owned(),
        object: "model".into(),
        created: app.started,
        owned_by: "minivault".into(),
        aliases: app.engines.names_of(entrant.name()),
        tags: entrant.tags().to_vec(),
        minivault: Some(details(entrant, entrant.name() == app.engines.default_name())),
    }
}

fn details(entrant: &Entrant, default: bool) -> ModelDetails {
    let mut details = ModelDetails { default, backend: entrant.backend().to_owned(), ..ModelDetails::default() };
    match &entrant.phase {
        Phase::Idle => details.state = "idle".into(),
        Phase::Loading => details.state = "loading".into(),
        Phase::Closed => details.state = "closed".into(),
        Phase::Failed(reason) => (details.state, details.reason) = ("failed".into(), Some(reason.clone())),
        Phase::Ready(engine) => take_engine(&mut details, &**engine),
        Phase::Replaced { by, reason } => {
            (details.answered_by, details.reason) = (Some(by.info().name.clone()), Some(reason.clone()));
            take_engine(&mut details, &**by);
        }
    }
    details
}

fn take_engine(details: &mut ModelDetails, engine: &dyn TextEngine) {
    let (info, health) = (engine.info(), engine.health());
    match health.state {
        minivault_engines::State::Ready => details.state = "ready".into(),
        minivault_engines::State::Loading => details.state = "loading".into(),
        minivault_engines::State::Failed(reason) => (details.state, details.reason) = ("failed".into(), Some(reason)),
    }
    let word = |circumstance: Circumstance| {
        serde_json::to_value(circumstance).ok().and_then(|word| word.as_str().map(str::to_owned)).unwrap_or_default()
    };
    details.loaded = Some(LoadedModel {
        model: info.model.clone(),
        source: info.source.clone(),
        fingerprint: info.fingerprint.clone(),
        context_length: info.context_length,
        determinism: info.determinism.as_str().to_owned(),
        same_bytes: Circumstance::ALL.map(|circumstance| (word(circumstance), info.determinism.holds(circumstance))).into(),
        slots: health.slots,
        active: health.active,
        queued: health.queued,
    });
}
