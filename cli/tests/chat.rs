//! `minivault chat` from a pipe.
#![allow(clippy::unwrap_used)]

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::process::Stdio;
use std::sync::mpsc::channel;

use serde_json::json;
use support::*;

#[test]
fn each_turn_carries_what_was_said_before() {
    let daemon = Daemon::answering(vec![stream(&chat_events(&["Hello", " Ada 🦀"]), 3), stream(&chat_events(&["Ada."]), 4096)]);
    let input = "I am Ada.\n\nWho am I?\n".as_bytes();
    check(&run_with_input(&daemon.url, &["chat", "--system", "Be kind.", "--seed", "3"], input), 0, "Hello Ada 🦀\nAda.\n", "");
    let first = daemon.request();
    assert_eq!(first.line, "POST /v1/chat/completions HTTP/1.1");
    assert_eq!((&first.body["stream"], &first.body["seed"]), (&json!(true), &json!(3)));
    let (system, user) = (json!({"role": "system", "content": "Be kind."}), json!({"role": "user", "content": "I am Ada."}));
    assert_eq!(first.body["messages"], json!([system, user]));
    let (answer, next) = (json!({"role": "assistant", "content": "Hello Ada 🦀"}), json!({"role": "user", "content": "Who am I?"}));
    assert_eq!(daemon.request().body["messages"], json!([system, user, answer, next]));
}

#[test]
fn commands_are_messages_in_a_pipe() {
    let daemon = Daemon::answering(vec![stream(&chat_events(&["one"]), 4096)]);
    check(&run_with_input(&daemon.url, &["chat"], b"/quit\n"), 0, "one\n", "");
    assert_eq!(daemon.request().body["messages"], json!([{"role": "user", "content": "/quit"}]));
    let help = cli(&["chat", "--help"]).command.output().unwrap();
    assert!(String::from_utf8(help.stdout).unwrap().contains("from a pipe each line is a message"));
}

#[test]
fn an_answer_comes_before_the_next_line_is_read() {
    let daemon = Daemon::answering(vec![stream(&chat_events(&["one"]), 4096), stream(&chat_events(&["two"]), 4096)]);
    let mut cli = cli(&["chat", "--url", &daemon.url]);
    let mut child = cli.command.stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    stdin.write_all(b"first\n").unwrap();
    assert_eq!(lines.next().unwrap().unwrap(), "one");
    stdin.write_all(b"second\n").unwrap();
    assert_eq!(lines.next().unwrap().unwrap(), "two");
    drop(stdin);
    check(&child.wait_with_output().unwrap(), 0, "", "");
}

#[test]
fn a_failed_turn_ends_a_piped_chat() {
    let daemon = Daemon::answering(vec![answer("503 Service Unavailable", &error_json("still loading")), vec![]]);
    check(&run_with_input(&daemon.url, &["chat"], b"a\nb\n"), 1, "", "error: still loading\n");
}

#[test]
fn an_error_in_either_form_fails() {
    let unnamed = format!("data: {}\n\n", error_json("out of luck"));
    for event in [unnamed.clone(), format!("event: error\n{unnamed}")] {
        let daemon = Daemon::answering(vec![stream(&event, 4096)]);
        check(&run_with_input(&daemon.url, &["chat"], b"a\n"), 1, "", "error: out of luck\n");
    }
}

#[test]
fn an_answer_without_done_was_cut_off() {
    let daemon = Daemon::answering(vec![stream(&chat_events(&["par"]).replace("data: [DONE]\n\n", ""), 4096)]);
    check(&run_with_input(&daemon.url, &["chat"], b"a\n"), 1, "par", "the answer was cut off");
}

#[test]
fn a_line_that_is_not_text_is_a_usage_error() {
    check(&run_with_input(NOBODY, &["chat"], b"\xff\n"), 2, "", "not UTF-8");
}

#[test]
fn nobody_to_chat_with_is_3() {
    check(&run_with_input(NOBODY, &["chat"], b"a\n"), 3, "", "`make run`");
}

#[test]
fn ctrl_c_ends_a_piped_chat_also_while_it_waits_for_a_line() {
    let daemon = Daemon::answering(vec![stream(&chat_events(&["one"]), 4096)]);
    let mut cli = cli(&["chat", "--url", &daemon.url]);
    let mut child = cli.command.stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.as_mut().unwrap().write_all(b"first\n").unwrap();
    child.stdout.as_mut().unwrap().read_exact(&mut [0; 4]).unwrap();
    interrupt(&child);
    // Held open, or the closed pipe would end the chat by itself.
    let _stdin = child.stdin.take();
    check(&child.wait_with_output().unwrap(), 130, "", "");
}

#[test]
fn ctrl_c_during_a_piped_answer_hangs_up() {
    let (gone, hung_up) = channel();
    let events = chat_events(&["one", "two"]);
    let first_two: String = events.split_inclusive("\n\n").take(2).collect();
    let daemon = Daemon::answering(vec![vec![stream_head(), chunk(first_two.as_bytes()), Step::AwaitHangup(gone)]]);
    let mut cli = cli(&["chat", "--url", &daemon.url]);
    let mut child = cli.command.stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.as_mut().unwrap().write_all(b"first\n").unwrap();
    child.stdout.as_mut().unwrap().read_exact(&mut [0; 3]).unwrap();
    interrupt(&child);
    check(&child.wait_with_output().unwrap(), 130, "", "");
    hung_up.recv_timeout(PATIENCE).expect("the daemon sees the connection closed");
}
