//! Disks that fail, fill up, vanish or are slow: what the two modes say, and how they recover.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::tests::faulty::{EIO, ENOSPC, EROFS, Fault, FaultyDisk, Operation};
use crate::tests::kit::{Log, record, until, write};
use crate::{Journal, JournalError, Kept, OnFailure, Options, SyncMode};

/// How soon after its cause is gone a failure must be over.
const RECOVERY: Duration = Duration::from_secs(2);

fn open_mode() -> Options {
    Options { on_failure: OnFailure::Open, ..Options::default() }
}

/// A disk with a fault that can be switched on and off.
fn switched(faults: impl Fn(Operation) -> Fault + Send + 'static) -> (Arc<AtomicBool>, Arc<FaultyDisk>) {
    let switch = Arc::new(AtomicBool::new(false));
    let disk = FaultyDisk::new({
        let switch = switch.clone();
        move |_, operation, _: &Path| if switch.load(Ordering::SeqCst) { faults(operation) } else { Fault::Nothing }
    });
    (switch, disk)
}

fn on_write(fault: Fault) -> impl Fn(Operation) -> Fault + Send {
    move |operation| if operation == Operation::Write { fault } else { Fault::Nothing }
}

/// Waits until lines can be written, which mustn't take long.
async fn recovers(journal: &Journal) {
    let begun = Instant::now();
    until("recovery", || journal.failing().is_none()).await;
    assert!(begun.elapsed() < RECOVERY, "after {:?}", begun.elapsed());
}

async fn closed_refuses_and_recovers(faults: impl Fn(Operation) -> Fault + Send + 'static, says: &str) {
    let log = Log::new();
    let (broken, disk) = switched(faults);
    let journal = log.open_on(disk, &Options::default()).unwrap();
    write(&journal, "before").await.unwrap();
    broken.store(true, Ordering::SeqCst);
    let error = write(&journal, "admitted").await.unwrap_err();
    assert!(error.to_string().contains(says), "{error}");
    let refused = journal.reserve().err().unwrap();
    assert!(refused.to_string().contains(says), "refused before any work: {refused}");
    assert_eq!((journal.written(), journal.dropped()), (1, 1));
    broken.store(false, Ordering::SeqCst);
    recovers(&journal).await;
    write(&journal, "after").await.unwrap();
    drop(journal);
    assert_eq!(log.ids().into_keys().collect::<Vec<_>>(), ["after", "before"]);
}

#[tokio::test]
async fn a_full_disk_is_told_refuses_and_recovers() {
    closed_refuses_and_recovers(on_write(Fault::Error(ENOSPC)), "No space left").await;
}

#[tokio::test]
async fn a_disk_that_takes_half_a_line_leaves_none_of_it() {
    closed_refuses_and_recovers(on_write(Fault::Half), "bytes were accepted").await;
}

#[tokio::test]
async fn half_a_line_that_can_not_be_taken_away_goes_before_the_next_one() {
    let faults = |operation| match operation {
        Operation::Write => Fault::Half,
        Operation::Truncate => Fault::Error(EIO),
        _ => Fault::Nothing,
    };
    closed_refuses_and_recovers(faults, "").await;
}

#[tokio::test]
async fn errors_of_the_disk_are_told_and_end() {
    closed_refuses_and_recovers(on_write(Fault::Error(EIO)), "Input/output error").await;
}

#[tokio::test]
async fn a_disk_that_became_read_only_is_told_and_ends() {
    let faults = |operation| match operation {
        Operation::Write | Operation::Open | Operation::Truncate | Operation::Rename => Fault::Error(EROFS),
        _ => Fault::Nothing,
    };
    closed_refuses_and_recovers(faults, "Read-only").await;
}

#[tokio::test]
async fn open_serves_on_counts_and_recovers() {
    let log = Log::new();
    let (broken, disk) = switched(on_write(Fault::Error(ENOSPC)));
    let journal = log.open_on(disk, &open_mode()).unwrap();
    assert_eq!(write(&journal, "before").await.unwrap(), Kept::Line(1));
    broken.store(true, Ordering::SeqCst);
    for number in 0..50 {
        assert_eq!(write(&journal, &number.to_string()).await.unwrap(), Kept::Dropped);
    }
    assert_eq!((journal.written(), journal.dropped()), (1, 50));
    assert!(journal.failing().is_some());
    broken.store(false, Ordering::SeqCst);
    recovers(&journal).await;
    assert_eq!(write(&journal, "after").await.unwrap(), Kept::Line(2));
    drop(journal);
    assert_eq!(log.ids().into_keys().collect::<Vec<_>>(), ["after", "before"]);
}

#[tokio::test]
async fn a_folder_that_vanishes_is_noticed_and_its_return_too() {
    for options in [Options::default(), open_mode()] {
        let log = Log::new();
        let folder = log.folder.path().join("logs");
        let path = folder.join("log.jsonl");
        let journal = Journal::open(&path, &options).unwrap();
        write(&journal, "lost with its folder").await.unwrap();
        std::fs::remove_dir_all(&folder).unwrap();
        // Nothing was asked; it is seen all the same.
        until("the loss noticed", || journal.failing().is_some()).await;
        match options.on_failure {
            OnFailure::Closed => assert!(matches!(journal.reserve(), Err(JournalError::Unusable { .. }))),
            OnFailure::Open => assert_eq!(write(&journal, "x").await.unwrap(), Kept::Dropped),
        }
        std::fs::create_dir(&folder).unwrap();
        recovers(&journal).await;
        assert_eq!(write(&journal, "after").await.unwrap(), Kept::Line(2), "numbers go on, so that the gap shows");
        drop(journal);
        assert!(std::fs::read_to_string(&path).unwrap().contains("\"after\""));
    }
}

#[tokio::test]
async fn a_file_that_is_removed_or_moved_is_begun_anew() {
    let log = Log::new();
    let journal = log.open(&Options::default());
    for number in 1..=20 {
        if number % 3 == 0 {
            std::fs::remove_file(&log.path).unwrap();
        }
        if number % 7 == 0 {
            std::fs::rename(&log.path, log.folder.path().join(format!("moved-{number}"))).unwrap();
        }
        let id = number.to_string();
        assert_eq!(write(&journal, &id).await.unwrap(), Kept::Line(number));
        let text = std::fs::read_to_string(&log.path).unwrap();
        assert!(text.lines().last().unwrap().contains(&format!("\"id\":\"{id}\"")), "an acknowledged line is in the file of that name");
    }
}

#[tokio::test]
async fn a_slow_disk_makes_the_queue_full_and_memory_stays_bounded() {
    for on_failure in [OnFailure::Closed, OnFailure::Open] {
        let log = Log::new();
        let (slow, disk) = switched(|operation| {
            if operation == Operation::Write {
                std::thread::sleep(Duration::from_millis(30));
            }
            Fault::Nothing
        });
        let journal = log.open_on(disk, &Options { places: 8, on_failure, ..Options::default() }).unwrap();
        slow.store(true, Ordering::SeqCst);
        let mut waiting = Vec::new();
        for number in 0..8 {
            waiting.push(journal.reserve().unwrap().write(record(&number.to_string())));
        }
        match on_failure {
            OnFailure::Closed => assert!(matches!(journal.reserve(), Err(JournalError::Full { places: 8 }))),
            OnFailure::Open => assert_eq!(write(&journal, "one too many").await.unwrap(), Kept::Dropped),
        }
        for written in waiting {
            assert!(matches!(written.wait().await.unwrap(), Kept::Line(_)));
        }
        write(&journal, "after").await.unwrap();
        drop(journal);
        assert_eq!(log.ids().len(), 9);
    }
}

#[tokio::test]
async fn a_disk_that_does_not_answer_holds_up_no_answer_in_open_mode() {
    let log = Log::new();
    let (slow, disk) = switched(|operation| {
        if operation == Operation::Write {
            std::thread::sleep(Duration::from_secs(3));
        }
        Fault::Nothing
    });
    let journal = log.open_on(disk, &open_mode()).unwrap();
    slow.store(true, Ordering::SeqCst);
    let begun = Instant::now();
    assert_eq!(write(&journal, "a").await.unwrap(), Kept::Dropped);
    assert!(begun.elapsed() < Duration::from_secs(2));
}

#[tokio::test]
async fn always_waits_for_the_disk_and_shares_the_wait() {
    let log = Log::new();
    let disk = FaultyDisk::new(|_, operation, _: &Path| {
        if operation == Operation::Sync {
            std::thread::sleep(Duration::from_millis(20));
        }
        Fault::Nothing
    });
    let journal = log.open_on(disk.clone(), &Options { sync: SyncMode::Always, ..Options::default() }).unwrap();
    let places: Vec<_> = (0..64).map(|_| journal.reserve().unwrap()).collect();
    let waiting: Vec<_> = places.into_iter().enumerate().map(|(number, place)| place.write(record(&number.to_string()))).collect();
    for written in waiting {
        written.wait().await.unwrap();
        assert!(disk.history().contains(&Operation::Sync), "no answer before the first one");
    }
    let syncs = disk.history().iter().filter(|operation| **operation == Operation::Sync).count();
    assert!(syncs <= 16, "{syncs} for 64 lines");
}

#[tokio::test]
async fn lines_that_may_not_be_on_the_disk_are_taken_back_and_told() {
    let log = Log::new();
    let (broken, disk) = switched(|operation| if operation == Operation::Sync { Fault::Error(EIO) } else { Fault::Nothing });
    let journal = log.open_on(disk, &Options { sync: SyncMode::Always, ..Options::default() }).unwrap();
    write(&journal, "before").await.unwrap();
    broken.store(true, Ordering::SeqCst);
    write(&journal, "never").await.unwrap_err();
    assert_eq!(log.ids().len(), 1);
    broken.store(false, Ordering::SeqCst);
    recovers(&journal).await;
    assert_eq!(write(&journal, "after").await.unwrap(), Kept::Line(2));
    drop(journal);
    assert_eq!(log.ids().into_keys().collect::<Vec<_>>(), ["after", "before"]);
}

#[tokio::test]
async fn a_disk_that_takes_lines_but_does_not_keep_them_is_told() {
    let log = Log::new();
    let (broken, disk) = switched(|operation| if operation == Operation::Sync { Fault::Error(EIO) } else { Fault::Nothing });
    let journal = log.open_on(disk, &Options::default()).unwrap();
    broken.store(true, Ordering::SeqCst);
    write(&journal, "a").await.unwrap();
    until("the failure noticed", || journal.failing().is_some()).await;
    broken.store(false, Ordering::SeqCst);
    recovers(&journal).await;
}

/// Mounting takes rights that tests seldom have.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_small_file_system_that_fills_up() {
    let folder = tempfile::tempdir().unwrap();
    let mount = |arguments: &[&str]| std::process::Command::new("mount").args(arguments).arg(folder.path()).output();
    match mount(&["-t", "tmpfs", "-o", "size=64k", "minivault-test"]) {
        Ok(output) if output.status.success() => {}
        Ok(output) => return println!("skipped: {}", String::from_utf8_lossy(&output.stderr)),
        Err(error) => return println!("skipped: mount: {error}"),
    }
    let outcome = tokio::spawn(fills_up(folder.path().to_owned(), folder.path().join("log.jsonl"))).await;
    let _ = std::process::Command::new("umount").arg(folder.path()).output();
    outcome.unwrap();
}

#[cfg(target_os = "linux")]
async fn fills_up(folder: std::path::PathBuf, path: std::path::PathBuf) {
    let ballast = folder.join("ballast");
    std::fs::write(&ballast, vec![0; 32 * 1024]).unwrap();
    let journal = Journal::open(&path, &Options::default()).unwrap();
    let mut lines = 0;
    let error = loop {
        match write(&journal, &format!("line {lines}")).await {
            Ok(_) => lines += 1,
            Err(error) => break error,
        }
    };
    assert!(error.to_string().contains("No space left") || error.to_string().contains("accepted"), "{error}");
    assert!(journal.reserve().is_err());
    assert!(lines > 10, "{lines}");
    std::fs::remove_file(ballast).unwrap();
    recovers(&journal).await;
    write(&journal, "after").await.unwrap();

    let remount = |how: &str| std::process::Command::new("mount").args(["-o", how]).arg(&folder).status().unwrap();
    assert!(remount("remount,size=1m").success());
    write(&journal, "roomy").await.unwrap();
    // With a file open for writing, the file system can't become read-only; with the permissions of root, folders can't either.
    drop(journal);
    assert_eq!(crate::tests::kit::ids_of(&path).len(), lines + 2);
}
