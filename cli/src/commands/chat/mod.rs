//! `minivault chat`: turns of a conversation, all of which the model sees each time.

mod conversation;
mod orders;
mod settings;
mod transcript;

use std::future::pending;
use std::io::{self, BufRead, IsTerminal};

use crate::arguments::Chat;
use crate::client::Client;
use crate::commands::{random_seed, status};
use crate::failure::Failure;
use crate::interrupts::Interrupts;
use crate::line_editor::{LineEditor, Lines};
use crate::output::Output;
use conversation::Conversation;
use orders::{Order, say};

/// Opens and closes a message of several lines.
const QUOTES: &str = "\"\"\"";

/// Talks with the person at the terminal, or answers the lines of a pipe.
pub async fn run(client: &Client, arguments: Chat, output: &mut Output) -> Result<(), Failure> {
    let mut conversation = Conversation::new(arguments);
    if io::stdin().is_terminal() {
        interactive(client, &mut conversation, output).await
    } else {
        piped(client, &mut conversation, output).await
    }
}

async fn interactive(client: &Client, conversation: &mut Conversation, output: &mut Output) -> Result<(), Failure> {
    // Before anything is typed, so that nobody types in vain.
    output.note(&format!("{}; /help lists the commands, Ctrl-D leaves", status::readiness(&client.ready().await?)));
    let mut editor = LineEditor::with_history()?;
    editor.complete(&orders::NAMES);
    while let Some(text) = ask(&mut editor)? {
        if text.trim().is_empty() {
            continue;
        }
        editor.remember(&text);
        let question = match Order::from_line(&text) {
            None => Some(text),
            Some(Order::Quit) => break,
            Some(Order::Retry) if conversation.is_empty() => {
                say("nothing was asked yet");
                continue;
            }
            Some(Order::Retry) => None,
            Some(order) => {
                match order.obey(client, conversation, output).await {
                    Err(failure @ (Failure::Failed(_) | Failure::Unreachable { .. } | Failure::Usage(_))) => failure.print(),
                    other => other?,
                }
                continue;
            }
        };
        // A Ctrl-C from before this answer is not meant for it.
        let mut interrupts = Interrupts::listen()?;
        let turn = match question {
            Some(question) => {
                // The daemon tells a chat no seed, so it is chosen here, where it can be shown.
                let seed = conversation.sampling.seed.unwrap_or_else(random_seed);
                conversation.turn(client, &question, Some(seed), interrupts.next(), output).await
            }
            // With the seed that is set the same answer would come again.
            None => conversation.retry(client, random_seed(), interrupts.next(), output).await,
        };
        output.finish()?;
        match turn {
            Ok(remark) => output.note(&remark),
            // The next turn may fare better.
            Err(failure @ (Failure::Failed(_) | Failure::Unreachable { .. })) => failure.print(),
            Err(failure) => return Err(failure),
        }
    }
    Ok(())
}

async fn piped(client: &Client, conversation: &mut Conversation, output: &mut Output) -> Result<(), Failure> {
    for line in io::stdin().lock().lines() {
        let line = line.map_err(|error| match error.kind() {
            io::ErrorKind::InvalidData => Failure::Usage("a line on stdin is not UTF-8".into()),
            _ => Failure::Failed(format!("stdin cannot be read: {error}")),
        })?;
        if line.trim().is_empty() {
            continue;
        }
        conversation.turn(client, &line, conversation.sampling.seed, pending(), output).await?;
        output.line("")?;
    }
    Ok(())
}

/// Asks for a message: a line, lines that end with `\` and the one after them, or what stands between two `"""`.
fn ask(lines: &mut impl Lines) -> Result<Option<String>, Failure> {
    let Some(mut text) = lines.ask("> ")? else { return Ok(None) };
    let quoted = text.starts_with(QUOTES);
    if quoted {
        text.drain(..QUOTES.len());
    }
    loop {
        if quoted && text.trim_end().ends_with(QUOTES) {
            text.truncate(text.trim_end().len() - QUOTES.len());
            return Ok(Some(text.trim_matches('\n').to_owned()));
        }
        if !quoted && !text.ends_with('\\') {
            return Ok(Some(text));
        }
        if !quoted {
            text.pop();
        }
        match lines.ask(". ") {
            Ok(Some(line)) => {
                text.push('\n');
                text.push_str(&line);
            }
            Ok(None) => return Ok(Some(text)),
            // Only the message is given up, as in a shell.
            Err(Failure::Interrupted) => return Ok(Some(String::new())),
            Err(failure) => return Err(failure),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::line_editor::Typed;

    #[track_caller]
    fn check(typed: &[&str], expected: Option<&str>) {
        assert_eq!(ask(&mut Typed(typed.iter())).unwrap().as_deref(), expected);
    }

    #[test]
    fn a_message_may_have_several_lines() {
        check(&["one", "two"], Some("one"));
        check(&["one\\", "two\\", "three"], Some("one\ntwo\nthree"));
        check(&["\"\"\"one", "", "two\"\"\"", "three"], Some("one\n\ntwo"));
        check(&["\"\"\"", "one", "  two", "\"\"\""], Some("one\n  two"));
        check(&["\"\"\"one\"\"\""], Some("one"));
    }

    #[test]
    fn the_end_of_input_ends_a_message_and_ctrl_c_gives_it_up() {
        check(&[], None);
        check(&["one\\"], Some("one"));
        check(&["one\\", "^C", "two"], Some(""));
        assert!(matches!(ask(&mut Typed(["^C"].iter())), Err(Failure::Interrupted)));
    }
}
