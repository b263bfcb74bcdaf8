//! A real daemon on the scripted engine, killed at random moments under load, and asked many times: no acknowledged line is lost or doubled.
//!
//! `make torture` takes 500 rounds and 100,000 requests; without its variables this is a few of each. The seed is printed; with
//! `MINIVAULT_TORTURE_SEED` the same moments and modes are chosen again (when exactly a kill comes is the machine's doing).
//! Started with `--config`, this program is the daemon itself.
#![allow(clippy::unwrap_used)]

mod check;
mod client;
#[path = "../process/daemon.rs"]
mod daemon;
mod load;
#[path = "../process/random.rs"]
mod random;
mod rounds;

use std::process::ExitCode;

use minivault_engines::Engines;
use minivault_engines::model::Limits;
use minivault_engines::testkit::{Script, ScriptedBackend, ScriptedVocabulary};

use random::Random;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == "--config") {
        return minivault_daemon::run(engines());
    }
    // As the other tests' programs do, when one is asked for by its name or all are only listed.
    let others = arguments.iter().filter(|argument| !argument.starts_with('-')).any(|name| !"torture".contains(name.as_str()));
    if others || arguments.iter().any(|argument| argument == "--list") {
        return ExitCode::SUCCESS;
    }
    let seed = number("SEED").unwrap_or_else(|| u64::from(std::process::id()) ^ jiff::Timestamp::now().as_microsecond() as u64);
    println!("torture: MINIVAULT_TORTURE_SEED={seed}");
    let mut random = Random(seed);
    rounds::run(number("ROUNDS").unwrap_or(5) as usize, &mut random);
    load::run(number("REQUESTS").unwrap_or(2000) as usize);
    ExitCode::SUCCESS
}

fn number(name: &str) -> Option<u64> {
    std::env::var(format!("MINIVAULT_TORTURE_{name}")).ok().map(|value| value.parse().unwrap_or_else(|_| panic!("{name} is {value:?}")))
}

fn engines() -> Engines {
    let limits = Limits { slots: 64, step_tokens: 512, context: 512, logits_width: ScriptedVocabulary::SIZE };
    Engines::none().with("scripted", ScriptedBackend { script: Script { limits, record: None, ..Script::default() }, queue: 256 })
}
