//! What is given anything at all: each target takes bytes, makes of them what strangers could send, and panics where a promise doesn't hold.
//!
//! libFuzzer calls the targets from `fuzz_targets`, `make test` and `make fuzz` from `daemon/tests/fuzz`, which takes this very file.
//! What a target once failed on lies in `found/NAME` and is tried first.
//!
//! - `files`: headers of GGUF and safetensors files, and the loaders behind them
//! - `decoding`: bytes to characters, stop strings; `streams`: server-sent events
//! - `configuration`, `door`, `requests`: what a daemon is told, by whom, and what is asked of it
//! - `log`: what a daemon finds where its log should be
//! - `input` makes choices of bytes, [`allocation`] counts what is allocated

pub mod allocation;
mod configuration;
mod decoding;
mod door;
mod files;
mod input;
mod log;
mod requests;
mod streams;

/// Something that takes anything at all.
#[derive(Clone, Copy)]
pub struct Target {
    /// As files and tables call it.
    pub name: &'static str,
    /// Panics where a promise doesn't hold.
    pub check: fn(&[u8]),
    /// What is worth being changed a little.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

const fn target(name: &'static str, check: fn(&[u8]), seeds: fn() -> Vec<Vec<u8>>) -> Target {
    Target { name, check, seeds }
}

/// All of them.
pub const TARGETS: [Target; 9] = [
    target("gguf", files::gguf, files::gguf_seeds),
    target("safetensors", files::safetensors, files::safetensors_seeds),
    target("characters", decoding::characters, Vec::new),
    target("stop", decoding::stop, Vec::new),
    target("events", streams::check, streams::seeds),
    target("configuration", configuration::check, configuration::seeds),
    target("requests", requests::check, requests::seeds),
    target("door", door::check, Vec::new),
    target("log", log::check, Vec::new),
];

/// Gives these bytes to a target.
///
/// # Panics
/// There is no such target, or a promise of it doesn't hold.
pub fn check(name: &str, bytes: &[u8]) {
    let target = TARGETS.iter().find(|target| target.name == name).unwrap_or_else(|| panic!("there is no target {name}"));
    (target.check)(bytes);
}
