//! What is wrong with a configuration, in words for whoever wrote it.

use std::fmt;

use super::place::{Excerpt, Place};
use crate::nearest::nearest;

/// A configuration that can't be used. Displays one problem a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    problems: Vec<Problem>,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where it stands: `config.toml:3:10`, `environment variable MINIVAULTD_ENGINE`, `--listen`, `default`.
    pub place: String,
    /// The key, the value seen, and what is allowed.
    pub message: String,
    excerpt: Option<Excerpt>,
}

impl Problem {
    pub(super) fn new(place: impl Into<Place>, message: impl Into<String>) -> Self {
        let (place, excerpt) = place.into().into_parts();
        Self { place, message: message.into(), excerpt }
    }

    /// The line of the file, where there is one that may be shown.
    pub(super) fn excerpt(&self) -> Option<&Excerpt> {
        self.excerpt.as_ref()
    }
}

impl ConfigError {
    pub(super) fn new(problems: Vec<Problem>) -> Self {
        Self { problems }
    }

    /// What is wrong; at least one thing.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }
}

impl From<Problem> for ConfigError {
    fn from(problem: Problem) -> Self {
        Self { problems: vec![problem] }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.place, self.message)
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(formatter, "{separator}{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

/// `; did you mean X?` where there is a suggestion, else `; LABEL: a, b, c`.
pub(super) fn hint<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>, label: &str) -> String {
    let mut candidates: Vec<&str> = candidates.into_iter().collect();
    candidates.sort_unstable();
    match nearest(name, candidates.iter().copied()) {
        Some(near) => format!("; did you mean `{near}`?"),
        None if candidates.is_empty() => format!("; {label}: none"),
        None => format!("; {label}: {}", candidates.join(", ")),
    }
}
