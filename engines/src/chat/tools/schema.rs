//! The schema of a call that must come.

use serde_json::{Map, Value, json};

use super::{ToolForm, function_of, name_of};

/// The schema of one call of one of these tools, in a model's form.
///
/// References in a tool's own schema start from its root, which is no longer the root here: such a schema goes into the definitions as a
/// whole, and its references lead there.
pub(super) fn of_calls(tools: &[&Value], form: ToolForm) -> Value {
    let mut definitions = Map::new();
    let calls: Vec<Value> = tools
        .iter()
        .enumerate()
        .map(|(place, tool)| {
            let mut arguments = arguments_of(tool);
            let root = format!("#/$defs/tool{place}");
            if lead_to(&root, &mut arguments) {
                definitions.insert(format!("tool{place}"), arguments);
                arguments = json!({"$ref": root});
            }
            let key = form.arguments_key();
            json!({
                "type": "object",
                "properties": {"name": {"const": name_of(tool)}, key: arguments},
                "required": ["name", key],
                "additionalProperties": false,
            })
        })
        .collect();
    let mut schema = match form {
        ToolForm::Listed => json!({"type": "array", "items": {"anyOf": calls}, "minItems": 1, "maxItems": 1}),
        _ => json!({"anyOf": calls}),
    };
    if !definitions.is_empty() {
        schema["$defs"] = definitions.into();
    }
    schema
}

/// What a tool says of its arguments; where it says nothing it has none. A list of arguments that isn't declared open is taken for all there
/// are, as OpenAI does: small models fill an open object with whatever comes to them.
fn arguments_of(tool: &Value) -> Value {
    match function_of(tool).get("parameters") {
        Some(Value::Object(parameters)) => {
            let mut parameters = parameters.clone();
            // Another base for references than the schema they will stand in.
            parameters.shift_remove("$id");
            let mut parameters = parameters.into();
            close(&mut parameters);
            parameters
        }
        Some(other) if !other.is_null() => other.clone(),
        _ => json!({"type": "object", "properties": {}, "additionalProperties": false}),
    }
}

/// Keywords beside which an object's properties aren't all that is said of its members.
const MORE_MEMBERS: [&str; 9] =
    ["additionalProperties", "patternProperties", "unevaluatedProperties", "allOf", "anyOf", "oneOf", "$ref", "if", "dependentSchemas"];

/// Allows objects no members but those that they list.
fn close(schema: &mut Value) {
    let Value::Object(members) = schema else { return };
    if members.get("properties").is_some_and(Value::is_object) && !MORE_MEMBERS.iter().any(|keyword| members.contains_key(*keyword)) {
        members.insert("additionalProperties".to_owned(), false.into());
    }
    if let Some(Value::Object(properties)) = members.get_mut("properties") {
        properties.values_mut().for_each(close);
    }
    if let Some(items) = members.get_mut("items") {
        close(items);
    }
}

/// Makes all references lead to another root. Whether there are any.
fn lead_to(root: &str, schema: &mut Value) -> bool {
    match schema {
        Value::Object(members) => members.iter_mut().fold(false, |any, (keyword, member)| {
            let found = match (keyword.as_str(), &mut *member) {
                ("$ref", Value::String(reference)) => match reference.strip_prefix('#') {
                    Some(pointer) => {
                        *reference = format!("{root}{pointer}");
                        true
                    }
                    None => false,
                },
                // Here the keywords are names.
                ("properties" | "patternProperties" | "$defs" | "definitions", Value::Object(named)) => {
                    named.values_mut().map(|schema| lead_to(root, schema)).fold(false, std::ops::BitOr::bitor)
                }
                // Compared with the answer word by word.
                ("const" | "enum" | "default" | "examples", _) => false,
                (_, member) => lead_to(root, member),
            };
            found || any
        }),
        Value::Array(items) => items.iter_mut().map(|item| lead_to(root, item)).fold(false, std::ops::BitOr::bitor),
        _ => false,
    }
}
