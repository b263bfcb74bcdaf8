//! An engine's process killed while it answers, again and again: the daemon stays, each stream ends with an error, and the next answer comes soon.

use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::connection::{Answer, descriptors, get, post, request};
use crate::random::Random;
use crate::table::{Row, milliseconds, percentile};
use crate::{Engine, Extent, smollm2};

/// Between two kills of the same engine's process. It is started anew five times a minute at most, later each time (engines/src/isolated/restarts.rs);
/// three ends a minute let it wait for a second.
const BETWEEN: Duration = Duration::from_millis(20_500);
/// How long what was closed may take to be so: connections end after their last answer.
const CLOSING: Duration = Duration::from_secs(5);
/// What the next answer may take beyond loading.
const SLACK: Duration = Duration::from_secs(2);
/// Longer than anything takes here, so that a hang becomes a failure.
const PATIENCE: Duration = Duration::from_secs(60);

pub async fn run(extent: Extent) -> Vec<Row> {
    let folder = tempfile::tempdir().unwrap();
    let (kills, names) = (extent.of(100, 4), ["first", "second", "third", "fourth", "fifth"]);
    // Several take turns, so that each has its time between two kills.
    let names = &names[..extent.of(5, 2)];
    let real: Option<String> = names.iter().map(|name| smollm2(name)).collect();
    let (what, tables) = match real {
        Some(tables) => ("SmolLM2 on llama.cpp", tables),
        None => ("scripted", names.iter().map(|name| format!("[engines.{name}]\nbackend = \"scripted\"\nisolate = true\n")).collect()),
    };
    let engine = Engine { slots: 4, queue: 16, step_tokens: 64, pace: Duration::from_millis(5) };
    let daemon = engine.start_beside(folder.path(), "", &tables);
    let address = daemon.address.clone();
    let mut loading = Duration::ZERO;
    for name in names {
        let begun = Instant::now();
        let answer = ask(&address, name).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        loading = loading.max(begun.elapsed());
    }
    let before = descriptors(daemon.id());
    let mut random = Random(3);
    let (mut times, mut told, mut answered) = (Vec::new(), 0, 0);
    let mut killed_at = vec![None::<Instant>; names.len()];
    for number in 0..kills {
        let place = number % names.len();
        if let Some(at) = killed_at[place].filter(|_| extent.full) {
            tokio::time::sleep_until((at + BETWEEN).into()).await;
        }
        let mut stream = begin(&address, names[place], 1 + random.below(8) as usize).await;
        kill_process(process(daemon.id(), names[place]), Signal::KILL).unwrap();
        let at = Instant::now();
        killed_at[place] = Some(at);
        let mut rest = String::new();
        tokio::time::timeout(PATIENCE, stream.read_to_string(&mut rest)).await.expect("the stream ends").unwrap();
        told += usize::from(rest.contains("event: error") && rest.contains("engine_failed") && !rest.contains("event: done"));
        answered += usize::from(ask(&address, names[place]).await.status == 200);
        times.push(at.elapsed());
    }
    let alive = get(&address, "/health").await.is_ok_and(|answer| answer.status == 200);
    let ended = Instant::now();
    let mut after = descriptors(daemon.id());
    while after > before && ended.elapsed() < CLOSING {
        tokio::time::sleep(Duration::from_millis(20)).await;
        after = descriptors(daemon.id());
    }
    let half = percentile(&mut times, 50);
    let last = percentile(&mut times, 100);
    let stays = if alive { "the daemon is the same process" } else { "the daemon is gone" };
    vec![Row::new(
        format!("{kills} kills of {} engines' processes in mid-stream ({what})", names.len()),
        format!(
            "{told} streams ended with an error event, {answered} next answers, half within {}, all within {} of the kill (loading takes {}); {stays}, open files {before} → {after}",
            milliseconds(half),
            milliseconds(last),
            milliseconds(loading)
        ),
        "the daemon's process stays, an error event each, the next answer within the time of loading and 2 s",
        alive && told == kills && answered == kills && after <= before && last <= extent.within(loading + SLACK),
    )]
}

/// A short answer of this engine.
async fn ask(address: &str, name: &str) -> Answer {
    let body = serde_json::json!({"model": name, "prompt": "Once upon a time", "max_tokens": 4});
    post(address, "/generate", body.to_string().as_bytes()).await.unwrap()
}

/// A long answer of which so many pieces have come.
async fn begin(address: &str, name: &str, pieces: usize) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let body = serde_json::json!({"model": name, "prompt": "Once upon a time", "max_tokens": 1000});
    stream.write_all(&request("/stream-generate", body.to_string().as_bytes())).await.unwrap();
    let (mut all, mut buffer) = (Vec::new(), [0; 4096]);
    while all.windows(8).filter(|bytes| bytes == b"\"token\":").count() < pieces {
        let read = tokio::time::timeout(PATIENCE, stream.read(&mut buffer)).await.expect("the stream begins").unwrap();
        assert!(read > 0, "{}", String::from_utf8_lossy(&all));
        all.extend_from_slice(&buffer[..read]);
    }
    stream
}

/// The process of this engine: a child of the daemon that is told the engine's name.
pub fn process(daemon: u32, name: &str) -> Pid {
    let numbers = std::fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let is_it = |number: &i32| {
        let stat = std::fs::read_to_string(format!("/proc/{number}/stat")).unwrap_or_default();
        let command = std::fs::read_to_string(format!("/proc/{number}/cmdline")).unwrap_or_default();
        // Behind the name, which may have anything in it: state and parent.
        let parent = stat.rsplit(')').next().unwrap_or_default().split_whitespace().nth(1);
        parent == Some(&daemon.to_string()) && command.contains(&format!("\0engine\0{name}\0"))
    };
    numbers.filter(is_it).find_map(Pid::from_raw).unwrap_or_else(|| panic!("engine `{name}` has no process"))
}
