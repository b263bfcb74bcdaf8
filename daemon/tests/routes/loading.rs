//! Engines that load at startup or on first use, beside each other, and leave memory when nobody asks them.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use futures_util::StreamExt;
use minivault_daemon::config::{EngineSettings, KeepAlive, LoadTime};
use minivault_engines::testkit::{Fault, Gate, Script, ScriptedBackend, ScriptedConfig};
use minivault_engines::{Backend, Engines, Opening, TextEngine};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::support::{Daemon, PATIENCE, json_of, settings_of};

/// A scripted engine whose loading waits for a permit, and that remembers what it opened.
#[derive(Clone)]
struct Slow {
    script: Script,
    permits: Arc<Semaphore>,
    loads: Arc<AtomicUsize>,
    opened: Arc<Mutex<Option<Weak<dyn TextEngine>>>>,
}

impl Slow {
    fn new(script: Script) -> Self {
        Self { script, permits: Arc::new(Semaphore::new(0)), loads: Arc::default(), opened: Arc::default() }
    }

    /// Its settings as an engine of this name.
    fn settings(&self, name: &str) -> EngineSettings {
        settings_of(&Engines::none().with("slow", self.clone()), "slow", name)
    }

    fn is_in_memory(&self) -> bool {
        self.opened.lock().unwrap().as_ref().is_some_and(|engine| engine.strong_count() > 0)
    }

    async fn leaves_memory(&self) {
        let gone = async {
            while self.is_in_memory() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(PATIENCE, gone).await.expect("it leaves memory");
    }
}

#[async_trait::async_trait]
impl Backend for Slow {
    type Config = ScriptedConfig;

    async fn open(&self, opening: &Opening, config: &ScriptedConfig) -> minivault_engines::error::Result<Arc<dyn TextEngine>> {
        self.loads.fetch_add(1, Ordering::SeqCst);
        self.permits.acquire().await.unwrap().forget();
        let engine = ScriptedBackend { script: self.script.clone(), queue: 4 }.open(opening, config).await?;
        *self.opened.lock().unwrap() = Some(Arc::downgrade(&engine));
        Ok(engine)
    }
}

fn reciting(text: &str) -> Slow {
    Slow::new(Script { text: text.into(), ..Script::default() })
}

/// The state of each engine.
async fn states(daemon: &Daemon) -> Vec<String> {
    let (_, models) = daemon.get("/v1/models").await;
    models["data"].as_array().unwrap().iter().map(|model| model["minivault"]["state"].as_str().unwrap().to_owned()).collect()
}

fn ask(model: &str) -> Value {
    json!({"prompt": "x", "model": model, "max_tokens": 3})
}

#[tokio::test]
async fn while_an_engine_loads_at_startup_nobody_waits_for_it() {
    let (first, second) = (reciting("abc"), reciting("def"));
    let settings = vec![first.settings("first"), EngineSettings { load: Some(LoadTime::Startup), ..second.settings("second") }];
    let daemon = Daemon::of(None, settings, 8);
    let loading = tokio::spawn({
        let engines = daemon.app.engines.clone();
        async move { tokio::join!(engines.open_default(), engines.open_others()).0.is_ok() }
    });
    for model in ["first", "second"] {
        let response = daemon.post("/generate", &ask(model)).await;
        assert_eq!(response.headers()["retry-after"], "1");
        let (status, error) = json_of(response).await;
        assert_eq!((status.as_u16(), &error["error"]["code"]), (503, &json!("loading")));
    }
    first.permits.add_permits(1);
    second.permits.add_permits(1);
    assert!(loading.await.unwrap());
    assert_eq!(states(&daemon).await, ["ready", "ready"]);
    assert_eq!(daemon.ask("/generate", &ask("second")).await.1["response"], "def");
}

#[tokio::test]
async fn the_others_answer_while_one_loads_and_those_who_named_it_wait() {
    let (first, second) = (reciting("abc"), reciting("def"));
    first.permits.add_permits(1);
    let daemon = Daemon::of(None, vec![first.settings("first"), second.settings("second")], 8);
    daemon.app.engines.open_default().await.unwrap();
    let body = ask("second");
    let mut waiting = Box::pin(daemon.ask("/generate", &body));
    assert!(futures_util::poll!(&mut waiting).is_pending());
    while second.loads.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(states(&daemon).await, ["ready", "loading"]);
    assert_eq!(daemon.ask("/generate", &ask("first")).await.1["response"], "abc");
    second.permits.add_permits(1);
    assert_eq!(waiting.await.1["response"], "def");
    // Both compute side by side.
    let (one, other) = (ask("first"), ask("second"));
    let (one, other) = tokio::join!(daemon.ask("/generate", &one), daemon.ask("/generate", &other));
    assert_eq!((&one.1["response"], &other.1["response"]), (&json!("abc"), &json!("def")));
}

#[tokio::test]
async fn an_idle_engine_leaves_memory_and_the_next_request_loads_it_again() {
    let slow = reciting("abc");
    slow.permits.add_permits(2);
    let settings = EngineSettings { keep_alive: KeepAlive::For(Duration::ZERO), ..slow.settings("slow") };
    let daemon = Daemon::of(None, vec![settings], 8);
    daemon.app.engines.open_default().await.unwrap();
    slow.leaves_memory().await;
    assert_eq!(states(&daemon).await, ["idle"]);
    assert_eq!(daemon.get("/ready").await.0.as_u16(), 200, "it answers when it is asked");
    assert_eq!(daemon.ask("/generate", &ask("slow")).await.1["response"], "abc");
    slow.leaves_memory().await;
    assert_eq!(slow.loads.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn an_engine_in_use_stays_in_memory_however_short_its_keep_alive() {
    let gate = Gate::closed();
    let slow = Slow::new(Script { gate: Some(gate.clone()), text: "abc".into(), ..Script::default() });
    slow.permits.add_permits(1);
    let settings = EngineSettings { keep_alive: KeepAlive::For(Duration::ZERO), load: Some(LoadTime::FirstUse), ..slow.settings("slow") };
    let daemon = Daemon::of(None, vec![settings], 8);
    assert_eq!(daemon.get("/ready").await.0.as_u16(), 200, "it loads when it is first asked");
    let mut stream = daemon.post("/stream-generate", &ask("slow")).await.into_body().into_data_stream();
    gate.allow(2);
    stream.next().await.unwrap().unwrap();
    assert!(slow.is_in_memory());
    gate.open();
    let rest: Vec<_> = stream.collect().await;
    assert!(rest.last().unwrap().as_ref().unwrap().starts_with(b"event: done"));
    slow.leaves_memory().await;
    assert_eq!(slow.loads.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn each_use_begins_the_time_anew() {
    let slow = reciting("abc");
    slow.permits.add_permits(1);
    let settings = EngineSettings { keep_alive: KeepAlive::For(Duration::from_secs(60)), ..slow.settings("slow") };
    let daemon = Daemon::of(None, vec![settings], 8);
    daemon.app.engines.open_default().await.unwrap();
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_secs(50)).await;
        assert!(daemon.app.engines.find(Some("slow")).await.is_ok());
    }
    tokio::time::sleep(Duration::from_secs(50)).await;
    assert!(slow.is_in_memory());
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert_eq!(states(&daemon).await, ["idle"]);
}

#[tokio::test]
async fn a_stand_in_leaves_memory_with_everybody_it_stood_in_for() {
    let broken = Slow::new(Script { fault: Some(Fault::DoesNotLoad), ..Script::default() });
    let stand_in = reciting("abc");
    broken.permits.add_permits(8);
    stand_in.permits.add_permits(8);
    let first = EngineSettings { fallback: Some("second".into()), ..broken.settings("first") };
    let second = EngineSettings { keep_alive: KeepAlive::For(Duration::ZERO), ..stand_in.settings("second") };
    let daemon = Daemon::of(None, vec![first, second], 8);
    for _ in 0..2 {
        assert_eq!(daemon.app.engines.open_default().await.unwrap().info().name, "second");
        stand_in.leaves_memory().await;
        assert_eq!(daemon.ask("/generate", &ask("first")).await.1["model"], "second");
        stand_in.leaves_memory().await;
    }
    assert_eq!(states(&daemon).await, ["idle", "idle"]);
}
