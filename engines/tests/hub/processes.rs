//! Two processes that want the same file at once.

use std::process::Stdio;
use std::sync::Arc;

use tokio::process::Command;
use tokio::sync::Semaphore;

use super::server::{Answer, Repository, Server};
use super::{content, hub, settings, source};

const CHILD: &str = "MINIVAULT_TEST_HUB_CHILD";

/// Not a test of its own: the process that the test below starts twice.
#[tokio::test(flavor = "multi_thread")]
async fn child_fetches() {
    let Ok(task) = std::env::var(CHILD) else {
        eprintln!("skipped: {CHILD} isn't set, so this isn't a child of the test with two processes");
        return;
    };
    let (endpoint, home) = task.split_once('|').unwrap();
    let home = std::path::Path::new(home);
    let found = hub(settings(endpoint, home)).file(&source("owner/tiny-model/model.gguf", home)).await.unwrap();
    assert_eq!(std::fs::read(found.path).unwrap(), content(2_000_000, 6));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_at_once_fetch_a_file_once() {
    let home = tempfile::tempdir().unwrap();
    let repository = Repository::new("owner/tiny-model", &[("model.gguf", &content(2_000_000, 6))]);
    // The body is held back until both have asked what the file is like, so neither can find it in the cache.
    let asked = Arc::new(Semaphore::new(0));
    let permits = asked.clone();
    let server = Server::start(move |request| {
        let answer = repository.answer(request);
        if request.method == "HEAD" {
            permits.add_permits(1);
            return answer;
        }
        Answer { hold: Some((permits.clone(), 2)), ..answer }
    })
    .await;
    let child = || {
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "processes::child_fetches", "--nocapture"])
            .env(CHILD, format!("{}|{}", server.url, home.path().display()))
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
    };
    let (first, second) = tokio::join!(child(), child());
    for output in [first.unwrap(), second.unwrap()] {
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.contains("1 passed"), "{said}");
    }
    assert_eq!(server.requests().iter().filter(|request| request.method == "HEAD").count(), 2);
    assert_eq!(server.gets_of("model.gguf").len(), 1);
}
