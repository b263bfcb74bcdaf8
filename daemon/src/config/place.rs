//! Where something stands in the configuration, for a person to find it, and the line to show them.

use std::fmt;
use std::ops::Range;

/// A source, or a spot in one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// `config.toml:3:10`, `environment variable MINIVAULTD_ENGINE`, `--listen`, `default`.
    name: String,
    excerpt: Option<Excerpt>,
}

/// A line of a file, as much of it as anybody may see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Excerpt {
    /// The file.
    pub file: String,
    /// The line's number, from 1.
    pub line: usize,
    /// What it says.
    pub text: String,
    /// What is meant, in bytes of it.
    pub marked: Range<usize>,
}

impl Place {
    /// A spot in a file, shown by a line of it, or not where that could tell a secret.
    pub fn in_file(name: String, excerpt: Option<Excerpt>) -> Self {
        Self { name, excerpt }
    }

    /// The same spot, without the line.
    pub fn without_excerpt(self) -> Self {
        Self { excerpt: None, ..self }
    }

    /// Its name and the line.
    pub fn into_parts(self) -> (String, Option<Excerpt>) {
        (self.name, self.excerpt)
    }

    /// Whether nobody has written it.
    pub fn is_default(&self) -> bool {
        self.name == "default"
    }
}

impl<T: fmt::Display> From<T> for Place {
    fn from(name: T) -> Self {
        Self { name: name.to_string(), excerpt: None }
    }
}
