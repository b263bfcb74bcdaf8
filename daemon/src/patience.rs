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
            done = what => done,
            error = give_up(limit, self.since, &mut self.ending) => Err(error),
        }
    }

    /// Waits for the next event of an answer.
    pub async fn next(&mut self, generation: &mut Generation) -> Waited {
        let limit = self.limit();
        tokio::select! {
            // Also where the engine always has something to say.
            biased;
            error = give_up(limit, self.since, &mut self.ending) => match error.is_timeout() && self.has_begun {
                true => Waited::Late,
                false => Waited::GivenUp(error),
            },
            event = generation.next() => {
                self.has_begun |= matches!(event, Some(Ok(_)));
                Waited::Event(event.unwrap_or(Err(EngineError::Stopped)))
            }
        }
    }

    /// What holds at this moment, and how it is called.
    fn limit(&self) -> Option<(Duration, &'static str)> {
        let first = self.deadlines.first_token.filter(|_| !self.has_begun).map(|limit| (limit, "begin"));
        let whole = self.deadlines.request.map(|limit| (limit, "end"));
        [first, whole].into_iter().flatten().min()
    }
}

/// Resolves when waiting is over.
async fn give_up(limit: Option<(Duration, &str)>, since: Instant, ending: &mut watch::Receiver<bool>) -> ApiError {
    let late = async {
        match limit {
            Some((limit, _)) => tokio::time::sleep_until(since + limit).await,
            None => std::future::pending().await,
        }
    };
    // Without a sender nobody ends anything.
    let ended = async {
        if ending.wait_for(|ending| *ending).await.is_err() {
            std::future::pending().await
        }
    };
    tokio::select! {
        () = late => {
            let (limit, verb) = limit.unwrap_or_default();
            ApiError::timeout(format!("the answer didn't {verb} within {} seconds, which is the limit", limit.as_secs_f64()))
        }
        () = ended => ApiError::draining(),
    }
}
