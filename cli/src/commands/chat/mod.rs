//! `minivault chat`: turns of a conversation, all of which the model sees each time.

mod conversation;
mod orders;
mod settings;
mod transcript;

use std::future::pending;
use std::io::{self, BufRead, IsTerminal};

use minivault_wire::models::ModelDetails;
use minivault_wire::status::ReadyAnswer;

use crate::arguments::Chat;
use crate::client::Client;
use crate::commands::{random_seed, status};
use crate::echo::Muted;
use crate::failure::Failure;
use crate::interrupts::Interrupts;
use crate::line_editor::{LineEditor, Lines};
use crate::output::Output;
use conversation::Conversation;
use orders::{Order, say};

/// Opens and closes a message of several lines.
const QUOTES: &str = "\"\"\"";
/// Tokens of an answer that is worth reading and leaves most contexts room for what was said.
const ROOMY: usize = 200;

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
    output.note(&format!("{}; /help lists the commands, Ctrl-D leaves", status::readiness(&greeting(client, conversation).await?)));
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
        let muted = Muted::new();
        let turn = match question {
            Some(question) => {
                // The daemon tells a chat no seed, so it is chosen here, where it can be shown.
                let seed = conversation.sampling.seed.unwrap_or_else(random_seed);
                conversation.turn(client, &question, Some(seed), interrupts.next(), output).await
            }
            // With the seed that is set the same answer would come again.
            None => conversation.retry(client, random_seed(), interrupts.next(), output).await,
        };
        drop(muted);
        output.finish()?;
        match turn {
            Ok(remark) => output.note(&remark),
            // The next turn may fare better.
            Err(failure @ (Failure::Failed(_) | Failure::Unreachable { .. })) => {
                failure.print();
                if let Some(help) = failure.message().and_then(|message| way_out(&message, conversation)) {
                    output.note(&help);
                }
            }
            Err(failure) => return Err(failure),
        }
    }
    Ok(())
}

/// What makes room where a turn doesn't fit the model's context.
fn way_out(message: &str, conversation: &Conversation) -> Option<String> {
    // A stream's error has no code; these are the daemon's words.
    let is_full = message.contains("context holds");
    let forget = (!conversation.is_empty()).then(|| "/clear forgets what was said".to_owned());
    let limit = conversation.sampling.max_tokens.filter(|limit| *limit > 1 && message.contains("max_tokens"));
    let shorten = limit.map(|limit| format!("/set max_tokens {} leaves more room for it", (limit / 2).min(ROOMY)));
    let ways: Vec<String> = forget.into_iter().chain(shorten).collect();
    (is_full && !ways.is_empty()).then(|| ways.join("; "))
}

/// How the engine is that will answer: the default one, or the one that was asked for.
async fn greeting(client: &Client, conversation: &Conversation) -> Result<ReadyAnswer, Failure> {
    let Some(name) = &conversation.sampling.model else { return client.ready().await };
    let model = orders::engine(client.models().await?.value.data, name)?;
    let ModelDetails { state, answered_by, reason, .. } = model.minivault.unwrap_or_default();
    // A foreign daemon may list names only.
    let status = if answered_by.is_some() || state.is_empty() { "ready".to_owned() } else { state };
    Ok(ReadyAnswer { status, engine: model.id, answered_by, reason })
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
    fn a_full_context_is_told_with_a_way_out() {
        let mut conversation = Conversation::new(Chat { system: None, sampling: crate::arguments::Sampling::default() });
        let full = "the prompt has 60 tokens and max_tokens asks for 500 more; the model's context holds 64";
        assert_eq!(way_out(full, &conversation), None, "nothing was said and nothing is set");
        conversation.sampling.max_tokens = Some(500);
        assert_eq!(way_out(full, &conversation).as_deref(), Some("/set max_tokens 200 leaves more room for it"));
        conversation.sampling.max_tokens = Some(40);
        assert_eq!(way_out(full, &conversation).as_deref(), Some("/set max_tokens 20 leaves more room for it"));
        assert_eq!(way_out("the queue is full", &conversation), None);
    }

    #[test]
    fn the_end_of_input_ends_a_message_and_ctrl_c_gives_it_up() {
        check(&[], None);
        check(&["one\\"], Some("one"));
        check(&["one\\", "^C", "two"], Some(""));
        assert!(matches!(ask(&mut Typed(["^C"].iter())), Err(Failure::Interrupted)));
    }
}
