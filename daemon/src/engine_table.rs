//! The engines of the configuration: opened when they are needed, found by their names.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use minivault_engines::registry::Prepared;
use minivault_engines::{EngineError, Opening, State, TextEngine};
use tokio::sync::watch;

use crate::config::EngineSettings;
use crate::error::ApiError;

type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Requests that may wait for one engine while it loads.
const WAITING_FOR_A_LOAD: usize = 64;

/// All engines of the configuration.
pub struct EngineTable {
    default: String,
    entries: BTreeMap<String, Arc<Entry>>,
    aliases: BTreeMap<String, String>,
}

struct Entry {
    name: String,
    backend: String,
    fallback: Option<String>,
    load_timeout: Duration,
    prepared: Prepared,
    opening: Opening,
    phase: watch::Sender<Phase>,
    waiting: AtomicUsize,
}

/// How far an engine is.
#[derive(Clone)]
pub enum Phase {
    /// No request has named it yet.
    Idle,
    /// Its model is on the way.
    Loading,
    /// It answers.
    Ready(Arc<dyn TextEngine>),
    /// Its model can't be had, so another engine answers in its place.
    Replaced {
        /// The engine that answers.
        by: Arc<dyn TextEngine>,
        /// Why.
        reason: String,
    },
    /// Its model can't be had, for this reason; the next request tries again.
    Failed(String),
    /// The daemon is ending.
    Closed,
}

/// What is told of an engine.
pub struct Entrant<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its backend.
    pub backend: &'a str,
    /// How far it is.
    pub phase: Phase,
}

impl EngineTable {
    /// A table of engines, none of them open. `default` must be one of them; the configuration's check has seen to that.
    pub fn new(default: String, engines: BTreeMap<String, EngineSettings>) -> Self {
        let entry = |(name, settings): (String, EngineSettings)| {
            let EngineSettings { backend, fallback, load_timeout, prepared, opening } = settings;
            let (phase, waiting) = (watch::Sender::new(Phase::Idle), AtomicUsize::new(0));
            (name.clone(), Arc::new(Entry { name, backend, fallback, load_timeout, prepared, opening, phase, waiting }))
        };
        Self { default, entries: engines.into_iter().map(entry).collect(), aliases: BTreeMap::new() }
    }

    /// The same table with other names for its engines; `*` is every name that isn't one.
    #[must_use]
    pub fn with_aliases(self, aliases: BTreeMap<String, String>) -> Self {
        Self { aliases, ..self }
    }

    /// The name of the engine that is meant by what a request calls its model: the default one's where it names none.
    ///
    /// # Errors
    /// No engine is called that.
    pub fn resolve<'a>(&'a self, name: Option<&'a str>) -> Result<&'a str, ApiError> {
        let Some(name) = name else { return Ok(&self.default) };
        if self.entries.contains_key(name) {
            return Ok(name);
        }
        let alias = self.aliases.get(name).or_else(|| self.aliases.get("*"));
        alias.map(String::as_str).ok_or_else(|| {
            let engines = self.entrants().into_iter().map(|entrant| entrant.name);
            let names: Vec<&str> = engines.chain(self.aliases.keys().map(String::as_str)).collect();
            ApiError::unknown_model(name, &names)
        })
    }

    /// The name of the engine that answers when a request names none.
    pub fn default_name(&self) -> &str {
        &self.default
    }

    /// How far the default engine is.
    pub fn default_phase(&self) -> Phase {
        self.entries.get(&self.default).map_or(Phase::Idle, |entry| entry.phase.borrow().clone())
    }

    /// All engines, the default one first.
    pub fn entrants(&self) -> Vec<Entrant<'_>> {
        let mut entrants: Vec<_> = self
            .entries
            .values()
            .map(|entry| Entrant { name: &entry.name, backend: &entry.backend, phase: entry.phase.borrow().clone() })
            .collect();
        entrants.sort_by_key(|entrant| entrant.name != self.default);
        entrants
    }

    /// Opens the default engine, or whatever answers in its place.
    ///
    /// # Errors
    /// Why none can.
    pub async fn open_default(self: &Arc<Self>) -> Result<Arc<dyn TextEngine>, EngineError> {
        self.open(&self.default).await
    }

    /// The engine that answers a request for `name`. One that isn't open yet is opened, and the request waits for it; the default
    /// one is opened when the daemon starts, and nobody waits for it.
    ///
    /// # Errors
    /// Unknown, still loading, or not to be had.
    pub async fn find(self: &Arc<Self>, name: Option<&str>) -> Result<Arc<dyn TextEngine>, ApiError> {
        let name = self.resolve(name)?;
        let Some(entry) = self.entries.get(name) else { return Err(ApiError::unknown_model(name, &[])) };
        match &*entry.phase.borrow() {
            Phase::Ready(engine) | Phase::Replaced { by: engine, .. } if !has_failed(&**engine) => return Ok(engine.clone()),
            Phase::Loading if name == self.default => return Err(ApiError::loading(name)),
            Phase::Closed => return Err(ApiError::draining()),
            _ => {}
        }
        let _waiting = Waiting::join(entry).ok_or_else(|| {
            ApiError::overloaded(format!("model `{name}` is loading and {WAITING_FOR_A_LOAD} requests wait for it, which is the limit"))
        })?;
        let opening = tokio::time::timeout(entry.load_timeout, self.open(name));
        opening.await.map_err(|_| ApiError::loading(name))?.map_err(ApiError::from)
    }

    /// Lets go of all engines. Blocks until their threads have ended.
    pub fn close(&self) {
        for entry in self.entries.values() {
            drop(entry.phase.send_replace(Phase::Closed));
        }
    }

    /// Opens an engine, or waits for whoever does so already.
    ///
    /// Boxed, because opening an engine may open its fallback.
    fn open<'a>(self: &'a Arc<Self>, name: &'a str) -> BoxFuture<'a, Result<Arc<dyn TextEngine>, EngineError>> {
        Box::pin(async move {
            let unknown = || EngineError::Unavailable(format!("there is no engine `{name}`"));
            let entry = self.entries.get(name).ok_or_else(unknown)?;
            let mut phases = entry.phase.subscribe();
            let starts = entry.phase.send_if_modified(|phase| {
                let starts = match phase {
                    Phase::Idle | Phase::Failed(_) => true,
                    // A model that panicked is loaded anew.
                    Phase::Ready(engine) | Phase::Replaced { by: engine, .. } => has_failed(&**engine),
                    Phase::Loading | Phase::Closed => false,
                };
                if starts {
                    *phase = Phase::Loading;
                }
                starts
            });
            if starts {
                // A task of its own: whoever asked first may leave, and the others still wait.
                let (table, entry) = (self.clone(), entry.clone());
                tokio::spawn(async move {
                    // A panic while opening must not leave the engine loading for ever.
                    let outcome = AssertUnwindSafe(table.load(&entry)).catch_unwind().await;
                    let outcome = outcome.unwrap_or_else(|_| Phase::Failed(format!("opening engine `{}` panicked", entry.name)));
                    entry.phase.send_if_modified(|phase| {
                        let stays_open = matches!(phase, Phase::Loading);
                        if stays_open {
                            *phase = outcome;
                        }
                        stays_open
                    });
                });
            }
            let phase = phases.wait_for(|phase| !matches!(phase, Phase::Loading)).await.map_err(|_| EngineError::Stopped)?.clone();
            match phase {
                Phase::Ready(engine) | Phase::Replaced { by: engine, .. } => Ok(engine),
                Phase::Failed(reason) => Err(EngineError::Unavailable(reason)),
                Phase::Idle | Phase::Loading | Phase::Closed => Err(EngineError::Stopped),
            }
        })
    }

    async fn load(self: &Arc<Self>, entry: &Entry) -> Phase {
        let error = match entry.prepared.open(&entry.opening).await {
            Ok(engine) => return Phase::Ready(engine),
            Err(error) => error.to_string(),
        };
        let Some(fallback) = &entry.fallback else {
            tracing::warn!(engine = entry.name, reason = error, "the engine's model can't be had");
            return Phase::Failed(error);
        };
        if entry.name == self.default {
            // The greeting tells it too.
            tracing::info!(engine = entry.name, fallback, reason = error, "the engine's model can't be had; its fallback answers");
        } else {
            tracing::warn!(engine = entry.name, fallback, reason = error, "the engine's model can't be had; its fallback answers");
        }
        // The configuration's check has refused circles.
        match self.open(fallback).await {
            Ok(by) => Phase::Replaced { by, reason: error },
            Err(other) => Phase::Failed(format!("{error}\nAnd its fallback `{fallback}` can't be had: {other}")),
        }
    }

    /// Fetches an engine's model files; where they can't be had, its fallback's. Returns the engine's name and the files.
    ///
    /// # Errors
    /// Why neither can be had.
    pub async fn fetch(&self, name: Option<&str>) -> Result<Vec<std::path::PathBuf>, EngineError> {
        let mut name = name.unwrap_or(&self.default);
        loop {
            let Some(entry) = self.entries.get(name) else {
                let names = self.entries.keys().cloned().collect::<Vec<_>>().join(", ");
                return Err(EngineError::Unavailable(format!("there is no engine `{name}`; there are {names}")));
            };
            match (entry.prepared.fetch(&entry.opening).await, &entry.fallback) {
                (Err(error), Some(fallback)) => {
                    tracing::warn!(engine = name, fallback, reason = %error, "the engine's model can't be had; fetching its fallback's");
                    name = fallback;
                }
                (outcome, _) => return outcome,
            }
        }
    }
}

fn has_failed(engine: &dyn TextEngine) -> bool {
    matches!(engine.health().state, State::Failed(_))
}

/// One request that waits for an engine to load.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn join(entry: &'a Entry) -> Option<Self> {
        let before = entry.waiting.fetch_add(1, Ordering::Relaxed);
        let waiting = Self(&entry.waiting);
        (before < WAITING_FOR_A_LOAD).then_some(waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
