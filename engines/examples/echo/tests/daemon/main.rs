//! The daemon as a process, on an engine that is slow on purpose: signals, sockets, clients that leave, and the real client.
#![allow(clippy::unwrap_used)]

mod batch;
mod diagnostics;
mod documents;
mod isolated;
mod kit;
mod manners;
mod reload;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

use kit::{Daemon, PATIENCE, command};

const PARROT: &str = "engine = \"parrot\"";

#[test]
fn config_toml_chooses_the_engine_and_the_client_reaches_it() {
    let daemon = Daemon::start(PARROT);
    let answer = daemon.client(&["generate", "Hello, wörld! ", "--max-tokens", "15", "--temperature", "0", "--repetition-penalty", "1"]);
    assert_eq!((String::from_utf8_lossy(&answer.stdout).as_ref(), answer.status.code()), ("Hello, wörld! ", Some(0)));
    let models = daemon.client(&["models", "--json"]);
    let models: Value = serde_json::from_slice(&models.stdout).unwrap();
    assert_eq!((&models["data"][0]["id"], &models["data"][0]["minivault"]["backend"]), (&json!("parrot"), &json!("echo")));
    assert_eq!(daemon.client(&["status"]).status.code(), Some(0));
    assert_eq!(daemon.log(1)[0]["response"], "Hello, wörld! ");
}

#[test]
fn a_client_that_is_killed_frees_its_slot_and_leaves_a_line() {
    let daemon = Daemon::start(PARROT);
    let endless = json!({"prompt": "abc", "max_tokens": 4000});
    for round in 1..=6 {
        // Two slots: a slot that leaked would make the third round wait for ever.
        drop(daemon.stream(&endless));
        let line = daemon.log(round).pop().unwrap();
        assert_eq!(line["finish_reason"], "cancelled");
        assert!(!line["response"].as_str().unwrap().is_empty(), "{line}");
    }
}

#[test]
fn a_client_that_leaves_before_a_whole_answer_is_noticed() {
    let daemon = Daemon::start(PARROT);
    let stream = daemon.send("POST", "/generate", &json!({"prompt": "abc", "max_tokens": 4000}).to_string());
    let busy = |daemon: &Daemon| daemon.client(&["models", "--json"]);
    while !String::from_utf8_lossy(&busy(&daemon).stdout).contains("\"active\":1") {}
    drop(stream);
    assert_eq!(daemon.log(1)[0]["finish_reason"], "cancelled");
}

#[test]
fn sigterm_lets_running_streams_finish() {
    let mut daemon = Daemon::start(PARROT);
    let mut stream = daemon.stream(&json!({"prompt": "abc", "max_tokens": 60}));
    daemon.signal(Signal::TERM);
    let mut rest = String::new();
    stream.read_to_string(&mut rest).unwrap();
    assert!(rest.contains("event: done"), "{rest}");
    assert_eq!(daemon.ended(), 0);
    assert_eq!(daemon.log(1)[0]["finish_reason"], "length");
    assert!(TcpStream::connect(&daemon.address).is_err(), "it listens no more");
}

#[test]
fn after_the_time_of_grace_streams_are_cut_off_and_logged() {
    let mut daemon = Daemon::start("engine = \"parrot\"\n[server]\ngrace = 0.1");
    let streams = [1, 2, 3].map(|_| daemon.send("POST", "/stream-generate", &json!({"prompt": "abc", "max_tokens": 4000}).to_string()));
    let first = daemon.client(&["status"]);
    assert_eq!(first.status.code(), Some(0));
    while !String::from_utf8_lossy(&daemon.client(&["models", "--json"]).stdout).contains("\"queued\":1") {}
    daemon.signal(Signal::INT);
    assert_eq!(daemon.ended(), 0);
    let log = daemon.log(3);
    assert_eq!(log.len(), 3, "two that ran and one that waited");
    assert!(log.iter().all(|line| line["finish_reason"] == "error" && line["status"] == 503), "{log:?}");
    for mut stream in streams {
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.contains("event: error") && answer.contains("\"code\":\"draining\""), "{answer}");
    }
}

#[test]
fn every_acknowledged_answer_survives_kill_9() {
    let mut daemon = Daemon::start(PARROT);
    let acknowledged: Vec<Value> =
        (0..20).map(|round| daemon.ask("/generate", &json!({"prompt": format!("{round} "), "max_tokens": 2})).1["id"].clone()).collect();
    let _cut_off = daemon.stream(&json!({"prompt": "abc", "max_tokens": 4000}));
    daemon.signal(Signal::KILL);
    daemon.ended();
    let kept: Vec<Value> = daemon.log(20).iter().map(|line| line["id"].clone()).collect();
    assert_eq!(kept, acknowledged);
}

#[test]
fn a_second_signal_ends_the_time_of_grace() {
    let mut daemon = Daemon::start("engine = \"parrot\"\n[server]\ngrace = 3600");
    let mut stream = daemon.stream(&json!({"prompt": "abc", "max_tokens": 4000}));
    daemon.signal(Signal::TERM);
    while TcpStream::connect(&daemon.address).is_ok() {}
    let second = Instant::now();
    daemon.signal(Signal::TERM);
    // 1 where the machine is so busy that it had to leave things as they were; what is promised then are two seconds.
    assert!([0, 1].contains(&daemon.ended()));
    assert!(second.elapsed() < Duration::from_secs(4), "{:?}", second.elapsed());
    assert_eq!(daemon.log(1)[0]["finish_reason"], "error");
    let mut rest = String::new();
    stream.read_to_string(&mut rest).unwrap();
    assert!(rest.contains("event: error"), "{rest}");
}

#[test]
fn a_second_daemon_on_the_same_log_or_port_says_so() {
    let daemon = Daemon::start(PARROT);
    let same_log = command(daemon.folder.path(), &["--listen", "127.0.0.1:0"]).output().unwrap();
    let said = String::from_utf8_lossy(&same_log.stderr).into_owned();
    assert!(same_log.status.code() == Some(1) && said.contains("in use by another process"), "{said}");
    let other = tempfile::tempdir().unwrap();
    std::fs::copy(daemon.folder.path().join("config.toml"), other.path().join("config.toml")).unwrap();
    let same_port = command(other.path(), &["--listen", &daemon.address]).output().unwrap();
    let said = String::from_utf8_lossy(&same_port.stderr).into_owned();
    assert!(same_port.status.code() == Some(1) && said.contains(&daemon.address), "{said}");
}

#[test]
fn numbers_in_the_log_go_on_after_a_restart() {
    let mut daemon = Daemon::start(PARROT);
    daemon.ask("/generate", &json!({"prompt": "a", "max_tokens": 1}));
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.ended(), 0);
    let again = command(daemon.folder.path(), &["--listen", "127.0.0.1:0"]).stderr(Stdio::piped()).spawn().unwrap();
    let (folder, mut again) = (std::mem::replace(&mut daemon.folder, tempfile::tempdir().unwrap()), again);
    let mut lines = BufReader::new(again.stderr.take().unwrap()).lines().map_while(Result::ok);
    let address = lines.find_map(|line| line.split_whitespace().find_map(|word| word.strip_prefix("http://").map(str::to_owned))).unwrap();
    lines.find(|line| line.contains("Ready")).unwrap();
    let daemon = Daemon { child: again, address, folder, said: channel().1 };
    daemon.ask("/generate", &json!({"prompt": "a", "max_tokens": 1}));
    let numbers: Vec<Value> = daemon.log(2).iter().map(|line| line["seq"].clone()).collect();
    assert_eq!(numbers, [1, 2]);
}

#[test]
fn a_half_sent_header_does_not_hold_a_connection_for_ever() {
    let daemon = Daemon::start("engine = \"parrot\"\n[server]\nheader_timeout = 0.2");
    let mut stream = TcpStream::connect(&daemon.address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"GET /health HTTP/1.1\r\nHost: local").unwrap();
    let mut rest = Vec::new();
    // Closed or reset: either is an end.
    let _ = stream.read_to_end(&mut rest);
    assert_eq!(daemon.ask("/generate", &json!({"prompt": "a", "max_tokens": 1})).0, 200);
}

#[test]
fn a_unix_socket_serves_and_goes_with_the_daemon() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(
        folder.path().join("config.toml"),
        "engine = \"parrot\"\n[server]\nlisten = \"unix:mini.sock\"\n[engines.parrot]\nbackend = \"echo\"\n",
    )
    .unwrap();
    let socket: PathBuf = folder.path().join("mini.sock");
    let mut child = command(folder.path(), &[]).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    lines.find(|line| line.contains("Ready")).unwrap();
    let mut stream = std::os::unix::net::UnixStream::connect(&socket).unwrap();
    stream.write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(!socket.exists());
}

#[test]
fn a_model_that_can_not_be_had_ends_the_daemon_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("config.toml"), "engine = \"gone\"\n[engines.gone]\nbackend = \"gpt2\"\nmodel = \"./nowhere\"\n")
        .unwrap();
    let output = command(folder.path(), &["--listen", "127.0.0.1:0"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(1) && said.contains("nowhere") && !said.contains("panicked"), "{said}");
}

#[test]
fn a_fallback_is_announced_at_start() {
    let configuration = "engine = \"gone\"\n[engines.gone]\nbackend = \"gpt2\"\nmodel = \"./nowhere\"\nfallback = \"parrot\"";
    let daemon = Daemon::start(configuration);
    let (status, answer) = daemon.ask("/generate", &json!({"prompt": "a", "max_tokens": 1}));
    assert_eq!((status, &answer["model"]), (200, &json!("parrot")));
    let status = daemon.client(&["status", "--json"]);
    assert!(String::from_utf8_lossy(&status.stdout).contains("parrot"), "{status:?}");
}

#[test]
fn what_other_machines_can_reach_needs_a_key_or_a_word() {
    let folder = tempfile::tempdir().unwrap();
    let configuration = format!("{PARROT}\n[engines.parrot]\nbackend = \"echo\"\n");
    std::fs::write(folder.path().join("config.toml"), configuration).unwrap();
    for address in ["0.0.0.0:0", "[::]:0"] {
        let output = command(folder.path(), &["--listen", "127.0.0.1:0", "--listen", address]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(&format!("other machines can reach {address}, and there is no API key")), "{said}");
        assert!(!folder.path().join("logs").exists(), "nothing has been opened yet");
    }
    let allowed: [(&[&str], Option<&str>); 2] = [(&["--allow-keyless"], None), (&[], Some("sk-secret"))];
    for (flags, key) in allowed {
        let mut command = command(folder.path(), &[&["--listen", "0.0.0.0:0"], flags].concat());
        let mut child = command.envs(key.map(|key| ("MINIVAULTD_SERVER__KEYS", key))).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
        let said: Vec<String> = lines.by_ref().take_while(|line| !line.contains("curl")).collect();
        assert_eq!(said.iter().any(|line| line.contains("keys         1; a request needs one")), key.is_some(), "{said:?}");
        assert!(!said.iter().any(|line| line.contains("sk-secret")), "{said:?}");
        kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(0));
    }
}

#[test]
fn several_addresses_are_served_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let configuration =
        format!("{PARROT}\n[server]\nlisten = [\"127.0.0.1:0\", \"127.0.0.2:0\", \"unix:a.sock\"]\n[engines.parrot]\nbackend = \"echo\"\n");
    std::fs::write(folder.path().join("config.toml"), configuration).unwrap();
    let mut child = command(folder.path(), &[]).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    let first = lines.find(|line| line.contains("listens on")).unwrap();
    let addresses: Vec<&str> = first.split_whitespace().filter_map(|word| word.strip_prefix("http://")).collect();
    assert!(addresses.len() == 2 && first.contains(" and unix:"), "{first}");
    let health = b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let answered = |mut stream: Box<dyn Stream>| {
        stream.write_all(health).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    };
    for address in addresses {
        answered(Box::new(TcpStream::connect(address).unwrap()));
    }
    answered(Box::new(std::os::unix::net::UnixStream::connect(folder.path().join("a.sock")).unwrap()));
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

#[test]
fn a_foreign_host_is_refused_and_a_key_asked_for_on_the_wire() {
    let daemon = Daemon::start("engine = \"parrot\"\n[server.keys]\nada = \"sk-secret\"");
    let ask = |head: &str| {
        let mut stream = TcpStream::connect(&daemon.address).unwrap();
        stream.write_all(format!("{head}Connection: close\r\n\r\n").as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    assert!(ask("GET /health HTTP/1.1\r\nHost: evil.example\r\n").starts_with("HTTP/1.1 403"));
    assert!(ask("GET /health HTTP/1.1\r\n").starts_with("HTTP/1.1 400"));
    assert!(ask("GET /ready HTTP/1.1\r\nHost: localhost\r\n").contains("\r\nWww-Authenticate: Bearer\r\n"));
    assert!(ask("GET /ready HTTP/1.1\r\nHost: localhost\r\nX-Api-Key: sk-secret\r\n").starts_with("HTTP/1.1 200"));
    let answer = daemon.client(&["generate", "--no-stream", "--key", "sk-secret", "--max-tokens", "1", "abc"]);
    assert_eq!(answer.status.code(), Some(0), "{answer:?}");
    assert_eq!(daemon.log(1)[0]["key"], "ada");
}

/// A socket as systemd has one for those that it starts, and the folder that it lies in.
fn supervisor() -> (TempDir, std::os::unix::net::UnixDatagram) {
    let folder = tempfile::tempdir().unwrap();
    let socket = std::os::unix::net::UnixDatagram::bind(folder.path().join("notify")).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    (folder, socket)
}

#[test]
fn a_supervisor_is_told_when_the_daemon_is_ready_that_it_is_alive_and_when_it_stops() {
    let (folder, socket) = supervisor();
    std::fs::write(folder.path().join("config.toml"), format!("{PARROT}\n[engines.parrot]\nbackend = \"echo\"\n")).unwrap();
    let mut command = command(folder.path(), &["--listen", "127.0.0.1:0"]);
    command.env("NOTIFY_SOCKET", folder.path().join("notify")).env("WATCHDOG_USEC", "100000");
    let mut child = command.stderr(Stdio::null()).spawn().unwrap();
    let hears = |expected: &str| {
        let mut buffer = [0; 256];
        loop {
            let length = socket.recv(&mut buffer).unwrap_or_else(|error| panic!("nobody said {expected}: {error}"));
            if String::from_utf8_lossy(&buffer[..length]).lines().any(|line| line == expected) {
                return;
            }
        }
    };
    hears("READY=1");
    for _ in 0..3 {
        hears("WATCHDOG=1");
    }
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    hears("STOPPING=1");
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_socket_that_somebody_listens_on_already_is_taken_over() {
    let folder = tempfile::tempdir().unwrap();
    // What the file says is left aside then.
    let configuration = format!("{PARROT}\n[server]\nlisten = \"192.0.2.1:1\"\n[engines.parrot]\nbackend = \"echo\"\n");
    std::fs::write(folder.path().join("config.toml"), configuration).unwrap();
    let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = tcp.local_addr().unwrap().to_string();
    let path = folder.path().join("a.sock");
    let unix = std::os::unix::net::UnixListener::bind(&path).unwrap();
    // Sockets are 3 and 4, as systemd hands them over; a shell is what moves them there.
    let script =
        format!("exec 3<&0 4<&1 0</dev/null 1>/dev/null; LISTEN_FDS=2 LISTEN_PID=$$ exec {}", env!("CARGO_BIN_EXE_minivault-echo"));
    let mut shell = Command::new("sh");
    shell.args(["-c", &script]).current_dir(folder.path()).stdin(std::os::fd::OwnedFd::from(tcp)).stdout(std::os::fd::OwnedFd::from(unix));
    let mut child = shell.stderr(Stdio::piped()).spawn().unwrap();
    drop(shell);
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    let first = lines.find(|line| line.contains("listens on")).unwrap();
    assert!(first.contains(&address) && first.contains("a.sock"), "{first}");
    let health = b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let streams: [Box<dyn Stream>; 2] =
        [Box::new(TcpStream::connect(&address).unwrap()), Box::new(std::os::unix::net::UnixStream::connect(&path).unwrap())];
    for mut stream in streams {
        stream.write_all(health).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(path.exists(), "it is another's");
}

#[test]
fn a_daemon_that_is_told_to_end_while_a_model_loads_ends() {
    let folder = tempfile::tempdir().unwrap();
    // A model that takes for ever to come: a pipe that nobody writes to.
    assert!(Command::new("mkfifo").arg(folder.path().join("model.gguf")).status().unwrap().success());
    let configuration = "engine = \"slow\"\n[engines.slow]\nbackend = [\"llama-cpp\", \"candle\"]\nmodel = \"./model.gguf\"\n";
    std::fs::write(folder.path().join("config.toml"), configuration).unwrap();
    let mut child = command(folder.path(), &["--listen", "127.0.0.1:0"]).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    lines.find(|line| line.contains("listens on")).unwrap();
    std::thread::sleep(Duration::from_millis(200));
    let start = Instant::now();
    // Two of a kind could become one on the way.
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    child.wait().unwrap();
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
}
