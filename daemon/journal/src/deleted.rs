//! What is known of lines that the limits on what is kept have deleted: where the log stood behind them.
//!
//! `log.jsonl.deleted`, beside the log, has a line for each of the last few segments that were deleted. The first line that is left follows
//! one of them, and is verified by it; a log of which no line is left goes on where it stood.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::disk::{Disk, Opening, write_all};
use crate::position::Position;
use crate::segment::{PARTIAL, Segment, with_suffix};

/// What the file is called, behind the log's name.
const SUFFIX: &str = ".deleted";
/// How many segments are remembered: the last one counts, and those before it while somebody reads the log meanwhile.
const REMEMBERED: usize = 8;

/// A deleted segment, or one that is about to be.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Deleted {
    /// Its file's name.
    segment: String,
    /// Its last line's number, 0 where that has none.
    seq: u64,
    /// Its last line's chain, in hex.
    chain: String,
}

impl Deleted {
    fn position(&self) -> Option<Position> {
        Some(Position { seq: self.seq, chain: *blake3::Hash::from_hex(&self.chain).ok()?.as_bytes() })
    }
}

/// Where this log stood behind each of the last segments that were deleted, the newest last.
pub(crate) fn positions(log: &Path) -> Vec<Position> {
    read(log).iter().filter_map(Deleted::position).collect()
}

/// What will be remembered of a log's oldest segment, which is about to be deleted.
pub(crate) struct Deletion<'a> {
    log: &'a Path,
    /// All lines of the file; empty: there is nothing to add.
    lines: Vec<Deleted>,
}

impl<'a> Deletion<'a> {
    /// Reads where the log stands behind the segment.
    ///
    /// # Errors
    /// It can't be read.
    pub fn of(log: &'a Path, oldest: &Segment) -> io::Result<Self> {
        let mut lines = read(log);
        let segment = oldest.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        // A daemon that was killed before it deleted it has remembered it already.
        if lines.last().is_some_and(|last| last.segment == segment) {
            return Ok(Self { log, lines: Vec::new() });
        }
        let before = lines.last().and_then(Deleted::position);
        let Some(Position { seq, chain }) = Position::behind(before, std::slice::from_ref(oldest))? else {
            return Ok(Self { log, lines: Vec::new() });
        };
        lines.push(Deleted { segment, seq, chain: blake3::Hash::from_bytes(chain).to_hex().to_string() });
        lines.drain(..lines.len().saturating_sub(REMEMBERED));
        Ok(Self { log, lines })
    }

    /// Brings it to the disk.
    ///
    /// # Errors
    /// The operating system's.
    pub fn remember(&self, disk: &dyn Disk) -> io::Result<()> {
        if self.lines.is_empty() {
            return Ok(());
        }
        let mut text = Vec::new();
        for deleted in &self.lines {
            serde_json::to_writer(&mut text, deleted)?;
            text.push(b'\n');
        }
        let partial = partial(self.log);
        let file = disk.open(&partial, Opening::Anew)?;
        write_all(&*file, &text)?;
        file.sync()?;
        disk.rename(&partial, &with_suffix(self.log, SUFFIX))?;
        disk.sync_folder_of(self.log)
    }
}

/// Where the file is written.
pub(crate) fn partial(log: &Path) -> PathBuf {
    with_suffix(&with_suffix(log, SUFFIX), PARTIAL)
}

/// A file that can't be read, or a line of which nothing can be made, tells nothing; what follows it then can't be verified, which is told.
fn read(log: &Path) -> Vec<Deleted> {
    let text = std::fs::read_to_string(with_suffix(log, SUFFIX)).unwrap_or_default();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}
