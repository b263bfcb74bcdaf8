//! Brings lines to the disk behind the writer's back, twice a second as long as there are any.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::background::Background;
use crate::disk::DiskFile;
use crate::health::Health;

/// How long lines may be on their way: what a machine that loses power may lose.
const INTERVAL: Duration = Duration::from_millis(500);

/// The thread; its task is the file that has new lines.
pub(crate) type Syncer = Background<Arc<dyn DiskFile>>;

pub(crate) fn start(health: Arc<Health>) -> io::Result<Syncer> {
    Background::start("journal sync", move |files| {
        // At the end the writer does it itself.
        while files.wait() && files.rest(INTERVAL) {
            if let Some(Err(error)) = files.take().map(|file: Arc<dyn DiskFile>| file.sync()) {
                health.fail(&error.into());
            }
        }
    })
}
