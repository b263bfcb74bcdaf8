//! How fast engines get done with requests, so that who is refused learns when to come back.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Ends that are remembered of each engine.
const REMEMBERED: usize = 32;
/// The longest that anybody is told to wait; by then everything may be different.
const LONGEST: Duration = Duration::from_secs(60);

/// When requests ended, engine by engine.
#[derive(Debug, Default)]
pub struct Throughput(Mutex<BTreeMap<String, VecDeque<Instant>>>);

impl Throughput {
    /// One has ended.
    pub fn note(&self, engine: &str) {
        let mut engines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let ends = match engines.get_mut(engine) {
            Some(ends) => ends,
            None => engines.entry(engine.to_owned()).or_default(),
        };
        if ends.len() == REMEMBERED {
            ends.pop_front();
        }
        ends.push_back(Instant::now());
    }

    /// How long it is, on average, until one more ends and leaves its place. `None` while too little is known.
    pub fn wait(&self, engine: &str) -> Option<Duration> {
        let engines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let ends = engines.get(engine)?;
        let first = ends.front().filter(|_| ends.len() > 1)?;
        // With the time since the last one: an engine that has become slow says so.
        let each = first.elapsed() / u32::try_from(ends.len()).unwrap_or(u32::MAX);
        Some(each.clamp(Duration::from_secs(1), LONGEST))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_wait_is_the_time_between_two_ends() {
        let throughput = Throughput::default();
        assert_eq!(throughput.wait("a"), None);
        throughput.note("a");
        assert_eq!(throughput.wait("a"), None);
        for _ in 0..100 {
            tokio::time::advance(Duration::from_secs(8)).await;
            throughput.note("a");
        }
        let wait = throughput.wait("a").unwrap();
        assert!((Duration::from_secs(7)..=Duration::from_secs(8)).contains(&wait), "{wait:?}");
        tokio::time::advance(Duration::from_secs(320)).await;
        assert!(throughput.wait("a").unwrap() > Duration::from_secs(16), "it has become slower");
        tokio::time::advance(Duration::from_secs(86_400)).await;
        assert_eq!(throughput.wait("a"), Some(LONGEST));
        assert_eq!(throughput.wait("b"), None);
    }
}
