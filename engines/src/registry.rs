//! Backends by name. The registry is the only place that knows them.

use std::collections::BTreeMap;
use std::future::Future;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;
use figment::value::Value;
use serde::de::DeserializeOwned;

use crate::error::{EngineError, Result};
#[cfg(unix)]
use crate::isolated::{Isolated, Isolation};
use crate::text_engine::TextEngine;

/// A kind of engine: a configuration of its own, and how to open an engine from it.
#[async_trait]
pub trait Backend: Send + Sync + 'static {
    /// The engine's table in the configuration, without the keys that all engines share: `backend`, `fallback`, `load`, `load_timeout`,
    /// `keep_alive`, `isolate` and `memory_limit`. It should carry `#[serde(deny_unknown_fields)]`, so that a misspelt key is explained.
    type Config: DeserializeOwned + Send + Sync + 'static;

    /// Checks what the types can't say, when the configuration is read.
    ///
    /// # Errors
    /// A sentence naming the key, the value and the limit.
    fn check(&self, _config: &Self::Config) -> Result<()> {
        Ok(())
    }

    /// Whether what it is built on may end the process that it runs in. A daemon gives such an engine a process of its own unless it is told
    /// not to.
    fn may_end_the_process(&self) -> bool {
        false
    }

    /// Checks whether this machine can run it at all, before anything is fetched for it.
    ///
    /// # Errors
    /// [`EngineError::Unavailable`] with what is missing.
    fn check_machine(&self) -> Result<()> {
        Ok(())
    }

    /// The same model as exactly as this backend computes it, for `minivaultd eval` to compare with. `None`: the configuration is that already,
    /// or nothing more exact is to be had of the same files.
    fn reference(&self, _config: &Self::Config) -> Option<Self::Config> {
        None
    }

    /// Fetches the model's files ahead of time and tells where they are.
    ///
    /// # Errors
    /// [`crate::EngineError::Unavailable`] with what to do about it.
    async fn fetch(&self, _opening: &Opening, _config: &Self::Config) -> Result<Vec<PathBuf>> {
        Ok(Vec::new())
    }

    /// Opens the engine: fetches what is missing and loads the model.
    ///
    /// # Errors
    /// [`crate::EngineError::Unavailable`] with what to do about it.
    async fn open(&self, opening: &Opening, config: &Self::Config) -> Result<Arc<dyn TextEngine>>;
}

/// Why a daemon may lack one of this crate's backends; `None` for a name that is none of theirs.
pub fn why_absent(backend: &str) -> Option<&'static str> {
    match backend {
        "llama-cpp" => Some("it was built without the feature `llama-cpp`; the backend `candle` runs Llama's GGUF files without C++"),
        "gpt2" | "candle" | "openai" => Some("it was put together without it"),
        _ => None,
    }
}

/// Checks a setting against its limits.
///
/// # Errors
/// [`EngineError::Unavailable`] naming the key, the value and the limits.
pub fn check_range(key: &str, value: usize, range: RangeInclusive<usize>) -> Result<()> {
    if range.contains(&value) {
        return Ok(());
    }
    Err(EngineError::Unavailable(format!("`{key}` is {value}; it must be from {} to {}", range.start(), range.end())))
}

/// What an engine is told besides its own table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Opening {
    /// The engine's name in the configuration.
    pub name: String,
    /// The folder that a relative path in `model` starts from.
    pub base: PathBuf,
}

/// The backends there are.
#[derive(Default)]
pub struct Engines {
    backends: BTreeMap<&'static str, Box<dyn AnyBackend>>,
}

impl Engines {
    /// No backend at all.
    pub fn none() -> Self {
        Self::default()
    }

    /// The backends of this crate.
    pub fn builtin() -> Self {
        let engines =
            Self::none().with("gpt2", crate::gpt2::Gpt2).with("openai", crate::remote::OpenAi).with("candle", crate::candle_models::Candle);
        #[cfg(feature = "llama-cpp")]
        let engines = engines.with("llama-cpp", crate::llama::LlamaCpp);
        engines
    }

    /// One more backend; it takes the place of an earlier one of the same name.
    #[must_use]
    pub fn with(mut self, name: &'static str, backend: impl Backend) -> Self {
        self.backends.insert(name, Box::new(Arc::new(backend)));
        self
    }

    /// The names, in order.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.backends.keys().copied()
    }

    /// Reads an engine's table as the named backend's configuration. `None`: there is no such backend.
    ///
    /// # Errors
    /// What figment says of the table; its path is relative to the table.
    #[allow(clippy::result_large_err)] // figment's error is what it is; this runs once per engine.
    pub fn prepare(&self, backend: &str, table: &Value) -> Option<Result<Prepared, figment::Error>> {
        let prepare = |known: &dyn AnyBackend| {
            let inner = known.prepare(table)?;
            // What a process of its own would be told.
            let table = serde_json::to_value(table).map_err(|error| figment::Error::from(error.to_string()))?;
            Ok(Prepared { inner, origin: Some(Origin { backend: backend.to_owned(), table }) })
        };
        Some(prepare(&**self.backends.get(backend)?))
    }
}

type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A backend with a checked configuration, ready to be opened.
pub struct Prepared {
    inner: Box<dyn AnyPrepared>,
    /// `None` for a configuration that no table says.
    origin: Option<Origin>,
}

/// What another process prepares the same from.
struct Origin {
    backend: String,
    table: serde_json::Value,
}

impl Prepared {
    /// As [`Backend::may_end_the_process`].
    pub fn may_end_the_process(&self) -> bool {
        self.inner.may_end_the_process()
    }

    /// The same, opened in a process of its own. Its files are fetched by this one.
    #[cfg(unix)]
    #[must_use]
    pub fn isolated(self, isolation: Isolation) -> Self {
        let Self { inner, origin } = self;
        match origin {
            Some(Origin { backend, table }) => {
                Self { inner: Box::new(Apart { inner, isolated: Isolated::new(backend, table, isolation) }), origin: None }
            }
            None => Self { inner, origin },
        }
    }

    /// Fetches the model's files and tells where they are.
    ///
    /// # Errors
    /// As [`Backend::fetch`].
    pub async fn fetch(&self, opening: &Opening) -> Result<Vec<PathBuf>> {
        self.inner.fetch(opening).await
    }

    /// The same backend with the configuration of [`Backend::reference`].
    pub fn reference(&self) -> Option<Self> {
        self.inner.reference()
    }

    /// Opens the engine.
    ///
    /// # Errors
    /// As [`Backend::open`].
    pub async fn open(&self, opening: &Opening) -> Result<Arc<dyn TextEngine>> {
        self.inner.open(opening).await
    }
}

/// [`Backend`] without its configuration's type.
trait AnyBackend: Send + Sync {
    #[allow(clippy::result_large_err)]
    fn prepare(&self, table: &Value) -> Result<Box<dyn AnyPrepared>, figment::Error>;
}

impl<B: Backend> AnyBackend for Arc<B> {
    fn prepare(&self, table: &Value) -> Result<Box<dyn AnyPrepared>, figment::Error> {
        let config = table.deserialize::<B::Config>()?;
        self.check(&config).map_err(|error| figment::Error::from(error.to_string()))?;
        Ok(Box::new(Checked { backend: self.clone(), config }))
    }
}

trait AnyPrepared: Send + Sync {
    fn may_end_the_process(&self) -> bool;
    fn check_machine(&self) -> Result<()>;
    fn reference(&self) -> Option<Prepared>;
    fn fetch<'a>(&'a self, opening: &'a Opening) -> BoxFuture<'a, Result<Vec<PathBuf>>>;
    fn open<'a>(&'a self, opening: &'a Opening) -> BoxFuture<'a, Result<Arc<dyn TextEngine>>>;
}

struct Checked<B: Backend> {
    backend: Arc<B>,
    config: B::Config,
}

impl<B: Backend> AnyPrepared for Checked<B> {
    fn may_end_the_process(&self) -> bool {
        self.backend.may_end_the_process()
    }

    fn check_machine(&self) -> Result<()> {
        self.backend.check_machine()
    }

    fn reference(&self) -> Option<Prepared> {
        let config = self.backend.reference(&self.config)?;
        Some(Prepared { inner: Box::new(Self { backend: self.backend.clone(), config }), origin: None })
    }

    fn fetch<'a>(&'a self, opening: &'a Opening) -> BoxFuture<'a, Result<Vec<PathBuf>>> {
        Box::pin(self.backend.fetch(opening, &self.config))
    }

    fn open<'a>(&'a self, opening: &'a Opening) -> BoxFuture<'a, Result<Arc<dyn TextEngine>>> {
        Box::pin(self.backend.open(opening, &self.config))
    }
}

/// Opened in a process of its own.
#[cfg(unix)]
struct Apart {
    inner: Box<dyn AnyPrepared>,
    isolated: Isolated,
}

#[cfg(unix)]
impl AnyPrepared for Apart {
    fn may_end_the_process(&self) -> bool {
        self.inner.may_end_the_process()
    }

    fn check_machine(&self) -> Result<()> {
        self.inner.check_machine()
    }

    fn reference(&self) -> Option<Prepared> {
        self.inner.reference()
    }

    fn fetch<'a>(&'a self, opening: &'a Opening) -> BoxFuture<'a, Result<Vec<PathBuf>>> {
        self.inner.fetch(opening)
    }

    fn open<'a>(&'a self, opening: &'a Opening) -> BoxFuture<'a, Result<Arc<dyn TextEngine>>> {
        Box::pin(async move {
            self.check_machine()?;
            // Here, where progress can be shown; the process finds it all there.
            self.fetch(opening).await?;
            self.isolated.open(opening).await
        })
    }
}
