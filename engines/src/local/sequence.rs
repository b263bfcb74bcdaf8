//! One request while it is computed: what it still has to feed, what it has said, whom it tells.

use tokio::sync::{OwnedSemaphorePermit, mpsc};

use crate::decoding::{Logprobs, Sampler, StopMatcher, Stopping, WholeCharacters};
use crate::error::{EngineError, Result};
use crate::generation::{Finish, FinishReason, TextEvent, Token, Usage};
use crate::model::Vocabulary;
use crate::request::{Sampling, TokenId};

/// One request. Dropping it frees its place.
pub(super) struct Sequence {
    prompt_tokens: usize,
    /// Tokens the model hasn't seen: the prompt's rest, or the last token chosen.
    pending: Vec<TokenId>,
    /// How many of `pending` the model has seen.
    fed: usize,
    generated: usize,
    max_tokens: usize,
    sampler: Sampler,
    stop: StopMatcher,
    characters: WholeCharacters,
    logprobs: Option<usize>,
    events: mpsc::Sender<Result<TextEvent>>,
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
    /// Room for `max_tokens + 2` events.
    pub events: mpsc::Sender<Result<TextEvent>>,
    pub permit: OwnedSemaphorePermit,
}

/// Whether a sequence goes on.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Progress {
    More,
    Over,
}

impl Sequence {
    /// A sequence of which the model has seen nothing.
    pub fn new(assignment: Assignment) -> Self {
        let Assignment { prompt, max_tokens, sampling, seed, stop, logprobs, events, permit } = assignment;
        Self {
            prompt_tokens: prompt.len(),
            sampler: Sampler::new(sampling, seed, &prompt),
            pending: prompt,
            fed: 0,
            generated: 0,
            max_tokens,
            stop: StopMatcher::new(&stop),
            characters: WholeCharacters::default(),
            logprobs,
            events,
            permit: Some(permit),
        }
    }

    /// Whether nobody reads any more.
    pub fn is_abandoned(&self) -> bool {
        self.events.is_closed()
    }

    /// Whether its prompt is still being read.
    pub fn is_in_prompt(&self) -> bool {
        self.generated == 0
    }

    /// Tokens that the model hasn't seen.
    pub fn unfed(&self) -> &[TokenId] {
        &self.pending[self.fed..]
    }

    /// The model has seen so many more of them.
    pub fn advance(&mut self, tokens: usize) {
        self.fed += tokens;
    }

    /// Chooses the next token from the logits after the last one and tells the reader.
    pub fn choose(&mut self, logits: &mut [f32], vocabulary: &dyn Vocabulary) -> Progress {
        match self.next_event(logits, vocabulary) {
            Ok(progress) => progress,
            Err(error) => {
                self.fail(&error);
                Progress::Over
            }
        }
    }

    /// Ends it with an error.
    pub fn fail(&mut self, error: &EngineError) {
        self.permit = None;
        // The channel holds all events a request can cause; a reader that is gone needs none.
        let _ = self.events.try_send(Err(error.clone()));
    }

    fn next_event(&mut self, logits: &mut [f32], vocabulary: &dyn Vocabulary) -> Result<Progress> {
        let (id, found) = match self.logprobs {
            None => (self.sampler.choose(logits)?, None),
            Some(alternatives) => self.sampler.choose_with_logprobs(logits, alternatives).map(|(id, found)| (id, Some(found)))?,
        };
        if vocabulary.end_tokens().contains(&id) {
            self.flush();
            self.finish(FinishReason::EndOfText);
            return Ok(Progress::Over);
        }
        self.generated += 1;
        (self.pending, self.fed) = (vec![id], 0);
        let mut bytes = Vec::new();
        vocabulary.push_bytes(id, &mut bytes);
        let text = self.characters.push(&bytes);
        let (logprob, top) = found.map_or((None, Vec::new()), |Logprobs { chosen, top }| (Some(chosen), top));
        let token = Token { id, bytes, logprob, top };
        match self.stop.push(&text) {
            Stopping::Stopped { text, stop } => {
                self.tell(text, vec![token]);
                self.finish(FinishReason::StopString(stop));
                return Ok(Progress::Over);
            }
            Stopping::Continue(text) => self.tell(text, vec![token]),
        }
        if self.generated == self.max_tokens {
            self.flush();
            self.finish(FinishReason::Length);
            return Ok(Progress::Over);
        }
        Ok(Progress::More)
    }

    fn tell(&self, text: String, tokens: Vec<Token>) {
        let _ = self.events.try_send(Ok(TextEvent::Text { text, tokens }));
    }

    /// Shows what was held back for a stop string that never came.
    fn flush(&mut self) {
        let text = self.stop.finish();
        if !text.is_empty() {
            self.tell(text, Vec::new());
        }
    }

    fn finish(&mut self, reason: FinishReason) {
        self.permit = None;
        let usage = Usage { prompt_tokens: self.prompt_tokens, completion_tokens: self.generated, cached_tokens: 0 };
        let _ = self.events.try_send(Ok(TextEvent::Finished(Finish { reason, usage })));
    }
}
