//! How the log is: what its threads tell each other and everybody.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::error::JournalError;

/// Shared by the writer, the thread that brings lines to the disk, and whoever asks.
#[derive(Default)]
pub(crate) struct Health {
    failing: Mutex<Option<JournalError>>,
    pub written: AtomicU64,
    pub dropped: AtomicU64,
    pub torn: AtomicU64,
}

impl Health {
    /// Why nothing can be logged now.
    pub fn failing(&self) -> Option<JournalError> {
        self.lock().clone()
    }

    pub fn is_failing(&self) -> bool {
        self.lock().is_some()
    }

    pub fn fail(&self, cause: &JournalError) {
        let before = self.lock().replace(cause.clone());
        if before.is_none() {
            tracing::error!(%cause, "interactions can't be logged");
        }
    }

    pub fn recover(&self) {
        if self.lock().take().is_some() {
            let dropped = self.dropped.load(Ordering::Relaxed);
            tracing::warn!(dropped, "interactions can be logged again");
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<JournalError>> {
        self.failing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
