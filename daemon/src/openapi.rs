//! `/openapi.json`: what each route says of itself, put together.
//!
//! A route's own part stands beside it (`#[utoipa::path]`), its bodies in `minivault-wire`. Here is what they share: the frame, and what
//! a request may be refused with.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::LazyLock;

use axum::http::header;
use axum::response::{IntoResponse, Response};
use minivault_wire::chat::ChatChunk;
use minivault_wire::error::{ErrorBody, ErrorDetail};
use minivault_wire::llama_server::CompletionPiece;
use minivault_wire::native::{Done, Piece};
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{ContentBuilder, Ref, RefOr, ResponseBuilder, Responses};
use utoipa::{IntoResponses, OpenApi, ToSchema};

use crate::door::OPEN;
use crate::error::kind;
use crate::routes;

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

impl IntoResponses for Asking {
    fn responses() -> BTreeMap<String, RefOr<utoipa::openapi::Response>> {
        responses(&[FAILED, UNREADABLE, FORBIDDEN, UNKNOWN, UNOPENED, UNANSWERED])
    }
}

/// A status, and an example of each code it comes with.
struct Refusal {
    status: u16,
    description: &'static str,
    examples: &'static [Example],
}

struct Example {
    code: &'static str,
    message: &'static str,
    param: Option<&'static str>,
}

const fn example(code: &'static str, message: &'static str, param: Option<&'static str>) -> Example {
    Example { code, message, param }
}

const FAILED: &[Refusal] = &[Refusal {
    status: 500,
    description: "The daemon or the engine failed; the diagnostic log says why",
    examples: &[
        example("engine_failed", "the engine failed while generating; its log says why", None),
        example("internal", "the daemon failed; its diagnostic log says why", None),
    ],
}];

/// What every route refuses before it is asked.
const AT_THE_DOOR: &[Refusal] = &[
    Refusal {
        status: 400,
        description: "There is no host header, or more than one",
        examples: &[example("invalid_request", "there is no host header", None)],
    },
    Refusal {
        status: 403,
        description: "Another host is meant, or a page asks that may not",
        examples: &[example(
            "forbidden",
            "the origin is `https://app.example`, which may not ask; server.origins in the configuration names those that may",
            None,
        )],
    },
    Refusal {
        status: 431,
        description: "The headers are too many or too long",
        examples: &[example("headers_too_large", "there are 120 headers; the limit is 100", None)],
    },
];

/// What every route but `/health` refuses before it is asked.
const WITH_KEYS: &[Refusal] = &[
    Refusal {
        status: 401,
        description: "A key is needed, or the one that came isn't known",
        examples: &[example("unauthorized", "the API key isn't one of this daemon's", None)],
    },
    Refusal {
        status: 429,
        description: "The key has used up what it may ask for",
        examples: &[example("rate_limited", "key `ada` has 4 requests under way, which is its limit", None)],
    },
];

const UNREADABLE: &[Refusal] = &[
    Refusal {
        status: 400,
        description: "Not JSON, a wrong type, out of range, or too long for the model's context",
        examples: &[
            example("invalid_request", "temperature is 101; it must be between 0 and 100", Some("temperature")),
            example(
                "context_length_exceeded",
                "the prompt has 4000 tokens and max_tokens is 100; the model's context holds 2048",
                Some("max_tokens"),
            ),
            example("unsupported", "`min_tokens` isn't supported here; leave it out", Some("min_tokens")),
        ],
    },
    Refusal {
        status: 408,
        description: "The body took too long",
        examples: &[example(
            "request_timeout",
            "512 bytes of the body came in 5.5 seconds; the limit is 1024 bytes a second after 5.0 seconds",
            None,
        )],
    },
    Refusal {
        status: 413,
        description: "The body is too long",
        examples: &[example("body_too_large", "the body has more than 4194304 bytes, which is the limit", None)],
    },
    Refusal {
        status: 415,
        description: "The body isn't application/json by its own account",
        examples: &[example("unsupported_media_type", "content-type is `text/plain`; it must be application/json", None)],
    },
];

const UNREADABLE_QUERY: &[Refusal] = &[Refusal {
    status: 400,
    description: "A parameter that isn't known, or a value that isn't right",
    examples: &[example("invalid_request", "limit is 0; it must be between 1 and 1000", Some("limit"))],
}];

const UNLOGGED: &[Refusal] = &[
    Refusal {
        status: 404,
        description: "No interaction has this name",
        examples: &[example("interaction_not_found", "there is no interaction `0192` in the log", Some("id"))],
    },
    Refusal {
        status: 409,
        description: "It can't be run again",
        examples: &[example("not_replayable", "interaction `0192` can't be run again: its texts weren't recorded", Some("id"))],
    },
];

const FORBIDDEN: &[Refusal] = &[Refusal {
    status: 403,
    description: "The configuration doesn't allow that",
    examples: &[example("forbidden", "x-minivault-log is `off`, which this daemon doesn't allow (log.allow_off = true would)", None)],
}];

const UNKNOWN: &[Refusal] = &[Refusal {
    status: 404,
    description: "No engine has this name",
    examples: &[example("model_not_found", "there is no model `smolm`; there are smollm2; did you mean `smollm2`?", Some("model"))],
}];

const UNOPENED: &[Refusal] = &[
    Refusal {
        status: 429,
        description: "Too many requests wait already",
        examples: &[example("overloaded", "64 requests wait already, which is the limit", None)],
    },
    Refusal {
        status: 503,
        description: "Not now: the model loads or can't be had, the daemon is shutting down, or the log can't be written",
        examples: &[
            example("loading", "model `smollm2` is still loading", None),
            example("engine_unavailable", "the model can't be had", None),
            example("draining", "the daemon is shutting down", None),
            example("log_unavailable", "the log can't be written; nothing is answered that can't be logged", None),
        ],
    },
];

const UNANSWERED: &[Refusal] = &[
    Refusal {
        status: 501,
        description: "The engine can't do that",
        examples: &[example("unsupported", "`smollm2` can't compute embeddings", None)],
    },
    Refusal {
        status: 502,
        description: "The engine's upstream failed",
        examples: &[example("upstream_failed", "the upstream failed; the diagnostic log has its own words", None)],
    },
    Refusal {
        status: 504,
        description: "The answer took too long",
        examples: &[example("timeout", "the answer took longer than the limit", None)],
    },
];

/// Adds it, where the status is there already as one more example.
fn add(responses: &mut Responses, refusal: &Refusal) {
    let new = response(refusal);
    match responses.responses.entry(refusal.status.to_string()) {
        Entry::Vacant(vacant) => {
            vacant.insert(new.into());
        }
        Entry::Occupied(mut occupied) => {
            let RefOr::T(there) = occupied.get_mut() else { return };
            for (kind, content) in new.content {
                if let (Some(RefOr::T(there)), RefOr::T(content)) = (there.content.get_mut(&kind), content) {
                    content.examples.into_iter().for_each(|(code, example)| {
                        there.examples.entry(code).or_insert(example);
                    });
                }
            }
        }
    }
}

fn responses(groups: &[&[Refusal]]) -> BTreeMap<String, RefOr<utoipa::openapi::Response>> {
    groups.iter().flat_map(|group| group.iter()).map(|refusal| (refusal.status.to_string(), response(refusal).into())).collect()
}

fn response(refusal: &Refusal) -> utoipa::openapi::Response {
    let examples = refusal.examples.iter().map(|Example { code, message, param }| {
        let error = ErrorDetail {
            message: (*message).to_owned(),
            r#type: kind(refusal.status).to_owned(),
            code: (*code).to_owned(),
            param: param.map(str::to_owned),
            n_prompt_tokens: None,
            n_ctx: None,
        };
        let body = serde_json::to_value(ErrorBody { error }).ok();
        (*code, utoipa::openapi::example::ExampleBuilder::new().value(body).build())
    });
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name(ErrorBody::name()))).examples_from_iter(examples).build();
    let response = ResponseBuilder::new().description(refusal.description).content("application/json", content);
    let seconds = || {
        let schema = ObjectBuilder::new().schema_type(Type::Integer).build();
        HeaderBuilder::new().schema(Some(schema)).description(Some("Seconds after which it may be tried again")).build()
    };
    if matches!(refusal.status, 429 | 503) { response.header("Retry-After", seconds()) } else { response }.build()
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
            let content = &refusal["content"]["application/json"];
            assert_eq!(content["schema"]["$ref"], "#/components/schemas/ErrorBody", "{status}");
            for (code, example) in content["examples"].as_object().unwrap() {
                let body: ErrorBody = serde_json::from_value(example["value"].clone()).unwrap();
                assert_eq!(&body.error.code, code);
            }
        }
    }
}
