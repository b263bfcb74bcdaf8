//! What an engine's process writes to standard error, passed on to the daemon's diagnostic log.

use std::io::{BufRead, BufReader, Read};
use std::time::{Duration, Instant};

use tracing::Level;

use super::LOG_TARGET;

/// Bytes of a line that are passed on together.
const LONGEST_LINE: usize = 4096;
/// Lines that tell why a process died: what C++ says before it ends it. What follows them is where it was.
const LAST_WORDS: usize = 3;
/// After that long a silence something else is told.
const SILENCE: Duration = Duration::from_secs(10);

/// Passes every line on until the process closes its end, and returns how the last words began that weren't from a log.
pub(super) fn follow(stderr: impl Read, engine: &str) -> String {
    let mut stderr = BufReader::new(stderr);
    let mut last_words = Vec::new();
    let mut spoke = Instant::now();
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = stderr.by_ref().take(LONGEST_LINE as u64).read_until(b'\n', &mut line);
        if !matches!(read, Ok(1..)) {
            return last_words.join(" ");
        }
        let text = String::from_utf8_lossy(&line);
        let text = text.trim_end();
        match level_of(text) {
            Some((level, rest)) => log(level, engine, rest),
            None if text.is_empty() => {}
            None => {
                log(Level::WARN, engine, text);
                if std::mem::replace(&mut spoke, Instant::now()).elapsed() > SILENCE {
                    last_words.clear();
                }
                if last_words.len() < LAST_WORDS {
                    last_words.push(text.trim_start().to_owned());
                }
            }
        }
    }
}

/// The level that a line of a log begins with, and the rest.
fn level_of(line: &str) -> Option<(Level, &str)> {
    let (word, rest) = line.trim_start().split_once(' ')?;
    let levels = [Level::ERROR, Level::WARN, Level::INFO, Level::DEBUG, Level::TRACE];
    levels.into_iter().find(|level| level.as_str() == word).map(|level| (level, rest))
}

fn log(level: Level, engine: &str, line: &str) {
    // An event's level is part of the place in the code.
    macro_rules! log_at {
        ($($level:ident),*) => {
            match level {
                $(Level::$level => tracing::event!(target: LOG_TARGET, Level::$level, engine, "{line}"),)*
            }
        };
    }
    log_at!(ERROR, WARN, INFO, DEBUG, TRACE);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_words_are_those_that_no_log_wrote() {
        let said = " WARN llama-cpp-2: a word of warning\nterminate called after\n ERROR late\n\n  what():  no memory\n0: main\n1: start\n";
        assert_eq!(follow(said.as_bytes(), "mine"), "terminate called after what():  no memory 0: main");
        assert_eq!(follow(&b""[..], "mine"), "");
    }

    #[test]
    fn a_line_without_an_end_comes_in_pieces() {
        let long = [b'x'; 3 * LONGEST_LINE];
        assert_eq!(follow(&long[..], "mine").len(), 3 * LONGEST_LINE + 2);
    }

    #[test]
    fn levels_are_words_of_their_own() {
        assert_eq!(level_of(" INFO a: b"), Some((Level::INFO, "a: b")));
        assert_eq!(level_of("INFORMATION a"), None);
        assert_eq!(level_of("ERROR"), None);
    }
}
