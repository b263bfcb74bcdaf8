//! Engines in processes of their own: this program again, as `minivaultd engine NAME`.

use std::collections::BTreeMap;
use std::io;
use std::process::ExitCode;

use minivault_engines::Engines;
use minivault_engines::isolated::{self, Isolation};

use crate::config::EngineSettings;
use crate::diagnostics;

/// The hidden command.
pub(crate) const COMMAND: &str = "engine";

/// The same engines, opened in processes of their own where the configuration says so, which say what this filter lets through.
///
/// # Errors
/// It can't be told which program this is.
pub(crate) fn apart(engines: BTreeMap<String, EngineSettings>, filter: &str) -> io::Result<BTreeMap<String, EngineSettings>> {
    let apart = |(name, settings): (String, EngineSettings)| {
        if !settings.isolate {
            return Ok((name, settings));
        }
        let isolation = Isolation { memory_limit: settings.memory_limit, ..Isolation::of_this_program([COMMAND, &name, filter])? };
        Ok((name, EngineSettings { prepared: settings.prepared.isolated(isolation), ..settings }))
    };
    engines.into_iter().map(apart).collect()
}

/// Is an engine's process.
pub(crate) fn run(engines: &Engines, filter: &str) -> ExitCode {
    diagnostics::start_for_engine(filter);
    isolated::serve(engines).unwrap_or_else(|error| {
        eprintln!("minivaultd: {error}");
        ExitCode::FAILURE
    })
}
