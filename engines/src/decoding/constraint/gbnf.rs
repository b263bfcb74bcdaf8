//! Grammars in GBNF, llama.cpp's notation, put into Lark.
//!
//! Both say the same things in other words. One difference stays: Lark reads a text in pieces, each as long as it can be, so of two pieces that
//! begin alike the longer one wins. An answer always follows the grammar; a few that it allows can't come.

use std::fmt::Write;
use std::iter::Peekable;
use std::str::Chars;

/// What stands between a rule's name and what it derives; Lark has no such mark.
const DERIVES: &str = "::=";

/// Whether a grammar is written in GBNF: its first rule begins as one does there.
pub fn is_gbnf(grammar: &str) -> bool {
    let first = grammar.lines().map(str::trim_start).find(|line| !line.is_empty() && !line.starts_with('#'));
    first.is_some_and(|line| line.trim_start_matches(is_of_name).trim_start().starts_with(DERIVES))
}

/// The same grammar in Lark.
///
/// # Errors
/// What can't be read, and in which rule.
pub fn to_lark(grammar: &str) -> Result<String, String> {
    let mut reader = Reader { rest: grammar.chars().peekable(), lark: String::new(), rule: String::new() };
    while let Some(character) = reader.rest.next() {
        reader.read(character).map_err(|reason| format!("{reason}, in rule `{}`", reader.rule))?;
    }
    Ok(reader.lark)
}

struct Reader<'a> {
    rest: Peekable<Chars<'a>>,
    lark: String,
    /// The rule that is being read.
    rule: String,
}

fn is_of_name(character: char) -> bool {
    character.is_ascii_alphanumeric() || matches!(character, '-' | '_')
}

impl Reader<'_> {
    fn read(&mut self, character: char) -> Result<(), String> {
        match character {
            _ if character.is_whitespace() => {}
            '#' => self.rest.by_ref().take_while(|&next| next != '\n').for_each(drop),
            '"' => self.literal()?,
            '[' => self.class()?,
            // Any character at all, the end of a line included.
            '.' => self.lark.push_str(" /(.|\\n)/"),
            '(' | ')' | '|' => self.lark.extend([' ', character]),
            '*' | '+' | '?' => self.lark.push(character),
            '{' => {
                let bounds: String = self.rest.by_ref().take_while(|&next| next != '}').filter(|next| !next.is_whitespace()).collect();
                let _ = write!(self.lark, "{{{bounds}}}");
            }
            _ if is_of_name(character) => self.name(character),
            other => return Err(format!("`{other}` has no meaning in GBNF")),
        }
        Ok(())
    }

    /// A rule's name, at the rule's beginning or where another one refers to it.
    fn name(&mut self, first: char) {
        let mut name = String::from(first);
        while let Some(next) = self.rest.next_if(|&next| is_of_name(next)) {
            name.push(next);
        }
        let mut ahead = self.rest.clone().skip_while(|next| next.is_whitespace());
        if DERIVES.chars().all(|mark| ahead.next() == Some(mark)) {
            let _ = self.rest.find(|&next| next == '=');
            let _ = write!(self.lark, "\n{}:", in_lark(&name));
            self.rule = name;
        } else {
            let _ = write!(self.lark, " {}", in_lark(&name));
        }
    }

    fn literal(&mut self) -> Result<(), String> {
        let mut text = String::new();
        while let Some(character) = self.character('"', "a text")? {
            text.push(character.0);
        }
        // A text in quotes as JSON has it, in which Lark wants the last control character written out as well.
        let quoted = serde_json::Value::from(text).to_string().replace('\u{7f}', "\\u007f");
        let _ = write!(self.lark, " {quoted}");
        Ok(())
    }

    /// A class of characters becomes a regular expression.
    fn class(&mut self) -> Result<(), String> {
        self.lark.push_str(" /[");
        if self.rest.next_if_eq(&'^').is_some() {
            self.lark.push('^');
        }
        while let Some((character, escaped)) = self.character(']', "a class")? {
            if character == '-' && !escaped {
                self.lark.push('-');
            } else if character.is_alphanumeric() {
                self.lark.push(character);
            } else {
                let _ = write!(self.lark, "\\x{{{:x}}}", u32::from(character));
            }
        }
        self.lark.push_str("]/");
        Ok(())
    }

    /// The next character of a text or class, and whether it was escaped; `None` at its end.
    fn character(&mut self, end: char, what: &str) -> Result<Option<(char, bool)>, String> {
        let open = || format!("{what} has no end");
        let character = self.rest.next().ok_or_else(open)?;
        if character == end {
            return Ok(None);
        }
        if character != '\\' {
            return Ok(Some((character, false)));
        }
        let escaped = match self.rest.next().ok_or_else(open)? {
            'n' => '\n',
            't' => '\t',
            'r' => '\r',
            'x' => self.code(2)?,
            'u' => self.code(4)?,
            'U' => self.code(8)?,
            other => other,
        };
        Ok(Some((escaped, true)))
    }

    /// A character by its number, in so many digits.
    fn code(&mut self, digits: usize) -> Result<char, String> {
        let digits: String = self.rest.by_ref().take(digits).collect();
        u32::from_str_radix(&digits, 16).ok().and_then(char::from_u32).ok_or_else(|| format!("`{digits}` is no character's number"))
    }
}

/// A rule's name in Lark, which knows small letters alone.
fn in_lark(name: &str) -> String {
    if name == "root" {
        return "start".to_owned();
    }
    name.chars().fold("of-".to_owned(), |mut lark, character| {
        if character.is_ascii_uppercase() {
            lark.push('_');
        }
        lark.push(character.to_ascii_lowercase());
        lark
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_notations_are_told_apart() {
        for grammar in ["root ::= \"a\"", "\n# a list\nroot\t::= item", "my-rule::=[a]"] {
            assert!(is_gbnf(grammar), "{grammar}");
        }
        for grammar in ["start: \"root ::= a\"", "// x ::= y\nstart: /a/", "", "start : A"] {
            assert!(!is_gbnf(grammar), "{grammar}");
        }
    }

    #[test]
    fn each_part_has_its_word() {
        let check = |gbnf: &str, lark: &str| assert_eq!(to_lark(gbnf).as_deref(), Ok(lark), "{gbnf}");
        check("root ::= \"a\"{5,5}", "\nstart: \"a\"{5,5}");
        check(
            "root ::= one |\n  (Two | .)* # both\none ::= \"\\\"\\n\\x41\"",
            "\nstart: of-one | ( of-_two | /(.|\\n)/ )*\nof-one: \"\\\"\\nA\"",
        );
        check("root ::= [^a-z\\]\\-/] [0-9]{2, }", "\nstart: /[^a-z\\x{5d}\\x{2d}\\x{2f}]/ /[0-9]/{2,}");
    }

    #[test]
    fn what_cannot_be_read_is_told_with_its_rule() {
        let check = |gbnf: &str, part: &str| assert!(to_lark(gbnf).is_err_and(|reason| reason.contains(part)), "{gbnf}");
        check("root ::= \"a", "a text has no end, in rule `root`");
        check("root ::= [a", "a class has no end");
        check("root ::= <think>", "`<` has no meaning");
        check("root ::= \"\\ud800\"", "`d800` is no character's number");
    }
}
