//! What a route asks, and how it is asked of an engine: places in the log first, then one answer after the other.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use jiff::Timestamp;
use minivault_engines::{EngineError, GenerateRequest, Generation, MaxTokens, TextEngine};
use serde_json::{Map, Value};

use super::Interaction;
use super::line::{About, Line};
use crate::error::ApiError;
use crate::lease::Lease;
use crate::logging::Wish;
use crate::normalized::normalize;
use crate::patience::Patience;
use crate::routes::App;

/// Between two looks whether a full engine has room for the rest of a list of prompts.
const LIST_GOES_ON_AFTER: Duration = Duration::from_millis(20);

/// What a route asks.
pub struct Question {
    /// The interaction's name; of several answers each adds its place.
    pub id: String,
    /// The route.
    pub endpoint: &'static str,
    /// The engine's name; `None` is the default one.
    pub model: Option<String>,
    /// What is asked of the engine, at least one request.
    pub requests: Vec<GenerateRequest>,
    /// Answers to each request.
    pub choices: usize,
    /// Fields of the request that concern the answer's form, for the log.
    pub form: Map<String, Value>,
    /// The interaction that is run again.
    pub replay_of: Option<String>,
}

/// What all answers to one question have.
#[derive(Clone)]
struct With {
    handle: Lease,
    patience: Patience,
    wish: Wish,
}

impl Interaction {
    /// Asks for one answer to one request.
    ///
    /// # Errors
    /// As [`Interaction::begin_all`].
    pub async fn begin(app: &App, question: Question) -> Result<Self, ApiError> {
        Self::begin_all(app, question).await?.pop().ok_or_else(ApiError::internal)
    }

    /// Reserves the records' places, then asks the engine: all answers begin, request by request, or none. Of a list that is longer than the
    /// engine's queue the later ones wait until earlier ones have been answered.
    ///
    /// # Errors
    /// Whatever refuses one of the requests; nothing is logged then. What failed, an upstream server for example, is.
    pub async fn begin_all(app: &App, question: Question) -> Result<Vec<Self>, ApiError> {
        let (started, arrived) = (Instant::now(), Timestamp::now());
        let Question { id, endpoint, model, requests, choices, form, replay_of } = question;
        if app.is_draining() {
            return Err(ApiError::draining());
        }
        requests.iter().try_for_each(GenerateRequest::check)?;
        check_budget(&requests, choices, app.configured.limits.answer_tokens)?;
        let (wish, mut patience) = (Wish::of_this_request(), app.patience());
        let handle = app.engine(model.as_deref(), &mut patience).await?;
        let (alone, engine) = (requests.len() * choices == 1, handle.info());
        let about = About { id, alone, endpoint, replay_of, arrived, started, engine, key: wish.key.clone(), metrics: app.metrics.clone() };
        let mut begun = Vec::with_capacity(requests.len() * choices);
        for mut request in requests {
            // A replay's is its own in any case.
            request.sampling.seed = request.sampling.seed.or(app.configured.generation.seed);
            request.client.clone_from(&wish.key);
            let mut asked = normalize(&request);
            asked.extend(form.clone());
            let mut lines = Vec::with_capacity(choices);
            for choice in 0..choices {
                let place = if wish.off { Ok(app.journal.unlogged()) } else { app.journal.reserve() };
                let index = begun.len() + choice;
                match place {
                    Ok(place) => lines.push(about.line(place, index, &request, asked.clone())),
                    Err(error) => return Err(end(error.into(), lines, begun).await),
                }
            }
            match patience.wait_for(ask(app, &*handle, &request, choices, !begun.is_empty())).await {
                Ok(generations) => {
                    let together = generations.into_iter().zip(lines);
                    let with = With { handle: handle.clone(), patience: patience.clone(), wish: wish.clone() };
                    begun.extend(together.map(|(generation, line)| Self::new(generation, line, &about, with.clone())));
                }
                Err(error) => return Err(end(error, lines, begun).await),
            }
        }
        Ok(begun)
    }

    fn new(generation: Generation, mut line: Line, about: &About, With { handle, patience, wish }: With) -> Self {
        let beginning = generation.beginning();
        line.begins(beginning);
        let (seed, prompt, prompt_tokens) = (beginning.seed, beginning.prompt_text.clone(), beginning.prompt_tokens.clone());
        Self {
            generation,
            handle,
            line,
            unshown: Vec::new(),
            uncounted: 0,
            end: None,
            patience,
            id: about.id.clone(),
            engine: Arc::clone(&about.engine),
            seed,
            prompt,
            prompt_tokens,
            token_ids: Vec::new(),
            dropped: false,
            wish,
        }
    }

    /// Ends the answers to a request that an error ends before the first byte: a refused one leaves no lines.
    ///
    /// # Errors
    /// A line could not be written.
    pub async fn end_all(interactions: Vec<Self>, error: &ApiError) -> Result<(), ApiError> {
        for mut interaction in interactions {
            if interaction.line.end(error).await? {
                interaction.wish.note_dropped();
            }
        }
        Ok(())
    }
}

/// Asks the engine for so many answers. `goes_on`: earlier requests of the same list are under way, and may be what the engine is full of.
async fn ask(
    app: &App,
    engine: &dyn TextEngine,
    request: &GenerateRequest,
    choices: usize,
    goes_on: bool,
) -> Result<Vec<Generation>, ApiError> {
    loop {
        match engine.choices(request.clone(), choices).await {
            Err(EngineError::Busy { .. }) if goes_on => tokio::time::sleep(LIST_GOES_ON_AFTER).await,
            generations => {
                return generations.map_err(|error| ApiError::from(error).waiting(app.metrics.throughput.wait(&engine.info().name)));
            }
        }
    }
}

/// Refuses several answers that may be longer than the limit together.
fn check_budget(requests: &[GenerateRequest], choices: usize, limit: usize) -> Result<(), ApiError> {
    let answers = requests.len() * choices;
    let most = requests.iter().map(|request| match request.max_tokens {
        MaxTokens::Exactly(tokens) => tokens,
        // Nobody has asked for so many.
        MaxTokens::AtMost(_) | MaxTokens::Remaining => 0,
    });
    let tokens = most.fold(0, usize::saturating_add).saturating_mul(choices);
    if answers > 1 && tokens > limit {
        let message = format!("{answers} answers may have {tokens} tokens together; the limit is {limit}");
        return Err(ApiError::invalid(Some("max_tokens"), message));
    }
    Ok(())
}

/// Ends all answers to a request of which one can't begin, and returns the error that is told.
async fn end(error: ApiError, lines: Vec<Line>, begun: Vec<Interaction>) -> ApiError {
    let mut outcome = Interaction::end_all(begun, &error).await;
    for mut line in lines {
        // Nothing of these has begun, so what can't be done for now is refused, too.
        if error.status == StatusCode::SERVICE_UNAVAILABLE {
            line.forget();
        }
        outcome = outcome.and(line.end(&error).await.map(drop));
    }
    outcome.err().unwrap_or(error)
}
