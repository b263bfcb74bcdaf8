//! How much memory this process takes, where the operating system tells it in files.

use std::fs;

/// Bytes of this process.
pub(crate) fn resident() -> Option<u64> {
    resident_of("self")
}

/// Bytes of this process and those that it has started: engines have processes of their own.
pub(crate) fn resident_with_children() -> Option<u64> {
    let threads = fs::read_dir("/proc/self/task").ok()?.flatten();
    let children = threads.filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    let children: u64 = children.flat_map(|children| children.split_whitespace().filter_map(resident_of).collect::<Vec<_>>()).sum();
    Some(resident()? + children)
}

fn resident_of(process: &str) -> Option<u64> {
    let pages: u64 = fs::read_to_string(format!("/proc/{process}/statm")).ok()?.split(' ').nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}
