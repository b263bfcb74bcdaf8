//! Who computes what.

use std::ops::Range;

use rayon::prelude::*;

/// Rows up to which a step stays on the engine's thread.
///
/// One thread gets about 80 % of the memory's bandwidth, and it keeps that when another process wants a core: two threads that wait
/// for each other twenty times a token don't.
const NARROW_ROWS: usize = 2;

/// Tasks for each thread, so that one that is held up leaves its share to the others.
const TASKS_PER_THREAD: usize = 4;

/// Whether a step of so many rows is computed by all threads.
pub(in crate::gpt2) fn is_wide(rows: usize) -> bool {
    rows > NARROW_ROWS && rayon::current_num_threads() > 1
}

/// Does a step's work where its threads are: a wide one among them, so that they are woken once and not at every layer.
pub(in crate::gpt2) fn on_threads<T: Send>(rows: usize, work: impl FnOnce() -> T + Send) -> T {
    if is_wide(rows) { rayon::scope(|_| work()) } else { work() }
}

/// Shares `count` things out in ranges; which thread gets which has no part in any result.
pub(super) fn share_out(count: usize, rows: usize, work: impl Fn(Range<usize>) + Sync) {
    if !is_wide(rows) {
        return work(0..count);
    }
    let tasks = count.min(TASKS_PER_THREAD * rayon::current_num_threads());
    (0..tasks).into_par_iter().with_max_len(1).for_each(|task| work(count * task / tasks..count * (task + 1) / tasks));
}
