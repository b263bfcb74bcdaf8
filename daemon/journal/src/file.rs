//! The file: whole lines only, one writer.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::journal::JournalError;

/// How much of the file's end is read at a time in search of its last line.
const BLOCK: u64 = 64 * 1024;

/// A log file that is held open and locked against a second writer.
#[derive(Debug)]
pub struct JournalFile {
    file: File,
    path: PathBuf,
    /// Bytes of whole lines.
    length: u64,
    /// A part of a line stands behind them that could not be taken away.
    dirty: bool,
}

/// The end of a file.
struct Tail {
    /// The last whole line, without its line break.
    last: Option<Vec<u8>>,
    /// What stands behind it.
    torn: Vec<u8>,
}

impl JournalFile {
    /// Opens or creates the file (mode 0600) and its folder. A torn last line, left by a machine that stopped in the middle, moves
    /// to a file beside it. Returns the file and the `seq` of its last line, 0 if it has none.
    ///
    /// # Errors
    /// [`JournalError`] naming the path.
    pub fn open(path: &Path) -> Result<(Self, u64), JournalError> {
        let unusable = |cause| JournalError::Unusable { path: path.to_owned(), cause: Arc::new(cause) };
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(unusable)?;
        }
        let mut options = OpenOptions::new();
        options.read(true).append(true).create(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.open(path).map_err(unusable)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(JournalError::InUse { path: path.to_owned() }),
            Err(TryLockError::Error(cause)) => return Err(unusable(cause)),
        }
        let mut journal = Self { file, path: path.to_owned(), length: 0, dirty: false };
        let Tail { last, torn } = journal.read_tail().map_err(unusable)?;
        // Nothing is touched before it is certain that this is a log.
        let not_a_log = || JournalError::NotALog { path: path.to_owned() };
        let seq = match &last {
            None if torn.first().is_some_and(|&byte| byte != b'{') => return Err(not_a_log()),
            None => 0,
            Some(line) => seq_of(line).ok_or_else(not_a_log)?,
        };
        if !torn.is_empty() {
            journal.set_aside(&torn).map_err(unusable)?;
        }
        Ok((journal, seq))
    }

    /// Appends one line, which ends with a line break, by one `write(2)`. After an error the file is as it was before.
    ///
    /// # Errors
    /// The operating system's.
    pub fn append(&mut self, line: &[u8]) -> io::Result<()> {
        if self.dirty {
            self.file.set_len(self.length)?;
            self.dirty = false;
        }
        match self.file.write(line)? {
            written if written == line.len() => {
                self.length += line.len() as u64;
                Ok(())
            }
            written => {
                // Should this fail too, the next line must not be joined to the torn one.
                self.dirty = self.file.set_len(self.length).is_err();
                Err(io::Error::new(io::ErrorKind::WriteZero, format!("only {written} of {} bytes were accepted", line.len())))
            }
        }
    }

    /// Asks the kernel to bring everything to the disk.
    ///
    /// # Errors
    /// The operating system's.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// Finds the last whole line and whatever stands behind it.
    fn read_tail(&mut self) -> io::Result<Tail> {
        let size = self.file.seek(SeekFrom::End(0))?;
        let mut tail = Vec::new();
        let mut start = size;
        // Two line breaks, or the beginning, enclose the last whole line.
        while start > 0 && tail.iter().filter(|&&byte| byte == b'\n').count() < 2 {
            let block = start.min(BLOCK);
            start -= block;
            let mut earlier = vec![0; block as usize];
            self.file.seek(SeekFrom::Start(start))?;
            self.file.read_exact(&mut earlier)?;
            earlier.append(&mut tail);
            tail = earlier;
        }
        let whole = tail.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
        self.length = start + whole as u64;
        let torn = tail.split_off(whole);
        tail.truncate(whole.saturating_sub(1));
        let line = tail.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
        Ok(Tail { last: (whole > 0).then(|| tail.split_off(line)), torn })
    }

    fn set_aside(&self, torn: &[u8]) -> io::Result<()> {
        let mut name = self.path.clone().into_os_string();
        name.push(format!(".torn-{}", self.length));
        let mut aside = OpenOptions::new().append(true).create(true).open(&name)?;
        aside.write_all(torn)?;
        aside.sync_all()?;
        self.file.set_len(self.length)?;
        tracing::warn!(bytes = torn.len(), path = %Path::new(&name).display(), "the log's last line was torn; it has been set aside");
        Ok(())
    }
}

fn seq_of(line: &[u8]) -> Option<u64> {
    #[derive(serde::Deserialize)]
    struct Numbered {
        #[serde(default)]
        seq: u64,
    }
    // A log of the Python original has no numbers; it counts as one line without a place.
    serde_json::from_slice::<Numbered>(line).ok().map(|line| line.seq)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torn_line_is_set_aside_wherever_it_was_cut() {
        let whole = b"{\"seq\":1}\n{\"seq\":2}\n";
        let torn = b"{\"seq\":3}";
        for cut in 0..=torn.len() {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("log.jsonl");
            std::fs::write(&path, [whole, &torn[..cut]].concat()).unwrap();
            let (mut file, seq) = JournalFile::open(&path).unwrap();
            assert_eq!(seq, 2);
            file.append(b"{\"seq\":3}\n").unwrap();
            assert_eq!(std::fs::read(&path).unwrap(), [&whole[..], b"{\"seq\":3}\n"].concat());
            let aside = std::fs::read(folder.path().join("log.jsonl.torn-20")).unwrap_or_default();
            assert_eq!(aside, &torn[..cut]);
        }
    }

    #[test]
    fn the_last_line_is_found_behind_long_ones() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.jsonl");
        let long = format!("{{\"seq\":7,\"prompt\":\"{}\"}}\n", "x".repeat(200_000));
        std::fs::write(&path, format!("{{\"seq\":6}}\n{long}")).unwrap();
        assert_eq!(JournalFile::open(&path).unwrap().1, 7);
    }

    #[test]
    fn a_second_writer_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/log.jsonl");
        let held = JournalFile::open(&path).unwrap();
        assert!(matches!(JournalFile::open(&path), Err(JournalError::InUse { .. })));
        drop(held);
        assert!(JournalFile::open(&path).is_ok());
    }

    #[test]
    fn a_file_that_is_no_log_is_left_alone() {
        for content in [&b"dear diary\n"[..], b"dear diary", b"dear\ndiary", b"\x80\0\n\x7F", b"{\"a\":1}\nnotes\n{"] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("notes.txt");
            std::fs::write(&path, content).unwrap();
            assert!(matches!(JournalFile::open(&path), Err(JournalError::NotALog { .. })), "{content:?}");
            assert_eq!(std::fs::read(&path).unwrap(), content);
            assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing was set aside");
        }
    }

    #[test]
    fn lines_of_the_python_original_stay_and_count_as_unnumbered() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.jsonl");
        std::fs::write(&path, "{\"timestamp\":\"2024-01-01\",\"prompt\":\"a\",\"response\":\"b\"}\n").unwrap();
        assert_eq!(JournalFile::open(&path).unwrap().1, 0);
    }
}
