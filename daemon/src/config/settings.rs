//! The configuration as the daemon uses it: every value checked.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use figment::value::Dict;
use minivault_engines::Opening;
use minivault_engines::registry::Prepared;

use super::{KeepAlive, Listen, LoadTime};
use crate::body::Pace;
use crate::diagnostics::DiagnosticsSettings;
use crate::door::keys::Key;
use crate::door::origins::Origin;
use crate::door::server::Terms;
use crate::patience::Deadlines;

/// The whole configuration, checked.
#[derive(Debug)]
pub struct Settings {
    /// The engine that answers when a request names no model; a key of `engines`.
    pub engine: String,
    /// The HTTP server.
    pub server: ServerSettings,
    /// The interaction log.
    pub log: LogSettings,
    /// What the daemon says of itself.
    pub diagnostics: DiagnosticsSettings,
    /// Defaults of the native endpoints.
    pub generation: GenerationSettings,
    /// The engines by name.
    pub engines: BTreeMap<String, EngineSettings>,
    /// Other names for them: keys of `engines` by alias; `*` is every name that isn't one.
    pub aliases: BTreeMap<String, String>,
}

/// The HTTP server.
#[derive(Debug, Clone, PartialEq)]
pub struct ServerSettings {
    /// Where it listens, at least one address.
    pub listen: Vec<Listen>,
    /// Names that it answers to besides those of this machine and those it listens on.
    pub hosts: Vec<String>,
    /// Pages that may ask it from a browser.
    pub origins: Vec<Origin>,
    /// The keys of which a request needs one; none if it is empty.
    pub keys: Vec<Key>,
    /// Whether other machines may ask without a key.
    pub allow_keyless: bool,
    /// Bytes a request's body may have.
    pub body_limit: usize,
    /// How fast it must come.
    pub pace: Pace,
    /// How long running answers may go on after the daemon was asked to stop.
    pub grace: Duration,
    /// Bytes a prompt may have.
    pub max_prompt_bytes: usize,
    /// Tokens that all answers to one request may have together, where there are several.
    pub max_answer_tokens: usize,
    /// How long a request may take.
    pub deadlines: Deadlines,
    /// What a connection may take.
    pub terms: Terms,
    /// Where TLS is spoken: with these.
    pub tls: Option<TlsFiles>,
    /// Whether `/slots` tells which slots are in use.
    pub slots: bool,
    /// Whether each whole answer of `/chat/completions` tells its prompt and settings.
    pub verbose: bool,
    /// Whether there is a page in the browser.
    pub page: bool,
}

/// What TLS takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificates, the server's own first; PEM.
    pub cert: PathBuf,
    /// The private key of the first one; PEM.
    pub key: PathBuf,
}

/// The interaction log.
#[derive(Debug, Clone)]
pub struct LogSettings {
    /// The file, absolute if the working directory is.
    pub path: PathBuf,
    /// How it is kept.
    pub options: minivault_journal::Options,
    /// Whether a request may ask to be left out of it.
    pub allow_off: bool,
}

/// What a request to a native endpoint gets for the fields it leaves out.
#[derive(Debug, Clone, PartialEq)]
pub struct GenerationSettings {
    /// Tokens of an answer, at most.
    pub max_tokens: usize,
    /// As in [`minivault_engines::Sampling`].
    pub temperature: f32,
    /// As in [`minivault_engines::Sampling`].
    pub top_k: usize,
    /// As in [`minivault_engines::Sampling`].
    pub top_p: f32,
    /// As in [`minivault_engines::Sampling`].
    pub min_p: f32,
    /// As in [`minivault_engines::Sampling`].
    pub repetition_penalty: f32,
    /// The seed of each request that names none, on all endpoints.
    pub seed: Option<u64>,
    /// Whether the model can't end an answer.
    pub ignore_eos: bool,
}

/// One engine.
pub struct EngineSettings {
    /// The backend's name.
    pub backend: String,
    /// The engine that answers in its place when its model can't be had; a key of [`Settings::engines`].
    pub fallback: Option<String>,
    /// When it loads. `None`: at startup if it is the default engine, otherwise when it is first named.
    pub load: Option<LoadTime>,
    /// How long it stays in memory when nobody asks it.
    pub keep_alive: KeepAlive,
    /// Words that describe it, for the list of models.
    pub tags: Vec<String>,
    /// How long requests wait for the engine to load.
    pub load_timeout: Duration,
    /// Whether it gets a process of its own.
    pub isolate: bool,
    /// Bytes of memory that this process may have.
    pub memory_limit: Option<u64>,
    /// The backend with its own checked configuration.
    pub prepared: Prepared,
    /// What the backend is told besides.
    pub opening: Opening,
    /// The table that all of it was read from.
    pub table: Dict,
}

impl fmt::Debug for EngineSettings {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("EngineSettings")
            .field("backend", &self.backend)
            .field("fallback", &self.fallback)
            .field("load", &self.load)
            .field("keep_alive", &self.keep_alive)
            .field("tags", &self.tags)
            .field("load_timeout", &self.load_timeout)
            .field("isolate", &self.isolate)
            .field("memory_limit", &self.memory_limit)
            .field("opening", &self.opening)
            .finish_non_exhaustive()
    }
}
