//! Engines on their way out of memory: those that nobody asks for, and those that a new configuration has changed or doesn't have.

use std::collections::BTreeMap;
use std::sync::{Arc, MutexGuard, PoisonError, Weak};

use minivault_engines::TextEngine;

use super::EngineTable;
use super::entry::{Entry, Phase};
use super::listing::Listing;
use crate::config::EngineSettings;

impl EngineTable {
    /// Takes a new configuration. Engines of which it says the same stay as they are; the others are open to no new request, and leave memory
    /// after the last answer that they have begun. What was in memory, or is to be, loads at once; whoever asks for it waits.
    pub fn renew(self: &Arc<Self>, default: String, engines: BTreeMap<String, EngineSettings>, aliases: BTreeMap<String, String>) {
        let old = self.listing();
        let mut begun = Vec::new();
        let entry = |(name, settings): (String, EngineSettings)| {
            let known = old.entries.get(&name);
            let (entry, begins) = match known.filter(|entry| entry.is_as(&settings)) {
                Some(entry) => (entry.clone(), !entry.loads_at_startup(&old.default) && entry.loads_at_startup(&default)),
                None => {
                    let entry = Arc::new(Entry::new(settings).after(known.map(Arc::as_ref)));
                    (entry.clone(), known.is_some_and(|known| known.is_in_memory()) || entry.loads_at_startup(&default))
                }
            };
            begun.extend(begins.then(|| entry.clone()));
            (name, entry)
        };
        let entries = engines.into_iter().map(entry).collect();
        let listing = Arc::new(Listing { default, entries, aliases });
        *self.listing.write().unwrap_or_else(PoisonError::into_inner) = listing.clone();
        let stays = |entry: &Arc<Entry>| listing.entries.get(&entry.name).is_some_and(|known| Arc::ptr_eq(known, entry));
        let (kept, leaving): (Vec<&Arc<Entry>>, Vec<_>) = old.entries.values().partition(|entry| stays(entry));
        // Whom a leaving engine stands in for, or stands between it and who does, looks for another one.
        let loses_one = |entry: &Arc<Entry>| old.with_fallbacks(entry).skip(1).any(|fallback| !stays(fallback));
        for entry in kept.into_iter().filter(|entry| loses_one(entry)) {
            if self.take(entry, &Phase::Idle, |phase| matches!(phase, Phase::Replaced { .. })) {
                begun.push(entry.clone());
            }
        }
        for entry in leaving {
            self.retiring().push(Arc::downgrade(entry));
            tokio::spawn(self.clone().retire(entry.clone()));
        }
        for entry in begun {
            let table = self.clone();
            // How that goes stands in the diagnostic log and in every answer.
            tokio::spawn(async move { table.open(entry).await.map(drop) });
        }
    }

    /// Engines that have left the configuration and may still be in memory.
    pub(super) fn retiring(&self) -> MutexGuard<'_, Vec<Weak<Entry>>> {
        let mut retiring = self.retiring.lock().unwrap_or_else(PoisonError::into_inner);
        retiring.retain(|entry| entry.strong_count() > 0);
        retiring
    }

    /// Closes an engine that has left the configuration, once nothing uses it.
    async fn retire(self: Arc<Self>, entry: Arc<Entry>) {
        let mut uses = entry.uses.subscribe();
        loop {
            // The entry, and with it the sender, is held here.
            drop(uses.wait_for(|uses| *uses == 0).await);
            let mut taken = None;
            entry.phase.send_if_modified(|phase| {
                // A request counts itself before it looks at the phase, so there is none, or it finds the engine closed.
                if *entry.uses.borrow() == 0 {
                    taken = Some(std::mem::replace(phase, Phase::Closed));
                }
                taken.is_some()
            });
            if let Some(taken) = taken {
                // Its thread ends first, which may take a step.
                drop(tokio::task::spawn_blocking(move || drop(taken)).await);
                entry.has_gone();
                return;
            }
        }
    }

    /// Takes an engine out of memory if nothing uses it; whoever it stood in for tries its own model again next time.
    pub(crate) fn unload(&self, entry: &Entry, engine: &Weak<dyn TextEngine>) -> bool {
        let is = |known: &Arc<dyn TextEngine>| std::ptr::addr_eq(Arc::as_ptr(known), engine.as_ptr());
        // A request counts itself before it looks at the phase, so there is none, or it finds the engine idle and loads it.
        let unused = |phase: &Phase| matches!(phase, Phase::Ready(known) if is(known)) && *entry.uses.borrow() == 0;
        if !self.take(entry, &Phase::Idle, unused) {
            return false;
        }
        for other in self.listing().entries.values() {
            self.take(other, &Phase::Idle, |phase| matches!(phase, Phase::Replaced { by, .. } if is(by)));
        }
        tracing::info!(engine = entry.name, "nobody asked the engine for its keep_alive; it is out of memory");
        true
    }

    /// Puts an engine into another phase if it is in one of these.
    fn take(&self, entry: &Entry, into: &Phase, is_it: impl Fn(&Phase) -> bool) -> bool {
        let mut taken = None;
        entry.phase.send_if_modified(|phase| {
            if is_it(phase) {
                taken = Some(std::mem::replace(phase, into.clone()));
            }
            taken.is_some()
        });
        let takes = taken.is_some();
        if takes {
            // Its thread ends first, which may take a step.
            tokio::task::spawn_blocking(move || drop(taken));
        }
        takes
    }
}
