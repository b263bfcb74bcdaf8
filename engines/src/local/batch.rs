//! Continuous batching: requests join and leave between steps, and each step feeds all of them at once.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TryRecvError;

use super::sequence::{Progress, Sequence};
use super::serve::{EmbedJob, Job, Shared};
use crate::error::EngineError;
use crate::model::{Feed, Limits, Logits, Model, Rows, Slot, Vocabulary};
use crate::text_engine::Embedding;

/// The share of a step that prompts may take while others are being answered: a long prompt costs them at most a quarter of a
/// full step for each of their tokens.
const PROMPT_SHARE_BESIDE_ANSWERS: usize = 4;

/// All requests of one engine, waiting and running.
pub(super) struct Batch {
    limits: Limits,
    vocabulary: Arc<dyn Vocabulary>,
    jobs: mpsc::Receiver<Job>,
    shared: Arc<Shared>,
    waiting: VecDeque<Sequence>,
    embeddings: VecDeque<EmbedJob>,
    running: Vec<Running>,
    free: Vec<Slot>,
    logits: Logits,
}

struct Running {
    slot: Slot,
    sequence: Sequence,
}

impl Batch {
    pub fn new(limits: Limits, vocabulary: Arc<dyn Vocabulary>, jobs: mpsc::Receiver<Job>, shared: Arc<Shared>) -> Self {
        Self {
            limits,
            vocabulary,
            jobs,
            shared,
            waiting: VecDeque::new(),
            embeddings: VecDeque::new(),
            running: Vec::with_capacity(limits.slots),
            free: (0..limits.slots).rev().map(Slot).collect(),
            logits: Logits::new(limits.logits_width),
        }
    }

    /// Steps until the engine is dropped. Without work it sleeps on the channel.
    pub fn run(&mut self, model: &mut dyn Model) {
        while self.take_jobs() {
            self.leave(model);
            self.join();
            self.shared.set_active(self.running.len());
            self.embed(model);
            if !self.running.is_empty() {
                self.step(model);
            }
        }
    }

    /// Ends all requests with an error, those in the channel too.
    pub fn end(&mut self, error: &EngineError) {
        self.jobs.close();
        while let Ok(job) = self.jobs.try_recv() {
            self.enqueue(job);
        }
        self.waiting.drain(..).chain(self.running.drain(..).map(|running| running.sequence)).for_each(|mut sequence| sequence.fail(error));
        for EmbedJob { answer, .. } in self.embeddings.drain(..) {
            // Whoever asked may be gone.
            let _ = answer.send(Err(error.clone()));
        }
    }

    /// Takes what has arrived, and waits if there is nothing to do. `false`: the engine is being dropped.
    fn take_jobs(&mut self) -> bool {
        if self.running.is_empty() && self.waiting.is_empty() && self.embeddings.is_empty() {
            match self.jobs.blocking_recv() {
                Some(job) => self.enqueue(job),
                None => return false,
            }
        }
        loop {
            match self.jobs.try_recv() {
                Ok(job) => self.enqueue(job),
                Err(TryRecvError::Empty) => return true,
                Err(TryRecvError::Disconnected) => return false,
            }
        }
    }

    fn enqueue(&mut self, job: Job) {
        match job {
            Job::Generate(sequence) => self.waiting.push_back(*sequence),
            Job::Embed(job) => self.embeddings.push_back(job),
        }
    }

    /// Lets go of requests whose reader is gone.
    fn leave(&mut self, model: &mut dyn Model) {
        self.waiting.retain(|sequence| !sequence.is_abandoned());
        let free = &mut self.free;
        self.running.retain(|running| {
            let stays = !running.sequence.is_abandoned();
            if !stays {
                model.release(running.slot);
                free.push(running.slot);
            }
            stays
        });
    }

    /// Gives free slots to those that wait, first come, first served.
    fn join(&mut self) {
        while !self.waiting.is_empty() {
            let Some(slot) = self.free.pop() else { return };
            let Some(sequence) = self.waiting.pop_front() else { return };
            self.running.push(Running { slot, sequence });
        }
    }

    /// Computes one embedding; the others wait for their turn between the steps.
    fn embed(&mut self, model: &mut dyn Model) {
        self.embeddings.retain(|job| !job.answer.is_closed());
        if let Some(EmbedJob { tokens, answer, .. }) = self.embeddings.pop_front() {
            let embedding = model.embed(&tokens).map(|vector| Embedding { vector, tokens: tokens.len() });
            // Whoever asked may have left meanwhile.
            let _ = answer.send(embedding);
        }
    }

    /// One pass over the weights for all that run.
    fn step(&mut self, model: &mut dyn Model) {
        let shares = self.shares();
        let mut feeds = Vec::with_capacity(self.running.len());
        for (running, &share) in self.running.iter().zip(&shares) {
            let unfed = running.sequence.unfed();
            if share > 0 {
                let rows = if share == unfed.len() { Rows::Last } else { Rows::None };
                feeds.push(Feed { slot: running.slot, tokens: &unfed[..share], rows });
            }
        }
        self.logits.clear();
        let outcome = model.step(&feeds, &mut self.logits);
        drop(feeds);
        if let Err(error) = outcome {
            tracing::error!(%error, cause = std::error::Error::source(&error).map(ToString::to_string), "a step failed; its requests end");
            for Running { slot, mut sequence } in self.running.drain(..) {
                sequence.fail(&error);
                model.release(slot);
                self.free.push(slot);
            }
            return;
        }
        self.choose(&shares, model);
    }

    /// How many tokens each running sequence feeds in this step: one for each answer, and for the prompts equal shares of what is left.
    fn shares(&self) -> Vec<usize> {
        let answers = self.running.iter().filter(|running| !running.sequence.is_in_prompt()).count();
        let mut prompts = self.running.len() - answers;
        let room = self.limits.step_tokens - answers;
        let mut left = if answers == 0 { room } else { room.min(self.limits.step_tokens.div_ceil(PROMPT_SHARE_BESIDE_ANSWERS)) };
        let share = |running: &Running| {
            let unfed = running.sequence.unfed().len();
            if !running.sequence.is_in_prompt() {
                return unfed;
            }
            // What an earlier prompt doesn't need goes to the later ones.
            let share = unfed.min(left.div_ceil(prompts));
            prompts -= 1;
            left -= share;
            share
        };
        self.running.iter().map(share).collect()
    }

    /// Chooses a token for each sequence that has a row of logits, and lets go of those that are over.
    fn choose(&mut self, shares: &[usize], model: &mut dyn Model) {
        let size = self.vocabulary.size();
        let mut row = 0;
        let mut shares = shares.iter();
        let Self { running, logits, vocabulary, free, .. } = self;
        running.retain_mut(|running| {
            let share = shares.next().copied().unwrap_or(0);
            running.sequence.advance(share);
            if !running.sequence.unfed().is_empty() {
                return true;
            }
            let progress = running.sequence.choose(&mut logits.row_mut(row)[..size], &**vocabulary);
            row += 1;
            if progress == Progress::Over {
                model.release(running.slot);
                free.push(running.slot);
            }
            progress == Progress::More
        });
        self.shared.set_active(self.running.len());
    }
}
