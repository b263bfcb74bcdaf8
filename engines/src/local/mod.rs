//! `LocalEngine`: a [`TextEngine`] of any [`crate::model::Model`] in this process.
//!
//! A request passes [`admission`] on the caller's side, where all that can refuse it is done and [`rendering`] makes tokens of its prompt, and then waits for a slot. [`forms`] knows what
//! form its answer must have. The engine's thread ([`serve`]) runs [`batch`]: step after step, the next tokens of all [`sequence`]s side by side, as [`plan`] shares the step
//! out among them. [`turns`] says whose turn it is where several clients wait. [`family`] lets several answers to one request share their prompt. [`slots`] remembers what earlier sequences left in
//! the model's cache, [`draft`] guesses at tokens to be verified, [`masks`] computes beside a step which tokens a grammar allows after it.

mod admission;
mod batch;
mod draft;
mod family;
mod forms;
mod masks;
mod plan;
mod reading;
mod rendering;
mod scoring;
mod sequence;
mod serve;
mod slots;
mod turns;

use std::sync::Arc;
use std::thread::JoinHandle;

use async_trait::async_trait;
use tokio::sync::{mpsc, oneshot};

use crate::error::{EngineError, Result};
use crate::generation::{Generation, Token};
use crate::model::ModelLoader;
use crate::request::{GenerateRequest, Prompt, TokenId};
use crate::text_engine::{Embedding, EngineInfo, Health, LogitRows, RenderedPrompt, State, TextEngine};

use admission::Front;
pub use serve::Serve;
use serve::Shared;

/// What every local engine is told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LocalOptions {
    /// Requests that may wait for a slot; one more is refused as [`EngineError::Busy`].
    pub queue: usize,
    /// Whether a prompt that starts as an earlier one did is computed from where they part. For models whose logits don't depend on how
    /// the tokens before were fed; another one must not call itself more than [`Determinism::None`](crate::Determinism::None) with it.
    pub reuse: bool,
    /// Whether guesses at the next tokens, looked up in what a sequence said before, are verified beside them. For the same models.
    pub speculation: bool,
}

/// A model on a thread of its own.
///
/// Dropping it ends running requests with [`EngineError::Stopped`] and waits until the thread has let go of the model, which
/// takes one step at most.
pub struct LocalEngine {
    front: Front,
    shared: Arc<Shared>,
    /// `None` once the engine is being dropped; that closes the channel and so ends the thread.
    jobs: Option<mpsc::Sender<serve::Job>>,
    thread: Option<JoinHandle<()>>,
}

impl LocalEngine {
    /// Starts the thread and waits until the model is loaded.
    ///
    /// # Errors
    /// Whatever the loader says; [`EngineError::Unavailable`] if it panics.
    pub async fn start(options: LocalOptions, loader: impl ModelLoader) -> Result<Self> {
        let (report, loaded) = oneshot::channel();
        let thread = std::thread::Builder::new()
            .name("engine".into())
            .spawn(move || serve::run(options, Box::new(loader), report))
            .map_err(|error| EngineError::Unavailable(format!("the engine's thread can't be started: {error}")))?;
        // The thread reports in every case; a panic drops the sender.
        let serving = loaded.await.unwrap_or_else(|_| Err(EngineError::Unavailable("the model's loader panicked".into())))?;
        let serve::Serving { front, shared, jobs } = serving;
        Ok(Self { front, shared, jobs: Some(jobs), thread: Some(thread) })
    }

    /// The way to the thread for those who read a text bit by bit.
    fn readers(&self) -> Result<mpsc::WeakSender<serve::Job>> {
        match self.shared.state() {
            State::Failed(reason) => Err(EngineError::Unavailable(reason)),
            _ => Ok(self.jobs.as_ref().ok_or(EngineError::Stopped)?.downgrade()),
        }
    }

    fn submit(&self, job: serve::Job) -> Result<()> {
        if let State::Failed(reason) = self.shared.state() {
            return Err(EngineError::Unavailable(reason));
        }
        // There are as many places in the channel as permits, and the job carries one.
        self.jobs.as_ref().ok_or(EngineError::Stopped)?.try_send(job).map_err(|_| match self.shared.state() {
            State::Failed(reason) => EngineError::Unavailable(reason),
            _ => EngineError::Stopped,
        })
    }
}

#[async_trait]
impl TextEngine for LocalEngine {
    fn info(&self) -> Arc<EngineInfo> {
        self.front.info.clone()
    }

    fn health(&self) -> Health {
        self.shared.health(self.front.limits.slots)
    }

    async fn generate(&self, request: GenerateRequest) -> Result<Generation> {
        self.choices(request, 1).await?.pop().ok_or(EngineError::Stopped)
    }

    async fn choices(&self, request: GenerateRequest, count: usize) -> Result<Vec<Generation>> {
        self.check_determinism(&request)?;
        let (sequences, generations) = self.front.admit(request, count).await?;
        if !sequences.is_empty() {
            self.submit(serve::Job::Generate(sequences))?;
        }
        Ok(generations)
    }

    async fn render(&self, request: &GenerateRequest) -> Result<RenderedPrompt> {
        self.front.rendered(request).await
    }

    async fn score(&self, prompt: &Prompt, alternatives: usize) -> Result<Vec<Token>> {
        self.front.score(prompt, alternatives, self.readers()?).await
    }

    async fn token_bytes(&self, tokens: &[TokenId]) -> Result<Vec<Vec<u8>>> {
        self.front.check_tokens("tokens", tokens)?;
        Ok(self.front.token_bytes(tokens))
    }

    async fn prompt_prefix(&self) -> Result<Vec<TokenId>> {
        Ok(self.front.prefix().to_vec())
    }

    async fn tokenize(&self, text: &str) -> Result<Vec<TokenId>> {
        self.front.tokenize(text).await
    }

    async fn detokenize(&self, tokens: &[TokenId]) -> Result<String> {
        self.front.detokenize(tokens).await
    }

    async fn embed(&self, texts: &[Prompt]) -> Result<Vec<Embedding>> {
        if !self.front.info.capabilities.embeddings {
            return Err(self.unsupported("embeddings"));
        }
        let mut embeddings = Vec::with_capacity(texts.len());
        for text in texts {
            let (job, answer) = self.front.admit_embedding(text.clone()).await?;
            self.submit(serve::Job::Embed(job))?;
            embeddings.push(answer.await.unwrap_or(Err(EngineError::Stopped))?);
        }
        Ok(embeddings)
    }

    async fn logits(&self, tokens: &[TokenId]) -> Result<LogitRows> {
        Ok(self.front.admit_reading(self.front.prefix(), tokens, self.readers()?)?.rows())
    }
}

impl Drop for LocalEngine {
    fn drop(&mut self) {
        drop(self.jobs.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!(engine = self.front.info.name, "the engine's thread panicked");
        }
    }
}

#[cfg(test)]
mod tests;
