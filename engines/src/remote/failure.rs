//! What a server's refusal, silence or nonsense means for the request.

use std::time::Duration;

use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::{Response, StatusCode};

use super::complaint::Complaint;
use crate::error::EngineError;
use crate::web::chain;

/// Bytes of an error's body that are read.
const LONGEST_BODY: usize = 64 << 10;
/// How long an error's body may take.
const BODY_TIME: Duration = Duration::from_secs(5);
/// Characters of a server's words that go into the diagnostic log or to whoever asked.
const LONGEST_WORDS: usize = 500;
/// When to try again where a busy server doesn't say.
const TRY_AGAIN: Duration = Duration::from_secs(1);

/// Why a server gave no answer, or not all of it.
#[derive(Debug)]
pub(super) enum Failure {
    /// The request is to blame, whichever server gets it.
    Refused(EngineError),
    /// The context holds no prompt of so many tokens with so much room behind it.
    TooLong {
        /// Tokens of the prompt.
        prompt_tokens: usize,
        /// Tokens of the context.
        limit: usize,
    },
    /// The server has too much to do, or is about to start.
    Busy {
        /// When to try again.
        wait: Duration,
        /// Its own words.
        said: String,
    },
    /// The server is to blame.
    Broken {
        /// What happened, for whoever asked.
        told: String,
        /// Its own words, or the cause: for the diagnostic log.
        said: String,
    },
}

impl Failure {
    /// No connection came about, or it broke.
    #[allow(clippy::needless_pass_by_value)] // What `map_err` takes.
    pub fn connection(error: reqwest::Error) -> Self {
        let told = if error.is_connect() {
            "it can't be reached"
        } else if error.is_timeout() {
            "it sent nothing for too long"
        } else {
            "the connection broke off"
        };
        // The address stands beside it in the log.
        Self::broken(told, chain(&error.without_url()))
    }

    /// The server sent what no server of OpenAI's API sends.
    pub fn nonsense(said: impl Into<String>) -> Self {
        Self::broken("its answer makes no sense", said)
    }

    /// The answer's stream ended before the answer did.
    pub fn cut_off() -> Self {
        Self::broken("its answer broke off", "the stream ended without a finish_reason and without [DONE]")
    }

    fn broken(told: impl Into<String>, said: impl Into<String>) -> Self {
        Self::Broken { told: told.into(), said: words(&said.into()) }
    }

    /// What an answer that isn't a stream means.
    pub async fn answered(mut response: Response, engine: &str) -> Self {
        let (status, wait) = (response.status(), retry_after(response.headers()));
        let content_type = response.headers().get(reqwest::header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let mut body = Vec::new();
        // What can't be read of it only makes the message shorter.
        let _ = tokio::time::timeout(BODY_TIME, async {
            while body.len() < LONGEST_BODY
                && let Ok(Some(bytes)) = response.chunk().await
            {
                body.extend_from_slice(&bytes);
            }
        })
        .await;
        body.truncate(LONGEST_BODY);
        let complaint = Complaint::read(&String::from_utf8_lossy(&body));
        if status.is_success() {
            let said = format!("{} instead of text/event-stream: {}", content_type.unwrap_or_default(), complaint.message);
            return Self::nonsense(said);
        }
        Self::refusal(status, wait, &complaint, engine)
    }

    /// What an error in the middle of a stream means.
    pub fn event(complaint: &Complaint, engine: &str) -> Self {
        let status = complaint.status.and_then(|status| StatusCode::from_u16(status).ok());
        let status = status.filter(|status| status.is_client_error() || status.is_server_error());
        Self::refusal(status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), None, complaint, engine)
    }

    fn refusal(status: StatusCode, wait: Option<Duration>, complaint: &Complaint, engine: &str) -> Self {
        if let Some((prompt_tokens, limit)) = complaint.too_long() {
            return Self::TooLong { prompt_tokens, limit };
        }
        let message = words(&complaint.message);
        match status.as_u16() {
            400 | 422 => {
                let param = known_field(complaint.param.as_deref());
                Self::Refused(EngineError::invalid(param, format!("the upstream server refused the request: {message}")))
            }
            413 => Self::Refused(EngineError::invalid("", "the request is longer than the upstream server takes")),
            501 => {
                let what = format!("this request; its upstream server says: {message}");
                Self::Refused(EngineError::Unsupported { engine: engine.to_owned(), what })
            }
            429 | 503 => Self::Busy { wait: wait.unwrap_or(TRY_AGAIN), said: message },
            401 | 403 => Self::broken(format!("it refused this daemon's key ({status})"), message),
            404 => Self::broken("it doesn't have the model, or no such API (404 Not Found)", message),
            300..=399 => Self::broken(format!("it answered {status}, and redirects aren't followed"), message),
            _ => Self::broken(format!("it answered {status}"), message),
        }
    }

    /// Whether another server may do better.
    pub fn is_the_servers(&self) -> bool {
        matches!(self, Self::Busy { .. } | Self::Broken { .. })
    }

    /// The failure for whoever asked for at most `max_tokens`, where the request insisted on them.
    pub fn into_error(self, insisted_on: Option<usize>) -> EngineError {
        match self {
            Self::Refused(error) => error,
            Self::TooLong { prompt_tokens, limit } => {
                let max_tokens = insisted_on.filter(|_| prompt_tokens < limit);
                EngineError::ContextLengthExceeded { prompt_tokens, max_tokens, limit }
            }
            Self::Busy { wait, .. } => EngineError::UpstreamBusy { retry_after: wait },
            Self::Broken { told, .. } => EngineError::Upstream(told),
        }
    }
}

/// Seconds, or nothing that is understood.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds: u64 = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds.min(3600)))
}

/// A stranger's words, short and without control characters.
fn words(text: &str) -> String {
    let plain = text.trim().chars().map(|character| if character.is_control() { ' ' } else { character });
    let mut plain: Vec<char> = plain.take(LONGEST_WORDS + 1).collect();
    if plain.len() > LONGEST_WORDS {
        plain[LONGEST_WORDS] = '…';
    }
    if plain.is_empty() { "(without a word)".to_owned() } else { plain.into_iter().collect() }
}

/// The field that a server complains of, where it is one of ours.
fn known_field(param: Option<&str>) -> &'static str {
    const FIELDS: [&str; 15] = [
        "prompt",
        "messages",
        "max_tokens",
        "temperature",
        "top_k",
        "top_p",
        "min_p",
        "repetition_penalty",
        "presence_penalty",
        "frequency_penalty",
        "logit_bias",
        "logprobs",
        "seed",
        "stop",
        "tools",
    ];
    FIELDS.into_iter().find(|field| Some(*field) == param).unwrap_or_default()
}
