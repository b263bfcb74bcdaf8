//! What was said, and how more is asked for.

use std::future::Future;
use std::time::Instant;

use minivault_wire::chat::{ChatBody, Message};
use minivault_wire::usage::OpenAiUsage;

use crate::arguments::{Chat, Sampling};
use crate::client::Client;
use crate::commands::generate;
use crate::events::ChatStream;
use crate::failure::Failure;
use crate::markdown::Markdown;
use crate::output::Output;

/// All that was said, and how to ask for more.
pub struct Conversation {
    pub system: Option<String>,
    pub sampling: Sampling,
    turns: Vec<Message>,
}

impl Conversation {
    /// Nothing is said yet.
    pub fn new(arguments: Chat) -> Self {
        Self { system: arguments.system, sampling: arguments.sampling, turns: Vec::new() }
    }

    /// Whether nothing was said.
    pub fn is_empty(&self) -> bool {
        self.turns.is_empty()
    }

    /// Forgets what was said, but not what the model is told before.
    pub fn clear(&mut self) {
        self.turns.clear();
    }

    /// What asks for the next message.
    pub fn body(&self, seed: Option<u64>) -> ChatBody {
        let system = self.system.iter().map(|text| Message::text("system", text.clone()));
        let messages = system.chain(self.turns.iter().cloned()).collect();
        ChatBody { seed, ..self.sampling.chat_body(messages) }
    }

    /// Prints the answer to `line` as it is written, until `stopped` is done, and returns a remark on it. What was
    /// answered stays in the conversation, also in part; a turn without an answer leaves nothing behind.
    pub async fn turn(
        &mut self,
        client: &Client,
        line: &str,
        seed: Option<u64>,
        stopped: impl Future<Output = ()>,
        output: &mut Output,
    ) -> Result<String, Failure> {
        let before = self.turns.len();
        self.turns.push(Message::text("user", line));
        let result = self.answer(client, seed, stopped, output).await;
        if self.turns.len() == before + 1 {
            self.turns.truncate(before);
        }
        result
    }

    /// Has the last question answered once more; the answer that was there stays where no other comes.
    pub async fn retry(
        &mut self,
        client: &Client,
        seed: u64,
        stopped: impl Future<Output = ()>,
        output: &mut Output,
    ) -> Result<String, Failure> {
        let Some(last) = self.turns.pop() else { return Ok(String::new()) };
        let before = self.turns.len();
        let result = self.answer(client, Some(seed), stopped, output).await;
        if self.turns.len() == before {
            self.turns.push(last);
        }
        result
    }

    /// Asks for the next message, and adds it where there is one.
    async fn answer(
        &mut self,
        client: &Client,
        seed: Option<u64>,
        stopped: impl Future<Output = ()>,
        output: &mut Output,
    ) -> Result<String, Failure> {
        let started = Instant::now();
        let mut answer = Answer::default();
        let body = self.body(seed);
        let result = tokio::select! {
            result = answer.receive(client, &body, output) => result,
            () = stopped => Ok(Ending::Stopped),
        };
        output.end_markdown(&mut answer.markdown)?;
        if !answer.text.is_empty() || matches!(result, Ok(Ending::Complete)) {
            self.turns.push(Message::text("assistant", answer.text));
        }
        match result? {
            Ending::Stopped => return Ok("[stopped]".into()),
            Ending::Complete => {}
        }
        let mut remarks = Vec::new();
        remarks.extend(answer.usage.map(|usage| generate::speed(usage.completion_tokens, started.elapsed())));
        remarks.extend(seed.map(|seed| format!("seed {seed}")));
        let cut = cut(answer.finish_reason.as_deref(), body.max_tokens, answer.usage.map(|usage| usage.total_tokens));
        let remark = [remarks.join(", ")].into_iter().chain(cut).filter(|remark| !remark.is_empty()).collect::<Vec<_>>().join("; ");
        Ok(format!("[{}{}{remark}]", answer.model, if remark.is_empty() { "" } else { ": " }))
    }
}

/// Why an answer ended before its end. A chat that names no limit has all that its context holds.
fn cut(finish_reason: Option<&str>, max_tokens: Option<usize>, total: Option<usize>) -> Option<String> {
    match (finish_reason?, max_tokens, total) {
        ("length", Some(limit), _) => Some(format!("cut by max_tokens {limit}")),
        ("length", None, Some(total)) => Some(format!("cut at the context's end, {total} tokens; /clear makes room")),
        ("length", None, None) => Some("cut at the context's end; /clear makes room".into()),
        ("timeout", ..) => Some("cut when the time for an answer was over".into()),
        _ => None,
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
    usage: Option<OpenAiUsage>,
    markdown: Markdown,
}

impl Answer {
    async fn receive(&mut self, client: &Client, body: &ChatBody, output: &mut Output) -> Result<Ending, Failure> {
        let mut stream: ChatStream = client.chat(body).await?;
        while let Some(chunk) = stream.next().await? {
            self.model = chunk.model;
            self.usage = chunk.usage.or(self.usage.take());
            for choice in chunk.choices {
                self.finish_reason = choice.finish_reason.or(self.finish_reason.take());
                if let Some(text) = choice.delta.content {
                    self.text.push_str(&text);
                    output.markdown(&mut self.markdown, &text)?;
                }
            }
        }
        Ok(Ending::Complete)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_was_cut_says_by_what() {
        let check = |reason, max_tokens, expected| assert_eq!(cut(Some(reason), max_tokens, Some(2048)).as_deref(), expected);
        check("length", Some(40), Some("cut by max_tokens 40"));
        check("length", None, Some("cut at the context's end, 2048 tokens; /clear makes room"));
        check("timeout", Some(40), Some("cut when the time for an answer was over"));
        check("stop", Some(40), None);
        assert_eq!(cut(None, None, None), None);
    }
}
