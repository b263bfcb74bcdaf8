//! The pages that may ask the daemon from a browser.

use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, Method, header};
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};

use super::headers::only;
use super::hosts::is_loopback;
use crate::error::ApiError;

/// How long a browser may remember what it was told.
const REMEMBERED: Duration = Duration::from_secs(600);
/// Headers of answers that pages may read besides those that every page may.
const READABLE: [HeaderName; 6] = [
    HeaderName::from_static("x-request-id"),
    HeaderName::from_static("x-minivault-log"),
    HeaderName::from_static("x-minivault-ignored"),
    HeaderName::from_static("x-minivault-next"),
    header::RETRY_AFTER,
    header::WWW_AUTHENTICATE,
];

/// Some origins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// All of them.
    Any,
    /// Those of this machine, on every port.
    Loopback,
    /// One, as browsers write it.
    Exactly(String),
}

/// Those that may ask.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origins(Vec<Origin>);

impl Origin {
    /// Reads `*`, `localhost`, `null` or `scheme://host:port`.
    ///
    /// # Errors
    /// What it must be.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text {
            "*" => return Ok(Self::Any),
            "localhost" => return Ok(Self::Loopback),
            "null" => return Ok(Self::Exactly(text.into())),
            _ => {}
        }
        let host = text.split_once("://").filter(|(scheme, _)| !scheme.is_empty()).map(|(_, host)| host);
        let is_host = |host: &str| !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_graphic() && !b"/?#@*".contains(&byte));
        if host.is_some_and(is_host) {
            Ok(Self::Exactly(text.to_ascii_lowercase()))
        } else {
            Err("an origin is scheme://host or scheme://host:port without a path, \"localhost\" for every port of this machine, or \"*\""
                .into())
        }
    }

    fn is(&self, origin: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Loopback => host_of(origin).is_some_and(is_loopback),
            Self::Exactly(known) => known.eq_ignore_ascii_case(origin),
        }
    }
}

impl Origins {
    /// These.
    pub fn new(origins: &[Origin]) -> Self {
        Self(origins.to_vec())
    }

    /// Whether pages from there may ask and read the answer.
    pub fn allow(&self, origin: &str) -> bool {
        self.0.iter().any(|allowed| allowed.is(origin))
    }

    /// Refuses requests of other pages; one that is served under the very name that it asks isn't another one.
    ///
    /// # Errors
    /// The request comes from a page that may not ask.
    pub fn check(&self, headers: &HeaderMap, host: Option<&str>) -> Result<(), ApiError> {
        let Some(origin) = only(headers, &header::ORIGIN)? else { return Ok(()) };
        let own = origin.split_once("://").is_some_and(|(_, page)| host.is_some_and(|host| host.eq_ignore_ascii_case(page)));
        if own || self.allow(origin) { Ok(()) } else { Err(ApiError::foreign_origin(origin)) }
    }

    /// What tells browsers of it; `None` where no other page may ask.
    ///
    /// There are no cookies here, so it never says that pages may send them.
    pub fn cors(&self) -> Option<CorsLayer> {
        if self.0.is_empty() {
            return None;
        }
        let allowed = self.clone();
        Some(
            CorsLayer::new()
                .allow_origin(AllowOrigin::predicate(move |origin, _| origin.to_str().is_ok_and(|origin| allowed.allow(origin))))
                .allow_methods([Method::GET, Method::POST])
                // `*` wouldn't stand for Authorization.
                .allow_headers(AllowHeaders::mirror_request())
                .expose_headers(READABLE)
                .max_age(REMEMBERED),
        )
    }
}

/// The host in an origin, without its port.
fn host_of(origin: &str) -> Option<&str> {
    super::hosts::name_of(origin.split_once("://")?.1)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn allows(configured: &str, origin: &str) -> bool {
        Origins::new(&[Origin::parse(configured).unwrap()]).allow(origin)
    }

    #[test]
    fn an_origin_is_compared_as_a_whole() {
        let page = "https://app.example:8443";
        assert!(allows(page, page) && allows("HTTPS://App.example:8443", page));
        for other in
            ["https://app.example", "http://app.example:8443", "https://app.example:84430", "https://x.app.example:8443", "null", ""]
        {
            assert!(!allows(page, other), "{other}");
        }
        assert!(allows("null", "null") && !allows("null", page));
        assert!(allows("*", page) && allows("*", "null"));
    }

    #[test]
    fn localhost_is_this_machine_on_every_port() {
        for origin in ["http://localhost", "http://localhost:8080", "https://127.0.0.1:3000", "http://[::1]:3000", "http://[::1]"] {
            assert!(allows("localhost", origin), "{origin}");
        }
        for origin in
            ["http://notlocalhost", "http://localhost.evil.example", "http://evil.example", "localhost", "null", "http://user@localhost"]
        {
            assert!(!allows("localhost", origin), "{origin}");
        }
    }

    #[test]
    fn what_no_browser_sends_is_no_origin() {
        for text in
            ["", "app.example", "https://", "https://app.example/", "https://app.example/path", "https://*.example", "://x", "https://a b"]
        {
            assert!(Origin::parse(text).is_err(), "{text}");
        }
    }
}
