//! Which lines are wanted.

use jiff::{SignedDuration, Timestamp};
use memchr::memmem::Finder;
use regex::Regex;

use super::line::{Summary, Texts};
use super::place::Place;
use crate::record::Outcome;

/// No request takes longer. Its line is written at its end, so that much may lie between its own time and that of the lines around it.
const LONGEST_REQUEST: SignedDuration = SignedDuration::from_hours(24);

/// Which lines are wanted; the default is all of them.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// In the prompt or the answer.
    pub text: Option<TextPattern>,
    /// Requests that arrived at this moment or later.
    pub since: Option<Timestamp>,
    /// Requests that arrived before this moment.
    pub until: Option<Timestamp>,
    /// The engine that answered.
    pub model: Option<String>,
    /// The HTTP status.
    pub status: Option<u16>,
    /// How it ended.
    pub finish_reason: Option<Outcome>,
    /// Lines before this place: with a smaller number, or without one.
    pub before: Option<Place>,
    /// Lines with a greater number.
    pub after: Option<u64>,
}

/// What is looked for in texts.
#[derive(Debug, Clone)]
pub struct TextPattern(Pattern);

#[derive(Debug, Clone)]
enum Pattern {
    Literal(Box<Literal>),
    Expression(Regex),
}

/// These characters.
#[derive(Debug, Clone)]
struct Literal {
    text: Finder<'static>,
    /// As they stand in a line.
    spelt: Finder<'static>,
    is_ascii: bool,
}

/// What a line means to whoever goes through the log from its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Wanted,
    Unwanted,
    /// This line and all before it are too old.
    TooOld,
}

impl TextPattern {
    /// Exactly these characters.
    pub fn literal(text: &str) -> Self {
        let quoted = serde_json::to_string(text).unwrap_or_default();
        let spelt = quoted.get(1..quoted.len().saturating_sub(1)).unwrap_or_default();
        let (is_ascii, spelt) = (text.is_ascii(), Finder::new(spelt.as_bytes()).into_owned());
        Self(Pattern::Literal(Box::new(Literal { text: Finder::new(text.as_bytes()).into_owned(), spelt, is_ascii })))
    }

    /// What this regular expression finds.
    ///
    /// # Errors
    /// It is none, or it is too large.
    pub fn expression(expression: &str) -> Result<Self, regex::Error> {
        Ok(Self(Pattern::Expression(Regex::new(expression)?)))
    }

    /// Whether these lines may hold it, as they stand; spares taking most of them apart.
    fn may_stand_in(&self, raw: &[u8]) -> bool {
        match &self.0 {
            // What isn't ASCII may be spelt `\u00e9`, as Python does.
            Pattern::Literal(literal) => {
                literal.spelt.find(raw).is_some() || !literal.is_ascii && memchr::memmem::find(raw, b"\\u").is_some()
            }
            Pattern::Expression(_) => true,
        }
    }

    fn is_found_in(&self, text: &str) -> bool {
        match &self.0 {
            Pattern::Literal(literal) => literal.text.find(text.as_bytes()).is_some(),
            Pattern::Expression(expression) => expression.is_match(text),
        }
    }
}

impl Filter {
    /// Whether these bytes may hold a line that is wanted.
    pub(super) fn may_want(&self, raw: &[u8]) -> bool {
        self.text.as_ref().is_none_or(|text| text.may_stand_in(raw))
    }

    /// Lines that were written after this moment are all unwanted.
    pub(super) fn latest(&self) -> Option<Timestamp> {
        self.until?.checked_add(LONGEST_REQUEST).ok()
    }

    /// Whether this line and all before it are too old.
    pub(super) fn is_past(&self, line: &Summary) -> bool {
        let is_before = self.after.zip(line.seq).is_some_and(|(after, seq)| seq <= after);
        is_before || self.since.zip(line.written()).is_some_and(|(since, written)| written < since)
    }

    pub(super) fn judge(&self, line: &Summary, raw: &[u8]) -> Verdict {
        if self.is_past(line) {
            return Verdict::TooOld;
        }
        let wanted = self.model.as_ref().is_none_or(|model| *model == line.model)
            && self.status.is_none_or(|status| line.status == Some(status))
            && self.finish_reason.is_none_or(|reason| line.finish_reason == Some(reason))
            && self.since.is_none_or(|since| line.timestamp.is_some_and(|timestamp| timestamp >= since))
            && self.until.is_none_or(|until| line.timestamp.is_some_and(|timestamp| timestamp < until))
            && self.after.is_none_or(|_| line.seq.is_some())
            && self.text.as_ref().is_none_or(|text| {
                let texts = serde_json::from_slice::<Texts<'_>>(raw);
                texts.is_ok_and(|Texts { prompt, response }| text.is_found_in(&prompt) || text.is_found_in(&response))
            });
        if wanted { Verdict::Wanted } else { Verdict::Unwanted }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_found_however_it_is_spelt_in_the_line() {
        for (wanted, line, found) in [
            ("deep", r#"{"prompt":"a deep sea","response":""}"#, true),
            ("deep", r#"{"prompt":"","response":"deep"}"#, true),
            ("deep", r#"{"prompt":"","response":"","model":"deep"}"#, false),
            ("a\n\"b\"", r#"{"prompt":"a\n\"b\"","response":""}"#, true),
            ("n", r#"{"prompt":"\n","response":""}"#, false),
            ("é", r#"{"prompt":"é","response":""}"#, true),
            ("é", r#"{"prompt": "caf\u00e9", "response": ""}"#, true),
            ("è", r#"{"prompt": "caf\u00e9", "response": ""}"#, false),
        ] {
            let filter = Filter { text: Some(TextPattern::literal(wanted)), ..Filter::default() };
            let line = line.as_bytes();
            let judged = filter.may_want(line) && filter.judge(&Summary::of(line).unwrap(), line) == Verdict::Wanted;
            assert_eq!(judged, found, "{wanted:?}");
        }
    }

    #[test]
    fn a_request_that_took_long_doesnt_end_the_search_for_younger_ones() {
        let summary = |timestamp: &str, duration: u64| {
            Summary::of(format!(r#"{{"timestamp":"{timestamp}","duration_ms":{duration}}}"#).as_bytes()).unwrap()
        };
        let filter = Filter { since: Some("2026-01-01T12:00:00Z".parse().unwrap()), ..Filter::default() };
        assert_eq!(filter.judge(&summary("2026-01-01T11:59:00Z", 120_000), b""), Verdict::Unwanted);
        assert_eq!(filter.judge(&summary("2026-01-01T11:59:00Z", 20_000), b""), Verdict::TooOld);
        assert_eq!(filter.judge(&summary("2026-01-01T12:00:00Z", 0), b""), Verdict::Wanted);
    }
}
