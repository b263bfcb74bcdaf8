//! A hash of all that decides a model's output.

use std::fs::File;
use std::path::{Path, PathBuf};

/// A hash of files that decide the output: their names, lengths and bytes.
#[derive(Default)]
pub(crate) struct Fingerprint(blake3::Hasher);

impl Fingerprint {
    /// The hash of whole files.
    ///
    /// # Errors
    /// A sentence naming the file that can't be read.
    pub(crate) fn of_files(paths: &[PathBuf]) -> Result<Self, String> {
        let mut fingerprint = Self::default();
        paths.iter().try_for_each(|path| fingerprint.add_file(path)).map(|()| fingerprint)
    }

    /// The lengths keep the end of one file from passing for the beginning of the next.
    pub(crate) fn add(&mut self, name: &str, bytes: &[u8]) {
        for part in [name.as_bytes(), bytes] {
            self.0.update(&(part.len() as u64).to_le_bytes());
            self.0.update(part);
        }
    }

    pub(crate) fn include(&mut self, other: &Self) {
        self.0.update(other.0.finalize().as_bytes());
    }

    /// As hexadecimal digits.
    pub(crate) fn finish(self) -> String {
        self.0.finalize().to_hex().to_string()
    }

    fn add_file(&mut self, path: &Path) -> Result<(), String> {
        let unreadable = |error: std::io::Error| format!("{} can't be read: {error}", path.display());
        let mut file = File::open(path).map_err(unreadable)?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        self.add(&name, &file.metadata().map_err(unreadable)?.len().to_le_bytes());
        self.0.update_reader(&mut file).map_err(unreadable)?;
        Ok(())
    }
}
