//! What can go wrong with a request, named for what its caller can do about it.

use std::error::Error as StdError;
use std::sync::Arc;
use std::time::Duration;

/// The one error of this crate's engines.
///
/// A message says what was wrong, the value seen and the limit, in words fit for whoever sent the request. Causes that only
/// an operator can use stay in `source`.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// The request itself is wrong; sending it again is pointless.
    #[error("{message}")]
    InvalidRequest {
        /// The field of the request that is wrong, as the native endpoints spell it; empty where it isn't known.
        param: &'static str,
        /// What was wrong, the value seen and the limit.
        message: String,
    },
    /// The prompt, or the prompt and the `max_tokens` that the request names, don't fit the context.
    #[error("{}", context_message(*prompt_tokens, *max_tokens, *limit))]
    ContextLengthExceeded {
        /// Tokens in the prompt.
        prompt_tokens: usize,
        /// Tokens of output the request insists on; `None` when the prompt alone is too long.
        max_tokens: Option<usize>,
        /// Tokens one request may hold, prompt and output together.
        limit: usize,
    },
    /// The queue is full; the same request may succeed in a moment.
    #[error("the queue is full: {waiting} requests are waiting, which is the limit")]
    Busy {
        /// Requests that wait.
        waiting: usize,
    },
    /// A remote engine's servers have too much to do, or are about to start; the same request may succeed in a moment.
    #[error("the upstream server is busy; try again in {} s", retry_after.as_secs().max(1))]
    UpstreamBusy {
        /// How long to wait before trying again.
        retry_after: Duration,
    },
    /// This engine never does that; another one may.
    #[error("engine `{engine}` doesn't support {what}")]
    Unsupported {
        /// The engine's name.
        engine: String,
        /// What was asked of it, for example `embeddings`.
        what: String,
    },
    /// The model can't be had or can't be loaded; the message says what to do about it.
    #[error("{0}")]
    Unavailable(String),
    /// The engine has been stopped.
    #[error("the engine has stopped")]
    Stopped,
    /// A remote engine's server failed or could not be reached; what it said itself is in the diagnostic log.
    #[error("the upstream server failed: {0}")]
    Upstream(String),
    /// The model failed while it was computing. The cause belongs into the diagnostic log, not into an answer.
    #[error("the engine failed while generating")]
    Failed(#[source] Arc<dyn StdError + Send + Sync>),
}

/// A result whose error is an [`EngineError`].
pub type Result<T, E = EngineError> = std::result::Result<T, E>;

impl EngineError {
    /// A request is wrong in one of its fields.
    pub fn invalid(param: &'static str, message: impl Into<String>) -> Self {
        Self::InvalidRequest { param, message: message.into() }
    }

    /// The same, about another field of the request.
    #[must_use]
    pub fn about(self, param: &'static str) -> Self {
        match self {
            Self::InvalidRequest { param: _, message } => Self::InvalidRequest { param, message },
            other => other,
        }
    }

    /// The model failed in the middle of its work.
    pub fn failed(cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::Failed(Arc::from(cause.into()))
    }
}

fn context_message(prompt_tokens: usize, max_tokens: Option<usize>, limit: usize) -> String {
    match max_tokens {
        None => format!("the prompt has {prompt_tokens} tokens; the model's context holds {limit}, at least one of them for the answer"),
        Some(max_tokens) => {
            format!("the prompt has {prompt_tokens} tokens and max_tokens asks for {max_tokens} more; the model's context holds {limit}")
        }
    }
}
