//! The caller's side: all that can refuse a request happens here, before it waits for the engine's thread.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;

use super::LocalOptions;
use super::reading::Reading;
use super::sequence::{Assignment, Sequence};
use super::serve::{EmbedJob, Job};
use crate::decoding::WholeCharacters;
use crate::error::{EngineError, Result};
use crate::generation::{Beginning, Generation};
use crate::model::{Limits, Specials, TokenKind, Vocabulary};
use crate::request::{GenerateRequest, MaxTokens, Prompt, TokenId};
use crate::text_engine::{Embedding, EngineInfo};

/// Text up to this length is encoded where the request stands; it takes less than a millisecond.
const ENCODED_IN_PLACE: usize = 4096;
/// Long texts that are encoded at once, each on a thread that may block.
const ENCODED_AT_ONCE: usize = 2;

/// What admission needs to know of the engine.
pub(super) struct Front {
    pub info: Arc<EngineInfo>,
    pub limits: Limits,
    vocabulary: Arc<dyn Vocabulary>,
    places: Arc<Semaphore>,
    options: LocalOptions,
    encoders: Arc<Semaphore>,
    /// Tokens of the longest text that is given a vector.
    longest_embedding: usize,
}

/// A prompt as the model takes it.
struct Rendered {
    text: String,
    tokens: Vec<TokenId>,
    stop: Vec<String>,
}

impl Front {
    pub fn new(
        info: Arc<EngineInfo>,
        vocabulary: Arc<dyn Vocabulary>,
        limits: Limits,
        places: Arc<Semaphore>,
        options: LocalOptions,
    ) -> Self {
        let longest_embedding = limits.step_tokens.min(limits.context);
        Self { info, limits, vocabulary, places, options, encoders: Arc::new(Semaphore::new(ENCODED_AT_ONCE)), longest_embedding }
    }

    /// The same with texts of up to so many tokens given a vector.
    pub fn embedding_up_to(self, tokens: usize) -> Self {
        Self { longest_embedding: tokens, ..self }
    }

    /// Checks, renders, encodes and measures a request.
    pub async fn admit(&self, request: GenerateRequest) -> Result<(Sequence, Generation)> {
        request.check()?;
        if request.constraint.is_some() {
            return Err(self.unsupported("constrained output"));
        }
        let permit = self.place()?;
        let GenerateRequest { prompt, max_tokens, sampling, mut stop, logprobs, .. } = request;
        self.check_biases(&sampling.logit_bias)?;
        let rendered = self.render(prompt).await?;
        stop.extend(rendered.stop);
        let max_tokens = self.room(rendered.tokens.len(), max_tokens)?;
        let seed = sampling.seed.unwrap_or_else(random_seed);
        let beginning = Beginning { seed, prompt_text: rendered.text.into(), prompt_tokens: rendered.tokens.clone().into(), max_tokens };
        // Room for every event the request can cause, so the engine's thread never waits for a reader: one for each token, the
        // flush, the end.
        let (events, receiver) = mpsc::channel(max_tokens + 2);
        let speculation = self.options.speculation;
        let assignment = Assignment { prompt: rendered.tokens, max_tokens, sampling, seed, stop, logprobs, speculation, events, permit };
        let sequence = Sequence::new(assignment);
        Ok((sequence, Generation::new(beginning, ReceiverStream::new(receiver))))
    }

    pub async fn admit_embedding(&self, text: Prompt) -> Result<(EmbedJob, oneshot::Receiver<Result<Embedding>>)> {
        let permit = self.place()?;
        let tokens = self.render(text).await?.tokens;
        let limit = self.longest_embedding;
        if tokens.is_empty() || tokens.len() > limit {
            return Err(EngineError::invalid("input", format!("input has {} tokens; it must have 1 to {limit}", tokens.len())));
        }
        let (answer, receiver) = oneshot::channel();
        Ok((EmbedJob { tokens, answer, _permit: permit }, receiver))
    }

    pub fn admit_reading(&self, tokens: &[TokenId], jobs: mpsc::WeakSender<Job>) -> Result<Reading> {
        self.check_tokens("tokens", tokens)?;
        let prefix = self.vocabulary.prompt_prefix();
        let limit = self.limits.context.saturating_sub(prefix.len());
        if tokens.is_empty() || tokens.len() > limit {
            return Err(EngineError::invalid(
                "tokens",
                format!("a text of {} tokens can't be read; it must have 1 to {limit}", tokens.len()),
            ));
        }
        Ok(Reading::new(prefix, tokens, jobs, self.place()?))
    }

    pub async fn tokenize(&self, text: &str) -> Result<Vec<TokenId>> {
        let vocabulary = self.vocabulary.clone();
        let text = text.to_owned();
        self.off_worker(text.len(), move || vocabulary.encode(&text, Specials::Literal)).await
    }

    /// The bytes of tokens as text, invalid ones as U+FFFD; control tokens by their names, so that a logged prompt shows them.
    pub fn text_of(&self, tokens: &[TokenId]) -> String {
        let mut characters = WholeCharacters::default();
        let mut text = String::new();
        let mut bytes = Vec::new();
        for &token in tokens {
            bytes.clear();
            if self.vocabulary.kind(token) == TokenKind::Control {
                bytes.extend_from_slice(self.vocabulary.name(token).as_bytes());
            } else {
                self.vocabulary.push_bytes(token, &mut bytes);
            }
            text.push_str(&characters.push(&bytes));
        }
        text
    }

    pub fn check_tokens(&self, param: &'static str, tokens: &[TokenId]) -> Result<()> {
        let size = self.vocabulary.size();
        match tokens.iter().find(|&&token| token as usize >= size) {
            None => Ok(()),
            Some(token) => Err(EngineError::invalid(param, format!("{param} holds token {token}; the vocabulary ends at {}", size - 1))),
        }
    }

    fn check_biases(&self, biases: &[(TokenId, f32)]) -> Result<()> {
        let tokens: Vec<TokenId> = biases.iter().map(|&(token, _)| token).collect();
        self.check_tokens("logit_bias", &tokens)
    }

    fn place(&self) -> Result<OwnedSemaphorePermit> {
        self.places.clone().try_acquire_owned().map_err(|_| EngineError::Busy { waiting: self.options.queue })
    }

    /// How many tokens the answer may have.
    fn room(&self, prompt_tokens: usize, wanted: MaxTokens) -> Result<usize> {
        let limit = self.limits.context;
        let room = limit.saturating_sub(prompt_tokens);
        let exceeded = |max_tokens| Err(EngineError::ContextLengthExceeded { prompt_tokens, max_tokens, limit });
        match wanted {
            _ if room == 0 => exceeded(None),
            MaxTokens::Exactly(wanted) if wanted > room => exceeded(Some(wanted)),
            MaxTokens::Exactly(wanted) => Ok(wanted),
            MaxTokens::AtMost(wanted) => Ok(wanted.min(room)),
            MaxTokens::Remaining => Ok(room),
        }
    }

    async fn render(&self, prompt: Prompt) -> Result<Rendered> {
        let size = match &prompt {
            Prompt::Text(text) => text.len(),
            Prompt::Tokens(_) => 0,
            Prompt::Chat { messages, .. } => messages.iter().map(|message| message.content.len() + message.role.len()).sum(),
        };
        if let Prompt::Tokens(tokens) = prompt {
            self.check_tokens("prompt", &tokens)?;
            return Ok(Rendered { text: self.text_of(&tokens), tokens, stop: Vec::new() });
        }
        let vocabulary = self.vocabulary.clone();
        let name = self.info.name.clone();
        self.off_worker(size, move || render(&*vocabulary, prompt, &name)).await
    }

    /// Runs work that grows with `size`: small work here, large work on a thread that may block, few at once.
    async fn off_worker<T: Send + 'static>(&self, size: usize, work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
        if size <= ENCODED_IN_PLACE {
            return work();
        }
        let permit = self.encoders.clone().acquire_owned().await.map_err(|_| EngineError::Stopped)?;
        // The permit goes with the work, which goes on when whoever asked leaves.
        let work = move || {
            let _permit = permit;
            work()
        };
        tokio::task::spawn_blocking(work).await.map_err(EngineError::failed)?
    }

    fn unsupported(&self, what: &str) -> EngineError {
        EngineError::Unsupported { engine: self.info.name.clone(), what: what.to_owned() }
    }
}

fn render(vocabulary: &dyn Vocabulary, prompt: Prompt, engine: &str) -> Result<Rendered> {
    match prompt {
        Prompt::Tokens(tokens) => Ok(Rendered { text: String::new(), tokens, stop: Vec::new() }),
        Prompt::Text(text) => {
            let mut tokens = vocabulary.prompt_prefix().to_vec();
            tokens.extend(vocabulary.encode(&text, Specials::Literal)?);
            if tokens.is_empty() {
                return Err(EngineError::invalid("prompt", "prompt has no tokens in this model's vocabulary; it needs at least one"));
            }
            Ok(Rendered { text, tokens, stop: Vec::new() })
        }
        Prompt::Chat { messages, tools } => {
            let chat = vocabulary.render_chat(&messages, &tools).map_err(|error| match error {
                // The vocabulary doesn't know what its engine is called.
                EngineError::Unsupported { what, .. } => EngineError::Unsupported { engine: engine.to_owned(), what },
                other => other,
            })?;
            let mut tokens = Vec::new();
            for piece in &chat.pieces {
                tokens.extend(vocabulary.encode(piece, chat.specials)?);
            }
            if tokens.is_empty() {
                return Err(EngineError::invalid("messages", "the model's chat template makes nothing of these messages"));
            }
            Ok(Rendered { text: chat.text(), tokens, stop: chat.stop })
        }
    }
}

/// A seed for a request that brought none, below 2^53 so that JavaScript reads it exactly.
fn random_seed() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    // Each `RandomState` has keys of its own, from the operating system's randomness.
    RandomState::new().hash_one(0) >> 11
}
