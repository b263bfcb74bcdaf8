//! A disk that fails, dies or is slow at operations of one's choice.

use std::fs::TryLockError;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use crate::disk::{Disk, DiskFile, Identity, Opening, RealDisk};

/// What is about to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    Open,
    Write,
    Truncate,
    Sync,
    Rename,
    Remove,
    SyncFolder,
}

/// What becomes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    Nothing,
    /// This error, and nothing is done.
    Error(i32),
    /// Only half of a write.
    Half,
    /// The process is killed before it, after it, or in the middle of a write: nothing is done from then on.
    KilledBefore,
    KilledAfter,
    KilledWithin,
}

pub const EIO: i32 = 5;
pub const ENOSPC: i32 = 28;
pub const EROFS: i32 = 30;

type Plan = Box<dyn FnMut(usize, Operation, &Path) -> Fault + Send>;

/// The real disk with faults as planned: told the number of the operation from 0, and what it is.
pub struct FaultyDisk(Arc<Shared>);

struct Shared {
    plan: Mutex<Plan>,
    done: AtomicUsize,
    history: Mutex<Vec<Operation>>,
}

struct FaultyFile {
    file: Box<dyn DiskFile>,
    path: std::path::PathBuf,
    shared: Arc<Shared>,
}

impl FaultyDisk {
    pub fn new(plan: impl FnMut(usize, Operation, &Path) -> Fault + Send + 'static) -> Arc<Self> {
        let (plan, done, history): (Plan, _, _) = (Box::new(plan), AtomicUsize::new(0), Mutex::default());
        Arc::new(Self(Arc::new(Shared { plan: Mutex::new(plan), done, history })))
    }

    /// A process that is killed at the operation of this number.
    pub fn killed_at(number: usize, how: Fault) -> Arc<Self> {
        Self::new(move |at, _, _| match at.cmp(&number) {
            std::cmp::Ordering::Less => Fault::Nothing,
            std::cmp::Ordering::Equal => how,
            std::cmp::Ordering::Greater => Fault::KilledBefore,
        })
    }

    pub fn operations(&self) -> usize {
        self.0.done.load(Ordering::SeqCst)
    }

    pub fn history(&self) -> Vec<Operation> {
        self.0.history.lock().unwrap().clone()
    }
}

impl Shared {
    fn fault(&self, operation: Operation, path: &Path) -> Fault {
        // The plan is asked and counted as one: threads work side by side.
        let mut plan = self.plan.lock().unwrap();
        let number = self.done.fetch_add(1, Ordering::SeqCst);
        self.history.lock().unwrap().push(operation);
        plan(number, operation, path)
    }

    fn perform<T>(&self, operation: Operation, path: &Path, work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        match self.fault(operation, path) {
            Fault::Nothing | Fault::Half => work(),
            Fault::Error(code) => Err(io::Error::from_raw_os_error(code)),
            Fault::KilledBefore | Fault::KilledWithin => Err(killed()),
            Fault::KilledAfter => work().and_then(|_| Err(killed())),
        }
    }
}

fn killed() -> io::Error {
    io::Error::other("killed")
}

impl Disk for FaultyDisk {
    fn open(&self, path: &Path, how: Opening) -> io::Result<Box<dyn DiskFile>> {
        let file = self.0.perform(Operation::Open, path, || RealDisk.open(path, how))?;
        Ok(Box::new(FaultyFile { file, path: path.to_owned(), shared: self.0.clone() }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.perform(Operation::Rename, from, || RealDisk.rename(from, to))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.0.perform(Operation::Remove, path, || RealDisk.remove(path))
    }

    fn sync_folder_of(&self, path: &Path) -> io::Result<()> {
        self.0.perform(Operation::SyncFolder, path, || RealDisk.sync_folder_of(path))
    }

    fn identity(&self, path: &Path) -> io::Result<Identity> {
        RealDisk.identity(path)
    }
}

impl DiskFile for FaultyFile {
    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self.shared.fault(Operation::Write, &self.path) {
            Fault::Nothing => self.file.write(bytes),
            Fault::Error(code) => Err(io::Error::from_raw_os_error(code)),
            Fault::Half => self.file.write(&bytes[..bytes.len() / 2]),
            Fault::KilledBefore => Err(killed()),
            Fault::KilledAfter => self.file.write(bytes).and(Err(killed())),
            Fault::KilledWithin => self.file.write(&bytes[..bytes.len() / 2]).and(Err(killed())),
        }
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.shared.perform(Operation::Truncate, &self.path, || self.file.truncate(length))
    }

    fn sync(&self) -> io::Result<()> {
        self.shared.perform(Operation::Sync, &self.path, || self.file.sync())
    }

    fn try_lock(&self) -> Result<(), TryLockError> {
        self.file.try_lock()
    }

    fn identity(&self) -> io::Result<Option<Identity>> {
        self.file.identity()
    }
}
