//! One file of the log, read from its end to its beginning, some whole lines at a time.
//!
//! A plain file is read by blocks from its end and searched by halves for a line's number. A compressed one consists of members that are
//! decompressed one by one; beside it lies an index of them, and where that is missing or doesn't fit, the file itself is asked once.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use flate2::bufread::GzDecoder;

use super::line::Numbered;
use super::place::{self, Place};
use crate::segment::{Member, index_of};

/// Bytes of a plain file that are read at a time.
const BLOCK: u64 = 256 * 1024;

/// A file of the log.
#[derive(Debug)]
pub(super) enum Blocks {
    Plain(Plain),
    Compressed(Compressed),
}

impl Blocks {
    pub fn plain(mut file: File) -> io::Result<Self> {
        let size = file.seek(SeekFrom::End(0))?;
        let mut plain = Plain { file, end: size };
        plain.end = plain.end_of_whole_lines(size)?;
        Ok(Self::Plain(plain))
    }

    pub fn compressed(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let end = file.metadata()?.len();
        let (members, indexed) = match read_index(path) {
            Some(members) => (members, true),
            None => (list_members(&file)?, false),
        };
        Ok(Self::Compressed(Compressed { file, path: path.to_owned(), members, end, indexed }))
    }

    /// Leaves out the end of the file from the line at this place on, as far as that is cheap to find.
    pub fn end_before(&mut self, place: Place) -> io::Result<()> {
        match (self, place::offset(place)) {
            (Self::Plain(plain), Some(offset)) => {
                plain.end = plain.end_of_whole_lines(offset.min(plain.end))?;
            }
            (Self::Plain(plain), None) => plain.end_before(place)?,
            (Self::Compressed(compressed), Some(offset)) => while compressed.length_before_last() >= offset && compressed.drop_last() {},
            (Self::Compressed(compressed), None) => compressed.drop_members(|member| place::numbered(member.first_seq) >= place),
        }
        Ok(())
    }

    /// Leaves out members that begin after this moment.
    pub fn end_at(&mut self, latest: jiff::Timestamp) {
        if let Self::Compressed(compressed) = self {
            compressed.drop_members(|member| member.first_time.is_some_and(|time| time > latest));
        }
    }

    /// Reads the lines before those read so far, and tells how many bytes of lines stand before them. `None`: there are none.
    pub fn previous(&mut self, block: &mut Vec<u8>) -> io::Result<Option<u64>> {
        match self {
            Self::Plain(plain) => plain.previous(block),
            Self::Compressed(compressed) => compressed.previous(block),
        }
    }
}

#[derive(Debug)]
pub(super) struct Plain {
    file: File,
    /// Where what is left to be read ends, always behind a line break.
    end: u64,
}

impl Plain {
    fn read(&mut self, start: u64, end: u64, block: &mut Vec<u8>) -> io::Result<()> {
        block.resize((end - start) as usize, 0);
        self.file.seek(SeekFrom::Start(start))?;
        self.file.read_exact(block)
    }

    /// Behind the last line break; what is behind that is being written, or torn.
    fn end_of_whole_lines(&mut self, size: u64) -> io::Result<u64> {
        let (mut end, mut block) = (size, Vec::new());
        while end > 0 {
            let start = end.saturating_sub(BLOCK);
            self.read(start, end, &mut block)?;
            if let Some(at) = memchr::memrchr(b'\n', &block) {
                return Ok(start + at as u64 + 1);
            }
            end = start;
        }
        Ok(0)
    }

    fn previous(&mut self, block: &mut Vec<u8>) -> io::Result<Option<u64>> {
        if self.end == 0 {
            return Ok(None);
        }
        let mut size = BLOCK;
        loop {
            let start = self.end.saturating_sub(size);
            self.read(start, self.end, block)?;
            if start == 0 {
                self.end = 0;
                return Ok(Some(0));
            }
            // A line break in front of the block's last one: what is behind it is whole.
            if let Some(at) = memchr::memchr(b'\n', &block[..block.len() - 1]) {
                block.drain(..=at);
                self.end = start + at as u64 + 1;
                return Ok(Some(self.end));
            }
            size *= 2;
        }
    }

    /// Lines are numbered upwards, so halving finds the place; lines without a number stand before all others.
    fn end_before(&mut self, place: Place) -> io::Result<()> {
        let (mut low, mut high) = (0, self.end);
        while low < high {
            let middle = low + (high - low) / 2;
            let Some((start, line)) = self.line_from(middle, high)? else {
                high = middle;
                continue;
            };
            if Numbered::of(&line).is_some_and(|found| place::numbered(found) >= place) {
                high = middle;
            } else {
                low = start + line.len() as u64;
            }
        }
        self.end = low;
        Ok(())
    }

    /// The first line that begins at this place or behind it, and where it begins; `None` if it would begin at `end` or behind it.
    fn line_from(&mut self, place: u64, end: u64) -> io::Result<Option<(u64, Vec<u8>)>> {
        use std::io::BufRead;
        // The byte before a line is a line break.
        self.file.seek(SeekFrom::Start(place.saturating_sub(1)))?;
        let mut reader = BufReader::new(&self.file);
        let mut start = place;
        if place > 0 {
            start = place - 1 + reader.skip_until(b'\n')? as u64;
        }
        if start >= end {
            return Ok(None);
        }
        let mut line = Vec::new();
        reader.read_until(b'\n', &mut line)?;
        Ok(Some((start, line)))
    }
}

#[derive(Debug)]
pub(super) struct Compressed {
    file: File,
    path: PathBuf,
    /// Those still to be read, the first one first.
    members: Vec<Member>,
    /// Where the last of them ends.
    end: u64,
    /// Whether the members are told by the index.
    indexed: bool,
}

impl Compressed {
    /// Leaves out the last members that are too late by what is known of their first line. One stays: lines without a number may stand
    /// before the first line that has one.
    fn drop_members(&mut self, is_too_late: impl Fn(&Member) -> bool) {
        while let [.., before, last] = &self.members[..]
            && before.first_seq > 0
            && is_too_late(last)
        {
            self.drop_last();
        }
    }

    fn drop_last(&mut self) -> bool {
        let last = self.members.pop();
        self.end = last.as_ref().map_or(self.end, |member| member.offset);
        last.is_some()
    }

    /// Bytes of the lines before those of the last member.
    fn length_before_last(&self) -> u64 {
        self.members.iter().rev().skip(1).map(|member| member.length).sum()
    }

    fn previous(&mut self, block: &mut Vec<u8>) -> io::Result<Option<u64>> {
        loop {
            let start = self.length_before_last();
            let Some(member) = self.members.pop() else { return Ok(None) };
            match decompress(&self.file, member.offset, block) {
                Ok(end) if end == self.end => {
                    self.end = member.offset;
                    return Ok(Some(start));
                }
                outcome if self.indexed => {
                    tracing::warn!(file = %self.path.display(), ?outcome, "the index of a compressed log doesn't fit; reading without it");
                    self.members = list_members(&self.file)?;
                    self.members.retain(|member| member.offset < self.end);
                    self.indexed = false;
                }
                outcome => return Err(outcome.err().unwrap_or_else(|| damaged(&self.path))),
            }
        }
    }
}

fn damaged(path: &Path) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{} is damaged", path.display()))
}

/// Decompresses the member at this place and returns where it ends.
fn decompress(mut file: &File, offset: u64, block: &mut Vec<u8>) -> io::Result<u64> {
    file.seek(SeekFrom::Start(offset))?;
    let mut decoder = GzDecoder::new(BufReader::new(file));
    block.clear();
    decoder.read_to_end(block)?;
    decoder.into_inner().stream_position()
}

/// The members as the index has them; `None` where there is none of use.
fn read_index(path: &Path) -> Option<Vec<Member>> {
    let text = std::fs::read_to_string(index_of(path)).ok()?;
    let members = text.lines().map(|line| serde_json::from_str(line).ok()).collect::<Option<Vec<Member>>>()?;
    let in_order = members.windows(2).all(|pair| pair[0].offset < pair[1].offset);
    (in_order && members.first()?.offset == 0).then_some(members)
}

/// The members as they are found by decompressing all of the file.
fn list_members(file: &File) -> io::Result<Vec<Member>> {
    let size = file.metadata()?.len();
    let (mut members, mut offset, mut block) = (Vec::new(), 0, Vec::new());
    while offset < size {
        let end = decompress(file, offset, &mut block)?;
        let first = block.split(|&byte| byte == b'\n').next().unwrap_or_default();
        let seq = Numbered::of(first).unwrap_or_default();
        members.push(Member { offset, length: block.len() as u64, first_seq: seq, last_seq: seq, first_time: None });
        offset = end;
    }
    Ok(members)
}
