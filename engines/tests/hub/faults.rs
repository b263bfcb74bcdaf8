//! Broken, stalling and lying servers.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use minivault_engines::hub::{Hub, ModelSource};
use tempfile::TempDir;

use super::server::{Answer, Repository, Request, Server, sha256};
use super::{Notes, assert_says, content, hub, settings, source, unavailable};

const MODEL: &str = "owner/tiny-model/model.gguf";
const LENGTH: usize = 3_000_000;
const CUT: usize = 1_000_000;

/// A hub with one large file whose `n`th GET is answered by `fault`.
async fn faulty(fault: impl Fn(usize, &Request, Answer) -> Answer + Send + Sync + 'static) -> (Server, TempDir, Vec<u8>) {
    let body = content(LENGTH, 5);
    let repository = Repository::new("owner/tiny-model", &[("model.gguf", &body)]);
    let gets = AtomicUsize::new(0);
    let server = Server::start(move |request| {
        let answer = repository.answer(request);
        if request.method == "GET" { fault(gets.fetch_add(1, Ordering::SeqCst), request, answer) } else { answer }
    })
    .await;
    (server, tempfile::tempdir().unwrap(), body)
}

fn blobs(home: &TempDir) -> PathBuf {
    home.path().join(".cache/huggingface/hub/models--owner--tiny-model/blobs")
}

fn ranges(server: &Server) -> Vec<Option<usize>> {
    server.gets_of("model.gguf").iter().map(Request::range_start).collect()
}

fn ready(server: &Server, home: &TempDir) -> (Hub, ModelSource) {
    (hub(settings(&server.url, home.path())), source(MODEL, home.path()))
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_break_the_rest_is_asked_for_and_the_whole_is_exact() {
    let (server, home, body) = faulty(|n, _, answer| if n < 2 { answer.cut(CUT) } else { answer }).await;
    let (hub, source) = ready(&server, &home);
    let found = hub.file(&source).await.unwrap();
    assert_eq!(fs::read(&found.path).unwrap(), body);
    assert_eq!(ranges(&server), [None, Some(CUT), Some(2 * CUT)]);
    assert!(!blobs(&home).join(format!("{}.incomplete", sha256(&body))).exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_earlier_run_fetched_is_continued() {
    let (server, home, body) = faulty(|_, _, answer| answer).await;
    fs::create_dir_all(blobs(&home)).unwrap();
    fs::write(blobs(&home).join(format!("{}.incomplete", sha256(&body))), &body[..CUT]).unwrap();
    let (hub, source) = ready(&server, &home);
    assert_eq!(fs::read(hub.file(&source).await.unwrap().path).unwrap(), body);
    assert_eq!(ranges(&server), [Some(CUT)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_part_of_an_earlier_run_is_thrown_away_once() {
    let (server, home, body) = faulty(|_, _, answer| answer).await;
    fs::create_dir_all(blobs(&home)).unwrap();
    fs::write(blobs(&home).join(format!("{}.incomplete", sha256(&body))), vec![0; CUT]).unwrap();
    let notes = Notes::default();
    let hub = Hub::new(settings(&server.url, home.path()), Arc::new(notes.clone()));
    assert_eq!(fs::read(hub.file(&source(MODEL, home.path())).await.unwrap().path).unwrap(), body);
    assert_eq!(ranges(&server), [Some(CUT), None]);
    assert!(notes.all().iter().any(|note| note.contains("damaged")), "{:?}", notes.all());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_ranges_is_read_from_the_beginning_again() {
    let repository = Repository::new("owner/tiny-model", &[("model.gguf", &content(LENGTH, 5))]);
    let (server, home, body) = faulty(move |n, request, answer| {
        let whole = Answer { body: repository.files["model.gguf"].clone(), status: 200, ..answer };
        assert!(request.range_start().is_some() == (n > 0));
        if n == 0 { whole.cut(CUT) } else { whole }
    })
    .await;
    let (hub, source) = ready(&server, &home);
    assert_eq!(fs::read(hub.file(&source).await.unwrap().path).unwrap(), body);
    assert_eq!(ranges(&server), [None, Some(CUT)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_sends_another_part_than_asked_for_is_not_believed() {
    let (server, home, body) = faulty(|n, _, answer| match n {
        0 => answer.cut(CUT),
        1 => {
            let mut answer = answer;
            answer.headers.retain(|(name, _)| name != "Content-Range");
            answer.with("Content-Range", format!("bytes 5-{}/{LENGTH}", LENGTH - 1))
        }
        _ => answer,
    })
    .await;
    let (hub, source) = ready(&server, &home);
    assert_eq!(fs::read(hub.file(&source).await.unwrap().path).unwrap(), body);
    assert_eq!(ranges(&server), [None, Some(CUT), None]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stalled_transfer_is_continued_on_a_new_connection() {
    let (server, home, body) = faulty(|n, _, answer| if n == 0 { Answer { stall: true, ..answer.cut(CUT) } } else { answer }).await;
    let mut settings = settings(&server.url, home.path());
    settings.read_timeout = Duration::from_millis(300);
    let found = hub(settings).file(&source(MODEL, home.path())).await.unwrap();
    assert_eq!(fs::read(found.path).unwrap(), body);
    assert_eq!(ranges(&server), [None, Some(CUT)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_content_never_takes_the_file_s_place() {
    let forged = content(LENGTH, 99);
    let sent = forged.clone();
    let (server, home, body) = faulty(move |_, _, answer| Answer { body: sent.clone(), ..answer }).await;
    let (hub, source) = ready(&server, &home);
    let message = unavailable(hub.file(&source).await);
    assert_says(&message, &[&sha256(&forged), &sha256(&body), "thrown away"]);
    assert_eq!(fs::read_dir(blobs(&home)).unwrap().count(), 0, "neither the content nor a part of it");
    assert_eq!(server.gets_of("model.gguf").len(), 1);
    let snapshots = home.path().join(".cache/huggingface/hub/models--owner--tiny-model/snapshots");
    assert!(!snapshots.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn content_that_is_longer_than_announced_is_refused() {
    let (server, home, _) = faulty(|_, _, mut answer| {
        answer.body.push(0);
        answer
    })
    .await;
    let (hub, source) = ready(&server, &home);
    assert_says(&unavailable(hub.file(&source).await), &["more of model.gguf than its 3000000 bytes"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn trouble_that_passes_is_waited_out() {
    let (server, home, body) = faulty(|n, _, answer| match n {
        0 => Answer::status(503).with("Retry-After", "0"),
        1 => Answer::status(429),
        _ => answer,
    })
    .await;
    let (hub, source) = ready(&server, &home);
    assert_eq!(fs::read(hub.file(&source).await.unwrap().path).unwrap(), body);
    assert_eq!(server.gets_of("model.gguf").len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn trouble_that_stays_ends_after_five_more_tries() {
    let (server, home, _) = faulty(|_, _, _| Answer::status(502)).await;
    let (hub, source) = ready(&server, &home);
    let message = unavailable(hub.file(&source).await);
    assert_says(&message, &["502", "try again"]);
    assert_eq!(server.gets_of("model.gguf").len(), 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_break_without_any_gain_also_ends_after_five_more_tries() {
    let (server, home, _) = faulty(|_, _, answer| answer.cut(0)).await;
    let (hub, source) = ready(&server, &home);
    assert_says(&unavailable(hub.file(&source).await), &["broke"]);
    assert_eq!(server.gets_of("model.gguf").len(), 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_that_can_t_be_reached_is_given_up_at_once() {
    let home = tempfile::tempdir().unwrap();
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", closed.local_addr().unwrap());
    drop(closed);
    let mut settings = settings(&endpoint, home.path());
    settings.backoff = Duration::from_secs(3600); // a single new try would take longer than any test
    let message = unavailable(hub(settings).folder(&source("owner/tiny-model", home.path())).await);
    assert_says(&message, &[&endpoint, "can't be reached", "in the cache", "try again"]);
}
