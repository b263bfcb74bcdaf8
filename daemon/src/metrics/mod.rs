//! What `/metrics` tells: requests, tokens and times, counted as they come, and at each scrape how engines and the log [are](state).
//!
//! Names and units follow Prometheus' conventions, times OpenTelemetry's GenAI metrics (time to first token, time per output token, duration of
//! a request), with vLLM's buckets and some below them: small models answer faster. No text of anybody is in them.

mod state;

use std::sync::Arc;

use minivault_journal::{Journal, Record};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::prometheus_text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use crate::engine_table::EngineTable;
use crate::throughput::Throughput;
use state::Scraped;

/// Seconds to the first token.
const FIRST_TOKEN: [f64; 20] =
    [0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0, 160.0];
/// Seconds from one token to the next.
const NEXT_TOKEN: [f64; 18] =
    [0.001, 0.0025, 0.005, 0.0075, 0.01, 0.015, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5];
/// Seconds of a whole answer.
const DURATION: [f64; 20] =
    [0.01, 0.05, 0.1, 0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 60.0, 120.0, 480.0, 1920.0];

/// All that is counted.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    http: Family<HttpLabels, Counter>,
    answers: Family<AnswerLabels, Counter>,
    prompt_tokens: Family<EngineLabels, Counter>,
    cached_tokens: Family<EngineLabels, Counter>,
    generated_tokens: Family<EngineLabels, Counter>,
    first_token: Times,
    next_token: Times,
    duration: Times,
    /// How fast engines get done.
    pub throughput: Throughput,
}

type Times = Family<EngineLabels, Histogram, fn() -> Histogram>;

/// Of a request, answered or refused.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct HttpLabels {
    route: String,
    method: String,
    status: u16,
}

/// Of an answer, or what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AnswerLabels {
    engine: String,
    route: String,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EngineLabels {
    engine: String,
}

impl Metrics {
    /// Nothing counted yet. What engines and the log are at a scrape is asked of these.
    pub fn new(engines: &Arc<EngineTable>, journal: &Arc<Journal>) -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("minivault"),
            http: Family::default(),
            answers: Family::default(),
            prompt_tokens: Family::default(),
            cached_tokens: Family::default(),
            generated_tokens: Family::default(),
            first_token: Times::new_with_constructor(|| Histogram::new(FIRST_TOKEN)),
            next_token: Times::new_with_constructor(|| Histogram::new(NEXT_TOKEN)),
            duration: Times::new_with_constructor(|| Histogram::new(DURATION)),
            throughput: Throughput::default(),
        };
        let registry = &mut metrics.registry;
        registry.register("build", "The daemon's version", Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]));
        registry.register("http_requests", "Requests by route and status, refused ones among them", metrics.http.clone());
        registry.register("answers", "Answers by engine, route and how they ended; each is a line of the log", metrics.answers.clone());
        registry.register("prompt_tokens", "Tokens of prompts", metrics.prompt_tokens.clone());
        registry.register("cached_prompt_tokens", "Tokens of prompts that were still in the KV cache", metrics.cached_tokens.clone());
        registry.register("generated_tokens", "Tokens generated", metrics.generated_tokens.clone());
        registry.register_with_unit(
            "time_to_first_token",
            "From a request to its first token, as the engine's step had it",
            Unit::Seconds,
            metrics.first_token.clone(),
        );
        registry.register_with_unit(
            "time_per_output_token",
            "From one token to the next, as the engine's steps had them",
            Unit::Seconds,
            metrics.next_token.clone(),
        );
        registry.register_with_unit("request_duration", "From a request to its answer's end", Unit::Seconds, metrics.duration.clone());
        registry.register_collector(Box::new(Scraped::new(engines.clone(), journal.clone())));
        metrics
    }

    /// All of it, in Prometheus' text format.
    ///
    /// # Errors
    /// A number has no text, which doesn't happen.
    pub fn text(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        prometheus_text::encode(&mut text, &self.registry)?;
        Ok(text)
    }

    /// A request's answer begins.
    pub fn answered(&self, route: String, method: String, status: u16) {
        self.http.get_or_create(&HttpLabels { route, method, status }).inc();
    }

    /// Where an answer of this engine counts the seconds from one token to the next.
    pub fn next_token(&self, engine: &str) -> Histogram {
        self.next_token.get_or_create_owned(&EngineLabels { engine: engine.to_owned() })
    }

    /// An answer has ended.
    pub fn ended(&self, record: &Record) {
        let outcome = record.finish_reason.as_str();
        let labels = EngineLabels { engine: record.model.clone() };
        let answer = AnswerLabels { engine: record.model.clone(), route: record.endpoint.clone(), outcome };
        self.throughput.note(&record.model);
        self.answers.get_or_create(&answer).inc();
        self.prompt_tokens.get_or_create(&labels).inc_by(record.usage.prompt_tokens as u64);
        self.cached_tokens.get_or_create(&labels).inc_by(record.usage.cached_tokens as u64);
        self.generated_tokens.get_or_create(&labels).inc_by(record.usage.completion_tokens as u64);
        if let Some(first) = record.ttft_ms {
            self.first_token.get_or_create(&labels).observe(first / 1000.0);
        }
        self.duration.get_or_create(&labels).observe(record.duration_ms / 1000.0);
    }
}
