//! Logs of all kinds of files, read and verified.

use std::io::Write;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use jiff::Timestamp;

use super::*;
use crate::chain;
use crate::segment::Member;

/// Lines from 1 on, `second` seconds apart, each with its number as the prompt and every tenth with a word of its own.
fn lines(count: u64) -> Vec<Vec<u8>> {
    let mut previous = chain::START;
    let line = |seq: u64| {
        let time = Timestamp::from_second(1_700_000_000 + seq as i64 * 10).unwrap();
        let word = if seq.is_multiple_of(10) { "ten\\nfold" } else { "plain" };
        let model = if seq.is_multiple_of(2) { "even" } else { "odd" };
        let mut line = format!(
            r#"{{"timestamp":"{time:.6}","prompt":"no. {seq}","response":"{word}","id":"id-{seq}","seq":{seq},"model":"{model}","status":200,"finish_reason":"stop","usage":{{"prompt_tokens":3,"completion_tokens":5,"total_tokens":8}},"ttft_ms":10.0,"duration_ms":50.0}}"#
        )
        .into_bytes();
        previous = chain::seal(&previous, &mut line);
        line
    };
    (1..=count).map(line).collect()
}

fn file(lines: &[Vec<u8>]) -> Vec<u8> {
    lines.iter().flat_map(|line| line.iter().chain(b"\n")).copied().collect()
}

/// Lines compressed, so many to a member, and their index.
fn compressed(lines: &[Vec<u8>], first: u64, per_member: usize) -> (Vec<u8>, String) {
    let (mut bytes, mut index, mut seq) = (Vec::new(), String::new(), first);
    for chunk in lines.chunks(per_member) {
        let (offset, text) = (bytes.len() as u64, file(chunk));
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(&text).unwrap();
        bytes.extend(encoder.finish().unwrap());
        let first_time = Some(Timestamp::from_second(1_700_000_000 + seq as i64 * 10).unwrap());
        let last_seq = seq + chunk.len() as u64 - 1;
        let member = Member { offset, length: text.len() as u64, first_seq: seq, last_seq, first_time };
        index.push_str(&serde_json::to_string(&member).unwrap());
        index.push('\n');
        seq = last_seq + 1;
    }
    (bytes, index)
}

struct Folder {
    folder: tempfile::TempDir,
    lines: Vec<Vec<u8>>,
}

impl Folder {
    /// 100 lines: 1 to 40 compressed, 41 to 70 sealed, the rest in the active file.
    fn new() -> Self {
        let folder = Self { folder: tempfile::tempdir().unwrap(), lines: lines(100) };
        let (bytes, index) = compressed(&folder.lines[..40], 1, 7);
        folder.write(&format!("{}.gz", folder.segment(1)), &bytes);
        folder.write(&format!("{}.gz.index", folder.segment(1)), index.as_bytes());
        folder.write(&folder.segment(41), &file(&folder.lines[40..70]));
        folder.write("log.jsonl", &file(&folder.lines[70..]));
        folder
    }

    fn segment(&self, seq: u64) -> String {
        let time = Timestamp::from_second(1_700_000_000 + seq as i64 * 10).unwrap();
        format!("log-{seq:012}-{}.jsonl", time.strftime("%Y%m%dT%H%M%SZ"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.path(name), bytes).unwrap();
    }

    fn reader(&self) -> LogReader {
        LogReader::new(self.path("log.jsonl"))
    }

    /// The numbers of the lines that are found, page by page.
    fn found(&self, filter: &Filter) -> Vec<u64> {
        let mut filter = filter.clone();
        let mut found = Vec::new();
        loop {
            let page = self.reader().page(&filter, PageLimits { lines: 3, ..PageLimits::default() }).unwrap();
            for line in &page.lines {
                let seq = Summary::of(line).unwrap().seq.unwrap();
                assert_eq!(line, &self.lines[seq as usize - 1], "a line is told as it stands");
                found.push(seq);
            }
            match page.next {
                Some(next) => filter.before = Some(next),
                None => return found,
            }
        }
    }

    /// Says that the lines up to this one were deleted, as the keeper of segments does.
    fn remember_deleted(&self, seq: u64) {
        let chain = seq.checked_sub(1).map_or(chain::START, |at| chain::split(&self.lines[at as usize]).1.unwrap());
        let line = format!("{{\"segment\":\"s{seq}\",\"seq\":{seq},\"chain\":\"{}\"}}\n", blake3::Hash::from_bytes(chain).to_hex());
        let known = std::fs::read_to_string(self.path("log.jsonl.deleted")).unwrap_or_default();
        self.write("log.jsonl.deleted", (known + &line).as_bytes());
    }

    fn verify(&self) -> Verification {
        self.reader().verify(|| true).unwrap()
    }
}

fn down(from: u64, to: u64) -> Vec<u64> {
    (to..=from).rev().collect()
}

#[test]
fn lines_come_newest_first_page_by_page_over_all_files() {
    let folder = Folder::new();
    assert_eq!(folder.found(&Filter::default()), down(100, 1));
    for before in 1..=101_u64 {
        assert_eq!(folder.found(&Filter { before: Some(before as Place), ..Filter::default() }), down(before - 1, 1), "before {before}");
        assert_eq!(folder.found(&Filter { after: Some(before), ..Filter::default() }), down(100, before + 1), "after {before}");
    }
}

#[test]
fn each_line_is_found_by_name() {
    let folder = Folder::new();
    for (seq, line) in (1..).zip(&folder.lines) {
        assert_eq!(folder.reader().find(&format!("id-{seq}"), || true).unwrap().as_ref(), Some(line));
    }
    assert_eq!(folder.reader().find("id-", || true).unwrap(), None);
}

#[test]
fn filters_say_what_is_wanted() {
    let folder = Folder::new();
    let of = |text: TextPattern| folder.found(&Filter { text: Some(text), ..Filter::default() });
    let tens: Vec<u64> = (1..=10).rev().map(|ten| ten * 10).collect();
    assert_eq!(of(TextPattern::literal("ten\nfold")), tens);
    assert_eq!(of(TextPattern::expression(r"(?i)TEN\sf").unwrap()), tens);
    assert_eq!(of(TextPattern::literal("no. 42")), [42]);
    assert_eq!(of(TextPattern::literal("even")), [0; 0], "the model's name is no text");
    let at = |second: i64| Some(Timestamp::from_second(1_700_000_000 + second).unwrap());
    assert_eq!(folder.found(&Filter { since: at(955), ..Filter::default() }), down(100, 96));
    assert_eq!(folder.found(&Filter { since: at(300), until: at(510), ..Filter::default() }), down(50, 30));
    let odd = Filter { model: Some("odd".into()), after: Some(90), ..Filter::default() };
    assert_eq!(folder.found(&odd), [99, 97, 95, 93, 91]);
    assert_eq!(folder.found(&Filter { status: Some(500), ..Filter::default() }), [0; 0]);
}

#[test]
fn a_compressed_file_is_read_without_an_index_and_with_a_wrong_one() {
    let folder = Folder::new();
    let index = format!("{}.gz.index", folder.segment(1));
    let right = std::fs::read_to_string(folder.path(&index)).unwrap();
    let without =
        |left_out: usize| right.lines().enumerate().filter(|(at, _)| *at != left_out).map(|(_, line)| format!("{line}\n")).collect();
    let mut wrong: Vec<String> = (0..right.lines().count()).map(without).collect();
    wrong.extend([String::new(), "nonsense\n".into(), right.replace("\"offset\":0", "\"offset\":1")]);
    for wrong in wrong {
        folder.write(&index, wrong.as_bytes());
        assert_eq!(folder.found(&Filter::default()), down(100, 1), "{wrong}");
        assert_eq!(folder.found(&Filter { before: Some(20), ..Filter::default() }), down(19, 1), "{wrong}");
    }
    std::fs::remove_file(folder.path(&index)).unwrap();
    assert_eq!(folder.found(&Filter::default()), down(100, 1));
}

#[test]
fn what_is_being_written_torn_or_not_there_is_no_line() {
    let folder = Folder::new();
    let active = file(&folder.lines[70..]);
    for cut in active.len() - folder.lines[99].len() - 1..active.len() {
        folder.write("log.jsonl", &active[..cut]);
        assert_eq!(folder.found(&Filter::default()), down(99, 1));
    }
    std::fs::remove_file(folder.path("log.jsonl")).unwrap();
    assert_eq!(folder.found(&Filter::default()), down(70, 1));
    assert_eq!(LogReader::new("/nowhere/log.jsonl").page(&Filter::default(), PageLimits::default()).unwrap(), Page::default());
}

#[cfg(target_os = "linux")]
#[test]
fn nothing_is_read_of_a_device_that_never_ends() {
    let log = LogReader::new("/dev/full");
    assert_eq!(log.page(&Filter::default(), PageLimits::default()).unwrap(), Page::default());
    assert_eq!(log.verify(|| true).unwrap(), Verification::default());
}

#[test]
fn a_line_longer_than_a_block_is_read_whole() {
    let folder = Folder { folder: tempfile::tempdir().unwrap(), lines: Vec::new() };
    let long = |seq: u64| format!(r#"{{"prompt":"{}","response":"","seq":{seq}}}"#, "x".repeat(700_000)).into_bytes();
    let folder = Folder { lines: vec![long(1), long(2), br#"{"prompt":"","response":"","seq":3}"#.to_vec(), long(4)], ..folder };
    folder.write("log.jsonl", &file(&folder.lines));
    assert_eq!(folder.found(&Filter::default()), [4, 3, 2, 1]);
    assert_eq!(folder.found(&Filter { before: Some(3), ..Filter::default() }), [2, 1]);
}

#[test]
fn a_file_sealed_while_it_is_read_is_read_once() {
    let folder = Folder::new();
    let filter = Filter::default();
    let files = Files::open(&folder.path("log.jsonl"), &filter).unwrap();
    std::fs::rename(folder.path("log.jsonl"), folder.path(&folder.segment(71))).unwrap();
    folder.write("log.jsonl", b"");
    drop(files);
    assert_eq!(folder.found(&filter), down(100, 1));
    // Sealed between the opening and the listing: there as the active file's handle and as a segment.
    std::fs::hard_link(folder.path(&folder.segment(71)), folder.path("again")).unwrap();
    std::fs::rename(folder.path("again"), folder.path("log.jsonl")).unwrap();
    assert_eq!(folder.found(&filter), down(100, 1));
    assert_eq!(folder.verify().lines, 100);
}

#[test]
fn a_segment_that_is_compressed_after_it_was_listed_is_found() {
    let folder = Folder::new();
    let filter = Filter::default();
    let mut files = Files::open(&folder.path("log.jsonl"), &filter).unwrap();
    let (bytes, _) = compressed(&folder.lines[40..70], 41, 10);
    folder.write(&format!("{}.gz", folder.segment(41)), &bytes);
    std::fs::remove_file(folder.path(&folder.segment(41))).unwrap();
    let (mut block, mut count) = (Vec::new(), 0);
    while files.previous(&mut block).unwrap().is_some() {
        count += line::backwards(&block).count();
    }
    assert_eq!(count, 100);
}

#[test]
fn numbers_by_model_and_day() {
    let folder = Folder::new();
    let mut stats = folder.reader().stats(&Filter::default(), || true).unwrap();
    assert_eq!((stats.next, stats.rows.iter().map(|row| row.requests).sum::<u64>()), (None, 100));
    let models = stats.by_model();
    assert_eq!(
        models.iter().map(|row| (&*row.model, row.requests, row.completion_tokens)).collect::<Vec<_>>(),
        [("even", 50, 250), ("odd", 50, 250)]
    );
    assert!((models[0].tokens_per_second - 100.0).abs() < 1e-9 && (models[0].ttft_ms - 10.0).abs() < 0.2, "{models:?}");
    // Counted in parts, it comes to the same.
    let newer = folder.reader().stats(&Filter { after: Some(50), ..Filter::default() }, || true).unwrap();
    let older = folder.reader().stats(&Filter { before: Some(51), ..Filter::default() }, || true).unwrap();
    stats.rows.sort_by(|one, other| (&one.day, &one.model).cmp(&(&other.day, &other.model)));
    let mut added = newer;
    added.add(older);
    assert_eq!(added.by_day(), stats.by_day());
}

#[test]
fn a_whole_log_is_verified() {
    let folder = Folder::new();
    let seen = folder.verify();
    assert_eq!((seen.lines, seen.files, seen.first_seq, seen.last_seq, &seen.fault), (100, 3, Some(1), Some(100), &None));
    assert!(!seen.beginning_is_gone && seen.chain.is_some());
    let gone = format!("{}.gz", folder.segment(1));
    std::fs::remove_file(folder.path(&gone)).unwrap();
    assert_eq!(folder.verify().fault.map(|fault| (fault.line, fault.seq, fault.kind)), Some((1, Some(41), FaultKind::NothingBefore)));
    // The limits on what is kept delete whole files from the front, and tell.
    folder.remember_deleted(40);
    let seen = folder.verify();
    assert_eq!((seen.lines, seen.first_seq, seen.fault, seen.beginning_is_gone), (60, Some(41), None, true));
}

#[test]
fn each_changed_byte_of_the_first_line_that_is_left_is_found() {
    let folder = Folder { folder: tempfile::tempdir().unwrap(), lines: lines(6) };
    folder.remember_deleted(1);
    folder.remember_deleted(3);
    let whole = file(&folder.lines[3..]);
    folder.write("log.jsonl", &whole);
    assert_eq!(folder.verify().fault, None);
    for place in 0..folder.lines[3].len() {
        let mut changed = whole.clone();
        changed[place] ^= 1;
        folder.write("log.jsonl", &changed);
        assert_eq!(folder.verify().fault.unwrap_or_else(|| panic!("byte {place} goes unnoticed")).line, 1, "byte {place}");
    }
}

#[test]
fn the_first_lines_number_can_not_be_changed_to_another_one() {
    for first in [0, 9] {
        let folder = Folder { folder: tempfile::tempdir().unwrap(), lines: lines(11) };
        folder.remember_deleted(first as u64);
        for others in [0, 1] {
            let left = file(&folder.lines[first..=first + others]);
            for number in (0..130).filter(|number| *number != first + 1) {
                let told = format!("\"seq\":{},", first + 1);
                let changed = String::from_utf8(left.clone()).unwrap().replacen(&told, &format!("\"seq\":{number},"), 1);
                folder.write("log.jsonl", changed.as_bytes());
                let fault = folder.verify().fault.unwrap_or_else(|| panic!("seq {number} goes unnoticed"));
                assert_eq!(fault.line, 1, "seq {number}: {fault:?}");
            }
        }
    }
}

#[test]
fn lines_without_numbers_are_told_page_by_page_and_counted_in_parts() {
    let old: Vec<Vec<u8>> = (0..10).map(|at| format!(r#"{{"prompt":"old {at}","response":""}}"#).into_bytes()).collect();
    let mut mixed = old;
    mixed.extend(lines(10));
    let folder = Folder { folder: tempfile::tempdir().unwrap(), lines: mixed };
    let first_segment = format!("log-{:012}-20231114T221320Z.jsonl", 0);
    let (bytes, index) = compressed(&folder.lines[..10], 0, 3);
    let index = index.lines().map(|line| {
        let member: Member = serde_json::from_str(line).unwrap();
        serde_json::to_string(&Member { first_seq: 0, last_seq: 0, ..member }).unwrap() + "\n"
    });
    let (mixed_member, _) = compressed(&folder.lines[..15], 0, 12);
    // Plain and active, sealed, compressed with an index and without; and with a member that has lines of both kinds.
    let layouts: [Vec<(String, Vec<u8>)>; 5] = [
        vec![("log.jsonl".into(), file(&folder.lines))],
        vec![(first_segment.clone(), file(&folder.lines[..12])), ("log.jsonl".into(), file(&folder.lines[12..]))],
        vec![
            (format!("{first_segment}.gz"), bytes.clone()),
            (format!("{first_segment}.gz.index"), index.collect::<String>().into_bytes()),
            ("log.jsonl".into(), file(&folder.lines[10..])),
        ],
        vec![(format!("{first_segment}.gz"), bytes), ("log.jsonl".into(), file(&folder.lines[10..]))],
        vec![(format!("{first_segment}.gz"), mixed_member), ("log.jsonl".into(), file(&folder.lines[15..]))],
    ];
    let newest_first: Vec<Vec<u8>> = folder.lines.iter().rev().cloned().collect();
    for layout in &layouts {
        for entry in std::fs::read_dir(folder.folder.path()).unwrap() {
            std::fs::remove_file(entry.unwrap().path()).unwrap();
        }
        layout.iter().for_each(|(name, bytes)| folder.write(name, bytes));
        for lines in [1, 3, 7, 100] {
            let (mut filter, mut found, mut pages) = (Filter::default(), Vec::new(), 0);
            loop {
                let page = folder.reader().page(&filter, PageLimits { lines, ..PageLimits::default() }).unwrap();
                found.extend(page.lines);
                (filter.before, pages) = (page.next, pages + 1);
                if page.next.is_none() {
                    break;
                }
                assert!(pages <= 30, "the pages end");
            }
            assert_eq!(found, newest_first, "pages of {lines}: {:?}", layout.iter().map(|(name, _)| name).collect::<Vec<_>>());
        }
        let (mut filter, mut stats) = (Filter::default(), Stats::default());
        loop {
            // A block at a time.
            stats.add(folder.reader().stats(&filter, || false).unwrap());
            filter.before = stats.next;
            if stats.next.is_none() {
                break;
            }
        }
        assert_eq!(stats.rows.iter().map(|row| row.requests).sum::<u64>(), 20);
    }
}

#[test]
fn each_changed_byte_is_found_and_its_line_is_named() {
    let folder = Folder { folder: tempfile::tempdir().unwrap(), lines: lines(4) };
    let whole = file(&folder.lines);
    for place in 0..whole.len() {
        let mut changed = whole.clone();
        changed[place] ^= 1;
        folder.write("log.jsonl", &changed);
        let fault = folder.reader().verify(|| true).unwrap().fault.unwrap_or_else(|| panic!("byte {place} goes unnoticed"));
        let line = whole[..place].iter().filter(|&&byte| byte == b'\n').count() as u64 + 1;
        assert_eq!((fault.line, fault.file.as_path()), (line, folder.path("log.jsonl").as_path()), "byte {place}: {fault:?}");
    }
}

#[test]
fn what_is_missing_doubled_or_torn_is_found() {
    let folder = Folder { folder: tempfile::tempdir().unwrap(), lines: lines(6) };
    let fault = |lines: &[&[u8]]| {
        folder.write("log.jsonl", &lines.concat());
        folder.verify().fault.map(|fault| (fault.line, fault.kind))
    };
    let all: Vec<Vec<u8>> = folder.lines.iter().map(|line| [line, &b"\n"[..]].concat()).collect();
    let line = |seq: usize| &all[seq - 1][..];
    assert_eq!(fault(&[line(1), line(2), line(4)]), Some((3, FaultKind::Changed)));
    assert_eq!(fault(&[line(1), line(2), line(2)]), Some((3, FaultKind::Changed)));
    assert_eq!(fault(&[line(1), line(2), &line(3)[..20]]), Some((3, FaultKind::Torn)));
    // Without chains, numbers still tell.
    let bare: Vec<Vec<u8>> = [1, 2, 4].map(|seq| format!("{{\"seq\":{seq}}}\n").into_bytes()).to_vec();
    assert_eq!(fault(&[&bare[0], &bare[1], &bare[2]]), Some((3, FaultKind::WrongNumber { expected: 3 })));
    assert_eq!(fault(&[&bare[0], b"[]\n"]), Some((2, FaultKind::NotALine)));
    assert_eq!(fault(&[&bare[0], &bare[1]]), None);
}

#[test]
fn lines_of_older_formats_are_covered_by_the_next_chain() {
    let folder = Folder { folder: tempfile::tempdir().unwrap(), lines: Vec::new() };
    let old: [&[u8]; 2] = [br#"{"timestamp":"2024-01-01T00:00:00Z","prompt":"a","response":"b"}"#, br#"{"prompt":"c","seq":1}"#];
    let mut previous = chain::START;
    old.iter().for_each(|line| previous = chain::link(&previous, line));
    let mut new = br#"{"prompt":"d","seq":2}"#.to_vec();
    chain::seal(&previous, &mut new);
    folder.write("log.jsonl", &[old[0], b"\n", old[1], b"\n", &new, b"\n"].concat());
    let seen = folder.verify();
    assert_eq!((seen.lines, seen.without_chain, seen.fault), (3, 2, None));
    folder.write("log.jsonl", &[&old[0].to_ascii_uppercase()[..], b"\n", old[1], b"\n", &new, b"\n"].concat());
    assert!(folder.verify().fault.is_some());
}

#[test]
fn a_damaged_segment_is_named() {
    let folder = Folder::new();
    let name = format!("{}.gz", folder.segment(1));
    let mut bytes = std::fs::read(folder.path(&name)).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x55;
    folder.write(&name, &bytes);
    let fault = folder.verify().fault.unwrap();
    assert_eq!(fault.file, folder.path(&name));
    assert!(Path::new(&fault.file).exists() && fault.to_string().contains("line"), "{fault}");
}
