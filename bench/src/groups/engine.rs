//! Engines without HTTP: decoding and prompts, each library on the same weights.

use anyhow::Result;

use super::Bench;
use crate::case::{Case, Dtype};
use crate::contestant::Contestant;
use crate::row::{Better, Heading, Row};
use crate::turns::{Reached, turn_by_turn};

/// Tokens of the short context.
const SHORT: usize = 16;
/// Tokens of the long context, and of the prompt.
const LONG: usize = 512;
/// Bytes of a weight, DistilGPT2's weights that each token reads, and what it reads of the cache besides (6 layers of keys and values).
const PARAMETERS: f64 = 81_912_576.0 - 1024.0 * 768.0;
const CACHE_A_TOKEN: f64 = 6.0 * 2.0 * 768.0 * 4.0;

/// Decoding after a short and a long context, for one and for several sequences.
pub(super) async fn decode(bench: &Bench) -> Result<Vec<Row>> {
    let steps = |sequences| if sequences == 1 { 64 } else { 32 };
    let mut cases: Vec<_> =
        bench.asked.sequences.iter().map(|&sequences| Case { sequences, before: SHORT, steps: steps(sequences) }).collect();
    if bench.asked.sequences.contains(&1) {
        cases.insert(1, Case { sequences: 1, before: LONG, steps: 48 });
    }
    rows(bench, "decode", &cases).await
}

/// A prompt of 512 tokens.
pub(super) async fn prefill(bench: &Bench) -> Result<Vec<Row>> {
    rows(bench, "prefill", &[Case { sequences: 1, before: LONG, steps: 0 }]).await
}

async fn rows(bench: &Bench, group: &str, cases: &[Case]) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for dtype in bench.dtypes(&Dtype::ALL) {
        let mut contestants = contestants(bench, dtype).await;
        for &case in cases {
            rows.extend(compare(bench, group, dtype, case, &mut contestants).await);
        }
    }
    Ok(rows)
}

/// Ours first, then the peers.
async fn contestants(bench: &Bench, dtype: Dtype) -> Vec<Contestant> {
    let (places, threads) = (&bench.places, bench.asked.threads());
    let mut contestants = vec![Contestant::minivault(places, dtype, threads).await];
    if bench.asked.has_peer("llama.cpp") {
        contestants.push(Contestant::llama(places, dtype, threads));
    }
    if bench.asked.has_peer("CTranslate2") {
        contestants.push(Contestant::ctranslate2(places, dtype, threads).await);
    }
    if dtype == Dtype::F32 && bench.asked.has_peer("Transformers") {
        contestants.push(Contestant::transformers(places, dtype, threads).await);
    }
    contestants
}

async fn compare(bench: &Bench, group: &str, dtype: Dtype, case: Case, contestants: &mut [Contestant]) -> Vec<Row> {
    // Transformers comes last; it has a goal for one sequence only, and takes its time.
    let slow = contestants.last().is_some_and(|last| last.name.starts_with("Transformers")) && (case.sequences > 1 || case.steps == 0);
    let contestants = if slow { contestants.split_last_mut().map_or(&mut [][..], |(_, rest)| rest) } else { contestants };
    let threads = bench.asked.threads();
    let alone = dtype == Dtype::F32 && case.sequences == 1 && case.before == SHORT;
    let mut bandwidths = Vec::new();
    let mut reached = turn_by_turn(bench.asked.rounds(), contestants, async |contestant, _| {
        let speed = contestant.measure(case).await?;
        if alone && contestant.is_ours() {
            bandwidths.push(bench.memory.read(threads) / 1e9);
        }
        Ok(speed)
    })
    .await
    .into_iter();
    let what = format!("GPT-2 {} {case}", dtype.name());
    let heading = Heading { group, what: &what, unit: "tokens/s", better: Better::More };
    // `contestants` begins with ours.
    let Some(ours) = reached.next() else { return Vec::new() };
    let mut rows: Vec<Row> = contestants[1..]
        .iter()
        .zip(reached)
        .map(|(peer, theirs)| heading.row(&ours, &peer.name, &theirs, goal(dtype, case, &peer.name)))
        .collect();
    if rows.is_empty() {
        rows.push(heading.row(&ours, "–", &Err(anyhow::anyhow!("no peer takes part")), None));
    }
    if alone {
        rows.push(share_of_bandwidth(group, case, &ours, &bandwidths));
    }
    rows
}

/// What decoding reads against what the machine can read: the best of the readings between the turns.
fn share_of_bandwidth(group: &str, case: Case, ours: &Reached<f64>, bandwidths: &[f64]) -> Row {
    let context = (case.before + case.steps / 2) as f64;
    let bytes = PARAMETERS * 4.0 + context * CACHE_A_TOKEN;
    let ours = ours.as_ref().map(|speeds| speeds.iter().map(|speed| speed * bytes / 1e9).collect()).map_err(crate::turns::copy);
    let best = bandwidths.iter().copied().fold(f64::NAN, f64::max);
    let what = "GPT-2 f32 decode, 1 sequence: bytes read against the memory's bandwidth";
    Heading { group, what, unit: "GB/s", better: Better::More }.row(&ours, "streaming read", &Ok(vec![best]), Some(0.9))
}

/// The ratio to reach. What is asked of one sequence is asked after both contexts.
fn goal(dtype: Dtype, case: Case, peer: &str) -> Option<f64> {
    let llama = peer.starts_with("llama.cpp");
    let ctranslate2 = peer.starts_with("CTranslate2");
    if case.steps == 0 {
        // Against the better one of the two, so against both.
        return (llama || ctranslate2).then_some(if dtype == Dtype::Bf16 { 1.3 } else { 1.0 });
    }
    match (dtype, case.sequences) {
        (Dtype::F32, 1) if llama => Some(1.3),
        (Dtype::F32, 1) if ctranslate2 => Some(1.4),
        (Dtype::F32, 1) => Some(2.8),
        (Dtype::F32, 8 | 16) if llama => Some(1.2),
        (Dtype::Bf16, 1) if llama => Some(1.15),
        (Dtype::Bf16, 8) if llama => Some(1.8),
        (Dtype::Bf16, 16) if llama => Some(2.0),
        (Dtype::Q8, 1) if llama => Some(1.3),
        (Dtype::Q8, 8) if llama => Some(2.0),
        (Dtype::Q8, 16) if llama => Some(1.5),
        (Dtype::Q8, 1 | 8) if ctranslate2 => Some(3.0),
        (Dtype::Q8, 16) if ctranslate2 => Some(1.8),
        _ => None,
    }
}
