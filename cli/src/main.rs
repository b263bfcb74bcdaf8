//! `minivault`: MiniVault at the terminal, a client of the daemon's HTTP interface.
//!
//! - `arguments`: what can be typed
//! - `commands`: one file for each command
//! - `client`, `events`: the daemon's answers, whole and streamed
//! - `output`, `line_editor`: the two directions of a terminal
//! - `echo`: what is typed while an answer is written
//! - `markdown`: answers of a chat, in a terminal's styles
//! - `table`: columns and bars
//! - `profiles`: daemons by name
//! - `failure`: what ends a run, and its exit code
//! - `interrupts`: Ctrl-C, and what else ends a process
//! - `nearest`: what was probably meant
//! - `folders`: where a user's files lie

mod arguments;
mod client;
mod commands;
mod echo;
mod events;
mod failure;
mod folders;
mod interrupts;
mod line_editor;
mod markdown;
mod nearest;
mod output;
mod profiles;
mod table;

use std::process::ExitCode;
use std::thread;

use clap::{ArgMatches, CommandFactory, FromArgMatches};

use crate::arguments::Arguments;
use crate::failure::Failure;
use crate::interrupts::Interrupts;

fn main() -> ExitCode {
    let matches = Arguments::command().get_matches();
    let mut arguments = Arguments::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    match profile(&mut arguments, &matches).and_then(|()| run(arguments)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

/// Leaves the profile whose daemon would be asked, and takes its address and key where one is.
fn profile(arguments: &mut Arguments, matches: &ArgMatches) -> Result<(), Failure> {
    arguments.general.profile = profiles::chosen(&arguments.general, matches)?;
    if commands::asks_a_daemon(arguments) { profiles::take(&mut arguments.general, matches) } else { Ok(()) }
}

fn run(arguments: Arguments) -> Result<(), Failure> {
    // Fails only if a provider is installed already, which then serves as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
    // A worker of its own keeps connections moving, and closing, while this thread waits at a prompt.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .map_err(|error| Failure::Failed(format!("the runtime does not start: {error}")))?;
    let result = if commands::converses(&arguments) {
        runtime.block_on(commands::run(arguments))
    } else {
        let mut interrupts = runtime.block_on(async { Interrupts::listen() })?;
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let handle = runtime.handle().clone();
        // The command may block on a pipe that nobody fills or empties; Ctrl-C ends it all the same.
        thread::spawn(move || sender.send(handle.block_on(commands::run(arguments))));
        runtime.block_on(async {
            tokio::select! {
                result = receiver => result.unwrap_or_else(|_| Err(Failure::Failed("minivault itself failed; please report it".into()))),
                () = interrupts.next() => Err(Failure::Interrupted),
            }
        })
    };
    // A command that Ctrl-C ended is still there, and gives nothing back by itself.
    echo::restore();
    runtime.shutdown_background();
    result
}
