//! Whether the machine does other things meanwhile. Two threads that wait for each other lose most of their speed to one more process
//! (llama.cpp fell from 222 to 42 tokens/s), so a row measured then compares nothing.

use std::time::Duration;

/// How long to look.
const LOOK: Duration = Duration::from_millis(500);
/// Processors that others may use.
const ALLOWED: f64 = 0.15;

/// Tells of other work, if there is any; to be asked while nothing of ours computes.
pub async fn other_work() -> Option<String> {
    let before = busy_ticks()?;
    tokio::time::sleep(LOOK).await;
    // A tick is a hundredth of a second, on every Linux.
    let used = (busy_ticks()? - before) / 100.0 / LOOK.as_secs_f64();
    (used > ALLOWED).then(|| format!("NOT QUIET: other processes used {used:.1} processors"))
}

/// Ticks that all processors together have worked: user, nice, system, and what interrupts took.
fn busy_ticks() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/stat").ok()?;
    let ticks: Vec<f64> = text.lines().next()?.split_whitespace().skip(1).filter_map(|ticks| ticks.parse().ok()).collect();
    Some(ticks.iter().take(3).chain(ticks.iter().skip(5).take(2)).sum())
}
