//! Where a log stands: its last number and its last chain.

use std::io;
use std::path::Path;

use jiff::Timestamp;
use serde::Deserialize;

use crate::chain::{Chain, START, follow};
use crate::deleted;
use crate::segment::{Segment, lines_of, segments};

/// Where a log stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Position {
    /// The last line's number, 0 before the first numbered line.
    pub seq: u64,
    /// The last line's chain.
    pub chain: Chain,
}

impl Position {
    /// Before the first line.
    pub const START: Self = Self { seq: 0, chain: START };

    /// The end of a log, also of one whose lines were all deleted; `None`: it never held any.
    pub fn at_end_of(log: &Path) -> io::Result<Option<Self>> {
        Self::behind(deleted::positions(log).pop(), &segments(log)?)
    }

    /// The end of these files, which follow each other and this position; `None`: it is none, and they hold no line.
    ///
    /// The last one is read whole. Those before are read only where it doesn't tell: it is empty, or of an older format.
    pub fn behind(before: Option<Self>, segments: &[Segment]) -> io::Result<Option<Self>> {
        let Some((last, earlier)) = segments.split_last() else { return Ok(before) };
        let mut end = End::default();
        for_each_line(last, |line| end.add(line))?;
        if end.lines == 0 {
            return Self::behind(before, earlier);
        }
        if let (seq @ 1.., Some(chain)) = (end.seq, end.chain) {
            return Ok(Some(Self { seq, chain }));
        }
        let before = Self::behind(before, earlier)?.unwrap_or(Self::START);
        let mut end = End { chain: Some(before.chain), ..End::default() };
        for_each_line(last, |line| end.add(line))?;
        Ok(Some(Self { seq: end.seq.max(before.seq), chain: end.chain.unwrap_or(before.chain) }))
    }
}

/// What is known after some lines.
#[derive(Default)]
struct End {
    lines: u64,
    /// Known from the first line on that tells its chain, or from the start.
    chain: Option<Chain>,
    seq: u64,
}

impl End {
    fn add(&mut self, line: &[u8]) {
        self.lines += 1;
        let followed = follow(&self.chain.unwrap_or(START), line);
        self.chain = followed.told.or_else(|| self.chain.map(|_| followed.computed));
        if let Some(LineHead { seq: seq @ 1.., .. }) = LineHead::of(line) {
            self.seq = seq;
        }
    }
}

/// Calls for each line of a segment, without its line break.
fn for_each_line(segment: &Segment, mut line_follows: impl FnMut(&[u8])) -> io::Result<()> {
    let mut lines = lines_of(segment)?;
    let mut line = Vec::new();
    while lines.read_until(b'\n', &mut line)? > 0 {
        line_follows(line.strip_suffix(b"\n").unwrap_or(&line));
        line.clear();
    }
    Ok(())
}

/// What places a line in the log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct LineHead {
    /// Its number, 0 in a log of the Python original, which has none.
    pub seq: u64,
    /// When its request arrived, where it says so in a way that can be understood.
    pub time: Option<Timestamp>,
}

impl LineHead {
    /// `None`: the line is no JSON object.
    pub fn of(line: &[u8]) -> Option<Self> {
        #[derive(Deserialize)]
        struct Fields<'a> {
            #[serde(default)]
            seq: u64,
            #[serde(default, borrow)]
            timestamp: Option<std::borrow::Cow<'a, str>>,
        }
        let Fields { seq, timestamp } = serde_json::from_slice(line).ok()?;
        Some(Self { seq, time: timestamp.and_then(|text| text.parse().ok()) })
    }
}
