//! The configuration: read from its sources, merged, checked once.
//!
//! Built-in defaults, then `config.toml`, then environment variables `MINIVAULTD_*`, then command-line flags: each overrides the one
//! before it, key by key. What is wrong is explained with the key, the value seen and the place it came from.
//!
//! - `defaults`, `file`, `environment`: the sources, each as tables of plain values
//! - `merged`: figment merges them; every value keeps its origin
//! - `check`, `server`, `keys`, `listen`, `words`, `log`, `diagnostics`, `engine_tables`, `aliases`, `loading`: from plain values to [`Settings`]
//! - `explain`, `error`, `place`, `report`, `notation`: mistakes and values in the words of the configuration
//! - `drawn`: mistakes on a terminal
//!
//! An engine's table is read by the backend it names ([`Engines::prepare`]), so nothing here knows a backend's keys.

mod aliases;
mod check;
mod defaults;
mod diagnostics;
mod drawn;
mod engine_tables;
mod environment;
mod error;
mod explain;
mod file;
mod keys;
mod listen;
mod loading;
mod log;
mod merged;
mod notation;
mod place;
mod report;
mod server;
mod settings;
mod words;

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;

use figment::value::Value;
use minivault_engines::Engines;

pub use error::{ConfigError, Problem};
pub use listen::Listen;
pub use loading::{KeepAlive, LoadTime};
pub use report::{Entry, Report};
pub use settings::{EngineSettings, GenerationSettings, LogSettings, ServerSettings, Settings, TlsFiles};

use merged::Layer;

/// Where the configuration is read from.
#[derive(Debug, Clone, Default)]
pub struct Source {
    /// The file that `--config` names; it must exist. `None`: `config.toml` in the working directory, if there is one.
    pub file: Option<PathBuf>,
    /// The environment; only variables that begin with `MINIVAULTD_` are looked at.
    pub environment: Vec<(OsString, OsString)>,
    /// What command-line flags say.
    pub overrides: Overrides,
    /// What relative paths in flags, in the environment and in the built-in defaults start from.
    pub working_directory: PathBuf,
}

/// What command-line flags say; they override every other source.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overrides {
    /// `--listen`, as often as it was said.
    pub listen: Vec<String>,
    /// `--allow-keyless`
    pub allow_keyless: bool,
    /// `--engine`
    pub engine: Option<String>,
}

impl Source {
    /// This process's environment and working directory.
    ///
    /// # Errors
    /// The working directory can't be told, for example because it has been removed.
    pub fn of_process(file: Option<PathBuf>, overrides: Overrides) -> io::Result<Self> {
        let environment = std::env::vars_os().filter(|(name, _)| environment::is_ours(name)).collect();
        Ok(Self { file, environment, overrides, working_directory: std::env::current_dir()? })
    }
}

/// A configuration that has passed its check.
#[derive(Debug)]
pub struct Loaded {
    /// What the daemon uses.
    pub settings: Settings,
    /// Every key with its value and origin, for `minivaultd config`.
    pub report: Report,
}

/// Reads all sources, merges and checks them.
///
/// # Errors
/// Everything that is wrong, as far as it can be told at once: a file that can't be read or isn't TOML stands alone.
pub fn load(engines: &Engines, source: Source) -> Result<Loaded, ConfigError> {
    let Source { file, environment, overrides, working_directory } = source;
    let mut problems = Vec::new();
    let mut layers = Vec::new();
    layers.extend(file::read(file.as_deref(), &working_directory)?);
    layers.extend(environment::read(environment, &mut problems));
    let listen = match &overrides.listen[..] {
        [] => None,
        [one] => Some(Value::from(one.clone())),
        several => Some(Value::from(several.to_vec())),
    };
    layers.extend(listen.map(|listen| Layer::flag("--listen", &["server", "listen"], listen)));
    layers.extend(overrides.allow_keyless.then(|| Layer::flag("--allow-keyless", &["server", "allow_keyless"], true.into())));
    layers.extend(overrides.engine.map(|engine| Layer::flag("--engine", &["engine"], engine.into())));
    check::check(engines, layers, working_directory, problems)
}
