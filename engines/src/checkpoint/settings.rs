//! Typed reading of `config.json`, each mistake with the setting, its value and the limit.

use serde_json::{Map, Value};

/// A whole number from 1 to `limit`.
pub(crate) fn size(config: &Map<String, Value>, setting: &str, limit: usize) -> Result<usize, String> {
    let value = config.get(setting).ok_or_else(|| format!("{setting} is missing; it must be between 1 and {limit}"))?;
    let size = value.as_u64().and_then(|size| usize::try_from(size).ok()).filter(|size| (1..=limit).contains(size));
    size.ok_or_else(|| format!("{setting} is {value}; it must be between 1 and {limit}"))
}

/// True or false.
pub(crate) fn boolean(config: &Map<String, Value>, setting: &str, default: bool) -> Result<bool, String> {
    match config.get(setting) {
        None | Some(Value::Null) => Ok(default),
        Some(Value::Bool(value)) => Ok(*value),
        Some(other) => Err(format!("{setting} is {other}; it must be true or false")),
    }
}

/// A number over 0 and at most 1.
pub(crate) fn fraction(config: &Map<String, Value>, setting: &str, default: f64) -> Result<f64, String> {
    let value = config.get(setting).filter(|value| !value.is_null());
    match value.map_or(Some(default), Value::as_f64) {
        Some(fraction) if fraction > 0.0 && fraction <= 1.0 => Ok(fraction),
        _ => Err(format!("{setting} is {}; it must be over 0 and at most 1", value.unwrap_or(&Value::Null))),
    }
}

/// Whether it is there and not null.
pub(crate) fn is_set(config: &Map<String, Value>, setting: &str) -> bool {
    config.get(setting).is_some_and(|value| !value.is_null())
}

/// A text as messages show it.
pub(crate) fn quoted(value: Option<&str>) -> String {
    value.map_or_else(|| "no text".to_owned(), |value| format!("`{value}`"))
}
