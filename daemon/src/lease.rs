//! Engines in use: as long as a request has one, it stays in memory; some time after the last one has gone, it leaves.

use std::ops::Deref;
use std::sync::{Arc, Weak};
use std::time::Duration;

use minivault_engines::TextEngine;
use tokio::sync::watch;

use crate::engine_table::{EngineTable, Entry, Phase};

/// An engine that stays in memory until the last clone of this is dropped.
#[derive(Clone)]
pub struct Lease(Arc<Leased>);

struct Leased {
    /// `None` only while it is being dropped.
    engine: Option<Arc<dyn TextEngine>>,
    _uses: Vec<Use>,
}

/// One more that uses an engine, until it is dropped.
pub(crate) struct Use(Arc<Entry>);

impl Lease {
    /// The engine that answers for `name`, out of those that might have: the others needn't stay.
    pub(crate) fn new(engine: Arc<dyn TextEngine>, name: &str, mut uses: Vec<Use>) -> Self {
        let answers = &engine.info().name;
        uses.retain(|Use(entry)| entry.name == name || entry.name == *answers);
        Self(Arc::new(Leased { engine: Some(engine), _uses: uses }))
    }
}

impl Deref for Lease {
    type Target = dyn TextEngine;

    fn deref(&self) -> &Self::Target {
        self.0.engine.as_deref().expect("a lease holds its engine for as long as it lives")
    }
}

impl Drop for Leased {
    fn drop(&mut self) {
        let Some(engine) = self.engine.take().filter(|engine| Arc::strong_count(engine) == 1) else { return };
        // The table has let go of it meanwhile. Dropping it waits for its thread, which no worker should.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn_blocking(move || drop(engine));
        }
    }
}

impl Use {
    pub fn begin(entry: Arc<Entry>) -> Self {
        entry.uses.send_modify(|uses| *uses += 1);
        Self(entry)
    }
}

impl Drop for Use {
    fn drop(&mut self) {
        self.0.uses.send_modify(|uses| *uses -= 1);
    }
}

/// Takes an engine out of memory once nothing has used it for `keep_alive`. Ends when it is out, whoever has done it.
pub(crate) async fn unload_when_idle(table: Weak<EngineTable>, entry: Arc<Entry>, engine: Weak<dyn TextEngine>, keep_alive: Duration) {
    let mut uses = entry.uses.subscribe();
    let mut phases = entry.phase.subscribe();
    loop {
        let idle = *uses.borrow_and_update() == 0;
        tokio::select! {
            // Every use begins the time anew, also one that has ended since.
            _ = uses.changed() => {}
            () = is_gone(&mut phases, &engine) => return,
            () = tokio::time::sleep(keep_alive), if idle => {
                let Some(table) = table.upgrade() else { return };
                if table.unload(&entry, &engine) {
                    return;
                }
            }
        }
    }
}

/// Waits until the engine isn't this one any more.
async fn is_gone(phases: &mut watch::Receiver<Phase>, engine: &Weak<dyn TextEngine>) {
    let is_it = |phase: &Phase| matches!(phase, Phase::Ready(known) if std::ptr::addr_eq(Arc::as_ptr(known), engine.as_ptr()));
    // The table holds the sender for as long as it lives.
    drop(phases.wait_for(|phase| !is_it(phase)).await);
}
