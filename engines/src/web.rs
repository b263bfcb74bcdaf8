//! What all HTTP clients of this crate have in common: how they are set up, and how their errors read.

use std::error::Error;

use reqwest::ClientBuilder;
use reqwest::redirect::Policy;

/// A client that follows no redirect by itself. Whoever builds it chooses the timeouts.
pub(crate) fn client() -> ClientBuilder {
    // Whoever installed a provider first is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().user_agent(concat!("minivault/", env!("CARGO_PKG_VERSION"))).redirect(Policy::none())
}

/// An error with all its causes, in one sentence.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut message = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !message.contains(&next) {
            message.push_str(": ");
            message.push_str(&next);
        }
        cause = error.source();
    }
    message
}
