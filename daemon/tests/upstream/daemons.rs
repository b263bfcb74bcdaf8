//! Another minivaultd as the upstream: in this process, on a real socket.

use std::path::PathBuf;
use std::time::Duration;

use futures_util::StreamExt;
use minivault_daemon::config::Listen;
use minivault_daemon::door::listener::Listener;
use minivault_daemon::door::server::serve;
use minivault_engines::testkit::conformance::{Subject, check};
use minivault_engines::testkit::{Gate, Script};
use minivault_engines::{Engines, GenerateRequest, MaxTokens, Sampling};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use crate::support::{Daemon, Engine, events_of, server_settings, settings_with};
use crate::{open, settings};

/// A daemon that listens.
struct Listening {
    daemon: Daemon,
    url: String,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

impl Listening {
    async fn start(daemon: Daemon) -> Self {
        daemon.app.engines.open_default().await.unwrap();
        let listener = Listener::bind(&Listen::Tcp("127.0.0.1:0".into())).await.unwrap();
        let url = format!("{listener}/v1");
        let (stop, stopped) = oneshot::channel::<()>();
        let router = daemon.router.clone();
        let task = tokio::spawn(async move {
            let stop = async { drop(stopped.await) };
            serve(vec![listener], watch::channel(router).1, server_settings().terms, stop).await.cut_off().await;
        });
        Self { daemon, url, stop: Some(stop), task }
    }

    /// Cuts all its connections and listens no more.
    async fn kill(mut self) -> Daemon {
        drop(self.stop.take());
        self.task.await.unwrap();
        self.daemon
    }
}

/// A daemon whose only engine is these others.
async fn in_front_of(urls: &[&str]) -> Daemon {
    in_front_of_with(urls, &json!({})).await
}

async fn in_front_of_with(urls: &[&str], keys: &Value) -> Daemon {
    let daemon = Daemon::of(None, vec![settings(urls, keys)], 64);
    daemon.app.engines.open_default().await.unwrap();
    daemon
}

fn gated(text: &str) -> (Gate, Daemon) {
    let gate = Gate::closed();
    let script = Script { gate: Some(gate.clone()), text: text.into(), ..Script::default() };
    (gate, Daemon::unopened(vec![Engine::new("scripted", script)], 64))
}

#[tokio::test]
async fn a_daemon_behind_a_daemon_passes_the_conformance_kit() {
    let model: PathBuf = [env!("CARGO_MANIFEST_DIR"), "..", "engines", "tests", "data", "gpt2-tiny"].iter().collect();
    let open = move || {
        let model = model.clone();
        async move {
            // Each a fresh one, with nothing in its cache.
            let table = json!({"model": model, "slots": 3, "queue": 64});
            let daemon = Daemon::of(None, vec![settings_with(&Engines::builtin(), "gpt2", "scripted", &table)], 256);
            let upstream = Listening::start(daemon).await;
            let engine = open(&[&upstream.url], &json!({"slots": 16})).await;
            // It serves until the test's runtime ends.
            std::mem::forget(upstream);
            engine
        }
    };
    let subject = Subject {
        open: Box::new(move || Box::pin(open())),
        prompt: "Hello".into(),
        others: vec!["naïve".into(), "🥊".into(), "abc".into()],
        capacity: Some(16),
        variants: Vec::new(),
        reuses_prefixes: true,
        knows_tokens_alone: true,
    };
    check(&subject).await;
}

#[tokio::test]
async fn what_comes_through_is_what_the_other_daemon_says() {
    let upstream = Listening::start(Daemon::reciting("Zwölf 🥊 Boxkämpfer, ").await).await;
    let front = in_front_of(&[&upstream.url]).await;
    let body =
        json!({"prompt": "x", "max_tokens": 30, "temperature": 0.9, "seed": 7, "stop": "kämpfer", "top_k": 5, "repetition_penalty": 1.1});
    let (_, direct) = upstream.daemon.ask("/generate", &body).await;
    let (_, through) = front.ask("/generate", &body).await;
    assert_eq!(
        (&through["response"], &through["usage"]["completion_tokens"]),
        (&direct["response"], &direct["usage"]["completion_tokens"])
    );
    let streamed = events_of(front.post("/stream-generate", &body).await).await;
    let pieces = streamed
        .iter()
        .filter(|(name, _)| name.is_empty())
        .map(|(_, data)| serde_json::from_str::<Value>(data).unwrap()["token"].as_str().unwrap().to_owned());
    assert_eq!(json!(pieces.collect::<String>()), through["response"]);

    let chat = json!({"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 9, "seed": 3, "logprobs": true, "top_logprobs": 2});
    let (_, mut direct) = upstream.daemon.ask("/v1/chat/completions", &chat).await;
    let (_, mut through) = front.ask("/v1/chat/completions", &chat).await;
    assert_eq!(through["choices"][0]["logprobs"]["content"].as_array().unwrap().len(), 9);
    assert_eq!(direct["choices"].take(), through["choices"].take());
    let line = &front.log()[0];
    assert_eq!((&line["backend"], &line["determinism"], &line["model"]), (&json!("openai"), &json!("none"), &json!("upstream")));
    assert!(line["ttft_ms"].is_number());
}

#[tokio::test]
async fn an_upstream_that_is_killed_is_an_error_event_a_line_and_the_next_ones_turn() {
    let (gate, daemon) = gated("first ");
    let first = Listening::start(daemon).await;
    let second = Listening::start(Daemon::reciting("second ").await).await;
    let front = in_front_of(&[&first.url, &second.url]).await;
    let body = json!({"prompt": "x", "max_tokens": 7});
    gate.allow(3);
    let mut stream = front.post("/stream-generate", &body).await.into_body().into_data_stream();
    let mut told = String::new();
    while !told.contains("\"r\"") {
        told.push_str(std::str::from_utf8(&stream.next().await.unwrap().unwrap()).unwrap());
    }
    let killed = first.kill().await;
    while let Some(bytes) = stream.next().await {
        told.push_str(std::str::from_utf8(&bytes.unwrap()).unwrap());
    }
    let last = told.trim_end().rsplit("\n\n").next().unwrap();
    assert!(last.starts_with("event: error\n") && last.contains("upstream_failed"), "{told}");
    let line = front.log_of(1).await[0].clone();
    assert_eq!((&line["finish_reason"], &line["response"], &line["status"]), (&json!("error"), &json!("fir"), &json!(502)));
    for _ in 0..2 {
        let (status, answer) = front.ask("/generate", &body).await;
        assert_eq!((status.as_u16(), &answer["response"]), (200, &json!("second ")));
    }
    gate.open();
    drop(killed);
}

#[tokio::test]
async fn a_client_that_leaves_frees_the_upstreams_slot() {
    let (gate, daemon) = gated("abc");
    let upstream = Listening::start(daemon).await;
    let front = in_front_of(&[&upstream.url]).await;
    gate.allow(2);
    let mut body = front.post("/stream-generate", &json!({"prompt": "x", "max_tokens": 400})).await.into_body().into_data_stream();
    body.next().await.unwrap().unwrap();
    drop(body);
    // The other daemon writes its line when its own client, this one, has gone.
    let line = upstream.daemon.log_of(1).await[0].clone();
    assert_eq!(line["finish_reason"], "cancelled");
    assert_eq!(front.log_of(1).await[0]["finish_reason"], "cancelled");
    gate.open();
}

#[tokio::test]
async fn what_can_not_be_scored_is_refused_and_leaves_no_line() {
    let upstream = Listening::start(Daemon::reciting("abc").await).await;
    let front = in_front_of(&[&upstream.url]).await;
    let body = json!({"prompt": ["a", "b"], "n": 2, "echo": true, "logprobs": 1, "max_tokens": 1});
    let (status, answer) = front.ask("/v1/completions", &body).await;
    assert_eq!((status.as_u16(), &answer["error"]["code"]), (501, &json!("unsupported")), "{answer}");
    assert_eq!(front.log(), Vec::<Value>::new());
    // The other daemon was asked for all of them, and ends when they have.
    upstream.daemon.log_of(4).await;
}

#[tokio::test]
async fn requests_are_shared_out_among_the_servers() {
    let (gates, daemons): (Vec<Gate>, Vec<Daemon>) = (0..2).map(|_| gated("abc")).unzip();
    let mut upstreams = Vec::new();
    for daemon in daemons {
        upstreams.push(Listening::start(daemon).await);
    }
    let urls: Vec<&str> = upstreams.iter().map(|upstream| upstream.url.as_str()).collect();
    let engine = open(&urls, &json!({})).await.unwrap();
    let request = || GenerateRequest { sampling: Sampling::greedy(), ..GenerateRequest::text("x", MaxTokens::AtMost(3)) };
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(engine.generate(request()).await.unwrap());
    }
    for upstream in &upstreams {
        let (_, models) = upstream.daemon.get("/v1/models").await;
        let loaded = &models["data"][0]["minivault"]["loaded"];
        assert_eq!(loaded["active"].as_u64().unwrap() + loaded["queued"].as_u64().unwrap(), 2, "{models}");
    }
    gates.iter().for_each(Gate::open);
    for generation in held {
        assert_eq!(generation.collect().await.unwrap().text, "abc");
    }
}

#[tokio::test]
async fn a_list_longer_than_the_upstreams_places_is_answered_whole() {
    let upstream = Listening::start(Daemon::reciting("abc").await).await;
    let front = in_front_of_with(&[&upstream.url], &json!({"slots": 2})).await;
    let prompts: Vec<String> = (0..9).map(|number| format!("prompt {number}")).collect();
    let body = json!({"prompt": prompts, "max_tokens": 3});
    let answered = tokio::time::timeout(Duration::from_secs(30), front.ask("/v1/completions", &body)).await;
    let (status, answer) = answered.expect("places come back though nobody has read the first answers yet");
    assert_eq!((status.as_u16(), answer["choices"].as_array().unwrap().len()), (200, 9), "{answer}");
    let lines = front.log_of(9).await;
    assert!(lines.iter().all(|line| line["finish_reason"] == "length"), "{lines:?}");
}

#[tokio::test]
async fn an_upstream_that_fails_before_its_first_byte_leaves_a_line() {
    let upstream = Listening::start(Daemon::reciting("abc").await).await;
    let url = upstream.url.clone();
    upstream.kill().await;
    let front = in_front_of(&[&url]).await;
    let (status, answer) = front.ask("/generate", &json!({"prompt": "x", "max_tokens": 3})).await;
    assert_eq!((status.as_u16(), &answer["error"]["code"]), (502, &json!("upstream_failed")), "{answer}");
    let line = front.log_of(1).await[0].clone();
    assert_eq!((&line["finish_reason"], &line["status"], &line["prompt"]), (&json!("error"), &json!(502), &json!("x")));
}

#[tokio::test]
async fn a_client_that_leaves_before_the_upstream_says_anything_leaves_a_line() {
    // It lists no model, and to all else it says nothing.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1", silent.local_addr().unwrap());
    tokio::spawn(async move {
        let mut held = Vec::new();
        loop {
            let (mut stream, _) = silent.accept().await.unwrap();
            let mut asked = [0; 4];
            stream.read_exact(&mut asked).await.unwrap();
            if asked == *b"GET " {
                stream.write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await.unwrap();
            }
            held.push(stream);
        }
    });
    let front = in_front_of(&[&url]).await;
    let body = json!({"prompt": "left the machine", "max_tokens": 3});
    let asking = tokio::time::timeout(Duration::from_millis(300), front.ask("/generate", &body));
    assert!(asking.await.is_err());
    let line = front.log_of(1).await[0].clone();
    assert_eq!((&line["finish_reason"], &line["status"], &line["prompt"]), (&json!("cancelled"), &json!(499), &json!("left the machine")));
}
