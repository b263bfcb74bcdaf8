//! Reading the log while it is written, the newest line first.
//!
//! A [`LogReader`] goes through the active file and then the segments, the newest first ([`files`]), each from its end ([`blocks`]). Blocks
//! and lines in which nothing wanted can stand are passed over as bytes ([`filter`]); of the others as much is taken apart as is asked
//! for ([`line`]). A block of lines is all that is in memory at a time, however long the log is.

mod blocks;
mod files;
mod filter;
mod line;
mod place;
mod stats;
mod verify;

use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

pub use filter::{Filter, TextPattern};
pub use line::Summary;
pub use place::Place;
pub use stats::{Stats, StatsRow};
pub use verify::{Fault, FaultKind, Verification};

use files::Files;
use filter::Verdict;

/// A log that may be written meanwhile.
#[derive(Debug, Clone)]
pub struct LogReader {
    path: PathBuf,
}

/// How much a page may hold, and how long the search for it may take.
#[derive(Debug, Clone, Copy)]
pub struct PageLimits {
    /// Lines.
    pub lines: usize,
    /// Bytes of lines; one line at least is told.
    pub bytes: usize,
    /// The search goes on in the next page after this time.
    pub time: Duration,
}

impl Default for PageLimits {
    fn default() -> Self {
        Self { lines: 100, bytes: 8 * 1024 * 1024, time: Duration::from_secs(5) }
    }
}

/// Some lines that are wanted.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// The lines as they stand in the log, without line breaks, the newest first.
    pub lines: Vec<Vec<u8>>,
    /// There may be more: [`Filter::before`] for the next page. A page may be empty and have a next one.
    pub next: Option<Place>,
}

impl LogReader {
    /// A reader of the log with this active file, which is opened when it is read.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// The active file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The newest lines that are wanted.
    ///
    /// # Errors
    /// The operating system's, or a compressed file is damaged. A log that isn't there is an empty one.
    pub fn page(&self, filter: &Filter, limits: PageLimits) -> io::Result<Page> {
        let deadline = Instant::now() + limits.time;
        let (mut lines, mut bytes) = (Vec::new(), 0);
        let next = self.scan(
            filter,
            |_, raw| {
                bytes += raw.len();
                lines.push(raw.to_vec());
                if lines.len() < limits.lines && bytes < limits.bytes { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            },
            || Instant::now() < deadline,
        )?;
        Ok(Page { lines, next })
    }

    /// The line of the interaction of this name. `may_go_on` is asked between two blocks.
    ///
    /// # Errors
    /// As [`LogReader::page`], or `may_go_on` said no ([`io::ErrorKind::Interrupted`]).
    pub fn find(&self, id: &str, may_go_on: impl Fn() -> bool) -> io::Result<Option<Vec<u8>>> {
        let mut found = None;
        let all = Filter::default();
        let name = serde_json::to_string(id).unwrap_or_default();
        let spelt = memchr::memmem::Finder::new(name.as_bytes());
        let mut files = Files::open(&self.path, &all)?;
        let mut block = Vec::new();
        while files.previous(&mut block)?.is_some() {
            if !may_go_on() {
                return Err(io::ErrorKind::Interrupted.into());
            }
            // Most blocks don't even hold its name.
            if spelt.find(&block).is_none() {
                continue;
            }
            let named = line::backwards(&block).map(|(_, raw)| raw).filter(|raw| spelt.find(raw).is_some());
            found = named.filter(|raw| Summary::of(raw).is_some_and(|line| line.id == id)).map(<[u8]>::to_vec).next();
            if found.is_some() {
                break;
            }
        }
        Ok(found)
    }

    /// Shows each line that is wanted, the newest first, until it is enough for `visit` or until `may_go_on` says no between two blocks.
    /// Returns the place before which there may be more.
    ///
    /// # Errors
    /// As [`LogReader::page`].
    pub fn scan(
        &self,
        filter: &Filter,
        mut visit: impl FnMut(&Summary, &[u8]) -> ControlFlow<()>,
        may_go_on: impl Fn() -> bool,
    ) -> io::Result<Option<Place>> {
        let mut files = Files::open(&self.path, filter)?;
        // A file that is sealed meanwhile may be met twice; its lines count once.
        let mut before = filter.before;
        let is_below = |before: Option<Place>, place: Option<Place>| before.is_none_or(|before| place.is_none_or(|place| place < before));
        let mut block = Vec::new();
        while let Some(origin) = files.previous(&mut block)? {
            if filter.may_want(&block) {
                for (start, raw) in line::backwards(&block).filter(|(_, raw)| filter.may_want(raw)) {
                    let Some(line) = Summary::of(raw) else { continue };
                    let place = origin.place(line.seq, start);
                    if !is_below(before, place) {
                        continue;
                    }
                    match filter.judge(&line, raw) {
                        Verdict::Wanted => {
                            before = place.or(before);
                            if visit(&line, raw).is_break() {
                                return Ok(before);
                            }
                        }
                        Verdict::Unwanted => {}
                        Verdict::TooOld => return Ok(None),
                    }
                }
            }
            if let Some(first) = Summary::of(line::first(&block)) {
                if filter.is_past(&first) {
                    return Ok(None);
                }
                let place = origin.place(first.seq, 0);
                before = place.filter(|_| is_below(before, place)).or(before);
            }
            if before != filter.before && !may_go_on() {
                return Ok(before);
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests;
