//! The engines of the configuration: opened when they are needed, found by their names, let go when nobody asks for them.
//!
//! - [`entry`]: one engine, and how far it is
//! - [`listing`]: all of them at one moment, and what they are called
//! - `opening`: from the configuration into memory
//! - [`renewal`]: a new configuration, and out of memory again

mod entry;
mod listing;
mod opening;
mod renewal;

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};

use minivault_engines::State;

use crate::config::EngineSettings;
use crate::error::ApiError;
use crate::lease::{Lease, Use};
pub(crate) use entry::Entry;
pub use entry::Phase;
use entry::{WAITING_FOR_A_LOAD, Waiting};
pub use listing::Entrant;
use listing::Listing;

type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// All engines of the configuration.
pub struct EngineTable {
    /// What the configuration says now. Nobody holds the lock for longer than it takes to copy the pointer.
    listing: RwLock<Arc<Listing>>,
    /// See [`EngineTable::retiring`].
    retiring: Mutex<Vec<Weak<Entry>>>,
}

impl EngineTable {
    /// A table of engines, none of them open. `default` must be one of them; the configuration's check has seen to that.
    pub fn new(default: String, engines: BTreeMap<String, EngineSettings>) -> Self {
        let entries: BTreeMap<_, _> = engines.into_iter().map(|(name, settings)| (name, Arc::new(Entry::new(settings)))).collect();
        entries.values().filter(|entry| entry.loads_at_startup(&default)).for_each(|entry| entry.will_start());
        Self::of(Listing { default, entries, aliases: BTreeMap::new() })
    }

    fn of(listing: Listing) -> Self {
        Self { listing: RwLock::new(Arc::new(listing)), retiring: Mutex::default() }
    }

    /// The same table with other names for its engines; `*` is every name that isn't one.
    #[must_use]
    pub fn with_aliases(self, aliases: BTreeMap<String, String>) -> Self {
        Self::of(Listing { aliases, ..Listing::clone(&self.listing()) })
    }

    fn listing(&self) -> Arc<Listing> {
        self.listing.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The name of the engine that is meant by what a request calls its model: the default one's where it names none.
    ///
    /// # Errors
    /// No engine is called that.
    pub fn resolve(&self, name: Option<&str>) -> Result<String, ApiError> {
        self.listing().resolve(name).map(|entry| entry.name.clone())
    }

    /// All names of an engine: its own, then others that stand for it alone.
    pub fn names_of(&self, engine: &str) -> Vec<String> {
        self.listing().names_of(engine)
    }

    /// The name of the engine that answers when a request names none.
    pub fn default_name(&self) -> String {
        self.listing().default.clone()
    }

    /// How far the default engine is.
    pub fn default_phase(&self) -> Phase {
        self.listing().default().map_or(Phase::Idle, |entry| entry.phase.borrow().clone())
    }

    /// Whether the default engine's load at startup is still to come, or under way.
    pub fn default_is_starting(&self) -> bool {
        self.listing().default().is_some_and(|entry| entry.is_starting())
    }

    /// All engines, the default one first.
    pub fn entrants(&self) -> Vec<Entrant> {
        self.listing().entrants()
    }

    /// The engine that answers a request for `name`. One that isn't open yet is opened, and the request waits for it, as it does for one whose
    /// process is started anew; one that loads when the daemon starts is waited for by nobody.
    ///
    /// # Errors
    /// Unknown, still loading, or not to be had.
    pub async fn find(self: &Arc<Self>, name: Option<&str>) -> Result<Lease, ApiError> {
        let listing = self.listing();
        let entry = listing.resolve(name)?;
        // Counted before the phase is looked at: from here on neither it nor whatever stands in for it is unloaded.
        let uses = listing.with_fallbacks(entry).map(|entry| Use::begin(entry.clone())).collect();
        let phase = entry.phase.borrow().clone();
        let returning = match phase {
            Phase::Ready(engine) | Phase::Replaced { by: engine, .. } => match engine.health().state {
                State::Loading => Some(engine),
                State::Failed(_) if !engine.recovers() => None,
                State::Ready | State::Failed(_) => return Ok(Lease::new(engine, &entry.name, uses)),
            },
            Phase::Idle | Phase::Loading if entry.is_starting() => return Err(ApiError::loading(&entry.name)),
            // The configuration was read anew at this very moment.
            Phase::Closed if !Arc::ptr_eq(&listing, &self.listing()) => return Box::pin(self.find(name)).await,
            Phase::Closed => return Err(ApiError::draining()),
            _ => None,
        };
        let _waiting = Waiting::join(entry).ok_or_else(|| {
            let name = &entry.name;
            ApiError::overloaded(format!("model `{name}` is loading and {WAITING_FOR_A_LOAD} requests wait for it, which is the limit"))
        })?;
        let opened = async {
            match returning {
                Some(engine) => engine.ready().await.map(|()| engine),
                None => self.open(entry.clone()).await,
            }
        };
        let opening = tokio::time::timeout(entry.load_timeout, opened);
        let engine = opening.await.map_err(|_| ApiError::loading(&entry.name))?.map_err(ApiError::from)?;
        Ok(Lease::new(engine, &entry.name, uses))
    }

    /// Lets go of all engines. Blocks until their threads have ended.
    pub fn close(&self) {
        // Side by side: one may wait for a turn that another one's hanging process holds until it is ended.
        std::thread::scope(|scope| {
            let retiring: Vec<Arc<Entry>> = self.retiring().iter().filter_map(Weak::upgrade).collect();
            let all = self.listing().entries.values().cloned().chain(retiring).collect::<Vec<_>>();
            for phase in all.iter().map(|entry| entry.phase.send_replace(Phase::Closed)) {
                scope.spawn(move || drop(phase));
            }
        });
    }
}
