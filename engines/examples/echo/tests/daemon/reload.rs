//! The configuration, changed under a living daemon.

use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};

use super::kit::{Daemon, PATIENCE, command, configure};

const PARROT: &str = "engine = \"parrot\"\n";

/// What reading it anew has changed.
fn reload(daemon: &Daemon) -> (u16, Value) {
    daemon.ask("/admin/reload", &json!({}))
}

#[test]
fn a_stream_goes_on_while_its_engine_leaves_the_configuration() {
    let daemon = Daemon::start(PARROT);
    let prompt = "abcdefghijklmnopqrstuvwxyz".repeat(8);
    let mut stream = daemon.stream(&json!({"prompt": prompt, "max_tokens": 200, "temperature": 0, "repetition_penalty": 1}));
    let other = "engine = \"raven\"\nbuilt_in_engines = false\n[generation]\nmax_tokens = 3\n[engines.raven]\nbackend = \"echo\"\n";
    std::fs::write(daemon.folder.path().join("config.toml"), other).unwrap();
    let (status, answer) = reload(&daemon);
    let changed: Vec<&str> = answer["changed"].as_array().unwrap().iter().map(|key| key.as_str().unwrap()).collect();
    assert_eq!((status, &answer["needs_restart"]), (200, &json!([])), "{answer}");
    assert!(!changed.iter().any(|key| key.ends_with("load_timeout")), "nobody wrote it: {changed:?}");
    for key in ["engine", "engines.parrot.backend", "engines.raven.backend", "generation.max_tokens"] {
        assert!(changed.contains(&key), "{key} in {changed:?}");
    }
    daemon.hears("has read its configuration anew");
    // Who comes from now on finds the new engine, the new defaults, and the old engine no longer.
    let (status, answer) = daemon.ask("/generate", &json!({"prompt": "abcdef", "temperature": 0, "repetition_penalty": 1}));
    assert_eq!((status, &answer["model"], &answer["response"]), (200, &json!("raven"), &json!("abc")), "{answer}");
    let (status, answer) = daemon.ask("/generate", &json!({"prompt": "abc", "model": "parrot"}));
    assert_eq!((status, &answer["error"]["code"]), (404, &json!("model_not_found")), "{answer}");
    let mut rest = String::new();
    stream.read_to_string(&mut rest).unwrap();
    assert!(rest.contains("event: done") && rest.contains("\"completion_tokens\":200"), "{rest}");
    assert_eq!(daemon.log(2).last().unwrap()["model"], "parrot");
}

#[test]
fn keys_come_and_go_with_a_signal() {
    let daemon = Daemon::start(PARROT);
    let ask = |path| daemon.ask(path, &json!({"prompt": "abc", "max_tokens": 1})).0;
    assert_eq!(ask("/generate"), 200);
    configure(daemon.folder.path(), &format!("{PARROT}[server.keys]\nada = \"secret\"\n"));
    daemon.signal(Signal::HUP);
    let said = daemon.hears("has read its configuration anew");
    assert!(said.contains("server.keys.ada") && !said.contains("secret"), "{said}");
    assert_eq!((ask("/generate"), ask("/admin/reload")), (401, 401));
    configure(daemon.folder.path(), PARROT);
    daemon.signal(Signal::HUP);
    daemon.hears("has read its configuration anew");
    assert_eq!(ask("/generate"), 200);
}

#[test]
fn what_cannot_be_used_changes_nothing_and_what_cannot_change_is_told() {
    let daemon = Daemon::start(PARROT);
    configure(daemon.folder.path(), &format!("{PARROT}[generation]\nmax_tokens = 0\ntemprature = 1\n"));
    let (status, answer) = reload(&daemon);
    let message = answer["error"]["message"].as_str().unwrap();
    assert_eq!((status, &answer["error"]["code"]), (409, &json!("configuration_invalid")));
    assert!(message.contains("config.toml:4:1") && message.contains("temperature"), "{message}");
    assert_eq!(daemon.ask("/generate", &json!({"prompt": "abc", "max_tokens": 1})).0, 200);
    let elsewhere = format!("{PARROT}[server]\ngrace = 7.5\nmax_prompt_bytes = 4\n[log]\nrotate_bytes = 123456\n");
    configure(daemon.folder.path(), &elsewhere);
    for _ in 0..2 {
        let (status, answer) = reload(&daemon);
        assert_eq!((status, &answer["needs_restart"]), (200, &json!(["log.rotate_bytes", "server.grace"])), "{answer}");
    }
    assert_eq!(daemon.ask("/generate", &json!({"prompt": "abcde", "max_tokens": 1})).0, 400);
    assert_eq!(reload(&daemon).1["changed"], json!([]));
}

#[test]
fn a_daemon_whose_terminal_is_closed_ends_as_if_it_were_told_to() {
    let folder = tempfile::tempdir().unwrap();
    configure(folder.path(), PARROT);
    // script gives it a terminal, which is closed when script is killed.
    let program = command(folder.path(), &[]).get_program().to_owned();
    let line = format!("{} --listen 127.0.0.1:0 2>said", program.to_str().unwrap());
    let mut terminal = Command::new("script")
        .args(["--quiet", "--command", &line, "/dev/null"])
        .current_dir(folder.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let said = |part: &str| {
        let start = Instant::now();
        loop {
            let said = std::fs::read_to_string(folder.path().join("said")).unwrap_or_default();
            if said.contains(part) {
                return said;
            }
            assert!(start.elapsed() < PATIENCE, "the daemon never said {part:?}: {said}");
            std::thread::sleep(Duration::from_millis(5));
        }
    };
    said("Ready");
    terminal.kill().unwrap();
    terminal.wait().unwrap();
    let said = said("MiniVault has ended");
    assert!(!said.contains("configuration anew"), "{said}");
}

#[test]
fn where_hangups_are_ignored_they_do_nothing() {
    let folder = tempfile::tempdir().unwrap();
    configure(folder.path(), PARROT);
    let program = command(folder.path(), &[]).get_program().to_owned();
    let mut child = Command::new("nohup")
        .arg(program)
        .args(["--listen", "127.0.0.1:0"])
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    assert!(stderr.any(|line| line.contains("Ready")));
    let signal = |signal| rustix::process::kill_process(rustix::process::Pid::from_child(&child), signal).unwrap();
    signal(Signal::HUP);
    signal(Signal::TERM);
    let rest: Vec<String> = stderr.collect();
    assert!(rest.iter().any(|line| line.contains("has ended")) && !rest.iter().any(|line| line.contains("anew")), "{rest:?}");
    assert!(child.wait().unwrap().success());
}
