//! Answers on stdout, remarks on stderr; what a terminal gets besides and a pipe doesn't.

use std::borrow::Cow;
use std::env;
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::failure::Failure;
use crate::markdown::Markdown;

/// From one picture of a spinner to the next.
const TICK: Duration = Duration::from_millis(100);

/// Where text goes.
pub struct Output {
    terminal: bool,
    styled: bool,
    quiet: bool,
    notes: bool,
    colour: bool,
    line_begun: bool,
}

impl Output {
    /// Finds out what stdout and stderr are; `quiet` leaves out remarks.
    pub fn new(quiet: bool) -> Self {
        let notes = io::stderr().is_terminal();
        let set = |name: &str| env::var_os(name).is_some_and(|value| !value.is_empty());
        let terminal = io::stdout().is_terminal();
        let colour = !set("NO_COLOR") && env::var_os("TERM").is_none_or(|term| term != "dumb");
        Self { terminal, styled: terminal && colour, quiet, notes: notes && !quiet, colour: notes && colour, line_begun: false }
    }

    /// Whether a person reads along.
    pub fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// Whether that person's terminal has styles, and they are wanted.
    pub fn is_styled(&self) -> bool {
        self.styled
    }

    /// The columns of the terminal that answers go to; `None` where they go elsewhere, and lines may be as long as they like.
    pub fn width(&self) -> Option<usize> {
        self.terminal.then(terminal_size).flatten().map(|(columns, _)| columns)
    }

    /// Writes a part of an answer at once: its exact bytes to a pipe, only what is safe to show to a terminal.
    pub fn piece(&mut self, text: &str) -> Result<(), Failure> {
        let text = if self.terminal { printable(text) } else { Cow::Borrowed(text) };
        self.write(&text)
    }

    /// Writes a part of an answer that is Markdown: in styles where the terminal has them, else as [`Output::piece`] does.
    pub fn markdown(&mut self, markdown: &mut Markdown, text: &str) -> Result<(), Failure> {
        if !self.styled {
            return self.piece(text);
        }
        let shown = markdown.push(&printable(text));
        self.write(&shown)
    }

    /// Writes what such an answer still holds back.
    pub fn end_markdown(&mut self, markdown: &mut Markdown) -> Result<(), Failure> {
        let rest = markdown.finish();
        if self.styled { self.write(&rest) } else { Ok(()) }
    }

    fn write(&mut self, text: &str) -> Result<(), Failure> {
        if text.is_empty() {
            return Ok(());
        }
        self.line_begun = !text.ends_with('\n');
        let mut stdout = io::stdout().lock();
        stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).map_err(|error| Failure::writing(&error))
    }

    /// Writes a line.
    pub fn line(&mut self, text: &str) -> Result<(), Failure> {
        self.piece(&format!("{text}\n"))
    }

    /// Ends an answer: on a terminal the next text begins on a line of its own, a pipe gets nothing added.
    pub fn finish(&mut self) -> Result<(), Failure> {
        if self.terminal && self.line_begun { self.piece("\n") } else { Ok(()) }
    }

    /// A bar for so many steps, where remarks are wanted.
    pub fn progress(&self, steps: usize) -> ProgressBar {
        if !self.notes {
            return ProgressBar::hidden();
        }
        let style = ProgressStyle::with_template("{bar:32} {pos}/{len} · {elapsed_precise} · {eta} left · {msg}");
        ProgressBar::new(steps as u64).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
    }

    /// A sign that something is under way, where remarks are wanted.
    pub fn spinner(&self, text: &str) -> ProgressBar {
        if !self.notes {
            return ProgressBar::hidden();
        }
        let style = ProgressStyle::with_template("{spinner} {msg} · {elapsed_precise}");
        let spinner = ProgressBar::new_spinner().with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
        spinner.set_message(text.to_owned());
        spinner.enable_steady_tick(TICK);
        spinner
    }

    /// A remark that a log file shouldn't lack either.
    pub fn warn(&self, text: &str) {
        if !self.quiet {
            let _ = writeln!(io::stderr(), "warning: {}", printable(text));
        }
    }

    /// A remark that is told wherever stderr goes.
    pub fn remark(&self, text: &str) {
        if self.notes {
            self.note(text);
        } else if !self.quiet {
            let _ = writeln!(io::stderr(), "{text}");
        }
    }

    /// A remark for a person at the terminal.
    pub fn note(&self, text: &str) {
        if self.notes {
            let text = printable(text);
            // A remark that can't be shown is no reason to fail.
            let _ = if self.colour { writeln!(io::stderr(), "\x1b[2m{text}\x1b[0m") } else { writeln!(io::stderr(), "{text}") };
        }
    }
}

/// Columns and lines of the terminal at stdout, where it knows.
#[cfg(unix)]
pub fn terminal_size() -> Option<(usize, usize)> {
    let size = rustix::termios::tcgetwinsize(io::stdout()).ok()?;
    (size.ws_col > 0 && size.ws_row > 0).then(|| (size.ws_col.into(), size.ws_row.into()))
}

/// Not asked there.
#[cfg(windows)]
pub fn terminal_size() -> Option<(usize, usize)> {
    None
}

/// The text without control characters: a model, or a foreign daemon, must not move the cursor, retitle the window or
/// write to the clipboard.
pub fn printable(text: &str) -> Cow<'_, str> {
    let harmful = |character: char| character.is_control() && !matches!(character, '\n' | '\t');
    if text.contains(harmful) { Cow::Owned(text.replace(harmful, "\u{fffd}")) } else { Cow::Borrowed(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_do_not_reach_a_terminal() {
        assert_eq!(printable("a\x1b[2Jb\u{9b}c\rd"), "a\u{fffd}[2Jb\u{fffd}c\u{fffd}d");
    }

    #[test]
    fn lines_tabs_and_emoji_stay_as_they_are() {
        assert!(matches!(printable("one\n\ttwo 🦀\n"), Cow::Borrowed("one\n\ttwo 🦀\n")));
    }
}
