//! Places, numbers, and the end.

use std::sync::Arc;

use crate::tests::kit::{Log, record, write};
use crate::{JournalError, Kept, Options};

fn two_places() -> Options {
    Options { places: 2, ..Options::default() }
}

#[tokio::test]
async fn a_written_record_is_a_whole_line_that_begins_as_people_know_it() {
    let log = Log::new();
    let journal = log.open(&two_places());
    assert_eq!(write(&journal, "an-id").await.unwrap(), Kept::Line(1));
    let text = std::fs::read_to_string(&log.path).unwrap();
    assert!(
        text.starts_with(r#"{"timestamp":"2026-01-02T03:04:05.678901Z","prompt":"a","response":"b\n","id":"an-id","seq":1,"#),
        "{text}"
    );
    assert!(text.ends_with("\"}\n"));
}

#[tokio::test]
async fn numbers_go_on_after_a_restart() {
    let log = Log::new();
    for first in [1, 3] {
        let journal = log.open(&two_places());
        assert_eq!(write(&journal, &format!("a{first}")).await.unwrap(), Kept::Line(first));
        assert_eq!(write(&journal, &format!("b{first}")).await.unwrap(), Kept::Line(first + 1));
    }
    assert_eq!(log.ids().len(), 4);
}

#[tokio::test]
async fn places_are_bounded_and_come_back() {
    let journal = Log::new();
    let journal = journal.open(&two_places());
    let held = [journal.reserve().unwrap(), journal.reserve().unwrap()];
    assert!(matches!(journal.reserve(), Err(JournalError::Full { places: 2 })));
    drop(held);
    for number in 0..5 {
        write(&journal, &number.to_string()).await.unwrap();
    }
}

#[tokio::test]
async fn closing_waits_for_the_places_that_are_held() {
    let log = Log::new();
    let journal = Arc::new(log.open(&two_places()));
    let place = journal.reserve().unwrap();
    let closing = tokio::task::spawn_blocking({
        let journal = journal.clone();
        move || journal.close()
    });
    let _ = place.write(record("last"));
    closing.await.unwrap();
    assert_eq!(log.ids().len(), 1);
    assert!(matches!(journal.reserve(), Err(JournalError::Closed)));
}
