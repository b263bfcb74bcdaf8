//! What serde and figment say of a table, in the words of the configuration.

use figment::error::Kind;
use figment::value::{Dict, Tag, Value};

use super::error::{Problem, hint};
use super::merged::Merged;
use super::notation::{key_path, shown};
use crate::nearest::nearest;

/// A table that was read as a struct.
pub(super) struct Section<'a> {
    /// Its path: `engines`, `distilgpt2`.
    pub path: &'a [String],
    /// Its values.
    pub table: &'a Dict,
    /// Keys that it may have besides those of the struct.
    pub also: &'a [&'a str],
}

impl Section<'_> {
    /// The problem behind an error of reading this table.
    pub fn explain(&self, merged: &Merged, error: &figment::Error) -> Problem {
        match &error.kind {
            Kind::UnknownField(name, expected) => self.unknown_key(merged, &error.path, name, expected),
            Kind::MissingField(name) => self.missing_key(merged, &error.path, name),
            kind => {
                let path = self.key(&error.path);
                let value = find(self.table, &error.path);
                let place = match value {
                    Some(value) => merged.place_of_value(&path, value),
                    None => merged.place_of_key(self.path, &self.whole()),
                };
                let seen = value.map(|value| format!(" is {}", shown(&path, value))).unwrap_or_default();
                Problem::new(place, format!("{}{seen}; {}", key_path(&path), complaint(kind)))
            }
        }
    }

    fn unknown_key(&self, merged: &Merged, path: &[String], name: &str, expected: &[&str]) -> Problem {
        let mut path = path.to_vec();
        if path.last().is_none_or(|last| last != name) {
            path.push(name.to_owned());
        }
        let key = self.key(&path);
        let value = find(self.table, &path);
        let place = value.map_or_else(|| merged.place_of_key(self.path, &self.whole()), |value| merged.place_of_key(&key, value));
        let nested = path.len() > 1;
        let also: &[&str] = if nested { &[] } else { self.also };
        let hint = match name {
            // TOML counts a key that follows a table's header as one of that table's, also when it was meant for the whole file.
            "engine" => "; it belongs at the top, outside of every table".into(),
            _ => hint(name, expected.iter().chain(also).copied(), "its keys are"),
        };
        Problem::new(place, format!("[{}] has no key `{name}`{hint}", key_path(&key[..key.len() - 1])))
    }

    fn missing_key(&self, merged: &Merged, path: &[String], name: &str) -> Problem {
        let key = self.key(path);
        let whole = self.whole();
        let place = merged.place_of_key(&key, find(self.table, path).unwrap_or(&whole));
        Problem::new(place, format!("[{}] needs the key `{name}`", key_path(&key)))
    }

    fn key(&self, path: &[String]) -> Vec<String> {
        self.path.iter().chain(path).cloned().collect()
    }

    fn whole(&self) -> Value {
        Value::Dict(Tag::Default, self.table.clone())
    }
}

fn complaint(kind: &Kind) -> String {
    match kind {
        Kind::InvalidType(_, expected) | Kind::InvalidValue(_, expected) => format!("it must be {}", in_words(expected)),
        Kind::InvalidLength(length, expected) => format!("it has {length} values and must have {expected}"),
        Kind::UnknownVariant(name, expected) => {
            let suggestion = nearest(name, expected.iter().copied()).map(|near| format!("; did you mean `{near}`?"));
            format!("it must be one of {}{}", expected.join(", "), suggestion.unwrap_or_default())
        }
        other => other.to_string(),
    }
}

/// serde names Rust's types; who writes a configuration need not know them.
fn in_words(expected: &str) -> String {
    match expected {
        "usize" | "u64" | "u32" | "u16" | "u8" => "a whole number, 0 or more".into(),
        "isize" | "i64" | "i32" | "i16" | "i8" => "a whole number".into(),
        "f32" | "f64" => "a number".into(),
        "bool" | "a boolean" => "true or false".into(),
        "a sequence" => "a list".into(),
        "a map" => "a table".into(),
        text if text.starts_with("struct ") => "a table".into(),
        text => text.to_owned(),
    }
}

/// The value at the end of the path.
fn find<'a>(table: &'a Dict, path: &[String]) -> Option<&'a Value> {
    let (first, rest) = path.split_first()?;
    rest.iter().try_fold(table.get(first)?, |value, key| match value {
        Value::Dict(_, table) => table.get(key),
        Value::Array(_, values) => key.parse::<usize>().ok().and_then(|index| values.get(index)),
        _ => None,
    })
}
