use serde_json::json;

use super::*;
use crate::chat::ToolCall;

fn reader(form: ToolForm, prescribed: bool) -> ToolCallReader {
    ToolCallReader::new(form, vec!["weather".into(), "time".into()], prescribed, b"origin")
}

/// What is read of a text in these pieces: the text beside the calls, and the calls.
fn read(mut reader: ToolCallReader, pieces: &[&str]) -> (String, Vec<ToolCall>) {
    let (mut text, mut calls) = (String::new(), Vec::new());
    let mut all: Vec<Piece> = pieces.iter().flat_map(|piece| reader.push(piece)).collect();
    all.extend(reader.finish());
    for piece in all {
        match piece {
            Piece::Text(more) => text.push_str(&more),
            Piece::Call(piece) => {
                assert_eq!(piece.id.is_some(), piece.name.is_some());
                piece.add_to(&mut calls);
            }
        }
    }
    (text, calls)
}

/// Reads a text in all ways of cutting it in two, and character by character.
fn check(form: ToolForm, prescribed: bool, answer: &str, text: &str, calls: &[(&str, &str)]) {
    let characters: Vec<String> = answer.chars().map(String::from).collect();
    let cuts = (0..answer.len()).filter(|&cut| answer.is_char_boundary(cut)).map(|cut| vec![&answer[..cut], &answer[cut..]]);
    for pieces in cuts.chain([characters.iter().map(String::as_str).collect()]) {
        let (seen, seen_calls) = read(reader(form, prescribed), &pieces);
        let seen_calls: Vec<(&str, &str)> = seen_calls.iter().map(|call| (call.name.as_str(), call.arguments.as_str())).collect();
        assert_eq!((seen.as_str(), &*seen_calls), (text, calls), "{pieces:?}");
    }
}

const ROME: (&str, &str) = ("weather", r#"{"city": "Rome }]\" </tool_call> 🥊", "days": [1, {"a": 2}]}"#);

fn rome(key: &str) -> String {
    format!(r#"{{"name": "{}", "{key}": {}}}"#, ROME.0, ROME.1)
}

#[test]
fn tagged_calls_are_taken_out_of_the_text() {
    let call = format!("<tool_call>\n{}\n</tool_call>", rome("arguments"));
    check(ToolForm::Tagged, false, &call, "", &[ROME]);
    check(
        ToolForm::Tagged,
        false,
        &format!("Let me see. \n{call}\n<tool_call>{{\"name\":\"time\",\"arguments\":{{}}}}</tool_call>"),
        "Let me see.",
        &[ROME, ("time", "{}")],
    );
    check(ToolForm::Tagged, false, &format!("{call}\nThere."), "There.", &[ROME]);
    // Cut off by max_tokens.
    check(ToolForm::Tagged, false, "<tool_call>\n{\"name\": \"weather\", \"arguments\": {\"ci", "", &[("weather", "{\"ci")]);
    check(ToolForm::Tagged, true, &rome("arguments"), "", &[ROME]);
}

#[test]
fn what_is_no_call_is_text_as_it_stands() {
    for text in [
        "1 < 2, <tool>, <tool_cal and {\"name\": \"weather\"} \n ",
        "<tool_call>\n{\"name\": \"bank\", \"arguments\": {}}\n</tool_call>",
        "<tool_call> what? </tool_call>",
        "<tool_call>{\"arguments\": {\"a\": 1}}</tool_call>",
        "<tool_call>{name: weather}</tool_call>",
        "<tool_call>\n{\"name\": \"wea",
        "",
    ] {
        check(ToolForm::Tagged, false, text, text, &[]);
    }
    for text in ["{\"answer\": 42}", "[1, 2, 3]", "[\"a\"] or so", "Say {\"name\": \"weather\", \"parameters\": {}}", "{}", "[TOOL"] {
        check(ToolForm::Listed, false, text, text, &[]);
        check(ToolForm::Parameters, false, text, text, &[]);
    }
}

#[test]
fn each_form_is_read() {
    check(ToolForm::Parameters, false, &rome("parameters"), "", &[ROME]);
    check(ToolForm::Parameters, false, &format!("{}; {}", rome("parameters"), rome("arguments")), "", &[ROME, ROME]);
    check(ToolForm::Listed, false, &format!("[{}, {}]", rome("arguments"), rome("arguments")), "", &[ROME, ROME]);
    check(ToolForm::Listed, false, &format!("[TOOL_CALLS] [{}]", rome("arguments")), "", &[ROME]);
    check(ToolForm::Listed, true, &format!("[{}]", rome("arguments")), "", &[ROME]);
    check(ToolForm::Plain, false, &rome("arguments"), "", &[ROME]);
}

#[test]
fn the_parts_of_a_call_come_in_any_order_and_spelling() {
    let form = ToolForm::Tagged;
    check(form, true, r#"{"id": 7, "arguments": {"a": 1}, "type": "function", "name": "weather"}"#, "", &[("weather", r#"{"a": 1}"#)]);
    check(form, true, r#"{"name": "weather", "arguments": "{\"a\": \"b\"}"}"#, "", &[("weather", r#"{"a": "b"}"#)]);
    check(form, true, r#"{"name":"time","arguments":null}"#, "", &[("time", "{}")]);
}

#[test]
fn calls_are_told_while_they_are_written() {
    let mut reader = reader(ToolForm::Tagged, false);
    assert!(
        reader
            .push("<tool_call>\n{\"name\": \"weather\"")
            .iter()
            .all(|piece| matches!(piece, Piece::Call(piece) if piece.arguments.is_empty()))
    );
    assert_eq!(reader.calls(), 1);
    let more = reader.push(", \"arguments\": {\"city\": \"Ro");
    assert_eq!(more, [Piece::Call(crate::generation::ToolCallPiece { arguments: "{\"city\": \"Ro".into(), ..Default::default() })]);
}

#[test]
fn where_one_call_is_wanted_nothing_is_told_behind_it() {
    let pair = format!("Well.\n<tool_call>{}</tool_call>\n<tool_call>{}</tool_call> There.", rome("arguments"), rome("arguments"));
    let (text, calls) = read(reader(ToolForm::Tagged, false).for_one_call(), &[&pair]);
    assert_eq!((text.as_str(), calls.len(), calls[0].arguments.as_str()), ("Well.", 1, ROME.1));
    let (_, calls) = read(reader(ToolForm::Listed, false).for_one_call(), &[&format!("[{}, {}]", rome("arguments"), rome("arguments"))]);
    assert_eq!(calls.len(), 1);
}

#[test]
fn calls_have_names_of_their_own_that_come_again() {
    let pair = format!("[{}, {}]", rome("arguments"), rome("arguments"));
    let (_, calls) = read(reader(ToolForm::Listed, true), &[&pair]);
    assert_ne!(calls[0].id, calls[1].id);
    assert_eq!(read(reader(ToolForm::Listed, true), &[&pair]).1, calls);
    let other = ToolCallReader::new(ToolForm::Listed, vec!["weather".into()], true, b"another");
    assert_ne!(read(other, &[&pair]).1[0].id, calls[0].id);
}

#[test]
fn templates_show_their_form() {
    assert_eq!(ToolForm::of_template("{{ tools }} <tool_call></tool_call>"), ToolForm::Tagged);
    assert_eq!(ToolForm::of_template("[AVAILABLE_TOOLS]{{ tools }}[TOOL_CALLS]"), ToolForm::Listed);
    assert_eq!(
        ToolForm::of_template(r#"Respond in the format {"name": function name, "parameters": dictionary of argument name and its value}"#),
        ToolForm::Parameters
    );
    assert_eq!(ToolForm::of_template("{{ tools }}"), ToolForm::Plain);
}

#[test]
fn a_choice_that_no_tool_fits_is_refused() {
    let tools = vec![json!({"type": "function", "function": {"name": "weather"}})];
    let refused = |tools: &[Value], choice| chosen(tools.to_vec(), &choice).unwrap_err().to_string();
    assert!(refused(&tools, ToolChoice::Named("time".into())).contains("`time`"));
    assert!(refused(&[], ToolChoice::Required).contains("no tools"));
    assert!(refused(&[json!({"type": "function"})], ToolChoice::Auto).contains("tools[0]"));
    assert!(chosen(tools.clone(), &ToolChoice::None).unwrap().is_empty());
    assert_eq!(chosen(tools.clone(), &ToolChoice::Auto).unwrap(), tools);
}

#[test]
fn arguments_that_are_not_declared_open_are_all_there_are() {
    let of = |parameters: Value| {
        let tool = json!({"type": "function", "function": {"name": "a", "parameters": parameters}});
        let Some(Constraint::JsonSchema(schema)) = prescribed(&[tool], &ToolChoice::Required, ToolForm::Plain) else { panic!() };
        move |arguments: Value| jsonschema::is_valid(&schema, &json!({"name": "a", "arguments": arguments}))
    };
    let listed = json!({"x": {"type": "integer"}, "y": {"type": "object", "properties": {"z": {"type": "null"}}}});
    let closed = of(json!({"type": "object", "properties": listed}));
    assert!(closed(json!({"x": 1, "y": {"z": null}})) && !closed(json!({"x": 1, "w": 1})) && !closed(json!({"y": {"w": 1}})));
    let open = of(json!({"type": "object", "properties": listed, "additionalProperties": true}));
    assert!(open(json!({"w": 1})));
    assert!(of(json!({"type": "object"}))(json!({"w": 1})), "nothing is listed");
    let composed =
        json!({"type": "object", "properties": {"x": {"type": "integer"}}, "allOf": [{"properties": {"w": {"type": "integer"}}}]});
    assert!(of(composed)(json!({"x": 1, "w": 1})));
}

#[test]
fn references_in_the_schemas_of_tools_still_lead_somewhere() {
    let tool = |name: &str, r#type: &str| {
        let parameters = json!({
            "type": "object",
            "properties": {"a": {"$ref": "#/$defs/a"}, "again": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}, "word": {"const": {"$ref": "#"}}},
            "$defs": {"a": {"type": r#type}}
        });
        json!({"type": "function", "function": {"name": name, "parameters": parameters}})
    };
    let tools = [tool("weather", "integer"), tool("time", "boolean"), json!({"type": "function", "function": {"name": "now"}})];
    let Some(Constraint::JsonSchema(schema)) = prescribed(&tools, &ToolChoice::Required, ToolForm::Tagged) else { panic!() };
    for (call, valid) in [
        (json!({"name": "weather", "arguments": {"a": 3, "again": {"a": 4}}}), true),
        (json!({"name": "weather", "arguments": {"a": true}}), false),
        (json!({"name": "time", "arguments": {"a": true, "word": {"$ref": "#"}}}), true),
        (json!({"name": "time", "arguments": {"again": {"a": 1}}}), false),
        (json!({"name": "now", "arguments": {}}), true),
        (json!({"name": "now", "arguments": {"a": 1}}), false),
        (json!({"name": "bank", "arguments": {}}), false),
    ] {
        assert_eq!(jsonschema::is_valid(&schema, &call), valid, "{call} for {schema}");
    }
    let Some(Constraint::JsonSchema(schema)) = prescribed(&tools, &ToolChoice::Named("time".into()), ToolForm::Listed) else { panic!() };
    assert!(jsonschema::is_valid(&schema, &json!([{"name": "time", "arguments": {"a": true}}])));
    assert!(!jsonschema::is_valid(&schema, &json!([{"name": "weather", "arguments": {"a": 3}}])));
}
