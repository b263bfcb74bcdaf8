//! Prompts: English-looking text of a wanted number of GPT-2's tokens.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::places::Places;

/// Words that are one token each, with the space before them.
pub struct Words(Vec<String>);

impl Words {
    /// From the tokenizer that lies beside the weights.
    ///
    /// # Errors
    /// It isn't there, or is none.
    pub fn read(places: &Places) -> Result<Self> {
        let tokenizer: Value = serde_json::from_slice(&std::fs::read(places.gpt2()?.join("tokenizer.json"))?)?;
        let vocabulary = tokenizer.pointer("/model/vocab").and_then(Value::as_object).context("the tokenizer has no vocabulary")?;
        // GPT-2 spells the space as Ġ. Words before number 10,000 are common ones, which other vocabularies have, too.
        let common = |number: &Value| number.as_u64().is_some_and(|number| number < 10_000);
        let words = vocabulary.iter().filter(|(_, number)| common(number)).filter_map(|(token, _)| token.strip_prefix('Ġ'));
        let mut words: Vec<String> =
            words.filter(|word| word.len() > 3 && word.bytes().all(|b| b.is_ascii_lowercase())).map(ToOwned::to_owned).collect();
        words.sort_unstable();
        ensure!(words.len() > 1000, "the tokenizer has {} words only", words.len());
        Ok(Self(words))
    }

    /// A text of so many tokens; another one for each seed.
    pub fn text(&self, tokens: usize, seed: u64) -> String {
        // SplitMix64: two lines, and the same text everywhere.
        let mut state = seed;
        let mut text = String::new();
        for _ in 0..tokens {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            text.push(' ');
            text.push_str(&self.0[((mixed ^ (mixed >> 31)) % self.0.len() as u64) as usize]);
        }
        text
    }
}
