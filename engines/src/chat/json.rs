//! JSON in templates.

use minijinja::value::Kwargs;
use minijinja::{Error as JinjaError, ErrorKind, Value};
use serde::Serialize;
use serde_json::ser::{Formatter, PrettyFormatter, Serializer};

/// The filter `tojson`, as Transformers has it: Python's `json.dumps` with its blanks, and nothing escaped for HTML. Models were trained on
/// what that writes.
#[allow(clippy::needless_pass_by_value)] // Filters are called so.
pub(super) fn as_python_writes_it(value: &Value, options: Kwargs) -> Result<Value, JinjaError> {
    let indent: Option<usize> = options.get("indent")?;
    // Both are as they would be anyway; a key order isn't for templates to choose.
    let _: Option<bool> = options.get("ensure_ascii")?;
    let _: Option<bool> = options.get("sort_keys")?;
    options.assert_all_used()?;
    let written = match indent {
        Some(width) => write(value, PrettyFormatter::with_indent(" ".repeat(width.min(16)).as_bytes())),
        None => write(value, OneLine),
    };
    written.map(Value::from_safe_string)
}

fn write(value: &Value, formatter: impl Formatter) -> Result<String, JinjaError> {
    let mut bytes = Vec::new();
    let failed = |reason: String| JinjaError::new(ErrorKind::BadSerialization, reason);
    value.serialize(&mut Serializer::with_formatter(&mut bytes, formatter)).map_err(|error| failed(error.to_string()))?;
    String::from_utf8(bytes).map_err(|error| failed(error.to_string()))
}

/// One line with a blank after each comma and colon.
struct OneLine;

impl Formatter for OneLine {
    fn begin_array_value<W: ?Sized + std::io::Write>(&mut self, writer: &mut W, first: bool) -> std::io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_key<W: ?Sized + std::io::Write>(&mut self, writer: &mut W, first: bool) -> std::io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_value<W: ?Sized + std::io::Write>(&mut self, writer: &mut W) -> std::io::Result<()> {
        writer.write_all(b": ")
    }
}
