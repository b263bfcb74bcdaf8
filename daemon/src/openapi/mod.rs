//! `/openapi.json`: what each route says of itself, put together.
//!
//! A route's own part stands beside it (`#[utoipa::path]`), its bodies in `minivault-wire`. Here is what they share: the frame, and what
//! a request may be refused with ([`refusals`] has the cases, [`shared`] says each of them once).

mod refusals;
mod shared;

use std::collections::BTreeMap;
use std::sync::LazyLock;

use axum::http::header;
use axum::response::{IntoResponse, Response};
use minivault_wire::chat::ChatChunk;
use minivault_wire::error::ErrorBody;
use minivault_wire::llama_server::CompletionPiece;
use minivault_wire::native::{Done, Piece};
use utoipa::openapi::RefOr;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{IntoResponses, OpenApi};

use crate::door::OPEN;
use crate::routes;
use refusals::{
    AT_THE_DOOR, FAILED, FORBIDDEN, MISCONFIGURED, UNANSWERED, UNKNOWN, UNLOGGED, UNOPENED, UNREADABLE, UNREADABLE_QUERY, WITH_KEYS, add,
    responses,
};

/// The document; it never changes while the daemon runs.
static DOCUMENT: LazyLock<String> = LazyLock::new(|| {
    let mut document = routes::documented().into_openapi();
    let paths = &mut document.paths.paths;
    for (path, same) in routes::SAME {
        if let Some(item) = paths.get(path).cloned() {
            paths.insert(same.to_owned(), item);
        }
    }
    for (path, item) in paths.iter_mut() {
        for operation in [&mut item.get, &mut item.post].into_iter().flatten() {
            // They would be the functions' names, which are no one's own.
            operation.operation_id = None;
            AT_THE_DOOR.iter().for_each(|refusal| add(&mut operation.responses, refusal));
            if OPEN.contains(&path.as_str()) {
                operation.security = Some(Vec::new());
            } else {
                WITH_KEYS.iter().for_each(|refusal| add(&mut operation.responses, refusal));
            }
        }
    }
    shared::share(&mut document);
    let key = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some("Where the daemon's configuration has keys; `x-api-key: KEY` does as well"))
        .build();
    document.components.get_or_insert_default().add_security_scheme("key", SecurityScheme::Http(key));
    // What is derived from types and constants always is JSON.
    document.to_json().unwrap_or_default()
});

/// The frame that the routes are put into.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "MiniVault",
        description = "Local text generation. Every interaction is kept in the log, and the same request with the same seed gives the same answer.",
        license(name = "MIT OR Apache-2.0"),
    ),
    tags(
        (name = "native", description = "Text from a prompt, whole or streamed"),
        (name = "openai", description = "What clients of OpenAI's API ask"),
        (name = "llama-server", description = "What clients of llama.cpp's server ask"),
        (name = "interactions", description = "The log: searched, verified, run again"),
        (name = "status", description = "The daemon and its engines"),
    ),
    // Without one, too: whether keys are needed is the configuration's to say.
    security((), ("key" = [])),
    // Those that no route names are what events carry.
    components(schemas(ErrorBody, Piece, Done, ChatChunk, CompletionPiece)),
)]
pub struct Frame;

/// This document.
#[utoipa::path(get, path = "/openapi.json", tag = "status", responses((status = 200, description = "OpenAPI 3.1", body = Object), AnyTime))]
pub(crate) async fn document() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], DOCUMENT.as_str()).into_response()
}

/// What any route may answer instead: the daemon failed.
pub(crate) enum AnyTime {}

/// What a request for one of several things may be refused with: there is none of that name.
pub(crate) enum Found {}

/// What a question about the log may be refused with.
pub(crate) enum Logged {}

/// What a question about an engine may be refused with: it isn't there yet.
pub(crate) enum Opening {}

/// What reading the configuration anew may be refused with.
pub(crate) enum Reloading {}

/// What a request to an engine may be refused with.
pub(crate) enum Asking {}

impl IntoResponses for AnyTime {
    fn responses() -> BTreeMap<String, RefOr<utoipa::openapi::Response>> {
        responses(&[FAILED])
    }
}

impl IntoResponses for Opening {
    fn responses() -> BTreeMap<String, RefOr<utoipa::openapi::Response>> {
        responses(&[UNOPENED])
    }
}

impl IntoResponses for Logged {
    fn responses() -> BTreeMap<String, RefOr<utoipa::openapi::Response>> {
        responses(&[UNREADABLE_QUERY, UNLOGGED])
    }
}

impl IntoResponses for Found {
    fn responses() -> BTreeMap<String, RefOr<utoipa::openapi::Response>> {
        responses(&[UNKNOWN])
    }
}

impl IntoResponses for Reloading {
    fn responses() -> BTreeMap<String, RefOr<utoipa::openapi::Response>> {
        responses(&[MISCONFIGURED])
    }
}

impl IntoResponses for Asking {
    fn responses() -> BTreeMap<String, RefOr<utoipa::openapi::Response>> {
        responses(&[FAILED, UNREADABLE, FORBIDDEN, UNKNOWN, UNOPENED, UNANSWERED])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn document() -> Value {
        serde_json::from_str(&DOCUMENT).unwrap()
    }

    /// Every `$ref` below a value.
    fn references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
        match value {
            Value::Object(fields) => {
                found.extend(fields.get("$ref").and_then(Value::as_str));
                fields.values().for_each(|value| references(value, found));
            }
            Value::Array(values) => values.iter().for_each(|value| references(value, found)),
            _ => {}
        }
    }

    #[test]
    fn every_reference_leads_somewhere() {
        let document = document();
        let mut found = Vec::new();
        references(&document, &mut found);
        assert!(found.len() > 20, "{found:?}");
        for reference in found {
            let place = reference.strip_prefix('#').unwrap();
            assert!(document.pointer(place).is_some(), "{reference} leads nowhere");
        }
    }

    #[test]
    fn every_operation_says_what_it_answers_and_that_the_daemon_may_fail() {
        let document = document();
        assert_eq!(document["openapi"], "3.1.0");
        let paths = document["paths"].as_object().unwrap();
        assert!(paths.contains_key("/openapi.json") && paths.contains_key("/generate"), "{:?}", paths.keys());
        for (path, operations) in paths {
            for (method, operation) in operations.as_object().unwrap() {
                let words = operation["summary"].as_str().unwrap_or_default();
                assert!(!words.is_empty(), "{method} {path} says nothing of itself");
                let statuses = operation["responses"].as_object().unwrap();
                assert!(statuses.contains_key("200") && statuses.contains_key("500"), "{method} {path} answers {:?}", statuses.keys());
                let has_body = operation.get("requestBody").is_some();
                assert_eq!(statuses.contains_key("413"), has_body, "{method} {path}");
            }
        }
    }

    #[test]
    fn a_refusal_that_routes_share_is_said_once() {
        let document = document();
        let of = |path: &str, status: &str| {
            let operation = document["paths"][path].as_object().unwrap().values().next().unwrap();
            operation["responses"][status]["$ref"].as_str().unwrap()
        };
        assert_eq!(of("/generate", "401"), of("/v1/models", "401"));
        assert_ne!(of("/generate", "404"), of("/interactions", "404"), "another thing isn't there");
        assert!(DOCUMENT.len() < 110_000, "{} bytes", DOCUMENT.len());
    }

    #[test]
    fn a_stream_is_told_as_its_events() {
        let document = document();
        for path in ["/stream-generate", "/v1/chat/completions", "/v1/completions", "/completion"] {
            let content = &document["paths"][path]["post"]["responses"]["200"]["content"];
            assert_eq!(content["text/event-stream"]["schema"]["$ref"], "#/components/schemas/StreamEvent", "{path}");
        }
        let schemas = &document["components"]["schemas"];
        for name in ["Piece", "Done", "ChatChunk", "CompletionAnswer", "LlamaCompletionPiece"] {
            assert!(schemas[name].is_object(), "{name} is what events carry");
        }
    }

    #[test]
    fn a_refusal_is_the_one_error_body_with_an_example_of_each_code() {
        let document = document();
        let refusals = document["paths"]["/generate"]["post"]["responses"].as_object().unwrap();
        let statuses: Vec<&str> = refusals.keys().map(String::as_str).collect();
        assert_eq!(statuses, ["200", "400", "401", "403", "404", "408", "413", "415", "429", "431", "500", "501", "502", "503", "504"]);
        for (status, refusal) in refusals.iter().filter(|(status, _)| *status != "200") {
            let refusal = document.pointer(refusal["$ref"].as_str().unwrap().strip_prefix('#').unwrap()).unwrap();
            let content = &refusal["content"]["application/json"];
            assert_eq!(content["schema"]["$ref"], "#/components/schemas/ErrorBody", "{status}");
            for (code, example) in content["examples"].as_object().unwrap() {
                let body: ErrorBody = serde_json::from_value(example["value"].clone()).unwrap();
                assert_eq!(&body.error.code, code);
            }
        }
    }
}
