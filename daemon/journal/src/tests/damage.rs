//! Whatever stands in a log's file when a daemon starts: nothing panics, no whole line changes, and the log goes on.

use proptest::prelude::*;

use crate::reading::{Filter, LogReader, PageLimits};
use crate::tests::kit::{Log, write};
use crate::{JournalError, Kept, Options};

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// A sound log of four lines.
fn sound(runtime: &tokio::runtime::Runtime) -> Vec<u8> {
    let log = Log::new();
    let journal = log.open(&Options::default());
    for id in ["a", "b", "c", "d"] {
        runtime.block_on(write(&journal, id)).unwrap();
    }
    drop(journal);
    std::fs::read(&log.path).unwrap()
}

/// Opens the log, writes a line, and reads everything.
fn goes_on(runtime: &tokio::runtime::Runtime, log: &Log, before: &[u8]) -> Result<(), TestCaseError> {
    match crate::Journal::open(&log.path, &Options::default()) {
        Ok(journal) => {
            let written = runtime.block_on(write(&journal, "next"));
            prop_assert!(matches!(written, Ok(Kept::Line(_))), "{written:?}");
            drop(journal);
            let after = std::fs::read(&log.path).unwrap();
            let common = before.iter().zip(&after).take_while(|(one, other)| one == other).count();
            let end_of_lines = before[..common].iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
            prop_assert!(after[end_of_lines..].starts_with(b"{") && after.ends_with(b"\n"), "only what isn't a whole line may go");
        }
        // What isn't a log stays as it is.
        Err(JournalError::NotALog { .. }) => prop_assert_eq!(std::fs::read(&log.path).unwrap(), before),
        Err(other) => return Err(TestCaseError::fail(other.to_string())),
    }
    let reader = LogReader::new(&log.path);
    reader.verify(|| true).unwrap();
    reader.page(&Filter::default(), PageLimits::default()).unwrap();
    reader.stats(&Filter::default(), || true).unwrap();
    Ok(())
}

proptest! {
    #[test]
    fn a_log_with_anything_behind_it(cut in 0_usize..4000, behind in proptest::collection::vec(any::<u8>(), 0..300)) {
        let runtime = runtime();
        let mut bytes = sound(&runtime);
        bytes.truncate(cut);
        bytes.extend(behind);
        let log = Log::new();
        std::fs::write(&log.path, &bytes).unwrap();
        goes_on(&runtime, &log, &bytes)?;
    }

    #[test]
    fn a_log_with_changed_bytes(changes in proptest::collection::vec((0_usize..4000, any::<u8>()), 1..5)) {
        let runtime = runtime();
        let whole = sound(&runtime);
        let mut bytes = whole.clone();
        for (place, byte) in changes {
            let place = place % bytes.len();
            bytes[place] = byte;
        }
        let log = Log::new();
        std::fs::write(&log.path, &bytes).unwrap();
        let fault = LogReader::new(&log.path).verify(|| true).unwrap().fault;
        prop_assert_eq!(fault.is_some(), bytes != whole, "{:?}", fault);
        goes_on(&runtime, &log, &bytes)?;
    }

    #[test]
    fn anything_at_all(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let log = Log::new();
        std::fs::write(&log.path, &bytes).unwrap();
        goes_on(&runtime(), &log, &bytes)?;
    }
}
