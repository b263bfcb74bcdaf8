//! `/completion`: prompts in, their continuations out, in the dialect of llama.cpp's server.

use std::time::Instant;

use axum::Json;
use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use minivault_engines::generation::Finish;
use minivault_engines::{Alternative, GenerateRequest, MaxTokens, RequestOptions, Sampling, Token, ToolChoice};
use minivault_wire::events::StreamEvent;
use minivault_wire::llama_server::{CompletionAnswer, CompletionAnswers, CompletionBody, CompletionPiece, TokenProbability};
use serde_json::Value;

use super::{Stopwatch, prompts, verbose};
use crate::error::ApiError;
use crate::interaction::{Answer, Interaction, Next, Piece, Question};
use crate::openapi::Asking;
use crate::routes::openai::{Form, LeftAside, NEVER, OpenAiBody};
use crate::routes::{App, checked};

/// What is wanted of the answers.
struct Wanted {
    probabilities: Option<Probabilities>,
    tokens: bool,
    timings: bool,
    progress: bool,
    /// Told with each answer.
    settings: Value,
}

/// Of what the probabilities are.
#[derive(Clone, Copy)]
enum Probabilities {
    /// The model's own, as logarithms.
    Model,
    /// Those of the draw.
    Draw,
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
    seen: Seen,
}

/// What is noticed of an answer while it comes.
struct Seen {
    stopwatch: Stopwatch,
    new_line: bool,
}

impl Seen {
    fn watch(&mut self, next: &Next) {
        self.stopwatch.watch(next);
        if let Next::Text(piece) = next {
            self.new_line |= piece.text.contains('\n');
        }
    }
}

impl Teller {
    fn new(index: usize, interaction: Interaction, started: Instant) -> Self {
        Self { index, interaction, seen: Seen { stopwatch: Stopwatch::new(started), new_line: false } }
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
        answer.completion_probabilities = wanted.probabilities.map(|of| probabilities(&piece.tokens, of));
        if wanted.tokens {
            answer.tokens = piece.tokens.iter().map(|token| token.id).collect();
        }
        answer.content = piece.text;
        Ok(answer)
    }

    fn piece(&self, Piece { text, tokens, .. }: Piece, wanted: &Wanted) -> CompletionPiece {
        let ids = tokens.iter().map(|token| token.id).collect();
        let completion_probabilities = wanted.probabilities.map(|of| probabilities(&tokens, of));
        let timings = wanted.timings.then(|| self.seen.stopwatch.timings());
        CompletionPiece {
            index: self.index,
            content: text,
            tokens: ids,
            stop: false,
            completion_probabilities,
            timings,
            prompt_progress: None,
        }
    }

    /// How far the prompt has been read.
    fn progress(&self, wanted: &Wanted) -> CompletionPiece {
        let prompt_progress = Some(self.seen.stopwatch.progress());
        CompletionPiece { prompt_progress, completion_probabilities: None, ..self.piece(Piece::default(), wanted) }
    }

    fn end(&self, finish: Finish, wanted: &Wanted) -> CompletionAnswer {
        let Seen { stopwatch, new_line } = &self.seen;
        verbose::answer(self.index, &self.interaction, finish, &wanted.settings, *new_line, stopwatch.timings())
    }
}

/// One answer after the other.
fn events(tellers: Vec<Teller>, wanted: Wanted) -> Response {
    let stream = async_stream::stream! {
        for mut teller in tellers {
            loop {
                match teller.next().await {
                    Ok(Next::Text(piece)) => yield Event::default().json_data(teller.piece(piece, &wanted)),
                    Ok(Next::Reading(_)) if wanted.progress => yield Event::default().json_data(teller.progress(&wanted)),
                    Ok(Next::Reading(_) | Next::ToolCall(_)) => {}
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
        None => MaxTokens::AtMost(app.configured.generation.max_tokens),
        // Any number below 0 is none.
        Some(Err(_)) => MaxTokens::Remaining,
        Some(Ok(wanted)) => MaxTokens::Exactly(wanted),
    };
    let engine = app.engines.find(body.model.as_deref()).await?;
    let (prompts, several) = prompts::of_body(app, &*engine, body.prompt).await?;
    let defaults = &app.configured.generation;
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
    let settings = verbose::settings(&sampling, max_tokens);
    let (timings, progress) = (body.timings_per_token.unwrap_or(false), body.return_progress.unwrap_or(false));
    let options = RequestOptions {
        ignore_eos: body.ignore_eos.unwrap_or(defaults.ignore_eos),
        logprobs_of_draw: body.post_sampling_probs.unwrap_or(false),
        without_cache: body.cache_prompt == Some(false),
        progress: timings || progress,
        continue_final_message: false,
    };
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
        options,
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
    let of = if options.logprobs_of_draw { Probabilities::Draw } else { Probabilities::Model };
    let probabilities = (n_probs > 0).then_some(of);
    let wanted = Wanted { probabilities, tokens: body.return_tokens.unwrap_or(false), timings, progress, settings };
    Ok((question, wanted, several))
}

fn probabilities(tokens: &[Token], of: Probabilities) -> Vec<TokenProbability> {
    let entry = |id, bytes: &[u8], logprob: f32, top: Vec<TokenProbability>| {
        let entry =
            TokenProbability { id, token: String::from_utf8_lossy(bytes).into_owned(), bytes: bytes.to_vec(), ..Default::default() };
        match of {
            Probabilities::Model => TokenProbability { logprob: Some(logprob.max(NEVER)), top_logprobs: top, ..entry },
            Probabilities::Draw => TokenProbability { prob: Some(logprob.exp()), top_probs: top, ..entry },
        }
    };
    // So unlikely that its probability is no number any more, a token can't be drawn.
    let is_possible = |alternative: &&Alternative| matches!(of, Probabilities::Model) || alternative.logprob.exp() > 0.0;
    let top = |alternative: &Alternative| entry(alternative.id, &alternative.bytes, alternative.logprob, Vec::new());
    let of_token = |token: &Token| {
        let top = token.top.iter().filter(is_possible).map(top).collect();
        entry(token.id, &token.bytes, token.logprob.unwrap_or(NEVER), top)
    };
    tokens.iter().map(of_token).collect()
}
