//! Continuous batching: requests join and leave between steps, and each step feeds all of them at once.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TryRecvError;

use super::reading::ReadJob;
use super::sequence::{Progress, Sequence};
use super::serve::{EmbedJob, Job, Shared};
use crate::error::EngineError;
use crate::model::{Feed, Limits, Logits, Model, Rows, Slot, Vocabulary};
use crate::text_engine::Embedding;
use crate::turn::Turn;

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
    readings: VecDeque<ReadJob>,
    running: Vec<Running>,
    free: Vec<Slot>,
    logits: Logits,
    turn: Arc<dyn Turn>,
}

struct Running {
    slot: Slot,
    sequence: Sequence,
}

impl Batch {
    pub fn new(
        limits: Limits,
        vocabulary: Arc<dyn Vocabulary>,
        jobs: mpsc::Receiver<Job>,
        shared: Arc<Shared>,
        turn: Arc<dyn Turn>,
    ) -> Self {
        Self {
            limits,
            vocabulary,
            jobs,
            shared,
            waiting: VecDeque::new(),
            embeddings: VecDeque::new(),
            readings: VecDeque::new(),
            running: Vec::with_capacity(limits.slots),
            free: (0..limits.slots).rev().map(Slot).collect(),
            logits: Logits::new(limits.logits_width),
            turn,
        }
    }

    /// Steps until the engine is dropped. Without work it sleeps on the channel.
    pub fn run(&mut self, model: &mut dyn Model) {
        while self.take_jobs(model) {
            self.leave(model);
            self.join();
            self.shared.set_active(self.running.len());
            self.embed(model);
            self.read(model);
            if !self.running.is_empty() {
                self.step(model);
            }
        }
    }

    /// Ends all requests with an error, those in the channel too.
    pub fn end(&mut self, error: &EngineError) {
        self.jobs.close();
        while let Ok(job) = self.jobs.try_recv() {
            self.accept(job);
        }
        self.waiting.drain(..).chain(self.running.drain(..).map(|running| running.sequence)).for_each(|mut sequence| sequence.fail(error));
        for EmbedJob { answer, .. } in self.embeddings.drain(..) {
            // Whoever asked may be gone.
            let _ = answer.send(Err(error.clone()));
        }
        for ReadJob { mut reading, answer } in self.readings.drain(..) {
            reading.slot = None;
            let _ = answer.send((reading, Err(error.clone())));
        }
    }

    /// Takes what has arrived, and waits if there is nothing to do. `false`: the engine is being dropped.
    fn take_jobs(&mut self, model: &mut dyn Model) -> bool {
        if self.is_idle() {
            match self.jobs.blocking_recv() {
                Some(job) => self.take(job, model),
                None => return false,
            }
        }
        loop {
            match self.jobs.try_recv() {
                Ok(job) => self.take(job, model),
                Err(TryRecvError::Empty) => return true,
                Err(TryRecvError::Disconnected) => return false,
            }
        }
    }

    /// Whether nothing can be done until something arrives. Texts that are being read may hold every slot meanwhile.
    fn is_idle(&self) -> bool {
        let can_join = !self.free.is_empty();
        let can_be_read = |job: &ReadJob| can_join || job.reading.slot.is_some();
        self.running.is_empty()
            && self.embeddings.is_empty()
            && !(can_join && !self.waiting.is_empty())
            && !self.readings.iter().any(can_be_read)
    }

    fn take(&mut self, job: Job, model: &mut dyn Model) {
        if let Some(slot) = self.accept(job) {
            model.release(slot);
            self.free.push(slot);
        }
    }

    /// Puts a job in its queue, or returns the slot that it gives back.
    fn accept(&mut self, job: Job) -> Option<Slot> {
        match job {
            Job::Generate(sequence) => self.waiting.push_back(*sequence),
            Job::Embed(job) => self.embeddings.push_back(job),
            Job::Read(job) => self.readings.push_back(*job),
            Job::Release(slot) => return Some(slot),
        }
        None
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
            let turn = self.turn.taken();
            let embedding = model.embed(&tokens).map(|vector| Embedding { vector, tokens: tokens.len() });
            drop(turn);
            // Whoever asked may have left meanwhile.
            let _ = answer.send(embedding);
        }
    }

    /// Takes one of the texts that are read a few tokens further, in a slot of its own.
    fn read(&mut self, model: &mut dyn Model) {
        let Some(ReadJob { mut reading, answer }) = self.readings.pop_front() else { return };
        let Some(slot) = reading.slot.take().or_else(|| self.free.pop()) else {
            self.readings.push_back(ReadJob { reading, answer });
            return;
        };
        let rows = if answer.is_closed() {
            Err(EngineError::Stopped)
        } else {
            let _turn = self.turn.taken();
            reading.step(slot, model, self.vocabulary.size())
        };
        let goes_on = rows.is_ok() && !reading.is_over();
        reading.slot = goes_on.then_some(slot);
        let keeps_slot = match answer.send((reading, rows)) {
            Ok(()) => goes_on,
            // Whoever read has left; the slot is freed here and not by a message.
            Err((mut reading, _)) => {
                reading.slot = None;
                false
            }
        };
        if !keeps_slot {
            model.release(slot);
            self.free.push(slot);
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
        let turn = self.turn.taken();
        let outcome = model.step(&feeds, &mut self.logits);
        drop(turn);
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
