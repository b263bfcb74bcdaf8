//! Very many requests: memory doesn't grow with them. And none at all: the daemon rests.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::child::process;
use crate::connection::{memory, post};
use crate::table::{Row, mebibytes};
use crate::{Engine, Extent, smollm2};

const CLIENTS: usize = 64;
/// Memory is looked at after each of so many parts of the requests.
const PARTS: usize = 10;
/// Parts that come before: the log has then been sealed and compressed, as it will be again and again.
const WARM_UP: usize = 3;
/// Bytes that 1,000 requests may add.
const MOST_GROWTH: f64 = 1024.0;
/// Parts of a core that an idle daemon may use.
const MOST_IDLE: f64 = 0.005;

pub async fn run(extent: Extent) -> Vec<Row> {
    let folder = tempfile::tempdir().unwrap();
    let engine = Engine { slots: 64, queue: 256, step_tokens: 512, pace: Duration::ZERO };
    let daemon = engine.start(folder.path(), "");
    let requests = extent.of(1_000_000, 6_000);
    let each = requests / PARTS;
    ask(&daemon.address, WARM_UP * each).await;
    let begun = Instant::now();
    let (mut failed, mut sizes) = (0, vec![memory(daemon.id())]);
    for _ in 0..PARTS {
        failed += ask(&daemon.address, each).await;
        sizes.push(memory(daemon.id()));
    }
    let pace = requests as f64 / begun.elapsed().as_secs_f64();
    let slope = slope(&sizes) / (each as f64 / 1000.0);
    let told: Vec<String> = sizes.iter().map(|&size| format!("{:.1}", mebibytes(size))).collect();
    let soak = Row::new(
        format!("{requests} requests from {CLIENTS} clients"),
        format!("{failed} failed, {pace:.0} a second; memory {} MiB, {slope:.0} bytes for 1,000 requests", told.join(" ")),
        "every one answered, less than 1 KiB for 1,000 requests after warming up",
        // A part says nothing of a slope: allocators take memory by megabytes.
        failed == 0 && (!extent.full || slope < MOST_GROWTH),
    );
    let mut rows = vec![soak, idle("a model loaded and nothing to do", &[daemon.id()], extent).await];
    drop(daemon);
    if let Some(table) = smollm2("real") {
        let folder = tempfile::tempdir().unwrap();
        let daemon = engine.start_beside(folder.path(), "", &table);
        let answer = post(&daemon.address, "/generate", br#"{"model":"real","prompt":"Once","max_tokens":8}"#).await.unwrap();
        assert_eq!(answer.status, 200, "{}", answer.body);
        let processes = [daemon.id(), process(daemon.id(), "real").as_raw_nonzero().get() as u32];
        rows.push(idle("SmolLM2 loaded, in its process, and nothing to do", &processes, extent).await);
    }
    rows
}

/// What these processes compute when nobody asks for anything.
async fn idle(what: &str, processes: &[u32], extent: Extent) -> Row {
    let all = || processes.iter().map(|process| cpu_seconds(*process)).sum::<f64>();
    tokio::time::sleep(Duration::from_millis(500)).await;
    let (before, begun) = (all(), Instant::now());
    tokio::time::sleep(Duration::from_secs(extent.of(20, 2) as u64)).await;
    let used = (all() - before) / begun.elapsed().as_secs_f64();
    let seen = format!("{:.2} % of a core", used * 100.0);
    Row::new(what, seen, "less than 0.5 % of a core", !extent.full || used < MOST_IDLE)
}

/// How much the sizes grow from one to the next: the straight line with the least squares.
fn slope(sizes: &[u64]) -> f64 {
    let middle = (sizes.len() - 1) as f64 / 2.0;
    let places = || (0..sizes.len()).map(|place| place as f64 - middle);
    places().zip(sizes).map(|(place, &size)| place * size as f64).sum::<f64>() / places().map(|place| place * place).sum::<f64>()
}

/// So many requests, each connection kept; how many were not answered with 200.
async fn ask(address: &str, requests: usize) -> usize {
    let mut clients = tokio::task::JoinSet::new();
    for number in 0..CLIENTS {
        let (address, share) = (address.to_owned(), requests / CLIENTS + usize::from(number < requests % CLIENTS));
        clients.spawn(async move {
            let body = r#"{"prompt":"Once","max_tokens":4}"#;
            let length = body.len();
            let request = format!(
                "POST /generate HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
            );
            let mut stream = TcpStream::connect(&address).await.unwrap();
            stream.set_nodelay(true).unwrap();
            let (mut failed, mut buffer) = (0, vec![0; 16 * 1024]);
            for _ in 0..share {
                stream.write_all(request.as_bytes()).await.unwrap();
                let mut read = 0;
                // A whole answer ends with its object's brace, and is one packet or two.
                while !buffer[..read].ends_with(b"}}") {
                    read += stream.read(&mut buffer[read..]).await.unwrap();
                }
                failed += usize::from(!buffer.starts_with(b"HTTP/1.1 200 "));
            }
            failed
        });
    }
    clients.join_all().await.into_iter().sum()
}

/// What a process has computed so far.
fn cpu_seconds(process: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    let ticks: f64 = fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap();
    ticks / 100.0
}
