//! Reading a text for the logits after each of its tokens: one slot, a few tokens a step.
//!
//! The reading travels: to the engine's thread whenever more rows are wanted, and back with them. So the thread never waits for whoever
//! reads, and no more rows are in memory than are being looked at.

use futures_util::stream::try_unfold;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

use super::serve::Job;
use crate::error::{EngineError, Result};
use crate::model::{Feed, Limits, Logits, Model, Rows, Slot};
use crate::request::TokenId;
use crate::text_engine::LogitRows;

/// Rows that are in memory together; of GPT-2's vocabulary they take 13 MB.
const ROWS_AT_ONCE: usize = 64;

/// A text and how far it has been read.
pub(super) struct Reading {
    /// What the model expects before a text, then the text.
    tokens: Vec<TokenId>,
    /// How many tokens are before the text.
    prefix: usize,
    /// How many the model has seen.
    fed: usize,
    /// The slot that holds those.
    pub slot: Option<Slot>,
    /// Weak, because the engine's thread ends when nobody can send to it any more.
    jobs: mpsc::WeakSender<Job>,
    /// `None` once it goes back with the slot.
    permit: Option<OwnedSemaphorePermit>,
}

/// A reading on its way to the engine's thread and back.
pub(super) struct ReadJob {
    /// Which one of all that came it is.
    pub arrival: u64,
    pub reading: Reading,
    pub answer: oneshot::Sender<(Reading, Result<Logits>)>,
}

impl Reading {
    /// A text of which the model has seen nothing.
    pub fn new(prefix: &[TokenId], text: &[TokenId], jobs: mpsc::WeakSender<Job>, permit: OwnedSemaphorePermit) -> Self {
        Self { tokens: [prefix, text].concat(), prefix: prefix.len(), fed: 0, slot: None, jobs, permit: Some(permit) }
    }

    /// Feeds the next few tokens to the slot and returns the rows after those that belong to the text.
    pub fn step(&mut self, slot: Slot, model: &mut dyn Model, vocabulary_size: usize) -> Result<Logits> {
        let Limits { step_tokens, logits_width, .. } = model.limits();
        let unfed = &self.tokens[self.fed..];
        let tokens = &unfed[..unfed.len().min(step_tokens).min(ROWS_AT_ONCE)];
        let mut logits = Logits::new(logits_width);
        model.step(&[Feed { slot, tokens, rows: Rows::From(self.prefix.saturating_sub(self.fed)) }], &mut logits)?;
        self.fed += tokens.len();
        if logits_width == vocabulary_size {
            return Ok(logits);
        }
        let mut rows = Logits::new(vocabulary_size);
        (0..logits.rows()).for_each(|row| rows.push(&logits.row(row)[..vocabulary_size]));
        Ok(rows)
    }

    /// Whether the model has seen all of it.
    pub fn is_over(&self) -> bool {
        self.fed == self.tokens.len()
    }

    /// The rows, read as they are taken.
    pub fn rows(self) -> LogitRows {
        Box::pin(try_unfold(self, |reading| async move {
            if reading.is_over() {
                return Ok(None);
            }
            let (answer, answered) = oneshot::channel();
            let jobs = reading.jobs.upgrade().ok_or(EngineError::Stopped)?;
            // The permit keeps a place for it.
            jobs.try_send(Job::Read(Box::new(ReadJob { arrival: 0, reading, answer }))).map_err(|_| EngineError::Stopped)?;
            drop(jobs);
            let (reading, rows) = answered.await.map_err(|_| EngineError::Stopped)?;
            Ok(Some((rows?, reading)))
        }))
    }
}

impl Drop for Reading {
    /// Whoever stops reading in the middle gives the slot back, with the permit that keeps a place for the message.
    fn drop(&mut self) {
        if let (Some(slot), Some(permit), Some(jobs)) = (self.slot.take(), self.permit.take(), self.jobs.upgrade()) {
            // Only an engine that is ending takes no more of them.
            let _ = jobs.try_send(Job::Release(slot, permit));
        }
    }
}
