//! Looks after sealed segments on a thread of its own: compresses them, and removes the oldest ones beyond what is kept.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::compress::{Compressed, compress};
use crate::disk::Disk;
use crate::options::{Keep, Options};
use crate::segment::{Kind, Segment, leftovers, segments, with_suffix};
use crate::writer::TRIAL;

/// How long after a failure it is tried again.
const AGAIN: Duration = Duration::from_secs(5);

/// The thread, which sleeps until a segment was sealed.
pub(crate) struct Keeper {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    wanted: bool,
    closed: bool,
}

struct Work {
    disk: Arc<dyn Disk>,
    log: PathBuf,
    compress: bool,
    keep: Keep,
}

impl Keeper {
    /// Begins with what an earlier daemon has left to do.
    pub fn start(disk: Arc<dyn Disk>, log: &Path, options: &Options) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let work = Work { disk, log: log.to_owned(), compress: options.compress, keep: options.keep };
        let thread = std::thread::Builder::new().name("journal keeper".into()).spawn({
            let shared = shared.clone();
            move || shared.run(&work)
        })?;
        let keeper = Self { shared, thread: Some(thread) };
        keeper.wake();
        Ok(keeper)
    }

    /// There may be something to do.
    pub fn wake(&self) {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner).wanted = true;
        self.shared.changed.notify_all();
    }
}

impl Shared {
    fn run(&self, work: &Work) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        while !state.closed {
            if !std::mem::take(&mut state.wanted) {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            drop(state);
            let outcome = work.all(&|| self.is_closed());
            state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            if let Err(error) = outcome {
                tracing::error!(%error, log = %work.log.display(), "sealed segments of the log can't be compressed or removed");
                let rested = self.changed.wait_timeout_while(state, AGAIN, |state| !state.closed);
                state = rested.unwrap_or_else(PoisonError::into_inner).0;
                state.wanted = true;
            }
        }
    }

    fn is_closed(&self) -> bool {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).closed
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner).closed = true;
        self.shared.changed.notify_all();
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread that looks after the log's segments panicked");
        }
    }
}

impl Work {
    fn all(&self, stop: &dyn Fn() -> bool) -> io::Result<()> {
        leftovers(&self.log)?.doubled.iter().try_for_each(|path| self.disk.remove(path))?;
        self.remove_beyond_limits()?;
        if self.compress {
            let plain = |segment: &Segment| segment.kind == Kind::Plain;
            for segment in segments(&self.log)?.iter().filter(|segment| plain(segment)) {
                if compress(&*self.disk, segment, stop)? == Compressed::Stopped {
                    return Ok(());
                }
            }
            self.remove_beyond_limits()?;
        }
        Ok(())
    }

    /// Removes the oldest segments, each whole, never the active file.
    fn remove_beyond_limits(&self) -> io::Result<()> {
        let Keep { segments: most, bytes } = self.keep;
        if most.is_none() && bytes.is_none() {
            return Ok(());
        }
        let all = segments(&self.log)?;
        let sizes = all.iter().map(|segment| std::fs::metadata(&segment.path).map_or(0, |metadata| metadata.len()));
        let sizes: Vec<u64> = sizes.collect();
        let (mut total, mut count) = (sizes.iter().sum::<u64>(), all.iter().filter(|segment| segment.kind != Kind::Active).count());
        for (segment, size) in all.iter().zip(sizes).filter(|(segment, _)| segment.kind != Kind::Active) {
            if most.is_none_or(|most| count <= most) && bytes.is_none_or(|bytes| total <= bytes) {
                break;
            }
            remove(&*self.disk, segment)?;
            (total, count) = (total - size, count - 1);
        }
        Ok(())
    }
}

/// Removes a segment, then its index.
fn remove(disk: &dyn Disk, segment: &Segment) -> io::Result<()> {
    disk.remove(&segment.path)?;
    match disk.remove(&segment.index()) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Removes what a stopped daemon has left: files never finished, and plain segments whose compressed one was read back already.
pub(crate) fn clean_up(disk: &dyn Disk, log: &Path) -> io::Result<()> {
    let left = leftovers(log)?;
    let trial = Some(with_suffix(log, TRIAL)).filter(|path| path.exists());
    left.worthless.iter().chain(&left.doubled).chain(&trial).try_for_each(|path| disk.remove(path))
}
