//! One look at a daemon: its engines from `/v1/models`, its counters from `/metrics`.

use std::collections::HashMap;
use std::time::Instant;

use minivault_wire::models::Model;

use crate::client::Client;
use crate::failure::Failure;

/// What was seen.
pub struct Sample {
    pub at: Instant,
    pub engines: Vec<Engine>,
}

/// An engine at that moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Engine {
    pub name: String,
    pub state: String,
    /// The engine that answers in its place.
    pub answered_by: Option<String>,
    pub slots: usize,
    pub active: usize,
    pub queued: usize,
    pub counts: Counts,
}

/// What an engine has counted since the daemon started.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Counts {
    pub answers: f64,
    pub first_tokens: f64,
    pub first_token_seconds: f64,
    pub next_tokens: f64,
    pub next_token_seconds: f64,
}

impl Counts {
    /// Each answer's first token and those after it.
    pub fn tokens(&self) -> f64 {
        self.first_tokens + self.next_tokens
    }
}

impl Sample {
    /// Asks for both.
    pub async fn take(client: &Client) -> Result<Self, Failure> {
        let models = client.models().await?.value.data;
        let mut counts = counts(&client.metrics().await?);
        let engine = |model: Model| {
            let details = model.minivault.unwrap_or_default();
            let loaded = details.loaded.unwrap_or_default();
            Engine {
                counts: counts.remove(&model.id).unwrap_or_default(),
                name: model.id,
                state: details.state,
                answered_by: details.answered_by,
                slots: loaded.slots,
                active: loaded.active,
                queued: loaded.queued,
            }
        };
        Ok(Self { at: Instant::now(), engines: models.into_iter().map(engine).collect() })
    }
}

/// The counters by engine, out of Prometheus' text format.
fn counts(text: &str) -> HashMap<String, Counts> {
    let mut engines: HashMap<String, Counts> = HashMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        // An engine's name needs no quoting, so that its label ends with the next quotation mark.
        let Some((metric, rest)) = line.split_once('{') else { continue };
        let Some((labels, value)) = rest.rsplit_once("} ") else { continue };
        let Some((_, name)) = labels.split_once("engine=\"") else { continue };
        let Some((name, _)) = name.split_once('"') else { continue };
        let Ok(value) = value.trim().parse::<f64>() else { continue };
        let counts = engines.entry(name.to_owned()).or_default();
        match metric {
            "minivault_answers_total" => counts.answers += value,
            "minivault_time_to_first_token_seconds_count" => counts.first_tokens = value,
            "minivault_time_to_first_token_seconds_sum" => counts.first_token_seconds = value,
            "minivault_time_per_output_token_seconds_count" => counts.next_tokens = value,
            "minivault_time_per_output_token_seconds_sum" => counts.next_token_seconds = value,
            _ => {}
        }
    }
    engines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_read_by_engine_and_summed_over_other_labels() {
        let text = "# HELP minivault_answers Answers\n\
                    minivault_answers_total{engine=\"a\",route=\"/generate\",outcome=\"stop\"} 2\n\
                    minivault_answers_total{engine=\"a\",route=\"/v1/chat\",outcome=\"length\"} 3\n\
                    minivault_answers_total{engine=\"b\",route=\"/generate\",outcome=\"stop\"} 1\n\
                    minivault_time_to_first_token_seconds_sum{engine=\"a\"} 0.5\n\
                    minivault_time_to_first_token_seconds_count{engine=\"a\"} 5\n\
                    minivault_time_to_first_token_seconds_bucket{le=\"0.1\",engine=\"a\"} 4\n\
                    minivault_time_per_output_token_seconds_sum{engine=\"a\"} 2.0\n\
                    minivault_time_per_output_token_seconds_count{engine=\"a\"} 40\n\
                    minivault_log_bytes 12\n\
                    # EOF\n";
        let engines = counts(text);
        let expected = Counts { answers: 5.0, first_tokens: 5.0, first_token_seconds: 0.5, next_tokens: 40.0, next_token_seconds: 2.0 };
        assert_eq!((engines["a"], engines["b"].answers, engines.len()), (expected, 1.0, 2));
        assert_eq!(expected.tokens(), 45.0);
    }
}
