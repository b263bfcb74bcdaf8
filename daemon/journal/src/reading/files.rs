//! All files of a log as one: their lines, block by block, from the newest to the oldest.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Seek};
use std::path::Path;

use super::blocks::Blocks;
use super::filter::Filter;
use super::line::Numbered;
use super::place::{self, Place};
use crate::segment::{Kind, Segment, segments};

/// The files still to be read.
pub(super) struct Files<'a> {
    filter: &'a Filter,
    /// The active file, held from the beginning: it may be sealed before its turn comes.
    active: Option<File>,
    /// The others, the oldest first.
    sealed: Vec<Segment>,
    current: Option<Blocks>,
    /// Whether that one's first line has no number.
    unnumbered: bool,
}

/// Where a block of lines stands.
#[derive(Debug, Clone, Copy)]
pub(super) struct Origin {
    /// Bytes of lines before it in its file.
    start: u64,
    /// Whether its file's first line has no number.
    unnumbered: bool,
}

impl Origin {
    /// The place of a line of this number, or without one, so many bytes behind the block's beginning. `None`: a line among numbered ones has none.
    pub fn place(self, seq: Option<u64>, offset: usize) -> Option<Place> {
        let unnumbered = || self.unnumbered.then(|| place::unnumbered(self.start + offset as u64));
        seq.map(place::numbered).or_else(unnumbered)
    }
}

impl<'a> Files<'a> {
    /// Those of a log in which lines that are wanted may stand.
    pub fn open(log: &Path, filter: &'a Filter) -> io::Result<Self> {
        let mut active = open_active(log)?;
        // Listed after that: what was active a moment ago is among them. Met twice it does no harm, missed it would.
        let mut sealed = segments(log)?;
        sealed.retain(|segment| segment.kind != Kind::Active);
        // What begins too late holds nothing that is wanted, and neither does what follows.
        let latest = filter.latest();
        let is_too_late = |segment: &mut Segment| {
            let by_number = segment.first_seq.zip(filter.before).is_some_and(|(first, before)| place::first(first) >= before);
            by_number || segment.time.zip(latest).is_some_and(|(time, latest)| time > latest)
        };
        while sealed.pop_if(is_too_late).is_some() {
            active = None;
        }
        Ok(Self { filter, active, sealed, current: None, unnumbered: false })
    }

    /// Reads the lines before those read so far. `None`: there are none.
    pub fn previous(&mut self, block: &mut Vec<u8>) -> io::Result<Option<Origin>> {
        loop {
            if let Some(blocks) = &mut self.current
                && let Some(start) = blocks.previous(block)?
            {
                return Ok(Some(Origin { start, unnumbered: self.unnumbered }));
            }
            self.current = match self.active.take() {
                Some(mut file) => {
                    self.unnumbered = first_line(&mut file)?.is_some_and(|line| Numbered::of(&line).is_none());
                    Some(Blocks::plain(file)?)
                }
                None => match self.sealed.pop() {
                    Some(segment) => {
                        self.unnumbered = segment.first_seq == Some(0);
                        open(&segment)?
                    }
                    None => return Ok(None),
                },
            };
            if let Some(blocks) = &mut self.current {
                if let Some(before) = self.filter.before {
                    blocks.end_before(before)?;
                }
                if let Some(latest) = self.filter.latest() {
                    blocks.end_at(latest);
                }
            }
        }
    }
}

/// Opens the active file, if there is one. Nothing is read of a device that stands for it: it may never end.
pub(super) fn open_active(log: &Path) -> io::Result<Option<File>> {
    match found(File::open(log))? {
        Some(file) if file.metadata()?.is_file() => Ok(Some(file)),
        _ => Ok(None),
    }
}

/// A file's first line, without its line break; `None`: it isn't there yet, or not whole.
pub(super) fn first_line(file: &mut File) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    file.rewind()?;
    BufReader::new(&*file).read_until(b'\n', &mut line)?;
    file.rewind()?;
    Ok(line.pop_if(|last| *last == b'\n').map(|_| line))
}

/// Opens a sealed file; `None`: the limits on what is kept have deleted it.
fn open(segment: &Segment) -> io::Result<Option<Blocks>> {
    if segment.kind == Kind::Compressed {
        return found(Blocks::compressed(&segment.path));
    }
    match found(File::open(&segment.path))? {
        Some(file) => Blocks::plain(file).map(Some),
        // It has been compressed since it was listed.
        None => found(Blocks::compressed(&segment.compressed())),
    }
}

/// What is there, if it is there.
pub(super) fn found<T>(outcome: io::Result<T>) -> io::Result<Option<T>> {
    match outcome {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
