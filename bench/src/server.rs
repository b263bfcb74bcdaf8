//! The servers that are measured over HTTP, each in a process of its own on a free port.

use std::fmt::Write as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value};
use tokio::process::{Child, Command};

use crate::contestant::last_line;
use crate::places::Places;

/// The longest that a server may take to start.
const PATIENCE: Duration = Duration::from_secs(120);
/// Between two looks at whether it is ready.
const LOOK: Duration = Duration::from_millis(2);

/// Which API it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// MiniVault's own.
    MiniVault,
    /// llama-server's.
    Llama,
    /// The Python original's.
    Original,
}

/// A running server. Dropping it ends it.
pub struct Server {
    /// How rows name it.
    pub name: String,
    /// How to talk to it.
    pub dialect: Dialect,
    /// `http://127.0.0.1:PORT`
    pub url: String,
    /// From the start of its process to the first time it said that it is ready.
    pub ready_after: Duration,
    child: Child,
}

impl Server {
    /// Our daemon with one engine, whose table of the configuration is given.
    ///
    /// # Errors
    /// It doesn't get ready; with the last thing it said.
    pub async fn minivault(places: &Places, name: &str, engine: &Map<String, Value>) -> Result<Self> {
        let port = free_port()?;
        let mut config = format!("engine = \"measured\"\n[server]\nlisten = \"127.0.0.1:{port}\"\n");
        // A log for each start, so that none grows over many runs.
        let log = places.log(name).with_extension("jsonl");
        let _ = std::fs::remove_file(&log);
        write!(config, "[log]\npath = {}\n[engines.measured]\n", Value::from(log.to_string_lossy()))?;
        for (key, value) in engine {
            // Strings, numbers and booleans are spelt alike in JSON and TOML.
            writeln!(config, "{key} = {value}")?;
        }
        let file = places.log(name).with_extension("toml");
        std::fs::write(&file, config)?;
        let mut command = Command::new(&places.minivaultd);
        command.arg("--config").arg(file);
        Self::start(places, name, Dialect::MiniVault, port, command, "ready").await
    }

    /// llama-server without mmap, with so many slots of `context` tokens.
    ///
    /// # Errors
    /// It doesn't get ready; with the last thing it said.
    pub async fn llama(places: &Places, model: &Path, slots: usize, context: usize, threads: usize) -> Result<Self> {
        let port = free_port()?;
        let mut command = Command::new(places.llama("llama-server")?);
        command.arg("-m").arg(model).args(["--load-mode", "none", "--no-webui", "--host", "127.0.0.1", "--port", &port.to_string()]);
        command.args(["-np", &slots.to_string(), "-c", &(slots * context).to_string()]);
        command.args(["-t", &threads.to_string(), "-tb", &threads.to_string()]);
        Self::start(places, "llama-server", Dialect::Llama, port, command, "health").await
    }

    /// The Python original.
    ///
    /// # Errors
    /// It doesn't get ready; with the last thing it said.
    pub async fn original(places: &Places, threads: usize) -> Result<Self> {
        let port = free_port()?;
        let mut command = Command::new(places.python()?);
        command.arg(places.script("original.py")).arg(places.gpt2()?).args([port.to_string(), threads.to_string()]);
        Self::start(places, "the Python original", Dialect::Original, port, command, "ready").await
    }

    async fn start(places: &Places, name: &str, dialect: Dialect, port: u16, mut command: Command, probe: &str) -> Result<Self> {
        let log = places.log(name);
        let errors = std::fs::File::create(&log)?;
        let url = format!("http://127.0.0.1:{port}");
        let client = reqwest::Client::new();
        let begin = Instant::now();
        let mut child = command.stdin(std::process::Stdio::null()).stdout(errors.try_clone()?).stderr(errors).kill_on_drop(true).spawn()?;
        loop {
            let answer = client.get(format!("{url}/{probe}")).send().await;
            if answer.is_ok_and(|answer| answer.status().is_success()) {
                return Ok(Self { name: name.to_owned(), dialect, url, ready_after: begin.elapsed(), child });
            }
            if child.try_wait()?.is_some() || begin.elapsed() > PATIENCE {
                bail!("{name} doesn't get ready: {}", last_line(&log));
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Its memory in bytes, what it shares with others in proportion.
    ///
    /// # Errors
    /// It is gone, or this isn't Linux.
    pub fn memory(&self) -> Result<f64> {
        let id = self.child.id().context("it is gone")?;
        let file = PathBuf::from(format!("/proc/{id}/smaps_rollup"));
        let text = std::fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        let kilobytes = text.lines().find_map(|line| line.strip_prefix("Pss:")?.trim().strip_suffix("kB")?.trim().parse::<f64>().ok());
        Ok(kilobytes.with_context(|| format!("{} has no Pss", file.display()))? * 1024.0)
    }

    /// Ends it and waits until it is gone.
    pub async fn stop(mut self) {
        // It may have ended by itself.
        let _ = self.child.kill().await;
    }
}

/// A port that nobody listens on. Somebody else could take it before the server does; then the server says so.
fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
