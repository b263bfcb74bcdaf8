//! The hub's cache on disk, in the layout that all its tools share:
//!
//! ```text
//! models--owner--name/refs/main                         the commit that `main` stood for
//! models--owner--name/blobs/<etag>                      contents, each once
//! models--owner--name/snapshots/<commit>/config.json    a relative link to a content
//! models--owner--name/.no_exist/<commit>/name           a file known not to exist
//! .locks/models--owner--name/<etag>.lock                whoever fetches that content holds it
//! ```

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::attempts::{Attempt, Miss};
use super::location::{Repository, is_commit};

/// One repository's part of the cache.
#[derive(Debug, Clone)]
pub(super) struct Cache {
    folder: PathBuf,
    locks: PathBuf,
}

impl Cache {
    pub(super) fn new(root: &Path, repository: &Repository) -> Self {
        let name = repository.cache_folder();
        Self { folder: root.join(&name), locks: root.join(".locks").join(name) }
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The commit that a revision stood for when it was last fetched.
    pub(super) fn commit(&self, revision: &str) -> Option<String> {
        if is_commit(revision) {
            return Some(revision.to_owned());
        }
        let commit = fs::read_to_string(self.folder.join("refs").join(revision)).ok()?;
        Some(commit.trim()).filter(|commit| is_commit(commit)).map(str::to_owned)
    }

    pub(super) fn snapshot(&self, commit: &str) -> PathBuf {
        self.folder.join("snapshots").join(commit)
    }

    pub(super) fn blob(&self, etag: &str) -> PathBuf {
        self.folder.join("blobs").join(etag)
    }

    /// Where a content gathers while it is fetched; other tools continue from the same file.
    pub(super) fn incomplete(&self, etag: &str) -> PathBuf {
        self.folder.join("blobs").join(format!("{etag}.incomplete"))
    }

    pub(super) fn lock(&self, etag: &str) -> PathBuf {
        self.locks.join(format!("{etag}.lock"))
    }

    pub(super) fn is_known_missing(&self, commit: &str, file: &str) -> bool {
        self.folder.join(".no_exist").join(commit).join(file).exists()
    }

    /// Remembers that a commit doesn't have a file. Only a convenience, so failing is no error.
    pub(super) fn remember_missing(&self, commit: &str, file: &str) {
        let marker = self.folder.join(".no_exist").join(commit).join(file);
        let outcome = make_parent(&marker).map_err(|_| ()).and_then(|()| fs::write(&marker, b"").map_err(|_| ()));
        if outcome.is_err() {
            tracing::debug!(path = %marker.display(), "can't remember that a file doesn't exist");
        }
    }

    /// Remembers the commit that a revision stands for.
    pub(super) fn write_ref(&self, revision: &str, commit: &str) -> Attempt<()> {
        let path = self.folder.join("refs").join(revision);
        if is_commit(revision) || fs::read_to_string(&path).is_ok_and(|known| known == commit) {
            return Ok(());
        }
        make_parent(&path)?;
        replace(&path, |temporary| fs::write(temporary, commit)).map_err(|error| Miss::disk("write", &path, error))
    }

    /// Makes a content appear in a snapshot. Returns its path there.
    pub(super) fn link(&self, commit: &str, file: &str, etag: &str) -> Attempt<PathBuf> {
        let path = self.snapshot(commit).join(file);
        let up = "../".repeat(2 + file.matches('/').count());
        let target = PathBuf::from(format!("{up}blobs/{etag}"));
        if fs::read_link(&path).is_ok_and(|known| known == target) {
            return Ok(path);
        }
        make_parent(&path)?;
        let blob = self.blob(etag);
        replace(&path, |temporary| point(&target, &blob, temporary)).map_err(|error| Miss::disk("make the link", &path, error))?;
        Ok(path)
    }
}

/// Makes the folder that a file is to lie in.
pub(super) fn make_parent(path: &Path) -> Attempt<()> {
    let Some(parent) = path.parent() else { return Ok(()) };
    fs::create_dir_all(parent).map_err(|error| {
        Miss::disk("make the folder", parent, error).advise("set HF_HOME (or XDG_CACHE_HOME) to a folder that can be written to")
    })
}

/// Puts something new in a path's place in one step: others see the old or the new, never neither.
fn replace(path: &Path, make: impl FnOnce(&Path) -> io::Result<()>) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".{}.new", std::process::id()));
    let temporary = path.with_file_name(name);
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    make(&temporary)?;
    fs::rename(&temporary, path)
}

#[cfg(unix)]
fn point(target: &Path, _blob: &Path, link: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(target, link)
}

/// Links need a privilege on other systems; a second name for the same content does as well.
#[cfg(not(unix))]
fn point(_target: &Path, blob: &Path, link: &Path) -> io::Result<()> {
    fs::hard_link(blob, link)
}
