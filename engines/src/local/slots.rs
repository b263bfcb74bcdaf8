//! Which slots are free, and what their caches still hold.
//!
//! A sequence that leaves its slot leaves its tokens in the model's cache. A prompt that starts as one of those did, or as one that is
//! still running, is computed from where they part.

use crate::model::{Limits, Model, Slot};
use crate::request::TokenId;

/// Tokens at a cached sequence's end that may be lost to a prompt that starts like it: the last ones of an answer often come
/// back spelt otherwise in a chat's next turn.
const SMALL_LOSS: usize = 8;

/// All slots of a model.
pub(super) struct Slots {
    slots: Vec<Entry>,
    /// Counts the sequences that left, to tell which slot was used last.
    clock: u64,
    reuse: bool,
}

#[derive(Default)]
struct Entry {
    taken: bool,
    /// What the cache holds while nobody has the slot.
    tokens: Vec<TokenId>,
    last_used: u64,
}

/// A slot for a prompt.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Seat {
    pub slot: Slot,
    /// Tokens of the prompt that its cache holds.
    pub cached: usize,
}

/// Where the longest beginning of a prompt lies.
#[derive(Clone, Copy)]
struct Source {
    slot: Slot,
    common: usize,
}

impl Slots {
    /// Empty slots; with `reuse` they remember.
    pub fn new(limits: Limits, reuse: bool) -> Self {
        Self { slots: (0..limits.slots).map(|_| Entry::default()).collect(), clock: 0, reuse }
    }

    /// Whether a slot is free.
    pub fn any_free(&self) -> bool {
        self.free().next().is_some()
    }

    /// How many are.
    pub fn count_free(&self) -> usize {
        self.free().count()
    }

    /// Takes the free slot in which least of the prompt is left to compute; at least its last token is. `running` are the slots in
    /// use and what their caches hold. `None`: no slot is free.
    pub fn take<'a>(
        &mut self,
        prompt: &[TokenId],
        running: impl Iterator<Item = (Slot, &'a [TokenId])>,
        model: &mut dyn Model,
    ) -> Option<Seat> {
        let idle = self.least_wanted()?;
        let wanted = &prompt[..prompt.len().saturating_sub(1)];
        let free = longest(wanted, self.free().map(|(slot, entry)| (slot, &entry.tokens[..])));
        let running = if self.reuse { longest(wanted, running) } else { None };
        let (slot, common) =
            match (free, running) {
                (Some(free), running) if running.is_none_or(|running| running.common <= free.common) => {
                    if self.gives_up_little(free, idle) { (free.slot, free.common) } else { self.copy(free, idle, Some(free), model) }
                }
                (free, Some(running)) => self.copy(running, idle, free, model),
                _ => (idle, 0),
            };
        let entry = &mut self.slots[slot.0];
        let held = std::mem::take(&mut entry.tokens).len();
        entry.taken = true;
        let cached = match common {
            0 => {
                model.release(slot);
                0
            }
            // A copy holds no more than that.
            _ if held == 0 => common,
            _ => model.truncate(slot, common).min(common),
        };
        Some(Seat { slot, cached })
    }

    /// Takes a free slot for a sequence that has exactly these tokens in common with one that is running. `None`: none is free, or the model
    /// can't copy them.
    pub fn take_copy(&mut self, from: Slot, length: usize, model: &mut dyn Model) -> Option<Slot> {
        let slot = self.least_wanted()?;
        self.clear(slot, model);
        if model.copy_prefix(from, slot, length) < length {
            model.release(slot);
            return None;
        }
        self.slots[slot.0].taken = true;
        Some(slot)
    }

    /// Gives a slot back whose cache holds these tokens.
    pub fn leave(&mut self, slot: Slot, tokens: Vec<TokenId>, model: &mut dyn Model) {
        if !self.reuse {
            return self.clear(slot, model);
        }
        self.clock += 1;
        self.slots[slot.0] = Entry { taken: false, tokens, last_used: self.clock };
    }

    /// Gives a slot back whose cache is of no use.
    pub fn clear(&mut self, slot: Slot, model: &mut dyn Model) {
        model.release(slot);
        self.slots[slot.0] = Entry::default();
    }

    fn free(&self) -> impl Iterator<Item = (Slot, &Entry)> {
        self.slots.iter().enumerate().filter(|(_, entry)| !entry.taken).map(|(index, entry)| (Slot(index), entry))
    }

    /// The free slot that is missed least: an empty one, or the one whose sequence left longest ago.
    fn least_wanted(&self) -> Option<Slot> {
        self.free().min_by_key(|(_, entry)| (!entry.tokens.is_empty(), entry.last_used)).map(|(slot, _)| slot)
    }

    /// Whether a prompt may go on in the very slot that holds its beginning: what is lost there is little, or no better than what
    /// a copy would cost.
    fn gives_up_little(&self, source: Source, idle: Slot) -> bool {
        let held = self.slots[source.slot.0].tokens.len();
        let lost = held - source.common;
        let idle_is_empty = self.slots[idle.0].tokens.is_empty();
        source.slot == idle || lost <= SMALL_LOSS || (!idle_is_empty && lost * 2 <= held)
    }

    /// Copies a beginning into the idle slot. Where the model can't, the free slot that holds most of it is given up after all.
    fn copy(&mut self, source: Source, idle: Slot, free: Option<Source>, model: &mut dyn Model) -> (Slot, usize) {
        if free.is_some_and(|free| free.slot == idle && free.common == source.common) {
            return (idle, source.common);
        }
        model.release(idle);
        self.slots[idle.0].tokens.clear();
        let copied = model.copy_prefix(source.slot, idle, source.common).min(source.common);
        match free {
            Some(free) if free.slot != idle && free.common > copied => {
                model.release(idle);
                (free.slot, free.common)
            }
            _ => {
                self.clock += 1;
                self.slots[source.slot.0].last_used = self.clock;
                (idle, copied)
            }
        }
    }
}

/// The one of several sequences that has most of its beginning in common with the prompt.
fn longest<'a>(prompt: &[TokenId], sequences: impl Iterator<Item = (Slot, &'a [TokenId])>) -> Option<Source> {
    sequences
        .map(|(slot, tokens)| Source { slot, common: prompt.iter().zip(tokens).take_while(|(ours, theirs)| ours == theirs).count() })
        .filter(|source| source.common > 0)
        .max_by_key(|source| source.common)
}
