//! `/interactions`: the log, searched, verified, and run again.

use std::io;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderName, Uri, header};
use axum::response::{IntoResponse, Response};
use minivault_journal::Outcome;
use minivault_journal::reading::{Filter, LogReader, Page, PageLimits, TextPattern};
use minivault_wire::interactions::{NEXT, ReplayAnswer, ReplayBody};

use super::App;
use crate::body::JsonBody;
use crate::error::ApiError;
use crate::nearest::nearest;
use crate::openapi::{AnyTime, Asking, Logged};
use crate::replay::Recorded;

/// Lines of a page that says nothing of its length, and the most that it may ask for.
const PAGE: usize = 100;
const LONGEST_PAGE: usize = 1000;
/// How long counting may take before what has been counted is told.
const COUNTING: Duration = Duration::from_secs(5);
/// What a query may say.
const PARAMETERS: [&str; 10] = ["limit", "before", "after", "grep", "regex", "since", "until", "model", "status", "finish_reason"];

/// Interactions as they stand in the log, the newest first, one JSON object a line.
///
/// Where there may be more, the header `x-minivault-next` says what to ask as `before` for the next page; a search that takes long has pages
/// without lines.
#[utoipa::path(
    get,
    path = "/interactions",
    tag = "interactions",
    params(
        ("limit" = Option<usize>, Query, description = "Lines of a page, 1 to 1000; 100 if left out"),
        ("before" = Option<i64>, Query, description = "Only lines with a smaller `seq`, or before the place that `x-minivault-next` told"),
        ("after" = Option<i64>, Query, description = "Only lines with a greater `seq`"),
        ("grep" = Option<String>, Query, description = "Text that stands in the prompt or the answer"),
        ("regex" = Option<bool>, Query, description = "Whether `grep` is a regular expression"),
        ("since" = Option<String>, Query, description = "Only requests that arrived then or later, as 2026-11-25T10:15:00Z"),
        ("until" = Option<String>, Query, description = "Only requests that arrived before"),
        ("model" = Option<String>, Query, description = "Only this engine's"),
        ("status" = Option<u16>, Query, description = "Only of this HTTP status"),
        ("finish_reason" = Option<String>, Query, description = "Only those that ended so"),
    ),
    responses((status = 200, description = "The lines", content((Object = "application/x-ndjson"))), Logged, AnyTime)
)]
pub(super) async fn list(State(app): State<App>, uri: Uri) -> Result<Response, ApiError> {
    let Asked { filter, limit } = Asked::of(uri.query())?;
    let limits = PageLimits { lines: limit, ..PageLimits::default() };
    let Page { lines, next } = read(&app, move |log, _| log.page(&filter, limits)).await?;
    let mut body = Vec::with_capacity(lines.iter().map(|line| line.len() + 1).sum());
    for line in lines {
        body.extend(line);
        body.push(b'\n');
    }
    let mut response = ([(header::CONTENT_TYPE, "application/x-ndjson")], body).into_response();
    if let Some(next) = next {
        response.headers_mut().insert(HeaderName::from_static(NEXT), next.into());
    }
    Ok(response)
}

/// One interaction as it stands in the log.
#[utoipa::path(
    get,
    path = "/interactions/{id}",
    tag = "interactions",
    params(("id" = String, Path, description = "The interaction's name, which its answer told")),
    responses((status = 200, description = "The line", body = Object), Logged, AnyTime)
)]
pub(super) async fn show(State(app): State<App>, Path(id): Path<String>) -> Result<Response, ApiError> {
    let line = find(&app, id).await?;
    Ok(([(header::CONTENT_TYPE, "application/json")], line).into_response())
}

/// Requests, tokens and times by model and day. Takes the parameters of `/interactions`.
///
/// A long log is counted in parts: `next` says what to ask as `before` for the part before this one.
#[utoipa::path(
    get,
    path = "/interactions/stats",
    tag = "interactions",
    responses((status = 200, description = "The numbers", body = Object), Logged, AnyTime)
)]
pub(super) async fn stats(State(app): State<App>, uri: Uri) -> Result<Response, ApiError> {
    let Asked { filter, .. } = Asked::of(uri.query())?;
    let deadline = Instant::now() + COUNTING;
    let stats = read(&app, move |log, wanted| log.stats(&filter, || wanted() && Instant::now() < deadline)).await?;
    Ok(Json(stats).into_response())
}

/// Whether the log is whole: its chain, its numbers, its lines. `fault` is the first thing that is wrong.
#[utoipa::path(
    get,
    path = "/interactions/verify",
    tag = "interactions",
    responses((status = 200, description = "What was found", body = Object), Logged, AnyTime)
)]
pub(super) async fn verify(State(app): State<App>) -> Result<Response, ApiError> {
    Ok(Json(read(&app, |log, wanted| log.verify(wanted)).await?).into_response())
}

/// Runs an interaction again and compares both answers.
///
/// The same request, with the seed that was in force, is asked of the engine that answered or of another one. The new answer is logged with
/// `replay_of`.
#[utoipa::path(
    post,
    path = "/interactions/{id}/replay",
    tag = "interactions",
    params(("id" = String, Path, description = "The interaction's name")),
    request_body = ReplayBody,
    responses((status = 200, description = "What came of it", body = ReplayAnswer), Logged, Asking)
)]
pub(super) async fn replay(
    State(app): State<App>,
    Path(id): Path<String>,
    JsonBody(body): JsonBody<ReplayBody>,
) -> Result<Json<ReplayAnswer>, ApiError> {
    let line = find(&app, id.clone()).await?;
    Ok(Json(Recorded::of(&id, &line)?.replay(&app, body.engine).await?))
}

async fn find(app: &App, id: String) -> Result<Vec<u8>, ApiError> {
    let name = id.clone();
    let line = read(app, move |log, wanted| log.find(&name, wanted)).await?;
    line.ok_or_else(|| ApiError::unknown_interaction(&id))
}

/// Reads the log on a thread that may block, few at once. The work can ask whether whoever asked is still there.
async fn read<T: Send + 'static>(
    app: &App,
    work: impl FnOnce(&LogReader, &dyn Fn() -> bool) -> io::Result<T> + Send + 'static,
) -> Result<T, ApiError> {
    /// Whoever asked; told when that is dropped.
    struct Asking(Arc<AtomicBool>);
    impl Drop for Asking {
        fn drop(&mut self) {
            self.0.store(false, Ordering::Relaxed);
        }
    }
    let permit = app.readers.clone().acquire_owned().await.map_err(|_| ApiError::internal())?;
    let log = LogReader::new(app.journal.path());
    let asking = Asking(Arc::new(AtomicBool::new(true)));
    let wanted = asking.0.clone();
    let reading = tokio::task::spawn_blocking(move || {
        let _permit = permit;
        work(&log, &|| wanted.load(Ordering::Relaxed))
    });
    reading.await.map_err(|_| ApiError::internal())?.map_err(|cause| {
        tracing::error!(%cause, "the log can't be read");
        ApiError::log_unreadable(&cause)
    })
}

/// What a query asks for.
struct Asked {
    filter: Filter,
    limit: usize,
}

impl Asked {
    fn of(query: Option<&str>) -> Result<Self, ApiError> {
        let mut asked = Self { filter: Filter::default(), limit: PAGE };
        let (mut text, mut is_expression) = (None, false);
        for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            let filter = &mut asked.filter;
            match &*name {
                "limit" => asked.limit = number(&name, &value)?,
                "before" => filter.before = Some(number(&name, &value)?),
                "after" => filter.after = Some(number::<i64>(&name, &value)?.max(0).unsigned_abs()),
                "grep" => text = Some(value.into_owned()),
                "regex" => is_expression = parsed(&name, &value, "true or false")?,
                "since" => filter.since = Some(parsed(&name, &value, "a time as 2026-11-25T10:15:00Z")?),
                "until" => filter.until = Some(parsed(&name, &value, "a time as 2026-11-25T10:15:00Z")?),
                "model" => filter.model = Some(value.into_owned()),
                "status" => filter.status = Some(number(&name, &value)?),
                "finish_reason" => filter.finish_reason = Some(outcome(&value)?),
                unknown => {
                    let hint = nearest(unknown, PARAMETERS).map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
                    let known = PARAMETERS.join(", ");
                    return Err(ApiError::invalid(Some(unknown), format!("unknown parameter `{unknown}`{hint} There are {known}")));
                }
            }
        }
        if !(1..=LONGEST_PAGE).contains(&asked.limit) {
            let message = format!("limit is {}; it must be between 1 and {LONGEST_PAGE}", asked.limit);
            return Err(ApiError::invalid(Some("limit"), message));
        }
        asked.filter.text = match text {
            Some(text) if is_expression => {
                Some(TextPattern::expression(&text).map_err(|cause| ApiError::invalid(Some("grep"), cause.to_string()))?)
            }
            text => text.map(|text| TextPattern::literal(&text)),
        };
        Ok(asked)
    }
}

fn number<T: FromStr>(name: &str, value: &str) -> Result<T, ApiError> {
    parsed(name, value, "a whole number")
}

fn parsed<T: FromStr>(name: &str, value: &str, expected: &str) -> Result<T, ApiError> {
    value.parse().map_err(|_| ApiError::invalid(Some(name), format!("{name} is `{value}`; it must be {expected}")))
}

fn outcome(value: &str) -> Result<Outcome, ApiError> {
    serde_json::from_value(value.into()).map_err(|_| {
        let message = format!("finish_reason is `{value}`; it must be stop, length, tool_calls, cancelled or error");
        ApiError::invalid(Some("finish_reason"), message)
    })
}
