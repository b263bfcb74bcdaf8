//! Brings lines to the disk behind the writer's back, twice a second as long as there are any.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::disk::DiskFile;
use crate::health::Health;

/// How long lines may be on their way: what a machine that loses power may lose.
const INTERVAL: Duration = Duration::from_millis(500);

/// The thread, which sleeps while nothing is written.
pub(crate) struct Syncer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// The file that has lines to be brought to the disk.
    file: Option<Arc<dyn DiskFile>>,
    closed: bool,
}

impl Syncer {
    pub fn start(health: Arc<Health>) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let thread = std::thread::Builder::new().name("journal sync".into()).spawn({
            let shared = shared.clone();
            move || shared.run(&health)
        })?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// This file has new lines.
    pub fn remember(&self, file: Arc<dyn DiskFile>) {
        let mut state = self.shared.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.file.replace(file).is_none() {
            self.shared.changed.notify_one();
        }
    }
}

impl Shared {
    fn run(&self, health: &Health) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        while !state.closed {
            if state.file.is_none() {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let waited = self.changed.wait_timeout_while(state, INTERVAL, |state| !state.closed);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
            // At the end the writer does it itself.
            if let Some(file) = state.file.take().filter(|_| !state.closed) {
                drop(state);
                if let Err(error) = file.sync() {
                    health.fail(&error.into());
                }
                drop(file);
                state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            }
        }
    }
}

impl Drop for Syncer {
    fn drop(&mut self) {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner).closed = true;
        self.shared.changed.notify_all();
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread that brings the log to the disk panicked");
        }
    }
}
