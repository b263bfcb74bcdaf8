//! Threads that work on one thing together.
//!
//! A step of GPT-2 is some thirty jobs of 20 to 500 microseconds, one after the other. Waking a thread for each would cost as much as
//! the smaller ones take, so the workers look for the next job for a moment (`SPINS`) before they sleep; an idle team uses no CPU.
//!
//! Tasks are claimed one by one, so a thread that is slow leaves its share to the others. One that loses its core in the middle of a
//! task holds up the job. Where that costs more than its help is worth, the caller works alone for a while ([`Team::step`]). Who
//! computes what has no part in any result.

use std::cell::Cell;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering};
use std::thread::{JoinHandle, Thread};
use std::time::{Duration, Instant};

/// How often a thread looks before it sleeps: 20 to 90 us by processor, about as long as the gaps between the jobs of a step.
const SPINS: u32 = 1500;
/// Steps over which waiting is weighed against working together.
const OBSERVED_STEPS: u32 = 8;
/// Steps that are taken alone when waiting was too long, and at most, when that goes on.
const ALONE: std::ops::RangeInclusive<u32> = 8..=64;

/// The calling thread and the workers that help it.
pub(in crate::gpt2) struct Team {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    /// Steps still to be taken alone, and how many it would be next time.
    alone: Cell<u32>,
    penalty: Cell<u32>,
    /// The last steps taken together: how many, how long they took, and how much of it was waiting for a thread that had lost its core.
    observed: Cell<u32>,
    elapsed: Cell<Duration>,
    waited: Cell<Duration>,
}

/// One job: how to call it, and what it is called with.
type Call = unsafe fn(*const (), usize);

struct Shared {
    /// Number of the job (32 bits), its tasks (16), tasks claimed (16). In one word, so that a claim succeeds for the very job that
    /// it was meant for or not at all.
    claim: AtomicU64,
    call: AtomicPtr<()>,
    data: AtomicPtr<()>,
    done: AtomicUsize,
    panicked: AtomicBool,
    /// Workers that sleep or are about to.
    sleeping: AtomicUsize,
    /// The caller sleeps, or is about to.
    caller_sleeps: AtomicBool,
    caller: std::sync::Mutex<Option<Thread>>,
    over: AtomicBool,
}

/// Tasks of a job for each thread, so that one that is held up leaves its share to the others.
const TASKS_PER_THREAD: usize = 4;
/// Tasks that a job may have.
const MAX_TASKS: usize = 0xFFFF;

impl Team {
    /// A team of `threads`, the caller among them.
    pub(in crate::gpt2) fn new(threads: usize) -> Self {
        let shared = Arc::new(Shared {
            claim: AtomicU64::new(0),
            call: AtomicPtr::default(),
            data: AtomicPtr::default(),
            done: AtomicUsize::new(0),
            panicked: AtomicBool::new(false),
            sleeping: AtomicUsize::new(0),
            caller_sleeps: AtomicBool::new(false),
            caller: std::sync::Mutex::new(None),
            over: AtomicBool::new(false),
        });
        let worker = |index: usize| {
            let shared = shared.clone();
            // Without the thread its share is done by the others.
            std::thread::Builder::new().name(format!("gpt2-{index}")).spawn(move || shared.work()).ok()
        };
        let workers = (1..threads).filter_map(worker).collect();
        let (alone, penalty) = (Cell::new(0), Cell::new(*ALONE.start()));
        let (elapsed, waited) = (Cell::new(Duration::ZERO), Cell::new(Duration::ZERO));
        Self { shared, workers, alone, penalty, observed: Cell::new(0), elapsed, waited }
    }

    /// Threads that work at this moment.
    pub(in crate::gpt2) fn threads(&self) -> usize {
        if self.alone.get() > 0 { 1 } else { self.workers.len() + 1 }
    }

    /// One step of the model; the team watches how well it is served by the machine.
    pub(in crate::gpt2) fn step<T>(&self, work: impl FnOnce() -> T) -> T {
        if self.workers.is_empty() {
            return work();
        }
        if self.alone.get() > 0 {
            let result = work();
            self.alone.set(self.alone.get() - 1);
            return result;
        }
        let start = Instant::now();
        let result = work();
        self.elapsed.set(self.elapsed.get() + start.elapsed());
        self.observed.set(self.observed.get() + 1);
        if self.observed.get() == OBSERVED_STEPS {
            self.weigh();
        }
        result
    }

    /// Whether working together has been worth it: without the waiting, as many times faster as there are threads.
    fn weigh(&self) {
        let (elapsed, waited) = (self.elapsed.take().as_secs_f64(), self.waited.take().as_secs_f64());
        self.observed.set(0);
        if waited > elapsed * (1.0 - 1.0 / self.threads() as f64) {
            self.alone.set(self.penalty.get());
            self.penalty.set((2 * self.penalty.get()).min(*ALONE.end()));
        } else {
            self.penalty.set(*ALONE.start());
        }
    }

    /// Calls `work` with every number below `tasks` once, and returns when all calls have returned.
    ///
    /// # Panics
    /// If one of them does.
    pub(in crate::gpt2) fn run<F: Fn(usize) + Sync>(&self, tasks: usize, work: F) {
        if tasks <= 1 || self.threads() == 1 {
            return (0..tasks).for_each(work);
        }
        assert!(tasks <= MAX_TASKS, "{tasks} tasks; a job may have {MAX_TASKS}");
        unsafe fn call<F: Fn(usize) + Sync>(work: *const (), task: usize) {
            // SAFETY: `work` is the address of the `F` that was stored beside this function's own, and `Team::run` keeps it until no call is
            // under way.
            unsafe { (*work.cast::<F>())(task) }
        }
        let shared = &*self.shared;
        shared.call.store(call::<F> as Call as *mut (), Ordering::Relaxed);
        shared.data.store((&raw const work).cast_mut().cast(), Ordering::Relaxed);
        shared.done.store(0, Ordering::Relaxed);
        let number = (shared.claim.load(Ordering::Relaxed) >> 32).wrapping_add(1);
        shared.claim.store(number << 32 | (tasks as u64) << 16, Ordering::SeqCst);
        if shared.sleeping.load(Ordering::SeqCst) > 0 {
            self.workers.iter().for_each(|worker| worker.thread().unpark());
        }
        shared.claim_tasks();
        self.wait(tasks);
        assert!(!shared.panicked.load(Ordering::Relaxed), "a kernel panicked on one of its threads");
    }

    /// As [`Team::run`], in which the calls share the numbers below `count` out in ranges.
    pub(in crate::gpt2) fn share_out(&self, count: usize, work: impl Fn(Range<usize>) + Sync) {
        let tasks = if self.threads() == 1 { 1 } else { count.min(TASKS_PER_THREAD * self.threads()) };
        self.run(tasks, |task| work(count * task / tasks..count * (task + 1) / tasks));
    }

    fn wait(&self, tasks: usize) {
        let shared = &*self.shared;
        let finished = || shared.done.load(Ordering::Acquire) == tasks;
        for _ in 0..SPINS {
            if finished() {
                return;
            }
            std::hint::spin_loop();
        }
        // Somebody has lost its core in the middle of a task; sleeping may give it this one.
        let start = Instant::now();
        *lock(&shared.caller) = Some(std::thread::current());
        shared.caller_sleeps.store(true, Ordering::SeqCst);
        while shared.done.load(Ordering::SeqCst) != tasks {
            std::thread::park();
        }
        shared.caller_sleeps.store(false, Ordering::SeqCst);
        self.waited.set(self.waited.get() + start.elapsed());
    }
}

impl Drop for Team {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::SeqCst);
        for worker in self.workers.drain(..) {
            worker.thread().unpark();
            // A worker's panics are caught in its tasks.
            let _ = worker.join();
        }
    }
}

impl Shared {
    /// A worker's life.
    fn work(&self) {
        loop {
            self.claim_tasks();
            if !self.await_tasks() {
                return;
            }
        }
    }

    /// Does tasks of the present job until none is left to claim.
    fn claim_tasks(&self) {
        loop {
            let claim = self.claim.load(Ordering::Acquire);
            if !has_tasks(claim) {
                return;
            }
            let (call, data) = (self.call.load(Ordering::Relaxed), self.data.load(Ordering::Relaxed));
            // Once this succeeds the job has an unfinished task, so the caller waits and what was read above is this job's.
            if self.claim.compare_exchange_weak(claim, claim + 1, Ordering::AcqRel, Ordering::Relaxed).is_err() {
                continue;
            }
            let (tasks, task) = ((claim >> 16 & 0xFFFF) as usize, (claim & 0xFFFF) as usize);
            // SAFETY: `run` stored the address of such a function; see also above.
            let outcome = catch_unwind(AssertUnwindSafe(|| unsafe { std::mem::transmute::<*mut (), Call>(call)(data, task) }));
            if outcome.is_err() {
                self.panicked.store(true, Ordering::Relaxed);
            }
            if self.done.fetch_add(1, Ordering::SeqCst) + 1 == tasks && self.caller_sleeps.load(Ordering::SeqCst) {
                lock(&self.caller).iter().for_each(Thread::unpark);
            }
        }
    }

    /// Waits for a job. `false`: there will be none.
    fn await_tasks(&self) -> bool {
        for _ in 0..SPINS {
            if has_tasks(self.claim.load(Ordering::Acquire)) {
                return true;
            }
            std::hint::spin_loop();
        }
        self.sleeping.fetch_add(1, Ordering::SeqCst);
        let over = loop {
            let over = self.over.load(Ordering::SeqCst);
            if over || has_tasks(self.claim.load(Ordering::SeqCst)) {
                break over;
            }
            std::thread::park();
        };
        self.sleeping.fetch_sub(1, Ordering::SeqCst);
        !over
    }
}

fn has_tasks(claim: u64) -> bool {
    claim & 0xFFFF < claim >> 16 & 0xFFFF
}

/// Nothing is done under this lock that could panic.
fn lock<T>(mutex: &std::sync::Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_is_done_once() {
        for threads in [1, 2, 3, 5] {
            let team = Team::new(threads);
            for tasks in [0, 1, 2, 7, 100] {
                for _ in 0..200 {
                    let counts: Vec<AtomicUsize> = (0..tasks).map(|_| AtomicUsize::new(0)).collect();
                    team.step(|| team.run(tasks, |task| _ = counts[task].fetch_add(1, Ordering::Relaxed)));
                    assert!(counts.iter().all(|count| count.load(Ordering::Relaxed) == 1), "{threads} threads, {tasks} tasks");
                }
            }
        }
    }

    #[test]
    fn sleepers_are_woken() {
        let team = Team::new(3);
        for _ in 0..20 {
            while team.shared.sleeping.load(Ordering::SeqCst) < 2 {
                std::thread::yield_now();
            }
            let count = AtomicUsize::new(0);
            team.run(8, |_| _ = count.fetch_add(1, Ordering::Relaxed));
            assert_eq!(count.into_inner(), 8);
        }
    }

    #[test]
    fn a_panic_reaches_the_caller() {
        let team = Team::new(2);
        let outcome = catch_unwind(AssertUnwindSafe(|| team.run(4, |task| assert!(task != 2, "no"))));
        assert!(outcome.is_err());
    }

    #[test]
    fn steps_that_wait_make_the_next_ones_solitary() {
        let team = Team::new(2);
        let late = || {
            let caller = std::thread::current().id();
            let arrived = AtomicBool::new(false);
            // Each thread takes one task; the worker's takes long.
            team.run(2, |_| {
                if std::thread::current().id() == caller {
                    while !arrived.load(Ordering::SeqCst) {
                        std::hint::spin_loop();
                    }
                } else {
                    arrived.store(true, Ordering::SeqCst);
                    std::thread::sleep(Duration::from_millis(20));
                }
            });
        };
        for _ in 0..OBSERVED_STEPS {
            assert_eq!(team.threads(), 2);
            team.step(late);
        }
        assert_eq!(team.threads(), 1);
        for _ in 0..*ALONE.start() {
            team.step(|| {});
        }
        assert_eq!(team.threads(), 2);
    }
}
