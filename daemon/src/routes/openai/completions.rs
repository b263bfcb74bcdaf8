//! `/v1/completions`: prompts in, their continuations out, whole or streamed.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use minivault_engines::{EngineInfo, GenerateRequest, MaxTokens, Prompt, RequestOptions, Token, ToolChoice};
use minivault_wire::completions::{CompletionAnswer, CompletionBody, CompletionChoice};
use minivault_wire::events::StreamEvent;
use minivault_wire::usage::OpenAiUsage;

use super::body::{LeftAside, OpenAiBody};
use super::choices::{self, Ends};
use super::format::Form;
use super::logprobs::{Offsets, mean};
use super::sampling::sampling_of;
use super::{for_the_log, now, prompts, told_of, usage};
use crate::error::ApiError;
use crate::interaction::{Answer, Interaction, Next, Piece, Question};
use crate::openapi::Asking;
use crate::routes::{App, checked};

/// Tokens of an answer to a request that names no `max_tokens`.
const DEFAULT_MAX_TOKENS: usize = 16;

/// What is wanted of the answers.
struct Wanted {
    /// How many are told of each prompt.
    n: usize,
    /// How many are generated.
    best_of: usize,
    /// Whether the prompts stand in front of them, and what those are.
    echo: Option<Vec<Prompt>>,
    /// Log probabilities, with so many alternatives.
    logprobs: Option<usize>,
    stream: bool,
    /// Whether a stream tells the usage.
    usage: bool,
}

/// What stands in front of an answer.
#[derive(Clone)]
struct Echo(Arc<str>, Arc<[Token]>);

/// Continues prompts, whole or streamed.
#[utoipa::path(
    post,
    path = "/v1/completions",
    tag = "openai",
    request_body = CompletionBody,
    responses(
        (
            status = 200,
            description = "The answer; in a stream the data are a CompletionAnswer each, and `[DONE]` last",
            content((CompletionAnswer = "application/json"), (StreamEvent = "text/event-stream"))
        ),
        Asking,
    )
)]
pub(in crate::routes) async fn complete(
    State(app): State<App>,
    OpenAiBody(body, left_aside): OpenAiBody<CompletionBody>,
) -> Result<Response, ApiError> {
    let (question, wanted) = question(&app, body, &left_aside)?;
    let mut interactions = Interaction::begin_all(&app, question).await?;
    // Before the first byte of a stream, so that an engine that can't score refuses with a status.
    let echoes = match echoes(&mut interactions, &wanted).await {
        Ok(echoes) => echoes,
        Err(error) => {
            Interaction::end_all(interactions, &error).await?;
            return Err(error);
        }
    };
    let response = if wanted.stream { events(interactions, echoes, wanted) } else { whole(interactions, echoes, wanted).await? };
    Ok(left_aside.told_in(response))
}

async fn whole(mut interactions: Vec<Interaction>, echoes: Vec<Option<Echo>>, wanted: Wanted) -> Result<Response, ApiError> {
    let answers = choices::collect(&mut interactions).await?;
    let (id, engine) = told_of(&interactions)?;
    let usage = usage::sum(answers.iter().map(|answer| answer.finish.usage), wanted.best_of);
    let mut choices = Vec::with_capacity(answers.len());
    let mut answers = answers.into_iter();
    for echo in echoes {
        let mut of_prompt: Vec<Answer> = answers.by_ref().take(wanted.best_of).collect();
        if wanted.best_of > wanted.n {
            of_prompt.sort_by(|one, other| mean(&other.piece.tokens).total_cmp(&mean(&one.piece.tokens)));
            of_prompt.truncate(wanted.n);
        }
        for Answer { mut piece, finish, .. } in of_prompt {
            piece.tokens.extend(finish.end);
            let mut teller = Teller::new(choices.len(), wanted.logprobs);
            let mut choice = teller.tell(piece, echo.as_ref());
            choice.finish_reason = Some(finish.reason.as_str().into());
            choices.push(choice);
        }
    }
    Ok(Json(Chunks { id, created: now(), engine }.answer(choices, Some(usage))).into_response())
}

/// What stands in front of the answers to each prompt.
async fn echoes(interactions: &mut [Interaction], wanted: &Wanted) -> Result<Vec<Option<Echo>>, ApiError> {
    let mut echoes = Vec::new();
    for (index, first) in interactions.chunks_mut(wanted.best_of).filter_map(<[_]>::first_mut).enumerate() {
        let prompt = wanted.echo.as_ref().and_then(|prompts| prompts.get(index));
        echoes.push(match (prompt, wanted.logprobs) {
            (None, _) => None,
            (Some(_), None) => Some(Echo(first.prompt.clone(), Arc::default())),
            (Some(prompt), Some(alternatives)) => {
                let tokens = first.score(prompt, alternatives).await?;
                Some(Echo(first.prompt.clone(), tokens.into()))
            }
        });
    }
    Ok(echoes)
}

/// Tells one choice, piece by piece. Its log probabilities end with the token that ended the text, as OpenAI's do: lm-evaluation-harness counts on
/// one more than it asked to score.
struct Teller {
    index: usize,
    logprobs: Option<usize>,
    offsets: Offsets,
}

impl Teller {
    fn new(index: usize, logprobs: Option<usize>) -> Self {
        Self { index, logprobs, offsets: Offsets::default() }
    }

    /// The next piece, with what stands in front of it.
    fn tell(&mut self, piece: Piece, echo: Option<&Echo>) -> CompletionChoice {
        let (mut text, mut tokens) = echo.map_or_else(Default::default, |Echo(text, tokens)| (text.to_string(), tokens.to_vec()));
        text.push_str(&piece.text);
        tokens.extend(piece.tokens);
        let logprobs = self.logprobs.map(|alternatives| self.offsets.next(&tokens, alternatives));
        CompletionChoice { index: self.index, text, logprobs, finish_reason: None }
    }
}

/// What the answer, or all chunks of a stream, have in common.
struct Chunks {
    id: String,
    created: i64,
    engine: Arc<EngineInfo>,
}

impl Chunks {
    fn answer(&self, choices: Vec<CompletionChoice>, usage: Option<OpenAiUsage>) -> CompletionAnswer {
        CompletionAnswer {
            id: self.id.clone(),
            object: "text_completion".into(),
            created: self.created,
            model: self.engine.name.clone(),
            choices,
            usage,
            system_fingerprint: self.engine.fingerprint.clone(),
        }
    }

    fn event(&self, choice: CompletionChoice) -> Result<Event, axum::Error> {
        Event::default().json_data(self.answer(vec![choice], None))
    }
}

#[allow(clippy::needless_pass_by_value)] // The stream keeps it.
fn events(interactions: Vec<Interaction>, echoes: Vec<Option<Echo>>, wanted: Wanted) -> Response {
    let answers = interactions.len();
    let stream = async_stream::stream! {
        let Ok((id, engine)) = told_of(&interactions) else { return };
        let chunks = Chunks { id, created: now(), engine };
        let mut tellers: Vec<Teller> = (0..answers).map(|index| Teller::new(index, wanted.logprobs)).collect();
        for (teller, echo) in tellers.iter_mut().enumerate().filter_map(|(index, teller)| Some((teller, echoes[index / wanted.n].as_ref()?))) {
            yield chunks.event(teller.tell(Piece::default(), Some(echo)));
        }
        let mut ends = Ends::new(answers);
        let mut events = choices::events(interactions);
        while let Some((index, next)) = events.next().await {
            match next {
                Ok(Next::Text(piece)) => yield chunks.event(tellers[index].tell(piece, None)),
                // Nobody asked how far the prompt is, and without tools there are no calls.
                Ok(Next::Reading(_) | Next::ToolCall(_)) => {}
                Ok(Next::Finished(finish)) => {
                    let tokens = finish.end.into_iter().collect();
                    let mut choice = tellers[index].tell(Piece { tokens, ..Piece::default() }, None);
                    choice.finish_reason = Some(finish.reason.as_str().to_owned());
                    yield chunks.event(choice);
                    if let Some(usages) = ends.note(index, finish.usage).filter(|_| wanted.usage) {
                        let usage = usage::sum(usages, wanted.n);
                        yield Event::default().json_data(chunks.answer(Vec::new(), Some(usage)));
                    }
                }
                Err(error) => {
                    yield Event::default().json_data(error.body());
                    return;
                }
            }
        }
        yield Ok(Event::default().data("[DONE]"));
    };
    Sse::new(stream).keep_alive(KeepAlive::default()).into_response()
}

fn question(app: &App, body: CompletionBody, left_aside: &LeftAside) -> Result<(Question, Wanted), ApiError> {
    let prompts = prompts::of_body(app, body.prompt)?;
    let echo = body.echo.unwrap_or(false);
    let stream = body.stream.unwrap_or(false);
    let n = prompts::answers("n", body.n, prompts.len())?;
    // Some clients send 0 for none.
    let best_of = prompts::answers("best_of", body.best_of.filter(|&best_of| best_of > 0).or(Some(n)), prompts.len())?;
    if best_of < n || (stream && best_of > n) {
        let but = if stream { "equal it in a stream" } else { "be at least as many" };
        return Err(ApiError::invalid(Some("best_of"), format!("best_of is {best_of} and n is {n}; best_of must {but}")));
    }
    let form = Form { response_format: body.response_format, grammar: body.grammar, regex: body.regex, json_schema: body.json_schema };
    let sampling = sampling_of!(body)?;
    let stop: Vec<String> = body.stop.map(Into::into).unwrap_or_default();
    let constraint = form.constraint()?;
    let request = |prompt: &Prompt| GenerateRequest {
        prompt: prompt.clone(),
        max_tokens: body.max_tokens.map_or(MaxTokens::AtMost(DEFAULT_MAX_TOKENS), MaxTokens::Exactly),
        sampling: sampling.clone(),
        stop: stop.clone(),
        // The best are found by them.
        logprobs: body.logprobs.or((best_of > n).then_some(0)),
        constraint: constraint.clone(),
        tool_choice: ToolChoice::None,
        deterministic: body.deterministic.unwrap_or(false),
        parallel_tool_calls: true,
        client: None,
        options: RequestOptions { ignore_eos: body.ignore_eos.unwrap_or(false), ..RequestOptions::default() },
    };
    let mut form = for_the_log(body.stream, body.user, body.metadata, left_aside);
    form.insert("echo".into(), echo.into());
    let question = Question {
        id: format!("cmpl-{}", uuid::Uuid::now_v7().simple()),
        endpoint: "/v1/completions",
        model: body.model,
        requests: prompts.iter().map(|prompt| checked(request(prompt))).collect::<Result<_, _>>()?,
        choices: best_of,
        replay_of: None,
        form,
    };
    let usage = body.stream_options.is_some_and(|options| options.include_usage);
    Ok((question, Wanted { n, best_of, echo: echo.then_some(prompts), logprobs: body.logprobs, stream, usage }))
}
