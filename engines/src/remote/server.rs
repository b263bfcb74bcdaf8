//! One server: its address, its client, and the two questions it is asked.

use std::time::Duration;

use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::{Client, Url};
use serde_json::{Map, Value};

use super::config::OpenAiConfig;
use super::events::Events;
use super::failure::Failure;
use crate::error::{EngineError, Result};
use crate::web;

/// How long a connection is kept for the next request: shorter than the 5 s after which uvicorn and Node close it, because a request
/// that meets the closing fails.
const KEPT_OPEN: Duration = Duration::from_secs(4);
/// How long a server may take to list its models.
const LIST_TIME: Duration = Duration::from_secs(5);
/// Bytes that such a list may have.
const LONGEST_LIST: usize = 8 << 20;

/// A server that speaks OpenAI's API.
#[derive(Debug)]
pub(super) struct Server {
    base: Url,
    http: Client,
    key: Option<HeaderValue>,
}

impl Server {
    /// Connects to nothing yet.
    pub fn new(base: Url, key: Option<HeaderValue>, config: &OpenAiConfig) -> Result<Self> {
        let mut builder =
            web::client().connect_timeout(config.connect_timeout()).read_timeout(config.idle_timeout()).pool_idle_timeout(KEPT_OPEN);
        if base.scheme() == "http" {
            // A machine without a store of certificates must be able to reach its neighbours.
            builder = builder.tls_certs_only([]);
        }
        if is_loopback(&base) {
            builder = builder.no_proxy();
        } else if base.scheme() == "http" && key.is_some() {
            tracing::warn!(server = %base, "the key for this server travels unencrypted; https:// would protect it");
        }
        let http = builder.build().map_err(|error| {
            let advice = "install the system's certificates (the package ca-certificates)";
            EngineError::Unavailable(format!("no HTTP client can be set up: {}; {advice}", web::chain(&error)))
        })?;
        Ok(Self { base, http, key })
    }

    /// Where it is, as the configuration says it.
    pub fn address(&self) -> &str {
        self.base.as_str().trim_end_matches('/')
    }

    /// Sends a request and waits until the server has begun to answer it with a stream.
    pub async fn ask(&self, endpoint: &str, body: &Map<String, Value>, engine: &str) -> Result<Events, Failure> {
        let url = self.url(endpoint)?;
        let body = serde_json::to_vec(body).map_err(|error| Failure::nonsense(error.to_string()))?;
        let request = self.http.post(url).header(CONTENT_TYPE, "application/json").header(ACCEPT, "text/event-stream").body(body);
        let response = self.with_key(request).send().await.map_err(Failure::connection)?;
        let content_type = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let streams = content_type.trim_start().to_ascii_lowercase().starts_with("text/event-stream");
        if response.status().is_success() && streams { Ok(Events::new(response)) } else { Err(Failure::answered(response, engine).await) }
    }

    /// The list of its models, as it is.
    pub async fn models(&self) -> Result<Value, Failure> {
        let request = self.http.get(self.url("models")?).timeout(LIST_TIME);
        let mut response = self.with_key(request).send().await.map_err(Failure::connection)?;
        if !response.status().is_success() {
            return Err(Failure::answered(response, "").await);
        }
        let mut body = Vec::new();
        while let Some(bytes) = response.chunk().await.map_err(Failure::connection)? {
            body.extend_from_slice(&bytes);
            if body.len() > LONGEST_LIST {
                return Err(Failure::nonsense(format!("a list of more than {LONGEST_LIST} bytes")));
            }
        }
        serde_json::from_slice(&body).map_err(|error| Failure::nonsense(error.to_string()))
    }

    fn url(&self, endpoint: &str) -> Result<Url, Failure> {
        self.base.join(endpoint).map_err(|error| Failure::nonsense(error.to_string()))
    }

    fn with_key(&self, request: reqwest::RequestBuilder) -> reqwest::RequestBuilder {
        match &self.key {
            Some(key) => request.header(AUTHORIZATION, key.clone()),
            None => request,
        }
    }

    /// A server for tests that ask nobody.
    #[cfg(test)]
    #[allow(clippy::unwrap_used)]
    pub fn nowhere(number: usize) -> Self {
        let config = serde_json::from_value(serde_json::json!({"model": "none"})).unwrap();
        Self::new(Url::parse(&format!("http://127.0.0.1:1/{number}/")).unwrap(), None, &config).unwrap()
    }
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
    host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
}
