//! How long a request may take, and the end of the daemon, which waits for none.

use std::time::Duration;

use futures_util::StreamExt;
use minivault_engines::{EngineError, Generation, TextEvent};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::error::ApiError;

/// How long requests may take; `None` is for ever.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Deadlines {
    /// To the first piece of the answer, waiting and loading included.
    pub first_token: Option<Duration>,
    /// To the end of the answer; what was said until then is the answer.
    pub request: Option<Duration>,
}

/// What one request has left of it. Clones belong to the same request.
#[derive(Clone)]
pub struct Patience {
    deadlines: Deadlines,
    since: Instant,
    has_begun: bool,
    /// Becomes true when the daemon waits no longer.
    ending: watch::Receiver<bool>,
}

/// What came of waiting.
pub enum Waited {
    /// An event.
    Event(Result<TextEvent, EngineError>),
    /// The request's time is over; something has been said.
    Late,
    /// Nothing more comes, for this reason.
    GivenUp(ApiError),
}

impl Patience {
    /// From this moment on.
    pub fn new(deadlines: Deadlines, ending: watch::Receiver<bool>) -> Self {
        Self { deadlines, since: Instant::now(), has_begun: false, ending }
    }

    /// Waits for something that comes before the answer.
    ///
    /// # Errors
    /// It took too long.
    pub async fn wait_for<T>(&mut self, what: impl Future<Output = Result<T, ApiError>>) -> Result<T, ApiError> {
        let limit = self.limit();
        tokio::select! {
            biased;
            () = ended(&mut self.ending) => Err(ApiError::draining()),
            done = what => done,
            error = passed(limit, self.since) => Err(error),
        }
    }

    /// Waits for the next event of an answer.
    pub async fn next(&mut self, generation: &mut Generation) -> Waited {
        let limit = self.limit();
        tokio::select! {
            biased;
            () = ended(&mut self.ending) => Waited::GivenUp(ApiError::draining()),
            // What the engine has said in time belongs to the answer, also where it is read late.
            event = generation.next() => {
                self.has_begun |= matches!(event, Some(Ok(TextEvent::Text { .. } | TextEvent::ToolCall(_) | TextEvent::Finished(_))));
                Waited::Event(event.unwrap_or(Err(EngineError::Stopped)))
            }
            error = passed(limit, self.since) => if self.has_begun { Waited::Late } else { Waited::GivenUp(error) },
        }
    }

    /// What holds at this moment, and how it is called.
    fn limit(&self) -> Option<(Duration, &'static str)> {
        let first = self.deadlines.first_token.filter(|_| !self.has_begun).map(|limit| (limit, "begin"));
        let whole = self.deadlines.request.map(|limit| (limit, "end"));
        [first, whole].into_iter().flatten().min()
    }
}

/// Resolves when the daemon waits no longer.
async fn ended(ending: &mut watch::Receiver<bool>) {
    // Without a sender nobody ends anything.
    if ending.wait_for(|ending| *ending).await.is_err() {
        std::future::pending().await
    }
}

/// Resolves when the limit has passed, with what is said then.
async fn passed(limit: Option<(Duration, &'static str)>, since: Instant) -> ApiError {
    let Some((limit, verb)) = limit else { return std::future::pending().await };
    tokio::time::sleep_until(since + limit).await;
    ApiError::timeout(format!("the answer didn't {verb} within {} seconds, which is the limit", limit.as_secs_f64()))
}
