//! What rows of logits say of a text, and how far two of them are apart. All logarithms are natural.

use anyhow::ensure;
use minivault_engines::TokenId;

/// How surprising an engine finds a text.
#[derive(Debug, Clone, Default)]
pub struct Surprise {
    tokens: usize,
    nats: f64,
}

impl Surprise {
    /// A token, and the logits before it.
    pub fn add(&mut self, row: &[f32], token: TokenId) -> anyhow::Result<()> {
        let logit = row.get(token as usize);
        ensure!(logit.is_some(), "token {token} is outside of the {} logits", row.len());
        self.tokens += 1;
        self.nats += logarithm_of_sum(row) - f64::from(row[token as usize]);
        Ok(())
    }

    /// Tokens so far.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// Among how many equally likely tokens the engine would have had to choose, on average.
    pub fn perplexity(&self) -> f64 {
        (self.nats / self.tokens as f64).exp()
    }
}

/// How far an engine's choices are from a reference's.
#[derive(Debug, Clone, Default)]
pub struct Divergence {
    agreed: usize,
    /// The Kullback-Leibler divergence of each token: what it costs to take the engine's distribution for the reference's.
    nats: Vec<f64>,
}

impl Divergence {
    /// Both rows of logits before one token.
    pub fn add(&mut self, row: &[f32], reference: &[f32]) -> anyhow::Result<()> {
        ensure!(
            row.len() == reference.len(),
            "the vocabularies have {} and {} tokens, so the engines can't be compared",
            row.len(),
            reference.len()
        );
        self.agreed += usize::from(most_likely(row) == most_likely(reference));
        let (sum, reference_sum) = (logarithm_of_sum(row), logarithm_of_sum(reference));
        let part = |(&logit, &reference): (&f32, &f32)| {
            let likelihood = f64::from(reference) - reference_sum;
            let share = f64::from((likelihood as f32).exp());
            // What the reference rules out costs nothing.
            if share == 0.0 { 0.0 } else { share * (likelihood - (f64::from(logit) - sum)) }
        };
        // Rounding may leave it a little below its bound.
        self.nats.push(row.iter().zip(reference).map(part).sum::<f64>().max(0.0));
        Ok(())
    }

    /// The share of tokens for which both find the same one most likely.
    pub fn agreement(&self) -> f64 {
        self.agreed as f64 / self.nats.len() as f64
    }

    /// Nats a token, on average.
    pub fn mean(&self) -> f64 {
        self.nats.iter().sum::<f64>() / self.nats.len() as f64
    }

    /// Nats that this share of the tokens doesn't exceed.
    pub fn quantile(&self, share: f64) -> f64 {
        let mut sorted = self.nats.clone();
        sorted.sort_by(f64::total_cmp);
        let place = (share * sorted.len() as f64).ceil() as usize;
        sorted.get(place.saturating_sub(1)).copied().unwrap_or(f64::NAN)
    }
}

/// ln Σ exp, with the largest taken out so that nothing overflows.
fn logarithm_of_sum(row: &[f32]) -> f64 {
    let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = row.iter().map(|logit| f64::from((logit - largest).exp())).sum();
    f64::from(largest) + sum.ln()
}

/// The first of the largest.
fn most_likely(row: &[f32]) -> usize {
    row.iter().enumerate().fold(0, |best, (place, logit)| if *logit > row[best] { place } else { best })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn logarithms(shares: &[f32]) -> Vec<f32> {
        // A constant more or less changes nothing.
        shares.iter().map(|share| share.ln() + 3.0).collect()
    }

    fn check(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-6, "{found} instead of {expected}");
    }

    #[test]
    fn perplexity_is_the_number_of_equally_likely_tokens() {
        let mut surprise = Surprise::default();
        surprise.add(&[1.5; 7], 3).unwrap();
        check(surprise.perplexity(), 7.0);
        surprise.add(&logarithms(&[0.5, 0.25, 0.25]), 0).unwrap();
        check(surprise.perplexity(), 14.0_f64.sqrt());
        assert_eq!(surprise.tokens(), 2);
        assert!(surprise.add(&[1.0; 3], 3).is_err());
    }

    #[test]
    fn divergence_is_what_the_wrong_distribution_costs() {
        let mut divergence = Divergence::default();
        divergence.add(&logarithms(&[0.25, 0.75]), &logarithms(&[0.5, 0.5])).unwrap();
        check(divergence.mean(), 0.5 * (0.5_f64 / 0.25).ln() + 0.5 * (0.5_f64 / 0.75).ln());
        check(divergence.agreement(), 0.0);
        divergence.add(&[f32::NEG_INFINITY, 2.0], &[f32::NEG_INFINITY, 40.0]).unwrap();
        check(divergence.agreement(), 0.5);
        check(divergence.quantile(0.5), 0.0);
        check(divergence.quantile(0.99), 2.0 * divergence.mean());
    }

    #[test]
    fn the_same_logits_are_no_distance_apart() {
        let row: Vec<f32> = (0..1000).map(|place| ((place * 7919) % 1000) as f32 / 100.0).collect();
        let mut divergence = Divergence::default();
        divergence.add(&row, &row).unwrap();
        assert_eq!((divergence.mean(), divergence.agreement()), (0.0, 1.0));
    }

    #[test]
    fn unlike_vocabularies_are_refused() {
        let error = Divergence::default().add(&[1.0; 3], &[1.0; 4]).unwrap_err();
        assert_eq!(error.to_string(), "the vocabularies have 3 and 4 tokens, so the engines can't be compared");
    }
}
