//! `minivaultd completions` and `minivaultd man`: what shells and `man` want to know, made of the command line itself.

use std::io::{self, Write};
use std::path::Path;

use clap::CommandFactory;
use clap_complete::{Shell, generate};

use crate::arguments::Arguments;

/// Prints a shell's completions.
///
/// # Errors
/// Nobody reads them.
pub(crate) fn completions(shell: Shell) -> io::Result<()> {
    let mut script = Vec::new();
    generate(shell, &mut Arguments::command(), "minivaultd", &mut script);
    io::stdout().write_all(&script)
}

/// Writes a man page for the daemon and for each of its commands.
///
/// # Errors
/// The folder can't be written.
pub(crate) fn man(folder: &Path) -> io::Result<()> {
    std::fs::create_dir_all(folder)?;
    clap_mangen::generate_to(Arguments::command(), folder)
}
