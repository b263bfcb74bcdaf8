//! `minivault logs` and `minivault replay`: asked of a daemon, and read from files.
#![allow(clippy::unwrap_used)]

mod support;

use std::path::Path;

use minivault_journal::chain;
use serde_json::{Value, json};
use support::*;

/// Lines as the journal writes them, chained.
fn lines(count: u64) -> Vec<String> {
    let mut previous = chain::START;
    let line = |seq: u64| {
        let content = format!(
            r#"{{"timestamp":"2026-11-25T10:15:0{seq}.000000Z","prompt":"question {seq}","response":"answer {seq}","id":"id-{seq}","seq":{seq},"model":"m","status":200,"finish_reason":"stop","usage":{{"prompt_tokens":2,"completion_tokens":3,"total_tokens":5}},"ttft_ms":10.0,"duration_ms":110.0}}"#
        );
        previous = chain::link(&previous, content.as_bytes());
        let digits: String = previous.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{},\"chain\":\"{digits}\"}}", content.strip_suffix('}').unwrap())
    };
    (1..=count).map(line).collect()
}

fn folder(lines: &[String]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("log.jsonl"), lines.iter().map(|line| format!("{line}\n")).collect::<String>()).unwrap();
    folder
}

fn in_folder(folder: &Path, arguments: &[&str]) -> std::process::Output {
    run(NOBODY, &[arguments, &["--dir", folder.to_str().unwrap()]].concat())
}

/// A page of the daemon's, with where the next one is.
fn page(lines: &[String], next: Option<u64>) -> Vec<Step> {
    let body: String = lines.iter().map(|line| format!("{line}\n")).collect();
    let next = next.map(|next| format!("x-minivault-next: {next}\r\n")).unwrap_or_default();
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/x-ndjson\r\ncontent-length: {}\r\n{next}connection: close\r\n\r\n",
        body.len()
    );
    vec![Step::Send((head + &body).into_bytes())]
}

fn replayed(id: &str, verdict: &str, difference: Value) -> String {
    let mut answer = json!({"replay_of": id, "id": "new", "verdict": verdict, "recorded_model": "m", "model": "m", "same_model": true,
                            "notes": [], "recorded_tokens": 3, "tokens": 3});
    if !difference.is_null() {
        answer["difference"] = difference;
    }
    answer.to_string()
}

#[test]
fn files_are_read_without_a_daemon() {
    let lines = lines(3);
    let folder = folder(&lines);
    let expected = "#3 2026-11-25T10:15:03  m  200 stop  2+3 tokens  0.11 s  id-3\n    question 3 → answer 3\n\
                    #2 2026-11-25T10:15:02  m  200 stop  2+3 tokens  0.11 s  id-2\n    question 2 → answer 2\n";
    check(&in_folder(folder.path(), &["logs", "--limit", "2"]), 0, expected, "");
    check(&in_folder(folder.path(), &["logs", "--json", "--grep", "question 1"]), 0, &format!("{}\n", lines[0]), "");
    check(&in_folder(folder.path(), &["logs", "--since", "2026-11-25T10:15:04Z"]), 0, "", "nothing found\n");
    check(&in_folder(folder.path(), &["logs", "show", "id-2", "--json"]), 0, &format!("{}\n", lines[1]), "");
    check(&in_folder(folder.path(), &["logs", "show", "#2", "--json"]), 0, &format!("{}\n", lines[1]), "");
    check(&in_folder(folder.path(), &["logs", "show", "id-9"]), 1, "", "there is no interaction `id-9`");
    check(&in_folder(folder.path(), &["logs", "show", "last", "--json"]), 0, &format!("{}\n", lines[2]), "");
    let stats = in_folder(folder.path(), &["logs", "stats"]);
    assert!(String::from_utf8_lossy(&stats.stdout).contains("2026-11-25         3       0     0     6        9      20.0"), "{stats:?}");
}

#[test]
fn a_changed_byte_is_told_with_file_and_line_and_a_status_of_its_own() {
    let lines = lines(3);
    let folder = folder(&lines);
    let whole = in_folder(folder.path(), &["logs", "verify"]);
    assert_eq!(whole.status.code(), Some(0), "{whole:?}");
    assert!(String::from_utf8_lossy(&whole.stdout).starts_with("3 lines in 1 file are as they were written\nseq 1 to 3, none missing\n"));
    let path = folder.path().join("log.jsonl");
    std::fs::write(&path, std::fs::read_to_string(&path).unwrap().replace("answer 2", "answer 7")).unwrap();
    let said = format!("error: {}, line 2 (seq 2): it isn't what was written", path.display());
    check(&in_folder(folder.path(), &["logs", "verify"]), 4, "", &said);
}

#[test]
fn the_daemon_is_asked_page_by_page() {
    let lines = lines(3);
    let daemon = Daemon::answering(vec![page(&lines[2..], Some(3)), page(&[], Some(2)), page(&lines[..1], None)]);
    let output = run(&daemon.url, &["logs", "--json", "--limit", "7", "--model", "m", "--grep", "a&b", "--status", "200"]);
    check(&output, 0, &format!("{}\n{}\n", lines[2], lines[0]), "");
    assert_eq!(daemon.request().line, "GET /interactions?grep=a%26b&model=m&status=200&limit=7 HTTP/1.1");
    assert_eq!(daemon.request().line, "GET /interactions?grep=a%26b&model=m&status=200&before=3&limit=6 HTTP/1.1");
    assert_eq!(daemon.request().line, "GET /interactions?grep=a%26b&model=m&status=200&before=2&limit=6 HTTP/1.1");
}

#[test]
fn what_follows_is_printed_as_it_comes() {
    let lines = lines(3);
    // The newest of all lines says how far is looked; then the wanted ones up to there.
    let newest = [page(&lines[..1], None), page(&lines[2..], None)];
    let wanted = [page(&lines[..1], None), page(&[lines[2].clone(), lines[1].clone()], None)];
    let pages = newest.into_iter().zip(wanted).flat_map(|(newest, wanted)| [newest, wanted]).collect();
    let daemon = Daemon::answering(pages);
    let output = run(&daemon.url, &["logs", "--follow", "--json", "--model", "m"]);
    // Then nobody answers any more.
    check(&output, 3, &format!("{}\n{}\n{}\n", lines[0], lines[1], lines[2]), "no daemon answers");
    let asked: Vec<String> = (0..4).map(|_| daemon.request().line).collect();
    assert_eq!(asked[2], "GET /interactions?after=1&limit=1 HTTP/1.1", "{asked:?}");
    assert_eq!(asked[3], "GET /interactions?model=m&before=4&after=1&limit=500 HTTP/1.1", "{asked:?}");
}

#[test]
fn a_replay_that_differs_has_a_status_of_its_own() {
    let difference = json!({"token": 2, "byte": 7, "recorded": " one", "replayed": " other"});
    let answers = [replayed("a/b", "identical", Value::Null), replayed("a/b", "differs", difference)];
    let daemon = Daemon::answering(answers.iter().map(|body| answer("200 OK", body)).collect());
    check(&run(&daemon.url, &["replay", "a/b", "--engine", "m"]), 0, "a/b  identical: 3 tokens of m\n", "");
    let request = daemon.request();
    assert_eq!((request.line.as_str(), request.body), ("POST /interactions/a%2Fb/replay HTTP/1.1", json!({"engine": "m"})));
    let expected = "a/b  differs at token 2 (byte 7)\n  recorded  \" one\"\n  now       \" other\"\n";
    check(&run(&daemon.url, &["replay", "a/b"]), 4, expected, "");
}

#[test]
fn last_is_the_newest_interaction() {
    let mut lines = lines(3);
    lines[2] = lines[2].replace("\"seq\"", "\"replay_of\":\"id-1\",\"seq\"");
    let daemon = Daemon::answering(vec![
        page(&lines[2..], None),
        page(&[], None),
        // Of what was run again the one that was asked first is meant, however many replays there are.
        page(&lines[2..], Some(3)),
        page(&lines[1..2], None),
        answer("200 OK", &replayed("id-2", "identical", Value::Null)),
    ]);
    check(&run(&daemon.url, &["logs", "show", "last", "--json"]), 0, &format!("{}\n", lines[2]), "");
    check(&run(&daemon.url, &["logs", "show", "last"]), 1, "", "there is no such interaction in the log");
    check(&run(&daemon.url, &["replay", "last", "--model", "m"]), 0, "id-2  identical: 3 tokens of m\n", "");
    let asked: Vec<String> = (0..5).map(|_| daemon.request().line).collect();
    assert_eq!(asked[0], "GET /interactions?limit=10 HTTP/1.1");
    assert_eq!(asked[3..], ["GET /interactions?model=m&before=3&limit=10 HTTP/1.1", "POST /interactions/id-2/replay HTTP/1.1"]);
}

#[test]
fn nothing_to_run_again_is_no_failure() {
    let daemon = Daemon::answering(vec![page(&[], None)]);
    check(&run(&daemon.url, &["replay", "--all", "--since", "1h"]), 0, "0 run again: 0 identical\n", "");
}

#[test]
fn a_range_is_run_again_oldest_first_and_summed_up() {
    let mut lines = lines(3);
    lines[1] = lines[1].replace("\"seq\"", "\"replay_of\":\"id-1\",\"seq\"");
    let newest_first: Vec<String> = lines.iter().rev().cloned().collect();
    let daemon = Daemon::answering(vec![
        page(&newest_first, None),
        answer("200 OK", &replayed("id-1", "identical", Value::Null)),
        answer("409 Conflict", &error_json("interaction `id-3` can't be run again: its texts weren't recorded")),
    ]);
    let output = run(&daemon.url, &["replay", "--all", "--model", "m"]);
    check(&output, 0, "1 run again: 1 identical; 1 can't be run again\n", "id-3: can't be run again: its texts weren't recorded\n");
    let asked: Vec<String> = (0..3).map(|_| daemon.request().line).collect();
    assert_eq!(asked[1..], ["POST /interactions/id-1/replay HTTP/1.1", "POST /interactions/id-3/replay HTTP/1.1"]);
    check(&run(NOBODY, &["replay"]), 2, "", "<ID>");
}

#[test]
fn what_another_engine_refuses_is_an_object_of_its_own() {
    let newest_first: Vec<String> = lines(2).into_iter().rev().collect();
    let refusal = "the prompt has 70 tokens; the model's context holds 64";
    let refused = || answer("400 Bad Request", &error_json(refusal));
    let daemon = Daemon::answering(vec![page(&newest_first, None), refused(), refused()]);
    let output = run(&daemon.url, &["replay", "--all", "--engine", "m", "--json"]);
    let told = format!("{}\n{}\n", json!({"id": "id-1", "error": refusal}), json!({"id": "id-2", "error": refusal}));
    check(&output, 1, &told, &format!("2 × {refusal} (the first: id-1)\n"));
}

#[test]
fn an_interaction_is_found_by_its_number() {
    let line = lines(1).remove(0);
    let daemon = Daemon::answering(vec![
        page(std::slice::from_ref(&line), None),
        page(&[], None),
        answer("404 Not Found", &error_json("there is no interaction `7`")),
        page(std::slice::from_ref(&line), None),
        answer("200 OK", &replayed("id-1", "identical", Value::Null)),
    ]);
    check(&run(&daemon.url, &["logs", "show", "#6", "--json"]), 0, &format!("{line}\n"), "");
    check(&run(&daemon.url, &["logs", "show", "7"]), 1, "", "there is no interaction `7`");
    check(&run(&daemon.url, &["replay", "6"]), 0, "id-1  identical: 3 tokens of m\n", "");
    let asked: Vec<String> = (0..5).map(|_| daemon.request().line).collect();
    assert_eq!(asked[0], "GET /interactions?before=7&after=5&limit=1 HTTP/1.1");
    assert_eq!(
        asked[2..],
        ["GET /interactions/7 HTTP/1.1", "GET /interactions?before=7&after=5&limit=1 HTTP/1.1", "POST /interactions/id-1/replay HTTP/1.1"]
    );
}

#[test]
fn a_list_of_nothing_says_so() {
    let daemon = Daemon::answering(vec![page(&[], None), page(&[], None)]);
    check(&run(&daemon.url, &["logs", "--grep", "nothing"]), 0, "", "nothing found\n");
    check(&run(&daemon.url, &["logs", "--grep", "nothing", "--quiet"]), 0, "", "");
}

#[test]
fn the_folder_may_stand_before_what_is_done_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    let behind = run(NOBODY, &["logs", "verify", "--dir", path]);
    let before = run(NOBODY, &["logs", "--dir", path, "verify"]);
    assert_eq!((before.status.code(), &before.stdout, &before.stderr), (behind.status.code(), &behind.stdout, &behind.stderr));
    assert_eq!(before.status.code(), Some(0), "{before:?}");
    check(&run(NOBODY, &["logs", "--grep", "x", "verify"]), 2, "", "only --dir may stand before a subcommand");
}
