//! Measuring side by side: every round gives each side one turn, so that what the machine does meanwhile meets all of them.

use std::time::Duration;

use anyhow::{Error, Result};

/// The pause between two turns: OpenMP's threads spin for 200 ms after their work, and would spin into the next one's.
const REST: Duration = Duration::from_millis(300);

/// What one side reached in each round, or why it can't.
pub type Reached<T> = Result<Vec<T>>;

/// Lets `measure` take each side's turn, round by round. Who begins changes from round to round. A side that fails once is left out.
pub async fn turn_by_turn<S, T>(
    rounds: usize,
    sides: &mut [S],
    mut measure: impl AsyncFnMut(&mut S, usize) -> Result<T>,
) -> Vec<Reached<T>> {
    let mut reached: Vec<Reached<T>> = sides.iter().map(|_| Ok(Vec::new())).collect();
    for round in 0..rounds {
        for turn in 0..sides.len() {
            let side = (round + turn) % sides.len();
            if let Ok(values) = &mut reached[side] {
                tokio::time::sleep(REST).await;
                match measure(&mut sides[side], round).await {
                    Ok(value) => values.push(value),
                    Err(cause) => reached[side] = Err(cause),
                }
            }
        }
    }
    reached
}

/// One part of what was measured together, for a row of its own.
pub fn part<T>(reached: &Reached<T>, part: impl Fn(&T) -> f64) -> Reached<f64> {
    reached.as_ref().map(|values| values.iter().map(part).collect()).map_err(copy)
}

/// An error to tell once more.
pub fn copy(error: &Error) -> Error {
    anyhow::anyhow!("{error:#}")
}

/// The value that a share of the others doesn't exceed; 0.5 is the median. NaN for none.
pub fn quantile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let Some(last) = sorted.len().checked_sub(1) else { return f64::NAN };
    let place = share * last as f64;
    let (below, above) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
    below + (above - below) * place.fract()
}

/// The middle one.
pub fn median(values: &[f64]) -> f64 {
    quantile(values, 0.5)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_lies_between_its_neighbours() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[1.0, 2.0]), 1.5);
        assert_eq!(quantile(&[0.0, 10.0], 0.99), 9.9);
        assert!(median(&[]).is_nan());
    }
}
