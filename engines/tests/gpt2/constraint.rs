//! Grammars over byte-level BPE: tokens that hold parts of characters, quotes and brackets together, many ways to spell the same.

use std::sync::Arc;
use std::time::{Duration, Instant};

use minivault_engines::decoding::constraint::Grammars;
use minivault_engines::decoding::{Sampler, Scratch};
use minivault_engines::model::Vocabulary;
use minivault_engines::testkit::random_schema;
use minivault_engines::{Constraint, Sampling};
use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use serde_json::Value;

use crate::support::{load, path_from_environment};
use crate::vocabulary::of_gpt2;

/// Answers a schema with a model that thinks any token about as likely as another, in no more than `room` tokens beyond the fewest.
fn babble(vocabulary: &dyn Vocabulary, grammars: &Grammars, schema: &Value, seed: u64, room: usize, spent: &mut Spent) -> String {
    let begin = Instant::now();
    let mut matcher = grammars.compile(&Constraint::JsonSchema(schema.clone())).unwrap();
    spent.compiling = spent.compiling.max(begin.elapsed());
    let mut noise = ChaCha12Rng::seed_from_u64(seed);
    let mut sampler = Sampler::new(Sampling { top_p: 0.95, ..Sampling::default() }, seed, &[]);
    let mut bytes = Vec::new();
    let shortest = matcher.shortest().unwrap_or_else(|| panic!("no end for {schema}"));
    for left in (0..shortest + room).rev() {
        let mut logits: Vec<f32> = (0..vocabulary.size()).map(|_| (noise.next_u32() >> 8) as f32 / 2e6).collect();
        let begin = Instant::now();
        matcher.prepare().unwrap();
        let masked = Instant::now();
        let (token, _) = sampler.choose_allowed(&mut logits, None, &mut matcher, left, &mut Scratch::default()).unwrap();
        spent.masks.push(masked - begin);
        spent.choices.push(masked.elapsed());
        if vocabulary.end_tokens().contains(&token) {
            break;
        }
        vocabulary.push_bytes(token, &mut bytes);
        if matcher.is_over() {
            break;
        }
    }
    String::from_utf8(bytes).unwrap()
}

#[derive(Default)]
struct Spent {
    compiling: Duration,
    masks: Vec<Duration>,
    choices: Vec<Duration>,
}

impl Spent {
    fn tell(mut self, name: &str) {
        let middle_and_most = |times: &mut Vec<Duration>| {
            times.sort_unstable();
            (times[times.len() / 2], times[times.len() * 99 / 100], times[times.len() - 1])
        };
        println!(
            "{name}: {} tokens; compiling at most {:?}; a mask (median, 99 %, most) {:?}; a choice {:?}",
            self.masks.len(),
            self.compiling,
            middle_and_most(&mut self.masks),
            middle_and_most(&mut self.choices),
        );
    }
}

#[allow(clippy::needless_pass_by_value)] // It is nobody else's.
fn check(name: &str, vocabulary: Arc<dyn Vocabulary>, schemas: std::ops::Range<u64>) {
    let grammars = Grammars::new(vocabulary.clone());
    grammars.compile(&Constraint::JsonObject).unwrap();
    let mut spent = Spent::default();
    for seed in schemas {
        let schema = random_schema(seed);
        for room in [0, 2, 30] {
            let answer = babble(&*vocabulary, &grammars, &schema, seed, room, &mut spent);
            let parsed: Value =
                serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{seed}, {room}: {error}: {answer} for {schema}"));
            assert!(jsonschema::is_valid(&schema, &parsed), "{seed}, {room}: {answer} for {schema}");
        }
    }
    spent.tell(name);
}

#[test]
fn random_schemas_are_followed_in_gpt2s_tokens() {
    if let Some(vocabulary) = of_gpt2() {
        check("gpt2", vocabulary, 0..40);
    }
}

#[test]
fn random_schemas_are_followed_in_tarotbles_tokens() {
    if let Some(folder) = path_from_environment("MINIVAULT_TEST_TAROTBLE") {
        check("tarotble", load(&folder).unwrap().vocabulary, 0..60);
    }
}
