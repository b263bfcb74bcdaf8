//! `minivaultd init`: a configuration with every key, its default and what it means.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::Path;

use anyhow::Context;

/// The committed configuration.
const CONFIGURATION: &str = include_str!("../../config.toml");

/// Writes it where no file is.
///
/// # Errors
/// There is one, or it can't be written.
pub(crate) fn run(file: &Path) -> anyhow::Result<()> {
    let opened = OpenOptions::new().write(true).create_new(true).open(file);
    let opened = opened.map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => anyhow::anyhow!("{} is there already; name another file, or take it away first", file.display()),
        _ => anyhow::anyhow!("{} can't be written: {error}", file.display()),
    });
    opened?.write_all(CONFIGURATION.as_bytes()).with_context(|| format!("{} can't be written", file.display()))?;
    println!("{} has every key with its default; `minivaultd --config {}` starts with it.", file.display(), file.display());
    Ok(())
}
