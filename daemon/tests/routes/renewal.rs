//! Engines under a new configuration: those that stay, those that change, and those that leave.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use axum::http::StatusCode;
use minivault_daemon::config::{EngineSettings, KeepAlive, LoadTime};
use minivault_engines::testkit::{Gate, Script, ScriptedBackend, ScriptedConfig};
use minivault_engines::{Backend, EngineError, Engines, Opening, TextEngine};
use serde_json::{Value, json};

use crate::support::{Daemon, PATIENCE, events_of, settings_of};

/// A scripted backend that remembers all that it has opened.
#[derive(Clone)]
struct Remembering {
    script: Script,
    /// There is memory for one at a time.
    alone: bool,
    opened: Arc<Mutex<Vec<Weak<dyn TextEngine>>>>,
}

#[async_trait::async_trait]
impl Backend for Remembering {
    type Config = ScriptedConfig;

    async fn open(&self, opening: &Opening, config: &ScriptedConfig) -> Result<Arc<dyn TextEngine>, EngineError> {
        if self.alone && self.counts().1 > 0 {
            return Err(EngineError::Unavailable("there is no memory for two".into()));
        }
        if self.script.text.is_empty() {
            return Err(EngineError::Unavailable("there is no model".into()));
        }
        let engine = ScriptedBackend { script: self.script.clone(), queue: 4 }.open(opening, config).await?;
        self.opened.lock().unwrap().push(Arc::downgrade(&engine));
        Ok(engine)
    }
}

impl Remembering {
    /// Recites this; nothing can't be opened.
    fn new(text: &str) -> Self {
        Self { script: Script { text: text.into(), ..Script::default() }, alone: false, opened: Arc::default() }
    }

    /// Its settings as an engine of this name, from a table that differs by this.
    fn settings(&self, name: &str, version: i64) -> EngineSettings {
        let load = (name != "default").then_some(LoadTime::FirstUse);
        let settings = settings_of(&Engines::none().with("remembering", self.clone()), "remembering", name);
        EngineSettings { load, table: [("version".to_owned(), version.into())].into(), ..settings }
    }

    /// How often it was opened, and how many of those are in memory.
    fn counts(&self) -> (usize, usize) {
        let opened = self.opened.lock().unwrap();
        (opened.len(), opened.iter().filter(|engine| engine.strong_count() > 0).count())
    }

    async fn comes_to(&self, counts: (usize, usize)) {
        let there = async {
            while self.counts() != counts {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(PATIENCE, there).await.unwrap_or_else(|_| panic!("{:?}, not {counts:?}", self.counts()));
    }
}

fn named(settings: Vec<EngineSettings>) -> BTreeMap<String, EngineSettings> {
    settings.into_iter().map(|settings| (settings.opening.name.clone(), settings)).collect()
}

async fn answer(daemon: &Daemon, model: &str) -> (StatusCode, Value) {
    daemon.ask("/generate", &json!({"prompt": "x", "model": model, "max_tokens": 3})).await
}

#[tokio::test]
async fn an_engine_that_stays_as_it_was_stays_in_memory() {
    let (first, second) = (Remembering::new("abc"), Remembering::new("def"));
    let daemon = Daemon::of(None, vec![first.settings("first", 1), second.settings("second", 1)], 8);
    daemon.app.engines.open_default().await.unwrap();
    let renew = |default: &str, version| {
        daemon.app.engines.renew(
            default.into(),
            named(vec![first.settings("first", 1), second.settings("second", version)]),
            BTreeMap::new(),
        );
    };
    renew("first", 2);
    assert_eq!(answer(&daemon, "first").await.1["response"], "abc");
    // What was not in memory isn't fetched into it because it has changed.
    assert_eq!((first.counts(), second.counts()), ((1, 1), (0, 0)));
    assert_eq!(answer(&daemon, "second").await.1["response"], "def");
    assert_eq!((first.counts(), second.counts()), ((1, 1), (1, 1)));
    // What was, is there again before anybody asks.
    renew("first", 3);
    second.comes_to((2, 1)).await;
    assert_eq!(answer(&daemon, "second").await.1["response"], "def");
    assert_eq!((first.counts(), second.counts()), ((1, 1), (2, 1)));
}

#[tokio::test]
async fn a_new_default_engine_is_loaded_at_once_and_waited_for() {
    let (old, new) = (Remembering::new("abc"), Remembering::new("def"));
    let settings = || vec![old.settings("old", 1), new.settings("default", 1)];
    let daemon = Daemon::of(None, settings(), 8);
    assert_eq!(answer(&daemon, "old").await.1["response"], "abc");
    assert_eq!((old.counts(), new.counts()), ((1, 1), (0, 0)));
    daemon.app.engines.renew("default".into(), named(settings()), BTreeMap::new());
    let (status, told) = daemon.ask("/generate", &json!({"prompt": "x", "max_tokens": 3})).await;
    assert_eq!((status, &told["response"]), (StatusCode::OK, &json!("def")), "{told}");
    assert_eq!((old.counts(), new.counts()), ((1, 1), (1, 1)));
}

#[tokio::test]
async fn an_engine_that_leaves_answers_to_the_end_what_it_has_begun() {
    let gate = Gate::closed();
    let mut leaving = Remembering::new("abc");
    leaving.script.gate = Some(gate.clone());
    let staying = Remembering::new("def");
    let daemon = Daemon::of(None, vec![leaving.settings("leaving", 1), staying.settings("staying", 1)], 8);
    daemon.app.engines.open_default().await.unwrap();
    let stream = daemon.post("/stream-generate", &json!({"prompt": "x", "max_tokens": 3})).await;
    daemon.app.engines.renew(
        "staying".into(),
        named(vec![staying.settings("staying", 1)]),
        [("old".to_owned(), "staying".to_owned())].into(),
    );
    let (status, refused) = answer(&daemon, "leaving").await;
    assert_eq!((status, &refused["error"]["code"]), (StatusCode::NOT_FOUND, &json!("model_not_found")));
    assert_eq!(answer(&daemon, "old").await.1["response"], "def");
    assert_eq!(leaving.counts(), (1, 1));
    gate.open();
    let events = events_of(stream).await;
    assert_eq!(events.last().unwrap().0, "done", "{events:?}");
    leaving.comes_to((1, 0)).await;
}

#[tokio::test]
async fn whom_a_leaving_engine_stood_in_for_finds_another_one() {
    let (broken, first, second) = (Remembering::new(""), Remembering::new("abc"), Remembering::new("def"));
    let replaced = || EngineSettings { fallback: Some("stand-in".into()), ..broken.settings("broken", 1) };
    let daemon = Daemon::of(None, vec![replaced(), first.settings("stand-in", 1)], 8);
    assert_eq!(answer(&daemon, "broken").await.1["response"], "abc");
    daemon.app.engines.renew("broken".into(), named(vec![replaced(), second.settings("stand-in", 2)]), BTreeMap::new());
    // It is tried again, and the new one is there, before anybody asks.
    second.comes_to((1, 1)).await;
    assert_eq!(answer(&daemon, "broken").await.1["response"], "def");
    first.comes_to((1, 0)).await;
}

#[tokio::test]
async fn where_there_is_room_for_one_the_new_engine_waits_for_the_old_one() {
    let gate = Gate::closed();
    let mut engine = Remembering::new("abc");
    engine.script.gate = Some(gate.clone());
    engine.alone = true;
    let stand_in = Remembering::new("def");
    let settings = |version| {
        let engine = EngineSettings { fallback: Some("stand-in".into()), ..engine.settings("engine", version) };
        vec![engine, stand_in.settings("stand-in", 1)]
    };
    let daemon = Daemon::of(None, settings(1), 8);
    let stream = daemon.post("/stream-generate", &json!({"prompt": "x", "model": "engine", "max_tokens": 3})).await;
    daemon.app.engines.renew("engine".into(), named(settings(2)), BTreeMap::new());
    let next = answer(&daemon, "engine");
    let freed = async {
        gate.open();
        events_of(stream).await
    };
    let ((_, told), events) = tokio::join!(next, freed);
    assert_eq!((&told["response"], &*events.last().unwrap().0), (&json!("abc"), "done"), "{told}");
    assert_eq!((engine.counts(), stand_in.counts()), ((2, 1), (0, 0)));
}

#[tokio::test]
async fn the_end_waits_for_what_is_leaving_too() {
    let engine = Remembering::new("abc");
    let other = Remembering::new("def");
    let daemon = Daemon::of(None, vec![engine.settings("engine", 1), other.settings("other", 1)], 8);
    let lease = daemon.app.engines.find(Some("engine")).await.unwrap();
    daemon.app.engines.renew("other".into(), named(vec![other.settings("other", 1)]), BTreeMap::new());
    tokio::task::yield_now().await;
    assert_eq!(engine.counts(), (1, 1));
    let engines = daemon.app.engines.clone();
    tokio::task::spawn_blocking(move || engines.close()).await.unwrap();
    drop(lease);
    engine.comes_to((1, 0)).await;
}

#[tokio::test]
async fn keep_alive_holds_for_what_stays() {
    let gate = Gate::closed();
    let mut engine = Remembering::new("abc");
    engine.script.gate = Some(gate.clone());
    let settings = || EngineSettings { keep_alive: KeepAlive::For(Duration::ZERO), ..engine.settings("engine", 1) };
    let daemon = Daemon::of(None, vec![settings()], 8);
    let stream = daemon.post("/stream-generate", &json!({"prompt": "x", "max_tokens": 3})).await;
    daemon.app.engines.renew("engine".into(), named(vec![settings()]), BTreeMap::new());
    assert_eq!(engine.counts(), (1, 1));
    gate.open();
    assert_eq!(events_of(stream).await.last().unwrap().0, "done");
    engine.comes_to((1, 0)).await;
}
