//! The daemon's answers, asked for over HTTP.

use std::error::Error;
use std::time::Duration;

use minivault_journal::reading::{Place, Stats, Verification};
use minivault_wire::chat::ChatBody;
use minivault_wire::interactions::{NEXT, ReplayAnswer, ReplayBody};
use minivault_wire::models::ModelList;
use minivault_wire::native::{GenerateAnswer, GenerateBody};
use minivault_wire::status::{HealthAnswer, ReadyAnswer};
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{RequestBuilder, Response, StatusCode, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::events::{ChatStream, Events, GenerateStream, error_message};
use crate::failure::Failure;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// For what the daemon knows without computing. Generation has no limit: a long prompt is silent for long.
const REPORT_TIMEOUT: Duration = Duration::from_secs(10);

/// A daemon at an address.
pub struct Client {
    http: reqwest::Client,
    base: Url,
}

/// What became of a request that may be asked again.
pub enum Asked {
    Answer(Value),
    /// The daemon's error; asking again is of no use.
    Refused(Value),
    /// The daemon failed, or what is in front of it; another time it may not.
    Failed(String),
    /// The daemon can't answer now.
    Later {
        after: Duration,
        why: String,
    },
}

/// An answer, and the very text it came as.
pub struct Whole<T> {
    pub raw: String,
    pub value: T,
}

impl Client {
    /// Connects to nothing yet.
    pub fn new(mut base: Url, key: Option<&str>) -> Result<Self, Failure> {
        base.set_query(None);
        base.set_fragment(None);
        if !base.path().ends_with('/') {
            base.set_path(&format!("{}/", base.path()));
        }
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("minivault/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_TIMEOUT)
            .redirect(Policy::none())
            // The daemon may close a kept connection while the user thinks; a new one costs next to nothing.
            .pool_max_idle_per_host(0);
        if let Some(key) = key.filter(|key| !key.is_empty()) {
            builder = builder.default_headers(HeaderMap::from_iter([(AUTHORIZATION, bearer(key)?)]));
        }
        if base.scheme() == "http" {
            // A machine without a store of certificates must be able to talk to itself.
            builder = builder.tls_certs_only([]);
        }
        if is_loopback(&base) {
            builder = builder.no_proxy();
        }
        match builder.build() {
            Ok(http) => Ok(Self { http, base }),
            Err(error) => Err(Failure::Failed(format!("no HTTP client can be made: {}", root_cause(&error)))),
        }
    }

    /// Where the daemon is, as it may be shown.
    pub fn address(&self) -> String {
        let mut shown = self.base.clone();
        // Either fails only for addresses that can't carry these, and then there are none.
        let _ = shown.set_username("");
        let _ = shown.set_password(None);
        shown.as_str().trim_end_matches('/').to_owned()
    }

    /// `POST /generate`
    pub async fn generate(&self, body: &GenerateBody) -> Result<Whole<GenerateAnswer>, Failure> {
        let response = self.accepted(self.post("generate", body)?).await?;
        self.whole(response).await
    }

    /// `POST`, whatever is asked.
    pub async fn ask(&self, path: &str, body: &Value) -> Result<Asked, Failure> {
        let response = self.answered(self.post(path, body)?).await?;
        let status = response.status();
        if status.is_success() {
            return Ok(Asked::Answer(self.whole(response).await?.value));
        }
        let seconds = response.headers().get(RETRY_AFTER).and_then(|seconds| seconds.to_str().ok()?.parse().ok());
        let body = self.text(response).await?;
        let error = serde_json::from_str(&body).ok().and_then(|mut body: Value| body.get_mut("error").map(Value::take));
        let refusal = self.refusal_of(status, &body);
        let why = refusal.message().unwrap_or_default();
        match (status, error) {
            (StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE, _) => {
                Ok(Asked::Later { after: Duration::from_secs(seconds.unwrap_or(1)), why })
            }
            (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, _) => Err(refusal),
            // What an engine can't do it won't do tomorrow.
            (status, _) if status.is_server_error() && status != StatusCode::NOT_IMPLEMENTED => Ok(Asked::Failed(why)),
            (_, Some(error)) => Ok(Asked::Refused(error)),
            (_, None) => Err(refusal),
        }
    }

    /// `POST /stream-generate`
    pub async fn stream_generate(&self, body: &GenerateBody) -> Result<GenerateStream, Failure> {
        Ok(GenerateStream::new(self.events("stream-generate", body).await?))
    }

    /// `POST /v1/chat/completions`, for a body that asks for a stream.
    pub async fn chat(&self, body: &ChatBody) -> Result<ChatStream, Failure> {
        Ok(ChatStream::new(self.events("v1/chat/completions", body).await?))
    }

    /// `GET /v1/models`
    pub async fn models(&self) -> Result<Whole<ModelList>, Failure> {
        let response = self.accepted(self.get("v1/models")?).await?;
        self.whole(response).await
    }

    /// `GET /metrics`, in Prometheus' text format
    pub async fn metrics(&self) -> Result<String, Failure> {
        let response = self.accepted(self.get("metrics")?).await?;
        self.text(response).await
    }

    /// `GET /health`
    pub async fn health(&self) -> Result<HealthAnswer, Failure> {
        let response = self.accepted(self.get("health")?).await?;
        Ok(self.whole(response).await?.value)
    }

    /// `GET /interactions`: lines, and where the next ones are.
    pub async fn interactions(&self, query: &[(&str, String)]) -> Result<(String, Option<Place>), Failure> {
        let response = self.accepted(self.search(&["interactions"], query)?).await?;
        let next = response.headers().get(NEXT).and_then(|next| next.to_str().ok()?.parse().ok());
        Ok((self.text(response).await?, next))
    }

    /// `GET /interactions/{id}`
    pub async fn interaction(&self, id: &str) -> Result<String, Failure> {
        let response = self.accepted(self.search(&["interactions", id], &[])?).await?;
        self.text(response).await
    }

    /// `GET /interactions/stats`
    pub async fn stats(&self, query: &[(&str, String)]) -> Result<Stats, Failure> {
        let response = self.accepted(self.search(&["interactions", "stats"], query)?).await?;
        Ok(self.whole(response).await?.value)
    }

    /// `GET /interactions/verify`
    pub async fn verify(&self) -> Result<Verification, Failure> {
        let response = self.accepted(self.search(&["interactions", "verify"], &[])?).await?;
        Ok(self.whole(response).await?.value)
    }

    /// `POST /interactions/{id}/replay`; the inner error says why this one can't be run again.
    pub async fn replay(&self, id: &str, body: &ReplayBody) -> Result<Result<Whole<ReplayAnswer>, String>, Failure> {
        let url = self.below(&["interactions", id, "replay"], &[])?;
        let response = self.answered(self.http.post(url).json(body)).await?;
        match response.status() {
            StatusCode::CONFLICT => match self.refusal(response).await {
                Failure::Failed(reason) => Ok(Err(reason)),
                other => Err(other),
            },
            status if status.is_success() => self.whole(response).await.map(Ok),
            _ => Err(self.refusal(response).await),
        }
    }

    /// `GET /ready`, which answers 503 with the same body while the engine can't answer.
    pub async fn ready(&self) -> Result<ReadyAnswer, Failure> {
        let response = self.answered(self.get("ready")?).await?;
        match response.status() {
            StatusCode::OK | StatusCode::SERVICE_UNAVAILABLE => Ok(self.whole(response).await?.value),
            _ => Err(self.refusal(response).await),
        }
    }

    fn get(&self, path: &str) -> Result<RequestBuilder, Failure> {
        Ok(self.http.get(self.endpoint(path)?).timeout(REPORT_TIMEOUT))
    }

    fn post(&self, path: &str, body: &impl Serialize) -> Result<RequestBuilder, Failure> {
        Ok(self.http.post(self.endpoint(path)?).json(body))
    }

    fn endpoint(&self, path: &str) -> Result<Url, Failure> {
        self.base.join(path).map_err(|error| Failure::Usage(format!("{} is no address for a daemon: {error}", self.address())))
    }

    /// A question about the log, which takes as long as the log is.
    fn search(&self, segments: &[&str], query: &[(&str, String)]) -> Result<RequestBuilder, Failure> {
        Ok(self.http.get(self.below(segments, query)?))
    }

    /// An address of parts that may hold anything.
    fn below(&self, segments: &[&str], query: &[(&str, String)]) -> Result<Url, Failure> {
        let mut url = self.base.clone();
        let usage = || Failure::Usage(format!("{} is no address for a daemon", self.address()));
        url.path_segments_mut().map_err(|()| usage())?.pop_if_empty().extend(segments);
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        Ok(url)
    }

    async fn text(&self, response: Response) -> Result<String, Failure> {
        response.text().await.map_err(|error| self.broken(&error))
    }

    async fn events(&self, path: &str, body: &impl Serialize) -> Result<Events, Failure> {
        let response = self.accepted(self.post(path, body)?.header(ACCEPT, "text/event-stream")).await?;
        let kind = response.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        if !kind.starts_with("text/event-stream") {
            return Err(self.stranger(&format!("a stream of type {kind:?} instead of text/event-stream")));
        }
        Ok(Events::new(response))
    }

    async fn answered(&self, request: RequestBuilder) -> Result<Response, Failure> {
        request.send().await.map_err(|error| self.broken(&error))
    }

    async fn accepted(&self, request: RequestBuilder) -> Result<Response, Failure> {
        let response = self.answered(request).await?;
        if response.status().is_success() { Ok(response) } else { Err(self.refusal(response).await) }
    }

    async fn whole<T: DeserializeOwned>(&self, response: Response) -> Result<Whole<T>, Failure> {
        let raw = self.text(response).await?;
        match serde_json::from_str(&raw) {
            Ok(value) => Ok(Whole { value, raw: raw.trim_end().to_owned() }),
            Err(error) => Err(self.stranger(&format!("something else than expected ({error})"))),
        }
    }

    async fn refusal(&self, response: Response) -> Failure {
        let status = response.status();
        match response.text().await {
            Ok(body) => self.refusal_of(status, &body),
            Err(error) => self.broken(&error),
        }
    }

    fn refusal_of(&self, status: StatusCode, body: &str) -> Failure {
        match error_message(body) {
            // The daemon speaks of headers, which nobody types here.
            Some(message) if status == StatusCode::UNAUTHORIZED => {
                Failure::Failed(format!("{message}; say it with MINIVAULT_API_KEY, --key, or a profile"))
            }
            Some(message) => Failure::Failed(message),
            None => self.stranger(&format!("{status} without saying why")),
        }
    }

    fn stranger(&self, answer: &str) -> Failure {
        Failure::Failed(format!("{} answered {answer}; is that a minivaultd of this version?", self.address()))
    }

    fn broken(&self, error: &reqwest::Error) -> Failure {
        let url = self.address();
        if error.is_connect() {
            let cause =
                if error.is_timeout() { format!("no connection within {} seconds", CONNECT_TIMEOUT.as_secs()) } else { root_cause(error) };
            Failure::Unreachable { url, cause }
        } else if error.is_timeout() {
            Failure::Failed(format!("{url} did not answer within {} seconds", REPORT_TIMEOUT.as_secs()))
        } else {
            Failure::Failed(format!("{url} broke the connection off before its answer was complete: {}", root_cause(error)))
        }
    }
}

/// A key as the daemon wants it. What is wrong with one is told without it.
fn bearer(key: &str) -> Result<HeaderValue, Failure> {
    let mut value = HeaderValue::try_from(format!("Bearer {key}"))
        .map_err(|_| Failure::Usage("the API key holds a character that no header can carry".into()))?;
    value.set_sensitive(true);
    Ok(value)
}

/// Whether the address is this machine's own, which a proxy cannot reach.
fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// The innermost error, which names the cause; the ones around it only say where it passed.
pub fn root_cause(error: &dyn Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_is_asked_without_a_proxy() {
        let check = |url: &str| is_loopback(&Url::parse(url).unwrap());
        assert!(check("http://127.0.0.1:8000") && check("http://[::1]:8000") && check("http://localhost"));
        assert!(!check("http://192.0.2.1") && !check("http://localhost.example"));
    }

    #[test]
    fn an_address_is_shown_without_its_password() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::new(Url::parse("http://me:secret@127.0.0.1:8000/vault?x=1").unwrap(), None).unwrap();
        assert_eq!(client.address(), "http://127.0.0.1:8000/vault");
        assert_eq!(client.endpoint("generate").unwrap().path(), "/vault/generate");
    }
}
