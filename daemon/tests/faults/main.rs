//! A real daemon on the scripted engine, and all that strangers and bad luck do to it: one table of what was seen and what must hold.
//!
//! `make faults` takes the whole of each; without `MINIVAULT_FAULTS_FULL` it is a small part, for `make test`. `--only NAME` runs one.
//! Started with `--config`, this program is the daemon itself, and with `engine` the process of one of its engines.
#![allow(clippy::unwrap_used)]

mod bodies;
mod child;
mod connection;
#[allow(dead_code)] // The other program that starts daemons uses more of it.
#[path = "../process/daemon.rs"]
mod daemon;
mod overload;
#[path = "../process/random.rs"]
mod random;
mod refusals;
mod resets;
mod slow;
mod soak;
mod streams;
mod table;

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use minivault_engines::Engines;
use minivault_engines::model::Limits;
use minivault_engines::testkit::{Script, ScriptedBackend, ScriptedVocabulary};

use daemon::{Daemon, Lines};
use table::Row;

/// How the daemon's engine is: told by variables, because it is another process.
#[derive(Clone, Copy)]
pub struct Engine {
    /// Requests computed side by side.
    pub slots: usize,
    /// Requests that may wait.
    pub queue: usize,
    /// Tokens of a step.
    pub step_tokens: usize,
    /// How long each step takes.
    pub pace: Duration,
}

const VARIABLES: [&str; 4] =
    ["MINIVAULT_FAULTS_SLOTS", "MINIVAULT_FAULTS_QUEUE", "MINIVAULT_FAULTS_STEP_TOKENS", "MINIVAULT_FAULTS_PACE_US"];

/// How much is done.
#[derive(Clone, Copy)]
pub struct Extent {
    /// The whole, and no part.
    pub full: bool,
}

impl Extent {
    /// So many, or so few where only a part is wanted.
    pub fn of(self, full: usize, part: usize) -> usize {
        if self.full { full } else { part }
    }

    /// How long something may take: a part is run beside other tests, which says nothing of times but that there is an end.
    pub fn within(self, limit: Duration) -> Duration {
        if self.full { limit } else { 20 * limit }
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == "--config") || arguments.first().is_some_and(|argument| argument == "engine") {
        return minivault_daemon::run(engines());
    }
    // As the other tests' programs do, when one is asked for by its name or all are only listed.
    let others = arguments.iter().filter(|argument| !argument.starts_with('-')).any(|name| !"faults".contains(name.as_str()));
    if others || arguments.iter().any(|argument| argument == "--list") {
        return ExitCode::SUCCESS;
    }
    let extent = Extent { full: std::env::var_os("MINIVAULT_FAULTS_FULL").is_some() };
    let only = std::env::var("MINIVAULT_FAULTS_ONLY").unwrap_or_default();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let mut rows = Vec::new();
    let mut run = |name: &str, faults: &mut dyn FnMut() -> Vec<Row>| {
        if only.is_empty() || only.split(',').any(|wanted| wanted == name) {
            eprintln!("faults: {name} …");
            rows.extend(faults());
        }
    };
    run("refusals", &mut || runtime.block_on(refusals::run(extent)));
    run("bodies", &mut || runtime.block_on(bodies::run(extent)));
    run("overload", &mut || runtime.block_on(overload::run(extent)));
    run("resets", &mut || runtime.block_on(resets::run(extent)));
    run("streams", &mut || runtime.block_on(streams::run(extent)));
    run("slow", &mut || runtime.block_on(slow::run(extent)));
    run("child", &mut || runtime.block_on(child::run(extent)));
    run("soak", &mut || runtime.block_on(soak::run(extent)));
    table::print(&rows);
    if rows.iter().all(|row| row.held) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

impl Engine {
    /// A daemon with such an engine, with these lines in `[server]`.
    pub fn start(self, folder: &Path, server: &str) -> Daemon {
        self.start_beside(folder, server, "")
    }

    /// The same with tables of other engines.
    pub fn start_beside(self, folder: &Path, server: &str, engines: &str) -> Daemon {
        let values = [self.slots, self.queue, self.step_tokens, self.pace.as_micros() as usize].map(|value| value.to_string());
        let variables: Vec<(&str, String)> = VARIABLES.into_iter().zip(values).collect();
        Daemon::start_with(folder, Lines { server, engines, ..Lines::default() }, &variables)
    }
}

fn engines() -> Engines {
    let [slots, queue, step_tokens, pace] = VARIABLES.map(|name| std::env::var(name).unwrap().parse::<usize>().unwrap());
    let limits = Limits { slots, step_tokens, context: 8192, logits_width: ScriptedVocabulary::SIZE };
    let script = Script { limits, pace: Duration::from_micros(pace as u64), record: None, ..Script::default() };
    Engines::builtin().with("scripted", ScriptedBackend { script, queue })
}

/// The table of an engine by this name on a real model, in a process of its own; without that model it is said why there is none.
pub fn smollm2(name: &str) -> Option<String> {
    let model = std::env::var("MINIVAULT_TEST_SMOLLM2").ok().filter(|model| !model.is_empty());
    if model.is_none() {
        eprintln!("faults: SmolLM2 isn't at hand (MINIVAULT_TEST_SMOLLM2 is its file), so no real engine is tried");
    }
    model.map(|model| format!("[engines.{name}]\nbackend = \"llama-cpp\"\nmodel = {model:?}\n"))
}
