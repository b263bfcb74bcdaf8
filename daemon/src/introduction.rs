//! What a daemon says once it is ready: who answers, what is kept, where to ask, and a line to copy.

use minivault_engines::TextEngine;
use minivault_journal::Recording;

use crate::config::{Listen, LogSettings, ServerSettings};
use crate::engine_table::{EngineTable, Phase};
use crate::memory;

/// What doesn't depend on the engine.
pub(crate) struct Introduction {
    /// Where to ask, as curl is told.
    target: String,
    /// Where the page is, if there is one that a browser can go to.
    page: Option<String>,
    /// The log, in words.
    log: String,
    /// How many keys there are.
    keys: usize,
}

impl Introduction {
    /// Of a daemon that listens on this address, the first one of its settings.
    pub fn new(server: &ServerSettings, address: &str, log: &LogSettings) -> Self {
        let (target, page) = match &server.listen[0] {
            Listen::Tcp(_) => {
                let address = of_this_machine(address);
                (address.clone(), server.page.then_some(address))
            }
            Listen::Unix(path) => (format!("--unix-socket {} http://localhost", path.display()), None),
        };
        Self { target, page, log: in_words(log), keys: server.keys.len() }
    }

    /// Says it on standard error.
    pub fn say(&self, engines: &EngineTable) {
        let default = engines.default_name();
        match engines.default_phase() {
            Phase::Ready(engine) => introduce(&*engine),
            Phase::Replaced { by, reason } => {
                say!("\n  `{default}` can't be had, so `{}` answers in its place:", by.info().name);
                reason.lines().for_each(|line| say!("    {line}"));
                introduce(&*by);
            }
            // It loads when it is first asked.
            Phase::Idle => say!("\n  engine       {default}"),
            _ => return,
        }
        let Self { target, page, log, keys } = self;
        say!("  log          {log}");
        let key = match keys {
            0 => "",
            _ => {
                say!("  keys         {keys}; a request needs one");
                " -H 'Authorization: Bearer KEY'"
            }
        };
        say!(
            "\nReady. Try:\n  curl -X POST {target}/generate{key} -H 'Content-Type: application/json' -d '{{\"prompt\":\"Once upon a time\"}}'"
        );
        if let Some(page) = page {
            say!("or open {page}/ in a browser.");
        }
        say!();
    }
}

fn introduce(engine: &dyn TextEngine) {
    let (info, slots) = (engine.info(), engine.health().slots);
    say!("\n  engine       {} ({})", info.name, info.backend);
    say!("  model        {}", info.model);
    say!("  from         {}", info.source);
    let computation = &info.computation;
    if !computation.dtype.is_empty() {
        let threads = if computation.threads == 1 { "1 thread".to_owned() } else { format!("{} threads", computation.threads) };
        say!("  computes     {}, {}, {threads}", computation.dtype, computation.kernel);
    }
    if let Some(bytes) = memory::resident_with_children() {
        say!("  memory       {} MiB", bytes >> 20);
    }
    match info.context_length {
        0 => say!("  context      not told, {slots} requests side by side"),
        context => say!("  context      {context} tokens, {slots} requests side by side"),
    }
    say!("  determinism  {}", info.determinism.as_str());
}

/// An address that this machine can ask: that of every network is none.
fn of_this_machine(address: &str) -> String {
    address.replacen("//0.0.0.0:", "//127.0.0.1:", 1).replacen("//[::]:", "//[::1]:", 1)
}

/// Where interactions are kept, and what of them.
fn in_words(log: &LogSettings) -> String {
    let path = log.path.display();
    let what = match log.options.recording {
        Recording::Full => " (record = \"full\")".to_owned(),
        Recording::Hash => " (record = \"hash\": hashes in place of texts)".to_owned(),
        Recording::Meta => " (record = \"meta\": no texts)".to_owned(),
        Recording::Off => return "off: no interaction is recorded".to_owned(),
    };
    let redacted = match log.options.redact.len() {
        0 => String::new(),
        count => format!(", what matches one of {count} patterns is blackened"),
    };
    let off = if log.allow_off { ", requests may ask to be left out" } else { "" };
    format!("{path}{what}{redacted}{off}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_of_every_network_is_shown_as_one_that_can_be_asked() {
        for (address, shown) in [
            ("http://0.0.0.0:8000", "http://127.0.0.1:8000"),
            ("https://[::]:8000", "https://[::1]:8000"),
            ("http://192.0.2.7:8000", "http://192.0.2.7:8000"),
        ] {
            assert_eq!(of_this_machine(address), shown);
        }
    }
}
