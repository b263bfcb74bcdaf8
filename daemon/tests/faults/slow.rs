//! Clients that are slow on purpose, a thousand at once: with the head, with the body, with reading. All are cut off in time, and a good client
//! doesn't notice them. Once with clients of our own, once with slowhttptest where that is installed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::connection::{metric, post, request, sockets};
use crate::daemon::Daemon;
use crate::table::{Row, milliseconds, percentile};
use crate::{Engine, Extent};

/// How soon a good client must have its answer.
const SOON: Duration = Duration::from_millis(100);
/// How much later than its limit says a connection may be closed.
const SLACK: Duration = Duration::from_millis(1500);
/// Between two bytes of a slow client.
const DRIP: Duration = Duration::from_millis(100);
/// Between two new connections; between two that ask for a stream, because to compute a thousand of them at once would be another test.
const OPENED: Duration = Duration::from_micros(2500);
/// See [`OPENED`].
const STREAM_OPENED: Duration = Duration::from_millis(10);

/// With what a client is slow.
#[derive(Clone, Copy)]
enum With {
    Head,
    Body,
    Reading,
}

/// What the daemon's limits are, in seconds.
struct Limits {
    head: u64,
    body: u64,
    write: u64,
}

/// What came of many slow clients.
#[derive(Default)]
struct Seen {
    /// The most connections at once, the good client's among them.
    most: usize,
    /// Those that were still open when all should have been closed.
    left: usize,
    /// When the last one was closed, since it began or, where clients can't see it, since the last one began.
    closed_after: Duration,
}

pub async fn run(extent: Extent) -> Vec<Row> {
    // As they are by default but for writing, where it would take a minute.
    let limits = if extent.full { Limits { head: 5, body: 5, write: 15 } } else { Limits { head: 1, body: 1, write: 1 } };
    let clients = extent.of(1000, 40);
    let mut rows = Vec::new();
    for with in [With::Head, With::Body, With::Reading] {
        rows.push(beside_a_good_client(extent, &limits, with, "", |daemon| ours(with, daemon, clients, &limits)).await);
    }
    if !extent.full {
        return rows;
    }
    if std::process::Command::new("slowhttptest").arg("-h").output().is_err() {
        eprintln!("faults: skipped: slowhttptest isn't installed (as root: apt-get install slowhttptest)");
        return rows;
    }
    for with in [With::Head, With::Body, With::Reading] {
        rows.push(beside_a_good_client(extent, &limits, with, "slowhttptest, ", |daemon| theirs(with, daemon, clients)).await);
    }
    rows
}

/// Has a daemon attacked while somebody else asks it, one request after the other.
async fn beside_a_good_client<Attack: Future<Output = Seen>>(
    extent: Extent,
    limits: &Limits,
    with: With,
    by: &str,
    attack: impl FnOnce(Arc<Daemon>) -> Attack,
) -> Row {
    let folder = tempfile::tempdir().unwrap();
    let engine = Engine { slots: 1100, queue: 64, step_tokens: 4096, pace: Duration::ZERO };
    let Limits { head, body, write } = limits;
    let server = format!("header_timeout = {head}\nbody_timeout = {body}\nwrite_timeout = {write}\n");
    let daemon = Arc::new(engine.start(folder.path(), &server));
    let over = Arc::new(AtomicBool::new(false));
    let good = tokio::spawn(good_client(daemon.address.clone(), over.clone()));
    let Seen { most, left, closed_after } = attack(daemon.clone()).await;
    over.store(true, Ordering::Relaxed);
    let (mut times, failed) = good.await.unwrap();
    let running = metric(&daemon.address, "minivault_requests_running").await;
    // Whoever was cut off while it read has left a line that says so: what it asked for had not gone into the kernel's buffers as a whole.
    let log = std::fs::read_to_string(folder.path().join("log.jsonl")).unwrap();
    let cancelled = log.matches(r#""finish_reason":"cancelled""#).count();
    let (slowest, count, clients) = (percentile(&mut times, 99), times.len(), extent.of(1000, 40));
    let (name, limit) = match with {
        With::Head => ("headers", *head),
        With::Body => ("bodies", *body),
        With::Reading => ("reading", *write),
    };
    let (told, cut_off) = match with {
        With::Reading => (format!(", write_timeout = {write} in place of 60"), format!("{cancelled} answers cut off, ")),
        _ => (String::new(), String::new()),
    };
    // slowhttptest asks for what fits into the kernel's buffers: no answer of it is cut off, and its connections end as those that ask no more.
    let all_cut_off = !matches!(with, With::Reading) || !by.is_empty() || cancelled == clients;
    let enough = Duration::from_secs(limit) + SLACK;
    Row::new(
        format!("slow {name} ({by}{clients} connections{told})"),
        format!(
            "{most} at once, {cut_off}{left} still open, the last one closed after {}; a good client: {count} answers, {failed} failures, 99 % within {}",
            milliseconds(closed_after),
            milliseconds(slowest)
        ),
        "all closed within their limit and 1.5 s, the good client's 99 % within 100 ms",
        left == 0
            && all_cut_off
            && failed == 0
            && count > 0
            && running == 0.0
            && closed_after < extent.within(enough)
            && slowest < extent.within(SOON),
    )
}

/// Asks, with a new connection each, until it is over. How long each answer took, connecting included, and how many were no answers.
async fn good_client(address: String, over: Arc<AtomicBool>) -> (Vec<Duration>, usize) {
    let (mut times, mut failed) = (Vec::new(), 0);
    while !over.load(Ordering::Relaxed) {
        let begun = Instant::now();
        match post(&address, "/generate", br#"{"prompt":"good","max_tokens":4}"#).await {
            Ok(answer) if answer.status == 200 => times.push(begun.elapsed()),
            _ => failed += 1,
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    (times, failed)
}

/// Clients of our own.
async fn ours(with: With, daemon: Arc<Daemon>, clients: usize, limits: &Limits) -> Seen {
    let end = Duration::from_secs(limits.head.max(limits.body).max(limits.write)) + 10 * SLACK;
    let (mut open, mut unread) = (tokio::task::JoinSet::new(), Vec::new());
    let idle = sockets(daemon.id());
    for _ in 0..clients {
        let address = daemon.address.clone();
        match with {
            With::Head => {
                drop(open.spawn(async move { drip(&address, "", b"GET /health HTTP/1.1\r\nHost: localhost\r\nX-Slow: ", end).await }))
            }
            With::Body => {
                let head = "POST /generate HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n";
                drop(open.spawn(async move { drip(&address, head, b"{\"prompt\":\"", end).await }));
            }
            With::Reading => unread.push(ask_and_read_nothing(&address).await),
        }
        tokio::time::sleep(if matches!(with, With::Reading) { STREAM_OPENED } else { OPENED }).await;
    }
    let most = sockets(daemon.id()).saturating_sub(idle);
    if matches!(with, With::Reading) {
        let (closed_after, left) = until_closed(daemon.id(), idle, end).await;
        return Seen { most, left, closed_after };
    }
    let closed: Vec<Option<Duration>> = open.join_all().await;
    Seen {
        most,
        left: closed.iter().filter(|closed| closed.is_none()).count(),
        closed_after: closed.into_iter().flatten().max().unwrap_or_default(),
    }
}

/// Sends these bytes at once, then the others one by one and for ever; when the other side closed, if it did before the end.
async fn drip(address: &str, at_once: &str, slowly: &[u8], end: Duration) -> Option<Duration> {
    let begun = Instant::now();
    let (mut reader, mut writer) = TcpStream::connect(address).await.ok()?.into_split();
    let send = async {
        writer.write_all(at_once.as_bytes()).await?;
        for byte in slowly.iter().chain(std::iter::repeat(&b'a')) {
            writer.write_all(&[*byte]).await?;
            tokio::time::sleep(DRIP).await;
        }
        std::io::Result::Ok(())
    };
    let mut told = Vec::new();
    tokio::select! {
        // However it ends: with an answer that says why, or without.
        _ = reader.read_to_end(&mut told) => Some(begun.elapsed()),
        Err(_) = send => Some(begun.elapsed()),
        () = tokio::time::sleep(end) => None,
    }
}

/// Asks for a stream and takes nothing of it. With small segments and a small window the kernel keeps some 50 KiB of it, and not megabytes.
async fn ask_and_read_nothing(address: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(2048).unwrap();
    SockRef::from(&socket).set_tcp_mss(536).unwrap();
    let mut stream = socket.connect(address.parse().unwrap()).await.unwrap();
    // Some 500 bytes for each of its tokens.
    let body = br#"{"model":"scripted","prompt":"x","max_tokens":200,"stream":true,"logprobs":5}"#;
    stream.write_all(&request("/v1/completions", body)).await.unwrap();
    stream
}

/// slowhttptest's clients.
async fn theirs(with: With, daemon: Arc<Daemon>, clients: usize) -> Seen {
    let idle = sockets(daemon.id());
    let (mode, path) = match with {
        With::Head => ("-H -i 1", "health"),
        With::Body => ("-B -i 1 -s 8192 -t POST -f application/json -x 10", "generate"),
        With::Reading => ("-X -n 1 -z 32 -w 256 -y 512 -k 3", ""),
    };
    let (rate, url) = (Duration::from_secs(1).div_duration_f64(OPENED) as usize, format!("http://{}/{path}", daemon.address));
    let mut tester = tokio::process::Command::new("slowhttptest")
        .args(mode.split(' '))
        .args(["-c", &clients.to_string(), "-r", &rate.to_string(), "-l", "60", "-p", "3", "-u", &url])
        .stdout(std::process::Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    // On a busy machine it may pause between two lots, so all are closed when nothing has come for a while.
    let (begun, mut most, mut closed_at) = (Instant::now(), 0, None::<Instant>);
    let left = loop {
        let now = sockets(daemon.id()).saturating_sub(idle);
        most = most.max(now);
        closed_at = if now <= 1 && most > 1 { closed_at.or(Some(Instant::now())) } else { None };
        if closed_at.is_some_and(|at| at.elapsed() > Duration::from_secs(3)) || begun.elapsed() > Duration::from_secs(90) {
            break now.saturating_sub(1);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    tester.kill().await.unwrap();
    // The last one can't have begun sooner.
    let last_begun = begun + OPENED * clients as u32;
    Seen { most, left, closed_after: closed_at.unwrap_or_else(Instant::now).saturating_duration_since(last_begun) }
}

/// Waits until the daemon has no more connections than when it was idle, but for one of the good client's. How long that took, and how many
/// there still are.
async fn until_closed(process: u32, idle: usize, end: Duration) -> (Duration, usize) {
    let begun = Instant::now();
    loop {
        let left = sockets(process).saturating_sub(idle + 1);
        if left == 0 || begun.elapsed() > end {
            return (begun.elapsed(), left);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
