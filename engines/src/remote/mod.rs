//! Upstream servers that speak OpenAI's API: llama-server, vLLM, Ollama, another minivaultd. The backend `openai`.
//!
//! A [`Question`](question::Question) is a request in the API's form: a text for `/completions`, a chat, unrendered, for
//! `/chat/completions`. An [`Answer`](answer::Answer) asks a server of the [`fleet`], always for a stream, and passes each token on as it
//! comes; as long as it has passed on nothing, a server that fails is followed by the next one.
//!
//! - `config`: the engine's table
//! - `fleet`, `server`: the servers, which one is asked next, and how
//! - `calls`: which call of a tool a piece belongs to
//! - `question`, `chunk`: requests and answers in the API's dialects
//! - `events`: server-sent events
//! - `failure`, `complaint`: what a refusal, silence or nonsense means
//! - `description`: what the servers tell of the model
//!
//! What a server says of its failures goes to the diagnostic log; whoever asked is told only what happened. A refused request is
//! explained in the server's words, because only they say what is wrong with it.

mod answer;
mod calls;
mod chunk;
mod complaint;
mod config;
mod description;
mod events;
mod failure;
mod fleet;
mod question;
mod server;

use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use futures_util::future::try_join_all;
use reqwest::header::HeaderValue;
use tokio::sync::{Semaphore, watch};

use crate::error::{EngineError, Result};
use crate::generation::{Beginning, Generation};
use crate::meter::Measured;
use crate::registry::{Backend, Opening};
use crate::request::{GenerateRequest, Prompt, RequestOptions, seed_of_choice};
use crate::text_engine::{Capabilities, Computation, Determinism, EngineInfo, Health, State, TextEngine};

pub use config::OpenAiConfig;

use answer::{Answer, Context};
use description::Description;
use fleet::Fleet;
use question::Question;
use server::Server;

/// What a stream in these pieces says, as an upstream server's answer is read: each event's name and data.
///
/// # Errors
/// What makes no sense, as the diagnostic log would have it.
#[cfg(feature = "testkit")]
pub fn read_events<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> std::result::Result<Vec<(String, String)>, String> {
    let mut decoder = events::Decoder::default();
    let mut read = Vec::new();
    for piece in pieces {
        decoder.push(piece);
        while let Some(event) = decoder.next().map_err(|failure| format!("{failure:?}"))? {
            read.push((event.name, event.data));
        }
    }
    Ok(read)
}

/// Events of an answer that wait for its reader, at most: as many as an answer has tokens, but for very long ones.
const MOST_WAITING: usize = 1 << 16;

/// The backend `openai`.
#[derive(Debug, Clone, Copy, Default)]
pub struct OpenAi;

#[async_trait]
impl Backend for OpenAi {
    type Config = OpenAiConfig;

    fn check(&self, config: &OpenAiConfig) -> Result<()> {
        config.check()
    }

    /// Servers that can't be reached don't keep an engine from opening: they may be there when they are asked.
    async fn open(&self, opening: &Opening, config: &OpenAiConfig) -> Result<Arc<dyn TextEngine>> {
        let engine = RemoteEngine::new(opening.name.clone(), config.clone())?;
        engine.learn().await;
        Ok(Arc::new(engine))
    }
}

/// Servers that answer as one engine.
///
/// Dropping it ends running answers with [`EngineError::Stopped`].
pub struct RemoteEngine {
    name: String,
    config: OpenAiConfig,
    fleet: Arc<Fleet>,
    places: Arc<Semaphore>,
    info: Mutex<Arc<EngineInfo>>,
    /// Held so that it closes with the engine.
    lives: watch::Sender<()>,
}

impl RemoteEngine {
    fn new(name: String, config: OpenAiConfig) -> Result<Self> {
        let key = key(config.api_key_env.as_deref())?;
        let server = |url| Server::new(url, key.clone(), &config);
        let servers: Vec<Server> = config.addresses()?.into_iter().map(server).collect::<Result<_>>()?;
        let source = servers.iter().map(Server::address).collect::<Vec<_>>().join(", ");
        let info = EngineInfo {
            name: name.clone(),
            backend: "openai".into(),
            model: config.model.clone(),
            fingerprint: format!("upstream-{}", &blake3::hash(format!("{source} {}", config.model).as_bytes()).to_hex()[..16]),
            source,
            context_length: config.context.unwrap_or(0),
            determinism: Determinism::None,
            capabilities: Capabilities { chat_template: true, logprobs: true, tokenize: false, embeddings: false },
            computation: Computation::default(),
        };
        Ok(Self {
            name,
            fleet: Arc::new(Fleet::new(servers)),
            places: Arc::new(Semaphore::new(config.slots)),
            info: Mutex::new(Arc::new(info)),
            lives: watch::Sender::new(()),
            config,
        })
    }

    /// Asks the servers what they know of the model, one after the other until one does.
    async fn learn(&self) {
        for server in self.fleet.servers() {
            let address = server.address();
            match server.models().await.map(|list| Description::find(&list, &self.config.model)) {
                Ok(Some(description)) => return self.describe(description),
                Ok(None) => tracing::warn!(
                    engine = self.name,
                    server = address,
                    model = self.config.model,
                    "an upstream server doesn't list the model"
                ),
                Err(failure) => {
                    tracing::warn!(engine = self.name, server = address, ?failure, "an upstream server doesn't list its models")
                }
            }
        }
    }

    fn describe(&self, description: Description) {
        let mut info = self.info.lock().unwrap_or_else(PoisonError::into_inner);
        let mut described = (**info).clone();
        if let (None, Some(context)) = (self.config.context, description.context) {
            described.context_length = context;
        }
        described.fingerprint = description.fingerprint.unwrap_or(described.fingerprint);
        *info = Arc::new(described);
    }

    /// Refuses what servers have no common name for and would pass over.
    fn check_options(&self, options: RequestOptions) -> Result<()> {
        let RequestOptions { ignore_eos, continue_final_message, logprobs_of_draw, without_cache: _, progress: _ } = options;
        let wanted =
            [(ignore_eos, "`ignore_eos`"), (continue_final_message, "begun answers"), (logprobs_of_draw, "log probabilities of the draw")];
        wanted.into_iter().find(|(wanted, _)| *wanted).map_or(Ok(()), |(_, what)| Err(self.unsupported(what)))
    }

    /// What one request may hold, where it is known.
    fn context(&self) -> Option<usize> {
        Some(self.info().context_length).filter(|context| *context > 0)
    }
}

#[async_trait]
impl TextEngine for RemoteEngine {
    fn info(&self) -> Arc<EngineInfo> {
        self.info.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Always ready: whether a server is there shows when it is asked.
    fn health(&self) -> Health {
        let active = self.config.slots - self.places.available_permits();
        Health { state: State::Ready, active, queued: 0, slots: self.config.slots, measured: Measured::default(), restarts: 0 }
    }

    /// Asks for all at once: a server that takes one after the other would have the later ones wait for their first byte.
    async fn choices(&self, request: GenerateRequest, count: usize) -> Result<Vec<Generation>> {
        let choice = |choice| {
            let mut request = request.clone();
            request.sampling.seed = request.sampling.seed.map(|seed| seed_of_choice(seed, choice));
            self.generate(request)
        };
        try_join_all((0..count).map(choice)).await
    }

    async fn generate(&self, request: GenerateRequest) -> Result<Generation> {
        request.check()?;
        self.check_determinism(&request)?;
        self.check_options(request.options)?;
        let permit = self.places.clone().try_acquire_owned().map_err(|_| EngineError::Busy { waiting: self.config.slots })?;
        let seed = request.sampling.seed.unwrap_or_else(random_seed);
        let (prompt_text, prompt_tokens) = match &request.prompt {
            Prompt::Text(text) => (text.as_str().into(), Vec::new()),
            Prompt::Tokens(tokens) => (String::new(), tokens.clone()),
            Prompt::Chat { messages, .. } => (question::transcript(messages), Vec::new()),
        };
        let context = self.context();
        let question = Question::new(&self.config.model, &self.config.extra, request, seed, context);
        let from_engine = Context { engine: self.name.clone(), fleet: self.fleet.clone(), engine_lives: self.lives.subscribe() };
        let mut answer = Answer::new(from_engine, question, permit);
        answer.connect().await?;
        let max_tokens = answer.question().max_tokens().or(context).unwrap_or(0);
        let beginning = Beginning { seed, prompt_text: prompt_text.into(), prompt_tokens: prompt_tokens.into(), max_tokens };
        let most = if max_tokens == 0 { MOST_WAITING } else { max_tokens.min(MOST_WAITING) };
        let (sender, events) = crate::events::channel(most + 2);
        // A reader that waits for another answer first must not hold up the server, nor this one's place.
        tokio::spawn(answer.tell(sender));
        Ok(Generation::timed(beginning, events))
    }
}

/// The header that proves who asks.
fn key(variable: Option<&str>) -> Result<Option<HeaderValue>> {
    let Some(variable) = variable.filter(|variable| !variable.is_empty()) else { return Ok(None) };
    let wrong = |reason: &str| EngineError::Unavailable(format!("`api_key_env` names the environment variable {variable}, which {reason}"));
    let key = std::env::var(variable).map_err(|_| wrong("isn't set; it must hold the upstream server's key"))?;
    let mut header = HeaderValue::from_str(&format!("Bearer {}", key.trim())).map_err(|_| wrong("holds characters that no key has"))?;
    header.set_sensitive(true);
    Ok(Some(header))
}

/// A seed that every server holds whole: llama-server has 32 bits for it.
fn random_seed() -> u64 {
    // Each `RandomState` has keys of its own, from the operating system's randomness.
    RandomState::new().hash_one(0) >> 33
}
