use proptest::prelude::*;
use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use serde_json::{Value, json};

use super::*;
use crate::decoding::{Sampler, Scratch};
use crate::request::{Sampling, TokenId};
use crate::testkit::{ScriptedVocabulary, random_schema};

fn grammars() -> Grammars {
    Grammars::new(Arc::new(ScriptedVocabulary))
}

fn schema(schema: Value) -> Constraint {
    Constraint::JsonSchema(schema)
}

/// An answer of a model that thinks every token about as likely as any other: the worst there is. Returns the text and whether it
/// ended by itself.
fn babble(mut matcher: Matcher, seed: u64, max_tokens: usize) -> (String, bool) {
    let mut noise = ChaCha12Rng::seed_from_u64(seed);
    let mut sampler = Sampler::new(Sampling::default(), seed, &[]);
    let mut text = Vec::new();
    for left in (0..max_tokens).rev() {
        let mut logits: Vec<f32> = (0..ScriptedVocabulary::SIZE).map(|_| (noise.next_u32() >> 8) as f32 / 4e6).collect();
        let (token, _) = sampler.choose_allowed(&mut logits, None, &mut matcher, left, &mut Scratch::default()).unwrap();
        if token == ScriptedVocabulary::END {
            return (String::from_utf8(text).unwrap(), true);
        }
        text.push(token as u8);
        if matcher.is_over() {
            return (String::from_utf8(text).unwrap(), true);
        }
    }
    (String::from_utf8_lossy(&text).into_owned(), false)
}

fn validates(schema: &Value, text: &str) -> bool {
    match serde_json::from_str(text) {
        Ok(answer) => jsonschema::is_valid(schema, &answer),
        // Of any exponent a number is JSON, though not for this reader; only noise writes such numbers.
        Err(error) => error.to_string().starts_with("number out of range"),
    }
}

#[test]
fn what_a_random_schema_allows_is_always_ended_in_time() {
    let grammars = grammars();
    let begin = Instant::now();
    let (mut tried, mut steps) = (0, 0);
    for seed in 0..120 {
        let wanted = random_schema(seed);
        let matcher = grammars.compile(&schema(wanted.clone())).unwrap_or_else(|error| panic!("{error}: {wanted}"));
        let shortest = matcher.shortest().unwrap_or_else(|| panic!("no end for {wanted}"));
        for max_tokens in [shortest, shortest + 5, shortest + 40] {
            let (text, ended) = babble(matcher.clone(), seed, max_tokens);
            assert!(ended && validates(&wanted, &text), "{seed}, {max_tokens} tokens: {text} for {wanted}");
            tried += 1;
            steps += text.len();
        }
    }
    println!("{tried} answers, {steps} tokens in {:?}", begin.elapsed());
}

#[test]
fn an_answer_that_is_cut_is_the_beginning_of_a_right_one() {
    let wanted = json!({"type": "object", "properties": {"a": {"type": "string", "minLength": 30}}, "required": ["a"], "additionalProperties": false});
    let matcher = grammars().compile(&schema(wanted)).unwrap();
    for seed in 0..20 {
        let (text, ended) = babble(matcher.clone(), seed, 20);
        assert!(!ended && text.starts_with("{\"a\":"), "{text}");
    }
}

#[test]
fn whitespace_never_runs_away() {
    let matcher = grammars().compile(&Constraint::JsonObject).unwrap();
    let mut blanks = Sampler::new(Sampling::greedy(), 0, &[]);
    let mut matcher = matcher;
    let mut text = String::new();
    for left in (0..60).rev() {
        // Whitespace above all, then what opens something.
        let mut logits = vec![0.0; ScriptedVocabulary::SIZE];
        b" \n\t\r".iter().for_each(|&byte| logits[usize::from(byte)] = 9.0);
        b"{[,:".iter().for_each(|&byte| logits[usize::from(byte)] = 5.0);
        let (token, _) = blanks.choose_allowed(&mut logits, None, &mut matcher, left, &mut Scratch::default()).unwrap();
        if token == ScriptedVocabulary::END {
            break;
        }
        text.push(char::from(token as u8));
        if matcher.is_over() {
            break;
        }
    }
    let outside: String = text.split('"').step_by(2).collect();
    assert!(!outside.contains("  ") && !outside.contains('\n'), "{text}");
}

#[test]
fn properties_come_in_the_order_of_the_schema() {
    let wanted = json!({"type": "object", "properties": {"zebra": {"type": "null"}, "ant": {"type": "null"}}, "required": ["zebra", "ant"], "additionalProperties": false});
    let matcher = grammars().compile(&schema(wanted)).unwrap();
    let (text, _) = babble(matcher, 1, 100);
    assert_eq!(text.replace(' ', ""), r#"{"zebra":null,"ant":null}"#);
}

#[test]
fn what_a_schema_asks_in_vain_is_named() {
    let grammars = grammars();
    let check = |wanted: Value, name: &str| {
        let error = grammars.compile(&schema(wanted.clone())).err().unwrap_or_else(|| panic!("{wanted}"));
        assert!(matches!(error, EngineError::InvalidRequest { param: "response_format", .. }), "{error:?}");
        assert!(error.to_string().contains(name), "{error}");
    };
    check(json!({"type": "array", "uniqueItems": true}), "uniqueItems");
    check(json!({"not": {"type": "string"}}), "not");
    check(json!({"type": "object", "if": {}, "then": {}}), "if");
    check(json!({"oneOf": [{"type": "string"}, {"type": "string", "minLength": 3}]}), "oneOf");
    check(json!({"type": "object", "properties": {"a": {"$ref": "https://example.com/schema"}}}), "example.com");
    check(json!({"$ref": "#/$defs/missing"}), "missing");
    check(json!({"type": "strong"}), "strong");
    check(json!(false), "");
    check(json!(7), "neither an object nor a boolean");
    let mut deep = json!({"type": "string"});
    (0..40).for_each(|_| deep = json!({"type": "array", "items": deep}));
    check(json!({"type": "array", "items": [deep, deep], "$defs": {"a": (0..70).fold(deep, |deep, _| json!([deep]))}}), "64");
    check(json!({"description": "x".repeat(70_000)}), "65536");
}

#[test]
fn formats_that_no_grammar_knows_are_notes() {
    let wanted = json!({"type": "object", "properties": {"p": {"type": "string", "format": "password"}}, "required": ["p"]});
    grammars().compile(&schema(wanted)).unwrap();
}

#[test]
fn grammars_and_expressions_are_followed() {
    let grammars = grammars();
    let regex = grammars.compile(&Constraint::Regex("(ab|cd){3}[0-9]+".into())).unwrap();
    let (text, _) = babble(regex, 3, 12);
    assert!(
        text.len() > 6 && text[..6].bytes().all(|byte| byte.is_ascii_lowercase()) && text[6..].bytes().all(|byte| byte.is_ascii_digit()),
        "{text}"
    );
    let lark = "start: greeting \" \" NAME\ngreeting: \"Hello\" | \"Hi\"\nNAME: /[A-Z][a-z]{1,8}/";
    let (text, _) = babble(grammars.compile(&Constraint::Grammar(lark.into())).unwrap(), 4, 40);
    assert!(text.starts_with("Hello ") || text.starts_with("Hi "), "{text}");
    let gbnf = "root ::= Greeting \" \" [A-Z] [a-z]{1,8} (\"!\" | \"?\")\nGreeting ::= \"Hello\" |\n  \"Hi\"";
    let (text, ended) = babble(grammars.compile(&Constraint::Grammar(gbnf.into())).unwrap(), 4, 40);
    assert!(ended && (text.starts_with("Hello ") || text.starts_with("Hi ")) && text.ends_with(['!', '?']), "{text}");
    for (constraint, part) in [
        (Constraint::Grammar("root ::= this is (not valid".into()), "grammar"),
        (Constraint::Grammar("root ::= \"a".into()), "has no end"),
        (Constraint::Grammar("start: missing".into()), "missing"),
        (Constraint::Grammar(String::new()), "empty"),
        (Constraint::Grammar("start: \"a".into()), "grammar"),
        (Constraint::Regex("(a".into()), "regex"),
        (Constraint::Regex("(".repeat(100)), "64"),
    ] {
        let error = grammars.compile(&constraint).err().unwrap_or_else(|| panic!("{constraint:?}"));
        assert!(matches!(error, EngineError::InvalidRequest { .. }) && error.to_string().contains(part), "{constraint:?}: {error}");
    }
}

#[test]
fn a_grammar_meant_to_do_harm_is_refused_or_bearable() {
    let grammars = grammars();
    let chain: String = (0..3000).map(|rule| format!("r{rule}: r{}\n", rule + 1)).collect();
    let definitions: serde_json::Map<String, Value> = (0..1000)
        .map(|place| (format!("d{place}"), json!({"$ref": format!("#/$defs/d{}", place + 1)})))
        .chain([("d1000".to_owned(), json!({"type": "null"}))])
        .collect();
    for constraint in [
        Constraint::Grammar(format!("start: r0\n{chain}r3000: \"a\"")),
        Constraint::Grammar("start: start start | \"a\"".into()),
        Constraint::Regex("(((a{1,100}){1,100}){1,100}){1,100}".into()),
        Constraint::Regex("a?".repeat(2000) + &"a".repeat(2000)),
        schema(json!({"$ref": "#/$defs/d0", "$defs": definitions})),
        schema(json!({"type": "array", "items": {"$ref": "#"}, "minItems": 1})),
        schema(json!({"type": "array", "items": {"type": "integer"}, "minItems": 100_000})),
        schema(json!({"type": "string", "minLength": 100_000_000})),
        schema(json!({"type": "string", "pattern": "^(a|b|ab)*(c|d|cd){0,1000}$", "maxLength": 5000})),
    ] {
        let begin = Instant::now();
        let outcome = grammars.compile(&constraint).map(|matcher| matcher.shortest());
        let text = format!("{constraint:?}").chars().take(80).collect::<String>();
        println!("{text}: {:?} in {:?}", outcome.as_ref().map_err(ToString::to_string), begin.elapsed());
        assert!(begin.elapsed() < COMPILED_WITHIN, "{text}: {:?}", begin.elapsed());
    }
}

#[test]
fn what_was_asked_before_is_remembered() {
    let grammars = grammars();
    let one = schema(json!({"type": "object", "properties": {"a": {"type": "null"}, "b": {"type": "null"}}}));
    let other = schema(json!({"type": "object", "properties": {"b": {"type": "null"}, "a": {"type": "null"}}}));
    assert!(grammars.recall(&one).is_none());
    grammars.compile(&one).unwrap();
    assert!(grammars.recall(&one).is_some() && grammars.recall(&other).is_none());
    // One that is under way changes nothing of it.
    let (first, _) = babble(grammars.recall(&one).unwrap(), 7, 80);
    let (second, _) = babble(grammars.recall(&one).unwrap(), 7, 80);
    assert_eq!(first, second);
    for number in 0..KEPT {
        grammars.compile(&Constraint::Regex(format!("a{{{}}}", number + 1))).unwrap();
    }
    assert!(grammars.recall(&one).is_none());
}

#[test]
fn log_probabilities_are_those_of_all_tokens() {
    let mut matcher = grammars().compile(&Constraint::Regex("[xyz]".into())).unwrap();
    let mut logits: Vec<f32> = (0..ScriptedVocabulary::SIZE).map(|id| (id % 11) as f32).collect();
    let original = logits.clone();
    let mut sampler = Sampler::new(Sampling { logit_bias: vec![(u32::from(b'y'), 50.0)], ..Sampling::greedy() }, 0, &[]);
    let (token, found) = sampler.choose_allowed(&mut logits, Some(2), &mut matcher, 10, &mut Scratch::default()).unwrap();
    assert_eq!(token, TokenId::from(b'y'));
    let total: f64 = original.iter().map(|&logit| f64::from(logit).exp()).sum();
    let found = found.unwrap();
    assert!((f64::from(found.chosen) - (f64::from(original[token as usize]) - total.ln())).abs() < 1e-4);
    assert_eq!(found.top[0].0, 10, "the likeliest one, though it isn't allowed");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    #[test]
    fn whatever_the_settings_no_forbidden_token_is_drawn(seed in 0u64..120, top_k in 0usize..60, top_p in 0.05f32..1.0, min_p in 0.0f32..0.5) {
        let wanted = random_schema(seed);
        let mut matcher = grammars().compile(&schema(wanted.clone())).unwrap();
        let settings = Sampling { top_k, top_p, min_p, repetition_penalty: 1.1, ..Sampling::default() };
        let mut sampler = Sampler::new(settings, seed, &[]);
        let mut noise = ChaCha12Rng::seed_from_u64(seed);
        let mut text = Vec::new();
        for left in (0..matcher.shortest().unwrap() + 30).rev() {
            let mut logits: Vec<f32> = (0..ScriptedVocabulary::SIZE).map(|_| (noise.next_u32() >> 8) as f32 / 1e6).collect();
            let (token, _) = sampler.choose_allowed(&mut logits, None, &mut matcher, left, &mut Scratch::default()).unwrap();
            text.extend(u8::try_from(token));
            if token == ScriptedVocabulary::END || matcher.is_over() {
                break;
            }
        }
        let text = String::from_utf8(text).unwrap();
        prop_assert!(validates(&wanted, &text), "{}", text);
    }
}
