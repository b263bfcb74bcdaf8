//! `minivault replay`: interactions run again and compared with what was recorded.

use minivault_wire::interactions::{Difference, ReplayAnswer, ReplayBody, Verdict};
use serde::Deserialize;

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
        Some(id) => one(client, id, &body, arguments.json, output).await,
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
        told(&answer).iter().try_for_each(|line| output.line(line))?;
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
    let mut summary = Summary::default();
    for id in &ids {
        match client.replay(id, body).await {
            Ok(Err(reason)) => {
                summary.refused += 1;
                bar.suspend(|| output.note(&reason));
            }
            // The others may succeed.
            Err(Failure::Failed(reason)) => {
                summary.failed += 1;
                bar.suspend(|| output.note(&format!("{id}: {reason}")));
            }
            Err(other) => return Err(other),
            Ok(Ok(Whole { raw, value: answer })) => {
                summary.add(&answer);
                if arguments.json {
                    bar.suspend(|| output.line(&raw))?;
                } else if !answer.verdict.is_same() {
                    bar.suspend(|| told(&answer).iter().try_for_each(|line| output.line(line)))?;
                }
            }
        }
        bar.set_message(format!("{} differ", summary.different));
        bar.inc(1);
    }
    bar.finish_and_clear();
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
        let mut parts = vec![format!("{} run again: {identical} identical", identical + same_text + different)];
        let mut part = |count: usize, words: &str| {
            if count > 0 {
                parts.push(format!("{count} {words}"));
            }
        };
        part(same_text, "with the same text");
        part(different, "different");
        part(other_model, "on another model");
        part(refused, "that can't be run again");
        part(failed, "that failed");
        parts.join(", ")
    }
}

/// What came of one, the other model first.
fn told(answer: &ReplayAnswer) -> Vec<String> {
    let mut told = answer.notes.clone();
    told.push(format!("{}  {}", answer.replay_of, verdict(answer)));
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
    fn another_model_is_told_before_what_differs() {
        let difference = Difference { token: Some(3), byte: 9, recorded: " one".into(), replayed: "\n".into() };
        let lines = ["the model is another one", "a  differs at token 3 (byte 9)", "  recorded  \" one\"", "  now       \"\\n\""];
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
        assert_eq!(summary.told(), "2 run again: 1 identical, 1 different, 1 on another model, 2 that can't be run again");
    }
}
