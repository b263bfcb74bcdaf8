//! `minivault generate` as a process.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs::OpenOptions;
use std::io::Read;
use std::process::Stdio;
use std::sync::mpsc::channel;

use minivault_wire::native::{Done, GenerateAnswer, Piece};
use serde_json::json;
use support::*;

fn whole_json(text: &str) -> String {
    let mut answer = done_json();
    answer["response"] = json!(text);
    answer.to_string()
}

#[test]
fn a_stream_joins_to_exactly_the_pieces() {
    let daemon = Daemon::answering(vec![stream(&(piece(" wor") + ": comment\n\n" + &piece("ld\n\n") + &piece("!") + &done()), 4096)]);
    check(&run(&daemon.url, &["generate", "Hello"]), 0, " world\n\n!", "");
    let request = daemon.request();
    assert_eq!(request.line, "POST /stream-generate HTTP/1.1");
    assert_eq!(request.body, json!({"prompt": "Hello"}));
}

#[test]
fn pieces_survive_being_split_anywhere_also_inside_an_emoji() {
    for size in 1..=7 {
        let events = piece("a🦀b") + &piece("日本") + &done().replace('\n', "\r\n");
        let daemon = Daemon::answering(vec![stream(&events, size)]);
        check(&run(&daemon.url, &["generate", "Hello"]), 0, "a🦀b日本", "");
    }
}

#[test]
fn events_of_a_later_version_are_passed_over() {
    let daemon = Daemon::answering(vec![stream(&(piece("a") + "event: progress\ndata: 50%\n\n" + &piece("b") + &done()), 4096)]);
    check(&run(&daemon.url, &["generate", "Hello"]), 0, "ab", "");
}

#[test]
fn no_stream_asks_for_the_whole_answer() {
    let daemon = Daemon::answering(vec![answer("200 OK", &whole_json(" world"))]);
    check(&run(&daemon.url, &["generate", "--no-stream", "Hello"]), 0, " world", "");
    assert_eq!(daemon.request().line, "POST /generate HTTP/1.1");
}

#[test]
fn json_is_the_daemons_answer_on_one_line() {
    let json = whole_json(" wörld\n");
    let daemon = Daemon::answering(vec![answer("200 OK", &format!("{json}\n"))]);
    let output = run(&daemon.url, &["generate", "--json", "Hello"]);
    check(&output, 0, &format!("{json}\n"), "");
    let parsed: GenerateAnswer = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((parsed.response.as_str(), parsed.done.seed), (" wörld\n", 7));
}

#[test]
fn json_with_stream_is_one_event_a_line() {
    let daemon = Daemon::answering(vec![stream(&(piece("a\n") + &piece("b") + &done()), 5)]);
    let output = run(&daemon.url, &["generate", "--json", "--stream", "Hello"]);
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 3, "{text}");
    assert_eq!(serde_json::from_str::<Piece>(lines[0]).unwrap().token, "a\n");
    assert_eq!(serde_json::from_str::<Done>(lines[2]).unwrap().finish_reason, "stop");
}

#[test]
fn every_flag_reaches_the_daemon() {
    let daemon = Daemon::answering(vec![answer("200 OK", &whole_json(""))]);
    let flags = "generate --no-stream --model m --max-tokens 5 --temperature 0.7 --top-k 3 --top-p 0.95 --min-p 0.1 \
                 --repetition-penalty 1.1 --seed 18446744073709551615 --stop a --stop -b --echo Hello";
    check(&run(&daemon.url, &flags.split_whitespace().collect::<Vec<_>>()), 0, "", "");
    // As text: a float that took the way over f64 would read 0.699999988079071.
    assert_eq!(
        daemon.request().body,
        serde_json::from_str::<serde_json::Value>(
            r#"{"prompt":"Hello","model":"m","max_tokens":5,"temperature":0.7,"top_k":3,"top_p":0.95,"min_p":0.1,
                "repetition_penalty":1.1,"seed":18446744073709551615,"stop":["a","-b"],"echo":true}"#
        )
        .unwrap()
    );
}

#[test]
fn a_pipe_is_the_prompt() {
    for arguments in [&["generate"][..], &["generate", "-"]] {
        let daemon = Daemon::answering(vec![stream(&done(), 4096)]);
        check(&run_with_input(&daemon.url, arguments, "Grüße\nan alle\n".as_bytes()), 0, "", "");
        assert_eq!(daemon.request().body, json!({"prompt": "Grüße\nan alle"}));
    }
}

#[test]
fn an_argument_leaves_the_pipe_alone() {
    let daemon = Daemon::answering(vec![stream(&done(), 4096)]);
    check(&run_with_input(&daemon.url, &["generate", "Hello"], b"\xff"), 0, "", "");
    assert_eq!(daemon.request().body, json!({"prompt": "Hello"}));
}

#[test]
fn senseless_input_is_a_usage_error() {
    check(&run(NOBODY, &["generate"]), 2, "", "the prompt is empty");
    check(&run(NOBODY, &["generate", ""]), 2, "", "the prompt is empty");
    check(&run_with_input(NOBODY, &["generate"], b"\n"), 2, "", "the prompt is empty");
    check(&run_with_input(NOBODY, &["generate"], b"a\xffb"), 2, "", "byte 0xff at offset 1");
    check(&run(NOBODY, &["generate", "--temperature", "warm", "Hello"]), 2, "", "warm");
    check(&run(NOBODY, &["generate", "--temperature", "nan", "Hello"]), 2, "", "finite");
    check(&run(NOBODY, &["generate", "--stream", "--no-stream", "Hello"]), 2, "", "--no-stream");
}

#[test]
fn a_refusal_is_told_in_the_daemons_words() {
    let words = "temperature must be between 0 and 2, got -1";
    for arguments in [&["generate", "--temperature", "-1", "x"][..], &["generate", "--json", "x"], &["generate", "--no-stream", "x"]] {
        let daemon = Daemon::answering(vec![answer("400 Bad Request", &error_json(words))]);
        check(&run(&daemon.url, arguments), 1, "", &format!("error: {words}\n"));
    }
}

#[test]
fn an_error_in_the_middle_fails_after_what_was_said() {
    let events = piece("par") + &format!("event: error\ndata: {}\n\n", error_json("the engine failed"));
    let daemon = Daemon::answering(vec![stream(&events, 4096)]);
    check(&run(&daemon.url, &["generate", "Hello"]), 1, "par", "error: the engine failed\n");
}

#[test]
fn a_stream_without_its_last_event_was_cut_off() {
    let proper_end = stream(&piece("par"), 4096);
    let broken = vec![stream_head(), chunk(piece("par").as_bytes())];
    let in_the_last_event = stream(&(piece("par") + done().trim_end()), 4096);
    for script in [proper_end, broken, in_the_last_event] {
        let daemon = Daemon::answering(vec![script]);
        check(&run(&daemon.url, &["generate", "Hello"]), 1, "par", "error: the answer was cut off: ");
    }
}

#[test]
fn an_event_that_makes_no_sense_is_shown() {
    let daemon = Daemon::answering(vec![stream("data: {\"tokken\": 1}\n\n", 4096)]);
    check(&run(&daemon.url, &["generate", "Hello"]), 1, "", "{\"tokken\": 1}");
}

#[test]
fn ctrl_c_ends_with_130_and_hangs_up() {
    let (gone, hung_up) = channel();
    let daemon = Daemon::answering(vec![vec![stream_head(), chunk(piece("first").as_bytes()), Step::AwaitHangup(gone)]]);
    let mut cli = cli(&["generate", "Hello", "--url", &daemon.url]);
    let mut child = cli.command.spawn().unwrap();
    let mut first = [0; 5];
    child.stdout.as_mut().unwrap().read_exact(&mut first).unwrap();
    interrupt(&child);
    let output = child.wait_with_output().unwrap();
    check(&output, 130, "", "");
    assert_eq!(&first, b"first");
    hung_up.recv_timeout(PATIENCE).expect("the daemon sees the connection closed");
}

#[test]
fn a_reader_that_had_enough_is_no_error() {
    let (gone, hung_up) = channel();
    let (more, wait) = (piece("and more").repeat(20_000), Step::AwaitHangup(gone));
    let daemon = Daemon::answering(vec![vec![stream_head(), chunk(piece("first").as_bytes()), chunk(more.as_bytes()), wait]]);
    let mut cli = cli(&["generate", "Hello", "--url", &daemon.url]);
    let mut child = cli.command.spawn().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    stdout.read_exact(&mut [0; 5]).unwrap();
    drop(stdout);
    // The rest is more than a pipe holds, so it notices in this chunk; the end of the stream must not be needed.
    check(&child.wait_with_output().unwrap(), 0, "", "");
    hung_up.recv_timeout(PATIENCE).expect("the daemon sees the connection closed");
}

#[test]
fn an_answer_that_cannot_be_written_is_a_failure() {
    let Ok(full) = OpenOptions::new().write(true).open("/dev/full") else {
        println!("skipped: this system has no /dev/full");
        return;
    };
    let daemon = Daemon::answering(vec![stream(&(piece("text") + &done()), 4096)]);
    let mut cli = cli(&["generate", "Hello", "--url", &daemon.url]);
    let output = cli.command.stdout(Stdio::from(full)).output().unwrap();
    check(&output, 1, "", "the answer cannot be written");
}

#[test]
fn a_file_and_a_template_make_the_prompt() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.into_os_string().into_string().unwrap()
    };
    let (file, template, note) =
        (path("a.rs", "fn a<T>() {}\n"), path("t.html", "{{ language }}, {{ note }}:\n{{ input }}\n"), path("n", "brief\n"));
    let daemon = Daemon::answering(vec![stream(&done(), 4096), stream(&done(), 4096)]);
    check(&run(&daemon.url, &["generate", "--file", &file]), 0, "", "");
    assert_eq!(daemon.request().body, json!({"prompt": "fn a<T>() {}"}));
    let note = format!("note=@{note}");
    check(&run(&daemon.url, &["generate", "-f", &file, "--template", &template, "--var", "language=Rust", "--var", &note]), 0, "", "");
    assert_eq!(daemon.request().body, json!({"prompt": "Rust, brief:\nfn a<T>() {}"}));
    check(&run(NOBODY, &["generate", "--template", &template, "--var", &note, "x"]), 2, "", "given variables: input, note");
    check(&run(NOBODY, &["generate", "--file", "/nowhere/a"]), 2, "", "/nowhere/a cannot be read");
    check(&run(NOBODY, &["generate", "--var", "a=b", "x"]), 2, "", "--template");
}

#[test]
fn several_answers_have_a_seed_each() {
    let whole = || answer("200 OK", &whole_json("one"));
    let daemon = Daemon::answering(vec![whole(), whole(), stream(&(piece("a") + &done()), 4096), stream(&(piece("b\n") + &done()), 4096)]);
    let line = whole_json("one");
    check(&run(&daemon.url, &["generate", "--json", "--count", "2", "--seed", "7", "Hello"]), 0, &format!("{line}\n{line}\n"), "");
    assert_eq!([daemon.request().body["seed"].clone(), daemon.request().body["seed"].clone()], [json!(7), json!(8)]);
    check(&run(&daemon.url, &["generate", "--count", "2", "Hello"]), 0, "a\nb\n\n", "");
    assert_eq!(daemon.request().body, json!({"prompt": "Hello"}));
    check(&run(NOBODY, &["generate", "--count", "0", "Hello"]), 2, "", "--count");
}
