//! How often an engine's process is started anew.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Starts within [`WITHIN`], after the first one.
pub(super) const MOST: usize = 5;
/// See [`MOST`].
pub(super) const WITHIN: Duration = Duration::from_secs(60);
/// Between the second end within that time and the start after it; each further one doubles it.
const FIRST_DELAY: Duration = Duration::from_millis(500);

/// When an engine's process ended without being asked to.
#[derive(Debug, Default)]
pub(super) struct Restarts(VecDeque<Instant>);

/// When it may be started again.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Start {
    /// Then; the past is at once.
    At(Instant),
    /// It has ended too often; not before then.
    NotBefore(Instant),
}

impl Restarts {
    /// It has ended.
    pub fn note(&mut self, now: Instant) {
        self.0.push_back(now);
    }

    /// When it may be started.
    pub fn next(&mut self, now: Instant) -> Start {
        while self.0.front().is_some_and(|&end| now.duration_since(end) >= WITHIN) {
            self.0.pop_front();
        }
        let Some(&last) = self.0.back() else { return Start::At(now) };
        match self.0.len() {
            1 => Start::At(last),
            // The last number of ends may be followed by a start once the first of them is long enough ago.
            ends if ends > MOST => Start::NotBefore(self.0[ends - 1 - MOST] + WITHIN),
            ends => Start::At(last + FIRST_DELAY * (1 << (ends - 2))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_times_a_minute_each_later_than_the_one_before() {
        let begin = Instant::now();
        let second = |seconds: f64| begin + Duration::from_secs_f64(seconds);
        let mut restarts = Restarts::default();
        assert_eq!(restarts.next(begin), Start::At(begin));
        let mut now = begin;
        for delay in [0.0, 0.5, 1.0, 2.0, 4.0] {
            restarts.note(now);
            let next = now + Duration::from_secs_f64(delay);
            assert_eq!(restarts.next(now), Start::At(next));
            now = next + Duration::from_secs(1);
        }
        restarts.note(now);
        assert_eq!(restarts.next(now), Start::NotBefore(second(60.0)), "once the first end is a minute ago");
        // Then it is one of five, and the delay is that of the fifth.
        assert_eq!(restarts.next(second(60.0)), Start::At(now + Duration::from_secs(4)));
        assert_eq!(restarts.next(second(600.0)), Start::At(second(600.0)), "forgotten");
    }
}
