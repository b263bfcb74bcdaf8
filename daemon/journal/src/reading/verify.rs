//! Whether the log is whole: chain, numbers, lines.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::LogReader;
use super::files::{first_line, found, open_active};
use super::line::Numbered;
use crate::chain::{self, Chain, Followed};
use crate::deleted;
use crate::position::Position;
use crate::segment::{Kind, Segment, lines_of, segments};

/// How long a line that isn't whole is given to become so: its writer may be at it.
const PATIENCE: Duration = Duration::from_millis(200);

/// What verifying a log has shown.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verification {
    /// Lines that were looked at.
    pub lines: u64,
    /// Files that they stand in.
    pub files: usize,
    /// The first line's number.
    pub first_seq: Option<u64>,
    /// The last line's number.
    pub last_seq: Option<u64>,
    /// Lines of an older format, which carry no chain; the next line's covers them.
    pub without_chain: u64,
    /// The first line isn't the log's first, because the limits on what is kept have deleted older files; it follows what was in them.
    pub beginning_is_gone: bool,
    /// The last line's chain, in hex. Kept elsewhere, it shows later whether lines are missing at the end.
    pub chain: Option<String>,
    /// The first thing that is wrong.
    pub fault: Option<Fault>,
}

/// Something that is wrong with a log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// The file.
    pub file: PathBuf,
    /// The line in the file (of a compressed one, as zcat shows it), from 1.
    pub line: u64,
    /// The line's number in the log, where it tells one.
    pub seq: Option<u64>,
    /// What is wrong with it.
    pub kind: FaultKind,
}

/// What is wrong with a line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// It isn't a JSON object.
    NotALine,
    /// Its end is missing.
    Torn,
    /// It isn't what was written, or it doesn't follow the line before it.
    Changed,
    /// It has no chain, though lines before it have one.
    Unchained,
    /// Another number was to come.
    WrongNumber {
        /// That one.
        expected: u64,
    },
    /// It is the first one that is left, and the limits on what is kept have not deleted those before it.
    NothingBefore,
    /// The file can't be read any further.
    Unreadable {
        /// Why.
        cause: String,
    },
}

impl std::fmt::Display for Fault {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}, line {}", self.file.display(), self.line)?;
        if let Some(seq) = self.seq {
            write!(formatter, " (seq {seq})")?;
        }
        match &self.kind {
            FaultKind::NotALine => write!(formatter, ": it isn't a JSON object"),
            FaultKind::Torn => write!(formatter, ": its end is missing"),
            FaultKind::Changed => write!(formatter, ": it isn't what was written, or it doesn't follow the line before it"),
            FaultKind::Unchained => write!(formatter, ": it has no chain, though lines before it have one"),
            FaultKind::WrongNumber { expected } => write!(formatter, ": seq {expected} was to come"),
            FaultKind::NothingBefore => {
                write!(formatter, ": the lines before it are missing, and were not deleted because of the limits on what is kept")
            }
            FaultKind::Unreadable { cause } => write!(formatter, ": the file can't be read any further: {cause}"),
        }
    }
}

impl LogReader {
    /// Goes through the whole log from its first line to the first that is wrong. `may_go_on` is asked now and then.
    ///
    /// # Errors
    /// The folder or the active file can't be read, or `may_go_on` said no ([`io::ErrorKind::Interrupted`]).
    pub fn verify(&self, may_go_on: impl Fn() -> bool) -> io::Result<Verification> {
        let mut state = State::new(self.path());
        // Held while the others are read: it may be sealed, and others may grow, meanwhile. They aren't looked at.
        let mut active = open_active(self.path())?;
        let mut sealed = segments(self.path())?;
        if let Some(active) = &mut active {
            let held = Held::of(active)?;
            sealed.retain(|segment| !held.is_behind(segment));
        }
        for segment in sealed.iter().filter(|segment| segment.kind != Kind::Active) {
            match found(lines_of(segment))? {
                Some(lines) => state.file(&segment.path, lines, &may_go_on)?,
                // The limits on what is kept have deleted it, and so all before it.
                None => state = State::new(self.path()),
            }
            if state.seen.fault.is_some() {
                return Ok(state.seen);
            }
        }
        if let Some(active) = active {
            let lines = Box::new(BufReader::new(Patient { file: active, waited: false }));
            state.file(self.path(), lines, &may_go_on)?;
        }
        Ok(state.conclude())
    }
}

/// The active file, which may have been sealed since it was opened.
struct Held {
    /// The number of its first line. Asked once the others were listed: it may have been empty, and filled, and sealed before.
    first: Option<u64>,
    device_and_inode: (u64, u64),
}

impl Held {
    fn of(active: &mut File) -> io::Result<Self> {
        let metadata = active.metadata()?;
        let first = first_line(active)?.and_then(|line| Numbered::of(&line));
        Ok(Self { first, device_and_inode: (metadata.dev(), metadata.ino()) })
    }

    /// Whether a listed segment is this very file, or one that came after it.
    fn is_behind(&self, segment: &Segment) -> bool {
        let is_this = || std::fs::metadata(&segment.path).is_ok_and(|found| (found.dev(), found.ino()) == self.device_and_inode);
        segment.first_seq.zip(self.first).map_or_else(is_this, |(segment, first)| segment >= first)
    }
}

/// What is known behind the lines read so far.
struct State<'a> {
    log: &'a Path,
    seen: Verification,
    /// Where the log stood behind lines that were deleted, as known before the first file was opened.
    deleted: Vec<Position>,
    /// That of the line before the next one.
    chain: Chain,
    /// Whether a line with a chain has been seen.
    chained: bool,
    /// The last line, if it has no chain, until the next line's chain tells whether it was written so: an older daemon may have.
    unsure: Option<Unchained>,
}

/// A line without a chain.
struct Unchained {
    /// What is told of it if it was written with one.
    fault: Fault,
    /// Before it.
    previous: Chain,
    line: Vec<u8>,
    /// Lines before it have one.
    after_chained: bool,
}

impl Unchained {
    /// Whether the next line, whose chain doesn't follow from this one as it stands, follows from what it was before its chain was damaged.
    fn was_damaged(&self, next: &[u8]) -> bool {
        let Some(content) = self.line.len().checked_sub(chain::FIELD_LENGTH).and_then(|length| self.line.get(..length)) else {
            return false;
        };
        let before = chain::link(&self.previous, &[content, b"}"].concat());
        let Followed { computed, told } = chain::follow(&before, next);
        told == Some(computed)
    }
}

impl<'a> State<'a> {
    /// Before the first line.
    fn new(log: &'a Path) -> Self {
        Self { log, seen: Verification::default(), deleted: deleted::positions(log), chain: chain::START, chained: false, unsure: None }
    }

    /// Finds out what the first line that is left has to follow.
    fn begin(&mut self, seq: Option<u64>) -> Result<(), FaultKind> {
        // Segments may have been deleted since, and then this one's forerunner.
        self.deleted.extend(deleted::positions(self.log));
        match self.deleted.iter().find(|before| seq.is_some_and(|seq| before.seq.checked_add(1) == Some(seq))) {
            Some(before) => (self.chain, self.seen.beginning_is_gone) = (before.chain, true),
            None if seq.is_some_and(|seq| seq != 1) => return Err(FaultKind::NothingBefore),
            None => {}
        }
        Ok(())
    }

    fn file(&mut self, path: &Path, mut lines: Box<dyn BufRead>, may_go_on: &impl Fn() -> bool) -> io::Result<()> {
        self.seen.files += 1;
        let (mut number, mut line) = (0, Vec::new());
        loop {
            line.clear();
            number += 1;
            let fault = |seq, kind| Some(Fault { file: path.to_owned(), line: number, seq, kind });
            match lines.read_until(b'\n', &mut line) {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                Err(error) => {
                    self.seen.fault = fault(None, FaultKind::Unreadable { cause: error.to_string() });
                    return Ok(());
                }
            }
            if number % 1024 == 0 && !may_go_on() {
                return Err(io::ErrorKind::Interrupted.into());
            }
            let outcome = match line.split_last() {
                Some((b'\n', whole)) => self.line(whole, number, path),
                _ => Err((None, FaultKind::Torn)),
            };
            if let Err((seq, kind)) = outcome {
                // Where it was doubtful whether the line before is as it was written, this one may have shown that it isn't.
                let before = self
                    .unsure
                    .take()
                    .filter(|before| kind == FaultKind::Changed && (before.after_chained || before.was_damaged(line_without_break(&line))));
                self.seen.fault = before.map(|before| before.fault).or_else(|| fault(seq, kind));
                return Ok(());
            }
            self.seen.lines += 1;
        }
    }

    fn line(&mut self, line: &[u8], number: u64, path: &Path) -> Result<(), (Option<u64>, FaultKind)> {
        let seq = Numbered::of(line);
        if self.seen.lines == 0 {
            self.begin(seq).map_err(|kind| (seq, kind))?;
        }
        let Followed { computed, told } = chain::follow(&self.chain, line);
        match told {
            Some(told) if told != computed => return Err((seq, FaultKind::Changed)),
            Some(told) => {
                (self.chain, self.chained, self.unsure) = (told, true, None);
                self.seen.chain = Some(blake3::Hash::from_bytes(told).to_hex().to_string());
            }
            None => {
                let fault = Fault { file: path.to_owned(), line: number, seq, kind: FaultKind::Unchained };
                // Of several, the first one behind a line with a chain is the doubtful one.
                if self.unsure.as_ref().is_none_or(|before| !before.after_chained) {
                    self.unsure = Some(Unchained { fault, previous: self.chain, line: line.to_vec(), after_chained: self.chained });
                }
                self.chain = computed;
                self.seen.without_chain += 1;
            }
        }
        if !is_an_object(line) {
            return Err((seq, FaultKind::NotALine));
        }
        match (self.seen.last_seq, seq) {
            (Some(last), seq) if seq != Some(last + 1) => return Err((seq, FaultKind::WrongNumber { expected: last + 1 })),
            (None, Some(seq)) => self.seen.first_seq = Some(seq),
            _ => {}
        }
        self.seen.last_seq = seq.or(self.seen.last_seq);
        Ok(())
    }

    /// The end of the log.
    fn conclude(mut self) -> Verification {
        let unsure = self.unsure.filter(|unsure| unsure.after_chained).map(|unsure| unsure.fault);
        self.seen.fault = self.seen.fault.or(unsure);
        self.seen
    }
}

fn line_without_break(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\n").unwrap_or(line)
}

fn is_an_object(line: &[u8]) -> bool {
    line.first() == Some(&b'{') && serde_json::from_slice::<serde::de::IgnoredAny>(line).is_ok()
}

/// A file whose end, where it comes within a line, is looked at once more after a moment.
struct Patient {
    file: File,
    waited: bool,
}

impl Read for Patient {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.file.read(buffer)? {
            0 if !self.waited && !buffer.is_empty() && self.ends_within_a_line()? => {
                self.waited = true;
                std::thread::sleep(PATIENCE);
                self.file.read(buffer)
            }
            read => Ok(read),
        }
    }
}

impl Patient {
    fn ends_within_a_line(&mut self) -> io::Result<bool> {
        if self.file.stream_position()? == 0 {
            return Ok(false);
        }
        let mut last = [0];
        self.file.seek(SeekFrom::Current(-1))?;
        self.file.read_exact(&mut last)?;
        Ok(last != *b"\n")
    }
}
