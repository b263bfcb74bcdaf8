//! The engines of the configuration: opened when they are needed, found by their names, let go when nobody asks for them.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use minivault_engines::registry::Prepared;
use minivault_engines::{EngineError, Opening, State, TextEngine};
use tokio::sync::watch;

use crate::config::{EngineSettings, KeepAlive, LoadTime};
use crate::error::ApiError;
use crate::lease::{Lease, Use};

type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Requests that may wait for one engine while it loads.
const WAITING_FOR_A_LOAD: usize = 64;

/// All engines of the configuration.
pub struct EngineTable {
    default: String,
    entries: BTreeMap<String, Arc<Entry>>,
    aliases: BTreeMap<String, String>,
}

pub(crate) struct Entry {
    pub name: String,
    backend: String,
    fallback: Option<String>,
    load: LoadTime,
    load_timeout: Duration,
    pub keep_alive: KeepAlive,
    tags: Vec<String>,
    prepared: Prepared,
    opening: Opening,
    pub phase: watch::Sender<Phase>,
    waiting: AtomicUsize,
    /// What uses it at this moment: requests that wait for it or are answered by it.
    pub uses: watch::Sender<usize>,
    /// Its load at startup is still to come, or under way.
    starting: AtomicBool,
}

/// How far an engine is.
#[derive(Clone)]
pub enum Phase {
    /// Not in memory; the next request that names it loads it.
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
    /// Words that the configuration describes it with.
    pub tags: &'a [String],
    /// How far it is.
    pub phase: Phase,
}

impl EngineTable {
    /// A table of engines, none of them open. `default` must be one of them; the configuration's check has seen to that.
    pub fn new(default: String, engines: BTreeMap<String, EngineSettings>) -> Self {
        let entry = |(name, settings): (String, EngineSettings)| {
            let EngineSettings { backend, fallback, load, keep_alive, tags, load_timeout, prepared, opening, .. } = settings;
            let load = load.unwrap_or(if name == default { LoadTime::Startup } else { LoadTime::FirstUse });
            let entry = Entry {
                name: name.clone(),
                backend,
                fallback,
                load,
                load_timeout,
                keep_alive,
                tags,
                prepared,
                opening,
                phase: watch::Sender::new(Phase::Idle),
                waiting: AtomicUsize::new(0),
                uses: watch::Sender::new(0),
                starting: AtomicBool::new(load == LoadTime::Startup),
            };
            (name, Arc::new(entry))
        };
        let entries = engines.into_iter().map(entry).collect();
        Self { default, entries, aliases: BTreeMap::new() }
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

    /// All names of an engine: its own, then others that stand for it alone.
    pub fn names_of(&self, engine: &str) -> Vec<String> {
        let others = self.aliases.iter().filter(|(alias, target)| *target == engine && *alias != "*");
        std::iter::once(engine.to_owned()).chain(others.map(|(alias, _)| alias.clone())).collect()
    }

    /// The name of the engine that answers when a request names none.
    pub fn default_name(&self) -> &str {
        &self.default
    }

    /// How far the default engine is.
    pub fn default_phase(&self) -> Phase {
        self.entries.get(&self.default).map_or(Phase::Idle, |entry| entry.phase.borrow().clone())
    }

    /// Whether the default engine's load at startup is still to come, or under way.
    pub fn default_is_starting(&self) -> bool {
        self.entries.get(&self.default).is_some_and(|entry| entry.is_starting())
    }

    /// All engines, the default one first.
    pub fn entrants(&self) -> Vec<Entrant<'_>> {
        let mut entrants: Vec<_> = self
            .entries
            .values()
            .map(|entry| Entrant { name: &entry.name, backend: &entry.backend, tags: &entry.tags, phase: entry.phase.borrow().clone() })
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

    /// Opens the engines with `load = "startup"`; the default one says by itself how that went ([`EngineTable::open_default`]), of the
    /// others a failure stands in the diagnostic log and in every answer.
    pub async fn open_others(self: &Arc<Self>) {
        let others = self.entries.values().filter(|entry| entry.load == LoadTime::Startup && entry.name != self.default);
        futures_util::future::join_all(others.map(|entry| self.open(&entry.name))).await;
    }

    /// The engine that answers a request for `name`. One that isn't open yet is opened, and the request waits for it, as it does for one whose
    /// process is started anew; one that loads when the daemon starts is waited for by nobody.
    ///
    /// # Errors
    /// Unknown, still loading, or not to be had.
    pub async fn find(self: &Arc<Self>, name: Option<&str>) -> Result<Lease, ApiError> {
        let name = self.resolve(name)?;
        let Some(entry) = self.entries.get(name) else { return Err(ApiError::unknown_model(name, &[])) };
        // Counted before the phase is looked at: from here on neither it nor whatever stands in for it is unloaded.
        let uses = self.with_fallbacks(entry).map(|entry| Use::begin(entry.clone())).collect();
        let phase = entry.phase.borrow().clone();
        let returning = match phase {
            Phase::Ready(engine) | Phase::Replaced { by: engine, .. } => match engine.health().state {
                State::Loading => Some(engine),
                State::Failed(_) if !engine.recovers() => None,
                State::Ready | State::Failed(_) => return Ok(Lease::new(engine, name, uses)),
            },
            Phase::Idle | Phase::Loading if entry.is_starting() => return Err(ApiError::loading(name)),
            Phase::Closed => return Err(ApiError::draining()),
            _ => None,
        };
        let _waiting = Waiting::join(entry).ok_or_else(|| {
            ApiError::overloaded(format!("model `{name}` is loading and {WAITING_FOR_A_LOAD} requests wait for it, which is the limit"))
        })?;
        let opened = async {
            match returning {
                Some(engine) => engine.ready().await.map(|()| engine),
                None => self.open(name).await,
            }
        };
        let opening = tokio::time::timeout(entry.load_timeout, opened);
        let engine = opening.await.map_err(|_| ApiError::loading(name))?.map_err(ApiError::from)?;
        Ok(Lease::new(engine, name, uses))
    }

    /// An engine, and those that stand in for it one after the other.
    fn with_fallbacks<'a>(&'a self, entry: &'a Arc<Entry>) -> impl Iterator<Item = &'a Arc<Entry>> {
        std::iter::successors(Some(entry), |entry| self.entries.get(entry.fallback.as_ref()?))
    }

    /// Lets go of all engines. Blocks until their threads have ended.
    pub fn close(&self) {
        // Side by side: one may wait for a turn that another one's hanging process holds until it is ended.
        std::thread::scope(|scope| {
            for phase in self.entries.values().map(|entry| entry.phase.send_replace(Phase::Closed)) {
                scope.spawn(move || drop(phase));
            }
        });
    }

    /// Takes an engine out of memory if nothing uses it; whoever it stood in for tries its own model again next time.
    pub(crate) fn unload(&self, entry: &Entry, engine: &std::sync::Weak<dyn TextEngine>) -> bool {
        let mut unloaded = Vec::new();
        let mut take = |entry: &Entry, is_it: &dyn Fn(&Phase) -> bool| {
            entry.phase.send_if_modified(|phase| {
                let takes = is_it(phase);
                if takes {
                    unloaded.push(std::mem::replace(phase, Phase::Idle));
                }
                takes
            })
        };
        let is = |known: &Arc<dyn TextEngine>| std::ptr::addr_eq(Arc::as_ptr(known), engine.as_ptr());
        // A request counts itself before it looks at the phase, so there is none, or it finds the engine idle and loads it.
        if !take(entry, &|phase| matches!(phase, Phase::Ready(known) if is(known)) && *entry.uses.borrow() == 0) {
            return false;
        }
        for other in self.entries.values() {
            take(other, &|phase| matches!(phase, Phase::Replaced { by, .. } if is(by)));
        }
        tracing::info!(engine = entry.name, "nobody asked the engine for its keep_alive; it is out of memory");
        // Its thread ends first, which may take a step.
        tokio::task::spawn_blocking(move || drop(unloaded));
        true
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
                    Phase::Ready(engine) | Phase::Replaced { by: engine, .. } => is_lost(&**engine),
                    Phase::Loading | Phase::Closed => false,
                };
                if starts {
                    *phase = Phase::Loading;
                }
                starts
            });
            if starts {
                // A task of its own: whoever asked first may leave, and the others still wait.
                tokio::spawn(self.clone().load_and_tell(entry.clone()));
            }
            let phase = phases.wait_for(|phase| !matches!(phase, Phase::Loading)).await.map_err(|_| EngineError::Stopped)?.clone();
            match phase {
                Phase::Ready(engine) | Phase::Replaced { by: engine, .. } => Ok(engine),
                Phase::Failed(reason) => Err(EngineError::Unavailable(reason)),
                Phase::Idle | Phase::Loading | Phase::Closed => Err(EngineError::Stopped),
            }
        })
    }

    async fn load_and_tell(self: Arc<Self>, entry: Arc<Entry>) {
        // What stands in for it mustn't leave before it is known to stand in.
        let _uses: Vec<Use> = self.with_fallbacks(&entry).map(|entry| Use::begin(entry.clone())).collect();
        // A panic while opening must not leave the engine loading for ever.
        let outcome = AssertUnwindSafe(self.load(&entry)).catch_unwind().await;
        let outcome = outcome.unwrap_or_else(|_| Phase::Failed(format!("opening engine `{}` panicked", entry.name)));
        let loaded = if let Phase::Ready(engine) = &outcome { Some(Arc::downgrade(engine)) } else { None };
        let tells = entry.phase.send_if_modified(|phase| {
            let stays_open = matches!(phase, Phase::Loading);
            if stays_open {
                *phase = outcome;
                entry.starting.store(false, Ordering::Relaxed);
            }
            stays_open
        });
        if let (true, Some(engine), Some(keep_alive)) = (tells, loaded, entry.keep_alive.limit()) {
            tokio::spawn(crate::lease::unload_when_idle(Arc::downgrade(&self), entry, engine, keep_alive));
        }
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

impl Entry {
    fn is_starting(&self) -> bool {
        self.starting.load(Ordering::Relaxed)
    }
}

/// Whether it will never answer again.
fn is_lost(engine: &dyn TextEngine) -> bool {
    matches!(engine.health().state, State::Failed(_)) && !engine.recovers()
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
