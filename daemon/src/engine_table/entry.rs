//! One engine of the table: its settings, how far it is, and who uses it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use figment::value::Dict;
use minivault_engines::registry::Prepared;
use minivault_engines::{Opening, State, TextEngine};
use tokio::sync::watch;

use crate::config::{EngineSettings, KeepAlive, LoadTime};

/// Requests that may wait for one engine while it loads.
pub(super) const WAITING_FOR_A_LOAD: usize = 64;

/// An engine of the configuration, open or not.
pub(crate) struct Entry {
    pub name: String,
    pub(super) backend: String,
    pub(super) fallback: Option<String>,
    load: Option<LoadTime>,
    pub(super) load_timeout: Duration,
    pub keep_alive: KeepAlive,
    pub(super) tags: Vec<String>,
    pub(super) prepared: Prepared,
    pub(super) opening: Opening,
    /// Its table of the configuration: an engine whose table is another one is another engine.
    table: Dict,
    pub phase: watch::Sender<Phase>,
    waiting: AtomicUsize,
    /// What uses it at this moment: requests that wait for it or are answered by it.
    pub uses: watch::Sender<usize>,
    /// Its load at startup is still to come, or under way.
    starting: AtomicBool,
    /// Whether the engine that it takes the place of is out of memory for good.
    predecessor: Option<watch::Receiver<bool>>,
    /// It is out of memory for good.
    gone: watch::Sender<bool>,
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
    /// It has left the configuration, or the daemon is ending.
    Closed,
}

impl Entry {
    /// An engine that isn't open yet, nor about to be.
    pub fn new(settings: EngineSettings) -> Self {
        let EngineSettings { backend, fallback, load, keep_alive, tags, load_timeout, prepared, opening, table, .. } = settings;
        Self {
            name: opening.name.clone(),
            backend,
            fallback,
            load,
            load_timeout,
            keep_alive,
            tags,
            prepared,
            opening,
            table,
            phase: watch::Sender::new(Phase::Idle),
            waiting: AtomicUsize::new(0),
            uses: watch::Sender::new(0),
            starting: AtomicBool::new(false),
            predecessor: None,
            gone: watch::Sender::new(false),
        }
    }

    /// The same, in the place of another one.
    pub fn after(self, predecessor: Option<&Self>) -> Self {
        Self { predecessor: predecessor.map(|predecessor| predecessor.gone.subscribe()), ..self }
    }

    /// Waits until the engine that it takes the place of is out of memory; whether there was anything to wait for.
    pub async fn predecessor_has_gone(&self) -> bool {
        let Some(mut gone) = self.predecessor.clone().filter(|gone| !*gone.borrow()) else { return false };
        // Whoever drops the sender has dropped the engine, too.
        drop(gone.wait_for(|gone| *gone).await);
        true
    }

    /// It is out of memory, and nobody will load it again.
    pub fn has_gone(&self) {
        self.gone.send_replace(true);
    }

    /// Whether the configuration says the same of it.
    pub fn is_as(&self, settings: &EngineSettings) -> bool {
        self.table == settings.table && self.opening == settings.opening
    }

    /// Whether its model, or another one in its place, is in memory or on the way there.
    pub fn is_in_memory(&self) -> bool {
        matches!(&*self.phase.borrow(), Phase::Loading | Phase::Ready(_) | Phase::Replaced { .. })
    }

    /// Whether it loads before somebody asks for it; the default engine does unless it says something else.
    pub fn loads_at_startup(&self, default: &str) -> bool {
        self.load.map_or(self.name == default, |load| load == LoadTime::Startup)
    }

    /// Its load at startup is still to come: nobody waits for it.
    pub fn will_start(&self) {
        self.starting.store(true, Ordering::Relaxed);
    }

    /// Whether its load at startup is still to come, or under way.
    pub fn is_starting(&self) -> bool {
        self.starting.load(Ordering::Relaxed)
    }

    /// Its load at startup is over: whoever asks for it waits.
    pub fn has_started(&self) {
        self.starting.store(false, Ordering::Relaxed);
    }
}

/// Whether it will never answer again.
pub(super) fn is_lost(engine: &dyn TextEngine) -> bool {
    matches!(engine.health().state, State::Failed(_)) && !engine.recovers()
}

/// One request that waits for an engine to load.
pub(super) struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    pub fn join(entry: &'a Entry) -> Option<Self> {
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
