//! The table of an upstream engine, and what of it can be checked before anybody is asked.

use std::time::Duration;

use reqwest::Url;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::error::{EngineError, Result};
use crate::registry::check_range;

/// The longest that a server may be waited for, in seconds: a day.
const LONGEST_WAIT: f64 = 86_400.0;

/// An upstream engine's table.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpenAiConfig {
    /// Where the server's API is, `/v1` included.
    #[serde(default)]
    pub base_url: Option<String>,
    /// The same of several servers that all have the model.
    #[serde(default)]
    pub base_urls: Vec<String>,
    /// The model, as the servers call it.
    pub model: String,
    /// The environment variable that holds the key.
    #[serde(default)]
    pub api_key_env: Option<String>,
    /// Requests under way at once, over all servers.
    #[serde(default = "default_slots")]
    pub slots: usize,
    /// Tokens that one request may hold, where the servers don't tell.
    #[serde(default)]
    pub context: Option<usize>,
    /// Seconds that a connection may take to stand.
    #[serde(default = "default_connect_timeout")]
    pub connect_timeout: f64,
    /// Seconds that a server may send nothing at all.
    #[serde(default = "default_idle_timeout")]
    pub idle_timeout: f64,
    /// Fields for every request's body; a request's own go before them.
    #[serde(default)]
    pub extra: Map<String, Value>,
}

fn default_slots() -> usize {
    64
}

fn default_connect_timeout() -> f64 {
    10.0
}

/// A server computes a long prompt, or lets a request wait, without a word.
fn default_idle_timeout() -> f64 {
    300.0
}

impl OpenAiConfig {
    /// Checks what the types can't say.
    pub(super) fn check(&self) -> Result<()> {
        self.addresses()?;
        if self.model.is_empty() {
            return Err(wrong("`model` is empty; it must be the model's name on the server"));
        }
        check_range("slots", self.slots, 1..=65_536)?;
        if let Some(context) = self.context {
            check_range("context", context, 2..=1 << 30)?;
        }
        for (key, seconds) in [("connect_timeout", self.connect_timeout), ("idle_timeout", self.idle_timeout)] {
            if !(seconds > 0.0 && seconds <= LONGEST_WAIT) {
                return Err(wrong(format!("`{key}` is {seconds}; it must be over 0 and at most {LONGEST_WAIT} seconds")));
            }
        }
        Ok(())
    }

    /// The servers' addresses, each ending with a slash.
    pub(super) fn addresses(&self) -> Result<Vec<Url>> {
        match (&self.base_url, &self.base_urls[..]) {
            (Some(_), [_, ..]) => Err(wrong("`base_url` and `base_urls` are both there; one of them names the servers")),
            (None, []) => Err(wrong("`base_url` is missing; it is where the server's API is, for example http://127.0.0.1:11434/v1")),
            (Some(one), []) => Ok(vec![address("base_url", one)?]),
            (None, several) => several.iter().map(|one| address("base_urls", one)).collect(),
        }
    }

    pub(super) fn connect_timeout(&self) -> Duration {
        Duration::from_secs_f64(self.connect_timeout)
    }

    pub(super) fn idle_timeout(&self) -> Duration {
        Duration::from_secs_f64(self.idle_timeout)
    }
}

fn address(key: &str, text: &str) -> Result<Url> {
    let mut url = Url::parse(text.trim()).map_err(|error| wrong(format!("`{key}` has {text:?}, which is no URL ({error})")))?;
    if !url.username().is_empty() || url.password().is_some() {
        // Not repeated: it may be a secret.
        return Err(wrong(format!(
            "`{key}` has a URL with a user or a password; a key belongs into the variable that `api_key_env` names"
        )));
    }
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err(wrong(format!("`{key}` has {text:?}, which is neither an http:// nor an https:// URL")));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(wrong(format!("`{key}` has {text:?}; a base URL has no `?` and no `#`")));
    }
    if !url.path().ends_with('/') {
        url.set_path(&format!("{}/", url.path()));
    }
    Ok(url)
}

fn wrong(message: impl Into<String>) -> EngineError {
    EngineError::Unavailable(message.into())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn check(table: &Value, expected: Result<&str, &str>) {
        let config: OpenAiConfig = serde_json::from_value(table.clone()).unwrap();
        let seen = config.check().and_then(|()| config.addresses()).map(|urls| urls.iter().map(Url::as_str).collect::<Vec<_>>().join(" "));
        match expected {
            Ok(urls) => assert_eq!(seen.unwrap(), urls, "{table}"),
            Err(part) => {
                let message = seen.unwrap_err().to_string();
                assert!(message.contains(part), "{table}: {message}");
            }
        }
    }

    #[test]
    fn addresses_are_checked() {
        let with = |key: &str, value: Value| serde_json::json!({"model": "m", key: value});
        check(&with("base_url", "http://127.0.0.1:11434/v1".into()), Ok("http://127.0.0.1:11434/v1/"));
        check(&with("base_urls", vec!["https://a/v1/", "http://b"].into()), Ok("https://a/v1/ http://b/"));
        check(&with("base_url", "localhost:11434/v1".into()), Err("neither an http:// nor"));
        check(&with("base_url", "127.0.0.1:11434".into()), Err("no URL"));
        check(&with("base_url", "http://a/v1?x=1".into()), Err("no `?`"));
        check(&with("base_url", "http://me:secret@a/v1".into()), Err("`api_key_env`"));
        check(&with("base_urls", Value::Array(Vec::new())), Err("`base_url` is missing"));
        check(&serde_json::json!({"model": "m", "base_url": "http://a", "base_urls": ["http://b"]}), Err("both there"));
    }

    #[test]
    fn numbers_are_checked() {
        let with = |key: &str, value: Value| serde_json::json!({"model": "m", "base_url": "http://a", key: value});
        check(&with("slots", 0.into()), Err("`slots` is 0"));
        check(&with("context", 1.into()), Err("`context` is 1"));
        check(&with("idle_timeout", 0.into()), Err("`idle_timeout` is 0"));
        check(&with("model", "".into()), Err("`model` is empty"));
        check(&with("connect_timeout", 0.5.into()), Ok("http://a/"));
    }
}
