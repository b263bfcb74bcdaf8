//! `minivault generate`: a prompt goes in, its continuation comes out.

mod prompt;

use std::time::{Duration, Instant};

use minivault_wire::native::{Done, GenerateBody};

use crate::arguments::Generate;
use crate::client::Client;
use crate::echo::Muted;
use crate::events::GenerateEvent;
use crate::failure::Failure;
use crate::output::Output;

/// Asks and prints in the form that the arguments choose.
pub async fn run(client: &Client, arguments: Generate, output: &mut Output) -> Result<(), Failure> {
    let mut body = arguments.sampling.generate_body(prompt::prompt(&arguments)?);
    body.echo = arguments.echo.then_some(true);
    let _muted = Muted::new();
    let first_seed = body.seed;
    for number in 0..arguments.count.get() {
        body.seed = first_seed.map(|seed| seed.wrapping_add(number as u64));
        match (arguments.json, arguments.stream, arguments.no_stream) {
            (true, true, _) => json_events(client, &body, output).await?,
            (true, false, _) => output.line(&client.generate(&body).await?.raw)?,
            (false, _, true) => whole(client, &body, output).await?,
            (false, _, false) => streamed(client, &body, output).await?,
        }
        // A terminal has ended the line already.
        if arguments.count.get() > 1 && !arguments.json && !output.is_terminal() {
            output.line("")?;
        }
    }
    Ok(())
}

/// Prints the answer's text when it is complete.
pub async fn whole(client: &Client, body: &GenerateBody, output: &mut Output) -> Result<(), Failure> {
    let started = Instant::now();
    let answer = client.generate(body).await?.value;
    output.piece(&answer.response)?;
    output.finish()?;
    summarise(&answer.done, started.elapsed(), output);
    Ok(())
}

/// Prints the answer's text as it is written.
pub async fn streamed(client: &Client, body: &GenerateBody, output: &mut Output) -> Result<(), Failure> {
    let started = Instant::now();
    let result = print_pieces(client, body, output).await;
    output.finish()?;
    summarise(&result?, started.elapsed(), output);
    Ok(())
}

async fn print_pieces(client: &Client, body: &GenerateBody, output: &mut Output) -> Result<Done, Failure> {
    let mut stream = client.stream_generate(body).await?;
    loop {
        match stream.next().await? {
            GenerateEvent::Piece { text, .. } => output.piece(&text)?,
            GenerateEvent::Done { done, .. } => return Ok(done),
        }
    }
}

async fn json_events(client: &Client, body: &GenerateBody, output: &mut Output) -> Result<(), Failure> {
    let mut stream = client.stream_generate(body).await?;
    loop {
        match stream.next().await? {
            GenerateEvent::Piece { raw, .. } => output.line(&raw)?,
            GenerateEvent::Done { raw, .. } => return output.line(&raw),
        }
    }
}

/// Tells a person at the terminal what the answer cost and how to have it again.
fn summarise(done: &Done, took: Duration, output: &Output) {
    if output.is_terminal() {
        let cut = if done.finish_reason == "length" { "; cut at the limit of tokens" } else { "" };
        output.note(&format!("[{}: {}, seed {}{cut}]", done.model, speed(done.usage.completion_tokens, took), done.seed));
    }
}

/// `12 tokens in 0.5 s, 24.0 tokens/s`: as the user saw it, with the waiting and the reading of the prompt.
pub fn speed(tokens: usize, took: Duration) -> String {
    let seconds = took.as_secs_f64();
    format!("{tokens} tokens in {seconds:.1} s, {:.1} tokens/s", tokens as f64 / seconds.max(0.001))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speed_survives_an_answer_in_no_time() {
        assert_eq!(speed(12, Duration::from_millis(500)), "12 tokens in 0.5 s, 24.0 tokens/s");
        assert_eq!(speed(0, Duration::ZERO), "0 tokens in 0.0 s, 0.0 tokens/s");
    }
}
