use candle_core::{Device, Tensor};
use candle_transformers::generation::{LogitsProcessor, Sampling as Oracle};
use proptest::prelude::*;

use super::super::blocks::{Blocks, Candidates};
use super::*;

fn draws(settings: &Sampling, logits: &[f32], seeds: std::ops::Range<u64>) -> Vec<TokenId> {
    seeds.map(|seed| Sampler::new(settings.clone(), seed, &[]).choose(&mut logits.to_vec(), &mut Scratch::default()).unwrap()).collect()
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
    assert_eq!(sampler.choose(&mut logits, &mut Scratch::default()).unwrap(), 1);
    assert_eq!((logits[5], logits[2]), (1.1, -2.0));
    // Now token 1 counts too: 2.0 / 2 leaves 1.5 of token 3 in front.
    assert_eq!(sampler.choose(&mut LOGITS.clone(), &mut Scratch::default()).unwrap(), 3);
}

#[test]
fn presence_and_frequency_count_the_output_alone() {
    let settings = Sampling { presence_penalty: 0.1, frequency_penalty: 0.2, temperature: 0.0, ..Sampling::default() };
    let mut sampler = Sampler::new(settings, 0, &[5]);
    assert_eq!(sampler.choose(&mut LOGITS.clone(), &mut Scratch::default()).unwrap(), 5, "the prompt doesn't count");
    let mut logits = LOGITS;
    assert_eq!(sampler.choose(&mut logits, &mut Scratch::default()).unwrap(), 1);
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
        assert!(Sampler::new(Sampling::default(), 0, &[]).choose(&mut logits, &mut Scratch::default()).is_err());
    }
}

#[test]
fn the_same_seed_draws_the_same_tokens_on_every_version() {
    let tokens = draws(&Sampling::default(), &LOGITS, 0..16);
    assert_eq!(tokens, draws(&Sampling::default(), &LOGITS, 0..16));
    assert_eq!(tokens, GOLDEN, "a change here breaks the replay of every logged interaction");
}

const GOLDEN: [TokenId; 16] = [1, 7, 7, 4, 3, 5, 5, 5, 0, 5, 3, 5, 5, 2, 3, 7];

/// The `count` largest logits, largest first; of equals the first one first.
fn largest(logits: &[f32], count: usize) -> Vec<(TokenId, f32)> {
    let (mut blocks, mut candidates) = (Blocks::default(), Candidates::default());
    blocks.read(logits).unwrap();
    blocks.largest(logits, count, &mut candidates);
    candidates.iter_from(0).collect()
}

#[test]
fn log_probabilities_add_up_and_the_likeliest_comes_first() {
    let logits = [1.0, 3.0, 2.0, -1.0];
    let settings = Sampling { logit_bias: vec![(1, -50.0)], repetition_penalty: 1.5, ..Sampling::greedy() };
    let (chosen, found) = Sampler::new(settings, 0, &[3]).choose_with_logprobs(&mut logits.clone(), 4, &mut Scratch::default()).unwrap();
    let total: f32 = found.top.iter().map(|(_, logprob)| logprob.exp()).sum();
    assert!((total - 1.0).abs() < 1e-6, "{total}");
    assert_eq!(found.top.iter().map(|&(id, _)| id).collect::<Vec<_>>(), [1, 2, 0, 3]);
    assert_eq!((chosen, found.chosen), (2, found.top[1].1), "what the model thought, whatever was forbidden");
}

#[test]
fn a_shifted_token_is_told_with_the_probability_that_the_model_gave_it() {
    let settings = Sampling { logit_bias: vec![(2, 9.0), (2, 1.0)], presence_penalty: 0.5, ..Sampling::greedy() };
    let mut sampler = Sampler::new(settings, 0, &[]);
    for _ in 0..2 {
        let (chosen, found) = sampler.choose_with_logprobs(&mut [1.0, 3.0, 2.0, -1.0], 2, &mut Scratch::default()).unwrap();
        assert_eq!((chosen, found.chosen), (2, found.top[1].1));
    }
}

#[test]
fn the_draw_is_told_as_often_as_it_comes() {
    const RUNS: usize = 20_000;
    for settings in [
        Sampling::default(),
        Sampling { temperature: 0.7, top_k: 4, ..Sampling::default() },
        Sampling { temperature: 1.5, top_p: 0.8, logit_bias: vec![(3, 2.0)], ..Sampling::default() },
        Sampling { min_p: 0.3, ..Sampling::default() },
    ] {
        let mut sampler = Sampler::new(settings.clone(), 1, &[]).telling_the_draw(true);
        let drawn: Vec<(TokenId, Logprobs)> =
            (0..RUNS).map(|_| sampler.choose_with_logprobs(&mut LOGITS.clone(), 8, &mut Scratch::default()).unwrap()).collect();
        let often = frequencies(&drawn.iter().map(|(id, _)| *id).collect::<Vec<_>>(), LOGITS.len());
        let top = &drawn[0].1.top;
        let total: f32 = top.iter().map(|(_, logprob)| logprob.exp()).sum();
        assert!((total - 1.0).abs() < 1e-5, "{settings:?}: {total}");
        assert!(top.is_sorted_by(|a, b| a.1 >= b.1), "{top:?}");
        for &(id, logprob) in top {
            assert!((f64::from(logprob.exp()) - often[id as usize]).abs() < 0.015, "{settings:?}, token {id}: {logprob} and {often:?}");
        }
        assert!(often.iter().enumerate().all(|(id, &share)| share == 0.0 || top.iter().any(|&(other, _)| other as usize == id)));
        for (id, told) in drawn {
            assert_eq!(Some(told.chosen), told.top.iter().find(|(other, _)| *other == id).map(|(_, logprob)| *logprob));
        }
    }
    let (chosen, told) = Sampler::new(Sampling::greedy(), 1, &[])
        .telling_the_draw(true)
        .choose_with_logprobs(&mut LOGITS.clone(), 3, &mut Scratch::default())
        .unwrap();
    assert_eq!((chosen, told), (5, certain(5)));
}

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
        let token = Sampler::new(settings, seed, &[]).choose(&mut logits, &mut Scratch::default()).unwrap();
        prop_assert!((token as f32) < (width as f32 * top_p).ceil() + 1.0);
    }

    #[test]
    fn the_token_is_the_one_that_a_full_sort_would_give(
        (logits, shifted) in (prop_oneof![1usize..40, 60usize..70, 120usize..140, 900usize..1100]).prop_flat_map(|width| {
            let coarse = prop::collection::vec((-8i8..8).prop_map(|logit| f32::from(logit) / 2.0), width);
            let fine = prop::collection::vec(-12.0f32..4.0, width);
            let holes = prop::collection::vec(prop_oneof![4 => -3.0f32..3.0, 1 => Just(f32::NEG_INFINITY), 1 => Just(-0.0), 1 => Just(0.0)], width);
            (prop_oneof![coarse, fine, holes], prop::collection::vec(0..width as TokenId + 2, 0..width.min(60)))
        }),
        temperature in prop_oneof![Just(0.0), Just(1.0), 0.05f32..3.0],
        top_k in prop_oneof![Just(0), 1usize..80, Just(1000)],
        top_p in prop_oneof![Just(1.0), 0.01f32..1.0],
        min_p in prop_oneof![Just(0.0), 0.001f32..1.0],
        (repetition_penalty, presence_penalty, bias) in (prop_oneof![Just(1.0), 0.5f32..2.0], prop_oneof![Just(0.0), -2.0f32..2.0], -9.0f32..9.0),
        seed in any::<u64>(),
    ) {
        prop_assume!(logits.iter().any(|logit| logit.is_finite()));
        let (biased, prompt) = shifted.split_at(shifted.len() / 3);
        let logit_bias = biased.iter().map(|&id| (id, bias)).collect();
        let settings = Sampling { logit_bias, temperature, top_k, top_p, min_p, repetition_penalty, presence_penalty, seed: None, ..Sampling::default() };
        let mut sampler = Sampler::new(settings.clone(), seed, prompt);
        let mut plain = plain::Plain::new(settings.clone(), seed, prompt);
        // As another sequence has left it.
        let mut scratch = Scratch::default();
        let mut other: Vec<f32> = (0..200).map(|id| (id % 17) as f32).collect();
        Sampler::new(settings, seed, &[3, 199]).choose_with_logprobs(&mut other, 9, &mut scratch).unwrap();
        for _ in 0..6 {
            prop_assert_eq!(sampler.choose(&mut logits.clone(), &mut scratch).unwrap(), plain.choose(&mut logits.clone()));
        }
    }
}

/// The same choice the long way: every logit weighed, all candidates sorted.
mod plain {
    use super::*;

    pub struct Plain {
        settings: Sampling,
        random: ChaCha12Rng,
        seen: HashMap<TokenId, u32>,
    }

    impl Plain {
        pub fn new(settings: Sampling, seed: u64, prompt: &[TokenId]) -> Self {
            let Sampler { settings, random, seen, .. } = Sampler::new(settings, seed, prompt);
            Self { settings, random, seen }
        }

        pub fn choose(&mut self, logits: &mut [f32]) -> TokenId {
            let Sampling { temperature, top_k, top_p, min_p, repetition_penalty, presence_penalty, .. } = self.settings;
            for &(id, bias) in &self.settings.logit_bias {
                if let Some(logit) = logits.get_mut(id as usize) {
                    *logit += bias;
                }
            }
            for (&id, &count) in &self.seen {
                let Some(logit) = logits.get_mut(id as usize) else { continue };
                *logit = if *logit < 0.0 { *logit * repetition_penalty } else { *logit / repetition_penalty };
                *logit -= if count > 0 { presence_penalty } else { 0.0 };
                *logit = logit.clamp(f32::MIN, f32::MAX);
            }
            let maximum = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let mut chosen = logits.iter().position(|&logit| logit == maximum).unwrap() as TokenId;
            if temperature > 0.0 {
                let uniform = (self.random.next_u64() >> 11) as f64 * (1.0 / (1u64 << 53) as f64);
                let mut tokens: Vec<(TokenId, f32)> = (0..).zip(logits.iter().copied()).collect();
                let limited = top_k > 0 && top_k < logits.len();
                if limited || top_p < 1.0 || min_p > 0.0 {
                    tokens.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
                }
                tokens.truncate(if limited { top_k } else { logits.len() });
                let weigh = |(id, logit): (TokenId, f32)| (id, f64::from((logit - maximum) / temperature).exp());
                let mut shares: Vec<(TokenId, f64)> = tokens.into_iter().map(weigh).collect();
                let enough = f64::from(top_p) * shares.iter().map(|share| share.1).sum::<f64>();
                let reached = |end: usize| shares[..end].iter().map(|share| share.1).sum::<f64>() >= enough;
                let nucleus = if top_p < 1.0 { (1..shares.len()).find(|&end| reached(end)) } else { None }.unwrap_or(shares.len());
                shares.truncate(nucleus);
                shares.retain(|share| share.1 >= f64::from(min_p));
                chosen = pick(uniform, &shares);
            }
            if self.settings.repetition_penalty != 1.0 || self.settings.presence_penalty != 0.0 {
                *self.seen.entry(chosen).or_insert(0) += 1;
            }
            chosen
        }
    }
}
