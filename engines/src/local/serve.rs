//! The engine's thread: loading, then serving, then letting go.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use super::LocalOptions;
use super::admission::Front;
use super::batch::Batch;
use super::reading::ReadJob;
use super::sequence::Sequence;
use crate::error::{EngineError, Result};
use crate::lock::lock;
use crate::meter::{self, Measured};
use crate::model::{Model, ModelLoader, Slot, Vocabulary};
use crate::request::TokenId;
use crate::text_engine::{Embedding, EngineInfo, Health, State};
use crate::turn::{self, Turn};

/// Handed to the loader on the engine's thread; consumed once the model is up.
pub struct Serve {
    options: LocalOptions,
    report: Arc<Report>,
    turn: Arc<dyn Turn>,
}

/// A way to tell [`super::LocalEngine::start`], once, how loading went.
struct Report(Mutex<Option<oneshot::Sender<Result<Serving>>>>);

/// What the caller's side of an engine needs.
pub(super) struct Serving {
    pub front: Front,
    pub shared: Arc<Shared>,
    pub jobs: mpsc::Sender<Job>,
}

/// What the thread is asked to do. Each carries the permit that counts it.
pub(super) enum Job {
    /// All answers to one request.
    Generate(Vec<Sequence>),
    Embed(EmbedJob),
    /// A few more rows of a text's logits.
    Read(Box<ReadJob>),
    /// The slot of a text that is read no further, with the permit that keeps a place for this.
    Release(Slot, OwnedSemaphorePermit),
}

pub(super) struct EmbedJob {
    pub tokens: Vec<TokenId>,
    pub answer: oneshot::Sender<Result<Embedding>>,
    pub _permit: OwnedSemaphorePermit,
}

/// What both sides see.
pub(super) struct Shared {
    /// `Some` once the engine can't answer any more.
    failure: Mutex<Option<String>>,
    active: AtomicUsize,
    measured: Mutex<Measured>,
    /// One permit for each request that may be computed or wait.
    places: Arc<Semaphore>,
    capacity: usize,
}

impl Shared {
    pub fn state(&self) -> State {
        lock(&self.failure).clone().map_or(State::Ready, State::Failed)
    }

    pub fn health(&self, slots: usize) -> Health {
        let active = self.active.load(Ordering::Relaxed);
        let queued = (self.capacity - self.places.available_permits()).saturating_sub(active);
        Health { state: self.state(), active, queued, slots, measured: lock(&self.measured).clone(), restarts: 0 }
    }

    pub fn set_active(&self, active: usize) {
        self.active.store(active, Ordering::Relaxed);
    }

    /// A step has fed so many sequences.
    pub fn count_step(&self, width: usize) {
        lock(&self.measured).widths.add(&meter::WIDTHS, width as f64);
    }

    /// A request has waited so long for its slot.
    pub fn count_wait(&self, waited: Duration) {
        lock(&self.measured).waits.add(&meter::WAITS, waited.as_secs_f64());
    }

    fn fail(&self, reason: String) {
        *lock(&self.failure) = Some(reason);
    }
}

impl Report {
    fn send(&self, outcome: Result<Serving>) {
        if let Some(sender) = lock(&self.0).take() {
            // Nobody waits any more when `start` was cancelled; then the channel of jobs is closed too and serving ends at once.
            let _ = sender.send(outcome);
        }
    }
}

/// The body of the engine's thread.
pub(super) fn run(options: LocalOptions, loader: Box<dyn ModelLoader>, report: oneshot::Sender<Result<Serving>>) {
    let report = Arc::new(Report(Mutex::new(Some(report))));
    if let Err(error) = loader.run(Serve { options, report: report.clone(), turn: turn::of_this_process() }) {
        report.send(Err(error));
    }
    // Only a loader that never served is still heard here.
    report.send(Err(EngineError::Unavailable("the model's loader ended without serving".into())));
}

impl Serve {
    /// Computes in another turn than the one that all engines of this process share.
    #[must_use]
    pub fn with_turn(self, turn: Arc<dyn Turn>) -> Self {
        Self { turn, ..self }
    }

    /// Serves requests with this model until the engine is stopped or the model panics.
    ///
    /// # Errors
    /// [`EngineError::Unavailable`] for a model whose limits hold nothing.
    pub fn serve(self, info: EngineInfo, vocabulary: Arc<dyn Vocabulary>, model: &mut dyn Model) -> Result<()> {
        let limits = model.limits();
        let narrow =
            limits.slots == 0 || limits.step_tokens < limits.slots || limits.context < 2 || limits.logits_width < vocabulary.size();
        if narrow {
            let message = format!(
                "the model's limits don't hold a conversation: {limits:?} with a vocabulary of {}; a step must hold a token of each slot, \
                 the context two tokens, a row of logits the vocabulary",
                vocabulary.size()
            );
            return Err(EngineError::Unavailable(message));
        }
        let capacity = limits.slots + self.options.queue;
        let (jobs, receiver) = mpsc::channel(capacity);
        let places = Arc::new(Semaphore::new(capacity));
        let shared = Arc::new(Shared {
            failure: Mutex::new(None),
            active: AtomicUsize::new(0),
            measured: Mutex::default(),
            places: places.clone(),
            capacity,
        });
        let front = Front::new(Arc::new(info), vocabulary.clone(), limits, places, self.options).embedding_up_to(model.longest_embedding());
        self.report.send(Ok(Serving { front, shared: shared.clone(), jobs }));

        let mut batch = Batch::new(limits, vocabulary, receiver, shared.clone(), self.turn, self.options.reuse);
        // The model is never touched again after a panic, so what it left half done can't be seen.
        let outcome = catch_unwind(AssertUnwindSafe(|| batch.run(model)));
        match outcome {
            Ok(()) => batch.end(&EngineError::Stopped),
            Err(panic) => {
                let reason = panic_message(&*panic);
                tracing::error!(reason, "the model panicked; its engine is out of service");
                shared.fail(format!("the engine is out of service: its model panicked ({reason})"));
                batch.end(&EngineError::failed(format!("the model panicked: {reason}")));
            }
        }
        shared.set_active(0);
        Ok(())
    }
}

fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("without a message").to_owned()
}
