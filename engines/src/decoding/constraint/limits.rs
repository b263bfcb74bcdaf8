//! What is looked at before a grammar is compiled: its size, its depth, and what of a schema means nothing to a grammar.

use llguidance::JsonCompileOptions;
use llguidance::api::TopLevelGrammar;
use serde_json::{Map, Value};

use super::gbnf;
use crate::error::{EngineError, Result};
use crate::request::Constraint;

/// Objects, arrays or brackets inside each other.
const DEEPEST: usize = 64;
/// Formats of strings that a grammar knows. JSON Schema lets any other word stand here, as a note.
const FORMATS: [&str; 10] = ["date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid", "uri"];
/// JSON stays on one line, with a blank or none after `,` and `:`. A model can't fill its tokens with whitespace, and the last bracket
/// is the end.
const BETWEEN: [(&str, &str); 2] = [("item_separator", ",\\x20?"), ("key_separator", ":\\x20?")];

/// What tells one grammar from another. The order of a schema's properties counts: it is the order of the answer's.
pub fn key(constraint: &Constraint) -> String {
    match constraint {
        Constraint::JsonObject => "object".to_owned(),
        Constraint::JsonSchema(schema) => format!("schema {schema}"),
        Constraint::Grammar(grammar) => format!("grammar {grammar}"),
        Constraint::Regex(regex) => format!("regex {regex}"),
    }
}

/// The grammar for llguidance, if it is neither too long nor too deep.
pub fn checked(constraint: &Constraint) -> Result<TopLevelGrammar> {
    let param = constraint.param();
    constraint.check_length()?;
    match constraint {
        Constraint::JsonObject => Ok(json(serde_json::json!({"type": "object"}))),
        Constraint::JsonSchema(schema) => {
            if depth(schema) > DEEPEST {
                return Err(EngineError::invalid(param, format!("the schema is deeper than {DEEPEST} levels, which is the limit")));
            }
            if !schema.is_object() && !schema.is_boolean() {
                return Err(EngineError::invalid(param, "the schema is neither an object nor a boolean"));
            }
            let mut schema = schema.clone();
            drop_notes(&mut schema);
            Ok(json(schema))
        }
        Constraint::Grammar(grammar) => {
            check_brackets(param, grammar)?;
            if grammar.trim().is_empty() {
                return Err(EngineError::invalid(param, "the grammar is empty; it needs a rule `start`"));
            }
            let lark = if gbnf::is_gbnf(grammar) {
                gbnf::to_lark(grammar).map_err(|reason| EngineError::invalid(param, format!("the grammar can't be read: {reason}")))?
            } else {
                grammar.clone()
            };
            Ok(TopLevelGrammar::from_lark(lark))
        }
        Constraint::Regex(regex) => {
            check_brackets(param, regex)?;
            if regex.is_empty() {
                return Err(EngineError::invalid(param, "the regular expression is empty"));
            }
            Ok(TopLevelGrammar::from_regex(regex))
        }
    }
}

/// llguidance's complaint without its reports of state and without what only its own users could set.
pub fn reason(complaint: &str) -> String {
    let end = ["\n<state>", "\n<non-verbose", "\n<backtrace>", " Enable 'coerce_one_of'", ". Enable 'coerce_one_of'"];
    let end = end.iter().filter_map(|mark| complaint.find(mark)).min().unwrap_or(complaint.len());
    let reason: Vec<&str> = complaint[..end].lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    reason.join("; ").chars().take(500).collect()
}

fn json(schema: Value) -> TopLevelGrammar {
    let mut schema = match schema {
        Value::Object(schema) => schema,
        // A schema that is `true` or `false` has no place for options.
        other => Map::from_iter([("allOf".to_owned(), Value::Array(vec![other]))]),
    };
    let mut options = serde_json::to_value(JsonCompileOptions { whitespace_flexible: false, ..JsonCompileOptions::default() })
        .unwrap_or_else(|_| Value::Object(Map::new()));
    for (option, value) in BETWEEN {
        options[option] = value.into();
    }
    // Takes the place of whatever the request has there.
    schema.insert("x-guidance".to_owned(), options);
    TopLevelGrammar::from_json_schema(Value::Object(schema))
}

/// Takes away formats that no grammar knows.
fn drop_notes(schema: &mut Value) {
    match schema {
        Value::Object(members) => {
            if let Some(Value::String(format)) = members.get("format")
                && !FORMATS.contains(&format.as_str())
            {
                members.shift_remove("format");
            }
            for (keyword, member) in members.iter_mut() {
                match (keyword.as_str(), member) {
                    // What is compared with the answer word by word is no schema.
                    ("const" | "enum" | "default" | "examples", _) => {}
                    // Here the keywords are names.
                    ("properties" | "patternProperties" | "$defs" | "definitions", Value::Object(named)) => {
                        named.values_mut().for_each(drop_notes);
                    }
                    (_, member) => drop_notes(member),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(drop_notes),
        _ => {}
    }
}

/// How deep a value is, counted no further than one above the limit.
fn depth(value: &Value) -> usize {
    fn descend(value: &Value, above: usize) -> usize {
        if above > DEEPEST {
            return above;
        }
        let below = |inner: &mut dyn Iterator<Item = &Value>| inner.map(|value| descend(value, above + 1)).max();
        let deepest = match value {
            Value::Object(members) => below(&mut members.values()),
            Value::Array(items) => below(&mut items.iter()),
            _ => None,
        };
        deepest.unwrap_or(above)
    }
    descend(value, 0)
}

/// How deep a Lark grammar or a regular expression is, by its brackets; those in strings and comments don't count.
fn check_brackets(param: &'static str, text: &str) -> Result<()> {
    let lark = param == "grammar";
    let (mut open, mut quote, mut escaped) = (0usize, None, false);
    for (place, byte) in text.bytes().enumerate() {
        if std::mem::take(&mut escaped) {
            continue;
        }
        match (quote, byte) {
            (_, b'\\') => escaped = true,
            (Some(_), b'\n') => quote = None,
            // A comment goes on to the end of its line.
            (Some(b'#'), _) => {}
            (Some(end), _) if end == byte => quote = None,
            (Some(_), _) => {}
            (None, b'/') if lark && text.as_bytes().get(place + 1) == Some(&b'/') => quote = Some(b'#'),
            (None, b'"' | b'/' | b'#') if lark => quote = Some(byte),
            (None, b'(' | b'[' | b'{') => open += 1,
            (None, b')' | b']' | b'}') => open = open.saturating_sub(1),
            _ => {}
        }
        if open > DEEPEST {
            return Err(EngineError::invalid(param, format!("{param} has brackets deeper than {DEEPEST} levels, which is the limit")));
        }
    }
    Ok(())
}
