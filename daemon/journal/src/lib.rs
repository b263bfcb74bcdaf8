//! The interaction log: one JSON object a line, appended and never changed.
//!
//! [`Journal`] hands out [`Place`]s before the work begins and writes each [`Record`] with one `write(2)` on one thread; who waits for
//! [`Written`] knows what became of it. How a log is kept is said by [`Options`].
//!
//! - [`record`] says what a line holds, [`privacy`] what of it may be written, [`chain`] makes changes in it evident.
//! - [`segment`] knows the files that a log consists of: the [`active`] one, and sealed ones, which [`compress`] makes smaller and
//!   [`keeper`] looks after. [`position`] is where they end, [`deleted`] where those ended that are gone,
//!   [`tail`] what a stopped daemon or machine has left there.
//! - [`reading`] finds lines in them, newest first, and verifies them.
//! - [`writer`] is the thread that writes what comes through [`queue`], seals the active file, and recovers when a disk does;
//!   [`syncer`] brings lines to the disk in the [`background`], [`health`] is what they know of each other.
//! - [`disk`] is all that changes files, so that tests can make each of its operations fail.

mod active;
mod background;
pub mod chain;
mod compress;
mod deleted;
mod disk;
mod error;
mod health;
mod journal;
mod keeper;
mod options;
mod position;
mod privacy;
mod queue;
pub mod reading;
mod record;
pub mod segment;
mod syncer;
mod tail;
#[cfg(test)]
mod tests;
mod writer;

pub use error::JournalError;
pub use journal::{Journal, Kept, Place, Written};
pub use options::{Keep, OnFailure, Options, Recording, Rotate, SyncMode};
pub use record::{Computation, Outcome, Record, TokenHashes, TokenUsage};
pub use regex::Regex;
