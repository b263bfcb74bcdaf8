//! Interactions run again: the same request, asked of the same engine or another one, and both answers compared.
//!
//! [`Recorded`] is a line of the log of which that can be done, [`Comparison`] says what came of it. A replay is an interaction like any
//! other, and logged with `replay_of`.

mod comparison;

use minivault_engines::{Determinism, EngineInfo, GenerateRequest};
use minivault_journal::{Computation, Outcome, Record};
use minivault_wire::interactions::{ReplayAnswer, Verdict};
use serde_json::{Map, Value};

use crate::error::ApiError;
use crate::interaction::{Answer, Interaction, Question};
use crate::normalized::restore;
use crate::routes::App;
use comparison::{Answered, Comparison, Vocabulary};

/// The route, as the log has it.
const ENDPOINT: &str = "/interactions/{id}/replay";

/// An interaction that can be run again.
#[derive(Debug)]
pub struct Recorded {
    record: Record,
    request: GenerateRequest,
}

impl Recorded {
    /// Reads a line of the log.
    ///
    /// # Errors
    /// Why it can't be run again: its texts weren't recorded, or its format is another version's.
    pub fn of(id: &str, line: &[u8]) -> Result<Self, ApiError> {
        let refused = |reason: &str| ApiError::not_replayable(id, reason);
        let fields: Map<String, Value> = serde_json::from_slice(line).map_err(|_| refused("its line in the log is no JSON object"))?;
        if let Some(mode) = fields.get("record").and_then(Value::as_str).filter(|mode| *mode != "full") {
            return Err(refused(&format!("its texts weren't recorded (log.record was `{mode}`)")));
        }
        if fields.get("redacted").and_then(Value::as_bool) == Some(true) {
            return Err(refused("parts of its texts were redacted before they were recorded"));
        }
        let record: Record = serde_json::from_value(Value::Object(fields))
            .map_err(|cause| refused(&format!("its line in the log was written by another version: {cause}")))?;
        let cut_off = matches!(record.finish_reason, Outcome::Cancelled | Outcome::Error);
        if cut_off && record.response.is_empty() && record.response_token_ids.is_empty() && record.tool_calls.is_empty() {
            return Err(refused("it ended before its first token, so there is nothing to compare"));
        }
        let asked = record.request.as_object().ok_or_else(|| refused("its request wasn't recorded"))?;
        let mut request = restore(asked, &record.prompt).map_err(|reason| refused(&format!("its request isn't whole: {reason}")))?;
        request.sampling.seed = Some(record.seed);
        Ok(Self { record, request })
    }

    /// Runs it again, on this engine or the one that answered, and compares.
    ///
    /// # Errors
    /// As any request; [`ApiError::not_replayable`] where the engine that answered isn't known any more.
    pub async fn replay(self, app: &App, engine: Option<String>) -> Result<ReplayAnswer, ApiError> {
        let Self { record, mut request } = self;
        let name = engine.unwrap_or_else(|| record.model.clone());
        let promised = app.engine(Some(&name), &mut app.patience()).await?.info().determinism;
        // Alone, if that is what the engine's promise takes; refused where it has none, which nobody has asked for here.
        let was_alone = request.deterministic;
        request.deterministic = promised == Determinism::Serial;
        let question = Question {
            id: uuid::Uuid::now_v7().to_string(),
            endpoint: ENDPOINT,
            model: Some(name),
            requests: vec![request],
            choices: 1,
            form: Map::new(),
            replay_of: Some(record.id.clone()),
        };
        let mut interaction = Interaction::begin(app, question).await?;
        let mut notes = changes(&record, &interaction.engine);
        let Answer { piece, tool_calls, .. } = interaction.collect().await?;
        let engine = interaction.asked();
        let now_called = tool_calls.len();
        let answered = Answered { text: piece.text, tokens: interaction.token_ids.clone(), tool_calls };
        let vocabulary = Vocabulary::compared(engine, &record, &interaction.prompt_tokens).await;
        let comparison = Comparison::of(engine, &record, &answered, vocabulary).await;
        notes.extend(comparison.notes);
        if comparison.verdict == Verdict::Differs && promised == Determinism::Serial && !was_alone {
            notes.push("the recorded request didn't say `deterministic`; beside others this engine promises nothing".into());
        }
        if now_called != record.tool_calls.len() {
            notes.push(format!("{} tools were called then, {now_called} now", record.tool_calls.len()));
        }
        Ok(ReplayAnswer {
            replay_of: record.id,
            id: interaction.id.clone(),
            verdict: comparison.verdict,
            recorded_model: record.model,
            model: interaction.engine.name.clone(),
            same_model: record.fingerprint == interaction.engine.fingerprint,
            notes,
            recorded_tokens: record.response_token_ids.len(),
            tokens: answered.tokens.len(),
            difference: comparison.difference,
        })
    }
}

/// What is another one than it was when the answer was recorded; the model first.
fn changes(record: &Record, now: &EngineInfo) -> Vec<String> {
    let mut notes = Vec::new();
    if record.fingerprint != now.fingerprint {
        notes.push(format!(
            "the model is another one: its fingerprint was {}, that of `{}` is {}",
            short(&record.fingerprint),
            now.name,
            short(&now.fingerprint)
        ));
    }
    let minivault_engines::Computation { version, dtype, kernel, threads } = now.computation.clone();
    let then = &record.computation;
    // Lines of an older version don't say.
    if *then == Computation::default() {
        return notes;
    }
    let count = |threads: usize| if threads == 0 { String::new() } else { threads.to_string() };
    let pairs = [
        ("backend", record.backend.as_str(), now.backend.as_str()),
        ("engine's version", &then.version, &version),
        ("dtype", &then.dtype, &dtype),
        ("kernel", &then.kernel, &kernel),
        ("number of threads", &count(then.threads), &count(threads)),
    ];
    notes.extend(pairs.into_iter().filter_map(|(what, then, now)| change(what, then, now)));
    if record.finish_reason == Outcome::Error {
        notes.push(format!("the recorded answer broke off: {}", record.error.as_deref().unwrap_or("the log doesn't say why")));
    }
    notes
}

/// What is to be said of one of them; empty is what isn't known.
fn change(what: &str, then: &str, now: &str) -> Option<String> {
    match (then, now) {
        // ggml writes F32 for f32.
        _ if then.eq_ignore_ascii_case(now) => None,
        (then, "") => Some(format!("the {what} was `{then}`; what it is now, the engine doesn't say")),
        ("", now) => Some(format!("the {what} is `{now}`; what it was then, the engine didn't say")),
        (then, now) => Some(format!("the {what} is another one: `{then}` then, `{now}` now")),
    }
}

fn short(fingerprint: &str) -> String {
    fingerprint.chars().take(16).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_is_said_and_not_shown_empty() {
        let check = |then, now, expected| assert_eq!(change("dtype", then, now).as_deref(), expected);
        check("F32", "f32", None);
        check("", "", None);
        check("f32", "q8", Some("the dtype is another one: `f32` then, `q8` now"));
        check("f32", "", Some("the dtype was `f32`; what it is now, the engine doesn't say"));
        check("", "q8", Some("the dtype is `q8`; what it was then, the engine didn't say"));
    }
}
