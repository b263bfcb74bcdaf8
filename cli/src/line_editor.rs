//! Lines that a person types, with editing and history.

use std::fs;
use std::io::{self, IsTerminal};
use std::path::PathBuf;

use rustyline::completion::Completer;
use rustyline::config::{Behavior, Config};
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::FileHistory;
use rustyline::validate::Validator;
use rustyline::{Context, Editor, Helper};

use crate::failure::Failure;
use crate::folders::folder;

/// As many lines as one is likely to look for again.
const HISTORY_LINES: usize = 1000;

/// Where lines come from.
pub trait Lines {
    /// Asks for a line; `None` at the end of the input (Ctrl-D), [`Failure::Interrupted`] at Ctrl-C.
    fn ask(&mut self, prompt: &str) -> Result<Option<String>, Failure>;
}

/// What somebody types in a test; `^C` is Ctrl-C.
#[cfg(test)]
pub struct Typed<'a>(pub std::slice::Iter<'a, &'a str>);

#[cfg(test)]
impl Lines for Typed<'_> {
    fn ask(&mut self, _prompt: &str) -> Result<Option<String>, Failure> {
        match self.0.next() {
            Some(&"^C") => Err(Failure::Interrupted),
            line => Ok(line.map(ToString::to_string)),
        }
    }
}

/// The terminal.
pub struct LineEditor {
    editor: Editor<Words, FileHistory>,
    history: Option<PathBuf>,
}

impl LineEditor {
    /// An editor that remembers lines only until it is dropped.
    pub fn new() -> Result<Self, Failure> {
        let editor = Config::builder()
            .max_history_size(HISTORY_LINES)
            .and_then(|config| {
                // With stdout sent elsewhere the prompt belongs on the terminal, not among the answers.
                let behavior = if io::stdout().is_terminal() { Behavior::Stdio } else { Behavior::PreferTerm };
                Editor::with_config(config.behavior(behavior).build())
            })
            .map_err(|error| Failure::Failed(format!("the terminal cannot be used: {error}")))?;
        Ok(Self { editor, history: None })
    }

    /// An editor that also knows the lines of earlier days, and keeps today's.
    pub fn with_history() -> Result<Self, Failure> {
        let mut this = Self::new()?;
        this.history = folder("XDG_STATE_HOME", ".local/state").map(|folder| folder.join("history"));
        if let Some(path) = &this.history {
            // No history yet is the usual case; a lost one is no reason not to talk.
            let _ = this.editor.load_history(path);
        }
        Ok(this)
    }

    /// Has Tab complete the first word of a line to one of these.
    pub fn complete(&mut self, words: &'static [&'static str]) {
        self.editor.set_helper(Some(Words(words)));
    }

    /// Remembers a line, on disk at once so that a killed terminal loses nothing.
    pub fn remember(&mut self, line: &str) {
        let added = self.editor.add_history_entry(line).unwrap_or(false);
        if let (true, Some(path)) = (added, &self.history) {
            let _ = path.parent().map_or(Ok(()), fs::create_dir_all);
            let _ = self.editor.append_history(path);
        }
    }
}

impl Lines for LineEditor {
    fn ask(&mut self, prompt: &str) -> Result<Option<String>, Failure> {
        match self.editor.readline(prompt) {
            Ok(line) => Ok(Some(line)),
            Err(ReadlineError::Eof) => Ok(None),
            Err(ReadlineError::Interrupted) => Err(Failure::Interrupted),
            Err(error) => Err(Failure::Failed(format!("the terminal cannot be read: {error}"))),
        }
    }
}

/// What a line may begin with.
struct Words(&'static [&'static str]);

impl Completer for Words {
    type Candidate = String;

    fn complete(&self, line: &str, position: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<String>)> {
        Ok((0, self.beginning_with(&line[..position])))
    }
}

impl Words {
    /// None for an empty beginning: Tab there is no question.
    fn beginning_with(&self, typed: &str) -> Vec<String> {
        let words = self.0.iter().filter(|word| !typed.is_empty() && word.starts_with(typed));
        words.map(|word| format!("{word} ")).collect()
    }
}

impl Hinter for Words {
    type Hint = String;
}

impl Highlighter for Words {}
impl Validator for Words {}
impl Helper for Words {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_begun_first_word_is_completed() {
        let words = Words(&["/save", "/set", "/quit"]);
        assert_eq!(words.beginning_with("/s"), ["/save ", "/set "]);
        assert_eq!(words.beginning_with("/q"), ["/quit "]);
        assert!(words.beginning_with("").is_empty() && words.beginning_with("/set t").is_empty() && words.beginning_with("q").is_empty());
    }
}
