//! Places, and the records that wait for the writer in them.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A bounded queue in which room is reserved long before there is something to put into it.
pub(crate) struct Queue<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
    places: usize,
}

struct State<T> {
    waiting: Vec<(Reserved<T>, T)>,
    /// Places handed out, until what was put into them has been dealt with.
    used: usize,
    closed: bool,
}

/// Room for one thing. It comes back when this is dropped.
pub(crate) struct Reserved<T>(Arc<Queue<T>>);

/// Why no place can be had.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    Full,
    Closed,
}

/// What the one who takes from the queue has to do.
pub(crate) enum Next<T> {
    /// Deal with these, in this order.
    Batch(Vec<(Reserved<T>, T)>),
    /// Nothing has come for as long as it wanted to wait.
    Nothing,
    /// Nothing will come any more.
    End,
}

impl<T> Queue<T> {
    pub fn new(places: usize) -> Arc<Self> {
        Arc::new(Self { state: Mutex::new(State { waiting: Vec::new(), used: 0, closed: false }), changed: Condvar::new(), places })
    }

    pub fn reserve(self: &Arc<Self>) -> Result<Reserved<T>, Refused> {
        let mut state = self.lock();
        if state.closed {
            return Err(Refused::Closed);
        }
        if state.used >= self.places {
            return Err(Refused::Full);
        }
        state.used += 1;
        drop(state);
        Ok(Reserved(self.clone()))
    }

    /// Places that are in use: by records that wait to be written, and by work that will leave one.
    pub fn used(&self) -> usize {
        self.lock().used
    }

    /// Records that wait to be written.
    pub fn waiting(&self) -> usize {
        self.lock().waiting.len()
    }

    /// Hands out no more places.
    pub fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    /// Waits for all that has been put in, at most so many; for one who takes.
    pub fn next(&self, most: usize, patience: Duration) -> Next<T> {
        let until = Instant::now() + patience;
        let mut state = self.lock();
        loop {
            if !state.waiting.is_empty() {
                let count = state.waiting.len().min(most);
                return Next::Batch(state.waiting.drain(..count).collect());
            }
            if state.closed && state.used == 0 {
                return Next::End;
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Next::Nothing;
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Reserved<T> {
    /// Puts something into the place.
    pub fn put(self, thing: T) {
        let queue = self.0.clone();
        queue.lock().waiting.push((self, thing));
        queue.changed.notify_one();
    }
}

impl<T> Drop for Reserved<T> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.used -= 1;
        if state.closed {
            self.0.changed.notify_all();
        }
    }
}
