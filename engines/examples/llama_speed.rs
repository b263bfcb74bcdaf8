//! How fast a GGUF file is on llama.cpp under several configurations: all in one process, turn by turn, medians.
//!
//! ```text
//! cargo run --workspace --example llama_speed -- FILE ROUNDS CASES KEY=VALUE,KEY=VALUE … KEY=VALUE …
//! ```
//!
//! CASES is a part of the names of those to measure, `decode, 8` for example, or `all`. Each argument after it is one configuration, its keys those of the engine's table in config.toml: `threads=2,ubatch=64`.

#[cfg(not(feature = "llama-cpp"))]
fn main() {}

#[cfg(feature = "llama-cpp")]
fn main() -> minivault_engines::error::Result<()> {
    measure::run()
}

#[cfg(feature = "llama-cpp")]
mod measure {
    use std::path::{Path, PathBuf};
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::time::Instant;

    use figment::Figment;
    use figment::providers::{Format, Toml};
    use minivault_engines::TokenId;
    use minivault_engines::error::{EngineError, Result};
    use minivault_engines::llama::{LlamaConfig, LlamaLoader};
    use minivault_engines::model::{Feed, Logits, Model, Rows, Slot};

    /// What is measured: `steps` steps of so many tokens for each of so many sequences, after `before` tokens.
    #[derive(Clone, Copy)]
    struct Case {
        name: &'static str,
        sequences: usize,
        before: usize,
        tokens: usize,
        steps: usize,
    }

    const CASES: [Case; 5] = [
        Case { name: "decode, 1 sequence, after 16", sequences: 1, before: 16, tokens: 1, steps: 32 },
        Case { name: "decode, 1 sequence, after 512", sequences: 1, before: 512, tokens: 1, steps: 24 },
        Case { name: "decode, 4 sequences, after 64", sequences: 4, before: 64, tokens: 1, steps: 16 },
        Case { name: "decode, 8 sequences, after 64", sequences: 8, before: 64, tokens: 1, steps: 12 },
        Case { name: "prefill 512", sequences: 1, before: 0, tokens: 512, steps: 1 },
    ];

    /// One configuration, on a thread of its own that rests between its measurements.
    struct Candidate {
        cases: Sender<Case>,
        speeds: Receiver<Result<f64>>,
    }

    pub fn run() -> Result<()> {
        let mut arguments = std::env::args().skip(1);
        let usage = || EngineError::Unavailable("usage: llama_speed FILE ROUNDS CASES [KEY=VALUE,…]…".to_owned());
        let file = PathBuf::from(arguments.next().ok_or_else(usage)?);
        let rounds: usize = arguments.next().and_then(|rounds| rounds.parse().ok()).ok_or_else(usage)?;
        let chosen = arguments.next().ok_or_else(usage)?;
        let written: Vec<String> = arguments.collect();
        let candidates = written.iter().map(|written| candidate(&file, written)).collect::<Result<Vec<_>>>()?;
        println!("| tokens/s, median of {rounds} | {} |\n|---{}|", written.join(" | "), "|---".repeat(written.len()));
        for case in CASES.into_iter().filter(|case| chosen == "all" || case.name.contains(&chosen)) {
            let mut speeds = vec![Vec::new(); candidates.len()];
            for _ in 0..rounds.max(1) {
                for (candidate, speeds) in candidates.iter().zip(&mut speeds) {
                    let gone = |_| EngineError::Stopped;
                    candidate.cases.send(case).map_err(|_| EngineError::Stopped)?;
                    speeds.push(candidate.speeds.recv().map_err(gone)??);
                }
            }
            let medians: Vec<String> = speeds.into_iter().map(|speeds| format!("{:.1}", median(speeds))).collect();
            println!("| {} | {} |", case.name, medians.join(" | "));
        }
        Ok(())
    }

    fn candidate(file: &Path, written: &str) -> Result<Candidate> {
        let toml = format!("model = \"\"\n{}", written.replace(',', "\n"));
        let config: LlamaConfig =
            Figment::from(Toml::string(&toml)).extract().map_err(|error| EngineError::Unavailable(format!("{written}: {error}")))?;
        let loader = LlamaLoader { name: "speed".into(), file: file.into(), origin: "disk".into(), chat_template: None, config };
        let (cases, asked) = channel::<Case>();
        let (answer, speeds) = channel();
        std::thread::spawn(move || {
            let outcome = loader.lend(|_, _, model| {
                for case in asked {
                    // Nobody listens any more when the measuring has broken off.
                    let _ = answer.send(case.speed(model));
                }
                Ok(())
            });
            if let Err(error) = outcome {
                eprintln!("{error}");
            }
        });
        Ok(Candidate { cases, speeds })
    }

    impl Case {
        /// Tokens per second over all sequences.
        fn speed(&self, model: &mut dyn Model) -> Result<f64> {
            let limits = model.limits();
            let tokens = |seed: usize, count: usize| -> Vec<TokenId> {
                // Any tokens do: a step's work doesn't depend on which they are.
                (0..count).map(|place| ((seed * 7919 + place * 104_729) % limits.logits_width) as TokenId).collect()
            };
            let mut logits = Logits::new(limits.logits_width);
            for slot in (0..self.sequences).map(Slot) {
                model.release(slot);
                for tokens in tokens(slot.0, self.before).chunks(limits.step_tokens) {
                    model.step(&[Feed { slot, tokens, rows: Rows::None }], &mut logits)?;
                }
            }
            let fed: Vec<Vec<TokenId>> = (0..self.sequences).map(|slot| tokens(slot + 100, self.tokens)).collect();
            let start = Instant::now();
            for _ in 0..self.steps {
                for begin in (0..self.tokens).step_by(limits.step_tokens) {
                    let piece = |tokens: &'_ [TokenId]| begin..tokens.len().min(begin + limits.step_tokens);
                    let feed = |(slot, tokens)| Feed { slot: Slot(slot), tokens, rows: Rows::Last };
                    let feeds: Vec<Feed<'_>> = fed.iter().map(|tokens| &tokens[piece(tokens)]).enumerate().map(feed).collect();
                    logits.clear();
                    model.step(&feeds, &mut logits)?;
                }
            }
            let speed = (self.steps * self.sequences * self.tokens) as f64 / start.elapsed().as_secs_f64();
            (0..self.sequences).for_each(|slot| model.release(Slot(slot)));
            Ok(speed)
        }
    }

    fn median(mut values: Vec<f64>) -> f64 {
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    }
}
