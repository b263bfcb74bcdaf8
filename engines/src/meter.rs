//! What an engine's steps have been: counted where they are computed, read by whoever looks after the engine.

use serde::{Deserialize, Serialize};

/// Upper bounds of [`Measured::widths`], in sequences; what is wider comes last.
pub const WIDTHS: [f64; 8] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0];
/// Upper bounds of [`Measured::waits`], in seconds; what took longer comes last.
pub const WAITS: [f64; 14] = [0.001, 0.005, 0.01, 0.05, 0.1, 0.3, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 240.0];

/// What an engine has done since it was loaded. An engine that can't tell has counted nothing.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// How many sequences each step fed; steps are its count.
    pub widths: Counts,
    /// How long requests waited for their slot, in seconds.
    pub waits: Counts,
}

/// Values counted by their size.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Counts {
    /// How many are at most as large as each bound and larger than the one before, and one more for those beyond; empty before the first value.
    pub counts: Vec<u64>,
    /// All values together.
    pub sum: f64,
}

impl Counts {
    pub(crate) fn add(&mut self, bounds: &[f64], value: f64) {
        self.counts.resize(bounds.len() + 1, 0);
        self.counts[bounds.partition_point(|bound| *bound < value)] += 1;
        self.sum += value;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_counts_where_it_fits() {
        let mut counts = Counts::default();
        [0.5, 1.0, 1.5, 128.0, 1000.0].iter().for_each(|value| counts.add(&WIDTHS, *value));
        assert_eq!(counts.counts, [2, 1, 0, 0, 0, 0, 0, 1, 1]);
        assert!((counts.sum - 1131.0).abs() < 1e-9);
    }
}
