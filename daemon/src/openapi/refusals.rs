//! What requests are refused with: statuses, codes, and an example of each.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use minivault_wire::error::{ErrorBody, ErrorDetail};
use utoipa::ToSchema;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::{ContentBuilder, Ref, RefOr, ResponseBuilder, Responses};

use crate::error::kind;

/// A status, and an example of each code it comes with.
pub(super) struct Refusal {
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

pub(super) const FAILED: &[Refusal] = &[Refusal {
    status: 500,
    description: "The daemon or the engine failed; the diagnostic log says why",
    examples: &[
        example("engine_failed", "the engine failed while generating; its log says why", None),
        example("internal", "the daemon failed; its diagnostic log says why", None),
    ],
}];

/// What every route refuses before it is asked.
pub(super) const AT_THE_DOOR: &[Refusal] = &[
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
pub(super) const WITH_KEYS: &[Refusal] = &[
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

pub(super) const UNREADABLE: &[Refusal] = &[
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

pub(super) const MISCONFIGURED: &[Refusal] = &[
    Refusal {
        status: 409,
        description: "The configuration can't be used as it is written now; the one that was read before still counts",
        examples: &[example("configuration_invalid", "config.toml:12:1: [server] has no key `lisen`; did you mean `listen`?", None)],
    },
    Refusal {
        status: 503,
        description: "Not now: the model is loading, or the daemon is shutting down",
        examples: &[example("loading", "model `smollm2` is still loading", None), example("draining", "the daemon is shutting down", None)],
    },
];

pub(super) const UNREADABLE_QUERY: &[Refusal] = &[Refusal {
    status: 400,
    description: "A parameter that isn't known, or a value that isn't right",
    examples: &[example("invalid_request", "limit is 0; it must be between 1 and 1000", Some("limit"))],
}];

pub(super) const UNLOGGED: &[Refusal] = &[
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

pub(super) const FORBIDDEN: &[Refusal] = &[Refusal {
    status: 403,
    description: "The configuration doesn't allow that",
    examples: &[example("forbidden", "x-minivault-log is `off`, which this daemon doesn't allow (log.allow_off = true would)", None)],
}];

pub(super) const UNKNOWN: &[Refusal] = &[Refusal {
    status: 404,
    description: "No engine has this name",
    examples: &[example("model_not_found", "there is no model `smolm`; there are smollm2; did you mean `smollm2`?", Some("model"))],
}];

pub(super) const UNOPENED: &[Refusal] = &[
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

pub(super) const UNANSWERED: &[Refusal] = &[
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
pub(super) fn add(responses: &mut Responses, refusal: &Refusal) {
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

pub(super) fn responses(groups: &[&[Refusal]]) -> BTreeMap<String, RefOr<utoipa::openapi::Response>> {
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
