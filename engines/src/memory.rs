//! How much memory there is, and whether a model fits into it: asked before one is loaded, because Linux says no only by ending processes.

use std::fs;
use std::path::Path;

/// Bytes that can still be had: of this machine with its swap, of the control groups that this process is in, and of its own limit.
/// `None` where the operating system doesn't tell it in files.
pub fn available() -> Option<u64> {
    let groups = control_groups().into_iter().filter_map(|group| group_room(&group));
    groups.chain(process_room()).chain(machine()).min()
}

/// Refuses what needs more bytes than there are.
///
/// # Errors
/// A sentence with both, and what would need less.
pub fn check(needed: u64, advice: &str) -> Result<(), String> {
    available().map_or(Ok(()), |available| check_against(needed, available, advice))
}

fn check_against(needed: u64, available: u64, advice: &str) -> Result<(), String> {
    if needed <= available {
        return Ok(());
    }
    Err(format!("it needs at least {} of memory and {} can be had; {advice}", in_words(needed), in_words(available)))
}

fn in_words(bytes: u64) -> String {
    match bytes >> 20 {
        mebibytes @ ..1024 => format!("{mebibytes} MiB"),
        mebibytes => format!("{:.1} GiB", mebibytes as f64 / 1024.0),
    }
}

/// What the kernel thinks can be had without harm, and its swap.
fn machine() -> Option<u64> {
    Some(told_of_machine("MemAvailable:")? + free_swap().unwrap_or(0))
}

fn free_swap() -> Option<u64> {
    told_of_machine("SwapFree:")
}

fn told_of_machine(name: &str) -> Option<u64> {
    let told = fs::read_to_string("/proc/meminfo").ok()?;
    Some(number(told.lines().find_map(|line| line.strip_prefix(name))?.strip_suffix("kB")?)? << 10)
}

/// This process's own group and those around it, as far as they can be seen (version 2).
fn control_groups() -> Vec<std::path::PathBuf> {
    let told = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let Some(own) = told.lines().find_map(|line| line.strip_prefix("0::/")) else { return Vec::new() };
    let root = Path::new("/sys/fs/cgroup");
    root.join(own).ancestors().take_while(|group| group.starts_with(root)).map(Path::to_owned).collect()
}

/// What a group may still have, swap included; files that are only cached make room.
fn group_room(group: &Path) -> Option<u64> {
    let read = |file: &str| fs::read_to_string(group.join(file)).ok();
    let limit = number(&read("memory.max")?)?;
    let used = number(&read("memory.current")?)?;
    let told = read("memory.stat").unwrap_or_default();
    let swap = number(&read("memory.swap.max").unwrap_or_default()).map_or_else(free_swap, |most| {
        Some(most.saturating_sub(number(&read("memory.swap.current").unwrap_or_default()).unwrap_or(0)).min(free_swap()?))
    });
    let cached: u64 =
        ["active_file ", "inactive_file "].iter().filter_map(|name| number(told.lines().find_map(|line| line.strip_prefix(name))?)).sum();
    Some(limit.saturating_sub(used.saturating_sub(cached)) + swap.unwrap_or(0))
}

/// What this process may still have of its own, where it has a limit (`memory_limit`).
#[cfg(unix)]
fn process_room() -> Option<u64> {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Data).current?;
    let told = fs::read_to_string("/proc/self/status").ok()?;
    let used = number(told.lines().find_map(|line| line.strip_prefix("VmData:"))?.strip_suffix("kB")?)? << 10;
    Some(limit.saturating_sub(used))
}

#[cfg(not(unix))]
fn process_room() -> Option<u64> {
    None
}

/// A number; `max` is none.
fn number(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_large_is_told_with_both_numbers_and_what_helps() {
        check_against(1 << 30, 1 << 30, "").unwrap();
        let complaint = check_against((3 << 30) + (512 << 20), 900 << 20, "a shorter `context` needs less").unwrap_err();
        assert_eq!(complaint, "it needs at least 3.5 GiB of memory and 900 MiB can be had; a shorter `context` needs less");
    }

    #[test]
    fn a_group_has_what_its_limit_leaves_and_what_it_only_caches() {
        let group = tempfile::tempdir().unwrap();
        let write = |file: &str, text: &str| fs::write(group.path().join(file), text).unwrap();
        write("memory.max", "max\n");
        write("memory.current", "700\n");
        write("memory.swap.max", "0\n");
        assert_eq!(group_room(group.path()), None);
        write("memory.max", "1000\n");
        assert_eq!(group_room(group.path()), Some(300));
        write("memory.stat", "anon 500\nactive_file 150\ninactive_file 50\n");
        assert_eq!(group_room(group.path()), Some(500));
    }

    #[test]
    fn this_machine_has_some() {
        if Path::new("/proc/meminfo").exists() {
            assert!(available().unwrap() > 1 << 20);
        }
    }
}
