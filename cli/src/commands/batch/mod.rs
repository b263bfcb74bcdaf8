//! `minivault batch`: many requests from a file, each answered exactly once in another one, in their order.
//!
//! - [`requests`]: what the lines of the first file ask
//! - [`results`]: the second file, and how far it is

mod requests;
mod results;

use std::cell::Cell;
use std::collections::HashSet;
use std::time::Duration;

use futures_util::stream::{self, StreamExt};
use serde_json::Value;
use tokio::time::Instant;

use crate::arguments::Batch;
use crate::client::{Asked, Client};
use crate::failure::Failure;
use crate::output::Output;
use requests::Request;
use results::Results;

/// What became of a request in this run.
enum Outcome {
    Answer(Value),
    Refused(Value),
    /// Nothing yet, and why.
    Open(String),
}

/// Asks whatever isn't answered yet.
pub async fn run(client: &Client, arguments: Batch, output: &mut Output) -> Result<(), Failure> {
    let Batch { input, output: target, concurrency, patience, sampling } = arguments;
    let requests = requests::read(&input, &sampling)?;
    let mut results = Results::open(&target, &requests)?;
    let (all, done, mut refused) = (requests.len(), results.answered(), results.refused());
    if done > 0 {
        output.note(&format!("{done} of {all} are answered in {target} already"));
    }
    if let Some(others) = results.of_other_flags() {
        output.warn(&format!("{others}; they stay as they are"));
    }
    let bar = output.progress(all);
    bar.set_position(done as u64);
    // What was answered before this run says nothing of how fast it is.
    bar.reset_eta();
    let (started, mut tokens, mut open) = (Instant::now(), 0, Open::default());
    let patience = Patience { limit: Duration::from_secs(patience), answered: Cell::new(started) };
    let to_ask: Vec<&Request> = requests.iter().filter(|request| !results.has(request)).collect();
    let asked = to_ask.len();
    let mut outcomes = stream::iter(to_ask).map(|request| ask(client, request, &patience)).buffered(concurrency.get());
    while let Some(outcome) = outcomes.next().await {
        match outcome? {
            (request, Outcome::Answer(answer)) => {
                tokens += answer.pointer("/usage/completion_tokens").and_then(Value::as_u64).unwrap_or(0);
                results.add(request, "answer", &answer)?;
            }
            (request, Outcome::Refused(error)) => {
                refused += 1;
                results.add(request, "error", &error)?;
            }
            (request, Outcome::Open(why)) => {
                let why = format!("line {}: {why}", request.line);
                bar.suspend(|| output.note(&why));
                open.add(why);
            }
        }
        let rate = tokens as f64 / started.elapsed().as_secs_f64().max(0.001);
        let counted = |count: usize, word: &str| if count > 0 { format!(" · {count} {word}") } else { String::new() };
        bar.set_message(format!("{rate:.0} tokens/s{}{}", counted(refused, "refused"), counted(open.count, "open")));
        bar.inc(1);
    }
    results.finish()?;
    bar.finish_and_clear();
    output.note(&format!("{} answered in {:.1} s, {tokens} tokens", asked - open.count, started.elapsed().as_secs_f64()));
    let mut left = Vec::new();
    if refused > 0 {
        left.push(format!("{refused} of {all} were refused; their lines in {target} say why"));
    }
    left.extend(open.told(all));
    if left.is_empty() { Ok(()) } else { Err(Failure::Failed(left.join("\n"))) }
}

/// Requests that have no result after this run.
#[derive(Default)]
struct Open {
    count: usize,
    first: String,
}

impl Open {
    fn add(&mut self, why: String) {
        self.count += 1;
        if self.count == 1 {
            self.first = why;
        }
    }

    fn told(&self, all: usize) -> Option<String> {
        let Self { count, first } = self;
        (*count > 0).then(|| format!("{count} of {all} are open, which the same command asks again; the first is {first}"))
    }
}

/// How long the daemon may say, without an answer to anybody in between, that it can't answer now.
struct Patience {
    limit: Duration,
    answered: Cell<Instant>,
}

/// Asks one, and asks again while the daemon says that it can't answer now.
async fn ask<'a>(client: &Client, request: &'a Request, patience: &Patience) -> Result<(&'a Request, Outcome), Failure> {
    loop {
        let outcome = match client.ask(&request.path, &request.body).await? {
            Asked::Later { after, why } if patience.answered.get().elapsed() + after > patience.limit => {
                return Ok((request, Outcome::Open(why)));
            }
            Asked::Later { after, .. } => {
                tokio::time::sleep(after).await;
                continue;
            }
            Asked::Answer(answer) => Outcome::Answer(answer),
            Asked::Refused(error) => Outcome::Refused(error),
            Asked::Failed(why) => Outcome::Open(why),
        };
        patience.answered.set(Instant::now());
        return Ok((request, outcome));
    }
}

/// Names that stand for two lines would make their results look alike.
fn twice<'a>(names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let mut seen = HashSet::new();
    names.into_iter().find(|name| !seen.insert(*name))
}
