//! What stands between an engine and its reader: the daemon, and other processes on the machine.

use std::process::Stdio;

use anyhow::Result;
use tokio::process::Command;

use super::Bench;
use crate::case::{Case, Dtype};
use crate::contestant::Contestant;
use crate::load::{Question, ask, client};
use crate::row::{Better, Heading, Row};
use crate::server::Server;
use crate::turns::turn_by_turn;

/// Tokens of the prompt and of the answer.
const PROMPT: usize = 16;
const ANSWER: usize = 160;

enum Side {
    Daemon(Server),
    Engine(Contestant),
}

/// The engine alone against the daemon with one client: tokens per second after the first one.
pub(super) async fn cost(bench: &Bench) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for dtype in bench.dtypes(&[Dtype::F32, Dtype::Q8]) {
        let daemon = bench.our_gpt2(dtype, 8).await?;
        let engine = Contestant::minivault(&bench.places, dtype, bench.asked.threads()).await;
        let mut sides = [Side::Daemon(daemon), Side::Engine(engine)];
        let mut reached = turn_by_turn(bench.asked.rounds(), &mut sides, async |side, round| match side {
            Side::Daemon(server) => pace(bench, server, round).await,
            Side::Engine(engine) => engine.measure(Case { sequences: 1, before: PROMPT, steps: ANSWER }).await,
        })
        .await
        .into_iter();
        let (Some(ours), Some(alone)) = (reached.next(), reached.next()) else { continue };
        let what = format!("GPT-2 {}, the daemon's cost: over HTTP, 1 client, against the engine alone", dtype.name());
        let heading = Heading { group: "cost", what: &what, unit: "tokens/s", better: Better::More };
        rows.push(heading.row(&ours, "its engine alone", &alone, (dtype == Dtype::Q8).then_some(0.93)));
    }
    Ok(rows)
}

/// One stream beside a process that wants a processor all the time.
pub(super) async fn busy(bench: &Bench) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for dtype in bench.dtypes(&[Dtype::F32, Dtype::Q8]) {
        for ours in [true, false] {
            let server = if ours { bench.our_gpt2(dtype, 8).await } else { bench.their_gpt2(dtype, 8).await };
            let mut reached = turn_by_turn(bench.asked.rounds(), &mut [true, false], async |busy, round| match &server {
                Ok(server) => {
                    let other = busy.then(spin).transpose()?;
                    let pace = pace(bench, server, round).await;
                    drop(other);
                    pace
                }
                Err(cause) => Err(crate::turns::copy(cause)),
            })
            .await
            .into_iter();
            let (Some(busy), Some(quiet)) = (reached.next(), reached.next()) else { continue };
            let name = if ours { "MiniVault" } else { "llama-server" };
            let what = format!("GPT-2 {}, {name}, 1 client beside a busy process", dtype.name());
            let heading = Heading { group: "busy", what: &what, unit: "tokens/s", better: Better::More };
            rows.push(heading.row(&busy, "the same when it is quiet", &quiet, ours.then_some(0.7)));
        }
    }
    Ok(rows)
}

async fn pace(bench: &Bench, server: &Server, round: usize) -> Result<f64> {
    let prompt = bench.words.text(PROMPT, round as u64);
    Ok(ask(&client(), server, &Question { prompt, tokens: ANSWER, cache: false }).await?.pace())
}

/// A process that keeps one processor busy until it is dropped.
fn spin() -> Result<tokio::process::Child> {
    Ok(Command::new(std::env::current_exe()?).arg("spin").stdin(Stdio::null()).kill_on_drop(true).spawn()?)
}
