//! Killed at each step: what was acknowledged is there exactly once, and everything else at most once.

use std::collections::BTreeMap;

use crate::reading::LogReader;
use crate::segment::{Kind, segments};
use crate::tests::faulty::{Fault, FaultyDisk};
use crate::tests::kit::{Log, rotating, until, write};
use crate::{Journal, Keep, Kept, Options, SyncMode};

const LINES: usize = 12;

/// Writes lines until one isn't acknowledged, and returns the ids of those that were.
async fn write_until_killed(journal: &Journal) -> Vec<String> {
    let mut acknowledged = Vec::new();
    for number in 0..LINES {
        let id = format!("first-{number}");
        match write(journal, &id).await {
            Ok(_) => acknowledged.push(id),
            Err(_) => break,
        }
    }
    acknowledged
}

/// All work on sealed segments has been done, or was cut off.
async fn settled(log: &Log, disk: &FaultyDisk, killed_at: usize) {
    let plain = || segments(&log.path).unwrap().iter().any(|segment| segment.kind == Kind::Plain);
    until("all segments compressed", || disk.operations() > killed_at || !plain()).await;
}

#[track_caller]
fn check(ids: &BTreeMap<String, usize>, acknowledged: &[String], case: &str) {
    for id in acknowledged {
        assert_eq!(ids.get(id), Some(&1), "{case}: {id} was acknowledged");
    }
    for (id, count) in ids {
        assert_eq!(*count, 1, "{case}: {id}");
    }
    let strangers = ids.keys().filter(|id| !acknowledged.contains(id)).count();
    assert!(strangers <= 1, "{case}: at most the line under way when it was killed: {ids:?}");
}

async fn killed_at_each_step(options: Options, how: Fault) {
    let mut number = 0;
    loop {
        let log = Log::new();
        let case = format!("{how:?} at {number}");
        let disk = FaultyDisk::killed_at(number, how);
        let mut acknowledged = Vec::new();
        if let Ok(journal) = log.open_on(disk.clone(), &options) {
            acknowledged = write_until_killed(&journal).await;
            settled(&log, &disk, number).await;
        }
        if how != Fault::KilledWithin {
            check(&log.ids(), &acknowledged, &format!("{case}, as it was left"));
        }

        let journal = log.open(&options);
        for number in 0..LINES {
            let id = format!("second-{number}");
            assert!(matches!(write(&journal, &id).await, Ok(Kept::Line(_))), "{case}");
            acknowledged.push(id);
        }
        until("all segments compressed", || segments(&log.path).unwrap().iter().all(|segment| segment.kind != Kind::Plain)).await;
        drop(journal);
        check(&log.ids(), &acknowledged, &case);
        let rubbish = |name: &String| name.ends_with(".partial") || name.ends_with(".trial");
        assert!(!log.files().iter().any(rubbish), "{case}: {:?}", log.files());
        if disk.operations() <= number {
            assert!(number > 30, "{case}: rotation and compression have many steps");
            return;
        }
        number += 1;
    }
}

#[tokio::test]
async fn killed_before_each_step_of_writing_rotating_and_compressing() {
    killed_at_each_step(rotating(2000), Fault::KilledBefore).await;
}

#[tokio::test]
async fn killed_after_each_step() {
    killed_at_each_step(rotating(2000), Fault::KilledAfter).await;
}

#[tokio::test]
async fn killed_in_the_middle_of_each_write() {
    killed_at_each_step(rotating(2000), Fault::KilledWithin).await;
}

#[tokio::test]
async fn killed_at_each_step_with_every_line_brought_to_the_disk() {
    killed_at_each_step(Options { sync: SyncMode::Always, ..rotating(2000) }, Fault::KilledBefore).await;
}

#[tokio::test]
async fn killed_at_each_step_of_removing_the_oldest_segments() {
    let options = Options { keep: Keep { segments: Some(2), bytes: None }, ..rotating(1000) };
    for number in 0..400 {
        let log = Log::new();
        let disk = FaultyDisk::killed_at(number, Fault::KilledBefore);
        if let Ok(journal) = log.open_on(disk.clone(), &options) {
            write_until_killed(&journal).await;
        }
        drop(log.open(&options));
        let journal = log.open(&options);
        write(&journal, "last").await.unwrap();
        let sealed = || segments(&log.path).unwrap().iter().filter(|segment| segment.kind != Kind::Active).count();
        until("few segments", || sealed() <= 2).await;
        drop(journal);
        drop(log.open(&options));
        let indexes = log.files().iter().filter(|name| name.ends_with(".index")).count();
        assert!(indexes <= sealed(), "no index outlives its segment: {:?}", log.files());
        assert_eq!(LogReader::new(&log.path).verify(|| true).unwrap().fault, None, "what is left follows what was deleted");
        if disk.operations() <= number {
            return;
        }
    }
    panic!("it never ended");
}

#[tokio::test]
async fn the_last_line_cut_at_each_of_its_bytes() {
    let log = Log::new();
    let journal = log.open(&Options::default());
    for id in ["a", "b", "c"] {
        write(&journal, id).await.unwrap();
    }
    drop(journal);
    let whole = std::fs::read(&log.path).unwrap();
    let last = whole[..whole.len() - 1].iter().rposition(|&byte| byte == b'\n').unwrap() + 1;
    for cut in last..=whole.len() {
        let log = Log::new();
        std::fs::write(&log.path, &whole[..cut]).unwrap();
        let journal = log.open(&Options::default());
        assert_eq!(journal.torn(), u64::from(cut > last && cut < whole.len()), "cut at {cut}");
        let seq = if cut < whole.len() { 3 } else { 4 };
        assert!(matches!(write(&journal, "d").await, Ok(Kept::Line(written)) if written == seq), "cut at {cut}");
        drop(journal);
        let now = std::fs::read(&log.path).unwrap();
        let earlier = if cut < whole.len() { last } else { whole.len() };
        assert_eq!(now[..earlier], whole[..earlier], "cut at {cut}");
        assert_eq!(log.ids().len() as u64, seq, "cut at {cut}");
    }
}
