//! Environment variables: `MINIVAULTD_SERVER__LISTEN` is `listen` in `[server]`.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};

use super::error::Problem;
use super::merged::{Layer, Origin};
use super::notation::reading_of;

/// What the daemon's variables begin with; `MINIVAULT_` alone belongs to the client.
const PREFIX: &str = "MINIVAULTD_";
/// What stands between two levels; a single underscore is part of a name.
const SEPARATOR: &str = "__";

/// Whether a variable is meant for the daemon.
pub(super) fn is_ours(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(PREFIX.as_bytes())
}

/// A layer for each variable, in the order of their names.
pub(super) fn read(environment: Vec<(OsString, OsString)>, problems: &mut Vec<Problem>) -> Vec<Layer> {
    let variables: BTreeMap<OsString, OsString> = environment.into_iter().filter(|(name, _)| is_ours(name)).collect();
    let mut seen: BTreeMap<Vec<String>, String> = BTreeMap::new();
    let mut layers = Vec::new();
    for (name, text) in variables {
        match variable(&name, text, &mut seen) {
            Ok(layer) => layers.push(layer),
            Err(problem) => problems.push(problem),
        }
    }
    layers
}

fn variable(name: &OsStr, text: OsString, seen: &mut BTreeMap<Vec<String>, String>) -> Result<Layer, Problem> {
    let shown = name.to_string_lossy().into_owned();
    let problem = |message: String| Problem::new(format!("environment variable {shown}"), message);
    let key = name.to_str().and_then(|name| name.strip_prefix(PREFIX)).ok_or_else(|| problem("its name isn't UTF-8 text".into()))?;
    let path: Vec<String> = key.split(SEPARATOR).map(str::to_lowercase).collect();
    if path.iter().any(String::is_empty) {
        return Err(problem(format!("a level of its name is empty; {SEPARATOR} stands between two names")));
    }
    let text = text.into_string().map_err(|_| problem("its value isn't UTF-8 text".into()))?;
    if let Some(other) = seen.insert(path.clone(), shown.clone()) {
        return Err(problem(format!("it sets the same key as {other}; keep one of them")));
    }
    let value = reading_of(&text);
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    Ok(Layer::value(Origin::Variable { name: shown, text }, &path, value))
}
