//! Looks after sealed segments on a thread of its own: compresses them, and removes the oldest ones beyond what is kept.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::background::Background;
use crate::compress::{Compressed, compress};
use crate::deleted::{self, Deletion};
use crate::disk::Disk;
use crate::options::{Keep, Options};
use crate::segment::{Kind, Segment, leftovers, segments, with_suffix};
use crate::writer::TRIAL;

/// How long after a failure it is tried again.
const AGAIN: Duration = Duration::from_secs(5);

/// The thread; its task is to look what there is to do.
pub(crate) type Keeper = Background<()>;

struct Work {
    disk: Arc<dyn Disk>,
    log: PathBuf,
    compress: bool,
    keep: Keep,
}

/// Begins with what an earlier daemon has left to do.
pub(crate) fn start(disk: Arc<dyn Disk>, log: &Path, options: &Options) -> io::Result<Keeper> {
    let work = Work { disk, log: log.to_owned(), compress: options.compress, keep: options.keep };
    let keeper = Background::start("journal keeper", move |tasks| {
        while tasks.wait() {
            tasks.take();
            if let Err(error) = work.all(&|| tasks.is_closed()) {
                tracing::error!(%error, log = %work.log.display(), "sealed segments of the log can't be compressed or removed");
                tasks.rest(AGAIN);
                tasks.put(());
            }
        }
    })?;
    keeper.put(());
    Ok(keeper)
}

impl Work {
    fn all(&self, stop: &dyn Fn() -> bool) -> io::Result<()> {
        leftovers(&self.log)?.doubled.iter().try_for_each(|path| self.disk.remove(path))?;
        // Of what is not compressed yet nobody knows how many bytes it will take.
        self.remove_beyond(Keep { bytes: None, ..self.keep })?;
        let compressed = if self.compress { self.compress(stop) } else { Ok(Compressed::Done) };
        match compressed {
            Ok(Compressed::Stopped) => Ok(()),
            // Where there is no room to compress anything, removing makes some.
            outcome => self.remove_beyond(self.keep).and(outcome.map(|_| ())),
        }
    }

    fn compress(&self, stop: &dyn Fn() -> bool) -> io::Result<Compressed> {
        for segment in segments(&self.log)?.iter().filter(|segment| segment.kind == Kind::Plain) {
            if compress(&*self.disk, segment, stop)? == Compressed::Stopped {
                return Ok(Compressed::Stopped);
            }
        }
        Ok(Compressed::Done)
    }

    /// Removes the oldest segments, each whole, never the active file.
    fn remove_beyond(&self, Keep { segments: most, bytes }: Keep) -> io::Result<()> {
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
            self.delete(segment)?;
            (total, count) = (total - size, count - 1);
        }
        Ok(())
    }

    /// Removes the oldest segment, once it is remembered what the next one follows.
    fn delete(&self, oldest: &Segment) -> io::Result<()> {
        let deletion = Deletion::of(&self.log, oldest);
        let remember = || deletion.as_ref().map_err(ToString::to_string)?.remember(&*self.disk).map_err(|error| error.to_string());
        let remembered = remember();
        // A full disk must become emptier, and a damaged segment must go, all the same.
        remove(&*self.disk, oldest)?;
        if let Err(error) = remembered.or_else(|_| remember()) {
            tracing::warn!(error, segment = %oldest.path.display(), "what this deleted segment ended with can't be remembered; `verify` will miss it");
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
    let unfinished = [with_suffix(log, TRIAL), deleted::partial(log)].into_iter().filter(|path| path.exists());
    left.worthless.into_iter().chain(left.doubled).chain(unfinished).try_for_each(|path| disk.remove(&path))
}
