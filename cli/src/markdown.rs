//! Markdown as it comes, in the styles of a terminal. What is shown stays: nothing is drawn again, so only what decides about the text
//! behind it is held back, such as the first characters of a line or a star.

use std::mem::take;

/// The most spaces in front of a list's item or a fence; more are text.
const DEEPEST: usize = 16;

/// Turns Markdown into styled text, piece by piece.
#[derive(Debug, Default)]
pub struct Markdown {
    place: Place,
    /// Characters whose meaning the next ones decide.
    held: String,
    style: Style,
    /// Whether a code block is open.
    block: bool,
    /// The character that was shown last on this line.
    last: Option<char>,
    out: String,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Place {
    #[default]
    LineStart,
    Text,
    /// The rest of a line that means nothing but itself.
    Verbatim,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Style {
    heading: bool,
    bold: bool,
    italic: bool,
    code: bool,
    dim: bool,
}

impl Markdown {
    /// What can be shown once `text` has come.
    pub fn push(&mut self, text: &str) -> String {
        for character in text.chars() {
            self.character(character);
        }
        take(&mut self.out)
    }

    /// What was still held back, and the terminal's own style again.
    pub fn finish(&mut self) -> String {
        self.end_of_line();
        let rest = take(&mut self.out);
        *self = Self::default();
        rest
    }

    fn character(&mut self, character: char) {
        if character == '\n' {
            self.end_of_line();
            self.out.push('\n');
            return;
        }
        match self.place {
            Place::LineStart => {
                self.held.push(character);
                self.line_start();
            }
            Place::Text => self.inline(character),
            Place::Verbatim => self.out.push(character),
        }
    }

    /// Decides what a line is as soon as its first characters tell.
    fn line_start(&mut self) {
        let text = self.held.trim_start_matches(' ');
        let indent = self.held.len() - text.len();
        let marks = |mark: char, most: usize| !text.is_empty() && text.len() <= most && text.chars().all(|character| character == mark);
        let fence_may_come = indent <= DEEPEST && (text.is_empty() || marks('`', 2) || text.starts_with("```"));
        if fence_may_come {
            return;
        }
        if self.block {
            self.place = Place::Verbatim;
            self.out += &take(&mut self.held);
            return;
        }
        if marks('#', 6) || matches!(text, "-" | "*" | "+" | ">") {
            return;
        }
        let (style, shown) = match text.strip_suffix(' ') {
            Some("-" | "*" | "+") => (Style::default(), "• "),
            Some(">") => (Style { dim: true, ..Style::default() }, "│ "),
            Some(hashes) if !hashes.is_empty() && hashes.chars().all(|character| character == '#') => {
                (Style { heading: true, ..Style::default() }, "")
            }
            _ => {
                self.place = Place::Text;
                for character in take(&mut self.held).chars() {
                    self.inline(character);
                }
                return;
            }
        };
        self.place = Place::Text;
        self.held.clear();
        self.change(style);
        self.out += &" ".repeat(indent);
        self.out += shown;
        self.last = Some(' ');
    }

    fn inline(&mut self, character: char) {
        match self.held.chars().next() {
            Some('\\') => {
                self.held.clear();
                if !character.is_ascii_punctuation() {
                    self.show('\\');
                }
                return self.show(character);
            }
            Some('*') if character == '*' => return self.held.push('*'),
            Some(_) => self.stars(Some(character)),
            None => {}
        }
        match character {
            '`' => self.change(Style { code: !self.style.code, ..self.style }),
            '*' | '\\' if !self.style.code => self.held.push(character),
            _ => self.show(character),
        }
    }

    /// Stars open before a word and close behind one; elsewhere they are stars.
    fn stars(&mut self, next: Option<char>) {
        let run = take(&mut self.held);
        let opens = next.is_some_and(|next| !next.is_whitespace());
        let closes = self.last.is_some_and(|last| !last.is_whitespace());
        let mut style = self.style;
        let fits = |on: bool| if on { closes } else { opens };
        match run.len() {
            1 if fits(style.italic) => style.italic = !style.italic,
            2 if fits(style.bold) => style.bold = !style.bold,
            3 if fits(style.bold) && fits(style.italic) => {
                style.bold = !style.bold;
                style.italic = !style.italic;
            }
            _ => {
                self.out += &run;
                self.last = Some('*');
                return;
            }
        }
        self.change(style);
    }

    fn show(&mut self, character: char) {
        self.out.push(character);
        self.last = Some(character);
    }

    fn end_of_line(&mut self) {
        let fence = self.place == Place::LineStart && self.held.trim_start_matches(' ').starts_with("```");
        if fence {
            self.block = !self.block;
            let line = take(&mut self.held);
            self.change(Style { dim: true, ..Style::default() });
            self.out += &line;
        } else if self.held.starts_with('*') && self.place == Place::Text {
            self.stars(None);
        } else {
            self.out += &take(&mut self.held);
        }
        self.change(Style::default());
        self.place = Place::LineStart;
        self.last = None;
    }

    fn change(&mut self, style: Style) {
        if style == self.style {
            return;
        }
        self.style = style;
        self.out += "\x1b[0";
        for (on, code) in
            [(style.heading || style.bold, ";1"), (style.dim, ";2"), (style.italic, ";3"), (style.heading, ";4"), (style.code, ";36")]
        {
            if on {
                self.out += code;
            }
        }
        self.out.push('m');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same however the text is cut, with the styles as tags.
    #[track_caller]
    fn check(text: &str, expected: &str) {
        let codes = [
            ("\x1b[0m", "⟨/⟩"),
            ("\x1b[0;1;4m", "⟨h⟩"),
            ("\x1b[0;1m", "⟨b⟩"),
            ("\x1b[0;3m", "⟨i⟩"),
            ("\x1b[0;36m", "⟨c⟩"),
            ("\x1b[0;2m", "⟨d⟩"),
        ];
        let named = |shown: String| codes.iter().fold(shown, |shown, (code, name)| shown.replace(code, name));
        let mut whole = Markdown::default();
        assert_eq!(named(whole.push(text) + &whole.finish()), expected, "whole");
        let mut cut = Markdown::default();
        let mut pieces: String = text.chars().map(|character| cut.push(&character.to_string())).collect();
        pieces += &cut.finish();
        assert_eq!(named(pieces), expected, "character by character");
    }

    #[test]
    fn words_are_styled_and_their_marks_are_not_shown() {
        check("a **b c** d", "a ⟨b⟩b c⟨/⟩ d");
        check("an *i* and `x * y`", "an ⟨i⟩i⟨/⟩ and ⟨c⟩x * y⟨/⟩");
        check("**whole**\n", "⟨b⟩whole⟨/⟩\n");
    }

    #[test]
    fn what_is_no_mark_is_text() {
        check("2 * 3 ** 4 = snake_case", "2 * 3 ** 4 = snake_case");
        check("\\*not\\* C:\\dir", "*not* C:\\dir");
        check("#hash -dash 1. one\n--- \n", "#hash -dash 1. one\n--- \n");
        check("a *", "a *");
        check("#", "#");
    }

    #[test]
    fn a_mark_that_is_never_closed_ends_with_its_line() {
        check("**a\nb `c\nd", "⟨b⟩a⟨/⟩\nb ⟨c⟩c⟨/⟩\nd");
    }

    #[test]
    fn lines_have_their_kinds() {
        check("## Big **one**\ntext", "⟨h⟩Big ⟨h⟩one⟨h⟩⟨/⟩\ntext");
        check("- a\n  * b\n+ c", "• a\n  • b\n• c");
        check("> said\nnot", "⟨d⟩│ said⟨/⟩\nnot");
    }

    #[test]
    fn code_stays_as_it_is() {
        check("```rust\n# **x**\n  `y`\n```\n**z**", "⟨d⟩```rust⟨/⟩\n# **x**\n  `y`\n⟨d⟩```⟨/⟩\n⟨b⟩z⟨/⟩");
    }

    #[test]
    fn text_is_shown_before_its_line_ends() {
        let mut markdown = Markdown::default();
        assert_eq!(markdown.push("Once upon"), "Once upon");
        assert_eq!(markdown.push(" a *"), " a ");
        assert_eq!(markdown.push("*t"), "\x1b[0;1mt");
    }
}
