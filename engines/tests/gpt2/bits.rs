//! The same bits, whatever else happens.

use std::path::Path;

use minivault_engines::gpt2::{Dtype, Gpt2Model};
use minivault_engines::model::{Feed, Logits, Model, Rows, Slot};
use minivault_engines::threads::Threads;
use minivault_engines::{Circumstance, Determinism};

use crate::support::{Shape, load, load_with, noise_model, path_from_environment, step, steps, tiny};

/// One head's size is that of DistilGPT2; long enough for products that are split among threads.
const ORDINARY: Shape = Shape { vocabulary: 600, context: 150, width: 192, inner: 768, layers: 2, heads: 3 };
/// Shapes in which candle's products reduce differently at different numbers of rows.
const AWKWARD: Shape = Shape { vocabulary: 50, context: 80, width: 20, inner: 1030, layers: 2, heads: 4 };

fn bits(rows: &[Vec<f32>]) -> Vec<Vec<u32>> {
    rows.iter().map(|row| row.iter().map(|logit| logit.to_bits()).collect()).collect()
}

fn tokens(seed: usize, count: usize, vocabulary: usize) -> Vec<u32> {
    (0..count).map(|i| ((i * i * 7 + i * 31 + seed * 97) % vocabulary) as u32).collect()
}

/// A model, a prompt that nearly fills its context, and the bits of all its logits, computed alone and in one piece.
struct Case {
    model: Gpt2Model,
    prompt: Vec<u32>,
    wanted: Vec<Vec<u32>>,
}

impl Case {
    fn new(mut model: Gpt2Model) -> Self {
        let limits = model.limits();
        let prompt = tokens(1, limits.context - 2, limits.logits_width);
        let wanted = bits(&step(&mut model, 0, &prompt, Rows::All));
        assert!(wanted.iter().flatten().all(|&bits| f32::from_bits(bits).is_finite()));
        model.release(Slot(0));
        Self { model, prompt, wanted }
    }

    fn all() -> Vec<Self> {
        let as_dtype = |folder: &Path, dtype| load_with(folder, |config| config.dtype = dtype).unwrap().model;
        let noise = |shape, dtype| as_dtype(noise_model(shape).path(), dtype);
        let tarotble = path_from_environment("MINIVAULT_TEST_TAROTBLE").map(|folder| load(&folder).unwrap().model);
        let models = [load(&tiny()).unwrap().model, noise(ORDINARY, Dtype::F32), noise(AWKWARD, Dtype::F32)];
        let rounded = [(ORDINARY, Dtype::Bf16), (ORDINARY, Dtype::Q8), (AWKWARD, Dtype::Q8)].map(|(shape, dtype)| noise(shape, dtype));
        models.into_iter().chain(rounded).chain(tarotble).map(Self::new).collect()
    }
}

#[test]
fn it_declares_what_these_tests_show() {
    let info = load(&tiny()).unwrap().info;
    assert_eq!(info.determinism, Determinism::Bitwise);
    assert!(info.determinism.holds(Circumstance::ChunkSize) && info.determinism.holds(Circumstance::Threads));
}

#[test]
fn any_chunks_of_a_prompt_give_the_bits_of_the_whole() {
    for Case { mut model, prompt, wanted } in Case::all() {
        for size in 1..=prompt.len() {
            model.release(Slot(2));
            let seen: Vec<_> = prompt.chunks(size).flat_map(|chunk| step(&mut model, 2, chunk, Rows::All)).collect();
            assert!(bits(&seen) == wanted, "chunks of {size} tokens");
        }
    }
}

#[test]
fn the_rows_that_are_asked_for_change_no_bits() {
    for Case { mut model, prompt, wanted } in Case::all() {
        let length = prompt.len();
        for (rows, first) in [(Rows::Last, length - 1), (Rows::From(3), 3), (Rows::From(length - 2), length - 2), (Rows::None, length)] {
            model.release(Slot(0));
            assert!(bits(&step(&mut model, 0, &prompt, rows)) == wanted[first..], "{rows:?}");
        }
    }
}

#[test]
fn whatever_shares_the_steps_changes_no_bits() {
    for Case { mut model, prompt, wanted } in Case::all() {
        let Limit { slots, vocabulary } = Limit::of(&model);
        // Each slot has the same prompt in chunks of its own; at each step slots are filled up, begun again and left out.
        let mut places = vec![0; slots];
        for round in 0..60 {
            let chunks: Vec<_> = (0..slots)
                .filter(|slot| (round + slot * 3) % 4 != 0)
                .map(|slot| (slot, (places[slot] + 1 + (round * 7 + slot * 5) % 11).min(prompt.len())))
                .collect();
            let stranger = tokens(round, 1 + round % 5, vocabulary);
            let mut feeds: Vec<_> = chunks
                .iter()
                .map(|&(slot, end)| Feed { slot: Slot(slot), tokens: &prompt[places[slot]..end], rows: Rows::All })
                .filter(|feed| !feed.tokens.is_empty() && feed.slot != Slot(slots - 1))
                .collect();
            model.release(Slot(slots - 1));
            feeds.insert(feeds.len() * (round % 3) / 2, Feed { slot: Slot(slots - 1), tokens: &stranger, rows: Rows::Last });
            let mut seen = bits(&steps(&mut model, &feeds)).into_iter();
            for feed in &feeds {
                let rows: Vec<_> = seen.by_ref().take(feed.rows.range(feed.tokens.len()).len()).collect();
                let Slot(slot) = feed.slot;
                if slot != slots - 1 {
                    let start = places[slot];
                    assert!(rows == wanted[start..start + feed.tokens.len()], "round {round}, slot {slot}, from {start}");
                    places[slot] += feed.tokens.len();
                    if places[slot] == prompt.len() {
                        model.release(feed.slot);
                        places[slot] = 0;
                    }
                }
            }
            assert_eq!(seen.next(), None);
        }
    }
}

struct Limit {
    slots: usize,
    vocabulary: usize,
}

impl Limit {
    fn of(model: &Gpt2Model) -> Self {
        Self { slots: model.limits().slots, vocabulary: model.limits().logits_width }
    }
}

#[test]
fn a_shortened_sequence_goes_on_with_the_bits_it_had() {
    for Case { mut model, prompt, wanted } in Case::all() {
        let vocabulary = model.limits().logits_width;
        for kept in [1, 2, 7, prompt.len() - 1] {
            model.release(Slot(0));
            step(&mut model, 0, &prompt, Rows::None);
            assert_eq!(model.truncate(Slot(0), kept), kept);
            // Rejected guesses in the place of the real tokens.
            step(&mut model, 0, &tokens(9, 2, vocabulary), Rows::None);
            assert_eq!(model.truncate(Slot(0), kept), kept);
            assert!(bits(&step(&mut model, 0, &prompt[kept..], Rows::All)) == wanted[kept..], "{kept} kept");
        }
        assert_eq!(model.truncate(Slot(0), 10_000), prompt.len());
        assert_eq!(model.truncate(Slot(10_000), 5), 0);
    }
}

#[test]
fn a_copied_prefix_goes_on_with_the_bits_of_its_source() {
    for Case { mut model, prompt, wanted } in Case::all() {
        step(&mut model, 0, &prompt, Rows::None);
        for copied in [1, 5, prompt.len() - 1] {
            assert_eq!(model.copy_prefix(Slot(0), Slot(1), copied), copied);
            assert!(bits(&step(&mut model, 1, &prompt[copied..], Rows::All)) == wanted[copied..], "{copied} copied");
            model.release(Slot(1));
        }
        assert_eq!(model.copy_prefix(Slot(0), Slot(1), 10_000), prompt.len());
        assert_eq!(model.copy_prefix(Slot(2), Slot(1), 4), 0, "an empty slot has no prefix");
        assert_eq!(model.copy_prefix(Slot(0), Slot(0), 4), 0);
        assert_eq!(model.copy_prefix(Slot(10_000), Slot(1), 4), 0);
    }
}

#[test]
fn the_number_of_threads_changes_no_bits() {
    let folder = noise_model(ORDINARY);
    for dtype in [Dtype::F32, Dtype::Bf16, Dtype::Q8] {
        let model = |threads| {
            let threads = Threads::exactly(threads).unwrap();
            load_with(folder.path(), |config| (config.threads, config.dtype) = (threads, dtype)).unwrap().model
        };
        let one = Case::new(model(1));
        for threads in [1, 2, 3, 7] {
            let Case { mut model, prompt, wanted } = Case::new(model(threads));
            assert!(wanted == one.wanted, "{dtype:?}, {threads} threads");
            let alone: Vec<_> = prompt.iter().map(|&token| bits(&step(&mut model, 1, &[token], Rows::Last)).remove(0)).collect();
            assert!(alone == one.wanted, "{dtype:?}, {threads} threads: token by token as in one piece");
        }
    }
}

#[test]
fn what_a_step_can_not_hold_is_an_error_and_no_panic() {
    let mut model = load_with(&tiny(), |config| config.step_tokens = 256).unwrap().model;
    let long = vec![1; 49];
    let feed = |slot, tokens| Feed { slot: Slot(slot), tokens, rows: Rows::Last };
    for feeds in [
        vec![feed(8, &[1][..])],
        vec![feed(0, &[])],
        vec![feed(0, &[1]), feed(0, &[2])],
        vec![feed(0, &[264])],
        vec![feed(0, &long)],
        (0..7).map(|slot| feed(slot, &long[..40])).collect(),
    ] {
        let mut logits = Logits::new(model.limits().logits_width);
        assert!(model.step(&feeds, &mut logits).is_err(), "{feeds:?}");
        assert_eq!(logits.rows(), 0);
    }
    let whole = step(&mut model, 0, &long[..48], Rows::Last);
    assert_eq!(whole.len(), 1, "the last place of the context is usable");
}
