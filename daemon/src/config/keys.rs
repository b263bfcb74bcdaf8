//! `server.keys` and `server.keys_file`: the API keys. Nothing of a key is ever shown, also not in what is wrong with it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use figment::value::Dict;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::check::Checker;
use super::server::resolved;
use crate::door::keys::{Key, Secret};
use crate::door::limits::Limits;

/// Keys as they are written: a string, a list of strings, or a table of them by name.
pub(super) enum KeysTable {
    /// Without names.
    Listed(Vec<String>),
    /// By name.
    Named(BTreeMap<String, KeyTable>),
}

/// A key with its limits; a string is one without.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct KeyFields {
    key: String,
    requests_per_minute: Option<u32>,
    concurrent: Option<usize>,
}

/// Either form of one.
pub(super) struct KeyTable(KeyFields);

/// Checks the keys, and reads their file.
pub(super) fn check(checker: &mut Checker<'_>, table: &mut Dict, written: KeysTable, file: &str) -> Option<Vec<Key>> {
    let mut keys = Vec::new();
    let complain = |checker: &mut Checker<'_>, key: &str, complaint: &str| {
        if let Some(value) = table.get(key) {
            checker.refuse(&["server".to_owned(), key.to_owned()], value, complaint);
        }
    };
    match written {
        KeysTable::Listed(listed) => {
            for (index, key) in listed.iter().enumerate() {
                keys.push(checked(format!("key-{}", index + 1), key, Limits::default()));
            }
        }
        KeysTable::Named(named) => {
            for (name, KeyTable(KeyFields { key, requests_per_minute, concurrent })) in named {
                if requests_per_minute == Some(0) || concurrent == Some(0) {
                    complain(checker, "keys", &format!("a limit of `{name}` is 0, which nothing keeps; leave the key out instead"));
                    return None;
                }
                keys.push(checked(name, &key, Limits { requests_per_minute, concurrent }));
            }
        }
    }
    let keys = match keys.into_iter().collect::<Result<Vec<Key>, String>>() {
        Ok(keys) => keys,
        Err(complaint) => {
            complain(checker, "keys", &complaint);
            return None;
        }
    };
    let more = if file.is_empty() {
        Vec::new()
    } else {
        let path = resolved(checker, table, "keys_file", file)?;
        match std::fs::read_to_string(&path).map_err(|error| format!("it can't be read: {error}")).and_then(|text| read(&text)) {
            Ok(more) if !more.is_empty() => more,
            outcome => {
                let complaint = outcome.err().unwrap_or_else(|| "it holds no key".into());
                checker.refuse(&["server".to_owned(), "keys_file".to_owned()], table.get("keys_file")?, &complaint);
                return None;
            }
        }
    };
    let keys: Vec<Key> = keys.into_iter().chain(more).collect();
    let mut names = BTreeSet::new();
    for (index, Key { name, secret, .. }) in keys.iter().enumerate() {
        let twice = if !names.insert(name) {
            format!("there are two keys of the name `{name}`")
        } else if let Some(other) = keys[..index].iter().find(|other| other.secret == *secret) {
            format!("`{}` and `{name}` are the same key", other.name)
        } else {
            continue;
        };
        let key = if file.is_empty() { "keys" } else { "keys_file" };
        checker.refuse(&["server".to_owned(), key.to_owned()], table.get(key)?, &twice);
        return None;
    }
    Some(keys)
}

/// One key a line, with a name before it or without.
fn read(text: &str) -> Result<Vec<Key>, String> {
    let lines = text.lines().enumerate().map(|(index, line)| (index + 1, line.trim()));
    let lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|(number, line)| {
            let (name, key) = match line.split_once(char::is_whitespace) {
                Some((name, key)) => (name.to_owned(), key.trim()),
                None => (format!("line-{number}"), line),
            };
            checked(name, key, Limits::default()).map_err(|complaint| format!("line {number}: {complaint}"))
        })
        .collect()
}

/// The key, if a request can carry it and the log its name.
fn checked(name: String, key: &str, limits: Limits) -> Result<Key, String> {
    if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.@".contains(&byte)) || name.is_empty() {
        // It may be the key itself that stands in the wrong place.
        return Err("the name of a key consists of letters, digits, _, -, . and @".into());
    }
    if key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(format!("key `{name}` must be visible ASCII characters, at least one and no spaces"));
    }
    Ok(Key { name, secret: Secret::of(key), limits })
}

impl<'de> Deserialize<'de> for KeysTable {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(All)
    }
}

struct All;

impl<'de> Visitor<'de> for All {
    type Value = KeysTable;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a key, a list of keys, or a table of keys by name")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<KeysTable, E> {
        Ok(KeysTable::Listed(vec![text.to_owned()]))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<KeysTable, A::Error> {
        let mut keys = Vec::new();
        while let Some(key) = values.next_element()? {
            keys.push(key);
        }
        Ok(KeysTable::Listed(keys))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<KeysTable, A::Error> {
        let mut keys = BTreeMap::new();
        while let Some((name, key)) = entries.next_entry()? {
            keys.insert(name, key);
        }
        Ok(KeysTable::Named(keys))
    }
}

impl<'de> Deserialize<'de> for KeyTable {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(One)
    }
}

struct One;

impl<'de> Visitor<'de> for One {
    type Value = KeyTable;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a key, or a table with `key`")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<KeyTable, E> {
        Ok(KeyTable(KeyFields { key: text.to_owned(), requests_per_minute: None, concurrent: None }))
    }

    fn visit_map<A: MapAccess<'de>>(self, entries: A) -> Result<KeyTable, A::Error> {
        KeyFields::deserialize(MapAccessDeserializer::new(entries)).map(KeyTable)
    }
}
