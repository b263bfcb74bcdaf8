//! Plain values and keys, to and from TOML's notation.

use figment::value::{Dict, Tag, Value};

/// The value as config.toml would have it, for people to see: without what its key says is a secret.
pub(super) fn shown(path: &[String], value: &Value) -> String {
    if is_secret(path) && !is_empty(value) {
        return "(hidden)".into();
    }
    match value {
        Value::String(_, text) => quoted(text),
        Value::Char(_, character) => quoted(&character.to_string()),
        Value::Bool(_, truth) => truth.to_string(),
        Value::Num(_, number) => match (number.to_i128(), number.to_u128(), number.to_f64()) {
            (Some(whole), ..) => whole.to_string(),
            (_, Some(whole), _) => whole.to_string(),
            // Rust's notation keeps 1e300 short, as TOML may have it too.
            (.., Some(fraction)) => format!("{fraction:?}").to_lowercase(),
            _ => String::new(),
        },
        Value::Empty(..) => quoted(""),
        Value::Dict(_, table) if table.is_empty() => "{}".into(),
        Value::Dict(_, table) => {
            let below = |key: &String| path.iter().chain([key]).cloned().collect::<Vec<_>>();
            let entries: Vec<String> =
                table.iter().map(|(key, value)| format!("{} = {}", key_name(key), shown(&below(key), value))).collect();
            format!("{{ {} }}", entries.join(", "))
        }
        Value::Array(_, values) => {
            let values: Vec<String> = values.iter().map(|value| shown(path, value)).collect();
            format!("[{}]", values.join(", "))
        }
    }
}

/// Whether a key's name, or that of the table of secrets that it stands in, says so.
fn is_secret(path: &[String]) -> bool {
    path.iter().rev().take(2).any(|part| names_a_secret(part))
}

/// Whether a line with a value of this path may hold a secret.
pub(super) fn may_hold_a_secret(path: &[String]) -> bool {
    path.iter().any(|part| names_a_secret(part))
}

fn names_a_secret(part: &str) -> bool {
    const SECRETS: [&str; 5] = ["key", "keys", "token", "secret", "password"];
    SECRETS.iter().any(|word| part == *word || part.ends_with(&format!("_{word}")))
}

/// Whether there is nothing to hide.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::String(_, text) => text.is_empty(),
        Value::Array(_, values) => values.is_empty(),
        Value::Dict(_, table) => table.is_empty(),
        _ => false,
    }
}

fn quoted(text: &str) -> String {
    toml_edit::Value::from(text).to_string()
}

/// `server.listen`, with quotes where a part needs them.
pub(super) fn key_path(path: &[String]) -> String {
    path.iter().map(|part| key_name(part)).collect::<Vec<_>>().join(".")
}

fn key_name(name: &str) -> String {
    toml_edit::Key::new(name).default_repr().as_raw().as_str().map_or_else(|| name.to_owned(), ToOwned::to_owned)
}

/// What a variable's text says when it is read as a TOML value: a number, a truth value or a list; everything else is itself.
pub(super) fn reading_of(text: &str) -> Value {
    use toml_edit::Value::{Array, Boolean, Float, Integer};
    match text.trim().parse::<toml_edit::Value>() {
        Ok(value @ (Integer(_) | Float(_) | Boolean(_) | Array(_))) => from_toml(&value).unwrap_or_else(|_| Value::from(text)),
        _ => Value::from(text),
    }
}

/// A date, which no key takes. Carries its span in the document.
pub(super) struct DateFound(pub Option<std::ops::Range<usize>>);

/// A TOML value as a plain one.
pub(super) fn from_toml(value: &toml_edit::Value) -> Result<Value, DateFound> {
    Ok(match value {
        toml_edit::Value::String(text) => Value::from(text.value().as_str()),
        toml_edit::Value::Integer(number) => Value::from(*number.value()),
        toml_edit::Value::Float(number) => Value::from(*number.value()),
        toml_edit::Value::Boolean(truth) => Value::from(*truth.value()),
        toml_edit::Value::Datetime(date) => return Err(DateFound(date.span())),
        toml_edit::Value::Array(values) => Value::Array(Tag::Default, values.iter().map(from_toml).collect::<Result<_, _>>()?),
        toml_edit::Value::InlineTable(table) => {
            let entries = table.iter().map(|(key, value)| Ok((key.to_owned(), from_toml(value)?)));
            Value::Dict(Tag::Default, entries.collect::<Result<Dict, _>>()?)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_come_back_as_they_were_written() {
        for text in ["\"a b\"", "12", "-3", "0.95", "1.0", "1e300", "inf", "nan", "true", "[1, \"x\", false]", "{ a = 1, b = \"c\" }"] {
            let value = text.parse::<toml_edit::Value>().ok().and_then(|value| from_toml(&value).ok());
            assert_eq!(value.as_ref().map(|value| shown(&[], value)).as_deref(), Some(text));
        }
    }

    #[test]
    fn only_numbers_truth_values_and_lists_are_read_out_of_text() {
        for (text, expected) in [("12", "12"), ("0.5", "0.5"), ("true", "true"), ("[\"a\", 2]", "[\"a\", 2]")] {
            assert_eq!(shown(&[], &reading_of(text)), expected);
        }
        for text in ["[x]", "\"quoted\"", "/a/path", "007", "1979-05-27", "{a = 1}", "", " padded ", "12 monkeys", "a\nb"] {
            assert_eq!(reading_of(text).as_str(), Some(text));
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        let path = |key: &str| ["engines".to_owned(), "upstream".to_owned(), key.to_owned()];
        for key in ["api_key", "token", "auth_token"] {
            assert_eq!(shown(&path(key), &Value::from("s3cret")), "(hidden)");
        }
        assert_eq!(shown(&path("api_key"), &Value::from(12345)), "(hidden)");
        assert_eq!(shown(&path("api_key"), &Value::from("")), "\"\"");
        assert_eq!(shown(&path("max_tokens"), &Value::from(3)), "3");
    }

    #[test]
    fn a_secret_is_not_shown_with_what_it_stands_in() {
        let value = "{ keys = { ada = \"s3cret\", bob = { key = \"s3cret\", concurrent = 2 } }, list = [{ password = \"s3cret\" }] }";
        let value = value.parse::<toml_edit::Value>().ok().and_then(|value| from_toml(&value).ok()).unwrap();
        assert_eq!(shown(&["server".into()], &value), "{ keys = (hidden), list = [{ password = (hidden) }] }");
        let Value::Dict(_, table) = &value else { panic!("{value:?}") };
        let bob = table["keys"].find_ref("bob").unwrap();
        let path = |last: &str| ["server", "keys", "bob", last].map(str::to_owned);
        assert_eq!(shown(&path("concurrent"), bob.find_ref("concurrent").unwrap()), "2");
        assert_eq!(shown(&path("key"), bob.find_ref("key").unwrap()), "(hidden)");
    }

    #[test]
    fn a_key_is_quoted_where_it_must_be() {
        assert_eq!(key_path(&["engines".into(), "my engine".into(), "a-b_c".into()]), "engines.\"my engine\".a-b_c");
    }
}
