//! The servers of an engine: which one is asked next, and which ones rest.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::server::Server;

/// How long a server rests after its first failure; twice as long after each further one.
const FIRST_REST: Duration = Duration::from_secs(1);
/// The longest rest.
const LONGEST_REST: Duration = Duration::from_secs(60);

/// Servers that all have the same model.
#[derive(Debug)]
pub(super) struct Fleet {
    servers: Vec<Server>,
    states: Mutex<Vec<State>>,
}

/// How one server is doing.
#[derive(Debug, Clone, Copy, Default)]
struct State {
    /// Answers under way.
    active: usize,
    /// When it was chosen last, counted in choices.
    chosen: u64,
    /// Failures since its last success.
    failures: u32,
    /// It is left alone until then, as long as there are others.
    rests_until: Option<Instant>,
}

impl Fleet {
    pub fn new(servers: Vec<Server>) -> Self {
        let states = Mutex::new(vec![State::default(); servers.len()]);
        Self { servers, states }
    }

    pub fn servers(&self) -> &[Server] {
        &self.servers
    }

    /// The server to ask: of those not tried yet the least busy one, in turn where several are equal. One that rests comes after all
    /// others, but it comes: were all at rest, a request would fail without anybody having been asked.
    pub fn choose(self: &Arc<Self>, tried: &[usize]) -> Option<Engaged> {
        let now = Instant::now();
        let mut states = self.states();
        let choice = states.iter().map(|state| state.chosen).max().unwrap_or(0) + 1;
        let order = |state: &State| (state.rests_until.filter(|until| *until > now), state.active, state.chosen);
        let candidates = states.iter_mut().enumerate().filter(|(index, _)| !tried.contains(index));
        let (index, state) = candidates.min_by_key(|(_, state)| order(state))?;
        state.active += 1;
        state.chosen = choice;
        drop(states);
        Some(Engaged { fleet: self.clone(), index })
    }

    fn states(&self) -> std::sync::MutexGuard<'_, Vec<State>> {
        // Every section leaves the states whole.
        self.states.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A server with one more answer under way, until this is dropped.
#[derive(Debug)]
pub(super) struct Engaged {
    fleet: Arc<Fleet>,
    index: usize,
}

impl Engaged {
    /// Its place among the servers.
    pub fn index(&self) -> usize {
        self.index
    }

    pub fn server(&self) -> &Server {
        &self.fleet.servers[self.index]
    }

    /// It answers: all is forgiven.
    pub fn succeeded(&self) {
        let state = &mut self.fleet.states()[self.index];
        (state.failures, state.rests_until) = (0, None);
    }

    /// It failed. Returns how long it rests.
    pub fn failed(&self) -> Duration {
        let state = &mut self.fleet.states()[self.index];
        let rest = FIRST_REST.saturating_mul(1 << state.failures.min(16)).min(LONGEST_REST);
        // Requests that failed together are one failure.
        if state.rests_until.is_none_or(|until| until <= Instant::now()) {
            state.failures += 1;
            state.rests_until = Some(Instant::now() + rest);
        }
        rest
    }

    /// It is full, or loads: others go first for this long.
    pub fn is_busy_for(&self, wait: Duration) {
        let state = &mut self.fleet.states()[self.index];
        // A failed one rests no shorter for it.
        state.rests_until = state.rests_until.max(Some(Instant::now() + wait.min(LONGEST_REST)));
    }
}

impl Drop for Engaged {
    fn drop(&mut self) {
        self.fleet.states()[self.index].active -= 1;
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn fleet(count: usize) -> Arc<Fleet> {
        Arc::new(Fleet::new((0..count).map(Server::nowhere).collect()))
    }

    #[tokio::test(start_paused = true)]
    async fn the_least_busy_one_is_asked() {
        let fleet = fleet(3);
        let held: Vec<Engaged> = (0..3).map(|_| fleet.choose(&[]).unwrap()).collect();
        assert_eq!(held.iter().map(Engaged::index).collect::<Vec<_>>(), [0, 1, 2]);
        drop(held.into_iter().nth(1));
        // All are free again, and the next in turn is the first.
        assert_eq!(fleet.choose(&[]).unwrap().index(), 0);
        let first = fleet.choose(&[]).unwrap();
        let second = fleet.choose(&[]).unwrap();
        let third = fleet.choose(&[]).unwrap();
        drop(second);
        assert_eq!(fleet.choose(&[]).unwrap().index(), 2, "the one without an answer under way");
        drop((first, third));
        assert!(fleet.choose(&[0, 1, 2]).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_one_rests_longer_each_time_and_is_tried_again() {
        let fleet = fleet(2);
        for seconds in [1, 2, 4, 8, 16, 32, 60, 60] {
            let failing = fleet.choose(&[1]).unwrap();
            assert_eq!(failing.failed().as_secs(), seconds);
            failing.failed();
            drop(failing);
            for _ in 0..3 {
                assert_eq!(fleet.choose(&[]).unwrap().index(), 1);
            }
            tokio::time::advance(Duration::from_secs(seconds)).await;
            assert_eq!(fleet.choose(&[]).unwrap().index(), 0, "rested enough");
        }
        let engaged = fleet.choose(&[1]).unwrap();
        engaged.succeeded();
        assert_eq!(engaged.failed().as_secs(), 1);
        assert_eq!(fleet.choose(&[1]).unwrap().index(), 0, "with nobody else to ask, rest or not");
    }
}
