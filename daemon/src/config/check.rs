//! From merged plain values to [`Settings`]: shapes, types, ranges.

use std::path::{Path, PathBuf};
use std::time::Duration;

use figment::value::{Dict, Value};
use minivault_engines::{EngineError, Engines, GenerateRequest, MaxTokens, Sampling};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::Loaded;
use super::aliases;
use super::defaults;
use super::diagnostics;
use super::engine_tables;
use super::error::{ConfigError, Problem, hint};
use super::explain::Section;
use super::log;
use super::merged::{Layer, Merged};
use super::notation::{key_path, shown};
use super::report::Report;
use super::server;
use super::settings::{GenerationSettings, Settings};

/// Seconds that any wait may take at most: a day.
const LONGEST_WAIT: f64 = 86_400.0;

/// `[generation]` as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GenerationTable {
    max_tokens: usize,
    temperature: f32,
    top_k: usize,
    top_p: f32,
    min_p: f32,
    repetition_penalty: f32,
    seed: Option<u64>,
    ignore_eos: bool,
}

/// Merges the layers over the built-in defaults and checks everything, going on after a problem.
pub(super) fn check(
    engines: &Engines,
    mut layers: Vec<Layer>,
    working_directory: PathBuf,
    mut problems: Vec<Problem>,
) -> Result<Loaded, ConfigError> {
    let backends: Vec<&str> = engines.names().collect();
    layers.insert(0, defaults::layer(&layers, &backends));
    let misshapen: Vec<Problem> = layers.iter().flat_map(misshapen).collect();
    if !misshapen.is_empty() {
        // What lies below can't be told apart from what stands in its place.
        problems.extend(misshapen);
        return Err(ConfigError::new(problems));
    }
    let (merged, mut table) = Merged::new(layers, working_directory)?;
    let mut checker = Checker { merged: &merged, problems };
    checker.top(&table);
    let server = server::check(&mut checker, &mut table);
    let log = log::check(&mut checker, &mut table);
    let diagnostics = diagnostics::check(&mut checker, &mut table);
    let generation = checker.generation(&mut table);
    let (engine, engine_settings) = engine_tables::check(engines, &mut checker, &mut table);
    let aliases = aliases::check(&mut checker, &mut table);
    match (server, log, diagnostics, generation, engine) {
        (Some(server), Some(log), Some(diagnostics), Some(generation), Some(engine)) if checker.problems.is_empty() => {
            let report = Report::new(&merged, &table);
            let settings = Settings { engine, server, log, diagnostics, generation, engines: engine_settings, aliases };
            Ok(Loaded { settings, report })
        }
        _ => Err(ConfigError::new(checker.problems)),
    }
}

/// What goes along while the sections are checked.
pub(super) struct Checker<'a> {
    pub merged: &'a Merged,
    pub problems: Vec<Problem>,
}

impl Checker<'_> {
    /// Keys that no section has; one that stands in the wrong section is shown the right one.
    fn top(&mut self, table: &Dict) {
        let known = defaults::sections();
        let names = || known.keys().map(String::as_str).chain(["engines"]);
        for (name, value) in table.iter().filter(|(name, _)| names().all(|known| known != name.as_str())) {
            let home = known.iter().find(|(_, keys)| keys.as_dict().is_some_and(|keys| keys.contains_key(name)));
            let hint = match home {
                Some((section, _)) => format!("; it belongs into [{section}]"),
                None => hint(name, names(), "there are"),
            };
            let path = [name.clone()];
            self.problems
                .push(Problem::new(self.merged.place_of_key(&path, value), format!("there is no key `{}`{hint}", key_path(&path))));
        }
    }

    /// Reads a table as a struct; a mistake in it is noted.
    pub fn read<T: DeserializeOwned>(&mut self, path: &[String], table: &mut Dict, also: &[&str]) -> Option<T> {
        let read = self.merged.read(table, Value::deserialize::<T>);
        read.map_err(|error| self.problems.push(Section { path, table, also }.explain(self.merged, &error))).ok()
    }

    /// Notes what is wrong with a value: the end of a sentence that begins with key and value.
    pub fn refuse(&mut self, path: &[String], value: &Value, complaint: &str) {
        let message = format!("{} is {}; {complaint}", key_path(path), shown(path, value));
        self.problems.push(Problem::new(self.merged.place_of_value(path, value), message));
    }

    /// Checks how long to wait for something: there must be some time for it.
    pub fn wait(&mut self, path: &[String], table: &Dict, seconds: f64) -> Option<Duration> {
        let fits = seconds > 0.0 && seconds <= LONGEST_WAIT;
        self.duration(path, table, seconds, fits, "over 0 and at most")
    }

    /// Checks how long something may last, if at all.
    pub fn span(&mut self, path: &[String], table: &Dict, seconds: f64) -> Option<Duration> {
        let fits = (0.0..=LONGEST_WAIT).contains(&seconds);
        self.duration(path, table, seconds, fits, "between 0 and")
    }

    fn duration(&mut self, path: &[String], table: &Dict, seconds: f64, fits: bool, limits: &str) -> Option<Duration> {
        if fits {
            return Some(Duration::from_secs_f64(seconds));
        }
        self.refuse(path, table.get(path.last()?)?, &format!("it must be {limits} {LONGEST_WAIT} seconds"));
        None
    }

    /// Checks a number that has a least and a greatest value.
    pub fn between(&mut self, path: &[String], table: &Dict, value: usize, most: usize) -> Option<usize> {
        if (1..=most).contains(&value) {
            return Some(value);
        }
        self.refuse(path, table.get(path.last()?)?, &format!("it must be between 1 and {most}"));
        None
    }

    fn generation(&mut self, table: &mut Dict) -> Option<GenerationSettings> {
        let table = section(table, "generation")?;
        let read: GenerationTable = self.read(&["generation".to_owned()], table, &[])?;
        let GenerationTable { max_tokens, temperature, top_k, top_p, min_p, repetition_penalty, seed, ignore_eos } = read;
        // The engines' own check of a request that leaves everything to these defaults.
        let sampling = Sampling { temperature, top_k, top_p, min_p, repetition_penalty, ..Sampling::default() };
        let request = GenerateRequest { sampling, ..GenerateRequest::text("any", MaxTokens::AtMost(max_tokens)) };
        match request.check() {
            Ok(()) => Some(GenerationSettings { max_tokens, temperature, top_k, top_p, min_p, repetition_penalty, seed, ignore_eos }),
            Err(EngineError::InvalidRequest { param, message }) if table.contains_key(param) => {
                let path = ["generation".to_owned(), param.to_owned()];
                let complaint = message.split_once("; ").map_or(message.as_str(), |(_, limits)| limits);
                self.refuse(&path, table.get(param)?, complaint);
                None
            }
            Err(error) => {
                self.problems.push(Problem::new("generation", error.to_string()));
                None
            }
        }
    }
}

/// The table of this name.
pub(super) fn section<'a>(table: &'a mut Dict, name: &str) -> Option<&'a mut Dict> {
    match table.get_mut(name) {
        Some(Value::Dict(_, section)) => Some(section),
        _ => None,
    }
}

/// The keys at the top that hold tables.
const SECTIONS: [&str; 6] = ["server", "log", "diagnostics", "generation", "aliases", "engines"];

/// Values in a source that stand where a table belongs. Merging would hide them under another source's table.
fn misshapen(layer: &Layer) -> Vec<Problem> {
    let sections = SECTIONS.iter().filter_map(|name| Some((vec![(*name).to_owned()], layer.table.get(*name)?)));
    let engines = layer.table.get("engines").and_then(Value::as_dict).into_iter().flatten();
    let engines = engines.map(|(name, value)| (vec!["engines".to_owned(), name.clone()], value));
    let wrong = sections.chain(engines).filter(|(_, value)| value.as_dict().is_none());
    let message = |path: &[String], value| format!("{} is {}; it must be a table", key_path(path), shown(path, value));
    wrong.map(|(path, value)| Problem::new(layer.origin.place_of_value(&path), message(&path, value))).collect()
}

/// The path without `.` in the middle, as a person would write it.
pub(super) fn plain(path: &Path) -> PathBuf {
    path.components().collect()
}
