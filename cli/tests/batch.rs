//! `minivault batch` as a process. That it survives being killed is tested with a real daemon.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::{Value, json};
use support::*;

/// A folder with so many prompts, and where their results go.
struct Folder {
    folder: tempfile::TempDir,
}

impl Folder {
    fn with(lines: &[Value]) -> Self {
        let this = Self { folder: tempfile::tempdir().unwrap() };
        this.ask(lines);
        this
    }

    fn ask(&self, lines: &[Value]) {
        fs::write(self.path("in"), lines.iter().map(|line| format!("{line}\n")).collect::<String>()).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A run that asks one after the other.
    fn batch(&self, url: &str, flags: &[&str]) -> Output {
        let [input, output] = ["in", "out"].map(|name| self.path(name).into_os_string().into_string().unwrap());
        run(url, &[&["batch", &input, &output, "-c", "1"], flags].concat())
    }

    fn results(&self) -> Vec<Value> {
        read(&self.path("out"))
    }
}

fn read(path: &Path) -> Vec<Value> {
    fs::read_to_string(path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn lines(results: &[Value]) -> Vec<u64> {
    results.iter().map(|result| result["line"].as_u64().unwrap()).collect()
}

fn said(text: &str) -> Vec<Step> {
    answer("200 OK", &json!({"response": text, "usage": {"completion_tokens": 1}}).to_string())
}

#[test]
fn what_the_daemon_fails_on_stays_open_and_is_asked_again() {
    let folder = Folder::with(&[json!("one"), json!("two"), json!("three"), json!("four"), json!("five")]);
    let failed = answer("500 Internal Server Error", &error_json("the engine failed"));
    let refused = answer("400 Bad Request", &error_json("the prompt is too long"));
    let broken = answer("502 Bad Gateway", "<html>");
    let daemon = Daemon::answering(vec![said("1"), failed, refused, broken, said("5")]);
    let first = folder.batch(&daemon.url, &[]);
    check(&first, 1, "", "1 of 5 were refused; their lines in ");
    check(&first, 1, "", "2 of 5 are open, which the same command asks again; the first is line 2: the engine failed\n");
    assert_eq!(lines(&folder.results()), [1, 3, 5]);
    // Once more they fail on the one; the other's result takes its place among those that were there.
    let daemon = Daemon::answering(vec![answer("504 Gateway Timeout", &error_json("its time was over")), said("4")]);
    check(&folder.batch(&daemon.url, &[]), 1, "", "1 of 5 are open, which the same command asks again; the first is line 2: its time");
    assert_eq!([daemon.request().body, daemon.request().body], [json!({"prompt": "two"}), json!({"prompt": "four"})]);
    assert_eq!(lines(&folder.results()), [1, 3, 4, 5]);
    let daemon = Daemon::answering(vec![said("2")]);
    let last = folder.batch(&daemon.url, &[]);
    check(&last, 1, "", "1 of 5 were refused");
    assert!(!String::from_utf8_lossy(&last.stderr).contains("open"), "{last:?}");
    let results = folder.results();
    assert_eq!(lines(&results), [1, 2, 3, 4, 5]);
    assert_eq!(results[2]["error"]["message"], "the prompt is too long");
    let answers: Vec<_> = results.iter().filter_map(|result| result["answer"]["response"].as_str()).collect();
    assert_eq!(answers, ["1", "2", "4", "5"]);
    // There is nothing left to ask, and nobody is asked.
    check(&folder.batch(NOBODY, &[]), 1, "", "1 of 5 were refused");
    assert_eq!(folder.results(), results);
    let names: Vec<_> = fs::read_dir(folder.folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 2, "{names:?}");
}

#[test]
fn a_daemon_that_stays_busy_leaves_its_requests_open_and_the_others_go_on() {
    let folder = Folder::with(&[json!("one"), json!("two")]);
    let busy = answer("503 Service Unavailable", &error_json("model `m` is still loading"));
    let daemon = Daemon::answering(vec![busy, said("2")]);
    let output = folder.batch(&daemon.url, &["--patience", "0"]);
    check(&output, 1, "", "1 of 2 are open, which the same command asks again; the first is line 1: model `m` is still loading\n");
    assert_eq!(lines(&folder.results()), [2]);
    // Within its patience it asks the same one again.
    let busy = answer("429 Too Many Requests", &error_json("the queue is full"));
    let daemon = Daemon::answering(vec![busy, said("1")]);
    check(&folder.batch(&daemon.url, &[]), 0, "", "");
    assert_eq!(lines(&folder.results()), [1, 2]);
}

#[test]
fn results_of_other_flags_are_told() {
    let folder = Folder::with(&[json!("one"), json!({"prompt": "two", "max_tokens": 3, "seed": 9, "top_p": 0.5})]);
    let flags = ["--max-tokens", "5", "--seed", "7", "--top-p", "0.7"];
    let daemon = Daemon::answering(vec![said("1"), said("2")]);
    check(&folder.batch(&daemon.url, &flags), 0, "", "");
    assert_eq!(daemon.request().body, json!({"prompt": "one", "max_tokens": 5, "seed": 7, "top_p": 0.7}));
    assert_eq!(folder.results()[0]["flags"], json!({"max_tokens": 5, "seed": 7, "top_p": 0.7}));
    check(&folder.batch(NOBODY, &flags), 0, "", "");
    // The second line names all of them itself, and would be asked no other way.
    let told = "warning: 1 result in ";
    let which = "were asked for with other flags (max_tokens 5, now 6; no model, now \"m\"; seed 7, now none); they stay as they are\n";
    folder.ask(&[json!("one"), json!({"prompt": "two", "max_tokens": 3, "seed": 9, "top_p": 0.5, "model": "m"})]);
    fs::remove_file(folder.path("out")).unwrap();
    let daemon = Daemon::answering(vec![said("1"), said("2")]);
    check(&folder.batch(&daemon.url, &flags), 0, "", "");
    let output = folder.batch(NOBODY, &["--max-tokens", "6", "--top-p", "0.7", "--model", "m"]);
    check(&output, 0, "", told);
    check(&output, 0, "", which);
    check(&folder.batch(NOBODY, &["--max-tokens", "6", "-q"]), 0, "", "");
}

#[test]
fn a_file_of_something_else_is_left_alone() {
    let folder = Folder::with(&[json!("one"), json!("two")]);
    let line = |number: u64, request: &str| json!({"line": number, "request": request, "answer": {}}).to_string() + "\n";
    for text in ["precious\n".to_owned(), line(1, "two"), line(3, "one"), line(1, "one") + &line(1, "one")] {
        fs::write(folder.path("out"), &text).unwrap();
        check(&folder.batch(NOBODY, &[]), 2, "", "holds something else than a result of each of these requests (line ");
        assert_eq!(fs::read_to_string(folder.path("out")).unwrap(), text);
    }
}
