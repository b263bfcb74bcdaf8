//! What stands in a log: each line whole, numbered, chained, and how often each id.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;
use minivault_journal::chain::{START, follow};
use minivault_journal::reading::{FaultKind, LogReader};
use minivault_journal::segment::{Kind, segments};
use serde_json::Value;

/// What was found.
pub struct Found {
    pub lines: u64,
    pub files: usize,
    /// How often each id stands there.
    pub ids: HashMap<String, u32>,
}

/// Reads the whole log. Behind its last whole line there may be a part of one, if the daemon was killed just now.
pub fn check(log: &Path, just_killed: bool) -> Found {
    let all = segments(log).unwrap();
    let mut found = Found { lines: 0, files: all.len(), ids: HashMap::new() };
    let mut chain = START;
    for segment in all {
        let path = segment.path.display().to_string();
        let file = BufReader::new(File::open(&segment.path).unwrap_or_else(|error| panic!("{path}: {error}")));
        let mut lines: Box<dyn BufRead> = match segment.kind {
            Kind::Compressed => Box::new(BufReader::new(MultiGzDecoder::new(file))),
            Kind::Active | Kind::Plain => Box::new(file),
        };
        let mut line = Vec::new();
        while lines.read_until(b'\n', &mut line).unwrap_or_else(|error| panic!("{path}: {error}")) > 0 {
            let Some(whole) = line.strip_suffix(b"\n") else {
                assert!(just_killed && segment.kind == Kind::Active, "{path} ends with a part of a line");
                break;
            };
            let at = found.lines + 1;
            let value: Value = serde_json::from_slice(whole).unwrap_or_else(|error| panic!("{path}, line {at}: {error}"));
            let followed = follow(&chain, whole);
            assert_eq!(followed.told, Some(followed.computed), "{path}: the chain of line {at}");
            assert_eq!(value["seq"], at, "{path}: the number of line {at}");
            chain = followed.computed;
            *found.ids.entry(value["id"].as_str().unwrap().to_owned()).or_default() += 1;
            found.lines += 1;
            line.clear();
        }
    }
    // What `minivault logs verify` does must come to the same.
    let verified = LogReader::new(log).verify(|| true).unwrap();
    if let Some(fault) = &verified.fault {
        assert!(just_killed && fault.kind == FaultKind::Torn, "{fault}");
    }
    assert!(verified.fault.is_some() || verified.lines == found.lines, "{} lines verified of {}", verified.lines, found.lines);
    found
}

impl Found {
    /// Every one of these ids is there once, and no other one more often than that.
    pub fn has_once<'a>(&self, acknowledged: impl IntoIterator<Item = &'a String>) {
        let lost: Vec<_> = acknowledged.into_iter().filter(|id| !self.ids.contains_key(*id)).collect();
        assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
        let doubled: Vec<_> = self.ids.iter().filter(|(_, count)| **count > 1).collect();
        assert!(doubled.is_empty(), "doubled: {doubled:?}");
    }
}
