//! Files held against their SHA-256.

use std::path::{Path, PathBuf};

use super::attempts::{Attempt, Miss};
use crate::checksum::of_file;

/// A file's SHA-256 in hexadecimal, computed off the async workers.
pub(super) async fn sha256(path: &Path) -> Attempt<String> {
    let owned: PathBuf = path.to_path_buf();
    match tokio::task::spawn_blocking(move || of_file(&owned)).await {
        Ok(Ok(sum)) => Ok(sum),
        Ok(Err(error)) => Err(Miss::disk("read", path, error)),
        Err(error) => Err(Miss::disk("read", path, error)),
    }
}

/// Holds a file against the sum it ought to have, if one is known.
pub(super) async fn verify(path: &Path, expected: Option<&str>) -> Attempt<()> {
    let Some(expected) = expected else { return Ok(()) };
    let actual = sha256(path).await?;
    if actual == expected { Ok(()) } else { Err(mismatch(path, expected, &actual)) }
}

pub(super) fn mismatch(path: &Path, expected: &str, actual: &str) -> Miss {
    Miss::new(format!("{} has the SHA-256 {actual}, but {expected} is expected", path.display()))
        .advise("correct `sha256` in the configuration, if it is the one that is wrong")
}
