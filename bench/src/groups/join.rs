//! A long prompt joins eight busy streams: how long it waits, and how long they do.

use std::ops::Range;
use std::time::Instant;

use anyhow::{Context, Result};
use futures_util::future::try_join_all;
use tokio::sync::watch;

use super::Bench;
use crate::case::Dtype;
use crate::load::{Answer, Question, ask, ask_and_tell, client, milliseconds};
use crate::row::{Better, Heading, Row};
use crate::server::Server;
use crate::turns::{part, quantile, turn_by_turn};

/// Streams that are busy.
const STREAMS: usize = 8;
/// Tokens of each one's prompt and answer: long enough to outlast the joining on any side.
const PROMPT: usize = 16;
const ANSWER: usize = 160;
/// Tokens that each has before the long prompt comes.
const UNDER_WAY: usize = 16;
/// Tokens of the long prompt.
const JOINER: usize = 512;

/// What was seen of one joining, in milliseconds.
struct Joining {
    /// The long prompt's time to its first token.
    first: f64,
    /// The 99th percentile of the streams' gaps meanwhile.
    long_gap: f64,
}

pub(super) async fn join(bench: &Bench) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for dtype in bench.dtypes(&[Dtype::F32, Dtype::Q8]) {
        let mut sides = [bench.our_gpt2(dtype, 16).await, bench.their_gpt2(dtype, 16).await];
        let mut reached = turn_by_turn(bench.asked.rounds(), &mut sides, async |side, round| match side {
            Ok(server) => joining(bench, server, round).await,
            Err(cause) => Err(crate::turns::copy(cause)),
        })
        .await
        .into_iter();
        let (Some(ours), Some(theirs)) = (reached.next(), reached.next()) else { continue };
        let row = |what: &str, value: fn(&Joining) -> f64, goal| {
            let what = format!("GPT-2 {}, 512-token prompt joins 8 busy streams, {what}", dtype.name());
            let heading = Heading { group: "join", what: &what, unit: "ms", better: Better::Less };
            heading.row(&part(&ours, value), "llama-server", &part(&theirs, value), Some(goal))
        };
        rows.push(row("its time to first token", |joining| joining.first, 1.5));
        rows.push(row("99th percentile gap of the 8", |joining| joining.long_gap, 1.2));
    }
    Ok(rows)
}

async fn joining(bench: &Bench, server: &Server, round: usize) -> Result<Joining> {
    let seed = |client: usize| (round * 100 + client) as u64;
    let question = |client, prompt, tokens| Question { prompt: bench.words.text(prompt, seed(client)), tokens, cache: false };
    // Each stream tells here how far it is.
    let (progress, mut seen) = watch::channel([0; STREAMS]);
    let streams = try_join_all((0..STREAMS).map(|stream| {
        let (progress, question) = (&progress, question(stream, PROMPT, ANSWER));
        async move {
            let tell = |pieces| {
                progress.send_modify(|all| all[stream] = pieces);
            };
            ask_and_tell(&client(), server, &question, tell).await
        }
    }));
    // Made before: making it would keep the streams from being read.
    let one_more = client();
    let joiner = async {
        seen.wait_for(|all| all.iter().all(|&pieces| pieces >= UNDER_WAY)).await.context("the streams have ended")?;
        ask(&one_more, server, &question(STREAMS, JOINER, 2)).await
    };
    let (streams, joiner) = tokio::try_join!(streams, joiner)?;
    let arrived = *joiner.pieces.first().context("the long prompt got no text")?;
    let meanwhile = |gap: &Range<Instant>| gap.end > joiner.asked && gap.start < arrived;
    let gaps = streams.iter().flat_map(Answer::gaps).filter(meanwhile);
    let gaps: Vec<f64> = gaps.map(|gap| milliseconds(gap.end - gap.start)).collect();
    Ok(Joining { first: joiner.first(), long_gap: quantile(&gaps, 0.99) })
}
