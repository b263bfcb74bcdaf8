//! Two answers to one request, side by side.

use minivault_engines::chat::ToolCall;
use minivault_engines::{Determinism, TextEngine, TokenId};
use minivault_journal::{Outcome, Record};
use minivault_wire::interactions::{Difference, Verdict};

/// Characters of a continuation that are told.
const CONTINUATION: usize = 200;

/// The new answer.
#[derive(Debug)]
pub struct Answered {
    pub text: String,
    pub tokens: Vec<TokenId>,
    pub tool_calls: Vec<ToolCall>,
}

/// Whether tokens mean the same in both answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Vocabulary {
    /// They do.
    Same,
    /// They don't, or nothing is promised of them; and why.
    Other(String),
}

/// What came of comparing them.
#[derive(Debug)]
pub struct Comparison {
    pub verdict: Verdict,
    pub difference: Option<Difference>,
    pub notes: Vec<String>,
}

impl Vocabulary {
    /// Whether the recorded answer can be compared with one of this engine token by token. `prompt` is the prompt as this engine has it.
    pub async fn compared(engine: &dyn TextEngine, record: &Record, prompt: &[TokenId]) -> Self {
        let info = engine.info();
        for (who, determinism) in [("the engine that answered then", record.determinism.as_str()), (&*info.name, info.determinism.as_str())]
        {
            if determinism == Determinism::None.as_str() {
                return Self::Other(format!("{who} promises nothing of its tokens, so texts are compared"));
            }
        }
        if record.prompt_token_ids.is_empty() || record.prompt_token_ids != prompt {
            return Self::Other("the prompt has other tokens now, so texts are compared".into());
        }
        // The same model has the same vocabulary; of another one the recorded tokens must make the recorded text.
        if record.fingerprint == info.fingerprint {
            return Self::Same;
        }
        match engine.detokenize(&record.response_token_ids).await {
            Ok(text) if text.starts_with(&record.response) => Self::Same,
            _ => Self::Other("the vocabulary is another one, so texts are compared".into()),
        }
    }
}

impl Comparison {
    /// Compares. What the recorded answer lacks because it was cut off is no difference.
    pub async fn of(engine: &dyn TextEngine, record: &Record, answered: &Answered, vocabulary: Vocabulary) -> Self {
        let cut_off = matches!(record.finish_reason, Outcome::Cancelled | Outcome::Error | Outcome::Timeout);
        let mut notes = Vec::new();
        if cut_off {
            let how = match record.finish_reason {
                Outcome::Error => "ended by an error",
                Outcome::Timeout => "ended when its time was over",
                _ => "cancelled",
            };
            notes.push(format!(
                "the recorded answer was {how} after {} tokens; it is compared up to there",
                record.response_token_ids.len()
            ));
        }
        match vocabulary {
            Vocabulary::Same => {
                let (recorded, replayed) = (&record.response_token_ids, &answered.tokens);
                let place = first_difference(recorded, replayed, cut_off);
                let difference = match place {
                    Some(place) => Some(at_token(engine, record, answered, place).await),
                    None => None,
                };
                let verdict = if place.is_none() { Verdict::Identical } else { Verdict::Differs };
                Self { verdict, difference, notes }
            }
            Vocabulary::Other(reason) => {
                notes.push(reason);
                let calls = record.tool_calls.iter().map(|call| {
                    let part = |name: &str| call["function"][name].as_str().unwrap_or_default();
                    (part("name"), part("arguments"))
                });
                let recorded = with_calls(&record.response, calls);
                let replayed = with_calls(&answered.text, answered.tool_calls.iter().map(|call| (&*call.name, &*call.arguments)));
                let difference = first_difference(recorded.as_bytes(), replayed.as_bytes(), cut_off).map(|byte| {
                    // The whole character in which it is.
                    let start = (0..=byte).rev().find(|&at| recorded.is_char_boundary(at) && replayed.is_char_boundary(at));
                    let start = start.unwrap_or(0);
                    Difference { token: None, byte, recorded: beginning(&recorded[start..]), replayed: beginning(&replayed[start..]) }
                });
                let verdict = if difference.is_none() { Verdict::SameText } else { Verdict::DifferentText };
                Self { verdict, difference, notes }
            }
        }
    }
}

/// An answer's text and, a line each, the calls in it; their names that only answers refer to are left out.
fn with_calls<'a>(text: &str, calls: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let mut whole = text.to_owned();
    for (name, arguments) in calls {
        whole.push_str(&format!("\n{name}({arguments})"));
    }
    whole
}

/// The first place where they differ; the end of one is a difference, unless it is the recorded one's and it was cut off.
fn first_difference<T: PartialEq>(recorded: &[T], replayed: &[T], cut_off: bool) -> Option<usize> {
    let common = recorded.iter().zip(replayed).take_while(|(one, other)| one == other).count();
    let ended = common == recorded.len() && (cut_off || common == replayed.len());
    (!ended).then_some(common)
}

async fn at_token(engine: &dyn TextEngine, record: &Record, answered: &Answered, place: usize) -> Difference {
    let text = async |tokens: &[TokenId]| engine.detokenize(tokens).await.unwrap_or_default();
    Difference {
        token: Some(place),
        byte: text(&record.response_token_ids[..place]).await.len(),
        recorded: beginning(&text(&record.response_token_ids[place..]).await),
        replayed: beginning(&text(&answered.tokens[place..]).await),
    }
}

fn beginning(text: &str) -> String {
    match text.char_indices().nth(CONTINUATION) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_difference_is_found_and_a_cut_off_end_is_none() {
        let check = |recorded: &str, replayed: &str, cut_off, place| {
            assert_eq!(first_difference(recorded.as_bytes(), replayed.as_bytes(), cut_off), place, "{recorded:?} {replayed:?}");
        };
        check("abc", "abc", false, None);
        check("abc", "abd", false, Some(2));
        check("abc", "ab", false, Some(2));
        check("ab", "abc", false, Some(2));
        check("ab", "abc", true, None);
        check("abc", "ab", true, Some(2));
        check("", "", false, None);
        check("", "a", true, None);
    }
}
