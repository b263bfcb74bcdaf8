//! Processor, memory, disk, ports.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::time::Duration;

use minivault_wire::status::HealthAnswer;

use super::Finding;
use crate::config::{Listen, LogSettings};

/// Bytes that should be free for the log, at least.
const LITTLE_ROOM: u64 = 1 << 30;
/// Bytes of memory below which little fits in.
const LITTLE_MEMORY: u64 = 1 << 30;
/// How long whoever listens where the daemon would may take to say who it is.
const A_MOMENT: Duration = Duration::from_secs(1);
/// Bytes of that, at most.
const LONGEST_ANSWER: u64 = 4096;

/// What the kernels find here.
pub(super) fn processor() -> Finding {
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let features = features();
    let seen =
        format!("{threads} threads, {}", if features.is_empty() { "no vector instructions that are used" } else { features.as_str() });
    if cfg!(target_arch = "x86_64") && !features.contains("AVX2") {
        return Finding::poor("processor", seen, "GPT-2's fast kernels need AVX2; without it the plain path answers, which is slow");
    }
    Finding::good("processor", seen)
}

#[cfg(target_arch = "x86_64")]
fn features() -> String {
    let there = [
        ("AVX2", is_x86_feature_detected!("avx2")),
        ("FMA", is_x86_feature_detected!("fma")),
        ("AVX-512", is_x86_feature_detected!("avx512f")),
        ("AVX-512 VNNI", is_x86_feature_detected!("avx512vnni")),
        ("AVX-512 BF16", is_x86_feature_detected!("avx512bf16")),
    ];
    let names: Vec<&str> = there.into_iter().filter_map(|(name, is_there)| is_there.then_some(name)).collect();
    names.join(", ")
}

#[cfg(not(target_arch = "x86_64"))]
fn features() -> String {
    String::new()
}

pub(super) fn memory() -> Finding {
    match minivault_engines::memory::available() {
        Some(bytes) if bytes < LITTLE_MEMORY => Finding::poor(
            "memory",
            format!("{} MiB available", bytes >> 20),
            "a model takes its file's size and its context; end what else runs, or choose a smaller model",
        ),
        Some(bytes) => Finding::good("memory", format!("{:.1} GiB available", bytes as f64 / f64::from(1 << 30))),
        None => Finding::good("memory", "how much there is can't be told here"),
    }
}

/// The log's folder: that it can be written, and how much room there is.
pub(super) fn log(log: &LogSettings) -> Vec<Finding> {
    let folder = log.path.parent().unwrap_or(Path::new("."));
    let written = fs::create_dir_all(folder).and_then(|()| {
        // Nobody else's: what is there stays.
        let trial = folder.join(format!(".minivault-doctor-{}", std::process::id()));
        fs::write(&trial, "x").and_then(|()| fs::remove_file(&trial))
    });
    if let Err(error) = written {
        let seen = format!("{} can't be written: {error}", folder.display());
        return vec![Finding::bad("log", seen, "set log.path to a file in a folder that can")];
    }
    let mut findings = vec![Finding::good("log", log.path.display().to_string())];
    if let Ok(disk) = rustix::fs::statvfs(folder) {
        let free = disk.f_bavail * disk.f_frsize;
        let seen = format!("{:.1} GiB free for the log", free as f64 / f64::from(1 << 30));
        findings.push(if free < LITTLE_ROOM {
            Finding::poor("disk", seen, "set log.keep_bytes or log.keep_segments, or make room: with none left, answers are refused")
        } else {
            Finding::good("disk", seen)
        });
    }
    findings
}

/// The version of the daemon that answers there, if it is one of ours and speaks plain HTTP.
fn minivault_at(address: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(A_MOMENT)).ok()?;
    stream.write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.take(LONGEST_ANSWER).read_to_string(&mut answer).ok()?;
    let (_, body) = answer.split_once("\r\n\r\n")?;
    Some(serde_json::from_str::<HealthAnswer>(body).ok()?.version)
}

/// Whether somebody listens there already.
pub(super) fn port(listen: &Listen) -> Finding {
    match listen {
        Listen::Tcp(address) => match TcpListener::bind(address) {
            Ok(_) => Finding::good("port", format!("{address} is free")),
            Err(error) => match minivault_at(address) {
                Some(version) => {
                    let advice = "that is well if you have started it; another one takes another address (--listen, server.listen)";
                    Finding::poor("port", format!("a MiniVault {version} answers at {address}"), advice)
                }
                None => {
                    let advice = "end the daemon that listens there, or choose another address with --listen or server.listen";
                    Finding::bad("port", format!("{address}: {error}"), advice)
                }
            },
        },
        Listen::Unix(path) => match path.parent().filter(|folder| !folder.as_os_str().is_empty() && !folder.is_dir()) {
            Some(folder) => {
                Finding::bad("socket", format!("{} is no folder", folder.display()), "make it, or set server.listen to another path")
            }
            None => Finding::good("socket", path.display().to_string()),
        },
    }
}
