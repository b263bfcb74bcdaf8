//! minivaultd with one more backend.

use std::process::ExitCode;

use minivault_echo::Echo;
use minivault_engines::Engines;

fn main() -> ExitCode {
    minivault_daemon::run(Engines::builtin().with("echo", Echo))
}
