//! The active file: whole lines only, one writer.

use std::fs::{File, TryLockError};
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;

use crate::disk::{Disk, DiskFile, Identity, Opening, write_all};
use crate::error::JournalError;
use crate::position::{LineHead, Position};
use crate::segment::with_suffix;
use crate::tail::Tail;

/// The active file, held open and locked against a second writer.
pub(crate) struct ActiveFile {
    file: Arc<dyn DiskFile>,
    path: PathBuf,
    identity: Option<Identity>,
    /// It is a file, and no device.
    regular: bool,
    /// Bytes of whole lines.
    length: u64,
    /// Something may stand behind them that could not be taken away.
    dirty: bool,
    /// What its sealed name will tell; `None` as long as it has no line.
    first: Option<First>,
}

/// A file's first line.
#[derive(Debug, Clone, Copy)]
pub(crate) struct First {
    pub seq: u64,
    pub time: Timestamp,
}

/// What was found in a file that was opened.
pub(crate) struct Opened {
    pub file: ActiveFile,
    /// Where the log stands; `None`: it never held a line.
    pub position: Option<Position>,
    /// Bytes of a torn last line that were set aside.
    pub torn: usize,
}

impl ActiveFile {
    /// Opens or makes the file, in a folder that is there. A torn last line, left by a daemon that was stopped in the middle, moves to a
    /// file beside it.
    ///
    /// # Errors
    /// [`JournalError`] naming the path.
    pub fn open(disk: &dyn Disk, path: &Path) -> Result<Opened, JournalError> {
        let unusable = |cause| JournalError::Unusable { path: path.to_owned(), cause: Arc::new(cause) };
        let file = disk.open(path, Opening::Append).map_err(unusable)?;
        let mut file = Self::lock(disk, path, file)?;
        if !file.regular {
            // What a device gives to read is no log; of some it never ends.
            return Ok(Opened { file, position: None, torn: 0 });
        }
        let mut tail = Tail::read(path).map_err(unusable)?;
        if !tail.is_of_a_log() {
            // Nothing is touched before it is certain that this is a log.
            let sound = Tail::behind_sound_lines(path).map_err(unusable)?;
            tail = sound.ok_or_else(|| JournalError::NotALog { path: path.to_owned() })?;
        }
        let Tail { last, length, torn } = tail;
        file.length = length;
        let head = last.as_deref().and_then(LineHead::of);
        if length == 0
            && let Err(error) = disk.sync_folder_of(path)
        {
            tracing::warn!(%error, "the name of the log's new file may not be on the disk");
        }
        if !torn.is_empty() {
            file.set_aside(disk, &torn).map_err(unusable)?;
        }
        file.first = if last.is_some() { first_of(path).map_err(unusable)? } else { None };
        let position = match (last, head) {
            // The usual case needs no other line.
            (Some(line), Some(LineHead { seq: seq @ 1.., .. })) if let Some(chain) = crate::chain::split(&line).1 => {
                Some(Position { seq, chain })
            }
            _ => Position::at_end_of(path).map_err(unusable)?,
        };
        Ok(Opened { file, position, torn: torn.len() })
    }

    /// Makes the file anew, after the one before was sealed.
    ///
    /// # Errors
    /// [`JournalError`] naming the path; also where there is such a file already.
    pub fn create(disk: &dyn Disk, path: &Path) -> Result<Self, JournalError> {
        let file = disk.open(path, Opening::New);
        let file = file.map_err(|cause| JournalError::Unusable { path: path.to_owned(), cause: Arc::new(cause) })?;
        Self::lock(disk, path, file)
    }

    fn lock(disk: &dyn Disk, path: &Path, file: Box<dyn DiskFile>) -> Result<Self, JournalError> {
        let unusable = |cause| JournalError::Unusable { path: path.to_owned(), cause: Arc::new(cause) };
        let in_use = || JournalError::InUse { path: path.to_owned() };
        let regular = std::fs::metadata(path).is_ok_and(|metadata| metadata.is_file());
        // A device is nobody's own.
        match if regular { file.try_lock() } else { Ok(()) } {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(in_use()),
            Err(TryLockError::Error(cause)) => return Err(unusable(cause)),
        }
        let identity = file.identity().map_err(unusable)?;
        // Another daemon may have sealed the very file between opening and locking.
        if identity.is_none() || disk.identity(path).ok() != identity {
            return Err(in_use());
        }
        Ok(Self { file: file.into(), path: path.to_owned(), identity, length: 0, regular, dirty: false, first: None })
    }

    /// Appends one line, which ends with a line break, by one `write(2)`. After an error the file is as it was before, or will be made
    /// so before the next line.
    ///
    /// # Errors
    /// The operating system's.
    pub fn append(&mut self, line: &[u8], first: First) -> io::Result<()> {
        if self.dirty {
            self.file.truncate(self.length)?;
            self.dirty = false;
        }
        let outcome = match self.file.write(line) {
            Ok(written) if written == line.len() => {
                self.length += line.len() as u64;
                self.first.get_or_insert(first);
                return Ok(());
            }
            Ok(written) => Err(io::Error::new(io::ErrorKind::WriteZero, format!("only {written} of {} bytes were accepted", line.len()))),
            Err(error) => Err(error),
        };
        self.take_back(self.length);
        outcome
    }

    /// Takes everything behind so many bytes away, now or before the next line.
    pub fn take_back(&mut self, length: u64) {
        self.length = length;
        if length == 0 {
            self.first = None;
        }
        // Should this fail, the next line must not be joined to what is left.
        self.dirty = self.file.truncate(length).is_err();
    }

    /// Waits until everything is on the disk.
    ///
    /// # Errors
    /// The operating system's.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }

    /// The file, for others to bring to the disk.
    pub fn handle(&self) -> Arc<dyn DiskFile> {
        self.file.clone()
    }

    /// Whether the log's path still leads to this file.
    pub fn is_in_place(&self, disk: &dyn Disk) -> bool {
        self.identity.is_some() && disk.identity(&self.path).ok() == self.identity
    }

    /// Whether nobody can find this file any more.
    pub fn is_gone(&self) -> bool {
        matches!(self.file.identity(), Ok(None))
    }

    /// Bytes of whole lines.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Whether it is a file, and no device.
    pub fn is_regular(&self) -> bool {
        self.regular
    }

    /// Its first line; `None`: it has none, or can't be sealed as it is.
    pub fn sealable(&self) -> Option<First> {
        self.first.filter(|_| self.regular && !self.dirty)
    }

    /// Keeps a torn line in a file of its own. A daemon stopped in the middle of this does it again, to the same end.
    fn set_aside(&self, disk: &dyn Disk, torn: &[u8]) -> io::Result<()> {
        let name = |number: usize| match number {
            1 => with_suffix(&self.path, &format!(".torn-{}", self.length)),
            more => with_suffix(&self.path, &format!(".torn-{}-{more}", self.length)),
        };
        let mut number = 1;
        // What another one left at the same place stays; what this one left unfinished is written again.
        while std::fs::read(name(number)).is_ok_and(|there| !torn.starts_with(&there)) {
            number += 1;
        }
        let aside = disk.open(&name(number), Opening::Anew)?;
        write_all(&*aside, torn)?;
        aside.sync()?;
        disk.sync_folder_of(&self.path)?;
        self.file.truncate(self.length)?;
        tracing::warn!(bytes = torn.len(), path = %name(number).display(), "the log's last line was torn; it has been set aside");
        Ok(())
    }
}

/// A file's first line, in a file that has one.
fn first_of(path: &Path) -> io::Result<Option<First>> {
    let file = File::open(path)?;
    let modified = file.metadata()?.modified()?;
    let mut line = Vec::new();
    BufReader::new(file).read_until(b'\n', &mut line)?;
    let head = LineHead::of(&line).unwrap_or_default();
    // The Python original's times have no zone.
    let time = head.time.or_else(|| Timestamp::try_from(modified).ok()).unwrap_or_else(Timestamp::now);
    Ok(Some(First { seq: head.seq, time }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain::{START, link};
    use crate::disk::RealDisk;

    const FIRST: First = First { seq: 1, time: Timestamp::UNIX_EPOCH };

    fn open(path: &Path) -> Result<Opened, JournalError> {
        ActiveFile::open(&RealDisk, path)
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn nothing_is_read_of_a_device() {
        assert_eq!(open(Path::new("/dev/full")).unwrap().position, None);
    }

    #[test]
    fn a_torn_line_is_set_aside_wherever_it_was_cut() {
        let whole = b"{\"seq\":1}\n{\"seq\":2}\n";
        let torn = b"{\"seq\":3}";
        for cut in 0..=torn.len() {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("log.jsonl");
            std::fs::write(&path, [whole, &torn[..cut]].concat()).unwrap();
            let mut opened = open(&path).unwrap();
            assert_eq!((opened.position.unwrap().seq, opened.torn), (2, cut));
            opened.file.append(b"{\"seq\":3}\n", FIRST).unwrap();
            assert_eq!(std::fs::read(&path).unwrap(), [&whole[..], b"{\"seq\":3}\n"].concat());
            let aside = std::fs::read(folder.path().join("log.jsonl.torn-20")).unwrap_or_default();
            assert_eq!(aside, &torn[..cut]);
        }
    }

    #[test]
    fn torn_lines_at_the_same_place_are_all_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.jsonl");
        for torn in ["{\"a", "{\"a\":1", "{\"b", "{\"a\":1"] {
            std::fs::write(&path, torn).unwrap();
            drop(open(&path).unwrap());
        }
        // The first two might be one line, set aside by two starts of which the first was interrupted.
        let aside = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
        assert_eq!((aside("log.jsonl.torn-0"), aside("log.jsonl.torn-0-2")), ("{\"a\":1".into(), "{\"b".into()));
    }

    #[test]
    fn a_damaged_end_of_our_own_log_is_set_aside() {
        let mut sound = br#"{"seq":1}"#.to_vec();
        crate::chain::seal(&START, &mut sound);
        sound.push(b'\n');
        for damage in [&b"\0\0\0\0"[..], b"\0\0\0:1}\n", b"\0\0\0:1}\n{\"seq\":", b"{\"se\0\0\n\0\n"] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("log.jsonl");
            std::fs::write(&path, [&sound, damage].concat()).unwrap();
            let opened = open(&path).unwrap();
            assert_eq!((opened.position.unwrap().seq, opened.torn), (1, damage.len()), "{damage:?}");
            assert_eq!(std::fs::read(&path).unwrap(), sound, "{damage:?}");
            let aside = folder.path().join(format!("log.jsonl.torn-{}", sound.len()));
            assert_eq!(std::fs::read(aside).unwrap(), damage);
        }
    }

    #[test]
    fn the_last_line_is_found_behind_long_ones() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.jsonl");
        let long = format!("{{\"seq\":7,\"prompt\":\"{}\"}}\n", "x".repeat(200_000));
        std::fs::write(&path, format!("{{\"seq\":6}}\n{long}")).unwrap();
        assert_eq!(open(&path).unwrap().position.unwrap().seq, 7);
    }

    #[test]
    fn a_second_writer_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.jsonl");
        let held = open(&path).unwrap();
        assert!(matches!(open(&path), Err(JournalError::InUse { .. })));
        drop(held);
        assert!(open(&path).is_ok());
    }

    #[test]
    fn a_file_that_is_no_log_is_left_alone() {
        for content in [&b"dear diary\n"[..], b"dear diary", b"dear\ndiary", b"\x80\0\n\x7F", b"{\"a\":1}\nnotes\n{"] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("notes.txt");
            std::fs::write(&path, content).unwrap();
            assert!(matches!(open(&path), Err(JournalError::NotALog { .. })), "{content:?}");
            assert_eq!(std::fs::read(&path).unwrap(), content);
            assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing was set aside");
        }
    }

    #[test]
    fn lines_of_the_python_original_stay_and_count_as_unnumbered() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.jsonl");
        let line = "{\"timestamp\":\"2024-01-01\",\"prompt\":\"a\",\"response\":\"b\"}";
        std::fs::write(&path, format!("{line}\n{line}\n")).unwrap();
        let chain = link(&link(&START, line.as_bytes()), line.as_bytes());
        assert_eq!(open(&path).unwrap().position, Some(Position { seq: 0, chain }));
    }
}
