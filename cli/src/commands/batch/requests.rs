//! The lines of a batch: a prompt as a JSON string, the body of a request, or such a body in OpenAI's form for batches.

use std::fs::File;
use std::io::{self, BufRead, BufReader};

use serde_json::{Map, Value};

use super::twice;
use crate::arguments::Sampling;
use crate::failure::Failure;

/// What may be asked so.
const PATHS: [&str; 4] = ["generate", "v1/completions", "v1/chat/completions", "v1/embeddings"];

/// One line.
#[derive(Debug, PartialEq)]
pub struct Request {
    /// Its number, from 1.
    pub line: usize,
    /// As it is written.
    pub written: Value,
    /// Of the flags, those that stand for what it leaves out.
    pub flags: Map<String, Value>,
    pub path: String,
    pub body: Value,
}

/// All lines of a file; `-` is stdin.
///
/// # Errors
/// The file can't be read, or a line asks nothing; the line is named.
pub fn read(file: &str, sampling: &Sampling) -> Result<Vec<Request>, Failure> {
    let unreadable = |error: io::Error| Failure::Usage(format!("{file} cannot be read: {error}"));
    let reader: Box<dyn BufRead> =
        if file == "-" { Box::new(io::stdin().lock()) } else { Box::new(BufReader::new(File::open(file).map_err(unreadable)?)) };
    let flags = as_flags(sampling)?;
    let mut requests = Vec::new();
    for (index, line) in reader.lines().enumerate() {
        let line = line.map_err(unreadable)?;
        if line.trim().is_empty() {
            continue;
        }
        let wrong = |reason: String| Failure::Usage(format!("line {} of {file} {reason}", index + 1));
        let written: Value = serde_json::from_str(&line).map_err(|error| wrong(not_json(&error)))?;
        let (path, mut body) = asked(&written).map_err(wrong)?;
        let mut flags = flags.clone();
        flags.retain(|name, _| !body.contains_key(name));
        body.extend(flags.clone());
        requests.push(Request { line: index + 1, written, flags, path, body: body.into() });
    }
    let names = requests.iter().filter_map(|request| request.written.get("custom_id")?.as_str());
    match twice(names) {
        Some(name) => Err(Failure::Usage(format!("{file} has the custom_id {name:?} twice"))),
        None => Ok(requests),
    }
}

/// What is wrong with a line; serde's own words count lines, too, of which there is one.
fn not_json(error: &serde_json::Error) -> String {
    let place = format!(" at line {} column {}", error.line(), error.column());
    format!("isn't JSON at column {}: {}", error.column(), error.to_string().replace(&place, ""))
}

/// What is typed of the fields of a body.
fn as_flags(sampling: &Sampling) -> Result<Map<String, Value>, Failure> {
    let body = sampling.generate_body(String::new());
    // By way of text: a number of the command line keeps the digits that were typed.
    let fields = serde_json::to_string(&body).and_then(|text| serde_json::from_str::<Map<String, Value>>(&text));
    let mut fields = fields.map_err(|error| Failure::Failed(format!("the flags make no request: {error}; please report it")))?;
    fields.remove("prompt");
    Ok(fields)
}

/// Where a line goes, and the body that it sends.
fn asked(written: &Value) -> Result<(String, Map<String, Value>), String> {
    let fields = match written {
        Value::String(prompt) => return Ok(("generate".into(), Map::from_iter([("prompt".to_owned(), prompt.clone().into())]))),
        Value::Object(fields) => fields,
        _ => return Err("must be a prompt as a JSON string, or an object".into()),
    };
    let (path, body) = match (fields.get("url"), fields.get("body")) {
        (None, None) if fields.contains_key("messages") => ("v1/chat/completions", fields.clone()),
        (None, None) if fields.contains_key("prompt") => ("generate", fields.clone()),
        (Some(Value::String(url)), Some(Value::Object(body))) => (url.trim_start_matches('/'), body.clone()),
        _ => return Err("must have `prompt`, or `messages`, or both of `url` and `body`".into()),
    };
    if !PATHS.contains(&path) {
        return Err(format!("asks {path:?}; it must be one of {}", PATHS.map(|path| format!("/{path}")).join(", ")));
    }
    let mut body = body;
    body.remove("custom_id");
    if body.get("stream").is_some_and(|stream| stream != false) {
        return Err("asks for a stream, which a line of a file can't hold".into());
    }
    Ok((path.to_owned(), body))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(line: &Value, path: &str, body: &Value) {
        assert_eq!(asked(line), Ok((path.to_owned(), body.as_object().cloned().unwrap_or_default())));
    }

    #[test]
    fn a_line_is_a_prompt_a_body_or_one_of_openais() {
        check(&json!("Hello"), "generate", &json!({"prompt": "Hello"}));
        check(&json!({"prompt": "Hello", "seed": 7, "custom_id": "a"}), "generate", &json!({"prompt": "Hello", "seed": 7}));
        check(&json!({"messages": []}), "v1/chat/completions", &json!({"messages": []}));
        let openai = json!({"custom_id": "a", "method": "POST", "url": "/v1/completions", "body": {"prompt": "Hello"}});
        check(&openai, "v1/completions", &json!({"prompt": "Hello"}));
    }

    #[test]
    fn a_broken_line_is_told_with_one_number() {
        let error = serde_json::from_str::<Value>("{\"prompt\": oops}").unwrap_err();
        assert_eq!(not_json(&error), "isn't JSON at column 12: expected value");
    }

    #[test]
    fn a_line_that_asks_nothing_is_refused() {
        for (line, part) in [
            (json!(7), "a JSON string, or an object"),
            (json!({"text": "Hello"}), "must have `prompt`"),
            (json!({"url": "/interactions", "body": {}}), "asks \"interactions\""),
            (json!({"prompt": "Hello", "stream": true}), "a stream"),
        ] {
            assert!(asked(&line).is_err_and(|reason| reason.contains(part)), "{line}");
        }
    }
}
