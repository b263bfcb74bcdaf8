//! A call's JSON object, read while it is being written.

/// What a character of the object led to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing to tell yet.
    More,
    /// The name is known.
    Name(String),
    /// More of the arguments, as they are written.
    Arguments(String),
    /// The object is whole.
    Whole,
    /// It is no call.
    Broken,
}

/// Reads one object, from behind its opening brace.
#[derive(Debug, Default)]
pub(super) struct CallScanner {
    place: Place,
    key: String,
    value: String,
    extent: Extent,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum Place {
    /// Before a key, or the end.
    #[default]
    Member,
    Key,
    Colon,
    /// Before a value.
    Value,
    InValue,
    /// Behind a value.
    After,
}

/// Where a value ends.
#[derive(Debug, Default)]
struct Extent {
    depth: usize,
    in_string: bool,
    escaped: bool,
}

impl CallScanner {
    pub fn push(&mut self, character: char) -> Step {
        match self.place {
            Place::Member => match character {
                '"' => self.go(Place::Key),
                '}' => Step::Whole,
                _ if character.is_whitespace() => Step::More,
                _ => Step::Broken,
            },
            Place::Key => {
                if self.extent.goes_on(character) {
                    self.key.push(character);
                    return Step::More;
                }
                self.go(Place::Colon)
            }
            Place::Colon => match character {
                ':' => self.go(Place::Value),
                _ if character.is_whitespace() => Step::More,
                _ => Step::Broken,
            },
            Place::Value if character.is_whitespace() => Step::More,
            Place::Value | Place::InValue => self.value(character),
            Place::After => match character {
                ',' => self.go(Place::Member),
                '}' => Step::Whole,
                _ if character.is_whitespace() => Step::More,
                _ => Step::Broken,
            },
        }
    }

    fn go(&mut self, place: Place) -> Step {
        if place == Place::Key {
            self.key.clear();
            self.extent = Extent { in_string: true, ..Extent::default() };
        }
        if place == Place::Value {
            self.value.clear();
            self.extent = Extent::default();
        }
        self.place = place;
        Step::More
    }

    fn value(&mut self, character: char) -> Step {
        let first = self.place == Place::Value;
        if first && matches!(character, ',' | ':' | '}' | ']') {
            return Step::Broken;
        }
        let scalar = self.extent.depth == 0 && !self.extent.in_string;
        if !first && scalar && matches!(character, ',' | '}' | ']') {
            let told = self.ended();
            // A number or a word ends with what follows it.
            return match (told, self.go(Place::After), self.push(character)) {
                (Step::More, _, next) => next,
                (told, _, Step::More) => told,
                _ => Step::Broken,
            };
        }
        self.place = Place::InValue;
        self.value.push(character);
        let ends = if first && character == '"' {
            self.extent.in_string = true;
            false
        } else if self.extent.in_string {
            !self.extent.goes_on(character)
        } else {
            match character {
                '"' => self.extent.in_string = true,
                '{' | '[' => self.extent.depth += 1,
                '}' | ']' => self.extent.depth -= 1,
                _ => {}
            }
            self.extent.depth == 0 && matches!(character, '}' | ']')
        };
        let quoted = self.value.starts_with('"');
        if ends {
            self.place = Place::After;
            if self.is_arguments() && !quoted {
                return Step::Arguments(character.to_string());
            }
            return self.ended();
        }
        if self.is_arguments() && !quoted && self.extent.depth > 0 { Step::Arguments(character.to_string()) } else { Step::More }
    }

    /// What a whole value, other than an object's of arguments, tells.
    fn ended(&mut self) -> Step {
        if self.key == "name" {
            return serde_json::from_str(&self.value).map_or(Step::Broken, Step::Name);
        }
        if self.is_arguments() {
            // Some write the arguments as OpenAI does: JSON inside a string.
            return match serde_json::from_str::<serde_json::Value>(self.value.trim()) {
                Ok(serde_json::Value::String(text)) => Step::Arguments(text),
                // None at all; whoever reads the call says what that means.
                Ok(serde_json::Value::Null) => Step::More,
                _ => Step::Broken,
            };
        }
        Step::More
    }

    fn is_arguments(&self) -> bool {
        matches!(self.key.as_str(), "arguments" | "parameters")
    }
}

impl Extent {
    /// Whether a string goes on after this character; inside brackets a value goes on in any case.
    fn goes_on(&mut self, character: char) -> bool {
        if self.escaped {
            self.escaped = false;
            return true;
        }
        match character {
            '\\' => self.escaped = true,
            '"' => {
                self.in_string = false;
                return self.depth > 0;
            }
            _ => {}
        }
        true
    }
}
