//! From a repository on the hub into the cache.

use std::path::{Path, PathBuf};

use super::attempts::{Attempt, Miss};
use super::cache::{Cache, make_parent};
use super::checksum;
use super::download::Download;
use super::folder::{INDEX, OPTIONAL, REQUIRED, WEIGHTS, shards};
use super::http::{Client, Metadata, Problem};
use super::location::Repository;
use super::lock::Lock;
use super::progress::Progress;

/// A repository, its part of the cache, and the way to it.
#[derive(Debug)]
pub(super) struct Fetch<'a> {
    pub client: &'a Client,
    pub progress: &'a dyn Progress,
    pub repository: &'a Repository,
    pub cache: &'a Cache,
}

/// A file in the cache.
#[derive(Debug)]
struct Fetched {
    path: PathBuf,
    commit: String,
}

impl Fetch<'_> {
    /// Fetches the files that make a model, all of one commit.
    pub(super) async fn folder(&self, revision: &str) -> Attempt<PathBuf> {
        let commit = self.file_at(revision, REQUIRED[0], None).await?.commit;
        // The weights come last: a snapshot with weights has everything else.
        for name in OPTIONAL {
            self.optional(&commit, name).await?;
        }
        for name in &REQUIRED[1..] {
            self.required(&commit, name).await?;
        }
        if self.optional(&commit, WEIGHTS).await?.is_none() {
            let Some(index) = self.optional(&commit, INDEX).await? else {
                return Err(Miss::new(format!("{} has neither {WEIGHTS} nor {INDEX}", self.repository.name()))
                    .advise("choose a repository with weights in safetensors"));
            };
            for shard in shards(&index)? {
                self.required(&commit, &shard).await?;
            }
        }
        self.cache.write_ref(revision, &commit)?;
        Ok(self.cache.snapshot(&commit))
    }

    /// Fetches one file.
    pub(super) async fn file(&self, revision: &str, name: &str, sha256: Option<&str>) -> Attempt<PathBuf> {
        let fetched = self.file_at(revision, name, sha256).await?;
        self.cache.write_ref(revision, &fetched.commit)?;
        Ok(fetched.path)
    }

    async fn required(&self, commit: &str, name: &str) -> Attempt<PathBuf> {
        match self.present(commit, name) {
            Some(path) => Ok(path),
            None => Ok(self.file_at(commit, name, None).await?.path),
        }
    }

    async fn optional(&self, commit: &str, name: &str) -> Attempt<Option<PathBuf>> {
        if let Some(path) = self.present(commit, name) {
            return Ok(Some(path));
        }
        if self.cache.is_known_missing(commit, name) {
            return Ok(None);
        }
        match self.file_at(commit, name, None).await {
            Ok(fetched) => Ok(Some(fetched.path)),
            Err(Problem::NotFound(_)) => {
                self.cache.remember_missing(commit, name);
                Ok(None)
            }
            Err(problem) => Err(problem.into()),
        }
    }

    fn present(&self, commit: &str, name: &str) -> Option<PathBuf> {
        Some(self.cache.snapshot(commit).join(name)).filter(|path| path.is_file())
    }

    async fn file_at(&self, revision: &str, name: &str, sha256: Option<&str>) -> Result<Fetched, Problem> {
        let url = self.client.file_url(self.repository, revision, name)?;
        let mut retries = self.client.retries();
        let metadata = loop {
            match self.client.metadata(&url, self.repository).await {
                Ok(metadata) => break metadata,
                Err(problem) => retries.wait_after(problem).await?,
            }
        };
        if let (Some(expected), Some(actual)) = (sha256, metadata.sha256())
            && expected != actual
        {
            let repository = self.repository.name();
            return Err(Miss::new(format!("{repository} has `{name}` with the SHA-256 {actual}, but {expected} is expected"))
                .advise("correct `sha256` or `revision` in the configuration, if it is the one that is wrong")
                .into());
        }
        // Pinned to the commit, so that a push in between can't mix two versions.
        let url = self.client.file_url(self.repository, &metadata.commit, name)?;
        let expected = sha256.or(metadata.sha256());
        let blob = self.cache.blob(&metadata.etag);
        if !is_usable(&blob, &metadata, sha256).await {
            let _lock = Lock::acquire(&self.cache.lock(&metadata.etag), name, self.progress).await?;
            if !is_usable(&blob, &metadata, sha256).await {
                let part = self.cache.incomplete(&metadata.etag);
                make_parent(&part)?;
                let repository = self.repository;
                let download = Download { url: &url, repository, name, part: &part, size: metadata.size, sha256: expected };
                Box::pin(download.run(self.client, self.progress)).await?;
                std::fs::rename(&part, &blob).map_err(|error| Miss::disk("write", &blob, error))?;
            }
        }
        let path = self.cache.link(&metadata.commit, name, &metadata.etag)?;
        Ok(Fetched { path, commit: metadata.commit })
    }
}

/// Whether a content in the cache can be taken as it is. Contents got there whole and checked; only a sum that the configuration
/// names is checked again.
async fn is_usable(blob: &Path, metadata: &Metadata, sha256: Option<&str>) -> bool {
    let Ok(file) = std::fs::metadata(blob) else { return false };
    file.is_file() && metadata.size.is_none_or(|size| size == file.len()) && checksum::verify(blob, sha256).await.is_ok()
}
