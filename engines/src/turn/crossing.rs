//! A turn between processes, by locks on two files that have no name any more. The kernel takes them from a process that dies.
//!
//! One lock is the turn; whoever holds the other one is next. So nobody who has just had the turn gets it again before the one that waited,
//! which a single lock would allow. Waiting is sleeping in the kernel.

use std::fs::{File, OpenOptions};
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

/// The two files, opened by this process for itself: locks belong to an opening, and one that is inherited would be shared.
#[derive(Debug)]
pub(super) struct Crossing {
    next: File,
    now: File,
}

impl Crossing {
    /// A turn that nobody has.
    ///
    /// # Errors
    /// There is no room for files, or no way for other processes to open those of this one.
    pub fn create() -> io::Result<Self> {
        let crossing = Self { next: nameless()?, now: nameless()? };
        // What others will do.
        Self::open(&crossing.paths())?;
        Ok(crossing)
    }

    /// The turn of another process, from where it says that it is.
    ///
    /// # Errors
    /// It isn't there.
    pub fn open(paths: &[PathBuf]) -> io::Result<Self> {
        let [next, now] = paths else { return Err(io::ErrorKind::InvalidInput.into()) };
        let open = |path: &Path| OpenOptions::new().read(true).write(true).open(path);
        Ok(Self { next: open(next)?, now: open(now)? })
    }

    /// Where other processes find the files as long as this one lives.
    pub fn paths(&self) -> Vec<PathBuf> {
        let path = |file: &File| format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd()).into();
        [&self.next, &self.now].map(path).into()
    }

    pub fn take(&self) {
        lock(&self.next);
        lock(&self.now);
        unlock(&self.next);
    }

    pub fn give_back(&self) {
        unlock(&self.now);
    }
}

fn nameless() -> io::Result<File> {
    let name = format!("minivault-turn-{:016x}", RandomState::new().hash_one(std::process::id()));
    let path = std::env::temp_dir().join(name);
    let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path)?;
    std::fs::remove_file(path)?;
    Ok(file)
}

fn lock(file: &File) {
    while let Err(error) = file.lock() {
        if error.kind() != io::ErrorKind::Interrupted {
            // Engines then hold each other up, which is slow and nothing worse.
            tracing::debug!(%error, "the turn can't be taken");
            return;
        }
    }
}

fn unlock(file: &File) {
    if let Err(error) = file.unlock() {
        tracing::debug!(%error, "the turn can't be given back");
    }
}
