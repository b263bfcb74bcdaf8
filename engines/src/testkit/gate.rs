//! Exact timing for tests: a model that takes a step only when it is told to.

use std::sync::{Arc, Condvar, Mutex, PoisonError};

/// Steps that may be taken. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Gate(Arc<Turnstile>);

#[derive(Debug, Default)]
struct Turnstile {
    permits: Mutex<Permits>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Permits {
    left: usize,
    open: bool,
    waiting: usize,
}

impl Gate {
    /// A gate that lets nothing through.
    pub fn closed() -> Self {
        Self::default()
    }

    /// Lets so many more steps through.
    pub fn allow(&self, steps: usize) {
        self.change(|permits| permits.left += steps);
    }

    /// Lets all steps through from now on.
    pub fn open(&self) {
        self.change(|permits| permits.open = true);
    }

    /// Blocks until a step waits at the gate: all that was allowed has been done.
    pub fn wait_until_reached(&self) {
        let permits = self.lock();
        drop(
            self.0.changed.wait_while(permits, |permits| permits.waiting == 0 || permits.left > 0).unwrap_or_else(PoisonError::into_inner),
        );
    }

    /// How many steps wait at the gate.
    pub fn waiting(&self) -> usize {
        self.lock().waiting
    }

    /// Blocks until the step may be taken.
    pub(super) fn pass(&self) {
        let mut permits = self.lock();
        permits.waiting += 1;
        self.0.changed.notify_all();
        let mut permits =
            self.0.changed.wait_while(permits, |permits| permits.left == 0 && !permits.open).unwrap_or_else(PoisonError::into_inner);
        permits.waiting -= 1;
        permits.left = permits.left.saturating_sub(1);
    }

    fn change(&self, change: impl FnOnce(&mut Permits)) {
        change(&mut self.lock());
        self.0.changed.notify_all();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Permits> {
        self.0.permits.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
