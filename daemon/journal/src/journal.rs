//! The journal: places handed out before the work, lines written after it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};

use crate::file::JournalFile;
use crate::record::Record;

/// After a failed write, how long the journal refuses before it lets a request try again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Why a record can't be kept.
#[derive(Debug, Clone, thiserror::Error)]
pub enum JournalError {
    /// As many interactions are under way as the journal has places for.
    #[error("the log has no place left: {places} interactions are under way, which is the limit")]
    Full {
        /// Places in all.
        places: usize,
    },
    /// The journal has been closed.
    #[error("the log is closed")]
    Closed,
    /// A line could not be written.
    #[error("the log can't be written: {0}")]
    Write(#[source] Arc<io::Error>),
    /// The file can't be opened.
    #[error("the log {} can't be opened: {cause}", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// The operating system's reason.
        #[source]
        cause: Arc<io::Error>,
    },
    /// Another process writes there.
    #[error("the log {} is in use by another process; give each daemon a log of its own (log.path)", path.display())]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// The file's last line isn't a line of a log.
    #[error("{} isn't a log: its last line is no JSON object; choose another log.path", path.display())]
    NotALog {
        /// The file.
        path: PathBuf,
    },
}

/// An open log with its writing thread.
pub struct Journal {
    path: PathBuf,
    sender: Mutex<Option<mpsc::Sender<Entry>>>,
    places: usize,
    failing: Arc<Mutex<Option<Failing>>>,
    written: Arc<AtomicU64>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

struct Failing {
    since: Instant,
    cause: JournalError,
}

struct Entry {
    record: Box<Record>,
    answer: oneshot::Sender<Result<u64, JournalError>>,
}

/// Room for one record.
#[derive(Debug)]
pub struct Place(mpsc::OwnedPermit<Entry>);

/// The way to learn that a record has been written.
#[derive(Debug)]
pub struct Written(oneshot::Receiver<Result<u64, JournalError>>);

impl Journal {
    /// Opens the log for `places` interactions at once.
    ///
    /// # Errors
    /// [`JournalError`] naming the path.
    pub fn open(path: &Path, places: usize) -> Result<Self, JournalError> {
        let (file, seq) = JournalFile::open(path)?;
        let (sender, receiver) = mpsc::channel(places);
        let failing = Arc::new(Mutex::new(None));
        let written = Arc::new(AtomicU64::new(0));
        let writer = Writer { file, seq, receiver, failing: failing.clone(), written: written.clone() };
        let thread = std::thread::Builder::new().name("journal".into()).spawn(move || writer.run());
        let thread = thread.map_err(|cause| JournalError::Unusable { path: path.to_owned(), cause: Arc::new(cause) })?;
        Ok(Self { path: path.to_owned(), sender: Mutex::new(Some(sender)), places, failing, written, writer: Mutex::new(Some(thread)) })
    }

    /// Reserves room for one record, before the work begins.
    ///
    /// # Errors
    /// [`JournalError::Full`], [`JournalError::Closed`], or the failure of a moment ago.
    pub fn reserve(&self) -> Result<Place, JournalError> {
        if let Some(Failing { since, cause }) = &*lock(&self.failing)
            && since.elapsed() < RETRY_AFTER
        {
            return Err(cause.clone());
        }
        let sender = lock(&self.sender).clone().ok_or(JournalError::Closed)?;
        sender.try_reserve_owned().map(Place).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => JournalError::Full { places: self.places },
            mpsc::error::TrySendError::Closed(_) => JournalError::Closed,
        })
    }

    /// The active file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Lines written since it was opened.
    pub fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// Hands out no more places, waits until every place that is held has been used or let go, and brings everything to the disk.
    /// Blocks.
    pub fn close(&self) {
        drop(lock(&self.sender).take());
        if let Some(writer) = lock(&self.writer).take()
            && writer.join().is_err()
        {
            tracing::error!("the log's writer panicked");
        }
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.close();
    }
}

impl Place {
    /// Hands the record over to the writer, which gives it its `seq`.
    pub fn write(self, record: Record) -> Written {
        let (answer, receiver) = oneshot::channel();
        self.0.send(Entry { record: Box::new(record), answer });
        Written(receiver)
    }
}

impl Written {
    /// Waits until the kernel has the line, and returns its `seq`.
    ///
    /// # Errors
    /// [`JournalError::Write`].
    pub async fn wait(self) -> Result<u64, JournalError> {
        self.0.await.unwrap_or(Err(JournalError::Closed))
    }
}

struct Writer {
    file: JournalFile,
    seq: u64,
    receiver: mpsc::Receiver<Entry>,
    failing: Arc<Mutex<Option<Failing>>>,
    written: Arc<AtomicU64>,
}

impl Writer {
    fn run(mut self) {
        while let Some(Entry { mut record, answer }) = self.receiver.blocking_recv() {
            record.seq = self.seq + 1;
            let outcome = self.write(&record);
            // Whoever waited may have left; the line stands all the same.
            let _ = answer.send(outcome);
        }
        if let Err(error) = self.file.sync() {
            tracing::error!(%error, "the log's last lines may not be on the disk");
        }
    }

    fn write(&mut self, record: &Record) -> Result<u64, JournalError> {
        let line = serde_json::to_vec(record).map_err(io::Error::from).map(|mut line| {
            line.push(b'\n');
            line
        });
        match line.and_then(|line| self.file.append(&line)) {
            Ok(()) => {
                self.seq = record.seq;
                self.written.fetch_add(1, Ordering::Relaxed);
                *lock(&self.failing) = None;
                Ok(record.seq)
            }
            Err(error) => {
                tracing::error!(%error, id = record.id, "an interaction could not be logged");
                let cause = JournalError::Write(Arc::new(error));
                *lock(&self.failing) = Some(Failing { since: Instant::now(), cause: cause.clone() });
                Err(cause)
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Computation, Outcome, TokenUsage};

    fn record(prompt: &str) -> Record {
        Record {
            timestamp: "2026-01-02T03:04:05.678901234Z".parse().unwrap(),
            prompt: prompt.into(),
            response: "b\n".into(),
            tool_calls: Vec::new(),
            id: "an-id".into(),
            replay_of: None,
            seq: 0,
            endpoint: "/generate".into(),
            model: "m".into(),
            backend: "scripted".into(),
            fingerprint: "f".into(),
            determinism: "bitwise".into(),
            computation: Computation::default(),
            seed: 7,
            request: serde_json::json!({"max_tokens": 3}),
            prompt_token_ids: vec![1],
            response_token_ids: vec![2, 3],
            usage: TokenUsage::default(),
            finish_reason: Outcome::Stop,
            status: 200,
            error: None,
            ttft_ms: Some(1.5),
            duration_ms: 2.0,
        }
    }

    #[tokio::test]
    async fn a_written_record_is_a_whole_line_that_begins_as_people_know_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.jsonl");
        let journal = Journal::open(&path, 2).unwrap();
        assert_eq!(journal.reserve().unwrap().write(record("a")).wait().await.unwrap(), 1);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(
            text.starts_with(r#"{"timestamp":"2026-01-02T03:04:05.678901Z","prompt":"a","response":"b\n","id":"an-id","seq":1,"#),
            "{text}"
        );
        assert!(text.ends_with("}\n"));
    }

    #[tokio::test]
    async fn numbers_go_on_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.jsonl");
        for first in [1, 3] {
            let journal = Journal::open(&path, 2).unwrap();
            assert_eq!(journal.reserve().unwrap().write(record("a")).wait().await.unwrap(), first);
            assert_eq!(journal.reserve().unwrap().write(record("b")).wait().await.unwrap(), first + 1);
        }
    }

    #[tokio::test]
    async fn places_are_bounded_and_come_back() {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::open(&folder.path().join("log.jsonl"), 2).unwrap();
        let held = [journal.reserve().unwrap(), journal.reserve().unwrap()];
        assert!(matches!(journal.reserve(), Err(JournalError::Full { places: 2 })));
        drop(held);
        journal.reserve().unwrap().write(record("a")).wait().await.unwrap();
    }

    #[tokio::test]
    async fn closing_waits_for_the_places_that_are_held() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.jsonl");
        let journal = Arc::new(Journal::open(&path, 2).unwrap());
        let place = journal.reserve().unwrap();
        let closing = tokio::task::spawn_blocking({
            let journal = journal.clone();
            move || journal.close()
        });
        let _ = place.write(record("last"));
        closing.await.unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 1);
        assert!(matches!(journal.reserve(), Err(JournalError::Closed)));
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn a_full_disk_is_told_and_refuses_for_a_moment() {
        let journal = Journal::open(Path::new("/dev/full"), 2).unwrap();
        let error = journal.reserve().unwrap().write(record("a")).wait().await.unwrap_err();
        assert!(error.to_string().contains("No space left"), "{error}");
        assert!(matches!(journal.reserve(), Err(JournalError::Write(_))));
    }
}
