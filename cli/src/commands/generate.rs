//! `minivault generate`: a prompt goes in, its continuation comes out.

use std::io::{self, IsTerminal, Read};
use std::time::{Duration, Instant};

use minivault_wire::native::{Done, GenerateBody};

use crate::arguments::Generate;
use crate::client::Client;
use crate::events::GenerateEvent;
use crate::failure::Failure;
use crate::output::Output;

/// Far beyond every model's context; a wrong file in the pipe shouldn't fill the memory first.
const LONGEST_PROMPT: u64 = 64 << 20;

/// Asks and prints in the form that the arguments choose.
pub async fn run(client: &Client, arguments: Generate, output: &mut Output) -> Result<(), Failure> {
    let mut body = arguments.sampling.generate_body(prompt(arguments.prompt)?);
    body.echo = arguments.echo.then_some(true);
    match (arguments.json, arguments.stream, arguments.no_stream) {
        (true, true, _) => json_events(client, &body, output).await,
        (true, false, _) => output.line(&client.generate(&body).await?.raw),
        (false, _, true) => whole(client, &body, output).await,
        (false, _, false) => streamed(client, &body, output).await,
    }
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
        output.note(&format!("[{}: {}, seed {}]", done.model, speed(done.usage.completion_tokens, took), done.seed));
    }
}

/// `12 tokens in 0.5 s, 24.0 tokens/s`: as the user saw it, with the waiting and the reading of the prompt.
pub fn speed(tokens: usize, took: Duration) -> String {
    let seconds = took.as_secs_f64();
    format!("{tokens} tokens in {seconds:.1} s, {:.1} tokens/s", tokens as f64 / seconds.max(0.001))
}

fn prompt(argument: Option<String>) -> Result<String, Failure> {
    let prompt = match argument {
        Some(prompt) if prompt != "-" => prompt,
        None if io::stdin().is_terminal() => {
            return Err(Failure::Usage("no prompt: give one as an argument, or pipe it in".into()));
        }
        _ => read_prompt(io::stdin().lock())?,
    };
    if prompt.is_empty() { Err(Failure::Usage("the prompt is empty".into())) } else { Ok(prompt) }
}

fn read_prompt(input: impl Read) -> Result<String, Failure> {
    let mut bytes = Vec::new();
    input
        .take(LONGEST_PROMPT + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| Failure::Failed(format!("the prompt on stdin cannot be read: {error}")))?;
    if bytes.len() as u64 > LONGEST_PROMPT {
        return Err(Failure::Usage(format!("the prompt on stdin is longer than {} MiB", LONGEST_PROMPT >> 20)));
    }
    let mut prompt = String::from_utf8(bytes).map_err(|error| {
        let place = error.utf8_error().valid_up_to();
        Failure::Usage(format!("the prompt on stdin is not UTF-8: byte 0x{:02x} at offset {place}", error.as_bytes()[place]))
    })?;
    // `echo` ends what it prints with a line end that its user never thinks of as text.
    if prompt.ends_with('\n') {
        prompt.pop();
        if prompt.ends_with('\r') {
            prompt.pop();
        }
    }
    Ok(prompt)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(input: &[u8], expected: &str) {
        assert_eq!(read_prompt(input).unwrap(), expected);
    }

    #[test]
    fn exactly_one_line_end_is_taken_off_a_piped_prompt() {
        check(b"Hello\n", "Hello");
        check(b"Hello\r\n", "Hello");
        check(b"Hello\n\n", "Hello\n");
        check(b" Hello ", " Hello ");
        check(b"\n", "");
    }

    #[test]
    fn a_prompt_that_is_not_text_is_refused_with_the_place() {
        let Err(Failure::Usage(message)) = read_prompt(&b"ab\xff"[..]) else { panic!("accepted") };
        assert!(message.contains("0xff at offset 2"), "{message}");
    }

    #[test]
    fn an_endless_prompt_is_refused() {
        assert!(matches!(read_prompt(io::repeat(b'a')), Err(Failure::Usage(_))));
    }

    #[test]
    fn speed_survives_an_answer_in_no_time() {
        assert_eq!(speed(12, Duration::from_millis(500)), "12 tokens in 0.5 s, 24.0 tokens/s");
        assert_eq!(speed(0, Duration::ZERO), "0 tokens in 0.0 s, 0.0 tokens/s");
    }
}
