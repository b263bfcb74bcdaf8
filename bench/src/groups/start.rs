//! Starting: how long until the server is ready, and how much memory it has after its first answer.

use anyhow::Result;

use super::Bench;
use crate::case::Dtype;
use crate::load::{Question, ask, client};
use crate::row::{Better, Heading, Row};
use crate::server::Server;
use crate::turns::{part, turn_by_turn};

/// What a start showed.
struct Started {
    /// Milliseconds until it was ready.
    ready: f64,
    /// MiB after the first answer.
    memory: f64,
}

pub(super) async fn start(bench: &Bench) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for dtype in bench.dtypes(&Dtype::ALL) {
        // One slot shows the weights, eight what the default takes.
        for slots in [1, 8] {
            let mut reached = turn_by_turn(bench.asked.rounds(), &mut [true, false], async |ours, _| {
                let server = if *ours { bench.our_gpt2(dtype, slots).await? } else { bench.their_gpt2(dtype, slots).await? };
                started(bench, server).await
            })
            .await
            .into_iter();
            let (Some(ours), Some(theirs)) = (reached.next(), reached.next()) else { continue };
            let row = |what: &str, unit, value: fn(&Started) -> f64, goal| {
                let what = format!("GPT-2 {}, {what}, {slots} slot{}", dtype.name(), if slots == 1 { "" } else { "s" });
                let heading = Heading { group: "start", what: &what, unit, better: Better::Less };
                heading.row(&part(&ours, value), &format!("llama-server {}", dtype.of_llama()), &part(&theirs, value), goal)
            };
            let of = |f32, q8| match dtype {
                Dtype::F32 => f32,
                Dtype::Bf16 => None,
                Dtype::Q8 => q8,
            };
            rows.push(row("memory after the first answer", "MiB", |started| started.memory, of(Some(1.0), Some(0.9))));
            rows.push(row("ready after start, warm", "ms", |started| started.ready, of(Some(1.0), None)));
        }
    }
    Ok(rows)
}

async fn started(bench: &Bench, server: Server) -> Result<Started> {
    let ready = crate::load::milliseconds(server.ready_after);
    let question = Question { prompt: bench.words.text(32, 1), tokens: 32, cache: false };
    ask(&client(), &server, &question).await?;
    let memory = server.memory()? / f64::from(1 << 20);
    server.stop().await;
    Ok(Started { ready, memory })
}
