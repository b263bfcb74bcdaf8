//! The same engine in a process of its own: whatever happens to that, the daemon stays.

use std::io::Read;
use std::os::unix::process::CommandExt;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group, test_kill_process};
use serde_json::{Value, json};

use super::kit::{Daemon, PATIENCE};

/// A daemon whose engine is isolated, and more keys of its table.
fn isolated(keys: &[(&str, &str)]) -> Daemon {
    Daemon::start_as("engine = \"parrot\"", |command| {
        command.env("MINIVAULTD_ENGINES__PARROT__ISOLATE", "true");
        for (key, value) in keys {
            command.env(format!("MINIVAULTD_ENGINES__PARROT__{key}"), value);
        }
        // As a shell does with what it starts.
        command.process_group(0);
    })
}

impl Daemon {
    /// The processes that it has started and that run.
    fn processes(&self) -> Vec<Pid> {
        let daemon = self.child.id().to_string();
        let numbers = std::fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        let is_one = |number: &i32| {
            let stat = std::fs::read_to_string(format!("/proc/{number}/stat")).unwrap_or_default();
            // Behind the name, which may have anything in it: state and parent.
            let mut fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
            fields.next().is_some_and(|state| state != "Z") && fields.next() == Some(&daemon)
        };
        numbers.filter(is_one).filter_map(Pid::from_raw).collect()
    }

    /// The process of its only engine.
    fn process(&self) -> Pid {
        let processes = self.processes();
        assert_eq!(processes.len(), 1, "{processes:?}");
        processes[0]
    }

    fn get(&self, path: &str) -> (u16, Value) {
        let mut answer = String::new();
        self.send("GET", path, "").read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), serde_json::from_str(body).unwrap())
    }

    /// Waits until this holds.
    fn waits_until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let begin = Instant::now();
        while !holds(self) {
            assert!(begin.elapsed() < PATIENCE, "never: {what}");
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

fn asks(tokens: usize) -> Value {
    json!({"prompt": "abc", "max_tokens": tokens})
}

#[test]
fn a_killed_engine_ends_its_streams_with_an_error_and_answers_again() {
    let mut daemon = isolated(&[]);
    let first = daemon.process();
    let mut stream = daemon.stream(&asks(4000));
    kill_process(first, Signal::KILL).unwrap();
    let mut rest = String::new();
    stream.read_to_string(&mut rest).unwrap();
    assert!(rest.contains("event: error") && rest.contains("\"code\":\"engine_failed\""), "{rest}");
    assert!(daemon.hears("is started anew").contains("signal 9"));
    // The next request waits for it, and comes through.
    let (status, answer) = daemon.ask("/generate", &asks(3));
    assert_eq!((status, &answer["usage"]["completion_tokens"]), (200, &json!(3)));
    assert_ne!(daemon.process(), first);
    assert!(daemon.child.try_wait().unwrap().is_none(), "the daemon has noticed nothing");
    let log = daemon.log(2);
    let told = |line: &Value| (line["finish_reason"].as_str().unwrap().to_owned(), line["status"].as_u64().unwrap());
    assert_eq!(log.iter().map(told).collect::<Vec<_>>(), [("error".to_owned(), 500), ("length".to_owned(), 200)]);
    assert!(!log[0]["response"].as_str().unwrap().is_empty(), "what was said before is kept");
    assert_eq!(daemon.get("/ready").0, 200);
    let mut metrics = String::new();
    daemon.send("GET", "/metrics", "").read_to_string(&mut metrics).unwrap();
    assert!(metrics.contains("minivault_engine_restarts_total{engine=\"parrot\"} 1\n"), "{metrics}");
}

#[test]
fn what_an_engine_that_is_stuck_is_asked_piles_up_to_a_limit() {
    let daemon = isolated(&[]);
    let process = daemon.process();
    kill_process(process, Signal::STOP).unwrap();
    // 64 MiB may wait for it.
    let body = json!({"prompt": "a".repeat(1 << 20), "max_tokens": 1}).to_string();
    let waiting: Vec<_> = (0..63).map(|_| daemon.send("POST", "/generate", &body)).collect();
    let is_refused = || {
        let mut answer = String::new();
        let mut stream = daemon.send("POST", "/generate", &body);
        stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let _ = stream.read_to_string(&mut answer);
        answer.starts_with("HTTP/1.1 429")
    };
    daemon.waits_until("one is refused", |_| is_refused());
    kill_process(process, Signal::CONT).unwrap();
    drop(waiting);
    daemon.waits_until("it answers again", |daemon| daemon.ask("/generate", &asks(1)).0 == 200);
}

#[test]
fn an_interrupt_at_the_terminal_lets_running_streams_finish() {
    let mut daemon = isolated(&[]);
    let process = daemon.process();
    let mut stream = daemon.stream(&asks(100));
    kill_process_group(Pid::from_child(&daemon.child), Signal::INT).unwrap();
    let mut rest = String::new();
    stream.read_to_string(&mut rest).unwrap();
    assert!(rest.contains("event: done"), "{rest}");
    assert_eq!(daemon.ended(), 0);
    assert!(test_kill_process(process).is_err(), "the engine's process has ended before");
}

#[test]
fn the_engine_ends_with_its_daemon() {
    let mut daemon = isolated(&[]);
    let process = daemon.process();
    let _stream = daemon.stream(&asks(4000));
    daemon.signal(Signal::KILL);
    daemon.ended();
    daemon.waits_until("the process is gone", |_| test_kill_process(process).is_err());
}

#[test]
fn who_dies_too_often_is_unavailable_and_says_why() {
    let daemon = isolated(&[]);
    for _ in 0..5 {
        let process = daemon.process();
        kill_process(process, Signal::KILL).unwrap();
        daemon.hears("is started anew");
        assert_eq!(daemon.ask("/generate", &asks(1)).0, 200, "the request waits for it");
    }
    kill_process(daemon.process(), Signal::KILL).unwrap();
    daemon.hears("has ended more than 5 times");
    let (status, ready) = daemon.get("/ready");
    assert_eq!((status, &ready["status"]), (503, &json!("failed")));
    assert!(ready["reason"].as_str().unwrap().contains("signal 9"), "{ready}");
    let (status, answer) = daemon.ask("/generate", &asks(1));
    assert_eq!((status, &answer["error"]["code"]), (503, &json!("engine_unavailable")), "{answer}");
    assert!(daemon.processes().is_empty());
    assert_eq!(daemon.get("/health").0, 200);
}

#[test]
fn an_engine_that_nobody_asks_leaves_with_its_process() {
    let daemon = isolated(&[("KEEP_ALIVE", "0")]);
    for _ in 0..2 {
        daemon.waits_until("it leaves", |daemon| daemon.processes().is_empty());
        assert_eq!(daemon.ask("/generate", &asks(1)).0, 200);
    }
}

#[test]
fn without_isolation_there_is_one_process() {
    let daemon = Daemon::start("engine = \"parrot\"");
    assert!(daemon.processes().is_empty());
    assert_eq!(daemon.ask("/generate", &asks(1)).0, 200);
}

#[test]
fn nobody_but_the_daemon_starts_an_engine() {
    let folder = tempfile::tempdir().unwrap();
    let output = super::command(folder.path(), &["engine", "parrot", "warn"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(1) && said.contains("started by its daemon alone"), "{said}");
}
