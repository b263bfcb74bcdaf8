//! Streamed answers: server-sent events, and what they mean on each endpoint.

use std::pin::Pin;

use futures_util::StreamExt;
use minivault_wire::chat::ChatChunk;
use minivault_wire::native::{Done, Piece};
use reqwest::{Body, Response};
use serde::de::DeserializeOwned;
use serde_json::Value;
use sse_stream::{Error as SseError, Sse, SseStream};

use crate::client::root_cause;
use crate::failure::Failure;

/// A response's events, as they come.
pub struct Events {
    events: Pin<Box<SseStream<Body>>>,
}

impl Events {
    /// Reads nothing yet. Dropped, it closes the connection, and the daemon stops computing.
    pub fn new(response: Response) -> Self {
        Self { events: Box::pin(SseStream::new(Body::from(response))) }
    }

    /// The next event's name and data. The end of the connection is an error: each endpoint marks its own end before.
    async fn next(&mut self) -> Result<(String, String), Failure> {
        loop {
            match self.events.next().await {
                Some(Ok(Sse { event, data: Some(data), .. })) => {
                    let event = event.unwrap_or_default();
                    if event == "error" {
                        return Err(Failure::Failed(error_message(&data).unwrap_or(data)));
                    }
                    return Ok((event, data));
                }
                Some(Ok(Sse { data: None, .. })) => {}
                Some(Err(SseError::Body(error))) => return Err(cut_off(&root_cause(&*error))),
                Some(Err(error)) => return Err(cut_off(&error.to_string())),
                None => return Err(cut_off("the connection ended before the answer did")),
            }
        }
    }
}

/// An event of `/stream-generate`, each with its data as it came.
pub enum GenerateEvent {
    /// More text.
    Piece { text: String, raw: String },
    /// The end.
    Done { done: Done, raw: String },
}

/// The events of `/stream-generate`.
pub struct GenerateStream {
    events: Events,
}

impl GenerateStream {
    /// Gives the events their meaning.
    pub fn new(events: Events) -> Self {
        Self { events }
    }

    /// The next event; nothing follows [`GenerateEvent::Done`].
    pub async fn next(&mut self) -> Result<GenerateEvent, Failure> {
        loop {
            let (event, raw) = self.events.next().await?;
            match event.as_str() {
                "" | "message" => return Ok(GenerateEvent::Piece { text: parse::<Piece>(&raw)?.token, raw }),
                "done" => return Ok(GenerateEvent::Done { done: parse(&raw)?, raw }),
                // A newer daemon may tell more than this client understands.
                _ => {}
            }
        }
    }
}

/// The chunks of `/v1/chat/completions`.
pub struct ChatStream {
    events: Events,
}

impl ChatStream {
    /// Gives the events their meaning.
    pub fn new(events: Events) -> Self {
        Self { events }
    }

    /// The next chunk; `None` after `[DONE]`.
    pub async fn next(&mut self) -> Result<Option<ChatChunk>, Failure> {
        let (_, raw) = self.events.next().await?;
        if raw == "[DONE]" {
            return Ok(None);
        }
        // OpenAI tells an error in the middle as one more unnamed event.
        if let Some(message) = error_message(&raw) {
            return Err(Failure::Failed(message));
        }
        parse(&raw).map(Some)
    }
}

/// The message of an error body; `None` if it is none.
pub fn error_message(body: &str) -> Option<String> {
    let body: Value = serde_json::from_str(body).ok()?;
    Some(body.pointer("/error/message")?.as_str()?.to_owned())
}

fn parse<T: DeserializeOwned>(raw: &str) -> Result<T, Failure> {
    serde_json::from_str(raw).map_err(|error| cut_off(&format!("an event makes no sense ({error}): {raw}")))
}

fn cut_off(cause: &str) -> Failure {
    Failure::Failed(format!("the answer was cut off: {cause}"))
}
