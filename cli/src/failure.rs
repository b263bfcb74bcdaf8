//! What ends a run early: its exit code and its sentence on stderr.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use crate::output::printable;

/// Why a command did not do what it was asked.
#[derive(Debug)]
pub enum Failure {
    /// The arguments or the input make no sense; exit 2.
    Usage(String),
    /// Nothing answers at the daemon's address; exit 3.
    Unreachable { url: String, cause: String },
    /// The daemon refused or failed, or the answer could not be written; exit 1.
    Failed(String),
    /// The daemon answers but isn't ready, and the command has already said so; exit 1.
    NotReady,
    /// Something isn't as it was recorded: a line of the log, or an answer that was run again; exit 4. Without a sentence the command has said it.
    Differs(String),
    /// Ctrl-C; exit 130, as a shell reports a program ended by SIGINT.
    Interrupted,
    /// Another signal that ends a process; exit 128 and its number, as a shell reports it.
    Ended { signal: u8 },
    /// Whoever read stdout has had enough (`| head`), which is not an error; exit 0.
    ReaderGone,
}

impl Failure {
    /// What a failed write to stdout means.
    pub fn writing(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::ReaderGone,
            _ => Self::Failed(format!("the answer cannot be written: {error}")),
        }
    }

    /// What to tell the user; `None` where there is nothing to add.
    pub fn message(&self) -> Option<String> {
        match self {
            Self::Usage(message) | Self::Failed(message) => Some(message.clone()),
            Self::Differs(message) => Some(message.clone()).filter(|message| !message.is_empty()),
            Self::Unreachable { url, cause } => Some(format!(
                "no daemon answers at {url}: {cause}\n\
                 Start it with `make run` in MiniVault's folder, or with `minivaultd`. \
                 If it listens elsewhere, say where with --url or MINIVAULT_URL."
            )),
            Self::NotReady | Self::Interrupted | Self::Ended { .. } | Self::ReaderGone => None,
        }
    }

    /// Says what happened on stderr.
    pub fn print(&self) {
        // A closed stderr must not turn a clear exit code into a panic.
        if let Some(message) = self.message() {
            let message = if io::stderr().is_terminal() { printable(&message).into_owned() } else { message };
            let _ = writeln!(io::stderr(), "error: {message}");
        } else if matches!(self, Self::Interrupted) && io::stdout().is_terminal() {
            // The shell's prompt begins on a line of its own.
            let _ = writeln!(io::stderr());
        }
    }

    /// Says what happened on stderr and returns the exit code for it.
    pub fn report(&self) -> ExitCode {
        self.print();
        ExitCode::from(match self {
            Self::ReaderGone => 0,
            Self::Failed(_) | Self::NotReady => 1,
            Self::Usage(_) => 2,
            Self::Unreachable { .. } => 3,
            Self::Differs(_) => 4,
            Self::Interrupted => 130,
            Self::Ended { signal } => signal.saturating_add(128),
        })
    }
}
