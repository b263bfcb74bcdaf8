//! Our side: MiniVault's GPT-2 as the workers' protocol has it, and its table in a configuration.

use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use minivault_engines::gpt2::{Gpt2Config, Gpt2Loader, Gpt2Model};
use minivault_engines::model::{Feed, Logits, Model, Rows, Slot};
use serde_json::{Map, Value, json};

use crate::case::{Answer, Case, Dtype};

/// Sequences that the widest case has.
const SLOTS: usize = 16;
/// A whole prompt of the longest case in one step, as the peers take it.
const STEP_TOKENS: usize = 512;
/// Tokens of GPT-2's vocabulary.
const VOCABULARY: usize = 50_257;

/// The engine's table in the configuration, but for `backend`.
///
/// # Errors
/// This build's GPT-2 doesn't have the dtype, or one of the other settings.
pub fn table(folder: &Path, dtype: Dtype, threads: usize, more: &Value) -> Result<Map<String, Value>> {
    let mut table = Map::from_iter([("model".to_owned(), json!(folder))]);
    table.extend(more.as_object().cloned().unwrap_or_default());
    table.insert("threads".into(), json!(threads));
    if let Err(cause) = config(&table) {
        // An older GPT-2 has no such key; its threads are set by RAYON_NUM_THREADS.
        table.remove("threads");
        config(&table).with_context(|| cause.to_string())?;
    }
    table.insert("dtype".into(), json!(dtype.name()));
    match config(&table) {
        Ok(_) => Ok(table),
        // f32 is what a GPT-2 without a choice computes in.
        Err(_) if dtype == Dtype::F32 => {
            table.remove("dtype");
            Ok(table)
        }
        Err(cause) => bail!("this build's gpt2 has no dtype {}: {cause}", dtype.name()),
    }
}

fn config(table: &Map<String, Value>) -> serde_json::Result<Gpt2Config> {
    serde_json::from_value(Value::Object(table.clone()))
}

/// A worker: loads the model, then measures each case that stdin names.
///
/// # Errors
/// The model can't be loaded, or the harness is gone.
pub fn work(folder: &Path, dtype: Dtype, threads: usize) -> Result<()> {
    let table = table(folder, dtype, threads, &json!({"slots": SLOTS, "step_tokens": STEP_TOKENS}))?;
    let loader = Gpt2Loader {
        name: "measured".into(),
        folder: PathBuf::from(folder),
        origin: folder.display().to_string(),
        config: config(&table)?,
    };
    let mut model = loader.load()?.model;
    measure(&mut model, Case { sequences: 1, before: 3, steps: 4 })?;
    say(&Answer::Ready(true))?;
    for line in std::io::stdin().lock().lines() {
        let case: Case = serde_json::from_str(&line?).context("the harness said what is no case")?;
        say(&measure(&mut model, case).map_or_else(|error| Answer::Error(error.to_string()), Answer::TokensPerSecond))?;
    }
    Ok(())
}

fn say(answer: &Answer) -> Result<()> {
    let mut output = std::io::stdout().lock();
    writeln!(output, "{}", serde_json::to_string(answer)?)?;
    Ok(output.flush()?)
}

/// Tokens per second over all sequences. As llama-bench does it, the tokens are any: a step's work doesn't depend on which they are, and
/// choosing them is not the model's.
fn measure(model: &mut Gpt2Model, case: Case) -> Result<f64> {
    let token = |slot: usize, place: usize| ((slot * 7919 + place * 104_729) % VOCABULARY) as u32;
    let mut logits = Logits::new(model.limits().logits_width);
    let begin = Instant::now();
    for slot in 0..case.sequences {
        model.release(Slot(slot));
        let prompt: Vec<u32> = (0..case.before).map(|place| token(slot, place)).collect();
        logits.clear();
        model.step(&[Feed { slot: Slot(slot), tokens: &prompt, rows: Rows::Last }], &mut logits)?;
    }
    if case.steps == 0 {
        return Ok((case.sequences * case.before) as f64 / begin.elapsed().as_secs_f64());
    }
    let begin = Instant::now();
    for step in 0..case.steps {
        let tokens: Vec<u32> = (0..case.sequences).map(|slot| token(slot, case.before + step)).collect();
        let feed = |(slot, token)| Feed { slot: Slot(slot), tokens: std::slice::from_ref(token), rows: Rows::Last };
        let feeds: Vec<Feed<'_>> = tokens.iter().enumerate().map(feed).collect();
        logits.clear();
        model.step(&feeds, &mut logits)?;
    }
    Ok((case.sequences * case.steps) as f64 / begin.elapsed().as_secs_f64())
}
