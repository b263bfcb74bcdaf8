//! Samples as lines of text.

use std::collections::VecDeque;

use super::sample::{Counts, Engine, Sample};
use crate::table::with_bars;

/// Samples that speeds are averages over: one is too few to read, many tell of what is long over.
const WINDOW: usize = 5;
/// Seconds of throughput that are drawn.
const MINUTE: usize = 60;
const LEVELS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// What was seen lately.
pub struct History {
    address: String,
    samples: VecDeque<Sample>,
    throughput: VecDeque<f64>,
    lost: Option<String>,
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
        while self.throughput.len() > MINUTE {
            self.throughput.pop_front();
        }
    }

    /// Nothing could be seen.
    pub fn lost(&mut self, why: String) {
        self.lost = Some(why);
    }

    /// All of it, for a terminal of that width.
    pub fn lines(&self, width: Option<usize>) -> Vec<String> {
        let (Some(oldest), Some(newest)) = (self.samples.front(), self.samples.back()) else { return Vec::new() };
        let now = self.throughput.back().copied().unwrap_or_default();
        let mut lines = vec![format!("minivaultd at {}: {now:.1} tokens/s", self.address), String::new()];
        if let Some(why) = &self.lost {
            // What was seen before tells nothing of now.
            lines.extend(why.lines().map(str::to_owned));
            return lines;
        }
        let headings = ["ENGINE", "STATE", "TOKENS/S", "FIRST TOKEN", "BETWEEN TOKENS", "ANSWERS", "WAITING", "SLOTS"];
        let mut rows = vec![headings.map(str::to_owned).to_vec()];
        let ms = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.1} ms"));
        for engine in &newest.engines {
            let speed = speed(oldest, newest, engine);
            rows.push(vec![
                engine.name.clone(),
                engine.state.clone(),
                format!("{:.1}", speed.tokens_per_second),
                ms(speed.first_token_ms),
                ms(speed.next_token_ms),
                format!("{:.0}", engine.counts.answers),
                engine.queued.to_string(),
                format!("{}/{}", engine.active, engine.slots),
            ]);
        }
        let busy = newest.engines.iter().map(|engine| engine.active as f64 / engine.slots.max(1) as f64);
        lines.extend(with_bars(&rows, busy, 1.0, width));
        if self.throughput.len() > 1 {
            let most = self.throughput.iter().copied().fold(0.0, f64::max);
            let curve: String = self.throughput.iter().map(|&value| level(value, most)).collect();
            lines.extend([String::new(), format!("tokens/s, the last minute, {most:.1} at most"), curve]);
        }
        lines
    }
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

fn level(value: f64, most: f64) -> char {
    let share = if most > 0.0 { (value / most).clamp(0.0, 1.0) } else { 0.0 };
    LEVELS[(share * (LEVELS.len() - 1) as f64).round() as usize]
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    fn sample(start: Instant, seconds: u64, active: usize, counts: Counts) -> Sample {
        let engine = Engine { name: "a".into(), state: "ready".into(), slots: 4, active, queued: 1, counts };
        Sample { at: start + Duration::from_secs(seconds), engines: vec![engine] }
    }

    fn counts(tokens: f64) -> Counts {
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
    fn the_minute_is_drawn_and_a_lost_daemon_told() {
        let start = Instant::now();
        let mut history = History::new("http://d".into(), sample(start, 0, 0, Counts::default()));
        for (second, tokens) in [(1, 10.0), (2, 10.0), (3, 30.0)] {
            history.add(sample(start, second, 0, counts(tokens)));
        }
        assert_eq!(history.lines(None).last().map(String::as_str), Some("▅▁█"));
        history.lost("no daemon answers".into());
        assert_eq!(history.lines(None)[2..], ["no daemon answers"]);
        history.add(sample(start, 9, 0, counts(5.0)));
        assert!(history.lines(None)[0].ends_with(": 0.8 tokens/s"), "started anew, it counts from nothing: {}", history.lines(None)[0]);
    }
}
