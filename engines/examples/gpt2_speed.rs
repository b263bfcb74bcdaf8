//! How fast GPT-2 is on its kernels in each dtype, against candle's operations: all in one process, turn by turn, medians.
//!
//! ```text
//! cargo run -p minivault-engines --no-default-features --example gpt2_speed -- FOLDER [ROUNDS]
//! ```
//!
//! FOLDER has a GPT-2 in Hugging Face layout; `engines/tests/data/make_gpt2_reference.py distilgpt2-shaped FOLDER` makes one of
//! DistilGPT2's shape.

use std::path::{Path, PathBuf};
use std::time::Instant;

use minivault_engines::error::{EngineError, Result};
use minivault_engines::gpt2::{Arithmetic, Dtype, Gpt2Config, Gpt2Loader, Gpt2Model};
use minivault_engines::model::{Feed, Logits, Model, Rows, Slot};

/// What is measured: `steps` steps of so many tokens for each of so many sequences, after `before` tokens.
struct Case {
    name: &'static str,
    sequences: usize,
    before: usize,
    tokens: usize,
    steps: usize,
}

const CASES: [Case; 5] = [
    Case { name: "decode, 1 sequence, after 16", sequences: 1, before: 16, tokens: 1, steps: 24 },
    Case { name: "decode, 1 sequence, after 512", sequences: 1, before: 512, tokens: 1, steps: 24 },
    Case { name: "decode, 8 sequences, after 16", sequences: 8, before: 16, tokens: 1, steps: 8 },
    Case { name: "decode, 16 sequences, after 16", sequences: 16, before: 16, tokens: 1, steps: 6 },
    Case { name: "prefill 512", sequences: 1, before: 0, tokens: 512, steps: 1 },
];

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let usage = || EngineError::Unavailable("usage: gpt2_speed FOLDER [ROUNDS]".to_owned());
    let folder = PathBuf::from(arguments.next().ok_or_else(usage)?);
    let rounds: usize = arguments.next().map_or(Ok(5), |rounds| rounds.parse()).map_err(|_| usage())?;
    let mut models = [
        load(&folder, Arithmetic::Plain, Dtype::F32)?,
        load(&folder, Arithmetic::Kernels, Dtype::F32)?,
        load(&folder, Arithmetic::Kernels, Dtype::Bf16)?,
        load(&folder, Arithmetic::Kernels, Dtype::Q8)?,
    ];
    println!("| tokens/s, median of {rounds} | plain candle | f32 | bf16 | q8 |\n|---|---|---|---|---|");
    let only = std::env::var("ONLY").unwrap_or_default();
    for case in CASES.iter().filter(|case| case.name.contains(&only)) {
        let mut speeds = [const { Vec::new() }; 4];
        for _ in 0..rounds.max(1) {
            for (model, speeds) in models.iter_mut().zip(&mut speeds) {
                speeds.push(case.speed(model)?);
            }
        }
        let [plain, f32, bf16, q8] = speeds.map(median);
        println!("| {} | {plain:.1} | {f32:.1} | {bf16:.1} | {q8:.1} |", case.name);
    }
    Ok(())
}

fn load(folder: &Path, arithmetic: Arithmetic, dtype: Dtype) -> Result<Gpt2Model> {
    let config = Gpt2Config { slots: 16, step_tokens: 512, dtype, ..Gpt2Config::new("measured") };
    let loader = Gpt2Loader { name: "speed".to_owned(), folder: folder.to_path_buf(), origin: folder.display().to_string(), config };
    Ok(loader.load_for(arithmetic)?.model)
}

impl Case {
    /// Tokens per second over all sequences.
    fn speed(&self, model: &mut Gpt2Model) -> Result<f64> {
        let vocabulary = model.limits().logits_width;
        let tokens = |seed: usize, count: usize| -> Vec<u32> {
            // Any tokens do: a step's work doesn't depend on which they are.
            (0..count).map(|i| ((seed * 7919 + i * 104_729) % vocabulary) as u32).collect()
        };
        let mut logits = Logits::new(vocabulary);
        for slot in 0..self.sequences {
            model.release(Slot(slot));
            if self.before > 0 {
                model.step(&[Feed { slot: Slot(slot), tokens: &tokens(slot, self.before), rows: Rows::None }], &mut logits)?;
            }
        }
        let tokens: Vec<Vec<u32>> = (0..self.sequences).map(|slot| tokens(slot + 100, self.tokens)).collect();
        let feeds: Vec<Feed<'_>> =
            tokens.iter().enumerate().map(|(slot, tokens)| Feed { slot: Slot(slot), tokens, rows: Rows::Last }).collect();
        let start = Instant::now();
        for _ in 0..self.steps {
            logits.clear();
            model.step(&feeds, &mut logits)?;
        }
        Ok((self.steps * self.sequences * self.tokens) as f64 / start.elapsed().as_secs_f64())
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
