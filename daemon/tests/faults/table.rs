//! What was seen, and what must hold.

use std::time::Duration;

/// One fault.
pub struct Row {
    pub fault: String,
    pub seen: String,
    pub must: &'static str,
    pub held: bool,
}

impl Row {
    pub fn new(fault: impl Into<String>, seen: impl Into<String>, must: &'static str, held: bool) -> Self {
        Self { fault: fault.into(), seen: seen.into(), must, held }
    }
}

pub fn print(rows: &[Row]) {
    println!("| fault | seen | must | |");
    println!("|---|---|---|---|");
    for Row { fault, seen, must, held } in rows {
        println!("| {fault} | {seen} | {must} | {} |", if *held { "held" } else { "**failed**" });
    }
}

/// The value that so many of 100 don't exceed.
pub fn percentile(times: &mut [Duration], percent: usize) -> Duration {
    times.sort_unstable();
    times.get((times.len() * percent).div_ceil(100).saturating_sub(1)).copied().unwrap_or_default()
}

pub fn milliseconds(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}

/// Bytes as MiB.
pub fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / (1 << 20) as f64
}
