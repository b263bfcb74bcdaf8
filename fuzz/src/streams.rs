//! Server-sent events: what the daemon writes, the client and the backend `openai` read, wherever the bytes are cut.

use std::convert::Infallible;

use axum::body::Body;
use axum::http::Response;
use axum::response::IntoResponse;
use axum::response::sse::{Event, Sse};
use futures_util::{FutureExt, StreamExt};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Bytes, Frame};
use minivault_engines::remote::read_events;
use serde_json::json;
use sse_stream::SseStream;

use super::input::Input;

const WORDS: [&str; 8] = ["\n", "\r", "\r\n", ": ", "data: ", "event: ", "🥊", "\u{2028}"];

/// Either texts that are told and read, or bytes that nobody would tell.
pub fn check(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    if input.below(3) == 0 {
        return read_alike(&mut input);
    }
    let told: Vec<(&str, String)> = (0..input.below(8)).map(|_| (input.pick(&["", "done", "error"]), input.text(&WORDS))).collect();
    let stream = encoded(&told);
    let pieces = input.pieces(&stream);
    let expected: Vec<(String, String)> =
        told.iter().map(|(name, text)| ((*name).to_owned(), json!({"token": text}).to_string())).collect();
    assert_eq!(read_events(pieces.iter().copied()), Ok(expected.clone()), "{pieces:?}");
    assert_eq!(read_by_the_client(&pieces), expected, "{pieces:?}");
}

/// Whatever the bytes are, where they are cut makes no difference.
fn read_alike(input: &mut Input<'_>) {
    let count = input.below(200);
    let stream: Vec<u8> = if input.below(2) == 0 {
        input.take(count).to_vec()
    } else {
        (0..input.below(9)).flat_map(|_| input.text(&WORDS).into_bytes()).collect()
    };
    let pieces = input.pieces(&stream);
    assert_eq!(read_events(pieces.iter().copied()).ok(), read_events([&stream[..]]).ok(), "{pieces:?}");
}

/// The bytes of a stream as the routes write them.
fn encoded(told: &[(&str, String)]) -> Bytes {
    let event = |(name, text): &(&str, String)| {
        let event = if name.is_empty() { Event::default() } else { Event::default().event(name) };
        event.json_data(json!({"token": text}))
    };
    let events: Vec<Result<Event, axum::Error>> = told.iter().map(event).collect();
    let response: Response<Body> = Sse::new(futures_util::stream::iter(events)).into_response();
    let body = response.into_body().collect().now_or_never().expect("all of it is there");
    body.expect("nothing breaks").to_bytes()
}

fn read_by_the_client(pieces: &[&[u8]]) -> Vec<(String, String)> {
    let frames: Vec<_> = pieces.iter().map(|piece| Ok::<_, Infallible>(Frame::data(Bytes::copy_from_slice(piece)))).collect();
    let events = SseStream::new(StreamBody::new(futures_util::stream::iter(frames)));
    let events = events.map(|event| event.map(|event| (event.event.unwrap_or_default(), event.data.unwrap_or_default())));
    let events = events.collect::<Vec<_>>().now_or_never().expect("all of it is there");
    events.into_iter().collect::<Result<_, _>>().expect("what the daemon writes makes sense")
}

/// A stream as it should be, and one that ends its lines in three ways.
pub fn seeds() -> Vec<Vec<u8>> {
    vec![b"\0\x80\0data: a\n\nevent: done\r\ndata: {}\r\rdata: b\ndata: c\n\n".to_vec()]
}
