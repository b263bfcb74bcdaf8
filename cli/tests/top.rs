//! `minivault top` on a real terminal.
#![allow(clippy::unwrap_used)]
#![cfg(target_os = "linux")]

mod support;

use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::json;
use support::screen::Screen;
use support::terminal::{COLUMNS, LINES, Terminal};
use support::*;

/// A look at a daemon whose engine has generated so many tokens.
fn look(tokens: usize) -> [Vec<Step>; 2] {
    let loaded = json!({"model": "m", "source": "s", "fingerprint": "f", "context_length": 8, "determinism": "bitwise", "same_bytes": {},
                        "slots": 4, "active": 2, "queued": 3});
    let model = json!({"id": "smollm2", "object": "model", "created": 0, "owned_by": "minivault",
                       "minivault": {"default": true, "state": "ready", "backend": "gpt2", "loaded": loaded}});
    let metrics = format!("minivault_time_per_output_token_seconds_count{{engine=\"smollm2\"}} {tokens}\n");
    [answer("200 OK", &json!({"object": "list", "data": [model]}).to_string()), answer("200 OK", &metrics)]
}

/// `minivault top` that has drawn its first look.
fn drawn(url: &str, variables: &[(&str, &str)]) -> (Terminal, Screen) {
    let mut terminal = Terminal::in_environment(url, &["top"], variables);
    let mut screen = Screen::new(COLUMNS.into(), LINES.into());
    terminal.draws(&mut screen, "drawn", |screen| screen.text().contains("q leaves"));
    assert!(screen.is_the_other_one() && !screen.cursor && !terminal.is_as_it_was());
    (terminal, screen)
}

/// Checks that nothing of it is left on the terminal.
#[track_caller]
fn left(mut terminal: Terminal, mut screen: Screen, code: i32) {
    terminal.exits_with(code);
    terminal.draws(&mut screen, "given back", |screen| !screen.is_the_other_one() && screen.cursor);
    assert_eq!(screen.text().trim(), "");
    assert!(terminal.is_as_it_was());
}

#[test]
fn it_is_drawn_in_place_and_gives_the_terminal_back() {
    let daemon = Daemon::answering([look(0), look(1000)].into_iter().flatten().collect());
    let (mut terminal, mut screen) = drawn(&daemon.url, &[]);
    assert!(screen.text().starts_with("minivaultd at http://127.0.0.1:") && screen.text().contains(": 0.0 tokens/s\n"));
    assert!(screen.text().contains("   3    2/4  ████████████████████░░░░░░░░░░░░░░░░░░░░"), "{}", screen.text());
    assert!(screen.styled);
    terminal.draws(&mut screen, "a second look", |screen| screen.text().lines().skip(6).any(|line| line.contains('█')));
    // The script is over then: the daemon is gone, and is looked for.
    terminal.draws(&mut screen, "lost", |screen| screen.text().contains("no daemon answers"));
    assert!(!screen.text().contains("ENGINE"), "{}", screen.text());
    terminal.types("xq");
    left(terminal, screen, 0);
}

/// The client in the middle of a look that the daemon doesn't answer.
fn in_a_look() -> (Daemon, Terminal, Screen) {
    let (gone, _) = channel();
    let scripts = look(0).into_iter().chain([vec![Step::AwaitHangup(gone)]]);
    let daemon = Daemon::answering(scripts.collect());
    let (terminal, screen) = drawn(&daemon.url, &[]);
    (0..3).for_each(|_| drop(daemon.request()));
    (daemon, terminal, screen)
}

#[test]
fn a_key_is_heard_while_the_daemon_is_asked() {
    for (key, code) in [("q", 0), ("\u{1b}", 0), ("\u{3}", 130)] {
        let (_daemon, mut terminal, screen) = in_a_look();
        let typed = Instant::now();
        terminal.types(key);
        left(terminal, screen, code);
        // Less than the daemon has for an answer.
        assert!(typed.elapsed() < Duration::from_secs(5), "{key:?}: {:?}", typed.elapsed());
    }
}

#[test]
fn signals_leave_the_terminal_as_it_was() {
    for (sent, code) in [(Signal::INT, 130), (Signal::TERM, 143), (Signal::HUP, 129)] {
        let (_daemon, terminal, screen) = in_a_look();
        signal(&terminal.child, sent);
        left(terminal, screen, code);
    }
}

#[test]
fn keys_do_not_put_off_the_next_look() {
    let daemon = Daemon::answering([look(0), look(1000)].into_iter().flatten().collect());
    let (mut terminal, screen) = drawn(&daemon.url, &[]);
    (0..2).for_each(|_| drop(daemon.request()));
    let begun = Instant::now();
    while daemon.requests.recv_timeout(Duration::from_millis(100)).is_err() {
        assert!(begun.elapsed() < PATIENCE, "there is no second look while somebody types");
        terminal.types("x");
    }
    terminal.types("q");
    left(terminal, screen, 0);
}

#[test]
fn another_size_is_drawn_at_once() {
    let (_daemon, mut terminal, screen) = in_a_look();
    assert!(screen.text().contains("BETWEEN TOKENS"));
    terminal.resize(40, 10);
    let mut screen = Screen::new(40, 10);
    // In a look that isn't answered, only the window can have been the reason.
    terminal.draws(&mut screen, "drawn anew", |screen| screen.text().contains("q leaves"));
    let lines: Vec<String> = screen.text().lines().map(str::to_owned).collect();
    assert!(lines.iter().any(|line| line.contains("SLOTS")) && !screen.text().contains("BETWEEN"), "{lines:#?}");
    assert_eq!(lines[9], "q leaves");
    terminal.types("q");
    terminal.exits_with(0);
}

#[test]
fn no_color_leaves_styles_out() {
    let daemon = Daemon::answering(look(0).into_iter().collect());
    let (mut terminal, screen) = drawn(&daemon.url, &[("NO_COLOR", "1")]);
    assert!(!screen.styled);
    terminal.types("q");
    left(terminal, screen, 0);
}

#[test]
fn a_pipe_is_told_one_second_as_lines() {
    let daemon = Daemon::answering([look(0), look(1000)].into_iter().flatten().collect());
    let output = run(&daemon.url, &["top"]);
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert!(output.status.success() && !text.contains('\x1b') && lines.len() == 4, "{text}");
    let cells: Vec<&str> = lines[3].split_whitespace().collect();
    assert_eq!((cells[0], cells[1], cells[8]), ("smollm2", "ready", "2/4"), "{text}");
    let speed: f64 = cells[2].parse().unwrap();
    assert!(speed > 0.0 && speed <= 1000.0, "{text}");
    check(&run(NOBODY, &["top"]), 3, "", "`make run`");
}
