//! A thread that does what has to be done behind the writer's back, and sleeps while there is nothing.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// The thread. Dropping it waits until it has ended, without what is still to be done.
pub(crate) struct Background<T> {
    tasks: Arc<Tasks<T>>,
    thread: Option<JoinHandle<()>>,
}

/// What there is to do, as the thread sees it: one task, the last one that was put.
pub(crate) struct Tasks<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
}

struct State<T> {
    task: Option<T>,
    closed: bool,
}

impl<T: Send + 'static> Background<T> {
    /// `work` runs on the thread until there are no more tasks to wait for.
    ///
    /// # Errors
    /// The operating system has no thread left.
    pub fn start(name: &str, work: impl FnOnce(&Tasks<T>) + Send + 'static) -> io::Result<Self> {
        let tasks = Arc::new(Tasks { state: Mutex::new(State { task: None, closed: false }), changed: Condvar::new() });
        let thread = std::thread::Builder::new().name(name.into()).spawn({
            let tasks = tasks.clone();
            move || work(&tasks)
        })?;
        Ok(Self { tasks, thread: Some(thread) })
    }

    /// To be done, in place of what waits.
    pub fn put(&self, task: T) {
        self.tasks.put(task);
    }
}

impl<T> Tasks<T> {
    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn put(&self, task: T) {
        if self.state().task.replace(task).is_none() {
            self.changed.notify_all();
        }
    }

    /// What is to be done now, if anything is.
    pub fn take(&self) -> Option<T> {
        self.state().task.take()
    }

    /// Waits until there is a task. `false`: there will be none.
    pub fn wait(&self) -> bool {
        let waited = self.changed.wait_while(self.state(), |state| state.task.is_none() && !state.closed);
        !waited.unwrap_or_else(PoisonError::into_inner).closed
    }

    /// Waits so long. `false`: it is time to end.
    pub fn rest(&self, time: Duration) -> bool {
        let waited = self.changed.wait_timeout_while(self.state(), time, |state| !state.closed);
        !waited.unwrap_or_else(PoisonError::into_inner).0.closed
    }

    /// Whether it is time to end.
    pub fn is_closed(&self) -> bool {
        self.state().closed
    }
}

impl<T> Drop for Background<T> {
    fn drop(&mut self) {
        self.tasks.state().closed = true;
        self.tasks.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            let name = thread.thread().name().unwrap_or_default().to_owned();
            if thread.join().is_err() {
                tracing::error!("the thread `{name}` panicked");
            }
        }
    }
}
