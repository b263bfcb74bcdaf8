//! The journal: places handed out before the work, lines written after it.

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::active::{ActiveFile, Opened};
use crate::disk::{Disk, RealDisk, folder_of};
use crate::error::JournalError;
use crate::health::Health;
use crate::keeper::{self, clean_up};
use crate::options::{OnFailure, Options, Recording, SyncMode};
use crate::position::Position;
use crate::privacy::Privacy;
use crate::queue::{Queue, Refused, Reserved};
use crate::record::Record;
use crate::syncer;
use crate::writer::{Entry, Tried, Writer};

/// Where interactions that can't be logged are answered all the same: how long an answer waits for its line.
const PATIENCE: Duration = Duration::from_secs(1);

/// An open log with its threads.
pub struct Journal {
    path: PathBuf,
    /// `None`: nothing is recorded.
    queue: Option<Arc<Queue<Entry>>>,
    places: usize,
    on_failure: OnFailure,
    privacy: Arc<Privacy>,
    health: Arc<Health>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

/// Room for one record.
pub struct Place {
    room: Room,
    on_failure: OnFailure,
    privacy: Arc<Privacy>,
}

enum Room {
    Held(Reserved<Entry>),
    /// There is none, and the interaction goes on nevertheless.
    Dropped(Arc<Health>),
    /// Nothing is to be recorded.
    Unlogged,
}

/// The way to learn what became of a record.
pub struct Written {
    outcome: Result<Kept, oneshot::Receiver<Result<u64, JournalError>>>,
    on_failure: OnFailure,
}

/// What became of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// The kernel has its line, with this `seq`; with [`SyncMode::Always`], the disk.
    Line(u64),
    /// It could not be written, which is no reason not to answer ([`OnFailure::Open`]).
    Dropped,
    /// It wasn't to be written.
    Unlogged,
}

impl Journal {
    /// Opens the log, and makes its folder where there is none. What a killed daemon left half done is put in order.
    ///
    /// # Errors
    /// [`JournalError`] naming the path.
    pub fn open(path: &Path, options: &Options) -> Result<Self, JournalError> {
        Self::open_on(Arc::new(RealDisk), path, options)
    }

    pub(crate) fn open_on(disk: Arc<dyn Disk>, path: &Path, options: &Options) -> Result<Self, JournalError> {
        let unusable = |cause| JournalError::Unusable { path: path.to_owned(), cause: Arc::new(cause) };
        let Options { places, on_failure, recording, .. } = *options;
        let health = Arc::new(Health::default());
        let off = recording == Recording::Off;
        if !off {
            std::fs::create_dir_all(folder_of(path)).map_err(unusable)?;
        }
        let privacy = Arc::new(Privacy::new(path, recording, options.redact.clone()).map_err(unusable)?);
        let mut journal =
            Self { path: path.to_owned(), queue: None, places, on_failure, privacy, health: health.clone(), writer: Mutex::new(None) };
        if off {
            return Ok(journal);
        }
        let Opened { file, position, torn } = ActiveFile::open(&*disk, path)?;
        health.torn.fetch_add(u64::from(torn > 0), Ordering::Relaxed);
        if let Err(error) = clean_up(&*disk, path) {
            tracing::warn!(%error, "what an earlier daemon has left of the log's segments can't be removed");
        }
        let queue = Queue::new(places);
        let syncer = (options.sync == SyncMode::Interval).then(|| syncer::start(health.clone())).transpose().map_err(unusable)?;
        let writer = Writer {
            keeper: keeper::start(disk.clone(), path, options).map_err(unusable)?,
            disk,
            path: path.to_owned(),
            queue: queue.clone(),
            health,
            sync: options.sync,
            rotate: options.rotate,
            active: Some(file),
            position: position.unwrap_or(Position::START),
            syncer,
            tried: Tried::default(),
        };
        let thread = std::thread::Builder::new().name("journal".into()).spawn(move || writer.run()).map_err(unusable)?;
        (journal.queue, journal.writer) = (Some(queue), Mutex::new(Some(thread)));
        Ok(journal)
    }

    /// Reserves room for one record, before the work begins.
    ///
    /// # Errors
    /// [`JournalError::Closed`]. With [`OnFailure::Closed`] also [`JournalError::Full`], or why lines can't be written now.
    pub fn reserve(&self) -> Result<Place, JournalError> {
        let Some(queue) = &self.queue else { return Ok(self.place(Room::Unlogged)) };
        let failing = self.health.failing();
        let cause = match failing.map_or_else(|| queue.reserve().map_err(Err), |cause| Err(Ok(cause))) {
            Ok(held) => return Ok(self.place(Room::Held(held))),
            Err(Err(Refused::Closed)) => return Err(JournalError::Closed),
            Err(Err(Refused::Full)) => JournalError::Full { places: self.places },
            Err(Ok(cause)) => cause,
        };
        match self.on_failure {
            OnFailure::Closed => Err(cause),
            OnFailure::Open => Ok(self.place(Room::Dropped(self.health.clone()))),
        }
    }

    /// The place of an interaction that leaves no line.
    pub fn unlogged(&self) -> Place {
        self.place(Room::Unlogged)
    }

    fn place(&self, room: Room) -> Place {
        Place { room, on_failure: self.on_failure, privacy: self.privacy.clone() }
    }

    /// Why nothing can be logged now; `None`: everything can.
    pub fn failing(&self) -> Option<JournalError> {
        self.health.failing()
    }

    /// What happens to interactions that can't be logged.
    pub fn on_failure(&self) -> OnFailure {
        self.on_failure
    }

    /// The active file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Lines written since it was opened.
    pub fn written(&self) -> u64 {
        self.health.written.load(Ordering::Relaxed)
    }

    /// Records that should have been written since it was opened, and could not be.
    pub fn dropped(&self) -> u64 {
        self.health.dropped.load(Ordering::Relaxed)
    }

    /// Records that wait to be written.
    pub fn waiting(&self) -> usize {
        self.queue.as_ref().map_or(0, |queue| queue.waiting())
    }

    /// Places in use, of how many.
    pub fn places(&self) -> (usize, usize) {
        (self.queue.as_ref().map_or(0, |queue| queue.used()), self.places)
    }

    /// Torn lines set aside since it was opened.
    pub fn torn(&self) -> u64 {
        self.health.torn.load(Ordering::Relaxed)
    }

    /// Hands out no more places, waits until every place that is held has been used or let go, and brings everything to the disk.
    /// Blocks.
    pub fn close(&self) {
        let Some(queue) = &self.queue else { return };
        queue.close();
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if writer.is_some_and(|writer| writer.join().is_err()) {
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
        let outcome = match self.room {
            Room::Held(held) => {
                let (answer, receiver) = oneshot::channel();
                held.put(Entry { record: Box::new(self.privacy.apply(record)), answer });
                Err(receiver)
            }
            Room::Dropped(health) => {
                health.dropped.fetch_add(1, Ordering::Relaxed);
                Ok(Kept::Dropped)
            }
            Room::Unlogged => Ok(Kept::Unlogged),
        };
        Written { outcome, on_failure: self.on_failure }
    }
}

impl Written {
    /// Waits until the line is where it is promised to be.
    ///
    /// # Errors
    /// With [`OnFailure::Closed`]: why it could not be written.
    pub async fn wait(self) -> Result<Kept, JournalError> {
        let receiver = match self.outcome {
            Ok(kept) => return Ok(kept),
            Err(receiver) => receiver,
        };
        match self.on_failure {
            OnFailure::Closed => receiver.await.unwrap_or(Err(JournalError::Closed)).map(Kept::Line),
            // A disk that doesn't answer is one that fails. The line may come yet.
            OnFailure::Open => match tokio::time::timeout(PATIENCE, receiver).await {
                Ok(Ok(Ok(seq))) => Ok(Kept::Line(seq)),
                _ => Ok(Kept::Dropped),
            },
        }
    }
}
