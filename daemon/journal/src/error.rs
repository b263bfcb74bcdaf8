//! Why a record can't be kept.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

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

impl From<io::Error> for JournalError {
    fn from(error: io::Error) -> Self {
        Self::Write(Arc::new(error))
    }
}
