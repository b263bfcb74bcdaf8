//! The daemon with the engines of this workspace.

use std::process::ExitCode;

use minivault_engines::Engines;

fn main() -> ExitCode {
    minivault_daemon::run(Engines::builtin())
}
