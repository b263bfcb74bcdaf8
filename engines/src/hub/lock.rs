//! One process at a time.

use std::fs::{File, TryLockError};
use std::path::Path;
use std::time::Duration;

use super::attempts::{Attempt, Miss};
use super::progress::Progress;

/// How often a waiting process looks again.
const INTERVAL: Duration = Duration::from_millis(100);

/// An exclusive lock on a file; dropping it lets the next one in. The file stays: to remove it would race with others who wait.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

impl Lock {
    /// Waits for the lock. It polls rather than blocks, so that whoever waits can be told to stop.
    pub(super) async fn acquire(path: &Path, what: &str, progress: &dyn Progress) -> Attempt<Self> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(|error| Miss::disk("make the folder", folder, error))?;
        }
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path)
            .map_err(|error| Miss::disk("open the lock", path, error))?;
        let mut announced = false;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Self { _file: file }),
                Err(TryLockError::WouldBlock) => {
                    if !announced {
                        progress.note(&format!("waiting for another process that is fetching {what}"));
                        announced = true;
                    }
                    tokio::time::sleep(INTERVAL).await;
                }
                // Some network file systems have no locks; two at once then only waste a transfer.
                Err(TryLockError::Error(error)) if error.kind() == std::io::ErrorKind::Unsupported => {
                    tracing::warn!(path = %path.display(), %error, "this file system has no locks; going on without one");
                    return Ok(Self { _file: file });
                }
                Err(TryLockError::Error(error)) => return Err(Miss::disk("lock", path, error)),
            }
        }
    }
}
