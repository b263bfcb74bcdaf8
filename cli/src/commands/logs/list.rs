//! `minivault logs`: interactions in two lines each.

use std::time::Duration;

use serde::Deserialize;

use super::source::{Lines, PAGE, Part, Source};
use crate::arguments::logs::{List, Wanted};
use crate::failure::Failure;
use crate::output::Output;

/// How often is looked for more.
const FOLLOWING: Duration = Duration::from_millis(500);
/// Characters of a prompt, and of an answer, that are shown.
const SHOWN: usize = 70;

/// Lists what is wanted, and with `--follow` what comes.
pub async fn run(source: &Source<'_>, arguments: &List, output: &mut Output) -> Result<(), Failure> {
    if arguments.follow {
        return follow(source, arguments, output).await;
    }
    let (mut left, mut part) = (arguments.limit, Part::default());
    while left > 0 {
        let Lines { lines, next } = source.page(&arguments.wanted, part, left.min(PAGE)).await?;
        left -= lines.len().min(left);
        lines.iter().try_for_each(|line| print(line, arguments.json, output))?;
        match next {
            Some(next) => part.before = Some(next),
            None => break,
        }
    }
    Ok(())
}

/// The newest ones, the oldest of them first, and then each new one.
async fn follow(source: &Source<'_>, arguments: &List, output: &mut Output) -> Result<(), Failure> {
    // Of all lines, wanted or not: the search for more begins behind them.
    let newest = source.page(&Wanted::default(), Part::default(), 1).await?.lines;
    let mut first = source.page(&arguments.wanted, Part::default(), arguments.limit.clamp(1, PAGE)).await?.lines;
    first.truncate(arguments.limit);
    first.iter().rev().try_for_each(|line| print(line, arguments.json, output))?;
    let mut seen = [&newest, &first].iter().filter_map(|lines| number(lines.first()?)).max().unwrap_or(0);
    loop {
        tokio::time::sleep(FOLLOWING).await;
        let mut part = Part { before: None, after: Some(seen) };
        let mut new = Vec::new();
        loop {
            let Lines { lines, next } = source.page(&arguments.wanted, part, PAGE).await?;
            new.extend(lines);
            match next {
                Some(next) => part.before = Some(next),
                None => break,
            }
        }
        seen = new.first().and_then(|line| number(line)).unwrap_or(seen);
        new.iter().rev().try_for_each(|line| print(line, arguments.json, output))?;
    }
}

#[derive(Deserialize)]
struct Numbered {
    seq: Option<u64>,
}

fn number(line: &str) -> Option<u64> {
    serde_json::from_str::<Numbered>(line).ok()?.seq
}

/// What is shown of a line; lines of other versions may lack some of it.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Shown {
    timestamp: String,
    prompt: String,
    response: String,
    id: String,
    seq: u64,
    model: String,
    status: u16,
    finish_reason: String,
    usage: Usage,
    duration_ms: f64,
    replay_of: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Usage {
    prompt_tokens: usize,
    completion_tokens: usize,
}

fn print(line: &str, json: bool, output: &mut Output) -> Result<(), Failure> {
    match serde_json::from_str::<Shown>(line) {
        Ok(shown) if !json => output.line(&in_two_lines(&shown)),
        _ => output.line(line),
    }
}

fn in_two_lines(shown: &Shown) -> String {
    let Usage { prompt_tokens, completion_tokens } = shown.usage;
    let time = shown.timestamp.split('.').next().unwrap_or_default();
    let replay = if shown.replay_of.is_some() { "  replay" } else { "" };
    format!(
        "#{} {time}  {}  {} {}  {prompt_tokens}+{completion_tokens} tokens  {:.2} s  {}{replay}\n    {} → {}",
        shown.seq,
        shown.model,
        shown.status,
        shown.finish_reason,
        shown.duration_ms / 1000.0,
        shown.id,
        shortened(&shown.prompt, End::Last),
        shortened(&shown.response, End::First),
    )
}

/// Which end of a text is shown.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    First,
    Last,
}

/// A text on one line, as much of it as there is room for.
fn shortened(text: &str, end: End) -> String {
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let length = words.chars().count();
    match end {
        _ if length <= SHOWN => words,
        End::First => words.chars().take(SHOWN).chain(['…']).collect(),
        End::Last => ['…'].into_iter().chain(words.chars().skip(length - SHOWN)).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interaction_takes_two_lines() {
        let line = r#"{"timestamp":"2026-11-25T10:15:00.123456Z","prompt":"Hello\nthere","response":" world","id":"a","seq":7,"model":"m","status":200,"finish_reason":"stop","usage":{"prompt_tokens":2,"completion_tokens":1},"duration_ms":1234.5}"#;
        assert_eq!(
            in_two_lines(&serde_json::from_str(line).unwrap()),
            "#7 2026-11-25T10:15:00  m  200 stop  2+1 tokens  1.23 s  a\n    Hello there → world"
        );
    }

    #[test]
    fn a_long_text_is_shown_where_both_meet() {
        let long = "x".repeat(SHOWN) + "yz";
        assert_eq!(shortened(&long, End::Last), format!("…{}yz", "x".repeat(SHOWN - 2)));
        assert_eq!(shortened(&long, End::First), format!("{}…", "x".repeat(SHOWN)));
    }
}
