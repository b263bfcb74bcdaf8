//! What a token's choice costs: one row of 50,257 logits shaped as GPT-2's, a copy of the row included (5 us).
//!
//! `cargo bench --workspace --profile dev --bench sampler`: the profile that all else is built in.

use divan::Bencher;
use minivault_engines::decoding::{Sampler, Scratch};
use minivault_engines::{Sampling, TokenId};

const VOCABULARY: usize = 50_257;
const TOKENS: TokenId = 300;

fn main() {
    divan::main();
}

/// A number between -1 and 1, near 0 most often, from a few rounds of a plain generator.
fn noise(state: &mut u64) -> f32 {
    let mut sum = 0.0;
    for _ in 0..4 {
        *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        sum += (*state >> 40) as f32 / (1u64 << 24) as f32 - 0.5;
    }
    sum / 2.0
}

/// Logits around -100, as GPT-2 gives them: most tokens in one heap, one in 250 far above it. The nucleus of 0.95 takes some hundred
/// tokens; with `flat`, some thousand.
fn logits(flat: bool) -> Vec<f32> {
    let mut state = 7;
    let height = if flat { 4.0 } else { 12.0 };
    let mut logit = |id| noise(&mut state) * 6.0 - 100.0 + if id % 250 == 3 { height + 6.0 * noise(&mut state) } else { 0.0 };
    (0..VOCABULARY).map(&mut logit).collect()
}

#[allow(clippy::needless_pass_by_value)] // Each case makes its own.
fn check(bencher: Bencher<'_, '_>, settings: Sampling) {
    check_on(bencher, &settings, &logits(false));
}

fn check_on(bencher: Bencher<'_, '_>, settings: &Sampling, row: &[f32]) {
    // Tokens likely and unlikely, as in a text.
    let prompt: Vec<TokenId> = (0..TOKENS).map(|index| if index % 3 == 0 { index * 167 } else { index * 250 % 50_000 + 3 }).collect();
    // A sampler remembers what it chose, so each run has its own. The memory that all rows share is there after the first choice.
    let (mut work, mut scratch) = (row.to_vec(), Scratch::default());
    bencher.with_inputs(|| Sampler::new(settings.clone(), 7, &prompt)).bench_local_refs(move |sampler| {
        work.copy_from_slice(row);
        sampler.choose(&mut work, &mut scratch).expect("the logits are numbers")
    });
}

#[divan::bench]
fn copy_of_the_row_alone(bencher: Bencher<'_, '_>) {
    let row = logits(false);
    let mut work = row.clone();
    bencher.bench_local(move || {
        work.copy_from_slice(divan::black_box(&row));
        work[7]
    });
}

#[divan::bench]
fn defaults_of_the_daemon(bencher: Bencher<'_, '_>) {
    check(bencher, Sampling { top_k: 50, top_p: 0.95, repetition_penalty: 1.1, ..Sampling::default() });
}

#[divan::bench]
fn greedy(bencher: Bencher<'_, '_>) {
    check(bencher, Sampling::greedy());
}

#[divan::bench]
fn top_p(bencher: Bencher<'_, '_>) {
    check(bencher, Sampling { top_p: 0.95, ..Sampling::default() });
}

#[divan::bench]
fn top_p_of_a_flat_row(bencher: Bencher<'_, '_>) {
    check_on(bencher, &Sampling { top_p: 0.95, ..Sampling::default() }, &logits(true));
}

#[divan::bench]
fn min_p(bencher: Bencher<'_, '_>) {
    check(bencher, Sampling { min_p: 0.05, ..Sampling::default() });
}

#[divan::bench]
fn temperature(bencher: Bencher<'_, '_>) {
    check(bencher, Sampling { temperature: 0.8, ..Sampling::default() });
}

#[divan::bench]
fn greedy_with_logprobs(bencher: Bencher<'_, '_>) {
    let row = logits(false);
    let mut sampler = Sampler::new(Sampling::greedy(), 7, &[]);
    let (mut work, mut scratch) = (row.clone(), Scratch::default());
    bencher.bench_local(move || {
        work.copy_from_slice(&row);
        sampler.choose_with_logprobs(&mut work, 20, &mut scratch).expect("the logits are numbers")
    });
}
