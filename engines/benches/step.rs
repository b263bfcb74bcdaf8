//! What a step of GPT-2 costs in each dtype, decoding several sequences or reading a prompt, without a daemon around it.
//!
//! `MINIVAULT_BENCH_GPT2=FOLDER cargo bench --workspace --profile dev --bench step`: FOLDER has a GPT-2 in Hugging Face layout, as
//! `make bench` makes one of DistilGPT2's shape in `target/bench/models/distilgpt2`.

use std::path::PathBuf;

use divan::Bencher;
use divan::counter::ItemsCount;
use minivault_engines::gpt2::{Arithmetic, Dtype, Gpt2Config, Gpt2Loader, Gpt2Model};
use minivault_engines::model::{Feed, Logits, Model, Rows, Slot};

const FOLDER: &str = "MINIVAULT_BENCH_GPT2";
/// Tokens in each sequence before it is measured.
const BEFORE: usize = 16;
const PROMPT: usize = 512;

fn main() {
    if std::env::var_os(FOLDER).is_none() {
        eprintln!("skipped: {FOLDER} names no folder with a GPT-2");
        return;
    }
    divan::main();
}

fn model(dtype: Dtype) -> Gpt2Model {
    let folder = PathBuf::from(std::env::var_os(FOLDER).expect("`main` has looked"));
    let config = Gpt2Config { slots: 16, step_tokens: PROMPT, dtype, ..Gpt2Config::new("measured") };
    let loader = Gpt2Loader { name: "measured".into(), origin: folder.display().to_string(), folder, config };
    loader.load_for(Arithmetic::Kernels).expect("the folder has a GPT-2").model
}

fn tokens(count: usize, vocabulary: usize) -> Vec<u32> {
    // Any tokens do: a step's work doesn't depend on which they are.
    (0..count).map(|index| (index * 104_729 % vocabulary) as u32).collect()
}

/// One token more in each of so many sequences, always the same one.
fn decode(bencher: Bencher<'_, '_>, sequences: usize, dtype: Dtype) {
    let mut model = model(dtype);
    let vocabulary = model.limits().logits_width;
    let (before, mut logits) = (tokens(BEFORE, vocabulary), Logits::new(vocabulary));
    for slot in 0..sequences {
        model.step(&[Feed { slot: Slot(slot), tokens: &before, rows: Rows::None }], &mut logits).expect("the model steps");
    }
    let feeds: Vec<Feed<'_>> = (0..sequences).map(|slot| Feed { slot: Slot(slot), tokens: &[7], rows: Rows::Last }).collect();
    bencher.counter(ItemsCount::new(sequences)).bench_local(|| {
        logits.clear();
        model.step(&feeds, &mut logits).expect("the model steps");
        for slot in 0..sequences {
            model.truncate(Slot(slot), BEFORE);
        }
    });
}

fn prefill(bencher: Bencher<'_, '_>, dtype: Dtype) {
    let mut model = model(dtype);
    let vocabulary = model.limits().logits_width;
    let (prompt, mut logits) = (tokens(PROMPT, vocabulary), Logits::new(vocabulary));
    bencher.counter(ItemsCount::new(PROMPT)).bench_local(|| {
        logits.clear();
        model.release(Slot(0));
        model.step(&[Feed { slot: Slot(0), tokens: &prompt, rows: Rows::Last }], &mut logits).expect("the model steps");
    });
}

#[divan::bench_group(sample_count = 40, sample_size = 1)]
mod decode {
    use super::{Bencher, Dtype, decode};

    const SEQUENCES: [usize; 3] = [1, 8, 16];

    #[divan::bench(args = SEQUENCES)]
    fn f32(bencher: Bencher<'_, '_>, sequences: usize) {
        decode(bencher, sequences, Dtype::F32);
    }

    #[divan::bench(args = SEQUENCES)]
    fn bf16(bencher: Bencher<'_, '_>, sequences: usize) {
        decode(bencher, sequences, Dtype::Bf16);
    }

    #[divan::bench(args = SEQUENCES)]
    fn q8(bencher: Bencher<'_, '_>, sequences: usize) {
        decode(bencher, sequences, Dtype::Q8);
    }
}

#[divan::bench_group(sample_count = 10, sample_size = 1)]
mod prefill {
    use super::{Bencher, Dtype, prefill};

    #[divan::bench]
    fn f32(bencher: Bencher<'_, '_>) {
        prefill(bencher, Dtype::F32);
    }

    #[divan::bench]
    fn bf16(bencher: Bencher<'_, '_>) {
        prefill(bencher, Dtype::Bf16);
    }

    #[divan::bench]
    fn q8(bencher: Bencher<'_, '_>) {
        prefill(bencher, Dtype::Q8);
    }
}
