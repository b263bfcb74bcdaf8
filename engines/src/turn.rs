//! Whose turn it is to compute: two engines never compute with all threads at once.
//!
//! A model's threads wait for each other inside a step, so two models that share the cores hold each other up far beyond what they
//! compute: each wait of one lasts as long as the other is let run. So an engine takes the turn for each step and gives it back
//! before it chooses tokens, and never holds it while it waits for work. Engines that want it at the same time alternate, step by step.

use std::fmt::Debug;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};

/// A turn that one engine at a time has. All that share the cores share one.
///
/// An implementation may reach beyond this process, over a lock on a file for example; it then has to give a turn back whose holder died.
pub trait Turn: Debug + Send + Sync {
    /// Waits for the turn; those that wait get it in the order in which they came.
    fn take(&self);

    /// Gives it to whoever waits longest.
    fn give_back(&self);
}

impl dyn Turn {
    /// Waits for the turn, and gives it back when the guard is dropped, also by a panic.
    pub fn taken(&self) -> Taken<'_> {
        self.take();
        Taken(self)
    }
}

/// Has the turn until it is dropped.
#[must_use = "the turn is given back when this is dropped"]
pub struct Taken<'a>(&'a dyn Turn);

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        self.0.give_back();
    }
}

/// The one turn of this process.
pub fn of_this_process() -> Arc<dyn Turn> {
    static TURN: OnceLock<Arc<Line>> = OnceLock::new();
    TURN.get_or_init(Arc::default).clone()
}

/// A turn among the threads of one process. Where nobody else wants it, taking it is a lock without contention.
#[derive(Debug, Default)]
pub struct Line {
    numbers: Mutex<Numbers>,
    moved: Condvar,
}

/// Each that comes draws a number and waits until it is served.
#[derive(Debug, Default)]
struct Numbers {
    next: u64,
    served: u64,
}

impl Line {
    /// How many want the turn, whoever has it included.
    pub fn wanted(&self) -> usize {
        let numbers = self.numbers();
        usize::try_from(numbers.next - numbers.served).unwrap_or(usize::MAX)
    }

    fn numbers(&self) -> MutexGuard<'_, Numbers> {
        self.numbers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turn for Line {
    fn take(&self) {
        let mut numbers = self.numbers();
        let mine = numbers.next;
        numbers.next += 1;
        drop(self.moved.wait_while(numbers, |numbers| numbers.served != mine).unwrap_or_else(PoisonError::into_inner));
    }

    fn give_back(&self) {
        let mut numbers = self.numbers();
        numbers.served += 1;
        let someone_waits = numbers.next > numbers.served;
        drop(numbers);
        // Waking costs a call of the system even where nobody sleeps.
        if someone_waits {
            self.moved.notify_all();
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Instant;

    use super::*;

    #[test]
    fn one_at_a_time_in_the_order_of_coming() {
        let line = Line::default();
        let order = Mutex::new(Vec::new());
        let inside = AtomicUsize::new(0);
        let turn: &dyn Turn = &line;
        let first = turn.taken();
        std::thread::scope(|scope| {
            for number in 1..=4 {
                let (order, inside) = (&order, &inside);
                scope.spawn(move || {
                    let _taken = turn.taken();
                    assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                    order.lock().unwrap().push(number);
                    inside.fetch_sub(1, Ordering::SeqCst);
                });
                // The next one comes when this one stands in line.
                while line.wanted() < number + 1 {
                    std::thread::yield_now();
                }
            }
            drop(first);
        });
        assert_eq!(*order.lock().unwrap(), [1, 2, 3, 4]);
    }

    #[test]
    fn a_panic_gives_the_turn_back() {
        let turn: Arc<dyn Turn> = Arc::<Line>::default();
        let panicking = turn.clone();
        let outcome = std::thread::spawn(move || {
            let _taken = panicking.taken();
            panic!("in the middle of a step");
        });
        assert!(outcome.join().is_err());
        drop(turn.taken());
    }

    #[test]
    fn whoever_is_alone_hardly_notices() {
        let turn: Arc<dyn Turn> = Arc::<Line>::default();
        let begin = Instant::now();
        for _ in 0..100_000 {
            drop(turn.taken());
        }
        let each = begin.elapsed() / 100_000;
        println!("a turn costs {} ns", each.as_nanos());
        // A busy machine may take its time; a call of the system or a sleep each time would be beyond this.
        assert!(each.as_micros() < 20, "{each:?}");
    }
}
