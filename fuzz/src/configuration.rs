//! Configurations that nobody would write: read, or refused with their places.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use minivault_daemon::config::{Source, load};
use minivault_engines::Engines;

use super::input::Input;

const COMMITTED: &str = include_str!("../../config.toml");
const WORDS: [&str; 34] = [
    "[",
    "]",
    "[[",
    "]]",
    "=",
    "\"",
    "#",
    "\n",
    ".",
    ",",
    "{",
    "}",
    "-1",
    "0",
    "true",
    "1e400",
    "server",
    "engines",
    "log",
    "generation",
    "listen",
    "keys",
    "backend",
    "model",
    "gpt2",
    "llama-cpp",
    "openai",
    "base_url",
    "path",
    "rotate",
    "keep",
    "origins",
    "hosts",
    "'''",
];

/// A file, an environment and flags.
pub fn check(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let variables = (0..input.below(3))
        .map(|_| (format!("MINIVAULTD_{}", input.text(&["SERVER", "__", "LOG", "ENGINE", "KEYS", "PATH"])), input.text(&WORDS)));
    let environment: Vec<(OsString, OsString)> =
        variables.map(|(name, value)| (name.into(), OsString::from_vec(value.into_bytes()))).collect();
    let file = match input.below(4) {
        0 => (0..input.below(12)).map(|_| input.text(&WORDS)).collect::<String>().into_bytes(),
        1 => input.changed(sections().as_bytes()),
        2 => with_a_piece_changed(&mut input).into_bytes(),
        _ => input.rest().to_vec(),
    };
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("config.toml"), file).expect("a file");
    let source = Source { environment, working_directory: folder.path().to_owned(), ..Source::default() };
    match load(&Engines::builtin(), source) {
        Ok(loaded) => assert!(!loaded.report.to_string().is_empty()),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// The committed file without its comments.
fn sections() -> String {
    let lines: Vec<&str> = COMMITTED.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).collect();
    lines.join("\n")
}

fn with_a_piece_changed(input: &mut Input<'_>) -> String {
    let mut lines: Vec<String> = sections().lines().map(str::to_owned).collect();
    for _ in 0..=input.below(3) {
        let place = input.below(lines.len());
        match (input.below(3), lines[place].split_once('=')) {
            (0, Some((key, _))) => lines[place] = format!("{key}= {}", input.text(&WORDS)),
            (1, Some((_, value))) => lines[place] = format!("{} ={value}", input.text(&WORDS)),
            _ => lines.insert(place, input.text(&WORDS)),
        }
    }
    lines.join("\n")
}

/// The committed file, as it is.
pub fn seeds() -> Vec<Vec<u8>> {
    vec![[&[0, 3], COMMITTED.as_bytes()].concat(), [&[0, 3], sections().as_bytes()].concat()]
}
