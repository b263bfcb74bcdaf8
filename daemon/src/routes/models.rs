//! `/v1/models`: the engines there are.

use axum::Json;
use axum::extract::State;
use minivault_engines::{Circumstance, TextEngine};
use minivault_wire::models::{LoadedModel, Model, ModelDetails, ModelList};

use super::App;
use crate::engine_table::{Entrant, Phase};
use crate::openapi::AnyTime;

/// All engines of the configuration, the default one first.
#[utoipa::path(get, path = "/v1/models", tag = "openai", responses((status = 200, description = "The engines", body = ModelList), AnyTime))]
pub(super) async fn list(State(app): State<App>) -> Json<ModelList> {
    let default = app.engines.default_name();
    let model = |entrant: Entrant<'_>| Model {
        id: entrant.name.to_owned(),
        object: "model".into(),
        created: app.started,
        owned_by: "minivault".into(),
        minivault: Some(details(&entrant, entrant.name == default)),
    };
    Json(ModelList { object: "list".into(), data: app.engines.entrants().into_iter().map(model).collect() })
}

fn details(entrant: &Entrant<'_>, default: bool) -> ModelDetails {
    let mut details = ModelDetails { default, backend: entrant.backend.to_owned(), ..ModelDetails::default() };
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
