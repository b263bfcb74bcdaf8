//! One to sixteen clients at once, each reading a stream of fixed length.

use anyhow::Result;
use serde_json::{Map, Value, json};

use super::{Bench, CONTEXT};
use crate::case::Dtype;
use crate::load::{Load, Question, ask_all};
use crate::row::{Better, Heading, Row};
use crate::server::{Dialect, Server};
use crate::turns::{Reached, part, turn_by_turn};

/// Slots of both servers: one for each client of the widest row.
const SLOTS: usize = 16;
/// Tokens of a prompt.
const PROMPT: usize = 32;
/// Tokens of an answer.
const ANSWER: usize = 64;

/// Two servers, some clients, and what is asked of them.
struct Comparison<'a> {
    group: &'a str,
    model: String,
    sides: [Result<Server>; 2],
    peer: &'a str,
    /// For the number of clients, in tokens per second.
    goal: fn(usize) -> Option<f64>,
    answer: usize,
}

/// GPT-2 against llama-server.
pub(super) async fn gpt2(bench: &Bench) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for dtype in bench.dtypes(&[Dtype::F32, Dtype::Q8]) {
        let comparison = Comparison {
            group: "http",
            model: format!("GPT-2 {}", dtype.name()),
            sides: [bench.our_gpt2(dtype, SLOTS).await, bench.their_gpt2(dtype, SLOTS).await],
            peer: "llama-server",
            goal: |clients| match clients {
                1 => Some(1.15),
                8 => Some(1.3),
                16 => Some(1.5),
                _ => None,
            },
            answer: ANSWER,
        };
        rows.extend(comparison.rows(bench, &bench.clients(&[1, 4, 8, 16])).await);
    }
    Ok(rows)
}

/// SmolLM2 on our llama.cpp against llama-server.
pub(super) async fn smollm2(bench: &Bench) -> Result<Vec<Row>> {
    let model = bench.places.smollm2()?;
    let threads = bench.asked.threads();
    let table: Map<String, Value> = Map::from_iter(
        [
            ("backend", json!("llama-cpp")),
            ("model", json!(model)),
            ("slots", json!(8)),
            ("context", json!(CONTEXT)),
            ("threads", json!(threads)),
        ]
        .map(|(key, value)| (key.to_owned(), value)),
    );
    let theirs = match bench.peer("llama-server") {
        Ok(()) => Server::llama(&bench.places, &model, 8, CONTEXT, threads).await,
        Err(cause) => Err(cause),
    };
    let comparison = Comparison {
        group: "smollm2",
        model: "SmolLM2".to_owned(),
        sides: [Server::minivault(&bench.places, "MiniVault SmolLM2", &table).await, theirs],
        peer: "llama-server",
        goal: |clients| match clients {
            1 => Some(1.0),
            4 => Some(1.15),
            8 => Some(1.2),
            _ => None,
        },
        answer: ANSWER,
    };
    Ok(comparison.rows(bench, &bench.clients(&[1, 4, 8])).await)
}

/// GPT-2 against the Python original.
pub(super) async fn original(bench: &Bench) -> Result<Vec<Row>> {
    let theirs = match bench.peer("the Python original") {
        Ok(()) => Server::original(&bench.places, bench.asked.threads()).await,
        Err(cause) => Err(cause),
    };
    let comparison = Comparison {
        group: "original",
        model: "GPT-2 f32".to_owned(),
        sides: [bench.our_gpt2(Dtype::F32, SLOTS).await, theirs],
        peer: "the Python original",
        goal: |clients| if clients == 1 { Some(10.0) } else { Some(40.0) },
        // It slows down with each token, so short answers flatter it; long ones would take minutes.
        answer: ANSWER / 2,
    };
    Ok(comparison.rows(bench, &bench.clients(&[1, 8])).await)
}

impl Comparison<'_> {
    async fn rows(mut self, bench: &Bench, numbers: &[usize]) -> Vec<Row> {
        let mut rows = Vec::new();
        self.warm_up(bench, numbers.iter().copied().max().unwrap_or(1)).await;
        for &clients in numbers {
            let questions: Vec<_> = (0..bench.asked.rounds()).map(|round| self.questions(bench, clients, round as u64)).collect();
            let mut reached = turn_by_turn(bench.asked.rounds(), &mut self.sides, async |side, round| match side {
                Ok(server) => ask_all(server, &questions[round]).await,
                Err(cause) => Err(crate::turns::copy(cause)),
            })
            .await
            .into_iter();
            let (Some(ours), Some(theirs)) = (reached.next(), reached.next()) else { continue };
            rows.extend(self.rows_of(clients, &ours, &theirs));
        }
        rows
    }

    /// The first answers of a server touch its memory for the first time. Says so if the two read the same text as different tokens.
    async fn warm_up(&self, bench: &Bench, clients: usize) {
        let mut prompts = Vec::new();
        for server in self.sides.iter().flatten() {
            // The original has no memory to touch, and takes half a minute.
            let clients = if server.dialect == Dialect::Original { 1 } else { clients };
            // What fails here fails again where it is measured.
            prompts.extend(ask_all(server, &self.questions(bench, clients, u64::MAX)).await.map(|load| load.prompt_tokens));
        }
        prompts.retain(|&tokens| tokens > 0);
        if prompts.windows(2).any(|pair| pair[0] != pair[1]) {
            eprintln!("  the same prompts have {prompts:?} tokens on the two sides");
        }
    }

    /// Other prompts in each round, so that nobody remembers them.
    fn questions(&self, bench: &Bench, clients: usize, round: u64) -> Vec<Question> {
        let seed = |client: usize| round.wrapping_mul(1000) ^ (clients * 100 + client) as u64;
        let prompt = |client| bench.words.text(PROMPT, seed(client));
        (0..clients).map(|client| Question { prompt: prompt(client), tokens: self.answer, cache: false }).collect()
    }

    fn rows_of(&self, clients: usize, ours: &Reached<Load>, theirs: &Reached<Load>) -> Vec<Row> {
        let name = format!("{} over HTTP, {clients} client{}", self.model, if clients == 1 { "" } else { "s" });
        let row = |what: &str, unit, better, value: fn(&Load) -> f64, goal| {
            let what = format!("{name}{what}");
            Heading { group: self.group, what: &what, unit, better }.row(&part(ours, value), self.peer, &part(theirs, value), goal)
        };
        vec![
            row("", "tokens/s", Better::More, |load| load.speed, (self.goal)(clients)),
            row(", time to first token", "ms", Better::Less, |load| load.first, None),
            row(", gap between tokens, median", "ms", Better::Less, |load| load.gap, None),
            row(", gap between tokens, 99th percentile", "ms", Better::Less, |load| load.long_gap, None),
        ]
    }
}
