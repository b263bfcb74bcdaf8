//! SHA-256 of files.

use std::fmt::Write as _;
use std::io::Read;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::attempts::{Attempt, Miss};

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

/// A file's SHA-256 in hexadecimal, lower case.
///
/// # Errors
/// It can't be read.
pub fn of_file(path: &Path) -> std::io::Result<String> {
    let mut file = std::fs::File::open(path)?;
    let mut sum = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let length = file.read(&mut buffer)?;
        if length == 0 {
            return Ok(hexadecimal(&sum.finalize()));
        }
        sum.update(&buffer[..length]);
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let _ = write!(text, "{byte:02x}"); // writing to a String can't fail
        text
    })
}
