//! The configuration: sources, precedence, mistakes and their explanations.
#![allow(clippy::unwrap_used)]

mod aliases;
mod anything;
mod committed;
mod engines;
mod keys;
mod kit;
mod mistakes;
mod paths;
mod ranges;
#[cfg(feature = "llama-cpp")]
mod reference;
mod sources;
