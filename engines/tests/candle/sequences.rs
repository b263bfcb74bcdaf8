//! Slots, chunks and rows.

use minivault_engines::EngineError;
use minivault_engines::model::{Feed, Logits, Rows, Slot};

use crate::support::{KINDS, VOCABULARY, difference, greedy, noise_model, step, steps, with_model};

const PROMPT: [u32; 9] = [72, 101, 108, 108, 111, 44, 32, 119, 111];

#[test]
fn rows_chunks_and_neighbours_change_no_logits_beyond_rounding() {
    for kind in KINDS {
        let folder = noise_model(kind);
        with_model(folder.path(), |_, _, model| {
            // Each row is what the text up to there gives alone.
            let rows = step(model, 0, &PROMPT, Rows::All);
            assert_eq!(rows.len(), PROMPT.len());
            for (end, row) in (1..).zip(&rows) {
                model.release(Slot(1));
                let alone = step(model, 1, &PROMPT[..end], Rows::Last).remove(0);
                assert!(difference(row, &alone) < 1e-4, "{kind}, {end} tokens: {}", difference(row, &alone));
            }
            let last = rows.last().unwrap();
            // In chunks, a lone token among them, beside another sequence.
            for chunks in [[1, 3, 1, 4], [4, 1, 1, 3]] {
                model.release(Slot(2));
                let mut fed = 0;
                let mut row = Vec::new();
                for (number, chunk) in (0..).zip(chunks) {
                    let neighbour = [30 + number];
                    let feeds = [
                        Feed { slot: Slot(3), tokens: &neighbour, rows: Rows::Last },
                        Feed { slot: Slot(2), tokens: &PROMPT[fed..fed + chunk], rows: Rows::Last },
                    ];
                    row = steps(model, &feeds).remove(1);
                    fed += chunk;
                }
                assert!(difference(&row, last) < 1e-4, "{kind}, {chunks:?}: {}", difference(&row, last));
            }
        });
    }
}

#[test]
fn rows_come_where_they_are_asked_for() {
    let folder = noise_model("llama");
    with_model(folder.path(), |_, _, model| {
        let all = step(model, 0, &PROMPT, Rows::All);
        assert!(step(model, 1, &PROMPT[..4], Rows::None).is_empty());
        let some = step(model, 1, &PROMPT[4..], Rows::From(2));
        assert_eq!(some.len(), 3);
        for (row, expected) in some.iter().zip(&all[6..]) {
            assert!(difference(row, expected) < 1e-4);
        }
    });
}

#[test]
fn a_released_slot_remembers_nothing_and_a_cache_has_no_way_back() {
    for kind in KINDS {
        let folder = noise_model(kind);
        with_model(folder.path(), |_, _, model| {
            let answer = greedy(model, 0, &PROMPT, 12);
            greedy(model, 0, &[5, 6, 7], 12);
            assert_eq!(greedy(model, 0, &PROMPT, 12), answer, "{kind}");
            model.release(Slot(1));
            step(model, 1, &PROMPT, Rows::None);
            assert_eq!(model.truncate(Slot(1), 20), PROMPT.len());
            assert_eq!(model.truncate(Slot(1), 3), 0);
            assert_eq!(greedy(model, 1, &PROMPT, 12), answer, "{kind}");
            assert_eq!((model.truncate(Slot(2), 3), model.truncate(Slot(99), 3)), (0, 0));
            assert_eq!(model.copy_prefix(Slot(0), Slot(2), 3), 0);
        });
    }
}

#[test]
fn steps_that_candle_would_panic_of_are_errors() {
    let folder = noise_model("qwen3");
    with_model(folder.path(), |info, _, model| {
        assert_eq!(info.context_length, 96);
        let mut logits = Logits::new(model.limits().logits_width);
        let mut check = |slot, tokens: &[u32], expected: &str| {
            let error = model.step(&[Feed { slot: Slot(slot), tokens, rows: Rows::Last }], &mut logits).unwrap_err();
            let EngineError::Failed(cause) = error else { panic!("{error}") };
            assert!(cause.to_string().contains(expected), "{cause}");
        };
        check(4, &[1], "slot 4 of 4");
        check(0, &[VOCABULARY as u32], "token 272 of a vocabulary of 272");
        check(0, &[1; 97], "97 tokens for slot 0, which holds 0 of 96");
        check(0, &[], "0 tokens");
        assert_eq!(logits.rows(), 0);
        step(model, 0, &[1; 96], Rows::Last);
    });
}

/// The whole context, in one piece and token by token: no position is beyond candle's tables.
#[test]
fn the_context_can_be_filled() {
    for kind in KINDS {
        let folder = noise_model(kind);
        with_model(folder.path(), |_, _, model| {
            let tokens: Vec<u32> = (0..96).map(|place| place * 7 % 250).collect();
            let whole = step(model, 0, &tokens, Rows::Last).remove(0);
            let singly = step(model, 1, &tokens, Rows::All).pop().unwrap();
            assert!(difference(&whole, &singly) < 1e-3, "{kind}: {}", difference(&whole, &singly));
        });
    }
}
