//! `[engines.*]`: names, backends, what each backend says of its own keys, and who stands in for whom.

use std::collections::{BTreeMap, BTreeSet};

use figment::value::{Dict, Tag, Value};
use minivault_engines::registry::{Prepared, why_absent};
use minivault_engines::{Engines, Opening};
use serde::Deserialize;

use super::check::Checker;
use super::error::{Problem, hint};
use super::explain::Section;
use super::loading::{KeepAlive, LoadTime};
use super::notation::key_path;
use super::settings::EngineSettings;
use crate::nearest::nearest;

/// The keys that every engine's table has, whatever its backend.
const SHARED_KEYS: [&str; 8] = ["backend", "fallback", "load", "load_timeout", "keep_alive", "tags", "isolate", "memory_limit"];

/// Bytes that an engine's process may be limited to at least: with less it wouldn't start.
const LEAST_MEMORY: u64 = 32 << 20;

/// What they say, as it is written.
#[derive(Deserialize)]
struct SharedTable {
    backend: Backends,
    fallback: Option<String>,
    load: Option<LoadTime>,
    load_timeout: f64,
    keep_alive: Option<KeepAlive>,
    #[serde(default)]
    tags: Vec<String>,
    isolate: Option<bool>,
    memory_limit: Option<u64>,
}

/// The backend, or several of which the first that this daemon has is taken.
#[derive(Deserialize)]
#[serde(untagged, expecting = "it must be a backend's name or a list of names")]
enum Backends {
    One(String),
    FirstOf(Vec<String>),
}

impl Backends {
    /// The one that is taken.
    ///
    /// # Errors
    /// The end of a sentence that begins with the key and its value.
    fn choice(&self, engines: &Engines) -> Result<&str, String> {
        let named = match self {
            Self::One(name) => std::slice::from_ref(name),
            Self::FirstOf(names) => names.as_slice(),
        };
        let has = |name: &str| engines.names().any(|known| known == name);
        // A misspelt name would otherwise be passed over for the next one.
        if let Some(name) = named.iter().find(|name| !has(name) && why_absent(name).is_none()) {
            let what =
                if matches!(self, Self::One(_)) { "there is no such backend".to_owned() } else { format!("there is no backend `{name}`") };
            return Err(format!("{what}{}", hint(name, engines.names(), "the backends are")));
        }
        match (named.iter().find(|name| has(name)), named.first().and_then(|name| why_absent(name))) {
            (Some(name), _) => Ok(name),
            (None, Some(why)) => Err(format!("this daemon doesn't have it: {why}")),
            (None, None) => Err(format!("it names none; the backends are: {}", engines.names().collect::<Vec<_>>().join(", "))),
        }
    }
}

/// The keys at the top that aren't tables.
#[derive(Deserialize)]
struct Top {
    engine: String,
    /// The built-in tables have heeded it.
    #[serde(rename = "built_in_engines")]
    _built_in_engines: bool,
}

/// Checks the engines' tables and which of them is the default.
pub(super) fn check(engines: &Engines, checker: &mut Checker<'_>, table: &mut Dict) -> (Option<String>, BTreeMap<String, EngineSettings>) {
    let mut checked = BTreeMap::new();
    let mut names = BTreeSet::new();
    if let Some(Value::Dict(_, tables)) = table.get_mut("engines") {
        names.extend(tables.keys().cloned());
        for (name, value) in tables.iter_mut() {
            if let Value::Dict(_, table) = value
                && let Some(settings) = engine(engines, checker, name, table, &names)
            {
                checked.insert(name.clone(), settings);
            }
        }
        fallbacks(checker, tables, &checked, &names);
    }
    (default_engine(checker, table, &names), checked)
}

fn default_engine(checker: &mut Checker<'_>, table: &mut Dict, names: &BTreeSet<String>) -> Option<String> {
    let built_in = table.get("built_in_engines")?.clone();
    let value = table.get_mut("engine")?;
    let mut top = Dict::from([("engine".to_owned(), value.clone()), ("built_in_engines".to_owned(), built_in)]);
    let Top { engine, .. } = checker.read(&[], &mut top, &[])?;
    *value = top.remove("engine")?;
    if names.contains(&engine) {
        return Some(engine);
    }
    checker.refuse(&["engine".to_owned()], value, &no_table(&engine, names));
    None
}

/// The end of a sentence about a name that no engine has.
pub(super) fn no_table(engine: &str, names: &BTreeSet<String>) -> String {
    let table = key_path(&["engines".to_owned(), engine.to_owned()]);
    format!("there is no table [{table}]{}", hint(engine, names.iter().map(String::as_str), "the engines are"))
}

fn engine(engines: &Engines, checker: &mut Checker<'_>, name: &str, table: &mut Dict, names: &BTreeSet<String>) -> Option<EngineSettings> {
    let path = ["engines".to_owned(), name.to_owned()];
    let key = |key: &str| [path[0].clone(), path[1].clone(), key.to_owned()];
    let whole = Value::Dict(Tag::Default, table.clone());
    if name.is_empty() || !name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-')) {
        let message = format!("an engine's name can't be {name:?}; it consists of a-z, 0-9, _ and -");
        checker.problems.push(Problem::new(checker.merged.place_of_key(&path, &whole), message));
        return None;
    }
    if !table.contains_key("backend") {
        let others = names.iter().map(String::as_str).filter(|other| *other != name);
        let hint = nearest(name, others).map(|near| format!(", or is `{near}` meant?")).unwrap_or_default();
        let backends = engines.names().collect::<Vec<_>>().join(", ");
        let message = format!("[{}] needs the key `backend`, one of: {backends}{hint}", key_path(&path));
        checker.problems.push(Problem::new(checker.merged.place_of_key(&path, &whole), message));
        return None;
    }

    let (mut shared, mut own): (Dict, Dict) = std::mem::take(table).into_iter().partition(|(key, _)| SHARED_KEYS.contains(&key.as_str()));
    let read: Option<SharedTable> = checker.read(&path, &mut shared, &[]);
    let choice = read.as_ref().map(|read| read.backend.choice(engines));
    if let Some(Err(complaint)) = &choice {
        checker.refuse(&key("backend"), shared.get("backend")?, complaint);
    }
    let prepared = choice.as_ref().and_then(|choice| choice.as_ref().ok()).and_then(|backend| {
        #[allow(clippy::result_large_err)] // figment's error is what it is; this runs once per engine.
        let attempt = |table: &Value| engines.prepare(backend, table).transpose();
        match checker.merged.read(&mut own, attempt) {
            // The choice is one that there is.
            Ok(prepared) => return prepared,
            Err(error) => {
                let table = shared.clone().into_iter().chain(own.clone()).collect();
                let section = Section { path: &path, table: &table, also: &SHARED_KEYS };
                let problem = section.explain(checker.merged, &error);
                checker.problems.push(problem);
            }
        }
        None
    });
    let load_timeout = read.as_ref().and_then(|read| checker.wait(&key("load_timeout"), &shared, read.load_timeout));
    let isolate = read.as_ref().and_then(|read| read.isolate).or(prepared.as_ref().map(Prepared::may_end_the_process));
    if let Some(bytes) = read.as_ref().and_then(|read| read.memory_limit) {
        let value = shared.get("memory_limit")?;
        if bytes < LEAST_MEMORY {
            checker.refuse(&key("memory_limit"), value, &format!("it must be {LEAST_MEMORY} bytes or more"));
        } else if isolate == Some(false) {
            checker.refuse(
                &key("memory_limit"),
                value,
                "it limits a process of the engine's own, and there is none without `isolate = true`",
            );
        }
    }
    let base = own.get("model").or_else(|| shared.get("backend")).map(|value| checker.merged.base(value).to_owned());
    table.extend(shared);
    table.extend(own);
    let backend = choice?.ok()?.to_owned();
    let SharedTable { fallback, load, keep_alive, tags, memory_limit, .. } = read?;
    Some(EngineSettings {
        backend,
        // An empty one takes a default or a file's fallback away again.
        fallback: fallback.filter(|fallback| !fallback.is_empty()),
        load,
        keep_alive: keep_alive.unwrap_or(KeepAlive::Forever),
        tags,
        load_timeout: load_timeout?,
        isolate: isolate?,
        memory_limit,
        prepared: prepared?,
        opening: Opening { name: name.to_owned(), base: base? },
        table: table.clone(),
    })
}

/// Checks that every fallback exists and that none leads back to where it came from.
fn fallbacks(checker: &mut Checker<'_>, tables: &Dict, checked: &BTreeMap<String, EngineSettings>, names: &BTreeSet<String>) {
    let next = |name: &str| checked.get(name).and_then(|settings| settings.fallback.as_deref());
    let mut in_known_circle = BTreeSet::new();
    for name in checked.keys() {
        let Some(fallback) = next(name) else { continue };
        let Some(value) = tables.get(name).and_then(Value::as_dict).and_then(|table| table.get("fallback")) else { continue };
        let path = ["engines".to_owned(), name.clone(), "fallback".to_owned()];
        if !names.contains(fallback) {
            checker.refuse(&path, value, &no_table(fallback, names));
            continue;
        }
        let mut circle = vec![name.as_str()];
        let mut current = Some(fallback);
        while let Some(engine) = current.filter(|engine| !circle.contains(engine)) {
            circle.push(engine);
            current = next(engine);
        }
        if current == Some(name.as_str()) && !in_known_circle.contains(name.as_str()) {
            let way = circle.iter().chain([&name.as_str()]).copied().collect::<Vec<_>>().join(" -> ");
            checker.refuse(&path, value, &format!("engines can't stand in for each other in a circle: {way}"));
            in_known_circle.extend(circle);
        }
    }
}
