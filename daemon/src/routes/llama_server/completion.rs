//! `/completion`: prompts in, their continuations out, in the dialect of llama.cpp's server.

use std::time::Instant;

use axum::Json;
use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use minivault_engines::generation::Finish;
use minivault_engines::{Alternative, FinishReason, GenerateRequest, MaxTokens, Sampling, Token, ToolChoice};
use minivault_wire::events::StreamEvent;
use minivault_wire::llama_server::{CompletionAnswer, CompletionAnswers, CompletionBody, CompletionPiece, Timings, TokenProbability};
use serde_json::{Value, json};

use super::prompts;
use crate::error::ApiError;
use crate::interaction::{Answer, Interaction, Next, Piece, Question};
use crate::openapi::Asking;
use crate::routes::openai::{Form, LeftAside, NEVER, OpenAiBody};
use crate::routes::{App, checked};

/// What is wanted of the answers.
struct Wanted {
    probabilities: bool,
    tokens: bool,
    /// Told with each answer.
    settings: Value,
}

/// Continues prompts in the dialect of llama.cpp's server, whole or streamed.
#[utoipa::path(
    post,
    path = "/completion",
    tag = "llama-server",
    request_body = CompletionBody,
    responses(
        (
            status = 200,
            description = "The answer, or a list of them to a list of prompts; in a stream the data are a LlamaCompletionPiece each, and the answer last",
            content((CompletionAnswers = "application/json"), (StreamEvent = "text/event-stream"))
        ),
        Asking,
    )
)]
pub(in crate::routes) async fn complete(
    State(app): State<App>,
    OpenAiBody(body, left_aside): OpenAiBody<CompletionBody>,
) -> Result<Response, ApiError> {
    let started = Instant::now();
    let stream = body.stream.unwrap_or(false);
    let (question, wanted, several) = question(&app, body, &left_aside).await?;
    let interactions = Interaction::begin_all(&app, question).await.map_err(ApiError::as_llama_server)?;
    let tellers = interactions.into_iter().enumerate().map(|(index, interaction)| Teller::new(index, interaction, started));
    let mut tellers: Vec<Teller> = tellers.collect();
    if stream {
        return Ok(left_aside.told_in(events(tellers, wanted)));
    }
    let mut answers = Vec::with_capacity(tellers.len());
    for teller in &mut tellers {
        answers.push(teller.whole(&wanted).await?);
    }
    let answers = match answers.pop() {
        Some(only) if !several => CompletionAnswers::One(Box::new(only)),
        last => {
            answers.extend(last);
            CompletionAnswers::Several(answers)
        }
    };
    Ok(left_aside.told_in(Json(answers).into_response()))
}

/// Tells one answer.
struct Teller {
    index: usize,
    interaction: Interaction,
    started: Instant,
    seen: Seen,
}

/// What is noticed of an answer while it comes.
#[derive(Default)]
struct Seen {
    first_token: Option<Instant>,
    new_line: bool,
}

impl Seen {
    fn watch(&mut self, next: &Next) {
        if let Next::Text(piece) = next {
            self.first_token.get_or_insert_with(Instant::now);
            self.new_line |= piece.text.contains('\n');
        }
    }
}

impl Teller {
    fn new(index: usize, interaction: Interaction, started: Instant) -> Self {
        Self { index, interaction, started, seen: Seen::default() }
    }

    async fn next(&mut self) -> Result<Next, ApiError> {
        let next = self.interaction.next().await?;
        self.seen.watch(&next);
        Ok(next)
    }

    async fn whole(&mut self, wanted: &Wanted) -> Result<CompletionAnswer, ApiError> {
        let Self { interaction, seen, .. } = self;
        let Answer { piece, finish, .. } = interaction.collect_watched(|next| seen.watch(next)).await?;
        let mut answer = self.end(finish, wanted);
        answer.completion_probabilities = wanted.probabilities.then(|| probabilities(&piece.tokens));
        if wanted.tokens {
            answer.tokens = piece.tokens.iter().map(|token| token.id).collect();
        }
        answer.content = piece.text;
        Ok(answer)
    }

    fn piece(&self, Piece { text, tokens }: Piece, wanted: &Wanted) -> CompletionPiece {
        let ids = tokens.iter().map(|token| token.id).collect();
        let completion_probabilities = wanted.probabilities.then(|| probabilities(&tokens));
        CompletionPiece { index: self.index, content: text, tokens: ids, stop: false, completion_probabilities }
    }

    fn end(&self, Finish { reason, usage, .. }: Finish, wanted: &Wanted) -> CompletionAnswer {
        let (stop_type, stopping_word) = match reason {
            FinishReason::EndOfText | FinishReason::ToolCalls => ("eos", String::new()),
            FinishReason::StopString(stop) => ("word", stop),
            FinishReason::Length | FinishReason::Timeout => ("limit", String::new()),
        };
        let (first, now) = (self.seen.first_token.unwrap_or(self.started), Instant::now());
        let milliseconds = |from: Instant, to: Instant| to.duration_since(from).as_secs_f64() * 1000.0;
        let mut settings = wanted.settings.clone();
        settings["seed"] = self.interaction.seed.into();
        CompletionAnswer {
            index: self.index,
            content: String::new(),
            tokens: Vec::new(),
            stop: true,
            model: self.interaction.engine.name.clone(),
            tokens_predicted: usage.completion_tokens,
            tokens_evaluated: usage.prompt_tokens,
            tokens_cached: usage.cached_tokens,
            generation_settings: settings,
            prompt: self.interaction.prompt.to_string(),
            has_new_line: self.seen.new_line,
            truncated: false,
            stop_type: stop_type.into(),
            stopping_word,
            timings: Timings {
                cache_n: usage.cached_tokens,
                prompt_n: usage.prompt_tokens.saturating_sub(usage.cached_tokens),
                prompt_ms: milliseconds(self.started, first),
                predicted_n: usage.completion_tokens,
                predicted_ms: milliseconds(first, now),
            },
            completion_probabilities: None,
        }
    }
}

/// One answer after the other.
fn events(tellers: Vec<Teller>, wanted: Wanted) -> Response {
    let stream = async_stream::stream! {
        for mut teller in tellers {
            loop {
                match teller.next().await {
                    Ok(Next::Text(piece)) => yield Event::default().json_data(teller.piece(piece, &wanted)),
                    Ok(Next::ToolCall(_)) => {}
                    Ok(Next::Finished(finish)) => {
                        yield Event::default().json_data(teller.end(finish, &wanted));
                        break;
                    }
                    Err(error) => {
                        yield Event::default().json_data(error.body());
                        return;
                    }
                }
            }
        }
    };
    Sse::new(stream).keep_alive(KeepAlive::default()).into_response()
}

async fn question(app: &App, body: CompletionBody, left_aside: &LeftAside) -> Result<(Question, Wanted, bool), ApiError> {
    let max_tokens = match body.n_predict.map(usize::try_from) {
        None => MaxTokens::AtMost(app.generation.max_tokens),
        // Any number below 0 is none.
        Some(Err(_)) => MaxTokens::Remaining,
        Some(Ok(wanted)) => MaxTokens::Exactly(wanted),
    };
    let engine = app.engines.find(body.model.as_deref()).await?;
    let (prompts, several) = prompts::of_body(app, &*engine, body.prompt).await?;
    let defaults = &app.generation;
    let sampling = Sampling {
        temperature: body.temperature.unwrap_or(defaults.temperature),
        top_k: body.top_k.unwrap_or(defaults.top_k),
        top_p: body.top_p.unwrap_or(defaults.top_p),
        min_p: body.min_p.unwrap_or(defaults.min_p),
        repetition_penalty: body.repeat_penalty.unwrap_or(defaults.repetition_penalty),
        presence_penalty: body.presence_penalty.unwrap_or_default(),
        frequency_penalty: body.frequency_penalty.unwrap_or_default(),
        logit_bias: match body.logit_bias {
            Some(biases) => prompts::biases(app, &*engine, biases).await?,
            None => Vec::new(),
        },
        seed: body.seed.filter(|&seed| seed != -1).map(i64::cast_unsigned),
    };
    let settings = json!({
        "n_predict": body.n_predict.unwrap_or(app.generation.max_tokens as i64), "temperature": sampling.temperature, "top_k": sampling.top_k, "top_p": sampling.top_p,
        "min_p": sampling.min_p, "repeat_penalty": sampling.repetition_penalty, "presence_penalty": sampling.presence_penalty,
        "frequency_penalty": sampling.frequency_penalty,
    });
    let form = Form { response_format: None, grammar: body.grammar, regex: None, json_schema: body.json_schema };
    let (stop, constraint) = (body.stop.map(Vec::from).unwrap_or_default(), form.constraint()?);
    let n_probs = body.n_probs.unwrap_or(0);
    let request = |prompt| GenerateRequest {
        prompt,
        max_tokens,
        sampling: sampling.clone(),
        stop: stop.clone(),
        // Always told with their tokens, which this dialect wants to see.
        logprobs: Some(n_probs),
        constraint: constraint.clone(),
        tool_choice: ToolChoice::None,
        deterministic: body.deterministic.unwrap_or(false),
        parallel_tool_calls: true,
        client: None,
    };
    let question = Question {
        id: format!("cmpl-{}", uuid::Uuid::now_v7().simple()),
        endpoint: "/completion",
        model: body.model,
        requests: prompts.into_iter().map(|prompt| checked(request(prompt))).collect::<Result<_, _>>()?,
        choices: 1,
        replay_of: None,
        form: left_aside.fields().chain([("stream".to_owned(), body.stream.unwrap_or(false).into())]).collect(),
    };
    let wanted = Wanted { probabilities: n_probs > 0, tokens: body.return_tokens.unwrap_or(false), settings };
    Ok((question, wanted, several))
}

fn probabilities(tokens: &[Token]) -> Vec<TokenProbability> {
    let entry = |id, bytes: &[u8], logprob: f32, top_logprobs| TokenProbability {
        id,
        token: String::from_utf8_lossy(bytes).into_owned(),
        bytes: bytes.to_vec(),
        logprob: logprob.max(NEVER),
        top_logprobs,
    };
    let top = |alternative: &Alternative| entry(alternative.id, &alternative.bytes, alternative.logprob, Vec::new());
    let of_token = |token: &Token| {
        let top_logprobs = token.top.iter().map(top).collect();
        entry(token.id, &token.bytes, token.logprob.unwrap_or(NEVER), top_logprobs)
    };
    tokens.iter().map(of_token).collect()
}
