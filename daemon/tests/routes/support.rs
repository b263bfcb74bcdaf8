//! An app on scripted engines, and ways to ask it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::BodyExt;
use minivault_daemon::body::Pace;
use minivault_daemon::config::{EngineSettings, GenerationSettings, KeepAlive, Listen, LoadTime, ServerSettings};
use minivault_daemon::door::Door;
use minivault_daemon::door::headers::Limits as HeaderLimits;
use minivault_daemon::door::keys::Keyring;
use minivault_daemon::door::server::Terms;
use minivault_daemon::engine_table::EngineTable;
use minivault_daemon::patience::Deadlines;
use minivault_daemon::routes::{App, Configured, Limits, Tells, router};
use minivault_engines::testkit::{Script, ScriptedBackend};
use minivault_engines::{Engines, Opening};
use minivault_journal::{Journal, Options};
use serde_json::Value;
use tempfile::TempDir;
use tower::ServiceExt;

/// Longer than anything here takes, so that a hang becomes a failure.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A daemon without a socket.
pub struct Daemon {
    pub app: App,
    pub router: Router,
    folder: TempDir,
}

/// One engine of a test.
pub struct Engine {
    pub name: &'static str,
    pub script: Script,
    pub queue: usize,
    pub fallback: Option<&'static str>,
    /// Other names that requests may use.
    pub aliases: &'static [&'static str],
    pub load: Option<LoadTime>,
    pub keep_alive: KeepAlive,
}

impl Engine {
    pub fn new(name: &'static str, script: Script) -> Self {
        Self { name, script, queue: 4, fallback: None, aliases: &[], load: None, keep_alive: KeepAlive::Forever }
    }
}

impl Daemon {
    /// One engine that recites this text.
    pub async fn reciting(text: &str) -> Self {
        Self::with(vec![Engine::new("scripted", Script { text: text.into(), ..Script::default() })]).await
    }

    /// These engines; the first one is the default, and is opened.
    pub async fn with(engines: Vec<Engine>) -> Self {
        let daemon = Self::unopened(engines, 64);
        // A test may be about an engine that can't be opened.
        let _ = daemon.app.engines.open_default().await;
        daemon
    }

    pub fn unopened(engines: Vec<Engine>, places: usize) -> Self {
        Self::logging_to(None, engines, places)
    }

    /// The log is this file; `None`: one of the test's own.
    pub fn logging_to(log: Option<&Path>, engines: Vec<Engine>, places: usize) -> Self {
        let names = |engine: &Engine| engine.aliases.iter().map(|alias| ((*alias).to_owned(), engine.name.to_owned())).collect::<Vec<_>>();
        let aliases = engines.iter().flat_map(names).collect();
        Self::build(log, engines.into_iter().map(settings).collect(), aliases, places)
    }

    /// One engine that recites this text, and a log that is kept like this; requests may ask to be left out of it.
    pub async fn keeping(log: &Path, options: &Options, text: &str) -> Self {
        let engine = Engine::new("scripted", Script { text: text.into(), ..Script::default() });
        let daemon = Self::build_with(Some(log), vec![settings(engine)], BTreeMap::new(), options);
        let daemon = daemon.configured(|configured| configured.allow_log_off = true);
        daemon.app.engines.open_default().await.unwrap();
        daemon
    }

    /// The same daemon whose llama-server routes tell this.
    pub fn telling(self, tells: Tells) -> Self {
        self.configured(|configured| configured.tells = tells)
    }

    /// The same daemon without a page.
    pub fn without_page(self) -> Self {
        self.configured(|configured| configured.page = false)
    }

    /// The same daemon under a configuration that differs by this.
    fn configured(self, change: impl FnOnce(&mut Configured)) -> Self {
        let mut configured = self.app.configured.clone();
        change(&mut configured);
        let app = self.app.renewed(configured);
        Self { router: router(app.clone(), door(&server_settings())), app, ..self }
    }

    /// Engines of any backend; the first one is the default.
    pub fn of(log: Option<&Path>, engines: Vec<EngineSettings>, places: usize) -> Self {
        Self::build(log, engines, BTreeMap::new(), places)
    }

    fn build(log: Option<&Path>, engines: Vec<EngineSettings>, aliases: BTreeMap<String, String>, places: usize) -> Self {
        Self::build_with(log, engines, aliases, &Options { places, ..Options::default() })
    }

    fn build_with(log: Option<&Path>, engines: Vec<EngineSettings>, aliases: BTreeMap<String, String>, options: &Options) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let default = engines[0].opening.name.clone();
        let settings = engines.into_iter().map(|settings| (settings.opening.name.clone(), settings)).collect();
        let journal = Arc::new(Journal::open(log.unwrap_or(&folder.path().join("log.jsonl")), options).unwrap());
        let generation = GenerationSettings {
            max_tokens: 20,
            temperature: 0.0,
            top_k: 50,
            top_p: 0.95,
            min_p: 0.0,
            repetition_penalty: 1.0,
            seed: None,
            ignore_eos: false,
        };
        let tells = Tells { slots: true, verbose: false };
        let configured = Configured { generation, limits: limits(), allow_log_off: false, tells, page: true };
        let app = App::new(Arc::new(EngineTable::new(default, settings).with_aliases(aliases)), journal, configured);
        Self { router: router(app.clone(), door(&server_settings())), app, folder }
    }

    /// The same one, with another door.
    pub fn behind(self, settings: &ServerSettings) -> Self {
        Self { router: router(self.app.clone(), door(settings)), ..self }
    }

    /// The same one, with other limits for requests.
    pub fn limited(self, limits: Limits) -> Self {
        self.configured(|configured| configured.limits = limits)
    }

    /// As a client on this machine would.
    pub async fn send(&self, mut request: Request<Body>) -> Response<Body> {
        request.headers_mut().entry(header::HOST).or_insert(HeaderValue::from_static("localhost"));
        tokio::time::timeout(PATIENCE, self.router.clone().oneshot(request)).await.expect("an answer in time").unwrap()
    }

    pub async fn post(&self, path: &str, body: &Value) -> Response<Body> {
        self.send(json_request(path, body.to_string())).await
    }

    /// Posts and reads a whole JSON answer.
    pub async fn ask(&self, path: &str, body: &Value) -> (StatusCode, Value) {
        json_of(self.post(path, body).await).await
    }

    pub async fn get(&self, path: &str) -> (StatusCode, Value) {
        json_of(self.send(Request::get(path).body(Body::empty()).unwrap()).await).await
    }

    pub fn log_path(&self) -> PathBuf {
        self.folder.path().join("log.jsonl")
    }

    /// The lines of the log.
    pub fn log(&self) -> Vec<Value> {
        std::fs::read_to_string(self.log_path()).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The log once it has so many lines; a line of a client that left is written behind everybody's back.
    pub async fn log_of(&self, lines: u64) -> Vec<Value> {
        let enough = async {
            while self.app.journal.written() < lines {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(PATIENCE, enough).await.expect("the lines in time");
        self.log()
    }
}

/// The door of these settings.
pub fn door(settings: &ServerSettings) -> Door {
    Door::new(settings, Keyring::new(settings.keys.clone()))
}

/// What requests may hold.
pub fn limits() -> Limits {
    let pace = Pace { start: PATIENCE, bytes_per_second: 1 };
    Limits { body: 10_000, prompt: 5_000, pace, answer_tokens: 10_000, deadlines: Deadlines::default() }
}

/// `[server]` with nothing in it.
pub fn server_settings() -> ServerSettings {
    ServerSettings {
        listen: vec![Listen::Tcp("127.0.0.1:0".into())],
        hosts: Vec::new(),
        origins: Vec::new(),
        keys: Vec::new(),
        allow_keyless: false,
        body_limit: 10_000,
        pace: Pace { start: PATIENCE, bytes_per_second: 1 },
        max_prompt_bytes: 5_000,
        max_answer_tokens: 10_000,
        deadlines: Deadlines::default(),
        grace: PATIENCE,
        terms: Terms { head: PATIENCE, write: PATIENCE, connections: 100, headers: HeaderLimits { count: 20, bytes: 2000 } },
        tls: None,
        slots: true,
        verbose: false,
        page: true,
    }
}

fn settings(engine: Engine) -> EngineSettings {
    let Engine { script, queue, name, fallback, aliases: _, load, keep_alive } = engine;
    let engines = Engines::none().with("scripted", ScriptedBackend { script, queue });
    EngineSettings { fallback: fallback.map(str::to_owned), load, keep_alive, ..settings_of(&engines, "scripted", name) }
}

/// An engine's settings as its backend takes them without any key.
pub fn settings_of(engines: &Engines, backend: &str, name: &str) -> EngineSettings {
    settings_with(engines, backend, name, &serde_json::json!({}))
}

/// An engine's settings as its backend takes them from this table.
pub fn settings_with(engines: &Engines, backend: &str, name: &str, table: &Value) -> EngineSettings {
    let table = figment::Figment::from(figment::providers::Serialized::defaults(table)).extract().unwrap();
    EngineSettings {
        backend: backend.into(),
        fallback: None,
        load: None,
        keep_alive: KeepAlive::Forever,
        tags: Vec::new(),
        isolate: false,
        memory_limit: None,
        load_timeout: PATIENCE,
        prepared: engines.prepare(backend, &table).unwrap().unwrap(),
        opening: Opening { name: name.into(), ..Opening::default() },
        table: Default::default(),
    }
}

pub fn json_request(path: &str, body: impl Into<Body>) -> Request<Body> {
    Request::post(path).header("content-type", "application/json").body(body.into()).unwrap()
}

pub async fn text_of(response: Response<Body>) -> String {
    let body = tokio::time::timeout(PATIENCE, response.into_body().collect()).await.expect("a whole answer in time").unwrap();
    String::from_utf8(body.to_bytes().to_vec()).unwrap()
}

pub async fn json_of(response: Response<Body>) -> (StatusCode, Value) {
    let status = response.status();
    let text = text_of(response).await;
    (status, serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}")))
}

/// A server-sent event: its name, empty if it has none, and its data.
pub type ServerEvent = (String, String);

/// All events of a stream, comments left out.
pub async fn events_of(response: Response<Body>) -> Vec<ServerEvent> {
    let text = text_of(response).await;
    let event = |block: &str| {
        let field = |name: &str| {
            let lines = block.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(": ").map(str::to_owned));
            lines.collect::<Vec<_>>().join("\n")
        };
        (field("event"), field("data"))
    };
    text.split("\n\n").filter(|block| !block.is_empty() && !block.starts_with(':')).map(event).collect()
}
