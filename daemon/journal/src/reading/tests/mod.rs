//! Logs of all kinds of files, read and verified.

mod pages;
mod verify;

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
