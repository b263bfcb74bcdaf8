//! What the daemon says of itself on standard error: events and spans, as text or as JSON, and where wanted to an OpenTelemetry collector.

use std::io::{self, IsTerminal};

use minivault_engines::isolated::LOG_TARGET;
use serde::Deserialize;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt};

#[cfg(feature = "otlp")]
mod otlp;

/// What is said where nobody wants anything else.
pub const USUAL_FILTER: &str = "warn";

/// What takes events and spans, and does something with them.
type Said = Box<dyn Layer<Registry> + Send + Sync>;

/// What is said, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiagnosticsSettings {
    /// What is said, in the words of `RUST_LOG`, which comes before it.
    pub filter: String,
    /// How.
    pub format: Format,
    /// The collector that spans are sent to.
    pub otlp: Option<String>,
}

/// How events are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Sends what is left when it is dropped.
#[must_use = "spans that wait to be sent are lost without it"]
pub struct Diagnostics {
    #[cfg(feature = "otlp")]
    _exporter: Option<otlp::Exporter>,
}

impl DiagnosticsSettings {
    /// What is said: `RUST_LOG` where it is set and can be read.
    pub fn effective_filter(&self) -> String {
        std::env::var(EnvFilter::DEFAULT_ENV).ok().filter(|filter| check(filter).is_ok()).unwrap_or_else(|| self.filter.clone())
    }

    /// Whether more is wanted than what is said by itself.
    pub fn asks_for_more(&self) -> bool {
        self.effective_filter() != USUAL_FILTER || self.otlp.is_some()
    }

    /// Begins. It can be done once in a process.
    ///
    /// # Errors
    /// The collector's address is none.
    pub fn start(&self) -> anyhow::Result<Diagnostics> {
        // What an engine's process wrote has passed its own filter.
        let filter = EnvFilter::new(format!("{},{LOG_TARGET}=trace", self.effective_filter()));
        let said: Said = match self.format {
            Format::Text => Box::new(fmt::layer().with_writer(io::stderr).with_ansi(io::stderr().is_terminal()).with_filter(filter)),
            Format::Json => {
                Box::new(fmt::layer().json().flatten_event(true).with_current_span(false).with_writer(io::stderr).with_filter(filter))
            }
        };
        #[cfg(feature = "otlp")]
        let (sent, exporter) = self.otlp.as_deref().map(otlp::layer).transpose()?.unzip();
        #[cfg(not(feature = "otlp"))]
        let sent = None;
        let layers: Vec<Said> = [said].into_iter().chain(sent).collect();
        tracing_subscriber::registry().with(layers).init();
        Ok(Diagnostics {
            #[cfg(feature = "otlp")]
            _exporter: exporter,
        })
    }
}

/// Begins in an engine's process: the daemon reads each line, and knows when it was written.
pub(crate) fn start_for_engine(filter: &str) {
    fmt().with_env_filter(EnvFilter::new(filter)).with_writer(io::stderr).with_ansi(false).without_time().init();
}

/// Whether a filter can be read.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn check(filter: &str) -> Result<(), String> {
    EnvFilter::try_new(filter).map(drop).map_err(|error| error.to_string())
}
