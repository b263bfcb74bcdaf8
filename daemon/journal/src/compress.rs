//! Makes a compressed segment of a plain one.
//!
//! The file consists of gzip members of whole lines, which `zcat` reads as one. Each can be read without those before it; where they are
//! stands in an index beside the file. The plain segment goes last, when the other one is on the disk and was read back.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::Path;

use flate2::Compression;
use flate2::bufread::MultiGzDecoder;
use flate2::write::GzEncoder;

use crate::disk::{Disk, DiskFile, Opening, write_all};
use crate::position::LineHead;
use crate::segment::{Kind, Member, PARTIAL, Segment, with_suffix};

/// Bytes of lines in a member, about: what has to be decompressed to read one line.
const MEMBER: usize = 1 << 20;
/// How hard it is tried; higher levels take several times as long for a tenth of the size.
const LEVEL: Compression = Compression::new(3);

/// Whether it was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compressed {
    Done,
    /// It was told to stop; nothing is left of it.
    Stopped,
}

/// Compresses a plain segment and removes it. Stopped at any step, it can be done again.
pub(crate) fn compress(disk: &dyn Disk, segment: &Segment, stop: &dyn Fn() -> bool) -> io::Result<Compressed> {
    let finished = Segment { path: segment.compressed(), kind: Kind::Compressed, ..segment.clone() };
    let partial = with_suffix(&finished.path, PARTIAL);
    let outcome = write(disk, segment, &partial, stop).and_then(|written| {
        let Some((members, hash)) = written else { return Ok(Compressed::Stopped) };
        if hash_of(&partial)? != hash {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "what was written reads back differently"));
        }
        write_index(disk, &finished, &members)?;
        disk.rename(&partial, &finished.path)?;
        disk.sync_folder_of(&finished.path)?;
        disk.remove(&segment.path)?;
        Ok(Compressed::Done)
    });
    if !matches!(outcome, Ok(Compressed::Done)) {
        // A start finds whatever can't be removed now.
        let _ = disk.remove(&partial);
    }
    outcome
}

/// Writes the index of a compressed segment, all at once.
///
/// # Errors
/// The operating system's.
fn write_index(disk: &dyn Disk, segment: &Segment, members: &[Member]) -> io::Result<()> {
    let mut text = Vec::new();
    for member in members {
        serde_json::to_writer(&mut text, member)?;
        text.push(b'\n');
    }
    let partial = with_suffix(&segment.index(), PARTIAL);
    let file = disk.open(&partial, Opening::Anew)?;
    write_all(&*file, &text)?;
    file.sync()?;
    disk.rename(&partial, &segment.index())
}

/// The members and a hash of all lines; `None` when told to stop.
fn write(disk: &dyn Disk, segment: &Segment, partial: &Path, stop: &dyn Fn() -> bool) -> io::Result<Option<(Vec<Member>, blake3::Hash)>> {
    let mut lines = BufReader::with_capacity(1 << 16, File::open(&segment.path)?);
    let file = disk.open(partial, Opening::Anew)?;
    let (mut members, mut offset, mut hasher) = (Vec::new(), 0, blake3::Hasher::new());
    let mut chunk = Vec::with_capacity(MEMBER + MEMBER / 4);
    loop {
        if stop() {
            return Ok(None);
        }
        chunk.clear();
        while chunk.len() < MEMBER && lines.read_until(b'\n', &mut chunk)? > 0 {}
        if chunk.is_empty() {
            break;
        }
        hasher.update(&chunk);
        let length = write_member(&*file, &chunk)?;
        members.push(Member { offset, ..member(&chunk) });
        offset += length;
    }
    file.sync()?;
    Ok(Some((members, hasher.finalize())))
}

/// Writes lines as a gzip member and returns how many bytes that took.
fn write_member(file: &dyn DiskFile, lines: &[u8]) -> io::Result<u64> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(lines.len() / 4), LEVEL);
    encoder.write_all(lines)?;
    let compressed = encoder.finish()?;
    write_all(file, &compressed)?;
    Ok(compressed.len() as u64)
}

/// What the index tells of these lines, except where they begin.
fn member(lines: &[u8]) -> Member {
    let heads = || lines.split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
    let head = |line: Option<&[u8]>| line.and_then(LineHead::of).unwrap_or_default();
    let (first, last) = (head(heads().next()), head(heads().next_back()));
    // Only at the change from lines of the Python original, which have no numbers.
    let first_seq = if first.seq == 0 && last.seq > 0 { heads().map(|line| head(Some(line)).seq).find(|&seq| seq > 0) } else { None };
    let first_seq = first_seq.unwrap_or(first.seq);
    Member { offset: 0, length: lines.len() as u64, first_seq, last_seq: last.seq, first_time: first.time }
}

/// A hash of all that a gzip file holds.
fn hash_of(path: &Path) -> io::Result<blake3::Hash> {
    let mut decoder = MultiGzDecoder::new(BufReader::new(File::open(path)?));
    let (mut hasher, mut buffer) = (blake3::Hasher::new(), vec![0; 1 << 16]);
    loop {
        match decoder.read(&mut buffer)? {
            0 => return Ok(hasher.finalize()),
            read => drop(hasher.update(&buffer[..read])),
        }
    }
}
