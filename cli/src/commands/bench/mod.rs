//! `minivault bench`: how fast a daemon that runs answers 1, 2, 4, … clients.

mod measured;

use std::time::Instant;

use futures_util::future::join_all;
use minivault_wire::native::GenerateBody;
use serde::Serialize;

use crate::arguments::Bench;
use crate::client::Client;
use crate::events::GenerateEvent;
use crate::failure::Failure;
use crate::output::Output;
use measured::{Answered, Level, table};

/// Tokens of an answer where none are named: enough for gaps to be told, few enough for a quick look.
const TOKENS: usize = 64;

/// Tokens that a later prompt may have more than the first, whose number is the shortest.
const LONGER: usize = 4;

/// What `--json` prints.
#[derive(Serialize)]
struct Report {
    url: String,
    model: String,
    max_tokens: usize,
    levels: Vec<Level>,
}

/// Asks with ever more clients at once, and tells what came when.
pub async fn run(client: &Client, arguments: Bench, output: &mut Output) -> Result<(), Failure> {
    let mut max_tokens = arguments.sampling.max_tokens.unwrap_or(TOKENS);
    let prompts = Prompts { text: &arguments.prompt, run: crate::commands::random_seed() };
    let body = |number: usize, max_tokens: usize| GenerateBody {
        max_tokens: Some(max_tokens),
        seed: arguments.sampling.seed.map(|seed| seed.wrapping_add(number as u64)),
        ..arguments.sampling.generate_body(prompts.number(number))
    };
    // What the first request alone pays (loading, warming up) is no part of any level, and a refusal is told before the rest is tried.
    let first = match ask(client, &body(0, max_tokens)).await {
        Err(Failure::Failed(message)) => match (room(&message), arguments.sampling.max_tokens) {
            (Some(room), None) => {
                output.remark(&format!("{message}; answers of {room} tokens are asked for instead of {max_tokens}"));
                max_tokens = room;
                ask(client, &body(0, max_tokens)).await?
            }
            (Some(room), Some(_)) => return Err(Failure::Failed(format!("{message}; --max-tokens {room} fits"))),
            (None, _) => return Err(Failure::Failed(message)),
        },
        other => other?,
    };
    let mut levels = Vec::new();
    let mut asked = 1;
    for clients in doubling(arguments.clients.get()) {
        output.note(&format!("{clients} at once …"));
        let started = Instant::now();
        let answers = join_all((0..clients).map(|place| {
            let bodies: Vec<_> = (0..arguments.requests.get()).map(|turn| body(asked + turn * clients + place, max_tokens)).collect();
            async move {
                let mut answers = Vec::new();
                for body in bodies {
                    answers.push(ask(client, &body).await);
                }
                answers
            }
        }));
        let answers: Vec<_> = answers.await.into_iter().flatten().collect();
        let took = started.elapsed();
        asked += answers.len();
        let mut failed = 0;
        let mut good = Vec::new();
        for answer in answers {
            match answer {
                Ok(answer) => good.push(answer),
                Err(Failure::Failed(message)) => {
                    if failed == 0 {
                        output.note(&format!("with {clients} at once: {message}"));
                    }
                    failed += 1;
                }
                Err(failure) => return Err(failure),
            }
        }
        levels.push(Level::new(clients, &good, failed, took));
    }
    if arguments.json {
        let report = Report { url: client.address(), model: first.model, max_tokens, levels };
        let json = serde_json::to_string(&report).map_err(|error| Failure::Failed(error.to_string()))?;
        return output.line(&json);
    }
    output.line(&format!(
        "{} at {}, {} tokens of prompt, {max_tokens} of answer at most",
        first.model,
        client.address(),
        first.prompt_tokens
    ))?;
    table(&levels, output.width()).iter().try_for_each(|line| output.line(line))
}

/// Prompts of one text of which none begins as another does: a prompt still in the daemon's cache would not have to be read.
struct Prompts<'a> {
    text: &'a str,
    run: u64,
}

impl Prompts<'_> {
    fn number(&self, number: usize) -> String {
        format!("{}.{number}: {}", self.run, self.text)
    }
}

/// The tokens that an answer may have where a refusal says what the context holds.
fn room(refusal: &str) -> Option<usize> {
    // `the prompt has 30 tokens and max_tokens asks for 64 more; the model's context holds 64`
    let behind = |words: &str| {
        let rest = &refusal[refusal.find(words)? + words.len()..];
        rest.split(|character: char| !character.is_ascii_digit()).next()?.parse::<usize>().ok()
    };
    let room = behind("context holds ")?.checked_sub(behind("the prompt has ")? + LONGER)?;
    (room > 0).then_some(room)
}

/// 1, 2, 4, … and the last.
fn doubling(most: usize) -> Vec<usize> {
    let powers = std::iter::successors(Some(1), |clients: &usize| clients.checked_mul(2));
    powers.take_while(|&clients| clients < most).chain([most]).collect()
}

async fn ask(client: &Client, body: &GenerateBody) -> Result<Answered, Failure> {
    let started = Instant::now();
    let mut stream = client.stream_generate(body).await?;
    let mut arrivals = Vec::new();
    loop {
        match stream.next().await? {
            GenerateEvent::Piece { .. } => arrivals.push(started.elapsed()),
            GenerateEvent::Done { done, .. } => {
                return Ok(Answered {
                    model: done.model,
                    prompt_tokens: done.usage.prompt_tokens,
                    tokens: done.usage.completion_tokens,
                    arrivals,
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_double_up_to_the_number_asked_for() {
        assert_eq!(doubling(1), [1]);
        assert_eq!(doubling(4), [1, 2, 4]);
        assert_eq!(doubling(6), [1, 2, 4, 6]);
    }

    #[test]
    fn what_a_context_has_room_for_is_asked_for() {
        let refusal =
            |prompt: usize| format!("the prompt has {prompt} tokens and max_tokens asks for 64 more; the model's context holds 64");
        assert_eq!(room(&refusal(30)), Some(30));
        assert_eq!((room(&refusal(60)), room(&refusal(70)), room("the queue is full")), (None, None, None));
    }

    #[test]
    fn no_prompt_begins_as_another() {
        let prompts = Prompts { text: "Once", run: 7 };
        assert_eq!((prompts.number(1).as_str(), prompts.number(12).as_str()), ("7.1: Once", "7.12: Once"));
    }
}
