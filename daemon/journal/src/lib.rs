//! The interaction log: one JSON object a line, appended and never changed.
//!
//! [`Journal`] hands out [`Place`]s before the work begins and writes each [`Record`] with one `write(2)` on one thread; who waits for
//! [`Written`] knows that the kernel has the whole line. [`record`] says what a line holds, [`file`] keeps the file whole. [`segment`] knows the
//! files that a log consists of, [`chain`] makes changes in them evident. [`reading`] finds lines in them and verifies them.

pub mod chain;
mod file;
mod journal;
pub mod reading;
mod record;
pub mod segment;

pub use file::JournalFile;
pub use journal::{Journal, JournalError, Place, Written};
pub use record::{Computation, Outcome, Record, TokenUsage};
