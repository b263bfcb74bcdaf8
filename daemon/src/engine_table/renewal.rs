//! Engines on their way out of memory: those that nobody asks for, and those that a new configuration has changed or doesn't have.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, Weak};

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
        let in_memory = |entry: &Arc<Entry>| matches!(&*entry.phase.borrow(), Phase::Loading | Phase::Ready(_) | Phase::Replaced { .. });
        let mut begun = Vec::new();
        let entry = |(name, settings): (String, EngineSettings)| {
            let known = old.entries.get(&name);
            let (entry, begins) = match known.filter(|entry| entry.is_as(&settings)) {
                Some(entry) => (entry.clone(), !entry.loads_at_startup(&old.default)),
                None => (Arc::new(Entry::new(settings)), true),
            };
            if begins && (known.is_some_and(in_memory) || entry.loads_at_startup(&default)) {
                begun.push(entry.clone());
            }
            (name, entry)
        };
        let entries = engines.into_iter().map(entry).collect();
        let listing = Arc::new(Listing { default, entries, aliases });
        *self.listing.write().unwrap_or_else(PoisonError::into_inner) = listing.clone();
        let stays = |entry: &Arc<Entry>| listing.entries.get(&entry.name).is_some_and(|known| Arc::ptr_eq(known, entry));
        for entry in old.entries.values().filter(|entry| !stays(entry)) {
            // Whom it stood in for finds another one from now on.
            let engine = if let Phase::Ready(engine) = &*entry.phase.borrow() { Some(Arc::downgrade(engine)) } else { None };
            drop(engine.map(|engine| self.replace_no_longer(&engine)));
            tokio::spawn(self.clone().retire(entry.clone()));
        }
        for entry in begun {
            let table = self.clone();
            // How that goes stands in the diagnostic log and in every answer.
            tokio::spawn(async move { table.open(entry).await.map(drop) });
        }
    }

    /// Closes an engine that has left the configuration, once nothing uses it.
    async fn retire(self: Arc<Self>, entry: Arc<Entry>) {
        let mut uses = entry.uses.subscribe();
        loop {
            // The entry, and with it the sender, is held here.
            drop(uses.wait_for(|uses| *uses == 0).await);
            if self.take_out(&entry, &Phase::Closed, |_| true) {
                return;
            }
        }
    }

    /// Takes an engine out of memory if nothing uses it; whoever it stood in for tries its own model again next time.
    pub(crate) fn unload(&self, entry: &Entry, engine: &Weak<dyn TextEngine>) -> bool {
        let unloads = self.take_out(entry, &Phase::Idle, |phase| matches!(phase, Phase::Ready(known) if is(known, engine)));
        if unloads {
            tracing::info!(engine = entry.name, "nobody asked the engine for its keep_alive; it is out of memory");
        }
        unloads
    }

    /// Puts an unused engine into another phase if it is in one of these.
    fn take_out(&self, entry: &Entry, into: &Phase, is_it: impl Fn(&Phase) -> bool) -> bool {
        let mut taken = Vec::new();
        entry.phase.send_if_modified(|phase| {
            // A request counts itself before it looks at the phase, so there is none, or it finds the engine in its new one.
            let takes = is_it(phase) && *entry.uses.borrow() == 0;
            if takes {
                taken.push(std::mem::replace(phase, into.clone()));
            }
            takes
        });
        if let Some(Phase::Ready(engine)) = taken.first() {
            let engine = Arc::downgrade(engine);
            taken.extend(self.replace_no_longer(&engine));
        }
        let takes = !taken.is_empty();
        // Its thread ends first, which may take a step.
        tokio::task::spawn_blocking(move || drop(taken));
        takes
    }

    /// Engines that this one stands in for try their own models again; what they held of it.
    fn replace_no_longer(&self, engine: &Weak<dyn TextEngine>) -> Vec<Phase> {
        let mut taken = Vec::new();
        for other in self.listing().entries.values() {
            other.phase.send_if_modified(|phase| {
                let takes = matches!(phase, Phase::Replaced { by, .. } if is(by, engine));
                if takes {
                    taken.push(std::mem::replace(phase, Phase::Idle));
                }
                takes
            });
        }
        taken
    }
}

fn is(known: &Arc<dyn TextEngine>, engine: &Weak<dyn TextEngine>) -> bool {
    std::ptr::addr_eq(Arc::as_ptr(known), engine.as_ptr())
}
