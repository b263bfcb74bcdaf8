//! What samples tell together: speeds, and a row of cells for each engine.

use std::collections::VecDeque;

use super::sample::{Counts, Engine, Sample};
use crate::table::{ms, with_bars};

/// Samples that speeds are averages over: one is too few to read, many tell of what is long over.
const WINDOW: usize = 5;
/// Values of throughput that are kept: more than the widest terminals have columns.
const KEPT: usize = 500;

pub const HEADINGS: [&str; 8] = ["ENGINE", "STATE", "TOKENS/S", "FIRST TOKEN", "BETWEEN TOKENS", "ANSWERS", "WAITING", "SLOTS"];

/// What was seen lately.
pub struct History {
    address: String,
    samples: VecDeque<Sample>,
    /// Tokens per second between two samples, the newest last.
    pub throughput: VecDeque<f64>,
    /// Why the last look saw nothing.
    pub lost: Option<String>,
}

/// An engine in words and numbers, under [`HEADINGS`].
#[derive(Debug, PartialEq)]
pub struct Row {
    pub cells: [String; HEADINGS.len()],
    pub state: String,
    /// The share of its slots that are in use; `None` where it has none of its own now.
    pub busy: Option<f64>,
}

/// What was counted between two samples.
#[derive(Debug, Clone, Copy, Default)]
struct Speed {
    tokens_per_second: f64,
    first_token_ms: Option<f64>,
    next_token_ms: Option<f64>,
}

impl History {
    /// Nothing has happened yet.
    pub fn new(address: String, first: Sample) -> Self {
        Self { address, samples: VecDeque::from([first]), throughput: VecDeque::new(), lost: None }
    }

    /// A look later.
    pub fn add(&mut self, sample: Sample) {
        self.lost = None;
        if let Some(before) = self.samples.back() {
            let each = sample.engines.iter().map(|engine| speed(before, &sample, engine).tokens_per_second);
            self.throughput.push_back(each.sum());
        }
        self.samples.push_back(sample);
        while self.samples.len() > WINDOW {
            self.samples.pop_front();
        }
        while self.throughput.len() > KEPT {
            self.throughput.pop_front();
        }
    }

    /// Nothing could be seen.
    pub fn lost(&mut self, why: String) {
        self.lost = Some(why);
    }

    /// Whose history it is, and how fast all engines together are.
    pub fn title(&self) -> String {
        format!("minivaultd at {}: {:.1} tokens/s", self.address, self.throughput.back().copied().unwrap_or_default())
    }

    /// All engines.
    pub fn rows(&self) -> Vec<Row> {
        let (Some(oldest), Some(newest)) = (self.samples.front(), self.samples.back()) else { return Vec::new() };
        newest.engines.iter().map(|engine| row(engine, speed(oldest, newest, engine))).collect()
    }

    /// All of it as lines, for a terminal of that width.
    pub fn lines(&self, width: Option<usize>) -> Vec<String> {
        let rows = self.rows();
        let mut cells = vec![HEADINGS.map(str::to_owned).to_vec()];
        cells.extend(rows.iter().map(|row| row.cells.to_vec()));
        let mut lines = vec![self.title(), String::new()];
        lines.extend(with_bars(&cells, rows.iter().map(|row| row.busy.unwrap_or(0.0)), 1.0, width));
        lines
    }
}

fn row(engine: &Engine, speed: Speed) -> Row {
    let Engine { name, state, answered_by, slots, active, queued, counts } = engine;
    // Those of one that another stands for are the other's, and told there; one that isn't loaded has none.
    let busy = (answered_by.is_none() && *slots > 0).then(|| (*active as f64 / *slots as f64).clamp(0.0, 1.0));
    let own = |text: String| if busy.is_none() { "-".to_owned() } else { text };
    let cells = [
        name.clone(),
        answered_by.as_ref().map_or_else(|| state.clone(), |other| format!("{other} answers")),
        format!("{:.1}", speed.tokens_per_second),
        ms(speed.first_token_ms),
        ms(speed.next_token_ms),
        format!("{:.0}", counts.answers),
        own(queued.to_string()),
        own(format!("{active}/{slots}")),
    ];
    Row { cells, state: state.clone(), busy }
}

/// An engine's speed since an earlier sample; counters that went back are a daemon's that was started anew.
fn speed(before: &Sample, after: &Sample, engine: &Engine) -> Speed {
    let earlier = before.engines.iter().find(|earlier| earlier.name == engine.name).map(|earlier| earlier.counts).unwrap_or_default();
    let earlier = if earlier.tokens() > engine.counts.tokens() { Counts::default() } else { earlier };
    let now = engine.counts;
    let seconds = after.at.saturating_duration_since(before.at).as_secs_f64();
    if seconds <= 0.0 {
        return Speed::default();
    }
    let mean = |seconds: f64, count: f64| (count > 0.0).then(|| seconds / count * 1e3);
    Speed {
        tokens_per_second: (now.tokens() - earlier.tokens()) / seconds,
        first_token_ms: mean(now.first_token_seconds - earlier.first_token_seconds, now.first_tokens - earlier.first_tokens),
        next_token_ms: mean(now.next_token_seconds - earlier.next_token_seconds, now.next_tokens - earlier.next_tokens),
    }
}

#[cfg(test)]
pub mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    /// A look at an engine with four slots, so many seconds after the start.
    pub fn sample(start: Instant, seconds: u64, active: usize, counts: Counts) -> Sample {
        let engine = Engine { name: "a".into(), state: "ready".into(), answered_by: None, slots: 4, active, queued: 1, counts };
        Sample { at: start + Duration::from_secs(seconds), engines: vec![engine] }
    }

    /// What an engine has counted that has generated one answer of so many tokens.
    pub fn counts(tokens: f64) -> Counts {
        Counts {
            answers: 1.0,
            first_tokens: 1.0,
            first_token_seconds: 0.2,
            next_tokens: tokens - 1.0,
            next_token_seconds: (tokens - 1.0) / 100.0,
        }
    }

    #[test]
    fn speeds_are_what_was_counted_in_the_time_between() {
        let start = Instant::now();
        let mut history = History::new("http://d".into(), sample(start, 0, 0, Counts::default()));
        history.add(sample(start, 2, 2, counts(41.0)));
        let lines = history.lines(None);
        assert_eq!(lines[0], "minivaultd at http://d: 20.5 tokens/s");
        let cells: Vec<&str> = lines[3].split_whitespace().collect();
        assert_eq!(cells, ["a", "ready", "20.5", "200.0", "ms", "10.0", "ms", "1", "1", "2/4", &"█".repeat(12)]);
        assert_eq!(lines.len(), 4);
    }

    #[test]
    fn a_daemon_that_was_started_anew_counts_from_nothing() {
        let start = Instant::now();
        let mut history = History::new("http://d".into(), sample(start, 0, 0, counts(30.0)));
        history.add(sample(start, 2, 0, counts(5.0)));
        assert_eq!(history.title(), "minivaultd at http://d: 2.5 tokens/s");
    }

    #[test]
    fn an_engine_that_another_one_stands_for_says_so_and_has_no_slots_of_its_own() {
        let start = Instant::now();
        let mut first = sample(start, 0, 2, Counts::default());
        first.engines[0].answered_by = Some("b".into());
        let Row { cells, busy, .. } = History::new("http://d".into(), first).rows().remove(0);
        assert_eq!((cells[1].as_str(), cells[6].as_str(), cells[7].as_str(), busy), ("b answers", "-", "-", None));
    }
}
