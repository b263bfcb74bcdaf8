//! Segments: sealed by size and age, compressed, indexed, removed.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use flate2::read::GzDecoder;

use crate::disk::{Disk, RealDisk};
use crate::reading::{FaultKind, LogReader};
use crate::segment::{Kind, Member, segments};
use crate::tests::faulty::{ENOSPC, Fault, FaultyDisk, Operation};
use crate::tests::kit::{Log, rotating, text_of, until, write};
use crate::{Journal, Keep, Kept, Options, Rotate};

async fn write_lines(journal: &Journal, lines: usize) {
    for number in 0..lines {
        write(journal, &number.to_string()).await.unwrap();
    }
}

fn kinds(log: &Log) -> Vec<Kind> {
    segments(&log.path).unwrap().iter().map(|segment| segment.kind).collect()
}

async fn compressed(log: &Log) {
    until("all segments compressed", || !kinds(log).contains(&Kind::Plain)).await;
}

#[tokio::test]
async fn a_file_that_has_grown_is_sealed_and_compressed() {
    let log = Log::new();
    let journal = log.open(&rotating(2000));
    write_lines(&journal, 20).await;
    // The last answer leaves before the file is sealed that it has filled.
    drop(journal);
    let journal = log.open(&rotating(2000));
    compressed(&log).await;
    drop(journal);
    assert_eq!(log.ids().len(), 20);
    let all = segments(&log.path).unwrap();
    assert!(all.len() > 3, "{all:?}");
    for segment in &all[..all.len() - 1] {
        assert_eq!(segment.kind, Kind::Compressed);
        let first: serde_json::Value = serde_json::from_str(text_of(segment).lines().next().unwrap()).unwrap();
        assert_eq!(segment.first_seq, first["seq"].as_u64(), "the name tells the first line");
        assert_eq!(segment.time.unwrap().to_string(), "2026-01-02T03:04:05Z");
    }
}

#[tokio::test]
async fn without_compression_segments_stay_as_they_are() {
    let log = Log::new();
    let journal = log.open(&Options { compress: false, ..rotating(2000) });
    write_lines(&journal, 20).await;
    drop(journal);
    assert!(!kinds(&log).contains(&Kind::Compressed));
    assert_eq!(log.ids().len(), 20);
    // Switched on later, it is made up for.
    let journal = log.open(&Options::default());
    compressed(&log).await;
    drop(journal);
    assert_eq!(log.ids().len(), 20);
}

#[tokio::test]
async fn a_file_that_has_aged_is_sealed_even_when_nothing_comes() {
    let log = Log::new();
    let age = Some(Duration::from_millis(1));
    let journal = log.open(&Options { rotate: Rotate { bytes: None, age }, ..Options::default() });
    write(&journal, "a").await.unwrap();
    until("a sealed segment", || kinds(&log).first() == Some(&Kind::Compressed)).await;
    drop(journal);
    assert_eq!(log.ids().len(), 1);
    let log = Log::new();
    let journal = log.open(&Options { rotate: Rotate { bytes: None, age: Some(Duration::MAX) }, ..Options::default() });
    write_lines(&journal, 2).await;
    drop(journal);
    assert_eq!(kinds(&log), [Kind::Active]);
}

#[tokio::test]
async fn members_can_be_read_alone_as_the_index_says() {
    let log = Log::new();
    let journal = log.open(&rotating(3 << 20));
    let mut record = crate::tests::kit::record("long");
    record.response = "x y z ".repeat(50_000);
    for _ in 0..12 {
        journal.reserve().unwrap().write(record.clone()).wait().await.unwrap();
    }
    compressed(&log).await;
    drop(journal);
    let segment = &segments(&log.path).unwrap()[0];
    let index = std::fs::read_to_string(segment.index()).unwrap();
    let members: Vec<Member> = index.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(members.len() > 1, "{index}");
    let bytes = std::fs::read(&segment.path).unwrap();
    let mut whole = String::new();
    for member in members {
        let mut text = String::new();
        GzDecoder::new(&bytes[member.offset as usize..]).read_to_string(&mut text).unwrap();
        let seq = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()["seq"].as_u64().unwrap();
        let expected = (text.len() as u64, seq(text.lines().next().unwrap()), seq(text.lines().last().unwrap()));
        assert_eq!((member.length, member.first_seq, member.last_seq), expected);
        whole.push_str(&text);
    }
    assert_eq!(whole, text_of(segment));
}

#[tokio::test]
async fn so_many_segments_are_kept_and_so_many_bytes() {
    let log = Log::new();
    let journal = log.open(&Options { keep: Keep { segments: Some(3), bytes: None }, ..rotating(2000) });
    write_lines(&journal, 60).await;
    until("few segments", || kinds(&log).len() <= 4 && !kinds(&log).contains(&Kind::Plain)).await;
    drop(journal);
    let newest = segments(&log.path).unwrap();
    assert!(newest[0].first_seq.unwrap() > 30, "the oldest ones go");

    let limit = 6000;
    let journal = log.open(&Options { compress: false, keep: Keep { segments: None, bytes: Some(limit) }, ..rotating(2000) });
    write_lines(&journal, 60).await;
    let size =
        || segments(&log.path).unwrap().iter().map(|segment| std::fs::metadata(&segment.path).map_or(0, |file| file.len())).sum::<u64>();
    until("few bytes", || size() <= limit).await;
    drop(journal);
    assert!(log.path.exists());
}

#[tokio::test]
async fn what_is_left_follows_what_was_deleted_and_numbers_go_on() {
    // With one byte, each line is sealed at once: now and then nothing is left of the log.
    for (segments_kept, bytes, sealed_at) in [(Some(0), None, 1), (None, Some(0), 1), (Some(0), None, 1000), (Some(2), None, 1000)] {
        let log = Log::new();
        let options = Options { keep: Keep { segments: segments_kept, bytes }, ..rotating(sealed_at) };
        let mut written = 0;
        for _ in 0..5 {
            let journal = log.open(&options);
            write_lines(&journal, 7).await;
            written += 7;
            until("few segments", || kinds(&log).len() <= segments_kept.unwrap_or(0) + 1).await;
            drop(journal);
            let seen = LogReader::new(&log.path).verify(|| true).unwrap();
            assert_eq!(seen.fault, None, "{:?}", log.files());
            assert!(seen.lines == 0 || seen.last_seq == Some(written) && seen.beginning_is_gone, "{seen:?}");
        }
        let journal = log.open(&options);
        assert_eq!(write(&journal, "next").await.unwrap(), Kept::Line(written + 1), "{segments_kept:?} {bytes:?}");
    }
}

#[tokio::test]
async fn the_oldest_segment_goes_also_when_it_is_damaged_or_the_disk_is_full() {
    let full = FaultyDisk::new(|_, operation, _: &Path| if operation == Operation::Write { Fault::Error(ENOSPC) } else { Fault::Nothing });
    let disks: [(Arc<dyn Disk>, bool); 2] = [(Arc::new(RealDisk), true), (full, false)];
    for (disk, damages) in disks {
        let log = Log::new();
        let journal = log.open(&rotating(1000));
        write_lines(&journal, 20).await;
        compressed(&log).await;
        drop(journal);
        let all = segments(&log.path).unwrap();
        if damages {
            let whole = std::fs::read(&all[0].path).unwrap();
            std::fs::write(&all[0].path, &whole[..whole.len() / 2]).unwrap();
        }
        let options = Options { keep: Keep { segments: Some(all.len() - 2), bytes: None }, ..rotating(1000) };
        let journal = log.open_on(disk, &options).unwrap();
        until("the oldest one gone", || !all[0].path.exists()).await;
        drop(journal);
        let fault = LogReader::new(&log.path).verify(|| true).unwrap().fault.unwrap();
        assert_eq!((fault.line, fault.kind), (1, FaultKind::NothingBefore), "what could not be remembered is missed");
    }
}

#[tokio::test]
async fn what_can_be_compressed_is_not_deleted_for_its_size_before() {
    let log = Log::new();
    let journal = log.open(&Options { compress: false, ..rotating(20_000) });
    write_lines(&journal, 120).await;
    drop(journal);
    let plain: u64 = segments(&log.path).unwrap().iter().map(|segment| std::fs::metadata(&segment.path).unwrap().len()).sum();
    let journal = log.open(&Options { keep: Keep { segments: None, bytes: Some(plain / 2) }, ..rotating(20_000) });
    compressed(&log).await;
    drop(journal);
    assert_eq!(log.ids().values().sum::<usize>(), 120, "compressed, all of it fits");
}

#[tokio::test]
async fn a_segment_of_the_same_name_is_not_written_over() {
    let log = Log::new();
    let journal = log.open(&rotating(1_000_000));
    write_lines(&journal, 5).await;
    drop(journal);
    let taken = log.folder.path().join("log-000000000001-20260102T030405Z.jsonl");
    std::fs::write(&taken, "").unwrap();
    let journal = log.open(&Options { compress: false, ..rotating(100) });
    write_lines(&journal, 5).await;
    drop(journal);
    assert_eq!(std::fs::read(&taken).unwrap(), b"");
    assert_eq!(log.ids().len(), 5, "ids are the same five twice");
}

#[tokio::test]
async fn a_log_of_an_older_daemon_goes_on_and_is_sealed() {
    let log = Log::new();
    let old = "{\"timestamp\":\"2024-05-01T10:00:00\",\"prompt\":\"a\",\"response\":\"b\"}\n".repeat(3)
        + "{\"timestamp\":\"2026-01-01T00:00:00Z\",\"prompt\":\"a\",\"response\":\"b\",\"id\":\"x\",\"seq\":1}\n";
    std::fs::write(&log.path, &old).unwrap();
    let journal = log.open(&rotating(2000));
    write_lines(&journal, 20).await;
    compressed(&log).await;
    drop(journal);
    let all = segments(&log.path).unwrap();
    assert!(text_of(&all[0]).starts_with(&old), "as it was, byte for byte");
    assert_eq!(all[0].first_seq, Some(0));
    let (mut chain, mut lines) = (crate::chain::START, 0);
    for line in all.iter().map(text_of).collect::<String>().lines() {
        let followed = crate::chain::follow(&chain, line.as_bytes());
        assert_eq!(followed.told.unwrap_or(followed.computed), followed.computed);
        (chain, lines) = (followed.computed, lines + 1);
    }
    assert_eq!(lines, 24);
}
