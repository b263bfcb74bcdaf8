//! Engines in a process of their own: what ends that process ends nothing else.
//!
//! llama.cpp ends the process where it meets something that it didn't expect, and no `catch_unwind` helps against that. So the daemon can start
//! itself a second time, as an engine ([`serve`]), and talk to it over a socket that nobody else can reach.
//!
//! - [`supervisor`]: the thread that starts the process, waits for its end, and starts it anew ([`restarts`]: not too often)
//! - [`child`]: what runs in the process
//! - [`link`]: calls and their answers, the daemon's side
//! - [`messages`], [`types`], [`wire`], [`frame`]: what is said, from its meaning down to its bytes
//! - [`log`]: what the process writes to standard error

mod child;
mod frame;
mod link;
mod log;
mod messages;
mod restarts;
mod shared;
mod supervisor;
mod types;
mod wire;

use std::convert::Infallible;
use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

pub use child::serve;

use crate::error::{EngineError, Result};
use crate::generation::{Generation, Token};
use crate::lock::lock;
use crate::registry::Opening;
use crate::request::{GenerateRequest, Prompt, TokenId};
use crate::text_engine::{Embedding, EngineInfo, Health, LogitRows, RenderedPrompt, TextEngine};
use crate::turn;
use link::Link;
use messages::{Answer, Call, Start};
use restarts::Restarts;
use shared::{Phase, Shared};
use supervisor::Supervisor;

/// The target under which lines that an engine's process wrote are logged, with its name as `engine`. That process has already left out what
/// the filter says, so a daemon shows all of them.
pub const LOG_TARGET: &str = "engine";

/// How long a process may take to end when it is asked to.
const ENDS_WITHIN: Duration = Duration::from_secs(10);

/// How an engine's process is started, and what it may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Isolation {
    /// A program that calls [`serve`], with the same backends, when it is given these arguments.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// What it is called in a list of processes, where that isn't the program's path.
    pub shown_as: Option<OsString>,
    /// Bytes of memory that it may have for itself: weights that are read and not mapped, KV cache, buffers, stacks (`RLIMIT_DATA`).
    pub memory_limit: Option<u64>,
}

impl Isolation {
    /// The program that runs, with other arguments.
    ///
    /// # Errors
    /// It can't be told which one that is.
    pub fn of_this_program(arguments: impl IntoIterator<Item = impl Into<OsString>>) -> io::Result<Self> {
        // Also when its file has been replaced by a newer version meanwhile, which would speak another language.
        let itself = PathBuf::from("/proc/self/exe");
        let is_there = itself.exists();
        Ok(Self {
            program: if is_there { itself } else { std::env::current_exe()? },
            arguments: arguments.into_iter().map(Into::into).collect(),
            shown_as: std::env::args_os().next().filter(|_| is_there),
            memory_limit: None,
        })
    }
}

/// An engine of the configuration that is opened in a process of its own.
pub(crate) struct Isolated {
    backend: String,
    table: Value,
    isolation: Isolation,
    /// Common to all that are opened: one that doesn't come up isn't started more often for being opened anew.
    restarts: Arc<Mutex<Restarts>>,
}

impl Isolated {
    pub fn new(backend: String, table: Value, isolation: Isolation) -> Self {
        Self { backend, table, isolation, restarts: Arc::default() }
    }

    pub async fn open(&self, opening: &Opening) -> Result<Arc<dyn TextEngine>> {
        let turn = turn::share().unwrap_or_else(|error| {
            tracing::warn!(engine = opening.name, %error, "engines of several processes can't take turns, and may hold each other up");
            Vec::new()
        });
        let start = Start {
            backend: self.backend.clone(),
            table: self.table.clone(),
            name: opening.name.clone(),
            base: opening.base.clone(),
            memory_limit: self.isolation.memory_limit,
            turn,
        };
        let (opening, opened) = oneshot::channel();
        let shared = Arc::new(Shared::new(start.name.clone(), opening));
        let (running, ended) = channel::<Infallible>();
        let supervisor = Supervisor {
            shared: shared.clone(),
            isolation: self.isolation.clone(),
            start,
            restarts: self.restarts.clone(),
            runtime: Handle::current(),
        };
        let run = move || {
            let _running = running;
            supervisor.run();
        };
        let thread = std::thread::Builder::new()
            .name("supervisor".into())
            .spawn(run)
            .map_err(|error| EngineError::Unavailable(format!("the supervisor's thread can't be started: {error}")))?;
        // From here on its being dropped ends the process, also while it loads.
        let engine = IsolatedEngine { shared, thread: Some(thread), ended: Mutex::new(ended) };
        opened.await.unwrap_or(Err(EngineError::Stopped))?;
        Ok(Arc::new(engine))
    }
}

/// An engine in a process of its own.
///
/// Dropping it ends running requests with [`EngineError::Stopped`] and waits until the process has ended.
struct IsolatedEngine {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    /// Closed when the thread ends.
    ended: Mutex<Receiver<Infallible>>,
}

impl IsolatedEngine {
    /// The way to the process, once it is up.
    async fn link(&self) -> Result<Arc<Link>> {
        let mut phases = self.shared.phases();
        let phase = phases.wait_for(|phase| !matches!(phase, Phase::Starting)).await.map_err(|_| EngineError::Stopped)?.clone();
        match phase {
            Phase::Running(link) => Ok(link),
            Phase::Failed(reason) => Err(EngineError::Unavailable(reason)),
            Phase::Starting | Phase::Stopped => Err(EngineError::Stopped),
        }
    }

    async fn ask(&self, call: Call) -> Result<Answer> {
        self.link().await?.ask(call).await
    }
}

/// What an answer holds, if it is of this kind.
macro_rules! held {
    ($answer:expr, $kind:ident) => {
        match $answer {
            Answer::$kind(held) => Ok(held),
            other => Err(link::unexpected(&other)),
        }
    };
}

#[async_trait]
impl TextEngine for IsolatedEngine {
    fn info(&self) -> Arc<EngineInfo> {
        self.shared.info()
    }

    fn health(&self) -> Health {
        self.shared.health()
    }

    fn recovers(&self) -> bool {
        true
    }

    async fn ready(&self) -> Result<()> {
        self.link().await.map(drop)
    }

    async fn generate(&self, request: GenerateRequest) -> Result<Generation> {
        self.choices(request, 1).await?.pop().ok_or(EngineError::Stopped)
    }

    async fn choices(&self, request: GenerateRequest, count: usize) -> Result<Vec<Generation>> {
        let link = self.link().await?;
        let begun = link.begin(request.clone(), count).await;
        if begun.is_err() && link.is_over() {
            // Nothing of it had begun: the process died of something else, or before it read this.
            return self.link().await?.begin(request, count).await;
        }
        begun
    }

    async fn render(&self, request: &GenerateRequest) -> Result<RenderedPrompt> {
        held!(self.ask(Call::Render(request.clone())).await?, Rendered)
    }

    async fn score(&self, prompt: &Prompt, alternatives: usize) -> Result<Vec<Token>> {
        held!(self.ask(Call::Score { prompt: prompt.clone(), alternatives }).await?, Scored)
    }

    async fn token_bytes(&self, tokens: &[TokenId]) -> Result<Vec<Vec<u8>>> {
        held!(self.ask(Call::TokenBytes(tokens.to_vec())).await?, Bytes)
    }

    async fn prompt_prefix(&self) -> Result<Vec<TokenId>> {
        held!(self.ask(Call::PromptPrefix).await?, Tokens)
    }

    async fn tokenize(&self, text: &str) -> Result<Vec<TokenId>> {
        held!(self.ask(Call::Tokenize(text.to_owned())).await?, Tokens)
    }

    async fn detokenize(&self, tokens: &[TokenId]) -> Result<String> {
        held!(self.ask(Call::Detokenize(tokens.to_vec())).await?, Text)
    }

    async fn embed(&self, texts: &[Prompt]) -> Result<Vec<Embedding>> {
        held!(self.ask(Call::Embed(texts.to_vec())).await?, Embedded)
    }

    async fn logits(&self, tokens: &[TokenId]) -> Result<LogitRows> {
        self.link().await?.read(tokens.to_vec()).await
    }
}

impl Drop for IsolatedEngine {
    fn drop(&mut self) {
        self.shared.stop();
        let ended = lock(&self.ended).recv_timeout(ENDS_WITHIN);
        if ended == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
            self.shared.kill();
        }
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!(engine = self.shared.name, "the supervisor panicked");
        }
    }
}

#[cfg(test)]
mod tests;
