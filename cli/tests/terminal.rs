//! The menu and the conversation on a real terminal.
#![allow(clippy::unwrap_used)]
#![cfg(target_os = "linux")]

mod support;

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Instant;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use serde_json::json;
use support::*;

/// The CLI on a terminal of its own.
struct Terminal {
    child: Child,
    keyboard: File,
    screen: Receiver<Vec<u8>>,
    seen: String,
    home: tempfile::TempDir,
}

impl Terminal {
    fn running(url: &str, arguments: &[&str]) -> Self {
        Self::in_environment(url, arguments, &[])
    }

    fn in_environment(url: &str, arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        let controller = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&controller).unwrap();
        unlockpt(&controller).unwrap();
        tcsetwinsize(&controller, Winsize { ws_row: 24, ws_col: 200, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
        let name = ptsname(&controller, Vec::new()).unwrap();
        let user = || Stdio::from(OpenOptions::new().read(true).write(true).open(Path::new(name.to_str().unwrap())).unwrap());
        let mut cli = cli(arguments);
        let child = cli
            .command
            .env("MINIVAULT_URL", url)
            .envs(variables.iter().copied())
            .stdin(user())
            .stdout(user())
            .stderr(user())
            .spawn()
            .unwrap();
        // The command holds the terminal open; without it, the screen ends when the child does.
        let home = cli.home;
        drop(cli.command);
        let keyboard = File::from(controller);
        let mut reader = keyboard.try_clone().unwrap();
        let (sender, screen) = channel();
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(length @ 1..) = reader.read(&mut buffer) {
                if sender.send(buffer[..length].to_vec()).is_err() {
                    break;
                }
            }
        });
        Self { child, keyboard, screen, seen: String::new(), home }
    }

    /// Waits until `text` is on the screen, and forgets what came before.
    #[track_caller]
    fn shows(&mut self, text: &str) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(place) = self.seen.find(text) {
                self.seen.drain(..place + text.len());
                return;
            }
            match self.screen.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(bytes) => self.seen.push_str(&String::from_utf8_lossy(&bytes)),
                Err(error) => panic!("never shows {text:?} ({error}); shows {:?}", self.seen),
            }
        }
    }

    fn types(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
    }

    #[track_caller]
    fn exits_with(&mut self, code: i32) {
        assert_eq!(self.child.wait().unwrap().code(), Some(code), "{:?}", self.seen);
    }
}

fn ready() -> Vec<Step> {
    answer("200 OK", r#"{"status":"ready","engine":"smollm2"}"#)
}

#[test]
fn the_menu_generates_and_streams() {
    let mut whole = done_json();
    whole["response"] = json!("a whole world");
    let streamed = stream(&(piece("a streamed ") + &piece("world") + &done()), 4096);
    let daemon = Daemon::answering(vec![answer("200 OK", &whole.to_string()), streamed]);
    let mut terminal = Terminal::running(&daemon.url, &[]);
    terminal.shows("1  generate");
    terminal.shows("2  stream");
    terminal.shows("Choose 1 or 2");
    terminal.types("1\r");
    terminal.shows("Prompt: ");
    terminal.types("Hello\r");
    terminal.shows("a whole world\r\n");
    terminal.shows("seed 7");
    terminal.shows("Choose 1 or 2");
    terminal.types("2\r");
    terminal.shows("Prompt: ");
    terminal.types("Hello\r");
    terminal.shows("a streamed world\r\n");
    terminal.shows("Choose 1 or 2");
    terminal.types("\x04");
    terminal.exits_with(0);
    assert_eq!(daemon.request().line, "POST /generate HTTP/1.1");
    let request = daemon.request();
    assert_eq!((request.line.as_str(), request.body), ("POST /stream-generate HTTP/1.1", json!({"prompt": "Hello"})));
}

#[test]
fn the_menu_tells_that_no_daemon_is_there() {
    let mut terminal = Terminal::running(NOBODY, &[]);
    terminal.shows("Choose 1 or 2");
    terminal.types("1\r");
    terminal.shows("Prompt: ");
    terminal.types("Hello\r");
    terminal.shows("`make run`");
    terminal.exits_with(3);
}

#[test]
fn ctrl_c_stops_the_answer_and_not_the_chat() {
    let (gone, hung_up) = channel();
    let opening: String = chat_events(&["half an answer", "never"]).split_inclusive("\n\n").take(2).collect();
    let stuck = vec![stream_head(), chunk(opening.as_bytes()), Step::AwaitHangup(gone)];
    let daemon = Daemon::answering(vec![ready(), stuck, stream(&chat_events(&["a whole one"]), 4096)]);
    let mut terminal = Terminal::running(&daemon.url, &["chat"]);
    terminal.shows("ready: smollm2");
    terminal.shows("> ");
    terminal.types("one\r");
    terminal.shows("half an answer");
    interrupt(&terminal.child);
    terminal.shows("[stopped]");
    terminal.shows("> ");
    // At the prompt nothing of the client runs but the runtime's worker, and it has to close the connection.
    hung_up.recv_timeout(PATIENCE).expect("the daemon sees the connection closed");
    terminal.types("two\r");
    terminal.shows("a whole one");
    terminal.shows("> ");
    terminal.types("/quit\r");
    terminal.exits_with(0);
    let bodies: Vec<_> = (0..3).map(|_| daemon.request().body).collect();
    let said: Vec<_> = bodies[2]["messages"].as_array().unwrap().iter().map(|message| message["content"].as_str().unwrap()).collect();
    assert_eq!(said, ["one", "half an answer", "two"]);
}

#[test]
fn a_failed_turn_leaves_the_chat_as_it_was() {
    let refusal = answer("429 Too Many Requests", &error_json("the queue is full"));
    let daemon = Daemon::answering(vec![ready(), refusal, stream(&chat_events(&["fine"]), 4096)]);
    let mut terminal = Terminal::running(&daemon.url, &["chat"]);
    terminal.shows("> ");
    terminal.types("one\r");
    terminal.shows("error: the queue is full");
    terminal.shows("> ");
    terminal.types("two\r");
    terminal.shows("fine");
    terminal.shows("> ");
    terminal.types("\x04");
    terminal.exits_with(0);
    let bodies: Vec<_> = (0..3).map(|_| daemon.request().body).collect();
    assert_eq!(bodies[2]["messages"], json!([{"role": "user", "content": "two"}]));
}

#[test]
fn clear_forgets_and_ctrl_c_at_the_prompt_leaves() {
    let daemon = Daemon::answering(vec![ready(), stream(&chat_events(&["fine"]), 4096), stream(&chat_events(&["good"]), 4096)]);
    let mut terminal = Terminal::running(&daemon.url, &["chat", "--system", "S"]);
    for (typed, shown) in
        [("one", "fine"), ("/clear", "forgotten"), ("/help", "/quit"), ("/sing", "/sing is no command"), (" /two", "good")]
    {
        terminal.shows("> ");
        terminal.types(&format!("{typed}\r"));
        terminal.shows(shown);
    }
    terminal.shows("> ");
    terminal.types("\x03");
    terminal.exits_with(130);
    let bodies: Vec<_> = (0..3).map(|_| daemon.request().body).collect();
    assert_eq!(bodies[2]["messages"], json!([{"role": "system", "content": "S"}, {"role": "user", "content": " /two"}]));
}

#[test]
fn a_conversation_is_steered_retried_and_saved() {
    let models = json!({"object": "list", "data": [
        {"id": "smollm2", "object": "model", "created": 0, "owned_by": "minivault"},
        {"id": "other", "object": "model", "created": 0, "owned_by": "minivault"},
    ]});
    let models = || answer("200 OK", &models.to_string());
    let said = |text: &str| stream(&chat_events(&[text]), 4096);
    let refused = answer("400 Bad Request", &error_json("top_p must lie between 0 and 1, not 7"));
    let daemon = Daemon::answering(vec![ready(), said("fine"), models(), models(), refused, said("better")]);
    let mut terminal = Terminal::running(&daemon.url, &["chat"]);
    let file = terminal.home.path().join("talk.md");
    let save = format!("/save {}", file.display());
    let replace = save.replace("/save", "/save!");
    for (typed, shown) in [
        ("/retry", "nothing was asked yet"),
        ("/set seed 7", "seed 7"),
        ("one\\", ". "),
        (" two", "[smollm2: seed 7]"),
        ("/model nobody", "the daemon has no engine \"nobody\"; it has smollm2, other"),
        ("/model other", "other is asked"),
        ("/system Be kind.", "told before"),
        ("/set temperature warm", "temperature is a number, not \"warm\""),
        ("/set top_p 7", "top_p 7"),
        // The daemon's own words, and the first answer is still there.
        ("/retry", "error: top_p must lie between 0 and 1, not 7"),
        ("/set top_p -", "seed 7"),
        (save.as_str(), "saved as"),
        ("/retry", "better"),
        (save.as_str(), "is there already"),
        (replace.as_str(), "saved as"),
    ] {
        if typed != " two" {
            terminal.shows("> ");
        }
        terminal.types(&format!("{typed}\r"));
        terminal.shows(shown);
    }
    terminal.shows("> ");
    terminal.types("/quit\r");
    terminal.exits_with(0);
    let bodies: Vec<_> = (0..6).map(|_| daemon.request().body).collect();
    let question = json!({"role": "user", "content": "one\n two"});
    assert_eq!((&bodies[1]["messages"], &bodies[1]["seed"]), (&json!([question]), &json!(7)));
    assert_eq!((&bodies[4]["top_p"], &bodies[5]["top_p"]), (&json!(7.0), &serde_json::Value::Null));
    assert_eq!(bodies[5]["model"], "other");
    assert_eq!(bodies[5]["messages"], json!([{"role": "system", "content": "Be kind."}, question]));
    assert!(bodies[5]["seed"].is_u64() && bodies[5]["seed"] != 7, "the same seed would give the same answer: {}", bodies[5]["seed"]);
    let saved = std::fs::read_to_string(&file).unwrap();
    assert_eq!(saved, "## System\n\nBe kind.\n\n## User\n\none\n two\n\n## Assistant\n\nbetter\n");
}

#[test]
fn tab_completes_a_command() {
    let daemon = Daemon::answering(vec![ready()]);
    let mut terminal = Terminal::running(&daemon.url, &["chat"]);
    terminal.shows("> ");
    terminal.types("/he\t");
    terminal.shows("/help");
    terminal.types("\r");
    terminal.shows("/retry             another answer");
    terminal.shows("> ");
    terminal.types("/q\t\r");
    terminal.exits_with(0);
}

#[test]
fn markdown_is_styled_on_a_terminal_that_has_styles() {
    let said = || stream(&chat_events(&["# Ti", "tle\n- **bo", "ld** \u{1b}[2J*"]), 4096);
    for (variables, shown) in [
        (&[][..], "\u{1b}[0;1;4mTitle\u{1b}[0m\r\n• \u{1b}[0;1mbold\u{1b}[0m \u{fffd}[2J*\r\n"),
        (&[("NO_COLOR", "1")][..], "# Title\r\n- **bold** \u{fffd}[2J*\r\n"),
    ] {
        let daemon = Daemon::answering(vec![ready(), said()]);
        let mut terminal = Terminal::in_environment(&daemon.url, &["chat"], variables);
        terminal.shows("> ");
        terminal.types("one\r");
        terminal.shows(shown);
        terminal.shows("> ");
        terminal.types("/quit\r");
        terminal.exits_with(0);
    }
}

#[test]
fn history_is_kept_between_runs_and_for_the_user_alone() {
    use std::os::unix::fs::PermissionsExt;
    let daemon = Daemon::answering(vec![ready(), stream(&chat_events(&["fine"]), 4096)]);
    let mut terminal = Terminal::running(&daemon.url, &["chat"]);
    terminal.shows("> ");
    terminal.types("remember me\r");
    terminal.shows("fine");
    terminal.shows("> ");
    // Written with the line, not at the end: this end is none that a program can prepare for.
    terminal.child.kill().unwrap();
    terminal.child.wait().unwrap();
    let path = terminal.home.path().join("state/minivault/history");
    assert!(std::fs::read_to_string(&path).unwrap().contains("remember me"));
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_chat_without_a_daemon_ends_before_anything_is_typed() {
    let mut terminal = Terminal::running(NOBODY, &["chat"]);
    terminal.shows("no daemon answers at http://127.0.0.1:1");
    terminal.exits_with(3);
}

#[test]
fn a_streamed_answer_ends_its_line_and_cannot_steer_the_terminal() {
    let daemon = Daemon::answering(vec![stream(&(piece("wor\u{1b}[2J") + &piece("ld") + &done()), 4096)]);
    let mut terminal = Terminal::running(&daemon.url, &["generate", "Hello"]);
    terminal.shows("wor\u{fffd}[2Jld\r\n\u{1b}[2m[distilgpt2: 2 tokens in ");
    terminal.exits_with(0);
}

#[test]
fn a_refusal_cannot_steer_the_terminal_either() {
    let daemon = Daemon::answering(vec![answer("400 Bad Request", &error_json("bad \u{1b}[2J"))]);
    let mut terminal = Terminal::running(&daemon.url, &["generate", "Hello"]);
    terminal.shows("error: bad \u{fffd}[2J");
    terminal.exits_with(1);
}

#[test]
fn no_color_leaves_the_colour_out() {
    let daemon = Daemon::answering(vec![stream(&(piece("world") + &done()), 4096)]);
    let mut terminal = Terminal::in_environment(&daemon.url, &["generate", "Hello"], &[("NO_COLOR", "1")]);
    terminal.shows("world\r\n[distilgpt2: 2 tokens in ");
    terminal.exits_with(0);
}

#[test]
fn quiet_leaves_the_remark_out() {
    let daemon = Daemon::answering(vec![stream(&(piece("world") + &done()), 4096)]);
    let mut terminal = Terminal::running(&daemon.url, &["-q", "generate", "Hello"]);
    terminal.shows("world\r\n");
    terminal.exits_with(0);
    let rest: Vec<u8> = terminal.screen.iter().flatten().collect();
    assert_eq!((terminal.seen.as_str(), String::from_utf8_lossy(&rest).as_ref()), ("", ""));
}

#[test]
fn no_prompt_on_a_terminal_is_a_usage_error() {
    let mut terminal = Terminal::running(NOBODY, &["generate"]);
    terminal.shows("no prompt: give one as an argument, or pipe it in");
    terminal.exits_with(2);
}

/// A look at a daemon whose engine has generated so many tokens.
fn look(tokens: usize) -> [Vec<Step>; 2] {
    let loaded = json!({"model": "m", "source": "s", "fingerprint": "f", "context_length": 8, "determinism": "bitwise", "same_bytes": {},
                        "slots": 4, "active": 2, "queued": 3});
    let model = json!({"id": "smollm2", "object": "model", "created": 0, "owned_by": "minivault",
                       "minivault": {"default": true, "state": "ready", "backend": "gpt2", "loaded": loaded}});
    let metrics = format!("minivault_time_per_output_token_seconds_count{{engine=\"smollm2\"}} {tokens}\n");
    [answer("200 OK", &json!({"object": "list", "data": [model]}).to_string()), answer("200 OK", &metrics)]
}

#[test]
fn top_draws_in_place_and_gives_the_terminal_back() {
    let daemon = Daemon::answering([look(0), look(1000)].into_iter().flatten().collect());
    let mut terminal = Terminal::running(&daemon.url, &["top"]);
    terminal.shows("\u{1b}[?1049h");
    terminal.shows(": 0.0 tokens/s");
    terminal.shows("2/4  ████████████");
    // After a second. The script is over then: the daemon is gone, and is looked for.
    terminal.shows("\u{1b}[H");
    terminal.shows("no daemon answers");
    terminal.types("xq");
    terminal.shows("\u{1b}[?25h\u{1b}[?1049l");
    terminal.exits_with(0);
}

#[test]
fn ctrl_c_leaves_top_and_the_terminal_as_it_was() {
    let daemon = Daemon::answering(look(0).into_iter().collect());
    let mut terminal = Terminal::running(&daemon.url, &["top"]);
    terminal.shows("q leaves");
    interrupt(&terminal.child);
    terminal.shows("\u{1b}[?1049l");
    terminal.exits_with(130);
}

#[test]
fn top_tells_a_pipe_one_second_as_lines() {
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
