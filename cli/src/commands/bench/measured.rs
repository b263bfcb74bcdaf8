//! What was measured, in numbers and as a chart.

use std::time::Duration;

use serde::Serialize;

use crate::table::{fitted, ms, with_bars};

/// One answer, and when each piece of it came, counted from the request on.
pub struct Answered {
    pub model: String,
    pub prompt_tokens: usize,
    pub tokens: usize,
    pub arrivals: Vec<Duration>,
}

/// All answers to so many clients at once.
#[derive(Debug, Serialize)]
pub struct Level {
    clients: usize,
    requests: usize,
    failed: usize,
    tokens: usize,
    seconds: f64,
    tokens_per_second: f64,
    first_token_ms: Percentiles,
    between_tokens_ms: Percentiles,
}

impl Level {
    /// Adds up what came in the time it took.
    pub fn new(clients: usize, answers: &[Answered], failed: usize, took: Duration) -> Self {
        let tokens = answers.iter().map(|answer| answer.tokens).sum();
        let seconds = took.as_secs_f64();
        Self {
            clients,
            requests: answers.len() + failed,
            failed,
            tokens,
            seconds,
            tokens_per_second: tokens as f64 / seconds.max(0.001),
            first_token_ms: Percentiles::of(answers.iter().filter_map(|answer| answer.arrivals.first().copied())),
            between_tokens_ms: Percentiles::of(
                answers.iter().flat_map(|answer| answer.arrivals.windows(2).map(|pair| pair[1].saturating_sub(pair[0]))),
            ),
        }
    }
}

/// What half, 95 and 99 of 100 don't exceed, in milliseconds; nothing where nothing came.
#[derive(Debug, Default, PartialEq, Serialize)]
struct Percentiles {
    p50: Option<f64>,
    p95: Option<f64>,
    p99: Option<f64>,
}

impl Percentiles {
    fn of(times: impl Iterator<Item = Duration>) -> Self {
        let mut times: Vec<Duration> = times.collect();
        times.sort_unstable();
        // The nearest rank: a time that was measured, not one between two.
        let at = |percent: usize| {
            let rank = (times.len() * percent).div_ceil(100).max(1);
            times.get(rank - 1).map(|time| (time.as_secs_f64() * 1e6).round() / 1e3)
        };
        Self { p50: at(50), p95: at(95), p99: at(99) }
    }
}

/// The columns by their places, those first that a narrow terminal loses last.
const BY_IMPORTANCE: [usize; 8] = [0, 7, 2, 4, 1, 3, 5, 6];

/// A line for each level, its throughput as a bar, for a terminal of that width.
pub fn table(levels: &[Level], width: Option<usize>) -> Vec<String> {
    let most = levels.iter().map(|level| level.tokens_per_second).fold(0.0, f64::max);
    let mut rows: Vec<Vec<String>> = vec![
        ["CLIENTS", "FAILED", "FIRST TOKEN", "95 OF 100", "BETWEEN TOKENS", "95 OF 100", "99 OF 100", "TOKENS/S"]
            .map(str::to_owned)
            .to_vec(),
    ];
    rows.extend(levels.iter().map(|level| {
        let Level { first_token_ms: first, between_tokens_ms: between, .. } = level;
        vec![
            level.clients.to_string(),
            level.failed.to_string(),
            ms(first.p50),
            ms(first.p95),
            ms(between.p50),
            ms(between.p95),
            ms(between.p99),
            format!("{:.1}", level.tokens_per_second),
        ]
    }));
    with_bars(&fitted(&rows, &BY_IMPORTANCE, width), levels.iter().map(|level| level.tokens_per_second), most, width)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(tokens: usize, arrivals: &[u64]) -> Answered {
        let arrivals = arrivals.iter().map(|&ms| Duration::from_millis(ms)).collect();
        Answered { model: "m".into(), prompt_tokens: 1, tokens, arrivals }
    }

    #[test]
    fn a_level_counts_from_the_request_to_the_first_token_and_from_token_to_token() {
        let level = Level::new(2, &[answered(3, &[100, 110, 130]), answered(2, &[300, 310])], 1, Duration::from_millis(500));
        assert_eq!((level.requests, level.failed, level.tokens, level.tokens_per_second), (3, 1, 5, 10.0));
        assert_eq!(level.first_token_ms, Percentiles { p50: Some(100.0), p95: Some(300.0), p99: Some(300.0) });
        assert_eq!(level.between_tokens_ms, Percentiles { p50: Some(10.0), p95: Some(20.0), p99: Some(20.0) });
    }

    #[test]
    fn the_chart_shows_throughput_and_dashes_where_nothing_came() {
        let fast = Level::new(2, &[answered(20, &[10, 20])], 0, Duration::from_secs(1));
        let slow = Level::new(1, &[], 1, Duration::from_secs(1));
        let lines = table(&[slow, fast], None);
        assert!(lines[0].starts_with("CLIENTS  FAILED  FIRST TOKEN"), "{}", lines[0]);
        assert!(lines[1].starts_with("1             1            -") && lines[1].ends_with("0.0"), "{}", lines[1]);
        assert!(lines[2].ends_with(&format!("20.0  {}", "█".repeat(24))), "{}", lines[2]);
    }

    #[test]
    fn a_narrow_terminal_keeps_whole_lines() {
        for width in [60, 80, 100] {
            let lines = table(&[Level::new(1, &[answered(20, &[10, 20])], 0, Duration::from_secs(1))], Some(width));
            assert!(lines.iter().all(|line| line.chars().count() <= width), "{lines:?}");
            assert!(lines[0].contains("FIRST TOKEN") && lines[0].contains("TOKENS/S"), "{lines:?}");
        }
    }
}
