//! `minivault chat`: turns of a conversation, all of which the model sees each time.

use std::future::{Future, pending};
use std::io::{self, BufRead, IsTerminal, Write};
use std::time::Instant;

use minivault_wire::chat::{ChatBody, Message};

use crate::arguments::Chat;
use crate::client::Client;
use crate::commands::{generate, status};
use crate::events::ChatStream;
use crate::failure::Failure;
use crate::interrupts::Interrupts;
use crate::line_editor::{LineEditor, Lines};
use crate::output::Output;

const HELP: &str = "\
/clear  forget what was said
/help   this list
/quit   leave, as Ctrl-D and Ctrl-C do
Ctrl-C stops an answer. A space in front sends a line that begins with /.";

/// Talks with the person at the terminal, or answers the lines of a pipe.
pub async fn run(client: &Client, arguments: Chat, output: &mut Output) -> Result<(), Failure> {
    let mut conversation = Conversation::new(&arguments);
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
    while let Some(line) = editor.ask("> ")? {
        if line.trim().is_empty() {
            continue;
        }
        editor.remember(&line);
        match line.trim_end() {
            "/quit" | "/exit" => break,
            "/clear" => {
                conversation.clear();
                output.note("forgotten");
            }
            "/help" => say(HELP),
            command if command.starts_with('/') => say(&format!("{command} is no command; /help lists them")),
            _ => {
                // A Ctrl-C from before this answer is not meant for it.
                let mut interrupts = Interrupts::listen()?;
                let turn = conversation.turn(client, &line, interrupts.next(), output).await;
                output.finish()?;
                match turn {
                    Ok(remark) => output.note(&remark),
                    // The next turn may fare better.
                    Err(failure @ (Failure::Failed(_) | Failure::Unreachable { .. })) => failure.print(),
                    Err(failure) => return Err(failure),
                }
            }
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
        conversation.turn(client, &line, pending(), output).await?;
        output.line("")?;
    }
    Ok(())
}

/// All that was said, and how to ask for more.
struct Conversation {
    body: ChatBody,
    system_messages: usize,
}

impl Conversation {
    fn new(arguments: &Chat) -> Self {
        let system: Vec<Message> = arguments.system.iter().map(|text| message("system", text.clone())).collect();
        Self { system_messages: system.len(), body: arguments.sampling.chat_body(system) }
    }

    fn clear(&mut self) {
        self.body.messages.truncate(self.system_messages);
    }

    /// Prints the answer to `line` as it is written, until `stopped` is done, and returns a remark on it. What was
    /// answered stays in the conversation, also in part; a turn without an answer leaves nothing behind.
    async fn turn(
        &mut self,
        client: &Client,
        line: &str,
        stopped: impl Future<Output = ()>,
        output: &mut Output,
    ) -> Result<String, Failure> {
        let before = self.body.messages.len();
        self.body.messages.push(message("user", line.to_owned()));
        let started = Instant::now();
        let mut answer = Answer::default();
        let result = tokio::select! {
            result = answer.receive(client, &self.body, output) => result,
            () = stopped => Ok(Ending::Stopped),
        };
        if answer.text.is_empty() && !matches!(result, Ok(Ending::Complete)) {
            self.body.messages.truncate(before);
        } else {
            self.body.messages.push(message("assistant", answer.text));
        }
        let mut remark = match result? {
            Ending::Stopped => return Ok("[stopped]".into()),
            Ending::Complete => answer.tokens.map(|tokens| generate::speed(tokens, started.elapsed())).unwrap_or_default(),
        };
        if answer.finish_reason.as_deref() == Some("length") {
            remark.push_str("; cut at the limit of tokens");
        }
        Ok(format!("[{}{}{remark}]", answer.model, if remark.is_empty() { "" } else { ": " }))
    }
}

enum Ending {
    Complete,
    Stopped,
}

#[derive(Default)]
struct Answer {
    text: String,
    model: String,
    finish_reason: Option<String>,
    tokens: Option<usize>,
}

impl Answer {
    async fn receive(&mut self, client: &Client, body: &ChatBody, output: &mut Output) -> Result<Ending, Failure> {
        let mut stream: ChatStream = client.chat(body).await?;
        while let Some(chunk) = stream.next().await? {
            self.model = chunk.model;
            self.tokens = chunk.usage.map(|usage| usage.completion_tokens).or(self.tokens);
            for choice in chunk.choices {
                self.finish_reason = choice.finish_reason.or(self.finish_reason.take());
                if let Some(text) = choice.delta.content {
                    self.text.push_str(&text);
                    output.piece(&text)?;
                }
            }
        }
        Ok(Ending::Complete)
    }
}

/// What was asked for is told also with `--quiet`.
fn say(text: &str) {
    // A closed stderr is no reason to end the conversation.
    let _ = writeln!(io::stderr(), "{text}");
}

fn message(role: &str, content: String) -> Message {
    Message::text(role, content)
}
