//! The file operations that change a log.
//!
//! Writing, rotation, compression and keeping go through [`Disk`], so that tests can put a disk in its place that fails, is slow, or dies
//! at any one operation. Reading can lose nothing and takes the standard library's files.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

/// How a file is opened for writing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Opening {
    /// At its end; it is made where there is none.
    Append,
    /// It is made, and there must be none.
    New,
    /// From its beginning; whatever was there is gone.
    Anew,
}

/// What tells one file from another, whatever they are called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Identity {
    device: u64,
    inode: u64,
}

/// Where a log is kept.
pub(crate) trait Disk: Send + Sync {
    /// Opens a file for writing. What is made can be read by nobody else.
    fn open(&self, path: &Path, how: Opening) -> io::Result<Box<dyn DiskFile>>;
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Brings the names of the folder that holds this file to the disk.
    fn sync_folder_of(&self, path: &Path) -> io::Result<()>;
    /// Which file has this name now.
    fn identity(&self, path: &Path) -> io::Result<Identity>;
}

/// A file open for writing.
pub(crate) trait DiskFile: Send + Sync {
    /// One `write(2)`; fewer bytes than given may be accepted.
    fn write(&self, bytes: &[u8]) -> io::Result<usize>;
    fn truncate(&self, length: u64) -> io::Result<()>;
    /// Waits until all that was written is on the disk.
    fn sync(&self) -> io::Result<()>;
    fn try_lock(&self) -> Result<(), TryLockError>;
    /// Which file it is; `None`: one that has no name any more.
    fn identity(&self) -> io::Result<Option<Identity>>;
}

/// The operating system's.
pub(crate) struct RealDisk;

impl Disk for RealDisk {
    fn open(&self, path: &Path, how: Opening) -> io::Result<Box<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        options.mode(0o600);
        match how {
            Opening::Append => options.append(true).create(true),
            Opening::New => options.append(true).create_new(true),
            Opening::Anew => options.write(true).create(true).truncate(true),
        };
        Ok(Box::new(options.open(path)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_folder_of(&self, path: &Path) -> io::Result<()> {
        File::open(folder_of(path))?.sync_all()
    }

    fn identity(&self, path: &Path) -> io::Result<Identity> {
        fs::metadata(path).map(|metadata| Identity { device: metadata.dev(), inode: metadata.ino() })
    }
}

impl DiskFile for File {
    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        Write::write(&mut &*self, bytes)
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.set_len(length)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn try_lock(&self) -> Result<(), TryLockError> {
        Self::try_lock(self)
    }

    fn identity(&self) -> io::Result<Option<Identity>> {
        let metadata = self.metadata()?;
        Ok((metadata.nlink() > 0).then(|| Identity { device: metadata.dev(), inode: metadata.ino() }))
    }
}

/// Writes all of it, however many `write(2)` that takes. For files that count only once they are finished.
pub(crate) fn write_all(file: &dyn DiskFile, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match file.write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The folder that holds a file.
pub(crate) fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}
