//! The form an answer must have: `response_format` and the fields that local servers have beside it.

use minivault_engines::Constraint;
use minivault_wire::format::ResponseFormat;
use serde_json::Value;

use crate::error::ApiError;

/// All fields of a body that say something of the answer's form.
pub(in crate::routes) struct Form {
    pub response_format: Option<ResponseFormat>,
    pub grammar: Option<String>,
    pub regex: Option<String>,
    pub json_schema: Option<Value>,
}

impl Form {
    /// The one constraint that they name, if any.
    ///
    /// # Errors
    /// Several of them, an unknown type, or a schema that is missing.
    pub fn constraint(self) -> Result<Option<Constraint>, ApiError> {
        let Self { response_format, grammar, regex, json_schema } = self;
        let named = [
            ("response_format", response_format.map(of_format).transpose()?.flatten()),
            ("grammar", grammar.filter(|grammar| !grammar.is_empty()).map(Constraint::Grammar)),
            ("regex", regex.map(Constraint::Regex)),
            ("json_schema", json_schema.map(of_schema).transpose()?),
        ];
        let mut named = named.into_iter().filter_map(|(name, constraint)| Some((name, constraint?)));
        match (named.next(), named.next()) {
            (Some((one, _)), Some((other, _))) => {
                Err(ApiError::invalid(Some(other), format!("`{one}` and `{other}` each say what form the answer has; name one of them")))
            }
            (first, _) => Ok(first.map(|(_, constraint)| constraint)),
        }
    }
}

fn of_format(format: ResponseFormat) -> Result<Option<Constraint>, ApiError> {
    let missing = |field: &str| ApiError::invalid(Some(field), format!("`{field}` is missing"));
    match format.r#type.as_str() {
        "text" => Ok(None),
        "json_object" => Ok(Some(format.schema.map_or(Ok(Constraint::JsonObject), of_schema)?)),
        "json_schema" => {
            // llama.cpp's server also takes the schema where it stands beside `json_object`.
            let named = format.json_schema.ok_or_else(|| missing("response_format.json_schema"));
            let schema = match format.schema {
                Some(schema) => schema,
                None => named?.schema.ok_or_else(|| missing("response_format.json_schema.schema"))?,
            };
            of_schema(schema).map(Some)
        }
        other => {
            let message = format!("response_format.type is `{other}`; it must be text, json_object or json_schema");
            Err(ApiError::invalid(Some("response_format.type"), message))
        }
    }
}

/// A schema that allows anything would make a number of a request for an object; clients that send one mean any object.
pub(in crate::routes) fn of_schema(schema: Value) -> Result<Constraint, ApiError> {
    match schema {
        Value::Object(members) if members.is_empty() => Ok(Constraint::JsonObject),
        Value::Object(_) | Value::Bool(_) => Ok(Constraint::JsonSchema(schema)),
        _ => Err(ApiError::invalid(Some("schema"), "a schema must be a JSON object")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[allow(clippy::needless_pass_by_value)] // Written in place.
    fn check(body: Value, expected: Result<Option<Constraint>, &str>) {
        let text = |name: &str| body[name].as_str().map(str::to_owned);
        let response_format = body.get("response_format").map(|format| serde_json::from_value(format.clone()).unwrap());
        let form = Form { response_format, grammar: text("grammar"), regex: text("regex"), json_schema: body.get("json_schema").cloned() };
        match (form.constraint(), expected) {
            (Ok(constraint), Ok(expected)) => assert_eq!(constraint, expected, "{body}"),
            (Err(error), Err(part)) => assert!(error.message().contains(part), "{body}: {}", error.message()),
            (constraint, expected) => panic!("{body}: {constraint:?} instead of {expected:?}"),
        }
    }

    #[test]
    fn each_form_has_its_constraint() {
        let schema = json!({"type": "integer"});
        check(json!({}), Ok(None));
        check(json!({"response_format": {"type": "text"}}), Ok(None));
        check(json!({"response_format": {"type": "json_object"}}), Ok(Some(Constraint::JsonObject)));
        let strict = json!({"type": "json_schema", "json_schema": {"name": "number", "schema": schema, "strict": true}});
        check(json!({"response_format": strict}), Ok(Some(Constraint::JsonSchema(schema.clone()))));
        let beside = json!({"type": "json_object", "schema": schema});
        check(json!({"response_format": beside}), Ok(Some(Constraint::JsonSchema(schema.clone()))));
        check(json!({"json_schema": schema}), Ok(Some(Constraint::JsonSchema(schema))));
        check(json!({"json_schema": {}}), Ok(Some(Constraint::JsonObject)));
        check(json!({"regex": "a+"}), Ok(Some(Constraint::Regex("a+".into()))));
        check(json!({"grammar": "start: \"a\""}), Ok(Some(Constraint::Grammar("start: \"a\"".into()))));
        check(json!({"grammar": ""}), Ok(None));
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        check(json!({"response_format": {"type": "xml"}}), Err("`xml`"));
        check(json!({"response_format": {"type": "json_schema"}}), Err("`response_format.json_schema` is missing"));
        let without = json!({"type": "json_schema", "json_schema": {"name": "number"}});
        check(json!({"response_format": without}), Err("`response_format.json_schema.schema` is missing"));
        check(json!({"json_schema": 123}), Err("must be a JSON object"));
        check(json!({"regex": "a", "grammar": "b"}), Err("`grammar` and `regex`"));
    }
}
