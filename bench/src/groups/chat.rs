//! The second turn of a chat: its history has been computed once, so the first token should come at once.

use anyhow::{Result, ensure};
use serde_json::{Map, Value, json};

use super::{Bench, CONTEXT};
use crate::case::Dtype;
use crate::load::{Question, ask, client};
use crate::row::{Better, Heading, Row};
use crate::server::Server;
use crate::turns::{Reached, median, part, turn_by_turn};

/// Slots of both servers.
const SLOTS: usize = 8;
/// Tokens of the first turn's prompt, of its answer, and of what the user says then: 400 tokens of history.
const FIRST: usize = 376;
const ANSWER: usize = 24;
const SECOND: usize = 16;
/// Ends the first prompt: no tokenizer joins it to the word that answers, which would make other tokens of the same history.
const END: &str = " 7";

pub(super) async fn chat(bench: &Bench) -> Result<Vec<Row>> {
    let threads = bench.asked.threads();
    let mut rows = Vec::new();
    for dtype in bench.dtypes(&[Dtype::F32, Dtype::Q8]) {
        let sides = [bench.our_gpt2(dtype, SLOTS).await, bench.their_gpt2(dtype, SLOTS).await];
        rows.push(row(bench, &format!("GPT-2 {}", dtype.name()), sides).await);
    }
    let model = bench.places.smollm2()?;
    let settings = [
        ("backend", json!("llama-cpp")),
        ("model", json!(model)),
        ("slots", json!(SLOTS)),
        ("context", json!(CONTEXT)),
        ("threads", json!(threads)),
        ("reuse", json!("fast")),
    ];
    let table: Map<String, Value> = settings.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    let theirs = match bench.peer("llama-server") {
        Ok(()) => Server::llama(&bench.places, &model, SLOTS, CONTEXT, threads).await,
        Err(cause) => Err(cause),
    };
    let ours = Server::minivault(&bench.places, "MiniVault SmolLM2", &table).await;
    rows.push(row(bench, "SmolLM2 with reuse = \"fast\"", [ours, theirs]).await);
    Ok(rows)
}

async fn row(bench: &Bench, model: &str, mut sides: [Result<Server>; 2]) -> Row {
    let mut reached = turn_by_turn(bench.asked.rounds(), &mut sides, async |side, round| match side {
        Ok(server) => second_turn(bench, server, round).await,
        Err(cause) => Err(crate::turns::copy(cause)),
    })
    .await
    .into_iter();
    let mut next = || reached.next().unwrap_or_else(|| Ok(Vec::new()));
    let (ours, theirs) = (next(), next());
    let what = format!("{model}, second turn of a chat with 400 tokens of history, time to first token");
    let heading = Heading { group: "chat", what: &what, unit: "ms", better: Better::Less };
    let mut row = heading.row(&part(&ours, |turn| turn.first), "llama-server", &part(&theirs, |turn| turn.first), Some(1.0));
    let remembered = |reached: &Reached<Turn>| {
        reached.as_ref().map_or(f64::NAN, |turns| median(&turns.iter().map(|turn| turn.cached).collect::<Vec<_>>()))
    };
    row.note.get_or_insert_with(|| format!("tokens not computed again: {} of ours, {} of theirs", remembered(&ours), remembered(&theirs)));
    row
}

/// What was seen of a second turn.
struct Turn {
    /// Milliseconds to its first token.
    first: f64,
    /// Tokens of its prompt that were not computed again.
    cached: f64,
}

async fn second_turn(bench: &Bench, server: &Server, round: usize) -> Result<Turn> {
    let client = client();
    let prompt = bench.words.text(FIRST - 1, 2 * round as u64) + END;
    let first = ask(&client, server, &Question { prompt: prompt.clone(), tokens: ANSWER, cache: true }).await?;
    let more = bench.words.text(SECOND, 2 * round as u64 + 1);
    let second = ask(&client, server, &Question { prompt: format!("{prompt}{}{more}", first.text), tokens: 4, cache: true }).await?;
    ensure!(first.prompt_tokens >= FIRST / 2, "{}'s prompt had {} tokens", server.name, first.prompt_tokens);
    Ok(Turn { first: second.first(), cached: second.cached_tokens.unwrap_or_default() as f64 })
}
