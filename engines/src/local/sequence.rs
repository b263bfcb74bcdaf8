//! One request while it is computed: what it still has to feed, what it has said, whom it tells.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::OwnedSemaphorePermit;

use super::draft::Drafts;
use crate::decoding::constraint::Matcher;
use crate::decoding::{Logprobs, Sampler, Scratch, StopMatcher, Stopping, WholeCharacters};
use crate::error::{EngineError, Result};
use crate::events::EventSender;
use crate::generation::{Alternative, Finish, FinishReason, PromptProgress, TextEvent, Token, Usage};
use crate::model::Vocabulary;
use crate::request::{RequestOptions, Sampling, TokenId};

/// One request. Dropping it frees its place.
pub(super) struct Sequence {
    /// Prompt and output; behind them, while a step is under way, the draft that it verifies.
    tokens: Vec<TokenId>,
    /// Which one of all that came it is.
    pub arrival: u64,
    /// When it is its client's turn; see [`super::turns::Turns`].
    pub turn: u64,
    /// Who asks.
    client: Option<Arc<str>>,
    /// When it came.
    pub asked_at: Instant,
    /// How many of `tokens` are draft.
    drafted: usize,
    /// How many of `tokens` the model's cache holds.
    fed: usize,
    prompt_tokens: usize,
    /// Tokens of the prompt that were in the cache before it began.
    cached: usize,
    generated: usize,
    max_tokens: usize,
    /// `None` where the engine makes none.
    drafts: Option<Drafts>,
    /// The request whose answers share their prompt, if it is one of several.
    family: Option<Family>,
    /// Whether nothing else may be computed beside it.
    alone: bool,
    sampler: Sampler,
    /// `None` where the answer may have any form.
    matcher: Option<Box<Matcher>>,
    /// Whether it has been lent and isn't back.
    lent: bool,
    stop: StopMatcher,
    characters: WholeCharacters,
    logprobs: Option<usize>,
    options: RequestOptions,
    events: EventSender,
    /// Given back before the end is told, so that whoever hears of the end finds the place free.
    permit: Option<OwnedSemaphorePermit>,
}

/// What a sequence is made of.
pub(super) struct Assignment {
    pub prompt: Vec<TokenId>,
    pub max_tokens: usize,
    pub sampling: Sampling,
    pub seed: u64,
    pub stop: Vec<String>,
    pub logprobs: Option<usize>,
    /// At the beginning of the answer, where its form is prescribed.
    pub matcher: Option<Matcher>,
    /// Whether drafts of its next tokens are verified beside them.
    pub speculation: bool,
    pub family: Option<Family>,
    /// Whether nothing else may be computed beside it.
    pub alone: bool,
    pub client: Option<Arc<str>>,
    pub options: RequestOptions,
    /// Room for `max_tokens + 2` events, and where progress is told for one more than the prompt has tokens.
    pub events: EventSender,
    pub permit: OwnedSemaphorePermit,
}

/// What several answers to one request have in common: its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Family(pub u64);

/// Whether a sequence goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    More,
    Over,
    /// Over by an error; what it left in the cache is of no use.
    Failed,
}

impl Sequence {
    /// A sequence of which the model has seen nothing.
    pub fn new(assignment: Assignment) -> Self {
        let Assignment {
            prompt,
            max_tokens,
            sampling,
            seed,
            stop,
            logprobs,
            matcher,
            speculation,
            family,
            alone,
            client,
            options,
            events,
            permit,
        } = assignment;
        Self {
            prompt_tokens: prompt.len(),
            sampler: Sampler::new(sampling, seed, &prompt).telling_the_draw(options.logprobs_of_draw),
            matcher: matcher.map(Box::new),
            lent: false,
            tokens: prompt,
            arrival: 0,
            turn: 0,
            client,
            asked_at: Instant::now(),
            drafted: 0,
            fed: 0,
            cached: 0,
            generated: 0,
            max_tokens,
            drafts: speculation.then(Drafts::default),
            family,
            alone,
            stop: StopMatcher::new(&stop),
            characters: WholeCharacters::default(),
            logprobs,
            options,
            events,
            permit: Some(permit),
        }
    }

    /// Who asks.
    pub fn client(&self) -> Option<&Arc<str>> {
        self.client.as_ref()
    }

    /// What knows its form, if that is prescribed and the tokens allowed next are still to be computed. It is needed back before the next
    /// token is chosen.
    pub fn lend_matcher(&mut self) -> Option<Box<Matcher>> {
        let lent = self.matcher.take_if(|matcher| !matcher.is_prepared());
        self.lent = lent.is_some();
        lent
    }

    /// Gives it back.
    pub fn return_matcher(&mut self, matcher: Box<Matcher>) {
        (self.matcher, self.lent) = (Some(matcher), false);
    }

    /// Whether nobody reads any more.
    pub fn is_abandoned(&self) -> bool {
        self.events.is_closed()
    }

    /// Whether its next token is all that the model hasn't seen; otherwise its prompt is still being read.
    pub fn is_answering(&self) -> bool {
        self.generated > 0 && self.fed + 1 == self.tokens.len() - self.drafted
    }

    /// The request whose answers share their prompt with this one.
    pub fn family(&self) -> Option<Family> {
        self.family
    }

    /// Whether nothing else may be computed beside it.
    pub fn is_alone(&self) -> bool {
        self.alone
    }

    /// Whether nothing has been said yet.
    pub fn is_reading(&self) -> bool {
        self.generated == 0
    }

    /// The tokens so far. Before the first step, the prompt.
    pub fn tokens(&self) -> &[TokenId] {
        &self.tokens[..self.tokens.len() - self.drafted]
    }

    /// The tokens whose beginning may be found in the cache.
    pub fn findable(&self) -> &[TokenId] {
        if self.options.without_cache { &[] } else { self.tokens() }
    }

    /// Tokens that the model's cache holds.
    pub fn fed(&self) -> &[TokenId] {
        &self.tokens[..self.fed]
    }

    /// Tokens that the model hasn't seen, the draft included.
    pub fn unfed(&self) -> &[TokenId] {
        &self.tokens[self.fed..]
    }

    /// How many of the last tokens are draft.
    pub fn drafted(&self) -> usize {
        self.drafted
    }

    /// The model's cache holds so many tokens of the prompt from the start.
    pub fn begin_at(&mut self, cached: usize) {
        (self.fed, self.cached) = (cached, cached);
        self.tell_progress();
    }

    /// The model has seen so many more tokens.
    pub fn advance(&mut self, tokens: usize) {
        self.fed += tokens;
        if tokens > 0 && self.is_reading() {
            self.tell_progress();
        }
    }

    fn tell_progress(&self) {
        if self.options.progress {
            let progress = PromptProgress { total: self.prompt_tokens, cached: self.cached, processed: self.fed };
            self.events.try_send(Ok(TextEvent::Reading(progress)));
        }
    }

    /// The model's cache holds only so many tokens after all.
    pub fn rewind(&mut self, fed: usize) {
        self.fed = self.fed.min(fed);
    }

    /// What it leaves in the model's cache.
    pub fn into_fed(mut self) -> Vec<TokenId> {
        self.tokens.truncate(self.fed);
        self.tokens
    }

    /// Makes no more drafts.
    pub fn stop_drafting(&mut self) {
        self.drafts = None;
    }

    /// Appends a draft of at most `limit` tokens, if one is worth the price of its rows; returns its length.
    pub fn draft(&mut self, limit: usize, price: f32) -> usize {
        // The row after the last draft gives one token more.
        let limit = limit.min((self.max_tokens - self.generated).saturating_sub(1));
        let mut drafted = self.drafts.as_mut().map_or(0, |drafts| drafts.append(&mut self.tokens, limit, price));
        if let Some(matcher) = self.matcher.as_mut().filter(|_| drafted > 0) {
            // What the grammar forbids is refused for certain.
            let begin = self.tokens.len() - drafted;
            drafted = matcher.allowed(&self.tokens[begin..]);
            self.tokens.truncate(begin + drafted);
        }
        self.drafted = drafted;
        drafted
    }

    /// Chooses the next tokens and tells the reader. `rows` are the logits after the last token and then after each of the draft's; a row
    /// counts as long as each token before it was chosen as the draft has it. [`Sequence::fed`] becomes what of the cache still counts.
    pub fn choose<'a>(
        &mut self,
        mut rows: impl Iterator<Item = &'a mut [f32]>,
        vocabulary: &dyn Vocabulary,
        scratch: &mut Scratch,
    ) -> Progress {
        let generated = self.generated;
        let progress = loop {
            match rows.next().ok_or_else(|| EngineError::failed("the model gave fewer rows than it was asked for")) {
                Ok(row) => match self.next_event(row, vocabulary, scratch) {
                    // Chosen as the draft has it, the token has been fed already, and the next row is the one after it.
                    Ok(Progress::More) if self.unfed().is_empty() => {}
                    Ok(progress) => break progress,
                    Err(error) => break self.broken(&error),
                },
                Err(error) => break self.broken(&error),
            }
        };
        self.drop_draft();
        if let Some(drafts) = &mut self.drafts {
            drafts.learn(&self.tokens, self.generated - generated);
        }
        progress
    }

    fn broken(&mut self, error: &EngineError) -> Progress {
        self.fail(error);
        Progress::Failed
    }

    /// Ends it with an error.
    pub fn fail(&mut self, error: &EngineError) {
        self.permit = None;
        // The channel holds all events a request can cause; a reader that is gone needs none.
        self.events.try_send(Err(error.clone()));
    }

    fn next_event(&mut self, logits: &mut [f32], vocabulary: &dyn Vocabulary, scratch: &mut Scratch) -> Result<Progress> {
        if self.lent {
            return Err(EngineError::failed("the thread that computes masks has ended"));
        }
        let (id, found) = match (&mut self.matcher, self.logprobs) {
            (Some(matcher), logprobs) => {
                let left = self.max_tokens - self.generated - 1;
                self.sampler.choose_allowed(logits, logprobs, matcher, left, scratch)?
            }
            (None, None) => (self.sampler.choose(logits, scratch)?, None),
            (None, Some(alternatives)) => {
                let (id, found) = self.sampler.choose_with_logprobs(logits, alternatives, scratch)?;
                (id, Some(found))
            }
        };
        if vocabulary.end_tokens().contains(&id) {
            self.flush();
            let end = found.map(|thought| told(id, Vec::new(), Some(thought), vocabulary));
            self.finish(FinishReason::EndOfText, end);
            return Ok(Progress::Over);
        }
        self.generated += 1;
        self.append(id);
        let mut bytes = Vec::new();
        vocabulary.push_bytes(id, &mut bytes);
        let text = self.characters.push(&bytes);
        let token = told(id, bytes, found, vocabulary);
        match self.stop.push(&text) {
            Stopping::Stopped { text, stop } => {
                self.tell(text, vec![token]);
                self.finish(FinishReason::StopString(stop), None);
                return Ok(Progress::Over);
            }
            Stopping::Continue(text) => self.tell(text, vec![token]),
        }
        if self.matcher.as_ref().is_some_and(|matcher| matcher.is_over()) {
            // Only the end can follow; the model need not be asked for it.
            self.flush();
            self.finish(FinishReason::EndOfText, None);
            return Ok(Progress::Over);
        }
        if self.generated == self.max_tokens {
            self.flush();
            self.finish(FinishReason::Length, None);
            return Ok(Progress::Over);
        }
        Ok(Progress::More)
    }

    /// Appends a token, which may be the draft's next one.
    fn append(&mut self, id: TokenId) {
        let place = self.tokens.len() - self.drafted;
        if self.tokens.get(place) == Some(&id) {
            self.drafted -= 1;
        } else {
            self.drop_draft();
            self.tokens.push(id);
        }
    }

    /// Forgets the rest of the draft, which the cache holds but the text doesn't.
    fn drop_draft(&mut self) {
        self.tokens.truncate(self.tokens.len() - self.drafted);
        self.fed = self.fed.min(self.tokens.len());
        self.drafted = 0;
    }

    fn tell(&self, text: String, tokens: Vec<Token>) {
        self.events.try_send(Ok(TextEvent::Text { text, tokens }));
    }

    /// Shows what was held back for a stop string that never came.
    fn flush(&mut self) {
        let text = self.stop.finish();
        if !text.is_empty() {
            self.tell(text, Vec::new());
        }
    }

    fn finish(&mut self, reason: FinishReason, end: Option<Token>) {
        self.permit = None;
        let usage = Usage { prompt_tokens: self.prompt_tokens, completion_tokens: self.generated, cached_tokens: self.cached };
        self.events.try_send(Ok(TextEvent::Finished(Finish { reason, usage, end })));
    }
}

/// A token as readers are told of it, with what the model thought of its place if they asked.
pub(super) fn told(id: TokenId, bytes: Vec<u8>, thought: Option<Logprobs>, vocabulary: &dyn Vocabulary) -> Token {
    let Some(Logprobs { chosen, top }) = thought else { return Token { id, bytes, logprob: None, top: Vec::new() } };
    let alternative = |(id, logprob)| {
        let mut bytes = Vec::new();
        vocabulary.push_bytes(id, &mut bytes);
        Alternative { id, bytes, logprob }
    };
    Token { id, bytes, logprob: Some(chosen), top: top.into_iter().map(alternative).collect() }
}
