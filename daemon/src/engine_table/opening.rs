//! Engines on their way into memory: each loads once, whoever asks meanwhile waits, and another one stands in where a model can't be had.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt;
use minivault_engines::{EngineError, TextEngine};

use super::entry::{Entry, Phase, is_lost};
use super::{BoxFuture, EngineTable};
use crate::lease::{Use, unload_when_idle};

impl EngineTable {
    /// Opens the default engine, or whatever answers in its place.
    ///
    /// # Errors
    /// Why none can.
    pub async fn open_default(self: &Arc<Self>) -> Result<Arc<dyn TextEngine>, EngineError> {
        let listing = self.listing();
        let entry = listing.default().ok_or_else(|| unknown(&listing.default))?;
        self.open(entry.clone()).await
    }

    /// Opens the engines with `load = "startup"`; the default one says by itself how that went ([`EngineTable::open_default`]), of the
    /// others a failure stands in the diagnostic log and in every answer.
    pub async fn open_others(self: &Arc<Self>) {
        let listing = self.listing();
        let others = listing.entries.values().filter(|entry| entry.name != listing.default && entry.loads_at_startup(&listing.default));
        futures_util::future::join_all(others.map(|entry| self.open(entry.clone()))).await;
    }

    /// Opens an engine, or waits for whoever does so already.
    ///
    /// Boxed, because opening an engine may open its fallback.
    pub(super) fn open(self: &Arc<Self>, entry: Arc<Entry>) -> BoxFuture<'_, Result<Arc<dyn TextEngine>, EngineError>> {
        Box::pin(async move {
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
                // What stands in for it mustn't leave before it is known to stand in.
                let uses = self.listing().with_fallbacks(&entry).map(|entry| Use::begin(entry.clone())).collect();
                // A task of its own: whoever asked first may leave, and the others still wait.
                tokio::spawn(self.clone().load_and_tell(entry.clone(), uses));
            }
            let phase = phases.wait_for(|phase| !matches!(phase, Phase::Loading)).await.map_err(|_| EngineError::Stopped)?.clone();
            match phase {
                Phase::Ready(engine) | Phase::Replaced { by: engine, .. } => Ok(engine),
                Phase::Failed(reason) => Err(EngineError::Unavailable(reason)),
                Phase::Idle | Phase::Loading | Phase::Closed => Err(EngineError::Stopped),
            }
        })
    }

    async fn load_and_tell(self: Arc<Self>, entry: Arc<Entry>, _uses: Vec<Use>) {
        // A panic while opening must not leave the engine loading for ever.
        let outcome = AssertUnwindSafe(self.load(&entry)).catch_unwind().await;
        let outcome = outcome.unwrap_or_else(|_| Phase::Failed(format!("opening engine `{}` panicked", entry.name)));
        let loaded = if let Phase::Ready(engine) = &outcome { Some(Arc::downgrade(engine)) } else { None };
        let mut outcome = Some(outcome);
        let tells = entry.phase.send_if_modified(|phase| match (&phase, outcome.take_if(|_| matches!(phase, Phase::Loading))) {
            (Phase::Loading, Some(outcome)) => {
                *phase = outcome;
                entry.has_started();
                true
            }
            _ => false,
        });
        // Too late for the daemon's end: its thread ends first.
        if outcome.is_some() {
            tokio::task::spawn_blocking(move || drop(outcome));
        }
        if let (true, Some(engine), Some(keep_alive)) = (tells, loaded, entry.keep_alive.limit()) {
            tokio::spawn(unload_when_idle(Arc::downgrade(&self), entry, engine, keep_alive));
        }
    }

    async fn load(self: &Arc<Self>, entry: &Entry) -> Phase {
        let error = match self.open_own(entry).await {
            Ok(engine) => return Phase::Ready(engine),
            Err(error) => error.to_string(),
        };
        let listing = self.listing();
        // The configuration's check has refused circles, and fallbacks that aren't there.
        let Some(fallback) = listing.fallback(entry) else {
            tracing::warn!(engine = entry.name, reason = error, "the engine's model can't be had");
            return Phase::Failed(error);
        };
        if entry.name == listing.default {
            // The greeting tells it too.
            tracing::info!(
                engine = entry.name,
                fallback = fallback.name,
                reason = error,
                "the engine's model can't be had; its fallback answers"
            );
        } else {
            tracing::warn!(
                engine = entry.name,
                fallback = fallback.name,
                reason = error,
                "the engine's model can't be had; its fallback answers"
            );
        }
        match self.open(fallback.clone()).await {
            Ok(by) => Phase::Replaced { by, reason: error },
            Err(other) => Phase::Failed(format!("{error}\nAnd its fallback `{}` can't be had: {other}", fallback.name)),
        }
    }

    /// Opens an engine's own model. Where that fails while the engine that it takes the place of is in memory, there may be room once that has gone.
    async fn open_own(&self, entry: &Entry) -> Result<Arc<dyn TextEngine>, EngineError> {
        match entry.prepared.open(&entry.opening).await {
            Err(error) if entry.predecessor_has_gone().await => {
                tracing::info!(engine = entry.name, %error, "the engine is tried again, now that the one before it is out of memory");
                entry.prepared.open(&entry.opening).await
            }
            outcome => outcome,
        }
    }

    /// An engine's own files, fetched if need be.
    ///
    /// # Errors
    /// They can't be had.
    pub async fn files(&self, name: &str) -> Result<Vec<std::path::PathBuf>, EngineError> {
        let listing = self.listing();
        let entry = listing.entries.get(name).ok_or_else(|| unknown(name))?;
        entry.prepared.fetch(&entry.opening).await
    }

    /// Fetches an engine's model files; where they can't be had, its fallback's. Returns the engine's name and the files.
    ///
    /// # Errors
    /// Why neither can be had.
    pub async fn fetch(&self, name: Option<&str>) -> Result<Vec<std::path::PathBuf>, EngineError> {
        let listing = self.listing();
        let name = name.unwrap_or(&listing.default);
        let mut entry = listing.entries.get(name).ok_or_else(|| {
            let names = listing.entries.keys().cloned().collect::<Vec<_>>().join(", ");
            EngineError::Unavailable(format!("there is no engine `{name}`; there are {names}"))
        })?;
        loop {
            match (entry.prepared.fetch(&entry.opening).await, listing.fallback(entry)) {
                (Err(error), Some(fallback)) => {
                    let (engine, fallback_name) = (&entry.name, &fallback.name);
                    tracing::warn!(engine, fallback = fallback_name, reason = %error, "the engine's model can't be had; fetching its fallback's");
                    entry = fallback;
                }
                (outcome, _) => return outcome,
            }
        }
    }
}

fn unknown(name: &str) -> EngineError {
    EngineError::Unavailable(format!("there is no engine `{name}`"))
}
