//! Connections cut without a word, at each stage of a request: its place is free at once, and it is in the log.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::connection::{metric, request};
use crate::random::Random;
use crate::table::{Row, milliseconds};
use crate::{Engine, Extent};

const SLOTS: usize = 2;
const STEP: Duration = Duration::from_millis(20);
/// How long after the reset a place may still be taken: the step under way, and this.
const SLACK: Duration = Duration::from_millis(50);
const RUNNING: &str = "minivault_requests_running";
const WAITING: &str = "minivault_requests_waiting";

/// Where a request is when its connection is cut.
#[derive(Clone, Copy)]
enum Stage {
    Queued,
    Prefill,
    Decode,
    BetweenFrames,
}

pub async fn run(extent: Extent) -> Vec<Row> {
    let folder = tempfile::tempdir().unwrap();
    let engine = Engine { slots: SLOTS, queue: 16, step_tokens: 64, pace: STEP };
    let daemon = engine.start(folder.path(), "");
    let address = daemon.address.clone();
    let mut random = Random(1);
    let of_each = extent.of(500, 20) / 4;
    let (mut slowest, mut count) = (Duration::ZERO, 0);
    for stage in [Stage::Prefill, Stage::Decode, Stage::BetweenFrames] {
        for _ in 0..of_each {
            let cut = begin(&address, stage, &mut random).await;
            reset(cut);
            count += 1;
            slowest = slowest.max(until(&address, RUNNING, 0.0).await);
        }
    }
    // Behind requests that fill all slots.
    let mut busy = Vec::new();
    for _ in 0..SLOTS {
        busy.push(begin(&address, Stage::Decode, &mut random).await);
    }
    for _ in 0..of_each {
        let cut = begin(&address, Stage::Queued, &mut random).await;
        until(&address, WAITING, 1.0).await;
        reset(cut);
        count += 1;
        slowest = slowest.max(until(&address, WAITING, 0.0).await);
    }
    count += busy.len();
    busy.into_iter().for_each(reset);
    let leaked = until(&address, RUNNING, 0.0).await > Duration::from_secs(5);
    let begun = Instant::now();
    while metric(&address, "minivault_log_lines_total").await < count as f64 && begun.elapsed() < Duration::from_secs(5) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let lines = metric(&address, "minivault_log_lines_total").await;
    vec![Row::new(
        format!("{count} resets: queued, in prefill, in decode, between frames"),
        format!("places free within {} (a step takes {}), {lines} lines", milliseconds(slowest), milliseconds(STEP)),
        "free within a step and 50 ms, a line each, no place lost",
        slowest <= extent.within(STEP + SLACK) && lines == count as f64 && !leaked,
    )]
}

/// A request that is at this stage, or will be in a moment.
async fn begin(address: &str, stage: Stage, random: &mut Random) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // 64 tokens a step: this prompt takes a hundred.
    let prompt = if matches!(stage, Stage::Prefill) { "x".repeat(6400) } else { "x".into() };
    let body = serde_json::json!({"prompt": prompt, "max_tokens": 1000}).to_string();
    stream.write_all(&request("/stream-generate", body.as_bytes())).await.unwrap();
    match stage {
        Stage::Queued => {}
        Stage::Prefill => {
            until(address, RUNNING, 1.0).await;
            tokio::time::sleep(Duration::from_millis(random.below(60))).await;
        }
        Stage::Decode | Stage::BetweenFrames => {
            let (mut all, mut buffer) = (Vec::new(), [0; 4096]);
            while !all.windows(8).any(|bytes| bytes == b"\"token\":") {
                let read = stream.read(&mut buffer).await.unwrap();
                assert!(read > 0, "{}", String::from_utf8_lossy(&all));
                all.extend_from_slice(&buffer[..read]);
            }
            if matches!(stage, Stage::BetweenFrames) {
                tokio::time::sleep(Duration::from_micros(random.below(STEP.as_micros() as u64))).await;
            }
        }
    }
    stream
}

/// RST, as a client that is killed sends it.
fn reset(stream: TcpStream) {
    stream.set_zero_linger().unwrap();
    drop(stream);
}

/// Waits until `/metrics` tells this number of the engine; how long that took.
async fn until(address: &str, name: &str, value: f64) -> Duration {
    let begun = Instant::now();
    while (metric(address, name).await - value).abs() > 0.5 {
        if begun.elapsed() > Duration::from_secs(10) {
            return begun.elapsed();
        }
    }
    begun.elapsed()
}
