//! What is looked at in a line.

use std::borrow::Cow;

use jiff::Timestamp;
use serde::Deserialize;

use crate::record::{Outcome, TokenUsage};

/// A line's number alone.
#[derive(Deserialize)]
pub(super) struct Numbered {
    #[serde(default)]
    seq: Option<u64>,
}

impl Numbered {
    /// The number of a line; `None` for one that has none or isn't whole.
    pub fn of(line: &[u8]) -> Option<u64> {
        serde_json::from_slice::<Self>(line).ok()?.seq
    }
}

/// What a line says of its interaction, without the texts. Lines of other versions may lack some of it.
#[derive(Debug, Clone, Deserialize)]
pub struct Summary {
    /// When the request arrived.
    #[serde(default)]
    pub timestamp: Option<Timestamp>,
    /// Its place in the log.
    #[serde(default)]
    pub seq: Option<u64>,
    /// Its name.
    #[serde(default)]
    pub id: String,
    /// The engine that answered.
    #[serde(default)]
    pub model: String,
    /// The HTTP status.
    #[serde(default)]
    pub status: Option<u16>,
    /// How it ended.
    #[serde(default)]
    pub finish_reason: Option<Outcome>,
    /// What it took.
    #[serde(default)]
    pub usage: TokenUsage,
    /// Milliseconds to the first token.
    #[serde(default)]
    pub ttft_ms: Option<f64>,
    /// Milliseconds to the end.
    #[serde(default)]
    pub duration_ms: Option<f64>,
}

impl Summary {
    /// `None` for a line that isn't one of a log.
    pub(super) fn of(line: &[u8]) -> Option<Self> {
        serde_json::from_slice(line).ok()
    }

    /// When its line was written, nearly: lines stand in this order, and not in that of their requests' arrival.
    pub(super) fn written(&self) -> Option<Timestamp> {
        let duration = jiff::SignedDuration::from_millis(self.duration_ms.unwrap_or_default() as i64 + 1);
        self.timestamp?.checked_add(duration).ok()
    }
}

/// A line's texts.
#[derive(Deserialize)]
pub(super) struct Texts<'a> {
    #[serde(borrow, default)]
    pub prompt: Cow<'a, str>,
    #[serde(borrow, default)]
    pub response: Cow<'a, str>,
}

/// The lines of a block, the last one first, without their line breaks, each with where it begins.
pub(super) fn backwards(block: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let mut rest = block;
    std::iter::from_fn(move || {
        let line = rest.strip_suffix(b"\n").unwrap_or(rest);
        if rest.is_empty() {
            return None;
        }
        let start = memchr::memrchr(b'\n', line).map_or(0, |at| at + 1);
        rest = &rest[..start];
        Some((start, &line[start..]))
    })
}

/// The first line of a block.
pub(super) fn first(block: &[u8]) -> &[u8] {
    &block[..memchr::memchr(b'\n', block).unwrap_or(block.len())]
}
