//! `minivault batch`: many requests from a file, each answered exactly once in another one, in their order.
//!
//! - [`requests`]: what the lines of the first file ask
//! - [`results`]: the second file, and how far it is

mod requests;
mod results;

use std::collections::HashSet;
use std::time::Duration;

use futures_util::stream::{self, StreamExt};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::arguments::Batch;
use crate::client::{Asked, Client};
use crate::failure::Failure;
use crate::output::Output;
use requests::Request;
use results::Results;

/// How long a daemon may say that it can't answer now.
const PATIENCE: Duration = Duration::from_secs(600);

/// Asks whatever isn't answered yet.
pub async fn run(client: &Client, arguments: Batch, output: &mut Output) -> Result<(), Failure> {
    let Batch { input, output: target, concurrency, sampling } = arguments;
    let requests = requests::read(&input, &sampling)?;
    let mut results = Results::open(&target, &requests)?;
    let done = results.answered();
    if done > 0 {
        output.note(&format!("{done} of {} are answered in {target} already", requests.len()));
    }
    let bar = output.progress(requests.len());
    bar.set_position(done as u64);
    // What was answered before this run says nothing of how fast it is.
    bar.reset_eta();
    let (started, mut tokens, mut refused) = (Instant::now(), 0, results.refused());
    let mut answers = stream::iter(&requests[done..]).map(|request| ask(client, request)).buffered(concurrency.get());
    while let Some(answer) = answers.next().await {
        let (request, outcome) = answer?;
        let result = match outcome {
            Ok(answer) => {
                tokens += answer.pointer("/usage/completion_tokens").and_then(Value::as_u64).unwrap_or(0);
                request.result("answer", &answer)
            }
            Err(error) => {
                refused += 1;
                request.result("error", &error)
            }
        };
        results.add(&result)?;
        let rate = tokens as f64 / started.elapsed().as_secs_f64().max(0.001);
        bar.set_message(format!("{rate:.0} tokens/s{}", if refused > 0 { format!(" · {refused} refused") } else { String::new() }));
        bar.inc(1);
    }
    results.finish()?;
    bar.finish_and_clear();
    output.note(&format!("{} answered in {:.1} s, {tokens} tokens", requests.len() - done, started.elapsed().as_secs_f64()));
    match refused {
        0 => Ok(()),
        refused => Err(Failure::Failed(format!("{refused} of {} were refused; their lines in {target} say why", requests.len()))),
    }
}

/// Asks one, and asks again while the daemon says that it can't answer now.
async fn ask<'a>(client: &Client, request: &'a Request) -> Result<(&'a Request, Result<Value, Value>), Failure> {
    let begun = Instant::now();
    loop {
        match client.ask(&request.path, &request.body).await? {
            Asked::Answer(answer) => return Ok((request, Ok(answer))),
            Asked::Refused(error) => return Ok((request, Err(error))),
            Asked::Later { after, why } if begun.elapsed() + after > PATIENCE => {
                return Err(Failure::Failed(format!("{why}; the same command goes on where it stopped")));
            }
            Asked::Later { after, .. } => tokio::time::sleep(after).await,
        }
    }
}

impl Request {
    fn result(&self, kind: &str, outcome: &Value) -> Value {
        json!({"line": self.line, "request": self.written, kind: outcome})
    }
}

/// Names that stand for two lines would make their results look alike.
fn twice<'a>(names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let mut seen = HashSet::new();
    names.into_iter().find(|name| !seen.insert(*name))
}
