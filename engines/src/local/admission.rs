//! The caller's side: all that can refuse a request happens here, before it waits for the engine's thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use super::LocalOptions;
use super::forms::Forms;
use super::reading::Reading;
use super::rendering::{Rendered, render, take_begun, text_of};
use super::scoring::score;
use super::sequence::{Assignment, Family, Sequence};
use super::serve::{EmbedJob, Job};
use crate::chat::ChatMessage;
use crate::chat::tools;
use crate::error::{EngineError, Result};
use crate::events;
use crate::generation::{Beginning, Finish, FinishReason, Generation, TextEvent, Token, Usage};
use crate::model::{Limits, Specials, Vocabulary};
use crate::request::{GenerateRequest, MaxTokens, Prompt, RequestOptions, TokenId, ToolChoice, seed_of_choice};
use crate::text_engine::{Determinism, Embedding, EngineInfo, RenderedPrompt};

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
    forms: Forms,
    /// Requests for several answers so far.
    families: AtomicU64,
    /// Tokens of the longest text that is given a vector.
    longest_embedding: usize,
}

impl Front {
    pub fn new(
        info: Arc<EngineInfo>,
        vocabulary: Arc<dyn Vocabulary>,
        limits: Limits,
        places: Arc<Semaphore>,
        options: LocalOptions,
    ) -> Self {
        Self {
            info,
            limits,
            longest_embedding: limits.step_tokens.min(limits.context),
            forms: Forms::new(vocabulary.clone()),
            vocabulary,
            places,
            options,
            encoders: Arc::new(Semaphore::new(ENCODED_AT_ONCE)),
            families: AtomicU64::new(0),
        }
    }

    /// The same with texts of up to so many tokens given a vector.
    pub fn embedding_up_to(self, tokens: usize) -> Self {
        Self { longest_embedding: tokens, ..self }
    }

    /// Checks, renders, encodes and measures a request for so many answers. Where nothing is to be generated there is no work in it.
    pub async fn admit(&self, request: GenerateRequest, count: usize) -> Result<(Vec<Sequence>, Vec<Generation>)> {
        request.check()?;
        let mut permits = self.places(count)?;
        let GenerateRequest {
            prompt,
            max_tokens,
            mut sampling,
            mut stop,
            logprobs,
            constraint,
            tool_choice,
            deterministic,
            parallel_tool_calls,
            client,
            options,
        } = request;
        let alone = deterministic && self.info.determinism == Determinism::Serial;
        let (prompt, tools) = with_tools(prompt, &tool_choice)?;
        self.check_biases(&sampling.logit_bias)?;
        if options.ignore_eos {
            // Finite, so that nothing but their share of the draw is lost.
            sampling.logit_bias.extend(self.vocabulary.end_tokens().iter().map(|&token| (token, f32::MIN)));
        }
        let mut rendered = self.render(prompt, &tool_choice, options).await?;
        let (matcher, calls) = self.forms.of_answer(constraint, rendered.tool_form, &tools, &tool_choice).await?;
        stop.append(&mut rendered.stop);
        let max_tokens = self.room(rendered.tokens.len(), max_tokens)?;
        let seed = sampling.seed.unwrap_or_else(random_seed);
        let beginning = Beginning { seed, prompt_text: rendered.text.into(), prompt_tokens: rendered.tokens.clone().into(), max_tokens };
        // Computed alone, each reads the prompt for itself.
        let family = (count > 1 && !alone).then(|| Family(self.families.fetch_add(1, Ordering::Relaxed)));
        let (mut sequences, mut generations) = (Vec::with_capacity(count), Vec::with_capacity(count));
        for choice in 0..count {
            let beginning = Beginning { seed: seed_of_choice(seed, choice), ..beginning.clone() };
            let Some(permit) = permits.split(1).filter(|_| max_tokens > 0) else {
                generations.push(nothing(beginning));
                continue;
            };
            // Room for every event the request can cause, so the engine's thread never waits for a reader: one for each token, the
            // flush, the end; and for each step that reads some of the prompt.
            let reading = if options.progress { rendered.tokens.len() + 1 } else { 0 };
            let (sender, events) = events::channel(max_tokens + 2 + reading);
            sequences.push(Sequence::new(Assignment {
                prompt: rendered.tokens.clone(),
                max_tokens,
                sampling: sampling.clone(),
                seed: beginning.seed,
                stop: stop.clone(),
                logprobs,
                speculation: self.options.speculation,
                matcher: matcher.clone(),
                family,
                alone,
                client: client.clone(),
                events: sender,
                options,
                permit,
            }));
            generations.push(match &calls {
                None => Generation::timed(beginning, events),
                Some(calls) => {
                    let reader = calls.reader(&beginning);
                    let reader = if parallel_tool_calls { reader } else { reader.for_one_call() };
                    Generation::timed(beginning, tools::with_calls(events, reader))
                }
            });
        }
        Ok((sequences, generations))
    }

    /// A request's prompt as the model reads it.
    pub async fn rendered(&self, request: &GenerateRequest) -> Result<RenderedPrompt> {
        request.check()?;
        // Long ones wait for each other, and what waits has a place.
        let _place = self.place()?;
        let (prompt, _) = with_tools(request.prompt.clone(), &request.tool_choice)?;
        let Rendered { text, tokens, .. } = self.render(prompt, &request.tool_choice, request.options).await?;
        Ok(RenderedPrompt { text, tokens })
    }

    pub async fn admit_embedding(&self, text: Prompt) -> Result<(EmbedJob, oneshot::Receiver<Result<Embedding>>)> {
        let permit = self.place()?;
        let limit = self.longest_embedding;
        let check = |count: usize| {
            let wrong = || EngineError::invalid("input", format!("input has {count} tokens; it must have 1 to {limit}"));
            if (1..=limit).contains(&count) { Ok(()) } else { Err(wrong()) }
        };
        if let Prompt::Tokens(tokens) = &text {
            check(tokens.len())?;
        }
        let tokens = self.render(text, &ToolChoice::None, RequestOptions::default()).await?.tokens;
        check(tokens.len())?;
        let (answer, receiver) = oneshot::channel();
        Ok((EmbedJob { tokens, answer, _permit: permit }, receiver))
    }

    pub fn admit_reading(&self, prefix: &[TokenId], tokens: &[TokenId], jobs: mpsc::WeakSender<Job>) -> Result<Reading> {
        self.reading(prefix, tokens, jobs, self.place()?)
    }

    fn reading(&self, prefix: &[TokenId], tokens: &[TokenId], jobs: mpsc::WeakSender<Job>, place: OwnedSemaphorePermit) -> Result<Reading> {
        self.check_tokens("tokens", tokens)?;
        let limit = self.limits.context.saturating_sub(prefix.len());
        if tokens.is_empty() || tokens.len() > limit {
            return Err(EngineError::invalid(
                "tokens",
                format!("a text of {} tokens can't be read; it must have 1 to {limit}", tokens.len()),
            ));
        }
        Ok(Reading::new(prefix, tokens, jobs, place))
    }

    /// The tokens of a prompt with what the model thinks of them; what it expects before a text is put in front and not told.
    pub async fn score(&self, prompt: &Prompt, alternatives: usize, jobs: mpsc::WeakSender<Job>) -> Result<Vec<Token>> {
        let place = self.place()?;
        let (prefix, tokens) = match prompt {
            Prompt::Tokens(tokens) => (&[][..], tokens.clone()),
            Prompt::Text(text) => (self.vocabulary.prompt_prefix(), self.encode(text).await?),
            Prompt::Chat { .. } => {
                return Err(self.unsupported("log probabilities of a chat's prompt"));
            }
        };
        let reading = self.reading(prefix, &tokens, jobs, place)?;
        score(reading, tokens, alternatives, self.vocabulary.clone()).await
    }

    /// The bytes each of these tokens stands for.
    pub fn token_bytes(&self, tokens: &[TokenId]) -> Vec<Vec<u8>> {
        let bytes = |&token: &TokenId| {
            let mut bytes = Vec::new();
            self.vocabulary.push_bytes(token, &mut bytes);
            bytes
        };
        tokens.iter().map(bytes).collect()
    }

    /// What the model expects before a text.
    pub fn prefix(&self) -> &[TokenId] {
        self.vocabulary.prompt_prefix()
    }

    pub async fn tokenize(&self, text: &str) -> Result<Vec<TokenId>> {
        // Long ones wait for each other, and what waits has a place.
        let _place = (text.len() > ENCODED_IN_PLACE).then(|| self.place()).transpose()?;
        self.encode(text).await
    }

    async fn encode(&self, text: &str) -> Result<Vec<TokenId>> {
        let vocabulary = self.vocabulary.clone();
        let text = text.to_owned();
        self.off_worker(text.len(), move || vocabulary.encode(&text, Specials::Literal)).await
    }

    /// The text of tokens, as [`text_of`] makes it.
    pub async fn detokenize(&self, tokens: &[TokenId]) -> Result<String> {
        self.check_tokens("tokens", tokens)?;
        let _place = (tokens.len() > ENCODED_IN_PLACE).then(|| self.place()).transpose()?;
        let (vocabulary, tokens) = (self.vocabulary.clone(), tokens.to_vec());
        self.off_worker(tokens.len(), move || Ok(text_of(&*vocabulary, &tokens))).await
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
        self.places(1)
    }

    /// Places for so many answers, all of them or none.
    fn places(&self, count: usize) -> Result<OwnedSemaphorePermit> {
        let capacity = self.limits.slots + self.options.queue;
        if count == 0 || count > capacity {
            return Err(EngineError::invalid("n", format!("n is {count}; it must be between 1 and {capacity}, which this engine holds")));
        }
        self.places.clone().try_acquire_many_owned(count as u32).map_err(|_| EngineError::Busy { waiting: self.options.queue })
    }

    /// How many tokens the answer may have.
    fn room(&self, prompt_tokens: usize, wanted: MaxTokens) -> Result<usize> {
        let limit = self.limits.context;
        let room = limit.saturating_sub(prompt_tokens);
        let exceeded = |max_tokens| Err(EngineError::ContextLengthExceeded { prompt_tokens, max_tokens, limit });
        match wanted {
            // Nothing is said, so the prompt may take all of it.
            MaxTokens::Exactly(0) if prompt_tokens <= limit => Ok(0),
            _ if room == 0 => exceeded(None),
            MaxTokens::Exactly(wanted) if wanted > room => exceeded(Some(wanted)),
            MaxTokens::Exactly(wanted) => Ok(wanted),
            MaxTokens::AtMost(wanted) => Ok(wanted.min(room)),
            MaxTokens::Remaining => Ok(room),
        }
    }

    async fn render(&self, mut prompt: Prompt, choice: &ToolChoice, options: RequestOptions) -> Result<Rendered> {
        let size = match &prompt {
            Prompt::Text(text) => text.len(),
            Prompt::Tokens(_) => 0,
            Prompt::Chat { messages, tools } => {
                let said = |message: &ChatMessage| {
                    let called = message.tool_calls.iter().map(|call| call.name.len() + call.arguments.len()).sum::<usize>();
                    message.content.len() + message.role.len() + called
                };
                messages.iter().map(said).sum::<usize>() + tools.iter().map(|tool| tool.to_string().len()).sum::<usize>()
            }
        };
        if let Prompt::Tokens(tokens) = prompt {
            self.check_tokens("prompt", &tokens)?;
            let (prompt_tokens, limit) = (tokens.len(), self.limits.context);
            if prompt_tokens > limit {
                return Err(EngineError::ContextLengthExceeded { prompt_tokens, max_tokens: None, limit });
            }
            return Ok(Rendered { text: text_of(&*self.vocabulary, &tokens), tokens, stop: Vec::new(), tool_form: None });
        }
        let vocabulary = self.vocabulary.clone();
        let name = self.info.name.clone();
        let is_prescribed = matches!(choice, ToolChoice::Required | ToolChoice::Named(_));
        let begun = take_begun(options.continue_final_message, &mut prompt, is_prescribed)?;
        self.off_worker(size, move || {
            let mut rendered = render(&*vocabulary, prompt, &name, is_prescribed)?;
            if let Some(begun) = begun {
                rendered.tokens.extend(vocabulary.encode(&begun, Specials::Literal)?);
                rendered.text.push_str(&begun);
            }
            Ok(rendered)
        })
        .await
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

/// The prompt with those tools that the choice leaves, and the tools.
fn with_tools(prompt: Prompt, choice: &ToolChoice) -> Result<(Prompt, Vec<serde_json::Value>)> {
    match prompt {
        Prompt::Chat { messages, tools } => {
            let tools = tools::chosen(tools, choice)?;
            Ok((Prompt::Chat { messages, tools: tools.clone() }, tools))
        }
        other => Ok((other, Vec::new())),
    }
}

/// The answer of no tokens.
fn nothing(beginning: Beginning) -> Generation {
    let usage = Usage { prompt_tokens: beginning.prompt_tokens.len(), ..Usage::default() };
    let end = TextEvent::Finished(Finish::new(FinishReason::Length, usage));
    Generation::new(beginning, futures_util::stream::iter([Ok(end)]))
}

/// A seed for a request that brought none, below 2^53 so that JavaScript reads it exactly.
fn random_seed() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    // Each `RandomState` has keys of its own, from the operating system's randomness.
    RandomState::new().hash_one(0) >> 11
}
