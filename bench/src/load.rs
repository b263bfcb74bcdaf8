//! Clients that read streams, and what they saw.

use std::ops::Range;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use futures_util::future::try_join_all;
use serde_json::{Value, json};

use crate::server::{Dialect, Server};
use crate::turns::quantile;

/// What one client asks for: so many tokens after a prompt, greedily.
#[derive(Debug, Clone)]
pub struct Question {
    /// The text to go on with.
    pub prompt: String,
    /// Tokens of the answer.
    pub tokens: usize,
    /// Whether llama-server may use what it remembers of earlier prompts. MiniVault always may.
    pub cache: bool,
}

/// An answer and when its parts came.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Tokens generated.
    pub tokens: usize,
    /// Tokens of the prompt; 0 where the server doesn't tell.
    pub prompt_tokens: usize,
    /// Tokens of the prompt that it didn't compute again, where it tells.
    pub cached_tokens: Option<usize>,
    /// The whole text.
    pub text: String,
    /// When the question was sent.
    pub asked: Instant,
    /// When each piece of text came.
    pub pieces: Vec<Instant>,
}

impl Answer {
    /// From the question to the first piece of text, in milliseconds.
    pub fn first(&self) -> f64 {
        self.pieces.first().map_or(f64::NAN, |first| milliseconds(*first - self.asked))
    }

    /// From each piece of text to the next.
    pub fn gaps(&self) -> impl Iterator<Item = Range<Instant>> {
        self.pieces.windows(2).map(|pair| pair[0]..pair[1])
    }

    /// Tokens per second after the first one.
    pub fn pace(&self) -> f64 {
        let (first, last) = (self.pieces.first(), self.pieces.last());
        first.zip(last).map_or(f64::NAN, |(first, last)| (self.tokens - 1) as f64 / (*last - *first).as_secs_f64())
    }
}

/// What several clients saw together.
#[derive(Debug, Clone)]
pub struct Load {
    /// Tokens per second over all of them, from the first question to the last token.
    pub speed: f64,
    /// The median time to the first token, in milliseconds.
    pub first: f64,
    /// The median gap between tokens, in milliseconds.
    pub gap: f64,
    /// The gap that one in a hundred exceeds, in milliseconds.
    pub long_gap: f64,
    /// Tokens of all prompts; 0 where the server doesn't tell.
    pub prompt_tokens: usize,
}

/// Asks all questions at once and reads the answers to their ends.
///
/// # Errors
/// A question was refused or an answer broke off.
pub async fn ask_all(server: &Server, questions: &[Question]) -> Result<Load> {
    let client = client();
    let begin = Instant::now();
    let answers = try_join_all(questions.iter().map(|question| ask(&client, server, question))).await?;
    let tokens: usize = answers.iter().map(|answer| answer.tokens).sum();
    let speed = tokens as f64 / begin.elapsed().as_secs_f64();
    let firsts: Vec<f64> = answers.iter().map(Answer::first).collect();
    let gaps: Vec<f64> = answers.iter().flat_map(Answer::gaps).map(|gap| milliseconds(gap.end - gap.start)).collect();
    let prompt_tokens = answers.iter().map(|answer| answer.prompt_tokens).sum();
    Ok(Load { speed, first: quantile(&firsts, 0.5), gap: quantile(&gaps, 0.5), long_gap: quantile(&gaps, 0.99), prompt_tokens })
}

/// A client that opens a connection for each question: llama-server closes those that have carried a stream.
pub fn client() -> reqwest::Client {
    // It fails where no TLS can be had, which is never asked for.
    reqwest::Client::builder().pool_max_idle_per_host(0).build().unwrap_or_default()
}

/// Asks one question and reads the answer to its end.
///
/// # Errors
/// It was refused, or the answer broke off.
pub async fn ask(client: &reqwest::Client, server: &Server, question: &Question) -> Result<Answer> {
    ask_and_tell(client, server, question, |_| {}).await
}

/// [`ask`], telling after each piece how many there are.
///
/// # Errors
/// It was refused, or the answer broke off.
pub async fn ask_and_tell(client: &reqwest::Client, server: &Server, question: &Question, mut tell: impl FnMut(usize)) -> Result<Answer> {
    let Question { tokens, .. } = question;
    let (path, body) = request(server.dialect, question);
    let mut answer =
        Answer { tokens: 0, prompt_tokens: 0, cached_tokens: None, text: String::new(), asked: Instant::now(), pieces: Vec::new() };
    let mut response = client.post(format!("{}/{path}", server.url)).json(&body).send().await?;
    if !response.status().is_success() {
        bail!("{} answers {}: {}", server.name, response.status(), response.text().await?);
    }
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        let now = Instant::now();
        bytes.extend_from_slice(&chunk);
        while let Some(end) = bytes.windows(2).position(|pair| pair == b"\n\n") {
            let event = String::from_utf8_lossy(&bytes[..end]).trim_start_matches('\n').to_owned();
            bytes.drain(..end + 2);
            if read(server.dialect, &event, &mut answer)? {
                answer.pieces.push(now);
                tell(answer.pieces.len());
            }
        }
    }
    if server.dialect == Dialect::Original {
        answer.tokens = answer.pieces.len();
    }
    ensure!(answer.tokens == *tokens, "{}'s answer has {} of {tokens} tokens", server.name, answer.tokens);
    Ok(answer)
}

fn request(dialect: Dialect, question: &Question) -> (&'static str, Value) {
    let Question { prompt, tokens, cache } = question;
    match dialect {
        Dialect::MiniVault => {
            let greedy = json!({"temperature": 0, "top_k": 0, "top_p": 1, "min_p": 0, "repetition_penalty": 1});
            ("stream-generate", with(greedy, json!({"prompt": prompt, "max_tokens": tokens})))
        }
        Dialect::Llama => {
            // The one sampler that looks at the logits once only.
            let greedy = json!({"samplers": ["top_k"], "top_k": 1, "ignore_eos": true});
            ("completion", with(greedy, json!({"prompt": prompt, "n_predict": tokens, "stream": true, "cache_prompt": cache})))
        }
        Dialect::Original => ("stream-generate", json!({"prompt": prompt, "max_tokens": tokens})),
    }
}

fn with(mut one: Value, other: Value) -> Value {
    if let (Value::Object(one), Value::Object(other)) = (&mut one, other) {
        one.extend(other);
    }
    one
}

/// Adds an event to the answer; whether it brought text.
fn read(dialect: Dialect, event: &str, answer: &mut Answer) -> Result<bool> {
    let data = event.lines().find_map(|line| line.strip_prefix("data: "));
    if dialect == Dialect::Original {
        return Ok(data.is_some());
    }
    let Some(data) = data else { return Ok(false) };
    let data: Value = serde_json::from_str(data).with_context(|| format!("an event says {data}"))?;
    let count = |path: &str| data.pointer(path).and_then(Value::as_u64).map(|count| count as usize);
    let (text, last) = match dialect {
        Dialect::MiniVault => (&data["token"], event.starts_with("event: done")),
        _ => (&data["content"], data["stop"] == true),
    };
    if event.starts_with("event: error") || data.get("error").is_some() {
        bail!("the stream ends with {data}");
    }
    if last {
        answer.tokens = count("/usage/completion_tokens").or(count("/tokens_predicted")).unwrap_or_default();
        answer.prompt_tokens = count("/usage/prompt_tokens").or(count("/tokens_evaluated")).unwrap_or_default();
        answer.cached_tokens = count("/usage/cached_tokens").or(count("/timings/cache_n"));
    }
    let text = text.as_str().unwrap_or_default();
    answer.text.push_str(text);
    Ok(!text.is_empty())
}

/// A span of time as rows have it.
pub fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
