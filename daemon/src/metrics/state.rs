//! What is asked of engines, log and process when somebody scrapes.

use std::fmt::Error;
use std::sync::Arc;

use minivault_engines::meter::{Counts, WAITS, WIDTHS};
use minivault_engines::{Health, State};
use minivault_journal::Journal;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;

use crate::engine_table::{EngineTable, Phase};
use crate::memory;

/// The engines and the log of a daemon.
pub(super) struct Scraped {
    engines: Arc<EngineTable>,
    journal: Arc<Journal>,
}

impl std::fmt::Debug for Scraped {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Scraped").finish_non_exhaustive()
    }
}

/// One number of an engine: its name, what it is, and how it is read.
type Number = (&'static str, &'static str, fn(&Health) -> usize);
/// The same for values counted by their size, with their bounds and unit.
type Distribution = (&'static str, &'static str, Option<Unit>, &'static [f64], fn(&Health) -> &Counts);

impl Scraped {
    pub fn new(engines: Arc<EngineTable>, journal: Arc<Journal>) -> Self {
        Self { engines, journal }
    }

    /// Each engine that is loaded, by name, and how it is.
    fn loaded(&self) -> Vec<(String, Health)> {
        let entrants = self.engines.entrants();
        let loaded = entrants.iter().filter_map(|entrant| match &entrant.phase {
            Phase::Ready(engine) => Some((entrant.name().to_owned(), engine.health())),
            _ => None,
        });
        loaded.collect()
    }

    fn engines(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), Error> {
        let loaded = self.loaded();
        let mut family = encoder.encode_descriptor("engine_up", "Whether a loaded engine can answer", None, MetricType::Gauge)?;
        for (name, health) in &loaded {
            let up = ConstGauge::new(i64::from(health.state == State::Ready));
            up.encode(family.encode_family(&[("engine", name.as_str())])?)?;
        }
        let numbers: [Number; 3] = [
            ("requests_running", "Requests being computed", |health| health.active),
            ("requests_waiting", "Requests that wait for a slot", |health| health.queued),
            ("slots", "Requests that can be computed side by side, each with a KV cache", |health| health.slots),
        ];
        for (metric, help, read) in numbers {
            let mut family = encoder.encode_descriptor(metric, help, None, MetricType::Gauge)?;
            for (name, health) in &loaded {
                ConstGauge::new(read(health) as i64).encode(family.encode_family(&[("engine", name.as_str())])?)?;
            }
        }
        let restarts = "How often an engine was started anew because its process had ended";
        let mut family = encoder.encode_descriptor("engine_restarts", restarts, None, MetricType::Counter)?;
        for (name, health) in &loaded {
            ConstCounter::new(health.restarts).encode(family.encode_family(&[("engine", name.as_str())])?)?;
        }
        let distributions: [Distribution; 2] = [
            ("step_width", "Sequences that a step of the engine fed", None, &WIDTHS, |health| &health.measured.widths),
            ("queue_time", "How long requests waited for their slot", Some(Unit::Seconds), &WAITS, |health| &health.measured.waits),
        ];
        for (metric, help, unit, bounds, read) in distributions {
            let mut family = encoder.encode_descriptor(metric, help, unit.as_ref(), MetricType::Histogram)?;
            for (name, health) in &loaded {
                let counts = read(health);
                let bounds = bounds.iter().copied().chain([f64::MAX]);
                let buckets: Vec<(f64, u64)> = bounds.zip(counts.counts.iter().copied().chain(std::iter::repeat(0))).collect();
                let labels = [("engine", name.as_str())];
                let mut metric = family.encode_family(&labels)?;
                metric.encode_histogram::<NoLabelSet>(counts.sum, counts.counts.iter().sum(), &buckets, None)?;
            }
        }
        Ok(())
    }

    fn log(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), Error> {
        let Self { journal, .. } = self;
        let (used, places) = journal.places();
        let gauges = [
            ("log_waiting_lines", "Lines of the log that wait to be written", journal.waiting()),
            ("log_places_used", "Places in the log held by requests under way", used),
            ("log_places", "Places in the log", places),
            ("log_failing", "Whether lines can't be written now", usize::from(journal.failing().is_some())),
        ];
        for (metric, help, value) in gauges {
            let gauge = ConstGauge::new(value as i64);
            gauge.encode(encoder.encode_descriptor(metric, help, None, gauge.metric_type())?)?;
        }
        let counters = [
            ("log_lines", "Lines of the log that were written", journal.written()),
            ("log_dropped_lines", "Lines that should have been written, and could not be", journal.dropped()),
            ("log_torn_lines", "Torn lines that were set aside", journal.torn()),
        ];
        for (metric, help, value) in counters {
            let counter = ConstCounter::new(value);
            counter.encode(encoder.encode_descriptor(metric, help, None, counter.metric_type())?)?;
        }
        Ok(())
    }
}

impl Collector for Scraped {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        self.engines(&mut encoder)?;
        self.log(&mut encoder)?;
        if let Some(bytes) = memory::resident() {
            let gauge = ConstGauge::new(bytes as i64);
            let described = encoder.encode_descriptor("resident_memory", "The daemon's memory", Some(&Unit::Bytes), gauge.metric_type())?;
            gauge.encode(described)?;
        }
        Ok(())
    }
}
