//! Many streams held for long: none is dropped, and the daemon stays small and quick.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::connection::{get, memory, metric, request};
use crate::table::{Row, mebibytes, milliseconds, percentile};
use crate::{Engine, Extent};

/// Memory above that of the idle daemon, and how soon `/health` answers.
const MOST_MEMORY: u64 = 40 << 20;
const AT_ONCE: Duration = Duration::from_millis(50);

pub async fn run(extent: Extent) -> Vec<Row> {
    let folder = tempfile::tempdir().unwrap();
    let (streams, held) = (extent.of(1000, 100), Duration::from_secs(extent.of(600, 4) as u64));
    let engine =
        Engine { slots: streams, queue: streams, step_tokens: 2 * streams, pace: Duration::from_millis(extent.of(1000, 100) as u64) };
    let daemon = engine.start(folder.path(), "");
    let address = daemon.address.clone();
    // What the first answers allocate stays.
    get(&address, "/health").await.unwrap();
    let idle = memory(daemon.id());
    let begun = Instant::now();
    let mut open = tokio::task::JoinSet::new();
    for _ in 0..streams {
        let address = address.clone();
        open.spawn(async move { hold(&address, begun + held).await });
    }
    let (mut times, mut most) = (Vec::new(), 0);
    while begun.elapsed() < held {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let answer = get(&address, "/health").await.unwrap();
        assert_eq!(answer.status, 200);
        times.push(answer.after);
        most = most.max(memory(daemon.id()));
    }
    let pieces = open.join_all().await;
    let dropped = pieces.iter().filter(|pieces| pieces.is_none()).count();
    let fewest = pieces.iter().flatten().min().copied().unwrap_or_default();
    let slowest = percentile(&mut times, 99);
    let above = most.saturating_sub(idle);
    // Whoever left has freed a slot and left a line.
    let begun = Instant::now();
    let lines = loop {
        let lines = metric(&address, "minivault_log_lines_total").await;
        if lines >= streams as f64 || begun.elapsed() > Duration::from_secs(20) {
            break lines;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    vec![Row::new(
        format!("{streams} streams held for {} s", held.as_secs()),
        format!(
            "{dropped} dropped (each told {fewest} pieces or more), {:.1} MiB above idle, /health 99 % within {}, {lines} lines",
            mebibytes(above),
            milliseconds(slowest)
        ),
        "0 dropped, at most 40 MiB above idle, /health 99 % within 50 ms, a line each",
        dropped == 0 && fewest > 0 && above <= MOST_MEMORY && slowest < extent.within(AT_ONCE) && lines >= streams as f64,
    )]
}

/// Reads a stream until then and leaves; how many pieces of text came, or `None` where it ended before.
async fn hold(address: &str, until: Instant) -> Option<usize> {
    let mut stream = TcpStream::connect(address).await.ok()?;
    stream.write_all(&request("/stream-generate", br#"{"prompt":"held","max_tokens":8000}"#)).await.ok()?;
    let (mut pieces, mut buffer) = (0, vec![0; 16 * 1024]);
    loop {
        match tokio::time::timeout_at(until.into(), stream.read(&mut buffer)).await {
            Err(_) => return Some(pieces),
            Ok(Ok(read @ 1..)) => pieces += buffer[..read].windows(8).filter(|bytes| bytes == b"\"token\":").count(),
            Ok(_) => return None,
        }
    }
}
