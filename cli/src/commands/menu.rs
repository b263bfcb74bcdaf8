//! `minivault` alone on a terminal: a menu of the two ways to ask.

use std::io::{self, Write};

use crate::arguments::Sampling;
use crate::client::Client;
use crate::commands::generate;
use crate::echo::Muted;
use crate::failure::Failure;
use crate::interrupts::Interrupts;
use crate::line_editor::{LineEditor, Lines};
use crate::output::Output;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Generate,
    Stream,
}

/// Asks and answers until the user leaves.
pub async fn run(client: &Client, output: &mut Output) -> Result<(), Failure> {
    let mut lines = LineEditor::new()?;
    let _ = writeln!(io::stderr(), "MiniVault at {} (`minivault --help` tells what else there is)", client.address());
    while let Some((mode, prompt)) = choose(&mut lines, &mut io::stderr())? {
        let body = Sampling::default().generate_body(prompt);
        // A Ctrl-C from before this answer is not meant for it.
        let mut interrupts = Interrupts::listen()?;
        let muted = Muted::new();
        let answer = async {
            match mode {
                Mode::Generate => generate::whole(client, &body, output).await,
                Mode::Stream => generate::streamed(client, &body, output).await,
            }
        };
        let result = tokio::select! {
            result = answer => result,
            () = interrupts.next() => Err(Failure::Interrupted),
        };
        drop(muted);
        match result {
            Ok(()) => {}
            // The answer is over, the menu isn't.
            Err(Failure::Interrupted) => {
                output.finish()?;
                output.note("[stopped]");
            }
            Err(failure @ Failure::Failed(_)) => failure.print(),
            Err(failure) => return Err(failure),
        }
    }
    Ok(())
}

/// Asks until mode and prompt are there; `None` when the user leaves.
fn choose(lines: &mut impl Lines, remarks: &mut impl Write) -> Result<Option<(Mode, String)>, Failure> {
    // A terminal that can't be written to can't be read either, so these writes may fail.
    let _ = writeln!(remarks, "\n  1  generate: the whole answer at once\n  2  stream: the answer as it is written");
    let mode = loop {
        let Some(line) = lines.ask("Choose 1 or 2, or q to leave: ")? else { return Ok(None) };
        match line.trim() {
            "1" | "generate" => break Mode::Generate,
            "2" | "stream" => break Mode::Stream,
            "q" | "quit" | "exit" => return Ok(None),
            other => {
                let _ = writeln!(remarks, "{other:?} is neither 1 nor 2");
            }
        }
    };
    loop {
        let Some(prompt) = lines.ask("Prompt: ")? else { return Ok(None) };
        if !prompt.trim().is_empty() {
            return Ok(Some((mode, prompt)));
        }
        let _ = writeln!(remarks, "the prompt is empty");
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::line_editor::Typed;

    fn choice(typed: &[&str]) -> (Result<Option<(Mode, String)>, Failure>, String) {
        let mut remarks = Vec::new();
        let choice = choose(&mut Typed(typed.iter()), &mut remarks);
        (choice, String::from_utf8(remarks).unwrap())
    }

    #[track_caller]
    fn check(typed: &[&str], expected: Option<(Mode, &str)>) {
        let chosen = choice(typed).0.unwrap();
        assert_eq!(chosen.as_ref().map(|(mode, prompt)| (*mode, prompt.as_str())), expected);
    }

    #[test]
    fn one_generates_and_two_streams() {
        check(&["1", "Hello"], Some((Mode::Generate, "Hello")));
        check(&[" 2 ", " Hello "], Some((Mode::Stream, " Hello ")));
    }

    #[test]
    fn the_end_of_input_leaves_at_each_question() {
        check(&[], None);
        check(&["1"], None);
        check(&["q"], None);
    }

    #[test]
    fn ctrl_c_leaves_as_interrupted() {
        assert!(matches!(choice(&["1", "^C"]).0, Err(Failure::Interrupted)));
    }

    #[test]
    fn what_makes_no_sense_is_said_and_asked_again() {
        let (chosen, remarks) = choice(&["3", "1", "  ", "Hello"]);
        assert_eq!(chosen.unwrap(), Some((Mode::Generate, "Hello".into())));
        assert!(remarks.contains("\"3\" is neither 1 nor 2") && remarks.contains("the prompt is empty"), "{remarks}");
    }
}
