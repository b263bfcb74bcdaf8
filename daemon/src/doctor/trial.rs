//! The default engine, loaded and asked: what it says of itself, its files, and its pace beside what this machine's memory can do.

use std::collections::{BTreeMap, BTreeSet};
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use figment::value::Dict;
use minivault_engines::{GenerateRequest, MaxTokens, TextEngine, TextEvent};

use super::{Finding, checksums};
use crate::config::EngineSettings;
use crate::engine_table::{EngineTable, Phase};

/// Tokens of an answer on trial.
const TOKENS: usize = 32;
/// Words that are read to see how fast memory is: beyond every cache.
const WORDS: usize = 32 << 20;
/// How often; the best counts.
const READINGS: usize = 3;
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// Loads the default engine and asks it.
pub(super) async fn run(default: &str, engines: BTreeMap<String, EngineSettings>, tell: &mut impl FnMut(Finding)) {
    let tables: BTreeMap<String, Dict> = engines.iter().map(|(name, engine)| (name.clone(), engine.table.clone())).collect();
    let table = Arc::new(EngineTable::new(default.to_owned(), engines));
    let begun = Instant::now();
    let engine = match table.open_default().await {
        Ok(engine) => engine,
        Err(error) => {
            let advice = format!("mend what is named; a folder or file of your own goes into engines.{default}.model");
            tell(Finding::bad("model", error.to_string(), advice));
            return look_at(&table, default, &tables).await.into_iter().for_each(tell);
        }
    };
    let loaded = begun.elapsed().as_secs_f64();
    let info = engine.info();
    let seen = format!("{} from {}, loaded in {loaded:.1} s", info.model, info.source);
    tell(match table.default_phase() {
        Phase::Replaced { reason, .. } => {
            Finding::poor("model", seen, format!("`{default}` can't be had, so `{}` answers in its place. {reason}", info.name))
        }
        _ => Finding::good("model", seen),
    });
    let files = table.fetch(Some(&info.name)).await.unwrap_or_default();
    for name in BTreeSet::from([default, &info.name]) {
        look_at(&table, name, &tables).await.into_iter().for_each(&mut *tell);
    }
    let weights: u64 = files
        .iter()
        .filter(|file| file.extension().is_some_and(|kind| kind == "gguf" || kind == "safetensors"))
        .filter_map(|file| file.metadata().ok())
        .map(|file| file.len())
        .sum();
    match pace(&*engine).await {
        // An upstream's weights are read elsewhere.
        Ok(pace) if weights == 0 => tell(Finding::good("trial", format!("{pace:.1} tokens/s"))),
        Ok(pace) => {
            let bandwidth = tokio::task::spawn_blocking(bandwidth).await.unwrap_or_default();
            tell(Finding::good("trial", told(pace, weights, bandwidth, &info.computation.dtype)));
        }
        Err(error) => tell(Finding::bad("trial", error, "the diagnostic log says more with diagnostics.filter = \"debug\"")),
    }
    let closed = tokio::task::spawn_blocking(move || {
        drop(engine);
        table.close();
    });
    if closed.await.is_err() {
        tell(Finding::bad("model", "it could not be closed", "please report it"));
    }
}

/// Looks at an engine's files, where they can be had.
async fn look_at(table: &EngineTable, name: &str, tables: &BTreeMap<String, Dict>) -> Vec<Finding> {
    let files = table.files(name).await.unwrap_or_default();
    let (name, said) = (name.to_owned(), tables.get(name).cloned().unwrap_or_default());
    tokio::task::spawn_blocking(move || checksums::findings(&name, &files, &said)).await.unwrap_or_default()
}

/// Tokens a second, of one answer, from its first token on.
async fn pace(engine: &dyn TextEngine) -> Result<f64, String> {
    let answer = async {
        let mut request = GenerateRequest::text("Once upon a time there was", MaxTokens::AtMost(TOKENS));
        request.options.ignore_eos = true;
        let mut generation = engine.generate(request).await?;
        let (mut first, mut tokens, mut last) = (None, 0, Instant::now());
        loop {
            match futures_util::StreamExt::next(&mut generation).await {
                Some(Ok(TextEvent::Finished(finish))) => tokens = finish.usage.completion_tokens.max(tokens),
                Some(Ok(_)) => {
                    last = Instant::now();
                    first.get_or_insert(last);
                }
                Some(Err(error)) => return Err(error),
                None => break,
            }
        }
        let took = first.map_or(Duration::ZERO, |first| last - first).as_secs_f64();
        Ok(if took > 0.0 { (tokens.saturating_sub(1)) as f64 / took } else { 0.0 })
    };
    let answered = tokio::time::timeout(PATIENCE, answer).await;
    answered.map_err(|_| format!("no answer within {} s", PATIENCE.as_secs()))?.map_err(|error| error.to_string())
}

/// What the pace means: each token reads every weight once, so memory sets the limit.
fn told(pace: f64, weights: u64, bandwidth: f64, dtype: &str) -> String {
    let gigabytes = bandwidth / 1e9;
    if pace <= 0.0 || bandwidth <= 0.0 {
        return format!("{pace:.1} tokens/s; memory gives {gigabytes:.1} GB/s");
    }
    // Files of GPT-2 hold 32 bits for each weight; what is made of them at loading is smaller.
    let bytes = weights as f64
        * match dtype {
            "bf16" => 0.5,
            "q8" => 0.25,
            _ => 1.0,
        };
    let most = bandwidth / bytes;
    format!("{pace:.1} tokens/s; memory gives {gigabytes:.1} GB/s, which is {most:.0} reads of the weights ({:.0} %)", 100.0 * pace / most)
}

/// Bytes a second that all threads read from memory together.
fn bandwidth() -> f64 {
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let words: Vec<u64> = (0..WORDS as u64).collect();
    let read = || {
        let begun = Instant::now();
        std::thread::scope(|scope| {
            for part in words.chunks(WORDS.div_ceil(threads)) {
                scope.spawn(|| black_box(part.iter().fold(0_u64, |sum, word| sum.wrapping_add(*word))));
            }
        });
        (WORDS * size_of::<u64>()) as f64 / begun.elapsed().as_secs_f64()
    };
    (0..READINGS).map(|_| read()).fold(0.0, f64::max)
}
