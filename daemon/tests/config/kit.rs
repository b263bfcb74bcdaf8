//! A folder, an environment and flags for one test, and backends that say what they were configured with.

use std::ffi::OsStr;
use std::fmt::Debug;
use std::fs;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::FutureExt;
use minivault_daemon::config::{ConfigError, EngineSettings, Loaded, Overrides, Settings, Source, load};
use minivault_engines::{Backend, EngineError, Engines, Opening, TextEngine};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tempfile::TempDir;

/// Opens nothing: its error is its configuration.
struct Confessing<C>(PhantomData<fn() -> C>);

#[async_trait]
impl<C: DeserializeOwned + Debug + Send + Sync + 'static> Backend for Confessing<C> {
    type Config = C;

    async fn open(&self, _opening: &Opening, config: &C) -> Result<Arc<dyn TextEngine>, EngineError> {
        Err(EngineError::Unavailable(format!("{config:?}")))
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(dead_code)] // Read by Debug.
pub struct Gpt2Like {
    model: String,
    dtype: Option<Dtype>,
    threads: Option<Threads>,
    quiet: Option<bool>,
    share: Option<f32>,
    files: Option<Vec<String>>,
    api_key: Option<String>,
    cache: Option<Cache>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(dead_code)] // Read by Debug.
pub struct Cache {
    folder: String,
    slots: Option<usize>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dtype {
    F32,
    Bf16,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
#[allow(dead_code)] // Read by Debug.
pub enum Threads {
    Number(usize),
    Word(String),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(dead_code)] // Read by Debug.
pub struct LlamaLike {
    model: String,
    wheel: Option<String>,
    sha256: Option<String>,
    context: Option<u32>,
}

/// Stand-ins for the built-in backends.
pub fn engines() -> Engines {
    Engines::none().with("gpt2", Confessing::<Gpt2Like>(PhantomData)).with("llama-cpp", Confessing::<LlamaLike>(PhantomData))
}

/// One of them, as in a daemon that was built without the other.
pub fn gpt2_alone() -> Engines {
    Engines::none().with("gpt2", Confessing::<Gpt2Like>(PhantomData))
}

/// Everything that one test's configuration is read from.
pub struct Setup {
    folder: TempDir,
    source: Source,
}

impl Setup {
    /// An empty working directory, no environment, no flags.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let source = Source { working_directory: folder.path().to_owned(), ..Source::default() };
        Self { folder, source }
    }

    /// With this `config.toml` in the working directory.
    pub fn file(text: &str) -> Self {
        Self::new().with_file("config.toml", text)
    }

    pub fn with_file(self, name: &str, text: &str) -> Self {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        self
    }

    pub fn with_bytes(self, name: &str, bytes: &[u8]) -> Self {
        fs::write(self.path(name), bytes).unwrap();
        self
    }

    /// As `--config NAME`.
    pub fn naming(mut self, name: &str) -> Self {
        self.source.file = Some(PathBuf::from(name));
        self
    }

    pub fn variable(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.source.environment.push((name.as_ref().into(), value.as_ref().into()));
        self
    }

    pub fn listen(mut self, listen: &str) -> Self {
        self.source.overrides.listen.push(listen.into());
        self
    }

    pub fn engine(mut self, engine: &str) -> Self {
        self.source.overrides = Overrides { engine: Some(engine.into()), ..self.source.overrides };
        self
    }

    /// A path in the working directory.
    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn try_load(&self) -> Result<Loaded, ConfigError> {
        self.try_load_with(&engines())
    }

    pub fn try_load_with(&self, engines: &Engines) -> Result<Loaded, ConfigError> {
        load(engines, self.source.clone())
    }

    #[track_caller]
    pub fn load(&self) -> Loaded {
        self.try_load().unwrap_or_else(|error| panic!("{error}"))
    }

    pub fn settings(&self) -> Settings {
        self.load().settings
    }

    /// The report's line for a key: value and origin.
    #[track_caller]
    pub fn line(&self, key: &str) -> (String, String) {
        let report = self.load().report;
        let entry = report.entries.iter().find(|entry| entry.key == key).unwrap_or_else(|| panic!("no {key} in:\n{report}"));
        (entry.value.clone(), entry.origin.clone())
    }

    /// Asserts that the configuration is refused with exactly these lines.
    #[track_caller]
    pub fn refused(&self, lines: &[&str]) {
        match self.try_load() {
            Ok(loaded) => panic!("accepted:\n{}", loaded.report),
            Err(error) => assert_eq!(error.to_string().lines().collect::<Vec<_>>(), lines),
        }
    }
}

/// What the engine's backend was configured with, in Rust's notation.
pub fn confession(engine: &EngineSettings) -> String {
    match engine.prepared.open(&engine.opening).now_or_never() {
        Some(Err(error)) => error.to_string(),
        _ => panic!("these backends open nothing"),
    }
}
