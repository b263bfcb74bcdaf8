//! One row of the table: ours beside a peer's.

use anyhow::Error;
use serde::{Deserialize, Serialize};

use crate::turns::{Reached, median};

/// Which of two values is the better one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Better {
    /// Tokens per second.
    More,
    /// Time and memory.
    Less,
}

/// A row as `summary.json` has it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// What was measured.
    pub what: String,
    /// Of both values.
    pub unit: String,
    /// Our median; `None` where it couldn't be measured.
    pub ours: Option<f64>,
    /// Who stands beside us.
    pub peer: String,
    /// Their median.
    pub theirs: Option<f64>,
    /// Above 1 means ours is better, also for times and memory.
    pub ratio: Option<f64>,
    /// The ratio to reach, where there is one.
    pub goal: Option<f64>,
}

/// A row with all that is known of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// The group that `--only` names.
    pub group: String,
    /// What goes into the summary.
    #[serde(flatten)]
    pub summary: Summary,
    /// The values of each round.
    pub rounds_ours: Vec<f64>,
    /// The values of each round.
    pub rounds_theirs: Vec<f64>,
    /// Why it wasn't measured, or what to know of it.
    pub note: Option<String>,
}

/// What makes a row, before its values are known.
#[derive(Debug, Clone, Copy)]
pub struct Heading<'a> {
    /// The group that `--only` names.
    pub group: &'a str,
    /// What is measured.
    pub what: &'a str,
    /// Of both values.
    pub unit: &'a str,
    /// Which way is up.
    pub better: Better,
}

impl Heading<'_> {
    /// The row of what both sides reached.
    pub fn row(&self, ours: &Reached<f64>, peer: &str, theirs: &Reached<f64>, goal: Option<f64>) -> Row {
        let middle = |reached: &Reached<f64>| reached.as_ref().ok().map(|values| median(values)).filter(|value| value.is_finite());
        let (ours_median, theirs_median) = (middle(ours), middle(theirs));
        let ratio = ours_median.zip(theirs_median).map(|(ours, theirs)| match self.better {
            Better::More => ours / theirs,
            Better::Less => theirs / ours,
        });
        let cause = |side: &str, reached: &Reached<f64>| reached.as_ref().err().map(|cause: &Error| format!("{side}: {cause:#}"));
        let causes: Vec<_> = [cause("MiniVault", ours), cause(peer, theirs)].into_iter().flatten().collect();
        Row {
            group: self.group.to_owned(),
            summary: Summary {
                what: self.what.to_owned(),
                unit: self.unit.to_owned(),
                ours: ours_median.map(rounded),
                peer: peer.to_owned(),
                theirs: theirs_median.map(rounded),
                ratio: ratio.filter(|ratio| ratio.is_finite()).map(rounded),
                goal,
            },
            rounds_ours: ours.as_ref().map(|values| values.iter().copied().map(rounded).collect()).unwrap_or_default(),
            rounds_theirs: theirs.as_ref().map(|values| values.iter().copied().map(rounded).collect()).unwrap_or_default(),
            note: (!causes.is_empty()).then(|| causes.join("; ")),
        }
    }
}

impl Row {
    /// Adds what to know of it.
    pub fn add_note(&mut self, more: &str) {
        self.note = Some(self.note.take().map_or_else(|| more.to_owned(), |note| format!("{note}; {more}")));
    }

    /// The row in one line, for who watches.
    pub fn line(&self) -> String {
        let Summary { what, unit, ours, peer, theirs, ratio, goal } = &self.summary;
        let number = |value: &Option<f64>| value.map_or("–".to_owned(), |value| value.to_string());
        let goal = goal.map_or(String::new(), |goal| format!(", goal {goal}"));
        let note = self.note.as_ref().map_or(String::new(), |note| format!(" ({note})"));
        format!("{what}: {} {unit}, {peer} {}: {}{goal}{note}", number(ours), number(theirs), number(ratio))
    }
}

/// Four significant digits; the machine holds no more.
fn rounded(value: f64) -> f64 {
    if value == 0.0 || !value.is_finite() {
        return value;
    }
    let scale = 10f64.powi(3 - value.abs().log10().floor() as i32);
    (value * scale).round() / scale
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(better: Better, ours: &Reached<f64>, theirs: &Reached<f64>) -> Row {
        Heading { group: "g", what: "w", unit: "u", better }.row(ours, "p", theirs, Some(1.0))
    }

    #[test]
    fn a_ratio_above_one_means_that_ours_is_better() {
        assert_eq!(row(Better::More, &Ok(vec![3.0, 2.0, 1.0]), &Ok(vec![1.0])).summary.ratio, Some(2.0));
        assert_eq!(row(Better::Less, &Ok(vec![1.0]), &Ok(vec![2.0])).summary.ratio, Some(2.0));
    }

    #[test]
    fn what_could_not_be_measured_says_why() {
        let row = row(Better::More, &Ok(vec![1.0]), &Err(anyhow::anyhow!("it isn't there")));
        assert_eq!((row.summary.ours, row.summary.theirs, row.summary.ratio), (Some(1.0), None, None));
        assert_eq!(row.note.as_deref(), Some("p: it isn't there"));
    }

    #[test]
    fn numbers_have_four_digits() {
        assert_eq!([0.000_123_456, 98_765.4, -1.234_56].map(rounded), [0.000_123_5, 98_770.0, -1.235]);
    }
}
