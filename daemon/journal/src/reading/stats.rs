//! The log in numbers, by model and day.

use std::collections::BTreeMap;
use std::io;
use std::ops::ControlFlow;

use serde::{Deserialize, Serialize};

use super::{Filter, LogReader, Place, Summary};
use crate::record::Outcome;

/// Times to the first token are counted in steps of 2 %, as many as tell a microsecond from an hour.
const STEP: f64 = 1.02;

/// The log in numbers.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Stats {
    /// One for each model and day, the oldest day first.
    pub rows: Vec<StatsRow>,
    /// `Some`: only lines from this place on were counted, because time ran out; with it as [`Filter::before`] the counting goes on.
    pub next: Option<Place>,
}

/// What one model did on one day (UTC).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct StatsRow {
    /// As 2026-11-25.
    pub day: String,
    /// The engine's name.
    pub model: String,
    /// Interactions.
    pub requests: u64,
    /// Those of them that the client left.
    pub cancelled: u64,
    /// Those that failed.
    pub errors: u64,
    /// Tokens read.
    pub prompt_tokens: u64,
    /// Tokens written.
    pub completion_tokens: u64,
    /// Tokens written per second of their requests' time after the first token; 0 where none was timed.
    pub tokens_per_second: f64,
    /// Milliseconds to the first token: half of the requests were faster.
    pub ttft_ms: f64,
    /// And 95 of 100.
    pub ttft_ms_95: f64,
    /// What these are computed from.
    pub counts: Counts,
}

/// What can be added up over the parts of a log.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Counts {
    /// Tokens written after the first one of each request.
    pub later_tokens: u64,
    /// The time they took.
    pub later_ms: f64,
    /// How many first tokens came within each step of time.
    pub ttft: BTreeMap<u32, u64>,
}

impl LogReader {
    /// The lines that are wanted, in numbers.
    ///
    /// # Errors
    /// As [`LogReader::page`].
    pub fn stats(&self, filter: &Filter, may_go_on: impl Fn() -> bool) -> io::Result<Stats> {
        let mut rows = BTreeMap::new();
        let add = |line: &Summary, _: &[u8]| {
            add(&mut rows, line);
            ControlFlow::Continue(())
        };
        let next = self.scan(filter, add, may_go_on)?;
        let mut stats = Stats { rows: rows.into_values().collect(), next };
        stats.rows.iter_mut().for_each(StatsRow::conclude);
        Ok(stats)
    }
}

impl Stats {
    /// Adds the older part of the same log.
    pub fn add(&mut self, older: Self) {
        self.next = older.next;
        for row in older.rows {
            match self.rows.iter_mut().find(|known| (&known.day, &known.model) == (&row.day, &row.model)) {
                Some(known) => known.add(&row),
                None => self.rows.push(row),
            }
        }
        self.rows.sort_by(|one, other| (&one.day, &one.model).cmp(&(&other.day, &other.model)));
    }

    /// All days of each model together.
    pub fn by_model(&self) -> Vec<StatsRow> {
        self.summed(|row| row.model.clone(), |row| row.day.clear())
    }

    /// All models of each day together.
    pub fn by_day(&self) -> Vec<StatsRow> {
        self.summed(|row| row.day.clone(), |row| row.model.clear())
    }

    fn summed(&self, key: impl Fn(&StatsRow) -> String, forget: impl Fn(&mut StatsRow)) -> Vec<StatsRow> {
        let mut sums = BTreeMap::<String, StatsRow>::new();
        for row in &self.rows {
            let mut row = row.clone();
            let key = key(&row);
            forget(&mut row);
            match sums.get_mut(&key) {
                Some(sum) => sum.add(&row),
                None => drop(sums.insert(key, row)),
            }
        }
        sums.into_values().collect()
    }
}

fn add(rows: &mut BTreeMap<(String, String), StatsRow>, line: &Summary) {
    let day = line.timestamp.map_or_else(|| "unknown".to_owned(), |timestamp| timestamp.strftime("%Y-%m-%d").to_string());
    let new = StatsRow { day: day.clone(), model: line.model.clone(), ..StatsRow::default() };
    let row = rows.entry((day, line.model.clone())).or_insert(new);
    row.requests += 1;
    row.cancelled += u64::from(line.finish_reason == Some(Outcome::Cancelled));
    row.errors += u64::from(line.finish_reason == Some(Outcome::Error));
    row.prompt_tokens += line.usage.prompt_tokens as u64;
    row.completion_tokens += line.usage.completion_tokens as u64;
    if let (Some(first), Some(whole)) = (line.ttft_ms, line.duration_ms) {
        row.counts.later_tokens += (line.usage.completion_tokens as u64).saturating_sub(1);
        row.counts.later_ms += (whole - first).max(0.0);
        // From a microsecond on; a NaN, too, becomes the first step.
        let step = ((first * 1000.0).max(1.0).ln() / STEP.ln()) as u32;
        *row.counts.ttft.entry(step).or_default() += 1;
    }
}

impl StatsRow {
    fn add(&mut self, other: &Self) {
        self.requests += other.requests;
        self.cancelled += other.cancelled;
        self.errors += other.errors;
        self.prompt_tokens += other.prompt_tokens;
        self.completion_tokens += other.completion_tokens;
        self.counts.later_tokens += other.counts.later_tokens;
        self.counts.later_ms += other.counts.later_ms;
        other.counts.ttft.iter().for_each(|(step, count)| *self.counts.ttft.entry(*step).or_default() += count);
        self.conclude();
    }

    fn conclude(&mut self) {
        let Counts { later_tokens, later_ms, .. } = self.counts;
        self.tokens_per_second = if later_ms > 0.0 { later_tokens as f64 * 1000.0 / later_ms } else { 0.0 };
        (self.ttft_ms, self.ttft_ms_95) = (self.ttft_within(50), self.ttft_within(95));
    }

    /// Milliseconds within which so many of 100 first tokens came.
    fn ttft_within(&self, percent: u64) -> f64 {
        let all: u64 = self.counts.ttft.values().sum();
        let wanted = (all * percent).div_ceil(100);
        let mut seen = 0;
        let within = self.counts.ttft.iter().find(|(_, count)| {
            seen += **count;
            seen >= wanted
        });
        within.map_or(0.0, |(step, _)| STEP.powf(f64::from(*step) + 0.5) / 1000.0)
    }
}
