//! Who takes part at the level of engines: long-lived workers of ours and in Python, and llama.cpp's own benchmark programs.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

use crate::case::{Answer, Case, Dtype};
use crate::places::Places;

/// The longest that loading a model, or a single measurement, may take.
const PATIENCE: Duration = Duration::from_secs(180);

/// One who computes cases.
pub struct Contestant {
    /// How rows name it.
    pub name: String,
    kind: Kind,
}

enum Kind {
    Worker(Worker),
    LlamaBench {
        bench: PathBuf,
        batched: PathBuf,
        model: PathBuf,
        threads: usize,
    },
    /// It can't take part, and why.
    Absent(String),
}

impl Contestant {
    /// MiniVault's GPT-2, in a process of its own.
    pub async fn minivault(places: &Places, dtype: Dtype, threads: usize) -> Self {
        let command = || -> Result<Command> {
            let mut command = Command::new(std::env::current_exe()?);
            command.arg("worker").arg(places.gpt2()?).args([dtype.name(), &threads.to_string()]);
            command.env("RAYON_NUM_THREADS", threads.to_string());
            Ok(command)
        };
        Self::worker(places, format!("MiniVault {}", dtype.name()), command()).await
    }

    /// llama.cpp, a process for each measurement: it loads in a moment.
    pub fn llama(places: &Places, dtype: Dtype, threads: usize) -> Self {
        let kind = || -> Result<Kind> {
            let (bench, batched) = (places.llama("llama-bench")?, places.llama("llama-batched-bench")?);
            Ok(Kind::LlamaBench { bench, batched, model: places.gpt2_for_llama(dtype)?, threads })
        };
        Self { name: format!("llama.cpp {}", dtype.of_llama()), kind: kind().unwrap_or_else(|cause| Kind::Absent(cause.to_string())) }
    }

    /// CTranslate2.
    pub async fn ctranslate2(places: &Places, dtype: Dtype, threads: usize) -> Self {
        let command = places.gpt2_for_ctranslate2().and_then(|model| python(places, "ctranslate2", model, dtype, threads));
        Self::worker(places, format!("CTranslate2 {}", dtype.of_ctranslate2()), command).await
    }

    /// Transformers' `generate`.
    pub async fn transformers(places: &Places, dtype: Dtype, threads: usize) -> Self {
        let command = places.gpt2().and_then(|model| python(places, "transformers", model, dtype, threads));
        Self::worker(places, "Transformers generate".to_owned(), command).await
    }

    async fn worker(places: &Places, name: String, command: Result<Command>) -> Self {
        let worker = match command {
            Ok(command) => Worker::start(command, places.log(&name)).await,
            Err(cause) => Err(cause),
        };
        Self { name, kind: worker.map_or_else(|cause| Kind::Absent(format!("{cause:#}")), Kind::Worker) }
    }

    /// Whether it is MiniVault.
    pub fn is_ours(&self) -> bool {
        self.name.starts_with("MiniVault")
    }

    /// Tokens per second over all sequences.
    ///
    /// # Errors
    /// It can't take part, can't do the case, or took too long.
    pub async fn measure(&mut self, case: Case) -> Result<f64> {
        match &mut self.kind {
            Kind::Worker(worker) => worker.measure(case).await,
            Kind::LlamaBench { bench, batched, model, threads } => {
                let mut command = if case.sequences == 1 { llama_bench(bench, case) } else { llama_batched_bench(batched, case) };
                command.arg("-m").arg(model).args(["-t", &threads.to_string()]);
                let speed = if case.sequences == 1 { "/0/avg_ts" } else { "/speed_tg" };
                llama_speed(command, speed).await
            }
            Kind::Absent(cause) => bail!("{cause}"),
        }
    }
}

fn python(places: &Places, library: &str, model: PathBuf, dtype: Dtype, threads: usize) -> Result<Command> {
    let mut command = Command::new(places.python()?);
    command.arg(places.script("worker.py")).arg(library).arg(model).args([dtype.name(), &threads.to_string()]);
    Ok(command)
}

fn llama_bench(program: &PathBuf, case: Case) -> Command {
    let mut command = Command::new(program);
    let (prompt, generated, depth) = if case.steps == 0 { (case.before, 0, 0) } else { (0, case.steps, case.before) };
    command.args(["-r", "1", "-o", "json", "-p", &prompt.to_string(), "-n", &generated.to_string(), "-d", &depth.to_string()]);
    command
}

fn llama_batched_bench(program: &PathBuf, case: Case) -> Command {
    let Case { sequences, before, steps } = case;
    // It rounds a sequence's part of the context up to 256.
    let context = sequences * (before + steps).next_multiple_of(256);
    let mut command = Command::new(program);
    command.args(["--output-format", "jsonl", "-c", &context.to_string(), "-npl", &sequences.to_string()]);
    command.args(["-npp", &before.to_string(), "-ntg", &steps.to_string()]);
    command
}

/// Runs one of llama.cpp's benchmarks and takes its speed out of the JSON among its output.
async fn llama_speed(mut command: Command, speed: &str) -> Result<f64> {
    let output = timeout(PATIENCE, command.kill_on_drop(true).stdin(Stdio::null()).output()).await.context("it took too long")??;
    let text = String::from_utf8_lossy(&output.stdout);
    let begin = text.find(['[', '{']).filter(|_| output.status.success());
    let json = begin.and_then(|begin| serde_json::Deserializer::from_str(&text[begin..]).into_iter::<Value>().next()?.ok());
    json.and_then(|json| json.pointer(speed)?.as_f64()).ok_or_else(|| {
        anyhow!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr).lines().last().unwrap_or("it said nothing"))
    })
}

/// A process that keeps its model and answers case after case.
struct Worker {
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
    log: PathBuf,
    _child: Child,
}

impl Worker {
    async fn start(mut command: Command, log: PathBuf) -> Result<Self> {
        let errors = std::fs::File::create(&log)?;
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(errors).kill_on_drop(true).spawn()?;
        let (input, output) = child.stdin.take().zip(child.stdout.take()).context("its pipes are gone")?;
        let mut worker = Self { input, output: BufReader::new(output).lines(), log, _child: child };
        ensure!(matches!(worker.answer().await?, Answer::Ready(_)), "it isn't ready");
        Ok(worker)
    }

    async fn measure(&mut self, case: Case) -> Result<f64> {
        self.input.write_all(format!("{}\n", serde_json::to_string(&case)?).as_bytes()).await?;
        match self.answer().await? {
            Answer::TokensPerSecond(speed) => Ok(speed),
            other => bail!("it answers {other:?}"),
        }
    }

    async fn answer(&mut self) -> Result<Answer> {
        let line = timeout(PATIENCE, self.output.next_line()).await.context("it took too long")??;
        let line = line.with_context(|| format!("it has ended: {}", last_line(&self.log)))?;
        match serde_json::from_str(&line).with_context(|| format!("it says {line}"))? {
            Answer::Error(cause) => bail!("{cause}"),
            answer => Ok(answer),
        }
    }
}

/// What a process said last.
pub fn last_line(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it said nothing").trim().to_owned()
}
