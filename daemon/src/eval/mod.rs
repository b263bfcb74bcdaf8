//! `minivaultd eval`: how well an engine predicts a text, and how far it is from a reference.
//!
//! The text is read in windows that don't overlap. `rows` gives the logits after each token, from both engines in step; `score` sums up
//! what they say of the token that follows; `report` tells it.

mod report;
mod rows;
mod score;

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, bail, ensure};
use indicatif::{ProgressBar, ProgressStyle};
use minivault_engines::registry::Prepared;
use minivault_engines::{Opening, TextEngine, TokenId};

use crate::arguments::EvalArguments;
use crate::config::EngineSettings;
use report::{Comparison, Report, Subject};
use rows::RowReader;
use score::{Divergence, Surprise};

/// Tokens of a window where neither the arguments nor the context say less.
const WINDOW: usize = 512;

/// Evaluates an engine of the configuration as the arguments say, and prints the result.
///
/// # Errors
/// What can't be read, opened or compared.
pub async fn run(engines: BTreeMap<String, EngineSettings>, arguments: &EvalArguments) -> anyhow::Result<()> {
    let report = evaluate(&engines, arguments).await?;
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print!("{report}");
    }
    Ok(())
}

/// Evaluates an engine of the configuration as the arguments say.
///
/// # Errors
/// What can't be read, opened or compared.
pub async fn evaluate(engines: &BTreeMap<String, EngineSettings>, arguments: &EvalArguments) -> anyhow::Result<Report> {
    let settings = find(engines, &arguments.engine)?;
    let other = arguments.against.as_deref().map(|name| find(engines, name)).transpose()?;
    let exact = settings.prepared.reference();
    let text = text_of(&arguments.file)?;

    let engine = open(&settings.prepared, &settings.opening).await?;
    let reference = match (other, &exact) {
        (Some(other), _) => Some(open(&other.prepared, &other.opening).await?),
        (None, Some(exact)) => {
            let name = format!("{} (exact)", settings.opening.name);
            Some(open(exact, &Opening { name, ..settings.opening.clone() }).await?)
        }
        (None, None) => None,
    };
    let mut tokens = tokens_of(&*engine, reference.as_deref(), &text).await?;
    tokens.truncate(arguments.limit.unwrap_or(usize::MAX));
    let window = window(&engine, reference.as_ref(), arguments.window)?;
    let windows = windows(&tokens, window)?;

    let mut sums = Sums::default();
    let progress = progress(windows.len() * windows[0].len());
    for window in &windows {
        read(window, &*engine, reference.as_deref(), &mut sums, &progress).await?;
    }
    progress.finish_and_clear();

    let Sums { surprise, reference_surprise, divergence } = sums;
    Ok(Report {
        text: arguments.file.display().to_string(),
        tokens: tokens.len(),
        window: windows[0].len(),
        windows: windows.len(),
        scored: surprise.tokens(),
        engine: Subject::new(&engine.info(), &surprise),
        reference: reference.map(|reference| Subject::new(&reference.info(), &reference_surprise)),
        comparison: divergence.map(Comparison::new),
    })
}

/// What has been seen so far.
#[derive(Default)]
struct Sums {
    surprise: Surprise,
    reference_surprise: Surprise,
    /// Only with a reference.
    divergence: Option<Divergence>,
}

/// Reads one window and scores the tokens in its second half.
async fn read(
    window: &[TokenId],
    engine: &dyn TextEngine,
    reference: Option<&dyn TextEngine>,
    sums: &mut Sums,
    progress: &ProgressBar,
) -> anyhow::Result<()> {
    let mut rows = RowReader::new(engine, window).await?;
    let mut reference_rows = match reference {
        Some(reference) => Some(RowReader::new(reference, window).await?),
        None => None,
    };
    let first_scored = window.len() / 2;
    // The last token's row would predict what is in no window.
    for (place, &next) in (1..).zip(&window[1..]) {
        let row = rows.next().await?;
        let reference_row = match &mut reference_rows {
            Some(rows) => Some(rows.next().await?),
            None => None,
        };
        if place >= first_scored {
            sums.surprise.add(row, next)?;
            if let Some(reference_row) = reference_row {
                sums.reference_surprise.add(reference_row, next)?;
                sums.divergence.get_or_insert_default().add(row, reference_row)?;
            }
        }
        progress.inc(1);
    }
    progress.inc(1);
    Ok(())
}

fn find<'a>(engines: &'a BTreeMap<String, EngineSettings>, name: &str) -> anyhow::Result<&'a EngineSettings> {
    engines.get(name).with_context(|| {
        let names = engines.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
        format!("there is no engine `{name}`; there are {names}")
    })
}

/// No fallback stands in: its numbers would be another model's.
async fn open(prepared: &Prepared, opening: &Opening) -> anyhow::Result<Arc<dyn TextEngine>> {
    let spinner = ProgressBar::new_spinner().with_message(format!("loading `{}`", opening.name));
    spinner.enable_steady_tick(std::time::Duration::from_millis(100));
    let engine = prepared.open(opening).await;
    spinner.finish_and_clear();
    Ok(engine?)
}

fn text_of(file: &Path) -> anyhow::Result<String> {
    let mut bytes = Vec::new();
    if file == Path::new("-") {
        std::io::stdin().read_to_end(&mut bytes).context("standard input can't be read")?;
    } else {
        bytes = std::fs::read(file).with_context(|| format!("{} can't be read", file.display()))?;
    }
    String::from_utf8(bytes).map_err(|error| anyhow::anyhow!("{} is no UTF-8 text: {}", file.display(), error.utf8_error()))
}

/// The text's tokens, which must be the same for both engines: what they say can't be compared otherwise.
async fn tokens_of(engine: &dyn TextEngine, reference: Option<&dyn TextEngine>, text: &str) -> anyhow::Result<Vec<TokenId>> {
    let tokens = engine.tokenize(text).await?;
    if let Some(reference) = reference {
        let others = reference.tokenize(text).await?;
        if let Some(place) = tokens.iter().zip(&others).position(|(one, other)| one != other).or_else(|| {
            let shorter = tokens.len().min(others.len());
            (tokens.len() != others.len()).then_some(shorter)
        }) {
            bail!(
                "`{}` and `{}` don't read the text as the same tokens (they differ at token {place}), so they can't be compared",
                engine.info().name,
                reference.info().name
            );
        }
    }
    Ok(tokens)
}

fn window(engine: &Arc<dyn TextEngine>, reference: Option<&Arc<dyn TextEngine>>, wanted: Option<usize>) -> anyhow::Result<usize> {
    let contexts = [Some(engine), reference].into_iter().flatten().map(|engine| engine.info().context_length);
    let context = contexts.min().unwrap_or(WINDOW);
    let window = wanted.unwrap_or(WINDOW.min(context));
    ensure!((2..=context).contains(&window), "--window is {window}; it must be from 2 to {context}, the engines' context");
    Ok(window)
}

/// The windows; where the text doesn't fill one, all of it is one.
fn windows(tokens: &[TokenId], window: usize) -> anyhow::Result<Vec<&[TokenId]>> {
    ensure!(tokens.len() >= 2, "the text has {} tokens; it takes 2 at least, one to predict the other from", tokens.len());
    if tokens.len() < window {
        return Ok(vec![tokens]);
    }
    Ok(tokens.chunks_exact(window).collect())
}

/// Shown on a terminal only.
fn progress(tokens: usize) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:40} {human_pos} of {human_len} tokens, {eta} left");
    ProgressBar::new(tokens as u64).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_whole_unless_there_is_only_one() {
        let tokens: Vec<TokenId> = (0..10).collect();
        assert_eq!(windows(&tokens, 4).unwrap(), [&tokens[..4], &tokens[4..8]]);
        assert_eq!(windows(&tokens, 10).unwrap(), [&tokens[..]]);
        assert_eq!(windows(&tokens, 11).unwrap(), [&tokens[..]]);
        assert_eq!(
            windows(&tokens[..1], 4).unwrap_err().to_string(),
            "the text has 1 tokens; it takes 2 at least, one to predict the other from"
        );
    }
}
