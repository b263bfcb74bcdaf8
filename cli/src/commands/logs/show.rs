//! `minivault logs show`: all of one interaction.

use serde_json::{Map, Value};

use super::source::Source;
use crate::arguments::logs::Show;
use crate::failure::Failure;
use crate::output::Output;

/// What is told last, as text.
const TEXTS: [&str; 2] = ["prompt", "response"];

/// Shows a line field by field, its texts last.
pub async fn run(source: &Source<'_>, arguments: &Show, output: &mut Output) -> Result<(), Failure> {
    let line = source.find(&arguments.id).await?;
    match serde_json::from_str::<Map<String, Value>>(&line) {
        Ok(fields) if !arguments.json => output.line(&as_text(&fields)),
        _ => output.line(&line),
    }
}

fn as_text(fields: &Map<String, Value>) -> String {
    let width = fields.keys().filter(|name| !TEXTS.contains(&name.as_str())).map(String::len).max().unwrap_or(0);
    let mut text = String::new();
    for (name, value) in fields.iter().filter(|(name, _)| !TEXTS.contains(&name.as_str())) {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        text.push_str(&format!("{name:width$}  {value}\n"));
    }
    for name in TEXTS {
        let value = fields.get(name).and_then(Value::as_str).unwrap_or_default();
        text.push_str(&format!("\n--- {name}\n{value}\n"));
    }
    text.pop();
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_come_last_and_as_they_are() {
        let fields = serde_json::from_str(r#"{"prompt":"a\nb","response":"c","id":"x","usage":{"n":1}}"#).unwrap();
        assert_eq!(as_text(&fields), "id     x\nusage  {\"n\":1}\n\n--- prompt\na\nb\n\n--- response\nc");
    }
}
