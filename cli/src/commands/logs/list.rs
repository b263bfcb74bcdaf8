//! `minivault logs`: interactions in two lines each.

use std::time::Duration;

use minivault_journal::reading::Place;
use serde::Deserialize;

use super::source::{Lines, PAGE, Part, Source};
use crate::arguments::logs::{List, Wanted};
use crate::failure::Failure;
use crate::output::Output;

/// How often is looked for more.
const FOLLOWING: Duration = Duration::from_millis(500);
/// Characters of a prompt, and of an answer, that are shown.
const SHOWN: usize = 70;
/// In front of what belongs to the line above.
const INDENT: &str = "    ";

/// Lists what is wanted, and with `--follow` what comes.
pub async fn run(source: &Source<'_>, arguments: &List, output: &mut Output) -> Result<(), Failure> {
    if arguments.follow {
        return follow(source, arguments, output).await;
    }
    let mut found = false;
    let print = |lines: Vec<String>| {
        found |= !lines.is_empty();
        lines.iter().try_for_each(|line| print(line, arguments.json, output))
    };
    pages(source, &arguments.wanted, Part::default(), arguments.limit, print).await?;
    if !found {
        output.remark("nothing found");
    }
    Ok(())
}

/// The newest ones, the oldest of them first, and then each new one.
async fn follow(source: &Source<'_>, arguments: &List, output: &mut Output) -> Result<(), Failure> {
    let (mut seen, mut limit) = (None, arguments.limit);
    loop {
        // Of all lines, wanted or not: the next search begins behind them, and this one goes so far.
        let new = source.page(&Wanted::default(), Part { before: None, after: seen }, 1).await?.lines;
        if let Some(newest) = new.first().and_then(|line| number(line)) {
            let part = Part { before: Place::try_from(newest + 1).ok(), after: seen };
            let mut lines = Vec::new();
            let gather = |page| {
                lines.extend(page);
                Ok(())
            };
            pages(source, &arguments.wanted, part, limit, gather).await?;
            lines.iter().rev().try_for_each(|line| print(line, arguments.json, output))?;
            seen = Some(newest);
        }
        limit = usize::MAX;
        tokio::time::sleep(FOLLOWING).await;
    }
}

/// Some of the lines of a part, the newest first, page by page.
async fn pages(
    source: &Source<'_>,
    wanted: &Wanted,
    mut part: Part,
    mut limit: usize,
    mut take: impl FnMut(Vec<String>) -> Result<(), Failure>,
) -> Result<(), Failure> {
    while limit > 0 {
        let Lines { lines, next } = source.page(wanted, part, limit.min(PAGE)).await?;
        limit -= lines.len().min(limit);
        take(lines)?;
        match next {
            Some(next) => part.before = Some(next),
            None => break,
        }
    }
    Ok(())
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
        Ok(shown) if !json => output.line(&in_lines(&shown, output.width())),
        _ => output.line(line),
    }
}

/// Two lines, or three where a terminal of so many columns is too narrow for a name at the end of the first.
fn in_lines(shown: &Shown, width: Option<usize>) -> String {
    let Usage { prompt_tokens, completion_tokens } = shown.usage;
    let time = shown.timestamp.split('.').next().unwrap_or_default();
    let replay = if shown.replay_of.is_some() { "  replay" } else { "" };
    let head = format!(
        "#{} {time}  {}  {} {}  {prompt_tokens}+{completion_tokens} tokens  {:.2} s",
        shown.seq,
        shown.model,
        shown.status,
        shown.finish_reason,
        shown.duration_ms / 1000.0,
    );
    let name = format!("{}{replay}", shown.id);
    let is_wide = width.is_none_or(|width| head.chars().count() + 2 + name.chars().count() <= width);
    let gap = if is_wide { "  ".to_owned() } else { format!("\n{INDENT}") };
    // Both texts, the arrow between them and a mark of each that it goes on.
    let room = width.map_or(SHOWN, |width| (width.saturating_sub(INDENT.len() + 3 + 2) / 2).min(SHOWN));
    let (prompt, response) = (shortened(&shown.prompt, End::Last, room), shortened(&shown.response, End::First, room));
    format!("{head}{gap}{name}\n{INDENT}{prompt} → {response}")
}

/// Which end of a text is shown.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    First,
    Last,
}

/// A text on one line, as much of it as there is room for.
fn shortened(text: &str, end: End, room: usize) -> String {
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let length = words.chars().count();
    match end {
        _ if length <= room => words,
        End::First => words.chars().take(room).chain(['…']).collect(),
        End::Last => ['…'].into_iter().chain(words.chars().skip(length - room)).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interaction_takes_two_lines() {
        let line = r#"{"timestamp":"2026-11-25T10:15:00.123456Z","prompt":"Hello\nthere","response":" world","id":"a","seq":7,"model":"m","status":200,"finish_reason":"stop","usage":{"prompt_tokens":2,"completion_tokens":1},"duration_ms":1234.5}"#;
        assert_eq!(
            in_lines(&serde_json::from_str(line).unwrap(), None),
            "#7 2026-11-25T10:15:00  m  200 stop  2+1 tokens  1.23 s  a\n    Hello there → world"
        );
        // A name is selected with a double click, and stays whole for it.
        assert_eq!(
            in_lines(&serde_json::from_str(line).unwrap(), Some(25)),
            "#7 2026-11-25T10:15:00  m  200 stop  2+1 tokens  1.23 s\n    a\n    …lo there → world"
        );
    }

    #[test]
    fn a_long_text_is_shown_where_both_meet() {
        let long = "x".repeat(SHOWN) + "yz";
        assert_eq!(shortened(&long, End::Last, SHOWN), format!("…{}yz", "x".repeat(SHOWN - 2)));
        assert_eq!(shortened(&long, End::First, SHOWN), format!("{}…", "x".repeat(SHOWN)));
    }
}
