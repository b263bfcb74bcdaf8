//! The thread that writes.
//!
//! It takes all records that wait, writes one line each, and answers them together: with `sync = "always"` after one `fdatasync` for all.
//! Between batches it seals the file that has grown too large or too old, and after a failure it tries until lines can be written again.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::oneshot;

use crate::active::{ActiveFile, First, Opened};
use crate::chain::{Chain, seal};
use crate::disk::{Disk, Opening, write_all};
use crate::error::JournalError;
use crate::health::Health;
use crate::keeper::Keeper;
use crate::options::{Rotate, SyncMode};
use crate::position::Position;
use crate::queue::{Next, Queue, Reserved};
use crate::record::Record;
use crate::segment::{Kind, Segment, sealed_path, with_suffix};
use crate::syncer::Syncer;

/// Records written before their answers leave; more would only make the first one wait.
const BATCH: usize = 256;
/// While nothing comes: how often it is looked whether the file is still where it was.
const LOOK: Duration = Duration::from_secs(1);
/// While lines can't be written: how often it is tried.
const TRY: Duration = Duration::from_millis(400);
/// What a file that is written to see whether writing works is called, behind the log's name.
pub(crate) const TRIAL: &str = ".trial";
/// After a failed rotation: how long the file grows before it is tried again.
const AGAIN: Duration = Duration::from_secs(5);
/// Bytes of that file, at least and at most; as many as the line that couldn't be written.
const TRIAL_BYTES: (usize, usize) = (4096, 1 << 20);

/// A record on its way.
pub(crate) struct Entry {
    pub record: Box<Record>,
    pub answer: oneshot::Sender<Result<u64, JournalError>>,
}

type Waiting = (Reserved<Entry>, Entry);

/// What the thread works with.
pub(crate) struct Writer {
    pub disk: Arc<dyn Disk>,
    pub path: PathBuf,
    pub queue: Arc<Queue<Entry>>,
    pub health: Arc<Health>,
    pub sync: SyncMode,
    pub rotate: Rotate,
    /// `None` while there is no file to write to.
    pub active: Option<ActiveFile>,
    pub position: Position,
    /// With [`SyncMode::Interval`].
    pub syncer: Option<Syncer>,
    pub keeper: Keeper,
    pub tried: Tried,
}

/// The last attempt to write.
pub(crate) struct Tried {
    at: Instant,
    /// Bytes of the longest line that failed since lines could be written.
    bytes: usize,
    /// When a rotation failed.
    rotation: Option<Instant>,
}

impl Default for Tried {
    fn default() -> Self {
        Self { at: Instant::now(), bytes: 0, rotation: None }
    }
}

impl Writer {
    pub fn run(mut self) {
        loop {
            let patience = if self.health.is_failing() { TRY } else { LOOK };
            match self.queue.next(BATCH, patience) {
                Next::Batch(batch) => self.answer(batch),
                Next::Nothing => self.look(),
                Next::End => break,
            }
        }
        // The lock goes with the active file: whoever takes it next must find nobody at work.
        drop(self.syncer);
        drop(self.keeper);
        if let Some(Err(error)) = self.active.as_ref().map(ActiveFile::sync) {
            tracing::error!(%error, "the log's last lines may not be on the disk");
        }
    }

    /// Writes these records and tells those who wait.
    fn answer(&mut self, mut batch: Vec<Waiting>) {
        if let Some(cause) = self.health.failing().filter(|_| self.tried.at.elapsed() < TRY) {
            return self.refuse(batch, &cause);
        }
        let failed_before = self.health.is_failing();
        let outcome = self.write(&mut batch);
        let written = outcome.written;
        match (&outcome.failure, failed_before) {
            (None, false) => {}
            // The kernel takes lines; whether the disk does is another question.
            (None, true) => self.conclude(|writer| writer.sync_if_promised()),
            (Some(cause), _) => {
                self.tried.at = Instant::now();
                self.health.fail(cause);
            }
        }
        self.health.written.fetch_add(written as u64, Ordering::Relaxed);
        let mut batch = batch.into_iter();
        for ((_place, Entry { answer, .. }), seq) in batch.by_ref().take(written).zip(outcome.first_seq..) {
            // Whoever waited may have left; the line stands all the same.
            let _ = answer.send(Ok(seq));
        }
        if let Some(cause) = outcome.failure {
            self.refuse(batch, &cause);
        }
        self.rotate_if_due();
    }

    fn refuse(&self, batch: impl IntoIterator<Item = Waiting>, cause: &JournalError) {
        for (_place, Entry { answer, .. }) in batch {
            self.health.dropped.fetch_add(1, Ordering::Relaxed);
            let _ = answer.send(Err(cause.clone()));
        }
    }

    /// Writes as many of these records as can be written, in their order.
    fn write(&mut self, batch: &mut [Waiting]) -> Outcome {
        let before = self.position;
        let nothing = |cause| Outcome { first_seq: 0, written: 0, failure: Some(cause) };
        if let Err(cause) = self.have_file() {
            return nothing(cause);
        }
        let outcome = self.write_lines(batch);
        // A file that lost its name meanwhile took what was written with it. Nobody has been told of these lines yet.
        if outcome.written > 0 && self.active.as_ref().is_some_and(ActiveFile::is_gone) {
            self.position = before;
            return match self.have_file() {
                Ok(()) => self.write_lines(batch),
                Err(cause) => nothing(cause),
            };
        }
        outcome
    }

    fn write_lines(&mut self, batch: &mut [Waiting]) -> Outcome {
        let before = self.position;
        let mut outcome = Outcome { first_seq: before.seq + 1, written: 0, failure: None };
        let Some(active) = &mut self.active else { return outcome };
        let length = active.length();
        for (_, Entry { record, .. }) in batch {
            record.seq = self.position.seq + 1;
            let line = line_of(record, &self.position.chain);
            let written = line.and_then(|(line, chain)| {
                let first = First { seq: record.seq, time: record.timestamp };
                active.append(&line, first).inspect_err(|_| self.tried.bytes = self.tried.bytes.max(line.len()))?;
                Ok(Position { seq: record.seq, chain })
            });
            match written {
                Ok(position) => self.position = position,
                Err(error) => {
                    outcome.failure = Some(error.into());
                    break;
                }
            }
            outcome.written += 1;
        }
        match (&self.syncer, self.sync) {
            _ if outcome.written == 0 => {}
            (_, SyncMode::Always) => {
                if let Err(error) = active.sync() {
                    // Whether they will ever reach the disk, nobody can tell any more.
                    active.take_back(length);
                    self.position = before;
                    return Outcome { written: 0, failure: Some(error.into()), ..outcome };
                }
            }
            (Some(syncer), _) => syncer.put(active.handle()),
            (None, _) => {}
        }
        outcome
    }

    /// Sees to it that there is a file at the log's path, and that it is ours.
    fn have_file(&mut self) -> Result<(), JournalError> {
        if self.active.as_ref().is_some_and(|active| active.is_in_place(&*self.disk)) {
            return Ok(());
        }
        if self.active.take().is_some() {
            tracing::warn!(path = %self.path.display(), "the log's file was moved or removed; another one is begun");
        }
        let Opened { file, position, torn } = ActiveFile::open(&*self.disk, &self.path)?;
        self.health.torn.fetch_add(u64::from(torn > 0), Ordering::Relaxed);
        if let Some(found) = position {
            self.position = Position { seq: found.seq.max(self.position.seq), chain: found.chain };
        }
        self.active = Some(file);
        Ok(())
    }

    /// What there is to do while nothing comes.
    fn look(&mut self) {
        if self.health.is_failing() {
            self.conclude(Self::try_writing);
        } else if let Err(cause) = self.have_file() {
            self.health.fail(&cause);
        }
        self.rotate_if_due();
    }

    /// Says how the log is, after a failure, by the outcome of an attempt.
    fn conclude(&mut self, attempt: impl FnOnce(&mut Self) -> Result<(), JournalError>) {
        self.tried.at = Instant::now();
        match attempt(self) {
            Ok(()) => {
                self.tried.bytes = 0;
                self.health.recover();
            }
            Err(cause) => self.health.fail(&cause),
        }
    }

    /// Finds out whether lines can be written, with a file beside the log.
    fn try_writing(&mut self) -> Result<(), JournalError> {
        self.have_file()?;
        if self.active.as_ref().is_some_and(|active| !active.is_regular()) {
            // Beside a device there is nothing to try with.
            return Ok(());
        }
        let path = with_suffix(&self.path, TRIAL);
        let bytes = self.tried.bytes.clamp(TRIAL_BYTES.0, TRIAL_BYTES.1);
        let tried = self.disk.open(&path, Opening::Anew).and_then(|file| write_all(&*file, &vec![b' '; bytes]));
        // It must not take the room that is missing.
        let removed = self.disk.remove(&path);
        tried.and(removed)?;
        self.sync_if_promised()
    }

    fn sync_if_promised(&mut self) -> Result<(), JournalError> {
        match &self.active {
            Some(active) if self.sync != SyncMode::None => Ok(active.sync()?),
            _ => Ok(()),
        }
    }

    fn rotate_if_due(&mut self) {
        let Some((active, first)) = self.active.as_ref().and_then(|active| Some((active, active.sealable()?))) else { return };
        let grown = self.rotate.bytes.is_some_and(|bytes| active.length() >= bytes);
        let aged = || {
            self.rotate
                .age
                .is_some_and(|age| Timestamp::now().duration_since(first.time).unsigned_abs() >= age && Timestamp::now() > first.time)
        };
        let rests = self.tried.rotation.is_some_and(|at| at.elapsed() < AGAIN);
        if self.health.is_failing() || rests || !(grown || aged()) {
            return;
        }
        if let Err(error) = self.rotate(first) {
            tracing::error!(%error, path = %self.path.display(), "the log's file could not be sealed; it goes on growing");
            self.tried.rotation = Some(Instant::now());
        }
    }

    /// Seals the file under a name that tells its first line, and begins another one.
    fn rotate(&mut self, first: First) -> io::Result<()> {
        let path = sealed_path(&self.path, first.seq, first.time);
        let sealed = Segment { path, kind: Kind::Plain, first_seq: Some(first.seq), time: Some(first.time) };
        if sealed.path.exists() || sealed.compressed().exists() {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, format!("there is a {} already", sealed.path.display())));
        }
        if let Some(active) = &self.active {
            active.sync()?;
        }
        self.disk.rename(&self.path, &sealed.path)?;
        self.active = None;
        match ActiveFile::create(&*self.disk, &self.path) {
            Ok(file) => self.active = Some(file),
            Err(cause) => {
                self.tried.at = Instant::now();
                self.health.fail(&cause);
            }
        }
        if let Err(error) = self.disk.sync_folder_of(&self.path) {
            tracing::warn!(%error, "a sealed segment's name may not be on the disk");
        }
        self.keeper.put(());
        Ok(())
    }
}

/// What became of a batch.
struct Outcome {
    /// The number of the first line.
    first_seq: u64,
    /// So many from the beginning were written.
    written: usize,
    /// Why the others weren't.
    failure: Option<JournalError>,
}

/// The line, its line break included, and its chain.
fn line_of(record: &Record, previous: &Chain) -> io::Result<(Vec<u8>, Chain)> {
    let mut line = serde_json::to_vec(record)?;
    let chain = seal(previous, &mut line);
    line.push(b'\n');
    Ok((line, chain))
}
