//! `minivault completions` and `minivault man`: what shells and `man` want to know, made of the command line itself.

use std::io;
use std::path::Path;

use clap::CommandFactory;
use clap_complete::{Shell, generate};

use crate::arguments::Arguments;
use crate::failure::Failure;

/// Prints a shell's completions.
pub fn completions(shell: Shell) -> Result<(), Failure> {
    let mut script = Vec::new();
    generate(shell, &mut Arguments::command(), "minivault", &mut script);
    io::Write::write_all(&mut io::stdout(), &script).map_err(|error| Failure::writing(&error))
}

/// Writes a man page for the program and for each of its commands.
pub fn man(folder: &Path) -> Result<(), Failure> {
    let failed = |error: io::Error| Failure::Failed(format!("man pages cannot be written into {}: {error}", folder.display()));
    std::fs::create_dir_all(folder).and_then(|()| clap_mangen::generate_to(Arguments::command(), folder)).map_err(failed)
}
