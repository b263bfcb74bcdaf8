//! Random JSON schemas, for tests of answers that must follow one.

use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use serde_json::{Map, Value, json};

/// How deep a schema may be.
const DEEPEST: usize = 3;
const WORDS: [&str; 24] = [
    "name",
    "age",
    "city",
    "colour",
    "größe",
    "tags",
    "notes",
    "price",
    "is_open",
    "kind",
    "left",
    "right",
    "id",
    "first name",
    "Straße",
    "unit",
    "e-mail",
    "value",
    "next",
    "weather",
    "x",
    "y",
    "emoji 🥊",
    "a\"quote",
];
const PATTERNS: [&str; 5] = ["^[a-z]{2,5}$", "^[A-Z][0-9]{3}$", "^(red|green|blue)$", "^\\d{2}-\\d{2}$", "^x+y?$"];
const FORMATS: [&str; 4] = ["date", "time", "uuid", "ipv4"];

/// A schema with a way to fulfil it in few words. The same number always gives the same schema.
pub fn random_schema(seed: u64) -> Value {
    let mut random = Random(ChaCha12Rng::seed_from_u64(seed));
    let mut schema = random.object(0);
    if random.one_in(6) {
        // A list that may go on for ever, referred to from inside.
        schema["$defs"] = json!({"node": {
            "type": "object",
            "properties": {"value": random.leaf(), "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]}},
            "required": ["value", "next"],
            "additionalProperties": false
        }});
        schema["properties"]["list"] = json!({"$ref": "#/$defs/node"});
        schema["required"] = match schema["required"].take() {
            Value::Array(mut names) => {
                names.push("list".into());
                names.into()
            }
            _ => json!(["list"]),
        };
    }
    schema
}

struct Random(ChaCha12Rng);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        (self.0.next_u32() as usize) % limit
    }

    fn one_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    fn one_of<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        choices[self.below(choices.len())]
    }

    fn schema(&mut self, depth: usize) -> Value {
        if depth >= DEEPEST {
            return self.leaf();
        }
        match self.below(10) {
            0 | 1 => self.object(depth),
            2 | 3 => self.array(depth),
            4 => {
                let choices: Vec<Value> = (0..2 + self.below(2)).map(|_| self.schema(depth + 1)).collect();
                json!({"anyOf": choices})
            }
            _ => self.leaf(),
        }
    }

    fn object(&mut self, depth: usize) -> Value {
        let (mut properties, mut required) = (Map::new(), Vec::new());
        for _ in 0..self.below(4) + usize::from(depth == 0) {
            let name = self.one_of(&WORDS);
            let schema = self.schema(depth + 1);
            if properties.insert(name.to_owned(), schema).is_none() && !self.one_in(3) {
                required.push(Value::from(name));
            }
        }
        let mut schema = json!({"type": "object", "properties": properties, "required": required});
        match self.below(4) {
            0 => schema["additionalProperties"] = self.leaf(),
            // Left out, any others are allowed.
            1 => {}
            _ => schema["additionalProperties"] = false.into(),
        }
        schema
    }

    fn array(&mut self, depth: usize) -> Value {
        let mut schema = json!({"type": "array", "items": self.schema(depth + 1)});
        let least = self.below(3);
        if least > 0 {
            schema["minItems"] = least.into();
        }
        if self.one_in(2) {
            schema["maxItems"] = (least + self.below(3)).into();
        }
        if self.one_in(4) {
            schema["prefixItems"] = json!([self.leaf()]);
        }
        schema
    }

    fn leaf(&mut self) -> Value {
        match self.below(12) {
            0 => json!({"type": "boolean"}),
            1 => json!({"type": "null"}),
            2 => json!({"type": "integer"}),
            3 => {
                let least = self.below(2000) as i64 - 1000;
                json!({"type": "integer", "minimum": least, "maximum": least + self.below(500) as i64})
            }
            4 => json!({"type": "number", "exclusiveMinimum": 0, "maximum": 1}),
            // Validators compute with floats, of which those too large for their last digit are still even.
            5 => json!({"type": "integer", "multipleOf": 2, "minimum": 0}),
            6 => json!({"enum": [self.one_of(&WORDS), self.one_of(&WORDS), self.below(100), null_or_true(self.one_in(2))]}),
            7 => json!({"const": self.one_of(&WORDS)}),
            8 => json!({"type": "string", "pattern": self.one_of(&PATTERNS)}),
            9 => json!({"type": "string", "format": self.one_of(&FORMATS)}),
            10 => {
                let least = self.below(6);
                json!({"type": "string", "minLength": least, "maxLength": least + self.below(20)})
            }
            _ => json!({"type": "string"}),
        }
    }
}

fn null_or_true(null: bool) -> Value {
    if null { Value::Null } else { true.into() }
}
