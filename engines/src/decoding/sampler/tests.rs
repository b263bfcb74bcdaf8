use candle_core::{Device, Tensor};
use candle_transformers::generation::{LogitsProcessor, Sampling as Oracle};
use proptest::prelude::*;

use super::*;

fn draws(settings: &Sampling, logits: &[f32], seeds: std::ops::Range<u64>) -> Vec<TokenId> {
    seeds.map(|seed| Sampler::new(settings.clone(), seed, &[]).choose(&mut logits.to_vec()).unwrap()).collect()
}

/// How often each of `width` tokens was drawn.
fn frequencies(tokens: &[TokenId], width: usize) -> Vec<f64> {
    let mut counts = vec![0.0; width];
    tokens.iter().for_each(|&token| counts[token as usize] += 1.0 / tokens.len() as f64);
    counts
}

const LOGITS: [f32; 8] = [0.5, 2.0, -1.0, 1.5, 0.0, 2.2, -3.0, 1.0];

/// Both samplers draw from the same distribution: the same tokens are possible, and each is about as frequent.
fn check_against_oracle(settings: &Sampling, oracle: Oracle) {
    const RUNS: u64 = 20_000;
    let ours = frequencies(&draws(settings, &LOGITS, 0..RUNS), LOGITS.len());
    let tensor = Tensor::new(&LOGITS, &Device::Cpu).unwrap();
    let mut processor = LogitsProcessor::from_sampling(7, oracle);
    let theirs: Vec<TokenId> = (0..RUNS).map(|_| processor.sample(&tensor).unwrap()).collect();
    let theirs = frequencies(&theirs, LOGITS.len());
    for (id, (ours, theirs)) in ours.iter().zip(&theirs).enumerate() {
        assert_eq!(*ours > 0.0, *theirs > 0.0, "token {id} is possible in one only: {ours} {theirs}");
        // Six standard deviations of the difference between two such frequencies at worst.
        assert!((ours - theirs).abs() < 0.03, "token {id}: {ours} against {theirs}");
    }
}

#[test]
fn greedy_takes_what_candle_takes() {
    let mut processor = LogitsProcessor::from_sampling(0, Oracle::ArgMax);
    let theirs = processor.sample(&Tensor::new(&LOGITS, &Device::Cpu).unwrap()).unwrap();
    assert_eq!(draws(&Sampling::greedy(), &LOGITS, 0..3), [theirs; 3]);
}

#[test]
fn temperature_draws_as_candle_does() {
    check_against_oracle(&Sampling { temperature: 0.7, ..Sampling::default() }, Oracle::All { temperature: 0.7 });
}

#[test]
fn top_k_draws_as_candle_does() {
    check_against_oracle(&Sampling { top_k: 3, ..Sampling::default() }, Oracle::TopK { k: 3, temperature: 1.0 });
}

#[test]
fn top_p_draws_as_candle_does() {
    check_against_oracle(&Sampling { top_p: 0.75, ..Sampling::default() }, Oracle::TopP { p: 0.75, temperature: 1.0 });
}

#[test]
fn top_p_counts_within_top_k_as_transformers_does() {
    // Of the two tokens that top-k leaves, the first alone holds 0.55 of their probability, and 0.33 of all.
    let settings = Sampling { top_k: 2, top_p: 0.5, ..Sampling::default() };
    assert_eq!(draws(&settings, &LOGITS, 0..50), [5; 50]);
}

#[test]
fn min_p_keeps_what_is_likely_enough() {
    // exp(1.5 - 2.2) = 0.497, exp(1.0 - 2.2) = 0.30.
    let tokens = draws(&Sampling { min_p: 0.4, ..Sampling::default() }, &LOGITS, 0..500);
    let possible: std::collections::BTreeSet<TokenId> = tokens.into_iter().collect();
    assert_eq!(possible, [1, 3, 5].into());
}

#[test]
fn repetition_penalty_counts_prompt_and_output_once() {
    let settings = Sampling { repetition_penalty: 2.0, temperature: 0.0, ..Sampling::default() };
    let mut sampler = Sampler::new(settings, 0, &[5, 5, 2]);
    let mut logits = LOGITS;
    assert_eq!(sampler.choose(&mut logits).unwrap(), 1);
    assert_eq!((logits[5], logits[2]), (1.1, -2.0));
    // Now token 1 counts too: 2.0 / 2 leaves 1.5 of token 3 in front.
    assert_eq!(sampler.choose(&mut LOGITS.clone()).unwrap(), 3);
}

#[test]
fn presence_and_frequency_count_the_output_alone() {
    let settings = Sampling { presence_penalty: 0.1, frequency_penalty: 0.2, temperature: 0.0, ..Sampling::default() };
    let mut sampler = Sampler::new(settings, 0, &[5]);
    assert_eq!(sampler.choose(&mut LOGITS.clone()).unwrap(), 5, "the prompt doesn't count");
    let mut logits = LOGITS;
    assert_eq!(sampler.choose(&mut logits).unwrap(), 1);
    assert!((logits[5] - (2.2 - 0.3)).abs() < 1e-6, "{}", logits[5]);
}

#[test]
fn a_bias_forbids_a_token() {
    let settings = Sampling { logit_bias: vec![(5, -100.0)], ..Sampling::greedy() };
    assert_eq!(draws(&settings, &LOGITS, 0..1), [1]);
}

#[test]
fn logits_that_are_no_numbers_are_an_error() {
    for broken in [f32::NAN, f32::INFINITY] {
        let mut logits = LOGITS;
        logits[3] = broken;
        assert!(Sampler::new(Sampling::default(), 0, &[]).choose(&mut logits).is_err());
    }
}

#[test]
fn the_same_seed_draws_the_same_tokens_on_every_version() {
    let tokens = draws(&Sampling::default(), &LOGITS, 0..16);
    assert_eq!(tokens, draws(&Sampling::default(), &LOGITS, 0..16));
    assert_eq!(tokens, GOLDEN, "a change here breaks the replay of every logged interaction");
}

const GOLDEN: [TokenId; 16] = [1, 7, 7, 4, 3, 5, 5, 5, 0, 5, 3, 5, 5, 2, 3, 7];

proptest! {
    #[test]
    fn candidates_are_those_of_a_full_sort(logits in prop::collection::vec(-4i8..4, 1..600), count in 1usize..700) {
        let logits: Vec<f32> = logits.into_iter().map(f32::from).collect();
        let mut sorted: Vec<(TokenId, f32)> = logits.iter().enumerate().map(|(id, &logit)| (id as TokenId, logit)).collect();
        sorted.sort_by(|a, b| b.1.total_cmp(&a.1));
        sorted.truncate(count);
        prop_assert_eq!(largest(&logits, count), sorted);
    }

    #[test]
    fn a_wide_nucleus_is_found_however_many_candidates_it_takes(width in 1usize..3000, top_p in 0.01f32..1.0, seed in any::<u64>()) {
        // Nearly equal tokens: the nucleus is the first `top_p` of them.
        let mut logits: Vec<f32> = (0..width).map(|id| -(id as f32) * 1e-5).collect();
        let settings = Sampling { top_p, ..Sampling::default() };
        let token = Sampler::new(settings, seed, &[]).choose(&mut logits).unwrap();
        prop_assert!((token as f32) < (width as f32 * top_p).ceil() + 1.0);
    }
}
