//! Whose turn it is to compute: two engines never compute with all threads at once.
//!
//! A model's threads wait for each other inside a step, so two models that share the cores hold each other up far beyond what they
//! compute: each wait of one lasts as long as the other is let run. So an engine takes the turn for each step and gives it back
//! before it chooses tokens, and never holds it while it waits for work. Engines that want it at the same time alternate, step by step.
//!
//! An engine in a process of its own takes part: the process that started it says where its turn is ([`share`]), and it joins ([`join`]).

mod crossing;

use std::fmt::Debug;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};

use crossing::Crossing;

/// A turn that one engine at a time has. All that share the cores share one.
///
/// An implementation that reaches beyond this process has to give a turn back whose holder died.
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

/// The one turn of this process, and of those that it shares it with.
pub fn of_this_process() -> Arc<dyn Turn> {
    process_turn().clone()
}

/// Lets other processes take part in this one's turn; where they find it. Without `/proc` they can't: Linux has it.
///
/// # Errors
/// There is no room for files, or no `/proc`.
pub fn share() -> io::Result<Vec<PathBuf>> {
    let turn = process_turn();
    // Whoever comes second between these two lines finds the first one's.
    let crossing = match turn.crossing.get() {
        Some(crossing) => crossing,
        None => {
            let new = Crossing::create()?;
            turn.crossing.get_or_init(|| new)
        }
    };
    Ok(crossing.paths())
}

/// Takes part in another process's turn, found where [`share`] says.
///
/// # Errors
/// It isn't there, or this process takes part in one already.
pub fn join(paths: &[PathBuf]) -> io::Result<()> {
    process_turn().crossing.set(Crossing::open(paths)?).map_err(|_| io::ErrorKind::AlreadyExists.into())
}

fn process_turn() -> &'static Arc<ProcessTurn> {
    static TURN: OnceLock<Arc<ProcessTurn>> = OnceLock::new();
    TURN.get_or_init(Arc::default)
}

/// A turn among the threads of one process, and among processes once it is shared.
#[derive(Debug, Default)]
struct ProcessTurn {
    line: Line,
    crossing: OnceLock<Crossing>,
}

impl Turn for ProcessTurn {
    fn take(&self) {
        self.line.take();
        if let Some(crossing) = self.crossing.get() {
            crossing.take();
        }
    }

    fn give_back(&self) {
        // Shared since it was taken, it is given back without having been; that does nothing.
        if let Some(crossing) = self.crossing.get() {
            crossing.give_back();
        }
        self.line.give_back();
    }
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

    /// Run by the test below in processes of their own: takes the turn of the process that says where it is, and keeps it.
    #[test]
    #[ignore = "it is another process's part"]
    fn keeps_a_turn() {
        let paths: Vec<PathBuf> = std::env::var("MINIVAULT_TEST_TURN").unwrap().split(' ').map(Into::into).collect();
        join(&paths).unwrap();
        let turn = of_this_process();
        let _taken = turn.taken();
        println!("has it");
        // Until it is killed.
        io::stdin().read_line(&mut String::new()).unwrap();
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_turn_goes_round_between_processes_and_comes_back_from_the_dead() {
        use std::io::{BufRead, BufReader};
        use std::process::{Command, Stdio};

        let crossing = Crossing::create().unwrap();
        let paths = crossing.paths();
        let spawn = || {
            let mut command = Command::new(std::env::current_exe().unwrap());
            command.args(["--exact", "turn::tests::keeps_a_turn", "--ignored", "--nocapture"]);
            command.env("MINIVAULT_TEST_TURN", paths.iter().map(|path| path.to_str().unwrap()).collect::<Vec<_>>().join(" "));
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap()
        };
        let mut first = spawn();
        let mut said = BufReader::new(first.stdout.take().unwrap()).lines().map_while(Result::ok);
        assert!(said.any(|line| line.contains("has it")));
        // It is taken, and whoever else wants it waits.
        let other = Crossing::open(&paths).unwrap();
        let (sender, taken) = std::sync::mpsc::channel();
        let waiting = std::thread::spawn(move || {
            other.take();
            sender.send(()).unwrap();
            other
        });
        assert!(taken.recv_timeout(std::time::Duration::from_millis(100)).is_err(), "two have the turn");
        first.kill().unwrap();
        taken.recv().unwrap();
        first.wait().unwrap();
        // Given back, it goes to the next process.
        let mut second = spawn();
        waiting.join().unwrap().give_back();
        let mut said = BufReader::new(second.stdout.take().unwrap()).lines().map_while(Result::ok);
        assert!(said.any(|line| line.contains("has it")));
        drop(second.stdin.take());
        assert!(second.wait().unwrap().success());
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn two_that_want_a_turn_between_processes_alternate() {
        let crossing = Crossing::create().unwrap();
        let order = Mutex::new(Vec::new());
        // The first is held until both have come.
        crossing.take();
        std::thread::scope(|scope| {
            for name in ['a', 'b'] {
                let (own, order) = (Crossing::open(&crossing.paths()).unwrap(), &order);
                scope.spawn(move || {
                    for _ in 0..200 {
                        own.take();
                        order.lock().unwrap().push(name);
                        own.give_back();
                    }
                });
            }
            crossing.give_back();
        });
        let order = order.into_inner().unwrap();
        let longest = order.chunk_by(|one, next| one == next).map(<[_]>::len).max().unwrap();
        println!("at most {longest} in a row of {}", order.len());
        assert_eq!(order.len(), 400);
    }
}
