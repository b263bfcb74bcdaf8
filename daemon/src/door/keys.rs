//! API keys: kept as hashes, found in constant time, called by their names.

use std::fmt;
use std::sync::Arc;

use axum::http::{HeaderMap, HeaderName, header};

use super::limits::{Limits, Meter, Permit};
use crate::error::ApiError;

/// Where Anthropic's clients put a key.
pub(super) const API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// A key that opens the door.
#[derive(Debug, Clone, PartialEq)]
pub struct Key {
    /// What the log calls it.
    pub name: String,
    /// What it is.
    pub secret: Secret,
    /// What it may ask for.
    pub limits: Limits,
}

/// A key's hash: what it is compared by, and all that is kept of it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Secret(blake3::Hash);

/// The name of the key that a request came with; an extension of the request.
#[derive(Debug, Clone)]
pub struct Name(pub Arc<str>);

/// All keys. Clones count their requests together.
#[derive(Debug, Clone)]
pub struct Keyring(Vec<Arc<Held>>);

#[derive(Debug)]
struct Held {
    key: Key,
    name: Arc<str>,
    meter: Meter,
}

impl Secret {
    /// The hash of this key.
    pub fn of(key: &str) -> Self {
        Self(blake3::hash(key.as_bytes()))
    }
}

impl fmt::Debug for Secret {
    /// A short key could be found by its hash.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("(hidden)")
    }
}

impl Keyring {
    /// These keys.
    pub fn new(keys: Vec<Key>) -> Self {
        Self(keys.into_iter().map(|key| Arc::new(Held::new(key))).collect())
    }

    /// These keys, in place of the ones before: of those that stay as they are, requests count on.
    #[must_use]
    pub fn renewed(&self, keys: Vec<Key>) -> Self {
        let known = |key: &Key| self.0.iter().find(|held| held.key == *key).cloned();
        Self(keys.into_iter().map(|key| known(&key).unwrap_or_else(|| Arc::new(Held::new(key)))).collect())
    }

    /// Whether nobody needs one.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The name of the key that a request carries, and its place among the key's requests where they are counted.
    ///
    /// # Errors
    /// There is no key, an unknown one, or one that has used up what it may.
    pub fn open(&self, headers: &HeaderMap) -> Result<(Arc<str>, Option<Permit>), ApiError> {
        let bearer = headers.get(header::AUTHORIZATION).and_then(|value| {
            let (scheme, key) = value.to_str().ok()?.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
        });
        let plain = headers.get(&API_KEY).and_then(|value| value.to_str().ok());
        let mut offered = [bearer, plain].into_iter().flatten().peekable();
        if offered.peek().is_none() {
            return Err(ApiError::unauthorized("an API key is needed, as Authorization: Bearer KEY or as x-api-key: KEY"));
        }
        let key = offered.find_map(|key| self.find(Secret::of(key)));
        let key = key.ok_or_else(|| ApiError::unauthorized("the API key isn't one of this daemon's"))?;
        Ok((key.name.clone(), key.meter.admit(&key.name)?))
    }

    /// Looks at all of them whichever it is; comparing two hashes takes the same time wherever they differ.
    fn find(&self, secret: Secret) -> Option<&Held> {
        self.0.iter().fold(None, |found, held| if held.key.secret == secret { Some(&**held) } else { found })
    }
}

impl Held {
    fn new(key: Key) -> Self {
        Self { name: key.name.as_str().into(), meter: Meter::new(key.limits), key }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_of_a_key_is_its_name() {
        let key = Key { name: "ada".into(), secret: Secret::of("sk-secret"), limits: Limits::default() };
        let printed = format!("{:?} {key:?}", Keyring::new(vec![key.clone()]));
        let hash = blake3::hash(b"sk-secret").to_hex();
        assert!(printed.contains("ada") && !printed.contains("sk-secret") && !printed.contains(hash.as_str()), "{printed}");
    }
}
