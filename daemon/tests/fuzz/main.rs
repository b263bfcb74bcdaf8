//! Anything at all, given to each target of `fuzz/src`: some of it in `make test`, `make fuzz SECONDS=600` for so long each, and one table.
//!
//! `MINIVAULT_FUZZ_SECONDS` says how long, `MINIVAULT_FUZZ_ONLY=gguf,log` which ones, `MINIVAULT_FUZZ_SEED` what to begin with. An input that
//! a target fails on is made small and kept below `target/fuzz-found`; moved to `fuzz/found/NAME` it is a test from then on. A file of
//! which llama.cpp ends the process stays in the temporary folder, `minivault-fuzz-PID.gguf`.
#![allow(clippy::unwrap_used)]

mod cases;
#[allow(dead_code)] // libFuzzer's programs use more of it.
#[path = "../../../fuzz/src/lib.rs"]
mod targets;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};
use targets::{TARGETS, Target};

/// Cases of one target in `make test`.
const CASES: u32 = 200;
/// Cases with one seed.
const ROUND: u32 = 500;
/// How often a long run tells how far it is.
const MINUTE: Duration = Duration::from_secs(60);
/// More of them are likely to be the same one.
const MOST_FINDINGS: usize = 10;

/// What became of one target.
struct Row {
    target: &'static str,
    cases: u64,
    time: Duration,
    findings: usize,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // As the other tests' programs do, when one is asked for by its name or all are only listed.
    let others = arguments.iter().filter(|argument| !argument.starts_with('-')).any(|name| !"fuzz".contains(name.as_str()));
    if others || arguments.iter().any(|argument| argument == "--list") {
        return ExitCode::SUCCESS;
    }
    // A failure is told once, by what it was made smaller to.
    std::panic::set_hook(Box::new(|_| {}));
    let number = |name: &str| std::env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
    let time = number("MINIVAULT_FUZZ_SECONDS").map(Duration::from_secs);
    let seed = number("MINIVAULT_FUZZ_SEED").unwrap_or(1);
    let only = std::env::var("MINIVAULT_FUZZ_ONLY").unwrap_or_default();
    let wanted = |target: &&Target| only.is_empty() || only.split(',').any(|name| name == target.name);
    let rows: Vec<Row> = TARGETS.iter().filter(wanted).map(|target| run(target, time, seed)).collect();
    println!("| target | cases | seconds | findings |\n|---|---|---|---|");
    for Row { target, cases, time, findings } in &rows {
        println!("| {target} | {cases} | {} | {findings} |", time.as_secs());
    }
    if rows.iter().all(|row| row.findings == 0) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What was found earlier, then anything at all: a part with one seed, or for some time with one seed after the other.
fn run(target: &Target, time: Option<Duration>, first: u64) -> Row {
    let begun = Instant::now();
    let mut row = Row { target: target.name, cases: 0, time: Duration::ZERO, findings: 0 };
    for path in found(target.name) {
        let bytes = std::fs::read(&path).unwrap();
        row.cases += 1;
        if let Err(error) = tried(target, &bytes) {
            eprintln!("{}: {}: {error}", target.name, path.display());
            row.findings += 1;
        }
    }
    let cases = if time.is_some() { ROUND } else { CASES };
    let mut told = Duration::ZERO;
    for seed in first.. {
        let (tried, failure) = round(target, cases, seed);
        row.cases += tried;
        row.time = begun.elapsed();
        if let Some((reason, bytes)) = failure {
            let path = keep(target.name, &bytes);
            eprintln!("{}, seed {seed}: {reason}\nthe input is in {}", target.name, path.display());
            row.findings += 1;
        }
        let is_over = time.is_none_or(|time| row.time >= time) || row.findings >= MOST_FINDINGS;
        if is_over || row.time >= told + MINUTE {
            told = row.time;
            eprintln!("fuzz: {} {} cases in {} s up to seed {seed}, {} findings", row.target, row.cases, row.time.as_secs(), row.findings);
        }
        if is_over {
            break;
        }
    }
    row
}

/// Cases with one seed, the same each time, until the first that fails: it is made as small as it gets.
fn round(target: &Target, cases: u32, seed: u64) -> (u64, Option<(String, Vec<u8>)>) {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 2000, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    let count = std::cell::Cell::new(0);
    let outcome = runner.run(&cases::anything((target.seeds)()), |bytes| {
        count.set(count.get() + 1);
        tried(target, &bytes).map_err(TestCaseError::fail)
    });
    match outcome {
        Ok(()) => (count.get(), None),
        Err(TestError::Fail(reason, bytes)) => (count.get(), Some((reason.to_string(), bytes))),
        Err(TestError::Abort(reason)) => (count.get(), Some((reason.to_string(), Vec::new()))),
    }
}

/// A panic is the failure.
fn tried(target: &Target, bytes: &[u8]) -> Result<(), String> {
    std::panic::catch_unwind(|| (target.check)(bytes)).map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
    })
}

/// The inputs that a target failed on once.
fn found(name: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/found").join(name);
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

fn keep(name: &str, bytes: &[u8]) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("../fuzz-found").join(name);
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join(&blake3::hash(bytes).to_hex()[..16]);
    std::fs::write(&path, bytes).unwrap();
    path
}
