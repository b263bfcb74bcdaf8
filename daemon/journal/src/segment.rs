//! The files that a log consists of.
//!
//! `log.jsonl` is the active file, which grows. It is sealed as `log-<first seq>-<time of its first line>.jsonl`, for example
//! `log-000000000042-20261125T101500Z.jsonl`, and compressed into the same name with `.gz`. Names sort as the lines do.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use flate2::bufread::MultiGzDecoder;
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use crate::disk::folder_of;

/// Digits of a sequence number in a name, so that names sort as numbers do.
const DIGITS: usize = 12;
/// The time in a name.
const TIME: &str = "%Y%m%dT%H%M%SZ";
/// What a compressed segment's name ends with.
const COMPRESSED: &str = ".gz";
/// What a name ends with while the file is being written.
pub(crate) const PARTIAL: &str = ".partial";
/// What the name of a compressed segment's index ends with.
const INDEX: &str = ".index";

/// What a file of the log is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The one that grows.
    Active,
    /// Sealed.
    Plain,
    /// Sealed and compressed.
    Compressed,
}

/// A file of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// Where it is.
    pub path: PathBuf,
    /// What it is.
    pub kind: Kind,
    /// The `seq` of its first line, 0 where that has none. The active file's name doesn't tell.
    pub first_seq: Option<u64>,
    /// When its first line's request arrived, to the second. The active file's name doesn't tell.
    pub time: Option<Timestamp>,
}

/// One member of a compressed segment: whole lines that can be decompressed without those before. A line of the index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Where it begins in the compressed file, in bytes.
    pub offset: u64,
    /// Bytes of its lines.
    pub length: u64,
    /// The first `seq` among its lines, 0 where none has one.
    pub first_seq: u64,
    /// The last one.
    pub last_seq: u64,
    /// When its first line's request arrived, where it says so.
    pub first_time: Option<Timestamp>,
}

impl Segment {
    /// Where a compressed segment's index is: one [`Member`] a line.
    pub fn index(&self) -> PathBuf {
        index_of(&self.path)
    }

    /// Where it will be once it is compressed.
    pub(crate) fn compressed(&self) -> PathBuf {
        with_suffix(&self.path, COMPRESSED)
    }
}

/// The files of the log whose active file this is, the oldest first and the active one, if it is there, last.
///
/// A segment that is there plain and compressed, because the plain one is about to go, is listed once, as the compressed one. A plain
/// one may be gone by the time it is opened; it is compressed then, and whoever reads asks again.
///
/// # Errors
/// The folder can't be read. One that isn't there holds no files.
pub fn segments(log: &Path) -> io::Result<Vec<Segment>> {
    let mut found: Vec<Segment> = names(log)?.into_iter().filter_map(|(name, path)| sealed(log, &name, path)).collect();
    // The compressed one of two comes first, and stays.
    found.sort_by_key(|segment| (segment.first_seq, segment.time, segment.kind == Kind::Plain));
    found.dedup_by_key(|segment| (segment.first_seq, segment.time));
    if log.exists() {
        found.push(Segment { path: log.to_owned(), kind: Kind::Active, first_seq: None, time: None });
    }
    Ok(found)
}

/// The lines of a file of the log, whatever it is. A plain one may have been compressed since it was listed.
///
/// # Errors
/// It can't be opened; [`io::ErrorKind::NotFound`] where the limits on what is kept have deleted it.
pub(crate) fn lines_of(segment: &Segment) -> io::Result<Box<dyn BufRead>> {
    let compressed = |path: &Path| -> io::Result<Box<dyn BufRead>> {
        Ok(Box::new(BufReader::new(MultiGzDecoder::new(BufReader::new(File::open(path)?)))))
    };
    match segment.kind {
        Kind::Compressed => compressed(&segment.path),
        Kind::Active => Ok(Box::new(BufReader::new(File::open(&segment.path)?))),
        Kind::Plain => match File::open(&segment.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => compressed(&segment.compressed()),
            opened => Ok(Box::new(BufReader::new(opened?))),
        },
    }
}

/// What an active file that begins with this line is called once it is sealed.
pub(crate) fn sealed_path(log: &Path, first_seq: u64, time: Timestamp) -> PathBuf {
    let (stem, extension) = stem_and_extension(log);
    log.with_file_name(format!("{stem}-{first_seq:0DIGITS$}-{}{extension}", time.strftime(TIME)))
}

/// What a stopped daemon may have left among a log's files.
#[derive(Debug, Default)]
pub(crate) struct Leftovers {
    /// Files that were never finished, and indexes without a segment.
    pub worthless: Vec<PathBuf>,
    /// Plain segments that are there compressed, too.
    pub doubled: Vec<PathBuf>,
}

/// Looks for what a stopped daemon has left.
pub(crate) fn leftovers(log: &Path) -> io::Result<Leftovers> {
    let names = names(log)?;
    let is_segment = |name: &str| sealed(log, name, PathBuf::new()).is_some();
    let mut left = Leftovers::default();
    for (name, path) in &names {
        let partial = name.strip_suffix(PARTIAL);
        let index = partial.unwrap_or(name).strip_suffix(INDEX);
        let unfinished = partial.is_some() && is_segment(index.or(partial).unwrap_or(name));
        let of_nothing = || index.is_some_and(|segment| is_segment(segment) && !names.iter().any(|(name, _)| name == segment));
        if unfinished || of_nothing() {
            left.worthless.push(path.clone());
        } else if is_segment(name) && names.iter().any(|(other, _)| other.strip_suffix(COMPRESSED) == Some(name)) {
            left.doubled.push(path.clone());
        }
    }
    Ok(left)
}

/// Everything in the log's folder, names with paths.
fn names(log: &Path) -> io::Result<Vec<(String, PathBuf)>> {
    let entries = match fs::read_dir(folder_of(log)) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let entries = entries.map(|entry| entry.map(|entry| (entry.file_name().to_string_lossy().into_owned(), entry.path())));
    entries.collect()
}

/// Reads a segment's name; `None`: that is another file.
fn sealed(log: &Path, name: &str, path: PathBuf) -> Option<Segment> {
    let (stem, extension) = stem_and_extension(log);
    let (plain, kind) = match name.strip_suffix(COMPRESSED) {
        Some(plain) => (plain, Kind::Compressed),
        None => (name, Kind::Plain),
    };
    let (seq, time) = plain.strip_prefix(&stem)?.strip_prefix('-')?.strip_suffix(&extension)?.split_once('-')?;
    if seq.len() < DIGITS || !seq.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let time = TimeZone::UTC.to_timestamp(DateTime::strptime(TIME, time).ok()?).ok()?;
    Some(Segment { path, kind, first_seq: Some(seq.parse().ok()?), time: Some(time) })
}

/// `log` and `.jsonl` of `logs/log.jsonl`.
fn stem_and_extension(log: &Path) -> (String, String) {
    let stem = log.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let extension = log.extension().map(|extension| format!(".{}", extension.to_string_lossy())).unwrap_or_default();
    (stem, extension)
}

/// Where the index of this compressed file is.
pub(crate) fn index_of(path: &Path) -> PathBuf {
    with_suffix(path, INDEX)
}

pub(crate) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "log-000000000001-20261125T101500Z.jsonl";
    const NEW: &str = "log-000000000099-20261125T101501Z.jsonl";

    fn folder(names: &[&str]) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        for name in names {
            fs::write(folder.path().join(name), "").unwrap();
        }
        let log = folder.path().join("log.jsonl");
        (folder, log)
    }

    fn listed(log: &Path) -> Vec<(String, Kind)> {
        let name = |segment: &Segment| segment.path.file_name().unwrap().to_string_lossy().into_owned();
        segments(log).unwrap().iter().map(|segment| (name(segment), segment.kind)).collect()
    }

    #[test]
    fn a_name_is_read_as_it_is_written() {
        let time: Timestamp = "2026-11-25T10:15:00Z".parse().unwrap();
        let path = sealed_path(Path::new("logs/log.jsonl"), 42, time);
        assert_eq!(path, Path::new("logs/log-000000000042-20261125T101500Z.jsonl"));
        let name = path.file_name().unwrap().to_str().unwrap();
        let read = sealed(Path::new("logs/log.jsonl"), name, path.clone()).unwrap();
        assert_eq!((read.kind, read.first_seq, read.time), (Kind::Plain, Some(42), Some(time)));
    }

    #[test]
    fn segments_are_listed_in_order_and_once() {
        let (gz, other) = (format!("{OLD}.gz"), "log.jsonl.torn-20");
        let (_folder, log) =
            folder(&["log.jsonl", NEW, OLD, &gz, &format!("{gz}.index"), &format!("{NEW}.gz.partial"), other, "log-x.jsonl"]);
        let expected = [(gz, Kind::Compressed), (NEW.to_owned(), Kind::Plain), ("log.jsonl".to_owned(), Kind::Active)];
        assert_eq!(listed(&log), expected);
    }

    #[test]
    fn another_log_in_the_same_folder_is_another_log() {
        let (_folder, log) = folder(&["log.jsonl", &format!("other-{OLD}"), &format!("log-b-{}", &OLD[4..])]);
        assert_eq!(listed(&log), [("log.jsonl".to_owned(), Kind::Active)]);
        assert_eq!(segments(Path::new("/nowhere/log.jsonl")).unwrap(), []);
    }

    #[test]
    fn what_a_stopped_daemon_left_is_told_apart() {
        let (gz, partial, alone) = (format!("{OLD}.gz"), format!("{NEW}.gz.partial"), format!("{NEW}.gz.index"));
        let (partial_index, index) = (format!("{NEW}.gz.index.partial"), format!("{gz}.index"));
        let (folder, log) = folder(&["log.jsonl", OLD, NEW, &gz, &index, &partial, &alone, &partial_index, "x.partial", "notes.index"]);
        let Leftovers { mut worthless, doubled } = leftovers(&log).unwrap();
        worthless.sort();
        assert_eq!(worthless, [alone, partial_index, partial].map(|name| folder.path().join(name)));
        assert_eq!(doubled, [folder.path().join(OLD)]);
    }
}
