//! Every key with its value and origin.

use std::fmt;

use figment::value::{Dict, Value};

use super::merged::Merged;
use super::notation::{key_path, shown};

/// What the daemon was configured with, for `minivaultd config`: one line for each key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The keys, section by section as in config.toml, in alphabetical order within each.
    pub entries: Vec<Entry>,
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
        let mut report = Self { entries: Vec::new() };
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
            self.entries.push(entry);
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.entries.iter().try_for_each(|Entry { key, value, origin }| writeln!(formatter, "{key} = {value}  # {origin}"))
    }
}
