//! Mistakes as they are drawn on a terminal: the line of the file, and under it what is meant.

use std::error::Error;
use std::fmt::{self, Write};

use miette::{
    Diagnostic, LabeledSpan, MietteError, MietteHandlerOpts, MietteSpanContents, ReportHandler, SourceCode, SourceSpan, SpanContents,
};

use super::error::{ConfigError, Problem};
use super::place::Excerpt;

impl ConfigError {
    /// All mistakes, with colours and lines as the terminal at stderr and `NO_COLOR` have it.
    pub fn drawn(&self) -> String {
        let handler = MietteHandlerOpts::new().build();
        let drawn = |problem: &Problem| {
            let mut drawn = String::new();
            match writeln!(drawn, "{}", Drawn { problem: &Mistake::new(problem), handler: &handler }) {
                Ok(()) => drawn,
                // It couldn't be, for a reason of miette's own.
                Err(fmt::Error) => format!("{problem}\n"),
            }
        };
        self.problems().iter().map(drawn).collect()
    }
}

/// One mistake as miette knows it.
#[derive(Debug)]
struct Mistake<'a> {
    what: String,
    help: Option<&'a str>,
    excerpt: Option<&'a Excerpt>,
}

impl<'a> Mistake<'a> {
    fn new(problem: &'a Problem) -> Self {
        let (what, help) = apart(&problem.message);
        let excerpt = problem.excerpt();
        let what = if excerpt.is_some() { what.to_owned() } else { format!("{}: {what}", problem.place) };
        Self { what, help, excerpt }
    }
}

/// A message's first part, and the rest, which says what to do. A value in quotes may hold a semicolon, too.
fn apart(message: &str) -> (&str, Option<&str>) {
    let ends = message.match_indices("; ").map(|(end, _)| end);
    let mut ends = ends.filter(|&end| message[..end].matches('"').count().is_multiple_of(2));
    ends.next().map_or((message, None), |end| (&message[..end], Some(&message[end + 2..])))
}

/// The line is all that may be shown, whatever is asked for: those around it could hold a key.
impl SourceCode for Excerpt {
    fn read_span<'a>(&'a self, span: &SourceSpan, before: usize, _: usize) -> Result<Box<dyn SpanContents<'a> + 'a>, MietteError> {
        // Without lines before it the place itself is asked for.
        let start = if before == 0 { span.offset() } else { 0 };
        let seen = self.text.get(start..).ok_or(MietteError::OutOfBounds)?;
        let (whole, column) = (SourceSpan::from((start, seen.len())), self.text[..start].chars().count());
        Ok(Box::new(MietteSpanContents::new_named(self.file.clone(), seen.as_bytes(), whole, self.line - 1, column, 1)))
    }
}

impl fmt::Display for Mistake<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.what)
    }
}

impl Error for Mistake<'_> {}

impl Diagnostic for Mistake<'_> {
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        Some(Box::new(self.help?))
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        Some(self.excerpt?)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let label = |excerpt: &Excerpt| LabeledSpan::new(None, excerpt.marked.start, excerpt.marked.len());
        Some(Box::new(self.excerpt.into_iter().map(label)))
    }
}

struct Drawn<'a> {
    problem: &'a Mistake<'a>,
    handler: &'a dyn ReportHandler,
}

impl fmt::Display for Drawn<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.handler.debug(self.problem, formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::super::place::Place;
    use super::*;

    #[test]
    fn what_to_do_begins_behind_the_first_semicolon_that_is_not_in_a_value() {
        assert_eq!(apart("a is \"b; c\"; it must be d; or e"), ("a is \"b; c\"", Some("it must be d; or e")));
        assert_eq!(apart("a is \"b; c\""), ("a is \"b; c\"", None));
    }

    #[test]
    fn a_mistake_is_drawn_under_its_line_with_what_to_do_apart() {
        let excerpt = Excerpt { file: "config.toml".into(), line: 3, text: "lisen = …".into(), marked: 0..5 };
        let place = Place::in_file("config.toml:3:1".into(), Some(excerpt));
        let drawn = ConfigError::new(vec![Problem::new(place, "[server] has no key `lisen`; did you mean `listen`?")]).drawn();
        let lines: Vec<&str> = drawn.lines().collect();
        let at = |part: &str| lines.iter().position(|line| line.contains(part)).unwrap_or_else(|| panic!("{part} in {drawn}"));
        assert!(at("[server] has no key `lisen`") < at("config.toml:3:1"), "{drawn}");
        assert!(lines[at("lisen = …")].trim_start().starts_with('3'), "{drawn}");
        assert!(lines[at("help")].contains("did you mean `listen`?"), "{drawn}");
    }
}
