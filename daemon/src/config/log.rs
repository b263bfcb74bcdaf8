//! `[log]`: where interactions are kept, how safely, how long, and what of them.

use figment::value::{Dict, Value};
use minivault_journal::{Keep, OnFailure, Options, Recording, Regex, Rotate, SyncMode};
use serde::Deserialize;

use super::check::{Checker, plain, section};
use super::loading::KeepAlive;
use super::settings::LogSettings;

/// Places that the queue may have at most.
const LONGEST_QUEUE: usize = 1 << 20;
/// Bytes of a segment, at least: a segment for each line would be a folder full of files.
const SMALLEST_SEGMENT: u64 = 4096;

/// `[log]` as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LogTable {
    path: String,
    queue: usize,
    sync: SyncMode,
    on_failure: OnFailure,
    record: Recording,
    redact: Vec<String>,
    allow_off: bool,
    rotate_bytes: u64,
    rotate_age: KeepAlive,
    compress: bool,
    keep_segments: usize,
    keep_bytes: u64,
}

/// Checks `[log]`.
pub(super) fn check(checker: &mut Checker<'_>, table: &mut Dict) -> Option<LogSettings> {
    let table = section(table, "log")?;
    let path = |key: &str| ["log".to_owned(), key.to_owned()];
    let read: LogTable = checker.read(&["log".to_owned()], table, &[])?;
    let places = checker.between(&path("queue"), table, read.queue, LONGEST_QUEUE);
    let redact = patterns(checker, table, &read.redact);
    let bytes = match read.rotate_bytes {
        0 => Some(None),
        bytes if bytes < SMALLEST_SEGMENT => {
            checker.refuse(
                &path("rotate_bytes"),
                table.get("rotate_bytes")?,
                &format!("it must be 0, which is never, or at least {SMALLEST_SEGMENT}"),
            );
            None
        }
        bytes => Some(Some(bytes)),
    };
    let age = match read.rotate_age.limit() {
        Some(age) if age.is_zero() => {
            checker.refuse(&path("rotate_age"), table.get("rotate_age")?, "it must be over 0, or -1, which is never");
            None
        }
        age => Some(age),
    };
    let value = table.get_mut("path")?;
    if read.path.is_empty() {
        checker.refuse(&path("path"), value, "it must be the path of a file");
        return None;
    }
    let resolved = plain(&checker.merged.base(value).join(&read.path));
    *value = Value::String(value.tag(), resolved.display().to_string());
    let LogTable { sync, on_failure, record, allow_off, compress, keep_segments, keep_bytes, .. } = read;
    let keep = Keep { segments: (keep_segments > 0).then_some(keep_segments), bytes: (keep_bytes > 0).then_some(keep_bytes) };
    let rotate = Rotate { bytes: bytes?, age: age? };
    let options = Options { places: places?, sync, on_failure, rotate, compress, keep, recording: record, redact: redact? };
    Some(LogSettings { path: resolved, options, allow_off })
}

fn patterns(checker: &mut Checker<'_>, table: &Dict, written: &[String]) -> Option<Vec<Regex>> {
    let compiled: Result<Vec<Regex>, _> = written.iter().map(|pattern| Regex::new(pattern)).collect();
    match compiled {
        Ok(patterns) => Some(patterns),
        Err(error) => {
            // The pattern, with a mark below it, stands in several lines of that message; its last one says what is wrong.
            let message = error.to_string();
            let reason = message.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
            checker.refuse(
                &["log".to_owned(), "redact".to_owned()],
                table.get("redact")?,
                &format!("one isn't a regular expression: {reason}"),
            );
            None
        }
    }
}
