//! A million lines in compressed segments: searched within a second, in the memory of a block.
#![allow(clippy::unwrap_used)]

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::GzEncoder;
use jiff::Timestamp;
use minivault_journal::reading::{Filter, LogReader, Page, PageLimits, Place, TextPattern};
use minivault_journal::segment::Member;

const LINES: u64 = 1_000_000;
const SEGMENT: u64 = 100_000;
/// Of a member, in bytes.
const MEMBER: usize = 1024 * 1024;
/// Bytes that a search may take, whatever the length of the log.
const MEMORY: usize = 24 * 1024 * 1024;

fn time(seq: u64) -> Timestamp {
    Timestamp::from_second(1_780_000_000 + seq as i64).unwrap()
}

/// The word stands in the newest lines; another one in the oldest alone.
fn word(seq: u64) -> &'static str {
    match seq {
        _ if seq > LINES - 2_000 && seq.is_multiple_of(50) => "needle",
        5 => "haystack",
        _ => "straw",
    }
}

fn write_lines(path: &Path, first: u64) {
    let mut file = BufWriter::new(File::create(path).unwrap());
    let mut index = String::new();
    let (mut text, mut offset, mut begin) = (Vec::with_capacity(MEMBER * 2), 0, first);
    for seq in first..first + SEGMENT {
        let (time, word) = (time(seq), word(seq));
        writeln!(
            text,
            r#"{{"timestamp":"{time:.6}","prompt":"Question {seq} about {word}","response":"Some words of an answer, {seq}, that goes on for a while and then ends.","id":"id-{seq}","seq":{seq},"endpoint":"/generate","model":"m","backend":"b","fingerprint":"f","seed":{seq},"status":200,"finish_reason":"stop","ttft_ms":1.5,"duration_ms":20.5}}"#
        )
        .unwrap();
        if text.len() >= MEMBER || seq + 1 == first + SEGMENT {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
            encoder.write_all(&text).unwrap();
            let bytes = encoder.finish().unwrap();
            let member = Member { offset, length: text.len() as u64, first_seq: begin, last_seq: seq, first_time: Some(self::time(begin)) };
            index.push_str(&(serde_json::to_string(&member).unwrap() + "\n"));
            file.write_all(&bytes).unwrap();
            (offset, begin) = (offset + bytes.len() as u64, seq + 1);
            text.clear();
        }
    }
    let mut name = path.to_owned().into_os_string();
    name.push(".index");
    std::fs::write(name, index).unwrap();
}

/// The most memory that this process has had since it was asked last.
#[cfg(target_os = "linux")]
fn peak() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let kilobytes = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap().trim().trim_end_matches(" kB");
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
    kilobytes.parse::<usize>().unwrap() * 1024
}

#[cfg(not(target_os = "linux"))]
fn peak() -> usize {
    0
}

#[test]
fn a_million_compressed_lines_are_searched_within_a_second_and_in_little_memory() {
    let folder = tempfile::tempdir().unwrap();
    for first in (1..=LINES).step_by(SEGMENT as usize) {
        let name = format!("log-{first:012}-{}.jsonl.gz", time(first).strftime("%Y%m%dT%H%M%SZ"));
        write_lines(&folder.path().join(name), first);
    }
    let log = LogReader::new(folder.path().join("log.jsonl"));
    let limits = PageLimits { lines: 20, time: Duration::from_secs(600), ..PageLimits::default() };
    let search = |what: &str, filter: Filter, expected: usize| {
        let filter = Filter { text: filter.text.or(Some(TextPattern::literal(what))), ..filter };
        peak();
        let before = peak();
        let start = Instant::now();
        let Page { lines, .. } = log.page(&filter, limits).unwrap();
        let (taken, memory) = (start.elapsed(), peak().saturating_sub(before));
        println!("{what}: {} lines in {taken:?}, {} KiB more", lines.len(), memory / 1024);
        assert_eq!(lines.len(), expected, "{what}");
        assert!(memory < MEMORY, "{what}: {memory} bytes");
        taken
    };
    let recent = search("needle", Filter::default(), 20);
    assert!(recent < Duration::from_secs(1), "the newest 20 took {recent:?}");
    search("haystack", Filter::default(), 1);
    let middle = search("Question", Filter { before: Some((LINES / 2) as Place), ..Filter::default() }, 20);
    assert!(middle < Duration::from_secs(1), "a page in the middle took {middle:?}");
    let named = Instant::now();
    assert!(log.find("id-999990", || true).unwrap().is_some());
    println!("found by name in {:?}", named.elapsed());
}
