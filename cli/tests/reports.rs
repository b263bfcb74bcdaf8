//! `minivault models`, `minivault status`, and what all commands share: the address and the exit codes.
#![allow(clippy::unwrap_used)]

mod support;

use minivault_wire::models::ModelList;
use serde_json::{Value, json};
use support::*;

fn models_json() -> String {
    json!({"object": "list", "data": [
        {"id": "distilgpt2", "object": "model", "created": 1, "owned_by": "minivault",
         "minivault": {"default": true, "state": "failed", "backend": "gpt2", "reason": "no file", "answered_by": "smollm2"}},
        {"id": "smollm2", "object": "model", "created": 1, "owned_by": "minivault",
         "minivault": {"default": false, "state": "ready", "backend": "llama-cpp", "loaded": {
            "model": "SmolLM2", "source": "/models/smollm2.gguf", "fingerprint": "f", "context_length": 2048,
            "determinism": "serial", "same_bytes": {}, "slots": 4, "active": 0, "queued": 0}}},
    ]})
    .to_string()
}

fn health() -> Vec<Step> {
    answer("200 OK", r#"{"status":"ok","version":"0.1.0"}"#)
}

#[test]
fn models_are_a_table() {
    let daemon = Daemon::answering(vec![answer("200 OK", &models_json())]);
    let table = "NAME          STATE            BACKEND    MODEL    CONTEXT  DETERMINISM  NOTE\n\
                 distilgpt2 *  smollm2 answers  gpt2       -        -        -            no file\n\
                 smollm2       ready            llama-cpp  SmolLM2  2048     serial\n";
    check(&run(&daemon.url, &["models"]), 0, table, "");
    assert_eq!(daemon.request().line, "GET /v1/models HTTP/1.1");
}

#[test]
fn models_in_json_are_as_the_daemon_sent_them() {
    let daemon = Daemon::answering(vec![answer("200 OK", &models_json())]);
    let output = run(&daemon.url, &["models", "--json"]);
    check(&output, 0, &format!("{}\n", models_json()), "");
    assert_eq!(serde_json::from_slice::<ModelList>(&output.stdout).unwrap().data.len(), 2);
}

#[test]
fn a_ready_daemon_has_status_0() {
    let daemon = Daemon::answering(vec![health(), answer("200 OK", r#"{"status":"ready","engine":"distilgpt2"}"#)]);
    let expected = format!("minivaultd 0.1.0 at {}\nready: distilgpt2\n", daemon.url);
    check(&run(&daemon.url, &["status"]), 0, &expected, "");
}

#[test]
fn whether_a_daemon_is_there_is_asked_of_health_alone() {
    // It has one answer: another question would fail.
    let daemon = Daemon::answering(vec![health()]);
    check(&run(&daemon.url, &["status", "--alive"]), 0, &format!("minivaultd 0.1.0 at {}\n", daemon.url), "");
    check(&run(NOBODY, &["status", "--alive"]), 3, "", "no daemon answers at");
}

#[test]
fn a_daemon_that_is_not_ready_has_status_1() {
    let ready = r#"{"status":"failed","engine":"distilgpt2","reason":"no model file"}"#;
    let daemon = Daemon::answering(vec![health(), answer("503 Service Unavailable", ready)]);
    let expected = format!("minivaultd 0.1.0 at {}\nfailed: distilgpt2 (no model file)\n", daemon.url);
    check(&run(&daemon.url, &["status"]), 1, &expected, "");
}

#[test]
fn why_another_engine_answers_is_one_line() {
    let ready = r#"{"status":"ready","engine":"a","answered_by":"b","reason":"no model file\ntried, in order: x, y"}"#;
    let daemon = Daemon::answering(vec![health(), answer("200 OK", ready)]);
    let expected = format!("minivaultd 0.1.0 at {}\nready: b in place of a (no model file)\n`minivaultd doctor` tells more\n", daemon.url);
    check(&run(&daemon.url, &["status"]), 0, &expected, "");
}

#[test]
fn status_in_json_is_one_object() {
    let ready = r#"{"status":"loading","engine":"distilgpt2"}"#;
    let daemon = Daemon::answering(vec![health(), answer("503 Service Unavailable", ready)]);
    let output = run(&daemon.url, &["status", "--json"]);
    assert_eq!(output.status.code(), Some(1));
    let status: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(status["url"], daemon.url.as_str());
    assert_eq!(status["health"]["version"], "0.1.0");
    assert_eq!(status["ready"], json!({"status": "loading", "engine": "distilgpt2"}));
}

#[test]
fn no_daemon_is_3_and_says_how_to_start_one() {
    let commands: [&[&str]; 5] = [&["generate", "x"], &["generate", "--json", "x"], &["models"], &["status"], &["status", "--json"]];
    for arguments in commands {
        let output = run(NOBODY, arguments);
        check(&output, 3, "", &format!("error: no daemon answers at {NOBODY}: "));
        check(&output, 3, "", "`make run`");
        check(&output, 3, "", "`minivaultd`");
    }
}

#[test]
fn a_name_that_does_not_resolve_is_3() {
    check(&run("http://minivault.invalid:8000", &["status"]), 3, "", "no daemon answers at http://minivault.invalid:8000");
}

#[test]
fn a_bad_address_is_a_usage_error_that_names_it() {
    for url in ["localhost:8000", "ftp://localhost", "http://", "nonsense", "http://localhost:99999"] {
        check(&cli(&["status", "--url", url]).command.output().unwrap(), 2, "", url);
        check(&run(url, &["status"]), 2, "", url);
    }
}

#[test]
fn the_flag_wins_over_the_environment() {
    let daemon = Daemon::answering(vec![answer("200 OK", &models_json())]);
    let output = run(NOBODY, &["models", "--json", "--url", &format!("{}/behind/a/proxy", daemon.url)]);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(daemon.request().line, "GET /behind/a/proxy/v1/models HTTP/1.1");
}

#[test]
fn a_proxy_is_not_asked_for_this_machine() {
    let daemon = Daemon::answering(vec![answer("200 OK", &models_json())]);
    let output = cli(&["models", "--json", "--url", &daemon.url]).command.env("http_proxy", NOBODY).output().unwrap();
    check(&output, 0, &format!("{}\n", models_json()), "");
}

#[test]
fn a_machine_without_certificates_talks_to_itself() {
    let daemon = Daemon::answering(vec![answer("200 OK", &models_json())]);
    let mut cli = cli(&["models", "--json", "--url", &daemon.url]);
    let empty = cli.home.path().join("certificates");
    std::fs::write(&empty, "").unwrap();
    let output = cli.command.env("SSL_CERT_FILE", &empty).env("SSL_CERT_DIR", cli.home.path()).output().unwrap();
    check(&output, 0, &format!("{}\n", models_json()), "");
}

#[test]
fn an_encrypted_address_is_understood() {
    check(&run(&NOBODY.replace("http:", "https:"), &["status"]), 3, "", "no daemon answers at https://");
}

#[test]
fn a_stranger_on_the_port_is_recognised() {
    let daemon = Daemon::answering(vec![answer("404 Not Found", "<html>"), answer("200 OK", "<html>"), answer("302 Found", "")]);
    check(&run(&daemon.url, &["models"]), 1, "", "answered 404 Not Found without saying why; is that a minivaultd");
    check(&run(&daemon.url, &["models"]), 1, "", "is that a minivaultd");
    check(&run(&daemon.url, &["generate", "x"]), 1, "", "answered 302 Found");
}

#[test]
fn an_answer_that_is_no_stream_is_recognised() {
    let daemon = Daemon::answering(vec![answer("200 OK", "{}")]);
    check(&run(&daemon.url, &["generate", "x"]), 1, "", "instead of text/event-stream");
}

#[test]
fn a_connection_closed_without_an_answer_is_a_failure() {
    let daemon = Daemon::answering(vec![vec![]]);
    check(&run(&daemon.url, &["models"]), 1, "", "broke the connection off");
}

#[test]
fn usage_errors_are_2_and_help_is_0() {
    check(&cli(&["sing"]).command.output().unwrap(), 2, "", "sing");
    check(&cli(&["generate", "--loud", "x"]).command.output().unwrap(), 2, "", "--loud");
    let help = cli(&["--help"]).command.output().unwrap();
    assert_eq!((help.status.code(), help.stderr.len()), (Some(0), 0));
    let told = "Exit status: 0 ok, 1 failed, 2 usage, 3 daemon not reachable, 4 not as it was recorded, 130";
    assert!(String::from_utf8(help.stdout).unwrap().contains(told));
}

#[test]
fn without_arguments_and_without_a_terminal_the_help_is_shown() {
    let output = cli(&[]).command.output().unwrap();
    check(&output, 2, "", "error: no command given");
    check(&output, 2, "", "Usage: minivault");
}

#[test]
fn the_key_goes_along_and_is_never_shown() {
    let refusal = r#"{"error":{"message":"the API key isn't one of this daemon's","type":"authentication_error","code":"unauthorized","param":null}}"#;
    let key = "sk-secret";
    let daemon =
        Daemon::answering(vec![answer("200 OK", &models_json()), answer("401 Unauthorized", refusal), answer("200 OK", &models_json())]);
    assert_eq!(run(&daemon.url, &["models", "--json", "--key", key]).status.code(), Some(0));
    assert_eq!(daemon.request().authorization.as_deref(), Some("Bearer sk-secret"));
    let mut cli = cli(&["models", "--url", &daemon.url]);
    check(
        &cli.command.env("MINIVAULT_API_KEY", key).output().unwrap(),
        1,
        "",
        "error: the API key isn't one of this daemon's; say it with MINIVAULT_API_KEY, --key, or a profile\n",
    );
    assert_eq!(daemon.request().authorization.as_deref(), Some("Bearer sk-secret"));
    assert_eq!(run(&daemon.url, &["models", "--json"]).status.code(), Some(0));
    assert_eq!(daemon.request().authorization, None);
    let help = cli_with_key(key, &["--help"]);
    let broken = cli_with_key("sk-secret\n", &["models"]);
    assert_eq!(broken.status.code(), Some(2));
    for output in [help, broken] {
        let said = [output.stdout, output.stderr].concat();
        assert!(!String::from_utf8_lossy(&said).contains(key));
    }
}

fn cli_with_key(key: &str, arguments: &[&str]) -> std::process::Output {
    cli(arguments).command.env("MINIVAULT_API_KEY", key).output().unwrap()
}
