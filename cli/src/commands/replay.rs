//! `minivault replay`: interactions run again and compared with what was recorded.

use std::collections::HashSet;

use minivault_wire::interactions::{Difference, ReplayAnswer, ReplayBody, Verdict};
use serde::Deserialize;
use serde_json::json;

use super::logs::source::{LAST, Lines, PAGE, Part, Source};
use crate::arguments::logs::Replay;
use crate::client::{Client, Whole};
use crate::failure::Failure;
use crate::output::Output;

/// Runs one interaction again, or all that are wanted. A difference makes the run fail with its own exit code.
pub async fn run(client: &Client, arguments: &Replay, output: &mut Output) -> Result<(), Failure> {
    let body = ReplayBody { engine: arguments.engine.clone() };
    match &arguments.id {
        Some(id) if id == LAST => {
            let is_original = |line: &str| candidate(line).is_some();
            let line = Source::Daemon(client).newest(&arguments.wanted, is_original).await?;
            let id = candidate(&line).map(|candidate| candidate.id).unwrap_or_default();
            one(client, &id, &body, arguments.json, output).await
        }
        Some(id) => {
            let numbered = Source::Daemon(client).numbered(id).await?;
            let named = numbered.and_then(|line| serde_json::from_str::<Candidate>(&line).ok());
            one(client, named.as_ref().map_or(id, |named| &named.id), &body, arguments.json, output).await
        }
        None => all(client, arguments, &body, output).await,
    }
}

async fn one(client: &Client, id: &str, body: &ReplayBody, json: bool, output: &mut Output) -> Result<(), Failure> {
    let spinner = output.spinner("running it again");
    let answered = client.replay(id, body).await;
    spinner.finish_and_clear();
    let Whole { raw, value: answer } = answered?.map_err(Failure::Failed)?;
    if json {
        output.line(&raw)?;
    } else {
        answer.notes.iter().chain(&told(&answer)).try_for_each(|line| output.line(line))?;
    }
    if answer.verdict.is_same() { Ok(()) } else { Err(Failure::Differs(String::new())) }
}

/// What is known of a line before it is run again.
#[derive(Deserialize)]
struct Candidate {
    id: String,
    #[serde(default)]
    replay_of: Option<String>,
}

/// `None` for what is a replay itself, and for lines that have no name.
fn candidate(line: &str) -> Option<Candidate> {
    serde_json::from_str::<Candidate>(line).ok().filter(|candidate| candidate.replay_of.is_none())
}

#[derive(Default)]
struct Summary {
    identical: usize,
    same_text: usize,
    different: usize,
    other_model: usize,
    refused: usize,
    failed: usize,
}

async fn all(client: &Client, arguments: &Replay, body: &ReplayBody, output: &mut Output) -> Result<(), Failure> {
    let ids = candidates(client, arguments).await?;
    if ids.is_empty() {
        output.note("no interaction is wanted by that");
        return if arguments.json { Ok(()) } else { output.line(&Summary::default().told()) };
    }
    let bar = output.progress(ids.len());
    let (mut summary, mut failures, mut changes) = (Summary::default(), Failures::default(), Changes::default());
    for id in &ids {
        let error = match client.replay(id, body).await {
            Ok(Err(reason)) => {
                summary.refused += 1;
                reason
            }
            // The others may succeed.
            Err(Failure::Failed(reason)) => {
                summary.failed += 1;
                reason
            }
            Err(other) => return Err(other),
            Ok(Ok(Whole { raw, value: answer })) => {
                summary.add(&answer);
                if arguments.json {
                    bar.suspend(|| output.line(&raw))?;
                } else if !answer.verdict.is_same() {
                    let lines = changes.untold(&answer).into_iter().chain(told(&answer));
                    bar.suspend(|| lines.into_iter().try_for_each(|line| output.line(&line)))?;
                }
                String::new()
            }
        };
        if !error.is_empty() {
            if arguments.json {
                bar.suspend(|| output.line(&json!({"id": id, "error": error}).to_string()))?;
            }
            failures.add(id, &error);
        }
        bar.set_message(format!("{} differ", summary.different));
        bar.inc(1);
    }
    bar.finish_and_clear();
    failures.told().iter().for_each(|line| output.remark(line));
    if arguments.json {
        output.note(&summary.told());
    } else {
        output.line(&summary.told())?;
    }
    match summary {
        Summary { different: 1.., .. } => Err(Failure::Differs(String::new())),
        Summary { refused, .. } if refused == ids.len() => Err(Failure::Failed("none of them could be run again".into())),
        Summary { failed: failed @ 1.., .. } => Err(Failure::Failed(format!("{failed} of {} failed", ids.len()))),
        _ => Ok(()),
    }
}

/// The names of all that are wanted, the oldest first; what is a replay itself is left out.
async fn candidates(client: &Client, arguments: &Replay) -> Result<Vec<String>, Failure> {
    let source = Source::Daemon(client);
    let (mut ids, mut part) = (Vec::new(), Part::default());
    loop {
        let Lines { lines, next } = source.page(&arguments.wanted, part, PAGE).await?;
        ids.extend(lines.iter().filter_map(|line| candidate(line)).map(|candidate| candidate.id));
        match next {
            Some(next) => part.before = Some(next),
            None => break,
        }
    }
    ids.reverse();
    Ok(ids)
}

impl Summary {
    fn add(&mut self, answer: &ReplayAnswer) {
        match answer.verdict {
            Verdict::Identical => self.identical += 1,
            Verdict::SameText => self.same_text += 1,
            Verdict::Differs | Verdict::DifferentText => self.different += 1,
        }
        self.other_model += usize::from(!answer.same_model);
    }

    fn told(&self) -> String {
        let Self { identical, same_text, different, other_model, refused, failed } = *self;
        let ran = identical + same_text + different;
        // Beside the count of all, for it is no part of the sum behind it.
        let elsewhere = match other_model {
            0 => String::new(),
            all if all == ran => " on another model".to_owned(),
            some => format!(", {some} of them on another model"),
        };
        let mut parts = vec![format!("{ran} run again{elsewhere}: {identical} identical")];
        let mut part = |count: usize, words: &str| {
            if count > 0 {
                parts.push(format!("{count} {words}"));
            }
        };
        part(same_text, "with the same text");
        part(different, "different");
        let told = parts.join(", ");
        let others = [(refused, "can't be run again"), (failed, "failed")];
        let others = others.iter().filter(|(count, _)| *count > 0).map(|(count, words)| format!("{count} {words}"));
        [told].into_iter().chain(others).collect::<Vec<_>>().join("; ")
    }
}

/// What is another one than it was, which a pair of engines has in common.
#[derive(Default)]
struct Changes(HashSet<[String; 3]>);

impl Changes {
    /// What this answer's notes say that wasn't said of its two engines before.
    fn untold(&mut self, answer: &ReplayAnswer) -> Vec<String> {
        let ReplayAnswer { recorded_model, model, notes, .. } = answer;
        let is_new = |note: &&String| self.0.insert([recorded_model.clone(), model.clone(), note.to_string()]);
        notes.iter().filter(is_new).cloned().collect()
    }
}

/// Why some could not be run again, each reason once.
#[derive(Default)]
struct Failures(Vec<Reason>);

struct Reason {
    words: Vec<String>,
    first: String,
    count: usize,
}

impl Failures {
    fn add(&mut self, id: &str, error: &str) {
        // The reason comes with the name of the interaction, which is told once.
        let error = error.replace(&format!("interaction `{id}` "), "");
        let words: Vec<String> = error.split(' ').map(str::to_owned).collect();
        match self.0.iter_mut().find(|reason| same_but_for_numbers(&reason.words, &words)) {
            Some(reason) => {
                reason.count += 1;
                for (known, word) in reason.words.iter_mut().zip(words) {
                    if *known != word {
                        "…".clone_into(known);
                    }
                }
            }
            None => self.0.push(Reason { words, first: id.to_owned(), count: 1 }),
        }
    }

    fn told(&self) -> Vec<String> {
        let line = |Reason { words, first, count }: &Reason| match count {
            1 => format!("{first}: {}", words.join(" ")),
            _ => format!("{count} × {} (the first: {first})", words.join(" ")),
        };
        self.0.iter().map(line).collect()
    }
}

/// Whether a message is the other with other numbers; … stands for any.
fn same_but_for_numbers(known: &[String], words: &[String]) -> bool {
    let number = |word: &str| word.starts_with(|first: char| first.is_ascii_digit());
    known.len() == words.len()
        && known.iter().zip(words).all(|(known, word)| known == word || number(word) && (known == "…" || number(known)))
}

/// What came of one.
fn told(answer: &ReplayAnswer) -> Vec<String> {
    let mut told = vec![format!("{}  {}", answer.replay_of, verdict(answer))];
    if let Some(Difference { recorded, replayed, .. }) = &answer.difference {
        told.push(format!("  recorded  {recorded:?}"));
        told.push(format!("  now       {replayed:?}"));
    }
    told
}

fn verdict(answer: &ReplayAnswer) -> String {
    let place = answer.difference.as_ref();
    match answer.verdict {
        Verdict::Identical if answer.recorded_model != answer.model => {
            format!("identical: {} tokens of {}, as recorded of {}", answer.recorded_tokens, answer.model, answer.recorded_model)
        }
        Verdict::Identical => format!("identical: {} tokens of {}", answer.recorded_tokens, answer.model),
        Verdict::SameText => format!("same text by {}", answer.model),
        Verdict::Differs => {
            format!("differs at token {} (byte {})", place.and_then(|place| place.token).unwrap_or(0), place.map_or(0, |place| place.byte))
        }
        Verdict::DifferentText => format!("differs at byte {}", place.map_or(0, |place| place.byte)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(verdict: Verdict, difference: Option<Difference>) -> ReplayAnswer {
        ReplayAnswer {
            replay_of: "a".into(),
            id: "b".into(),
            verdict,
            recorded_model: "m".into(),
            model: "m".into(),
            same_model: difference.is_none(),
            notes: if difference.is_none() { Vec::new() } else { vec!["the model is another one".into()] },
            recorded_tokens: 5,
            tokens: 5,
            difference,
        }
    }

    #[test]
    fn what_differs_is_told_with_its_place() {
        let difference = Difference { token: Some(3), byte: 9, recorded: " one".into(), replayed: "\n".into() };
        let lines = ["a  differs at token 3 (byte 9)", "  recorded  \" one\"", "  now       \"\\n\""];
        assert_eq!(told(&answer(Verdict::Differs, Some(difference))), lines);
        assert_eq!(told(&answer(Verdict::Identical, None)), ["a  identical: 5 tokens of m"]);
        let elsewhere = ReplayAnswer { model: "n".into(), ..answer(Verdict::Identical, None) };
        assert_eq!(told(&elsewhere), ["a  identical: 5 tokens of n, as recorded of m"]);
    }

    #[test]
    fn a_summary_counts_what_there_is() {
        let mut summary = Summary::default();
        summary.add(&answer(Verdict::Identical, None));
        assert_eq!(summary.told(), "1 run again: 1 identical");
        summary.add(&answer(
            Verdict::DifferentText,
            Some(Difference { token: None, byte: 0, recorded: String::new(), replayed: String::new() }),
        ));
        summary.refused = 2;
        assert_eq!(summary.told(), "2 run again, 1 of them on another model: 1 identical, 1 different; 2 can't be run again");
        let summary = Summary { different: 57, other_model: 57, failed: 22, ..Summary::default() };
        assert_eq!(summary.told(), "57 run again on another model: 0 identical, 57 different; 22 failed");
    }

    #[test]
    fn what_two_engines_have_in_common_is_told_once() {
        let difference = || Some(Difference { token: None, byte: 0, recorded: String::new(), replayed: String::new() });
        let mut changes = Changes::default();
        assert_eq!(changes.untold(&answer(Verdict::Differs, difference())), ["the model is another one"]);
        let again =
            ReplayAnswer { notes: vec!["the model is another one".into(), "more".into()], ..answer(Verdict::Differs, difference()) };
        assert_eq!(changes.untold(&again), ["more"]);
        let elsewhere = ReplayAnswer { recorded_model: "n".into(), ..again };
        assert_eq!(changes.untold(&elsewhere), ["the model is another one", "more"]);
    }

    #[test]
    fn failures_are_grouped_by_their_message() {
        let mut failures = Failures::default();
        for (id, tokens) in [("a", "70"), ("b", "81"), ("c", "70")] {
            failures.add(id, &format!("the prompt has {tokens} tokens; the model's context holds 64"));
        }
        failures.add("d", "interaction `d` can't be run again: its texts weren't recorded");
        let lines = [
            "3 × the prompt has … tokens; the model's context holds 64 (the first: a)",
            "d: can't be run again: its texts weren't recorded",
        ];
        assert_eq!(failures.told(), lines);
    }
}
