//! Every key with its value and origin.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use figment::value::{Dict, Value};

use super::merged::Merged;
use super::notation::{key_path, shown};

/// What the daemon was configured with, for `minivaultd config`: one line for each key.
#[derive(Clone, PartialEq)]
pub struct Report {
    /// The keys, section by section as in config.toml, in alphabetical order within each.
    pub entries: Vec<Entry>,
    /// The values behind them, secrets too, to tell whether they are the same.
    values: BTreeMap<String, Value>,
}

/// One key of the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its whole path: `server.listen`.
    pub key: String,
    /// The value in effect, in TOML's notation; `(hidden)` for a secret.
    pub value: String,
    /// `config.toml:4:10`, `environment variable MINIVAULTD_SERVER__LISTEN`, `--listen` or `default`.
    pub origin: String,
}

impl Report {
    pub(super) fn new(merged: &Merged, table: &Dict) -> Self {
        let mut report = Self { entries: Vec::new(), values: BTreeMap::new() };
        for section in ["engine", "built_in_engines", "server", "log", "diagnostics", "generation", "aliases", "engines"] {
            if let Some(value) = table.get(section) {
                report.add(merged, &mut vec![section.to_owned()], value);
            }
        }
        report
    }

    fn add(&mut self, merged: &Merged, path: &mut Vec<String>, value: &Value) {
        if let Value::Dict(_, table) = value {
            for (key, value) in table {
                path.push(key.clone());
                self.add(merged, path, value);
                path.pop();
            }
        } else {
            let entry = Entry { key: key_path(path), value: shown(path, value), origin: merged.place_of_value(path, value).into_parts().0 };
            self.values.insert(entry.key.clone(), value.clone());
            self.entries.push(entry);
        }
    }
}

impl Report {
    /// The keys that have another value in the other one, or are in one of both alone, in alphabetical order.
    pub fn differences(&self, other: &Self) -> Vec<String> {
        let keys: BTreeSet<&String> = self.values.keys().chain(other.values.keys()).collect();
        // With an engine's table come keys that nobody has written.
        let is_written = |report: &Self, key: &String| report.entries.iter().any(|entry| entry.key == *key && entry.origin != "default");
        let differs = |key: &&String| match (self.values.get(*key), other.values.get(*key)) {
            (Some(value), Some(another)) => value != another,
            (value, _) => is_written(if value.is_some() { self } else { other }, key),
        };
        keys.into_iter().filter(differs).cloned().collect()
    }

    /// Takes what the other one says of these keys.
    pub fn take(&mut self, other: Self, takes: impl Fn(&str) -> bool) {
        self.entries.retain(|entry| !takes(&entry.key));
        self.values.retain(|key, _| !takes(key));
        self.entries.extend(other.entries.into_iter().filter(|entry| takes(&entry.key)));
        self.values.extend(other.values.into_iter().filter(|(key, _)| takes(key)));
    }
}

impl fmt::Debug for Report {
    /// As it is displayed: without secrets.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_list().entries(&self.entries).finish()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.entries.iter().try_for_each(|Entry { key, value, origin }| writeln!(formatter, "{key} = {value}  # {origin}"))
    }
}
