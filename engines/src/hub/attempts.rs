//! Places that were tried in vain, and what to do about it.

use std::fmt::Display;
use std::path::Path;

use crate::error::EngineError;

/// Why one place didn't have the model.
#[derive(Debug, Clone)]
pub(super) struct Miss {
    problem: String,
    advice: Option<String>,
}

/// What one place had.
pub(super) type Attempt<T> = Result<T, Miss>;

impl Miss {
    pub(super) fn new(problem: impl Into<String>) -> Self {
        Self { problem: problem.into(), advice: None }
    }

    /// Something went wrong with a file or folder.
    pub(super) fn disk(doing: &str, path: &Path, error: impl Display) -> Self {
        Self::new(format!("can't {doing} {}: {error}", path.display()))
    }

    /// What a person can do about it, as the end of a sentence that begins with "What helps:".
    pub(super) fn advise(mut self, advice: impl Into<String>) -> Self {
        self.advice = Some(advice.into());
        self
    }
}

/// The places tried so far, in order.
#[derive(Debug)]
pub(super) struct Attempts {
    model: String,
    places: Vec<String>,
    advice: Vec<String>,
}

impl Attempts {
    pub(super) fn new(model: &str) -> Self {
        Self { model: model.to_owned(), places: Vec::new(), advice: Vec::new() }
    }

    pub(super) fn add(&mut self, place: impl Display, miss: Miss) {
        self.places.push(format!("{place}: {}", miss.problem));
        if let Some(advice) = miss.advice {
            self.advise(advice);
        }
    }

    pub(super) fn advise(&mut self, advice: impl Into<String>) {
        let advice = advice.into();
        if !self.advice.contains(&advice) {
            self.advice.push(advice);
        }
    }

    /// The whole story for whoever configured the model.
    pub(super) fn into_error(self) -> EngineError {
        let Self { model, places, advice } = self;
        let mut message = format!("the model `{model}` can't be had");
        match places.as_slice() {
            [] => {}
            [only] => message.push_str(&format!(": {only}")),
            several => {
                message.push_str("\ntried, in order:");
                several.iter().for_each(|place| message.push_str(&format!("\n  - {place}")));
            }
        }
        if !advice.is_empty() {
            let separator = if places.len() > 1 { "\n" } else { ". " };
            message.push_str(&format!("{separator}What helps: {}", advice.join("; or ")));
        }
        EngineError::Unavailable(message)
    }
}
