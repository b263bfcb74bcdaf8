//! The routes: what each answers, and what all of them share.

mod admin;
mod interactions;
mod llama_server;
mod models;
mod native;
mod ollama;
mod openai;
pub(crate) mod page;
mod status;
mod tokens;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::extract::Request;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use minivault_engines::GenerateRequest;
use minivault_journal::Journal;
use tokio::sync::{Semaphore, mpsc, watch};
use tower_http::catch_panic::CatchPanicLayer;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::body::Pace;
use crate::config::{GenerationSettings, LogSettings, ServerSettings};
use crate::door::Door;
use crate::engine_table::EngineTable;
use crate::error::ApiError;
use crate::lease::Lease;
use crate::logging;
use crate::metrics::Metrics;
use crate::observation::observe;
use crate::openapi;
use crate::patience::{Deadlines, Patience};
use crate::reload::Reload;

/// Requests that read the log at once; a search through a long one keeps a core busy.
const READERS: usize = 2;

/// What every route works with. Clones share it.
#[derive(Clone)]
pub struct App(Arc<Shared>);

/// See [`App`].
pub struct Shared {
    /// The engines.
    pub engines: Arc<EngineTable>,
    /// The log.
    pub journal: Arc<Journal>,
    /// What another configuration would say differently.
    pub configured: Configured,
    /// Lets few read the log at once.
    pub readers: Arc<Semaphore>,
    /// When the daemon started, in seconds since 1970.
    pub started: i64,
    /// What `/metrics` tells.
    pub metrics: Arc<Metrics>,
    /// Reads the configuration anew.
    reloads: mpsc::Sender<Reload>,
    draining: Arc<AtomicBool>,
    ending: watch::Sender<bool>,
}

/// What the configuration says to routes.
#[derive(Debug, Clone, PartialEq)]
pub struct Configured {
    /// Defaults of the native endpoints.
    pub generation: GenerationSettings,
    /// What a request may hold.
    pub limits: Limits,
    /// Whether a request may ask to be left out of the log.
    pub allow_log_off: bool,
    /// What the routes of llama.cpp's server tell.
    pub tells: Tells,
    /// Whether there is a page in the browser.
    pub page: bool,
}

/// What a request may hold and ask for, and how long it may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a body.
    pub body: usize,
    /// Bytes of a prompt.
    pub prompt: usize,
    /// How fast a body must come.
    pub pace: Pace,
    /// Tokens that all answers to one request may have together, where there are several.
    pub answer_tokens: usize,
    /// How long a request may take.
    pub deadlines: Deadlines,
}

/// What the routes of llama.cpp's server tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tells {
    /// Which slots are in use.
    pub slots: bool,
    /// With each whole answer to a chat, the prompt and all settings.
    pub verbose: bool,
}

impl Configured {
    /// As the settings have it.
    pub(crate) fn new(server: &ServerSettings, generation: GenerationSettings, log: &LogSettings) -> Self {
        let &ServerSettings { body_limit, max_prompt_bytes, pace, max_answer_tokens, deadlines, slots, verbose, page, .. } = server;
        let limits = Limits { body: body_limit, prompt: max_prompt_bytes, pace, answer_tokens: max_answer_tokens, deadlines };
        Self { generation, limits, allow_log_off: log.allow_off, tells: Tells { slots, verbose }, page }
    }
}

impl std::ops::Deref for App {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

impl App {
    /// All that the routes need.
    pub fn new(engines: Arc<EngineTable>, journal: Arc<Journal>, configured: Configured) -> Self {
        Self(Arc::new(Shared {
            configured,
            readers: Arc::new(Semaphore::new(READERS)),
            started: jiff::Timestamp::now().as_second(),
            metrics: Arc::new(Metrics::new(&engines, &journal)),
            // Nobody listens there.
            reloads: mpsc::channel(1).0,
            draining: Arc::new(AtomicBool::new(false)),
            ending: watch::Sender::new(false),
            engines,
            journal,
        }))
    }

    /// The same daemon under another configuration, for requests that begin from now on.
    #[must_use]
    pub fn renewed(&self, configured: Configured) -> Self {
        let Shared { engines, journal, readers, metrics, reloads, draining, ending, started, .. } = &*self.0;
        Self(Arc::new(Shared {
            configured,
            started: *started,
            engines: engines.clone(),
            journal: journal.clone(),
            readers: readers.clone(),
            metrics: metrics.clone(),
            reloads: reloads.clone(),
            draining: draining.clone(),
            ending: ending.clone(),
        }))
    }

    /// Whoever reads the configuration anew; before anybody else has it.
    #[must_use]
    pub(crate) fn reloaded_by(mut self, reloads: mpsc::Sender<Reload>) -> Self {
        if let Some(shared) = Arc::get_mut(&mut self.0) {
            shared.reloads = reloads;
        }
        self
    }

    /// From now on new work is refused.
    pub fn drain(&self) {
        self.0.draining.store(true, Ordering::Relaxed);
    }

    /// Whether new work is refused.
    pub fn is_draining(&self) -> bool {
        self.0.draining.load(Ordering::Relaxed)
    }

    /// From now on nothing is waited for: what is under way ends with an error.
    pub fn end(&self) {
        self.drain();
        self.0.ending.send_replace(true);
    }

    /// The engine that a request names, once it is there: not while the daemon drains, and not for longer than the request may take.
    ///
    /// # Errors
    /// There is no such engine, it can't be had, or not in time.
    pub(crate) async fn engine(&self, name: Option<&str>, patience: &mut Patience) -> Result<Lease, ApiError> {
        if self.is_draining() {
            return Err(ApiError::draining());
        }
        let handle = patience.wait_for(self.engines.find(name)).await?;
        // That may have taken as long as a model takes to load.
        if self.is_draining() { Err(ApiError::draining()) } else { Ok(handle) }
    }

    /// What a request that begins now may take.
    pub(crate) fn patience(&self) -> Patience {
        Patience::new(self.configured.limits.deadlines, self.0.ending.subscribe())
    }

    /// Refuses a prompt before it is encoded.
    ///
    /// # Errors
    /// The prompt has more bytes than the limit.
    pub fn check_prompt_bytes(&self, param: &str, bytes: usize) -> Result<(), ApiError> {
        let limit = self.configured.limits.prompt;
        if bytes > limit { Err(ApiError::invalid(Some(param), format!("{param} has {bytes} bytes; the limit is {limit}"))) } else { Ok(()) }
    }
}

/// The request, if nothing is wrong with it: looked at one by one, because a list of prompts has as many copies of all else.
fn checked(request: GenerateRequest) -> Result<GenerateRequest, ApiError> {
    request.check()?;
    Ok(request)
}

/// All routes, each with its part of `/openapi.json`.
pub(crate) fn documented() -> OpenApiRouter<App> {
    OpenApiRouter::with_openapi(openapi::Frame::openapi())
        .routes(routes!(native::generate))
        .routes(routes!(native::stream_generate))
        .routes(routes!(openai::completions::complete))
        .routes(routes!(openai::chat::complete))
        .routes(routes!(openai::embeddings::embed))
        .routes(routes!(models::list))
        .routes(routes!(models::retrieve))
        .routes(routes!(tokens::tokenize))
        .routes(routes!(tokens::detokenize))
        .routes(routes!(interactions::list))
        .routes(routes!(interactions::stats))
        .routes(routes!(interactions::verify))
        .routes(routes!(interactions::show))
        .routes(routes!(interactions::replay))
        .merge(as_llama_server())
        .routes(routes!(status::health))
        .routes(routes!(status::ready))
        .routes(routes!(status::metrics))
        .routes(routes!(admin::reload))
        .routes(routes!(openapi::document))
}

/// What clients of llama.cpp's server ask for, the paths without `/v1` included.
fn as_llama_server() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(llama_server::completion::complete))
        .routes(routes!(llama_server::prompt::apply_template))
        .routes(routes!(llama_server::prompt::input_tokens))
        .routes(routes!(llama_server::status::props))
        .routes(routes!(llama_server::status::slots))
        .route("/completions", post(llama_server::completion::complete))
        .route("/chat/completions", post(llama_server::chat::complete))
        .route("/chat/completions/input_tokens", post(llama_server::prompt::input_tokens))
        .route("/models", get(models::list))
        .route("/v1/health", get(status::health))
}

/// Paths that answer as others do: the other one first.
pub(crate) const SAME: [(&str, &str); 5] = [
    ("/completion", "/completions"),
    ("/v1/chat/completions", "/chat/completions"),
    ("/v1/chat/completions/input_tokens", "/chat/completions/input_tokens"),
    ("/v1/models", "/models"),
    ("/health", "/v1/health"),
];

/// All routes behind a door, and what the rest is answered with.
pub fn router(app: App, door: Door) -> Router {
    let (api, _) = documented().split_for_parts();
    let api = api.merge(ollama::routes());
    let router = if app.configured.page { api.merge(page::routes()) } else { api };
    let routes = router
        .fallback(async |request: Request| ApiError::unknown_path(request.uri().path()))
        .method_not_allowed_fallback(async |request: Request| ApiError::wrong_method(request.method().as_str(), request.uri().path()))
        .layer(CatchPanicLayer::custom(|panic: Box<dyn std::any::Any + Send>| -> Response {
            let reason = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
            tracing::error!(reason, "a handler panicked");
            ApiError::internal().into_response()
        }))
        .layer(from_fn_with_state(app.clone(), logging::obey))
        .with_state(app.clone());
    door.before(routes).layer(from_fn(ollama::tell_errors)).layer(from_fn_with_state(app, observe))
}
