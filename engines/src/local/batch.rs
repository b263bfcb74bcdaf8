//! Continuous batching: requests join and leave between steps, and each step feeds all of them at once.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TryRecvError;

use super::family::{self, Heir};
use super::masks::Masks;
use super::plan;
use super::reading::ReadJob;
use super::sequence::{Progress, Sequence};
use super::serve::{EmbedJob, Job, Shared};
use super::slots::{Seat, Slots};
use super::turns::Turns;
use crate::decoding::Scratch;
use crate::error::EngineError;
use crate::model::{Feed, Limits, Logits, Model, Rows, Slot, Vocabulary};
use crate::text_engine::Embedding;
use crate::turn::Turn;

/// All requests of one engine, waiting and running.
pub(super) struct Batch {
    limits: Limits,
    vocabulary: Arc<dyn Vocabulary>,
    jobs: mpsc::Receiver<Job>,
    shared: Arc<Shared>,
    /// In the order of their turns, and of their arrival within one.
    waiting: VecDeque<Sequence>,
    turns: Turns,
    embeddings: VecDeque<EmbedJob>,
    readings: VecDeque<ReadJob>,
    /// Counts what arrived.
    arrivals: u64,
    running: Vec<Running>,
    slots: Slots,
    /// What each running sequence feeds in the step under way.
    shares: Vec<usize>,
    logits: Logits,
    scratch: Scratch,
    turn: Arc<dyn Turn>,
    /// From the first answer on whose form is prescribed.
    masks: Option<Masks>,
}

struct Running {
    slot: Slot,
    sequence: Sequence,
    progress: Progress,
}

impl Batch {
    pub fn new(
        limits: Limits,
        vocabulary: Arc<dyn Vocabulary>,
        jobs: mpsc::Receiver<Job>,
        shared: Arc<Shared>,
        turn: Arc<dyn Turn>,
        reuse: bool,
    ) -> Self {
        Self {
            limits,
            vocabulary,
            jobs,
            shared,
            waiting: VecDeque::new(),
            turns: Turns::default(),
            embeddings: VecDeque::new(),
            readings: VecDeque::new(),
            arrivals: 0,
            running: Vec::with_capacity(limits.slots),
            slots: Slots::new(limits, reuse),
            shares: Vec::with_capacity(limits.slots),
            logits: Logits::new(limits.logits_width),
            scratch: Scratch::default(),
            turn,
            masks: None,
        }
    }

    /// Steps until the engine is dropped. Without work it sleeps on the channel.
    pub fn run(&mut self, model: &mut dyn Model) {
        while self.take_jobs(model) {
            self.leave(model);
            self.join(model);
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
        for ReadJob { mut reading, answer, .. } in self.readings.drain(..) {
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

    /// Whether nothing can be done until something arrives. Texts that are being read may hold slots meanwhile.
    fn is_idle(&self) -> bool {
        self.running.is_empty()
            && self.embeddings.is_empty()
            && !self.waiting.front().is_some_and(|next| self.has_room_for(next))
            && !self.readings.iter().any(|job| self.may_read(job))
    }

    /// Whether a request can be given a slot: one that must be alone needs all of them free, and beside it there is none for others.
    fn has_room_for(&self, sequence: &Sequence) -> bool {
        let free = self.slots.count_free();
        if sequence.is_alone() { free == self.limits.slots } else { free > 0 && !self.is_for_one_alone() }
    }

    /// Whether what runs must be alone.
    fn is_for_one_alone(&self) -> bool {
        self.running.iter().any(|running| running.sequence.is_alone())
    }

    /// Whether a text can be read further, or begun: not behind a request that waits until it is alone.
    fn may_read(&self, job: &ReadJob) -> bool {
        let is_behind_one_alone = || self.waiting.front().is_some_and(|next| next.is_alone() && next.arrival < job.arrival);
        job.reading.slot.is_some() || self.slots.any_free() && !is_behind_one_alone()
    }

    fn take(&mut self, job: Job, model: &mut dyn Model) {
        if let Some(slot) = self.accept(job) {
            self.slots.clear(slot, model);
        }
    }

    /// Puts a job in its queue, or returns the slot that it gives back.
    fn accept(&mut self, job: Job) -> Option<Slot> {
        self.arrivals += 1;
        match job {
            Job::Generate(mut sequences) => {
                let client = sequences.first().and_then(|sequence| sequence.client().cloned());
                let turn = self.turns.next(client, sequences.len());
                let place = self.waiting.partition_point(|waiting| waiting.turn <= turn);
                for (index, mut sequence) in sequences.drain(..).enumerate() {
                    (sequence.arrival, sequence.turn) = (self.arrivals, turn);
                    self.waiting.insert(place + index, sequence);
                }
            }
            Job::Embed(job) => self.embeddings.push_back(job),
            Job::Read(job) => self.readings.push_back(ReadJob { arrival: self.arrivals, ..*job }),
            Job::Release(slot, _permit) => return Some(slot),
        }
        None
    }

    /// Lets go of requests whose reader is gone.
    fn leave(&mut self, model: &mut dyn Model) {
        let Self { waiting, turns, running, slots, .. } = self;
        if waiting.iter().any(Sequence::is_abandoned) {
            let (gone, left) = std::mem::take(waiting).into_iter().partition(Sequence::is_abandoned);
            *waiting = left;
            let waits = |client| waiting.iter().any(|sequence| sequence.client() == client);
            let gone: VecDeque<Sequence> = gone;
            gone.iter().map(Sequence::client).filter(|client| !waits(*client)).for_each(|client| turns.give_back(client, 1));
        }
        for Running { slot, sequence, .. } in running.extract_if(.., |running| running.sequence.is_abandoned()) {
            slots.leave(slot, sequence.into_fed(), model);
        }
    }

    /// Gives free slots to those that wait, client by client and first come, first served, texts that are only read among them; behind one that must be alone
    /// all others wait. Of several answers to one request the first reads the prompt; slots are kept for the others meanwhile.
    fn join(&mut self, model: &mut dyn Model) {
        let mut place = 0;
        while place < self.waiting.len().min(self.slots.count_free()) && !self.is_for_one_alone() {
            if self.seat_reading(Some(self.waiting[place].arrival), model) {
                continue;
            }
            if family::waits(&self.waiting[place], self.running.iter().map(|running| &running.sequence)) {
                place += 1;
                continue;
            }
            if !self.has_room_for(&self.waiting[place]) {
                return;
            }
            let Some(mut sequence) = self.waiting.remove(place) else { return };
            let running = self.running.iter().map(|running| (running.slot, running.sequence.fed()));
            let Some(Seat { slot, cached }) = self.slots.take(sequence.findable(), running, model) else { return };
            self.turns.begun(sequence.turn);
            sequence.begin_at(cached);
            self.shared.count_wait(sequence.asked_at.elapsed());
            self.running.push(Running { slot, sequence, progress: Progress::More });
        }
        while place < self.slots.count_free() && !self.is_for_one_alone() && self.seat_reading(None, model) {}
    }

    /// Gives a slot to the text that has waited longest to be read, if it came before that arrival; whether there was one.
    fn seat_reading(&mut self, before: Option<u64>, model: &mut dyn Model) -> bool {
        let waiting = self.readings.iter_mut().filter(|job| job.reading.slot.is_none());
        let Some(job) = waiting.min_by_key(|job| job.arrival).filter(|job| before.is_none_or(|before| job.arrival < before)) else {
            return false;
        };
        job.reading.slot = self.slots.take(&[], std::iter::empty(), model).map(|seat| seat.slot);
        job.reading.slot.is_some()
    }

    /// Computes one embedding; the others wait for their turn between the steps.
    fn embed(&mut self, model: &mut dyn Model) {
        self.embeddings.retain(|job| !job.answer.is_closed());
        if self.is_for_one_alone() {
            return;
        }
        if let Some(EmbedJob { tokens, answer, .. }) = self.embeddings.pop_front() {
            let turn = self.turn.taken();
            let embedding = model.embed(&tokens).map(|vector| Embedding { vector: of_length_one(vector), tokens: tokens.len() });
            drop(turn);
            // Whoever asked may have left meanwhile.
            let _ = answer.send(embedding);
        }
    }

    /// Takes one of the texts that have a slot a few tokens further.
    fn read(&mut self, model: &mut dyn Model) {
        let Some(place) = self.readings.iter().position(|job| job.reading.slot.is_some()) else { return };
        let Some(ReadJob { mut reading, answer, .. }) = self.readings.remove(place) else { return };
        let Some(slot) = reading.slot.take() else { return };
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
            self.slots.clear(slot, model);
        }
    }

    /// One pass over the weights for all that run.
    fn step(&mut self, model: &mut dyn Model) {
        plan::shares(self.running.iter_mut().map(|running| &mut running.sequence), self.limits.step_tokens, &mut self.shares);
        self.send_matchers();
        let mut feeds = Vec::with_capacity(self.running.len());
        for (Running { slot, sequence, .. }, &share) in self.running.iter().zip(&self.shares).filter(|(_, share)| **share > 0) {
            let unfed = sequence.unfed();
            let rows = if share == unfed.len() { Rows::From(share - 1 - sequence.drafted()) } else { Rows::None };
            feeds.push(Feed { slot: *slot, tokens: &unfed[..share], rows });
        }
        self.logits.clear();
        self.shared.count_step(feeds.len());
        let turn = self.turn.taken();
        let outcome = model.step(&feeds, &mut self.logits);
        drop(turn);
        drop(feeds);
        self.take_matchers_back();
        if let Err(error) = outcome {
            tracing::error!(%error, cause = std::error::Error::source(&error).map(ToString::to_string), "a step failed; its requests end");
            for Running { slot, mut sequence, .. } in self.running.drain(..) {
                sequence.fail(&error);
                self.slots.clear(slot, model);
            }
            return;
        }
        self.choose(model);
    }

    /// Has the masks computed that are needed after this step.
    fn send_matchers(&mut self) {
        let Self { running, shares, masks, .. } = self;
        for (place, (Running { sequence, .. }, share)) in running.iter_mut().zip(&*shares).enumerate() {
            if sequence.unfed().len() != *share {
                continue;
            }
            let Some(matcher) = sequence.lend_matcher() else { continue };
            if masks.is_none() {
                *masks = Masks::start();
            }
            let unsent = match masks {
                Some(masks) => masks.send(place, matcher),
                None => Some(matcher),
            };
            if let Some(matcher) = unsent {
                sequence.return_matcher(matcher);
            }
        }
    }

    fn take_matchers_back(&mut self) {
        for (place, matcher) in self.masks.iter_mut().flat_map(Masks::returned) {
            self.running[place].sequence.return_matcher(matcher);
        }
    }

    /// Chooses tokens for each sequence that has rows of logits, and lets go of those that are over.
    fn choose(&mut self, model: &mut dyn Model) {
        let size = self.vocabulary.size();
        let Self { running, waiting, shares, logits, scratch, vocabulary, slots, .. } = self;
        let mut rows = logits.rows_mut().map(|row| &mut row[..size]);
        let mut heirs = Vec::new();
        for (Running { slot, sequence, progress }, &share) in running.iter_mut().zip(&*shares) {
            sequence.advance(share);
            if sequence.unfed().is_empty() {
                let mut own = rows.by_ref().take(1 + sequence.drafted()).peekable();
                // Before its own choice changes the row, and while its cache holds the prompt alone.
                if let Some(row) = own.peek() {
                    heirs.extend(family::heirs(sequence, *slot, row, waiting, slots, model));
                }
                let held = sequence.fed().len();
                *progress = sequence.choose(own.by_ref(), &**vocabulary, scratch);
                // Those after a token that the draft didn't have.
                own.for_each(drop);
                take_back(held, *slot, sequence, model);
            }
        }
        running.extend(heirs.into_iter().map(|Heir { slot, mut sequence, mut row }| {
            let progress = sequence.choose(std::iter::once(&mut row[..]), &**vocabulary, scratch);
            Running { slot, sequence, progress }
        }));
        for Running { slot, sequence, progress } in running.extract_if(.., |running| running.progress != Progress::More) {
            match progress {
                Progress::Failed => slots.clear(slot, model),
                _ => slots.leave(slot, sequence.into_fed(), model),
            }
        }
        self.shared.set_active(self.running.len());
    }
}

/// The vector with its direction kept; one without a direction stays as it is.
fn of_length_one(mut vector: Vec<f32>) -> Vec<f32> {
    // In f64 the squares of thousands of numbers lose nothing.
    let length = vector.iter().map(|&value| f64::from(value) * f64::from(value)).sum::<f64>().sqrt();
    if length > 0.0 && length.is_finite() {
        vector.iter_mut().for_each(|value| *value = (f64::from(*value) / length) as f32);
    }
    vector
}

/// Shortens the cache, which holds `held` tokens, to those that count.
fn take_back(held: usize, slot: Slot, sequence: &mut Sequence, model: &mut dyn Model) {
    let counts = sequence.fed().len();
    if counts < held {
        let kept = model.truncate(slot, counts);
        if kept < counts {
            // A model that can't take back a few tokens computes them again; no draft is worth that.
            sequence.rewind(kept);
            sequence.stop_drafting();
        }
    }
}
