//! The menu and the conversation on a real terminal.
#![allow(clippy::unwrap_used)]
#![cfg(target_os = "linux")]

mod support;

use std::sync::mpsc::channel;

use serde_json::{Value, json};
use support::terminal::Terminal;
use support::*;

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
fn a_chat_greets_with_the_engine_that_was_asked_for() {
    let models = json!({"object": "list", "data": [
        {"id": "a", "object": "model", "created": 0, "owned_by": "minivault",
         "minivault": {"default": true, "state": "ready", "backend": "gpt2"}},
        {"id": "b", "object": "model", "created": 0, "owned_by": "minivault",
         "minivault": {"default": false, "state": "loading", "backend": "gpt2"}},
    ]});
    let models = || answer("200 OK", &models.to_string());
    let daemon = Daemon::answering(vec![models(), models()]);
    let mut terminal = Terminal::running(&daemon.url, &["chat", "--model", "b"]);
    terminal.shows("loading: b; /help");
    terminal.shows("> ");
    terminal.types("\x04");
    terminal.exits_with(0);
    let mut terminal = Terminal::running(&daemon.url, &["chat", "--model", "c"]);
    terminal.shows("the daemon has no engine \"c\"; it has a, b");
    terminal.exits_with(2);
}

#[test]
fn what_is_typed_during_an_answer_is_seen_at_the_next_prompt() {
    let stuck = |text: &str| {
        let (gone, _) = channel();
        let opening: String = chat_events(&[text, "never"]).split_inclusive("\n\n").take(2).collect();
        vec![stream_head(), chunk(opening.as_bytes()), Step::AwaitHangup(gone)]
    };
    let daemon = Daemon::answering(vec![ready(), stuck("half"), stream(&chat_events(&["whole"]), 4096), stuck("third")]);
    let mut terminal = Terminal::running(&daemon.url, &["chat"]);
    terminal.shows("> ");
    terminal.types("one\r");
    terminal.shows("half");
    terminal.types("two\n");
    interrupt(&terminal.child);
    terminal.shows("[stopped]");
    terminal.shows("whole");
    terminal.shows("> ");
    terminal.types("three\r");
    terminal.shows("third");
    assert!(!terminal.is_as_it_was(), "the answer is being written");
    signal(&terminal.child, rustix::process::Signal::TERM);
    terminal.exits_with(143);
    assert!(terminal.is_as_it_was());
    let bodies: Vec<Value> = (0..4).map(|_| daemon.request().body).collect();
    assert_eq!(bodies[3]["messages"][2]["content"], "two");
}

#[test]
fn all_lines_that_are_typed_ahead_are_heard() {
    let daemon = Daemon::answering(vec![ready(), stream(&chat_events(&["fine"]), 4096), stream(&chat_events(&["good"]), 4096)]);
    let mut terminal = Terminal::running(&daemon.url, &["chat"]);
    terminal.shows("> ");
    terminal.types("\"\"\"\rone\rtwo\"\"\"\rthree\r");
    terminal.shows("fine");
    terminal.shows("good");
    let _ready = daemon.request();
    let said: Vec<Value> =
        (0..2).map(|_| daemon.request().body["messages"].as_array().unwrap().last().unwrap()["content"].clone()).collect();
    assert_eq!(said, ["one\ntwo", "three"]);
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
fn a_turn_that_does_not_fit_is_told_with_what_helps() {
    let full = "the prompt has 70 tokens; the model's context holds 64, at least one of them for the answer";
    let daemon = Daemon::answering(vec![ready(), stream(&chat_events(&["fine"]), 4096), answer("400 Bad Request", &error_json(full))]);
    let mut terminal = Terminal::running(&daemon.url, &["chat"]);
    for (typed, shown) in [("one", "fine"), ("two", "/clear forgets what was said"), ("/clear", "forgotten"), ("/quit", "")] {
        terminal.shows("> ");
        terminal.types(&format!("{typed}\r"));
        terminal.shows(shown);
    }
    terminal.exits_with(0);
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
        {"id": "smollm2", "object": "model", "created": 0, "owned_by": "minivault",
         "minivault": {"default": true, "state": "ready", "backend": "llama-cpp"}},
        {"id": "other", "object": "model", "created": 0, "owned_by": "minivault",
         "minivault": {"default": false, "state": "ready", "backend": "gpt2", "answered_by": "smollm2"}},
    ]});
    let models = || answer("200 OK", &models.to_string());
    let said = |text: &str| stream(&chat_events(&[text]), 4096);
    let refused = answer("400 Bad Request", &error_json("top_p must lie between 0 and 1, not 7"));
    let daemon = Daemon::answering(vec![ready(), said("fine"), models(), models(), models(), refused, said("better")]);
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
        ("/model", "* smollm2  ready\r\n  other  smollm2 answers"),
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
    let bodies: Vec<_> = (0..7).map(|_| daemon.request().body).collect();
    let question = json!({"role": "user", "content": "one\n two"});
    assert_eq!((&bodies[1]["messages"], &bodies[1]["seed"]), (&json!([question]), &json!(7)));
    assert_eq!((&bodies[5]["top_p"], &bodies[6]["top_p"]), (&json!(7.0), &Value::Null));
    assert_eq!(bodies[6]["model"], "other");
    assert_eq!(bodies[6]["messages"], json!([{"role": "system", "content": "Be kind."}, question]));
    assert!(bodies[6]["seed"].is_u64() && bodies[6]["seed"] != 7, "the same seed would give the same answer: {}", bodies[6]["seed"]);
    let saved = std::fs::read_to_string(&file).unwrap();
    assert_eq!(saved, "## System\n\nBe kind.\n\n## User\n\none\n two\n\n## Assistant\n\nbetter\n");
}

#[test]
fn slips_are_recognised_and_an_answer_that_was_cut_says_so() {
    let cut = chat_events(&["half"]).replace("\"stop\"", "\"length\"");
    let daemon = Daemon::answering(vec![ready(), stream(&cut, 4096), stream(&cut, 4096)]);
    let mut terminal = Terminal::running(&daemon.url, &["chat", "--seed", "7"]);
    for (typed, shown) in [
        ("/modle other", "/modle other is no command; did you mean /model?"),
        ("/set temprature 1", "\"temprature\" can't be set; did you mean temperature?"),
        ("one", "[smollm2: seed 7; cut at the context's end; /clear makes room]"),
        ("/set max_tokens 3", "max_tokens 3"),
        ("two", "[smollm2: seed 7; cut by max_tokens 3]"),
    ] {
        terminal.shows("> ");
        terminal.types(&format!("{typed}\r"));
        terminal.shows(shown);
    }
    terminal.shows("> ");
    terminal.types("/quit\r");
    terminal.exits_with(0);
}

#[test]
fn a_long_replay_is_seen_to_be_under_way() {
    let (gone, _) = channel();
    let daemon = Daemon::answering(vec![vec![Step::AwaitHangup(gone)]]);
    let mut terminal = Terminal::running(&daemon.url, &["replay", "a"]);
    terminal.shows("running it again · 00:00:00");
    interrupt(&terminal.child);
    terminal.exits_with(130);
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
