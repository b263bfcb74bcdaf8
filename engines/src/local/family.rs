//! Several answers to one request: the first one reads the prompt, and the others begin with its cache and its logits.
//!
//! They get the very row of logits that the first one's first token is chosen from, so that each says what it would have said alone, also on
//! models whose logits depend on how a prompt is fed.

use std::collections::VecDeque;

use super::sequence::Sequence;
use super::slots::Slots;
use crate::model::{Model, Slot};

/// An answer that begins where the first one has read the prompt.
pub(super) struct Heir {
    /// Holds a copy of the prompt.
    pub slot: Slot,
    pub sequence: Sequence,
    /// The logits after the prompt.
    pub row: Vec<f32>,
}

/// Whether another answer to the same request is reading the prompt for this one.
pub(super) fn waits<'a>(sequence: &Sequence, mut running: impl Iterator<Item = &'a Sequence>) -> bool {
    running.any(|other| are_siblings(sequence, other) && other.is_reading())
}

/// Those that wait for `first`, which has just read its prompt into `slot`: as many as there are slots for. Where the model can't copy, the
/// others read the prompt themselves.
pub(super) fn heirs(
    first: &Sequence,
    slot: Slot,
    row: &[f32],
    waiting: &mut VecDeque<Sequence>,
    slots: &mut Slots,
    model: &mut dyn Model,
) -> Vec<Heir> {
    let mut heirs = Vec::new();
    if !first.is_reading() {
        return heirs;
    }
    let length = first.tokens().len();
    while let Some(place) = waiting.iter().position(|other| are_siblings(first, other)) {
        let Some(copy) = slots.take_copy(slot, length, model) else { break };
        let Some(mut sequence) = waiting.remove(place) else { break };
        sequence.begin_at(length);
        heirs.push(Heir { slot: copy, sequence, row: row.to_vec() });
    }
    heirs
}

fn are_siblings(one: &Sequence, other: &Sequence) -> bool {
    one.family().is_some() && one.family() == other.family()
}
